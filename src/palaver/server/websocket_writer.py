"""Sending over a WebSocket: at once where our own listener is, and by a task where it must wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from starlette.types import Scope, Send
from starlette.websockets import WebSocketDisconnect

from palaver.server.websocket import WEBSOCKET, ClientSocket

__all__ = ["WebSocketWriter"]

_log = structlog.get_logger("palaver.server")
_MARK: Final = 64 * 1024
"""Bytes that wait for a client before it counts as one that does not take them."""


class WebSocketWriter:
    """Sends texts in order, and then perhaps the end.

    ``on_change`` is called when the client begins or ceases to be ``congested``: not to take what
    it is sent. One that leaves more than ``max_waiting_bytes`` behind is dropped by ``drop``.
    """

    def __init__(
        self,
        scope: Scope,
        send: Send,
        *,
        max_waiting_bytes: int,
        on_change: Callable[[], None],
        drop: Callable[[], None],
    ) -> None:
        self.congested = False
        self.over = False
        """Whether nothing more is sent."""
        extensions: dict[str, Any] = scope.get("extensions") or {}
        self.client: Final[ClientSocket | None] = extensions.get(WEBSOCKET)
        self._send = send
        self._max_waiting_bytes = max_waiting_bytes
        self._on_change = on_change
        self._drop = drop
        self._waiting: deque[dict[str, Any]] = deque()
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, texts: Sequence[str], end: tuple[int, str] | None = None) -> None:
        """Send the texts, then close with that code and reason."""
        if self.over:
            return
        left = texts
        if self.client is not None and not self._waiting and self._sent_now(texts):
            left = ()
        self._waiting.extend({"type": "websocket.send", "text": text} for text in left)
        self._waiting_bytes += sum(map(len, left))
        if end is not None:
            code, reason = end
            self._waiting.append({"type": "websocket.close", "code": code, "reason": reason})
        if self._waiting:
            self._let_wait()

    def give_up(self) -> None:
        """Send nothing more."""
        self.over = True
        self._waiting.clear()
        self._waiting_bytes = 0

    async def close(self) -> None:
        """Send nothing more, and be done."""
        self.give_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _sent_now(self, texts: Sequence[str]) -> bool:
        return not texts or (self.client is not None and self.client.send_now(*texts))

    def _let_wait(self) -> None:
        """Have a task send what cannot be sent now."""
        if self._waiting_bytes > self._max_waiting_bytes and len(self._waiting) > 1:
            _log.warning("websocket_client_too_slow", waiting_bytes=self._waiting_bytes)
            self.give_up()
            self._drop()
            return
        # Where messages always go through a task, that some wait for their turn means nothing yet.
        if self._waiting_bytes and (self.client is not None or self._waiting_bytes > _MARK):
            self._set_congested(waits=True)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="websocket-writer")

    async def _write(self) -> None:
        while self._waiting:
            message = self._waiting[0]
            try:
                await self._send(message)
            except (OSError, WebSocketDisconnect):
                self.give_up()  # ``receive`` tells of it as well
            if self.over:
                break
            self._waiting.popleft()
            self._waiting_bytes -= len(message.get("text", ""))
        self._set_congested(waits=False)

    def _set_congested(self, *, waits: bool) -> None:
        if self.congested != waits:
            self.congested = waits
            self._on_change()
