"""Going out of service: streams are told, readiness fails, nothing that is in flight is lost."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Drain"]


class Drain:
    """Whether this process still takes work. ``begin`` is final."""

    def __init__(self) -> None:
        self.begun = False
        self.over = False
        self._listeners: set[Callable[[], None]] = set()

    def listen(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` when the drain begins and when it is over."""
        self._listeners.add(on_change)

    def unlisten(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` no more."""
        self._listeners.discard(on_change)

    def begin(self) -> None:
        """Take no more work."""
        self.begun = True
        self._tell()

    def finish(self) -> None:
        """Say that no task runs here any more: streams that still wait end now."""
        self.over = True
        self._tell()

    def _tell(self) -> None:
        for on_change in list(self._listeners):
            on_change()
