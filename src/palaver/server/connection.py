"""One HTTP/1.1 connection: uvicorn's, with bounds on what comes before the body."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Final, cast

import orjson
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from palaver.server.a2a_stream import ABORT

__all__ = ["MAX_HEAD_BYTES", "Connection"]

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes of a request line and its headers together, where they do not come in one piece."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Connection(HttpToolsProtocol):
    """HTTP/1.1 whose clients cannot send headers for ever, and whose refusals are JSON.

    Applications can drop the connection of a client that takes nothing.
    """

    def __init__(self, *args: Any, head_timeout: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_timeout = head_timeout
        self._head_bytes: int | None = None  # None: no head is being read
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self._head_timeout, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is still the head and there is too much of it."""
        super().data_received(data)
        # Nearly every head comes in one piece, so that none of this costs anything.
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the headers have more than {MAX_HEAD_BYTES} bytes")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout, self._head_is_late)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head_bytes = 0
        scope = cast("dict[str, Any]", self.scope)
        scope.setdefault("extensions", {})[ABORT] = self._abort

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._head_bytes = None
        self._stop_timer()
        super().on_headers_complete()

    def eof_received(self) -> bool:  # type: ignore[override] # there it is always None
        """Answer a client that has said all that it will say; then close.

        Whether it has left altogether shows when something is written to it: on a stream, at
        the latest with the second heartbeat.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if no upgrade had been asked for; the parser takes no more after it."""
        self.cycle.keep_alive = False

    def _head_is_late(self) -> None:
        if self._head_bytes is None:
            self.transport.close()
        else:
            self._refuse(408, "the headers of the request did not arrive in time")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, text: str) -> None:
        self._stop_timer()
        body = orjson.dumps({"error": text})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()

    def _abort(self) -> None:
        # Without the reset, the kernel would hold megabytes for a client that takes nothing.
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
