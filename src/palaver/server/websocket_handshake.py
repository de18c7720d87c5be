"""A WebSocket before it is open, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, cast

import orjson
from uvicorn._types import ASGIReceiveEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidHandshake, SecurityError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from palaver.server.connection import reset
from palaver.server.websocket_inbox import Inbox

__all__ = ["WEBSOCKET", "Handshake", "Stage"]

WEBSOCKET: Final = "palaver.websocket"
"""Key of the ASGI scope's extensions, where our own listener puts the ``ClientSocket``."""

_CLOSE_TIMEOUT: Final = 5.0
"""Seconds for the client to answer our Close frame, or to take what is left for it."""
_LINGER: Final = 1.0
"""Seconds for the client to read why it is refused."""
_WRITE_MARK: Final = 64 * 1024

_COMPRESSED: Final = "/asap/ws"
"""End of the paths whose messages may be compressed. Audio, elsewhere, gets no smaller by it."""
_WINDOW_BITS: Final = 12
_MEM_LEVEL: Final = 5
"""32 KiB to compress, and 4 KiB to decompress, for each WebSocket that does (RFC 7692 7.1.2)."""

_Headers = list[tuple[bytes, bytes]]


class Stage(Enum):
    """How far a WebSocket has come."""

    ASKED = auto()
    OPEN = auto()
    CLOSING = auto()  # we have sent a Close frame, and wait for the client's
    OVER = auto()  # nothing is read or written any more


class Handshake(WebSocketsSansIOProtocol):
    """A WebSocket from the request to the answer, and the ways in which its connection ends."""

    __slots__ = ("_inbox", "_on_lost", "_response", "_stage")

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._inbox = Inbox()
        self.queue = cast("asyncio.Queue[ASGIReceiveEvent]", self._inbox)
        self._stage = Stage.ASKED
        self._response: tuple[int, _Headers, bytes] | None = None
        self._on_lost: Callable[[], None] | None = None
        self.close_timeout = _CLOSE_TIMEOUT

    @property
    def on_lost(self) -> Callable[[], None] | None:
        """Called when the connection is lost; soon, if it is lost already."""
        return self._on_lost

    @on_lost.setter
    def on_lost(self, call: Callable[[], None] | None) -> None:
        self._on_lost = call
        if self.disconnected and call is not None:
            self.loop.call_soon(call)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        super().connection_made(transport)
        # Left to itself, uvloop resumes writing when no more than 16 bytes are left.
        self.transport.set_write_buffer_limits(_WRITE_MARK)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, if it does not know yet."""
        self._stage = Stage.OVER
        self._put_end(CloseCode.ABNORMAL_CLOSURE)
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def shutdown(self) -> None:
        """Open no more; a WebSocket that is open is for the application to close."""
        if self._stage is Stage.ASKED and self._response is None:
            self._refuse(503, "the server is stopping")

    def abort(self) -> None:
        """Drop the connection, unsent bytes too."""
        if not self.disconnected:
            self._stage = Stage.OVER
            self.stop_keepalive()
            reset(self.transport)

    def handle_connect(self, event: Request) -> None:
        """Ask the application, if this is a handshake."""
        if event.path.partition("?")[0].endswith(_COMPRESSED):
            self.conn.available_extensions = [
                ServerPerMessageDeflateFactory(
                    server_max_window_bits=_WINDOW_BITS,
                    client_max_window_bits=_WINDOW_BITS,
                    compress_settings={"memLevel": _MEM_LEVEL},
                )
            ]
        try:
            self.conn.process_request(event)
        except InvalidHandshake as error:
            self._refuse(400, f"this is no WebSocket handshake: {error}")
        else:
            super().handle_connect(event)
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[WEBSOCKET] = self

    def _ask(self, head: bytes) -> None:
        """Take the request."""
        self.conn.receive_data(head)
        self.handle_events()
        if self.handshake_initiated or self._stage is not Stage.ASKED:
            return
        problem = self.conn.handshake_exc
        status = 431 if isinstance(problem, SecurityError) else 400  # too long, or too many
        self._refuse(status, f"this is no WebSocket handshake: {problem}")

    async def _answer(self, message: Any) -> None:
        """Answer the request as the application says."""
        kind = message["type"]
        if self._response is not None and kind == "websocket.http.response.body":
            status, headers, body = self._response
            body += message.get("body", b"")
            self._response = (status, headers, body)
            if not message.get("more_body", False):
                self._respond(status, headers, body)
        elif self._response is not None:
            raise RuntimeError(f"{kind} cannot follow websocket.http.response.start")
        elif kind == "websocket.accept":
            await super().send(message)
            self._stage = Stage.OPEN
        elif kind == "websocket.close":
            self._refuse(403, "this WebSocket is refused")
        elif kind == "websocket.http.response.start":
            self._response = (message["status"], list(message.get("headers", ())), b"")
        else:
            raise RuntimeError(f"{kind} cannot be sent before websocket.accept")

    def _refuse(self, status: int, text: str) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"sec-websocket-version", b"13"),  # RFC 6455 4.4: what a client may try again with
        ]
        self._respond(status, headers, orjson.dumps({"error": text}))

    def _respond(self, status: int, headers: _Headers, body: bytes) -> None:
        """Answer the request with anything but a WebSocket."""
        lines = [*self.default_headers, *headers]
        if all(name.lower() != b"content-length" for name, _ in headers):
            lines.append((b"content-length", b"%d" % len(body)))
        head = b"".join(b"%b: %b\r\n" % line for line in lines if line[0].lower() != b"connection")
        self.transport.write(b"%b%bconnection: close\r\n\r\n%b" % (STATUS_LINE[status], head, body))
        self._put_end(CloseCode.ABNORMAL_CLOSURE)
        self._end(linger=True)

    def handle_close(self, event: Frame) -> None:
        """Answer, if this is no answer to ours; then a server closes first (RFC 6455 7.1.1)."""
        del event
        received = self.conn.close_rcvd
        if received is not None:
            self._put_end(received.code, received.reason)
        self._flush()
        self._end(linger=False)

    def _break_off(self) -> None:
        """End after the Close frame that tells what was wrong (RFC 6455 7.1.7)."""
        told = self.conn.close_sent
        if told is not None:
            self._put_end(told.code, told.reason)
        self._flush()
        self._end(linger=True)

    def _flush(self) -> None:
        self.transport.write(b"".join(self.conn.data_to_send()))

    def _put_end(self, code: int, reason: str = "") -> None:
        self._inbox.put_nowait(
            {"type": "websocket.disconnect", "code": int(code), "reason": reason}
        )

    def _end(self, *, linger: bool) -> None:
        """Say no more, and close when what was said is gone.

        With ``linger`` when the client closes too: closed before, the connection would be reset
        under what still comes, and what was said last would be lost with it.
        """
        self._stage = Stage.OVER
        self.stop_keepalive()
        self.writable.set()  # for those who wait to send: it is over
        if self.transport.is_closing():
            return
        if linger:
            self.transport.resume_reading()
            self.transport.write_eof()
            self._set_deadline(min(_LINGER, self.close_timeout))
        else:
            self.transport.close()
            self._set_deadline(self.close_timeout)

    def _set_deadline(self, timeout: float) -> None:
        """Give the client some time for its part of the end; more, while it takes what is left."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        left = self.transport.get_write_buffer_size()
        self.close_timer = self.loop.call_later(timeout, self._meet_deadline, timeout, left)

    def _meet_deadline(self, timeout: float, left: int) -> None:
        if 0 < self.transport.get_write_buffer_size() < left:
            self._set_deadline(timeout)
        else:
            self.abort()
