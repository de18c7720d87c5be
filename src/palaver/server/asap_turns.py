"""Calling something when a few turns of the event loop are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["AfterTurns"]


class AfterTurns:
    """Makes one call after some turns of the loop, however often it is asked for meanwhile."""

    __slots__ = ("_call", "_left", "_loop")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._left: int | None = None  # no call is due

    def ask(self, turns: int) -> None:
        """Make the call after so many turns: with 0, on the next one. The soonest counts."""
        if self._left is None:
            self._left = turns
            self._loop.call_soon(self._turn)
        elif turns < self._left:
            self._left = turns

    def _turn(self) -> None:
        if self._left:
            self._left -= 1
            self._loop.call_soon(self._turn)
        else:
            self._left = None
            self._call()
