"""Clients that take nothing of what is written for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Stall"]


class Stall:
    """Drops a client that takes nothing of what is to be written, for so many seconds."""

    __slots__ = ("_drop", "_timeout", "_timer", "_transport")

    def __init__(
        self, transport: asyncio.Transport, drop: Callable[[], None], timeout: float
    ) -> None:
        self._transport = transport
        self._drop = drop
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin, or go on."""
        left = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._timeout, self._look, left)

    def stop(self) -> None:
        """Watch no more: it takes what is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, before: int) -> None:
        if self._transport.get_write_buffer_size() < before:
            self.watch()
        else:
            self._drop()
