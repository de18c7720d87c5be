"""Keys that a caller presses: gathered until ``#``, a pause, or as many as an entry may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Keypad"]


class Keypad:
    """Gathers keys, and calls ``on_entry`` with each entry."""

    def __init__(self, on_entry: Callable[[str], None], *, pause: float, max_digits: int) -> None:
        self._on_entry = on_entry
        self._pause = pause
        self._max_digits = max_digits
        self._digits = ""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, digit: str) -> None:
        """Take a key: 0-9, A-D, ``*`` or ``#``."""
        self.stop()
        if digit != "#":
            self._digits += digit
        if digit == "#" or len(self._digits) >= self._max_digits:
            self._enter()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._enter)

    def stop(self) -> None:
        """Let no pause end the entry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _enter(self) -> None:
        self._timer = None
        digits, self._digits = self._digits, ""
        if digits:
            self._on_entry(digits)
