"""What a server pushes: a bounded line, told one by one to whoever listens."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog

from palaver.protocols.asap.messages import Envelope

__all__ = ["OnMessage", "Pushes"]

OnMessage: TypeAlias = Callable[[Envelope], Awaitable[None] | None]
"""Told an envelope that is no answer."""

_log = structlog.get_logger("palaver.client")
_MAX_WAITING: Final = 1024
_MAX_SIZE: Final = 8 * 1024 * 1024


class Pushes:
    """Tells ``on_message``, in order, in a task of its own: it may ask something meanwhile.

    ``done`` is told of each envelope afterwards, with what went wrong. Without ``on_message``
    nobody is told anything.
    """

    def __init__(
        self, on_message: OnMessage | None, done: Callable[[Envelope, str | None], None]
    ) -> None:
        self._on_message = on_message
        self._done = done
        self._line: deque[tuple[Envelope, int]] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    def put(self, envelope: Envelope, size: int) -> None:
        """Put one more in the line; ``size`` is that of its frame, in characters."""
        if self._on_message is None:
            _log.debug("asap_push_unheard", payload_type=envelope.payload_type)
            self._done(envelope, None)
            return
        self._line.append((envelope, size))
        self._size += size
        if self._task is None:
            self._task = asyncio.create_task(self._tell(self._on_message), name="asap-pushes")

    async def room(self) -> None:
        """Wait while the line is full."""
        while len(self._line) >= _MAX_WAITING or self._size >= _MAX_SIZE:
            self._moved.clear()
            await self._moved.wait()

    async def close(self) -> None:
        """Tell no more; one that is being told is cut off."""
        self._line.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _tell(self, on_message: OnMessage) -> None:
        try:
            while self._line:
                envelope, size = self._line[0]
                failure = None
                try:
                    told = on_message(envelope)
                    if inspect.isawaitable(told):
                        await told
                except Exception as error:  # noqa: BLE001 -- whatever it raises, the next is told
                    _log.exception("asap_on_message_failed", payload_type=envelope.payload_type)
                    failure = f"it could not be taken: {type(error).__name__}"
                if self._line:
                    self._line.popleft()
                    self._size -= size
                self._moved.set()
                self._done(envelope, failure)
        finally:
            self._task = None
