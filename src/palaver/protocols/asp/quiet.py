"""One error, told once a second: a flood of bad frames must not become a flood of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from palaver.protocols.asp.errors import ProtocolError

__all__ = ["ToldErrors"]

_QUIET: Final = 1.0
"""Seconds in which one error of a session is told once."""


@dataclass(slots=True)
class _Told:
    """When an error was told last, and how often it happened since without being told."""

    until: float
    quiet: int = 0


class ToldErrors:
    """What was told of a session, by code."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def quiet_before(self, error: ProtocolError, now: float) -> int | None:
        """Return how often an error was kept quiet before; ``None``: keep this one quiet too."""
        told = self._told.get(error.code)
        if told is not None and now < told.until:
            told.quiet += 1
            return None
        self._told[error.code] = _Told(now + _QUIET)
        return 0 if told is None else told.quiet
