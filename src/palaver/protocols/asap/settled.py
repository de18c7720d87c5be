"""Ids of what is done with: a bounded memory, so that a second copy is known as one."""

from __future__ import annotations

__all__ = ["Settled"]


class Settled:
    """The last ids, at most ``max_ids`` of them; the oldest are forgotten."""

    def __init__(self, max_ids: int) -> None:
        self._ids: dict[object, None] = {}
        self._max_ids = max_ids

    def __contains__(self, one: object) -> bool:
        return one is not None and one in self._ids

    def add(self, *ids: str) -> None:
        """Remember these."""
        for one in ids:
            self._ids.pop(one, None)
            self._ids[one] = None
        while len(self._ids) > self._max_ids:
            del self._ids[next(iter(self._ids))]
