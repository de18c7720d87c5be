"""One WebSocket: uvicorn's, with bounds on all that waits, and a short way for plain messages.

What one client can hold in memory: one message of the greatest size, whole or in parts; 64 KiB or
256 messages that wait for the application, and the one that made them so many; 250 KiB that were
read in one piece; and of what it does not take, 64 KiB and one message. A text can take four times
its bytes: so wide is a string with one rare character.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

import structlog
from starlette.websockets import WebSocketDisconnect
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame, Opcode

from palaver.server.websocket_handshake import WEBSOCKET, Handshake, Stage
from palaver.server.websocket_inbox import Message, Unread
from palaver.server.websocket_stall import Stall

__all__ = ["WEBSOCKET", "ClientSocket", "WebSocketConnection"]

_log = structlog.get_logger("palaver.server")

_SEND_TIMEOUT: Final = 30.0
_MAX_EARLY: Final = 64 * 1024
"""Bytes that a client may send before its handshake is answered."""
_MIN_COMPRESSED: Final = 1024
_HEAD_16: Final = struct.Struct("!BBH").pack
_HEAD_64: Final = struct.Struct("!BBQ").pack


class ClientSocket(Protocol):
    """What an application may do with its WebSocket beyond ASGI, with no task in between."""

    on_messages: Callable[[], None] | None
    """Called when messages have come; soon, if some wait already. ``receive`` tells of the end."""
    on_binary: Callable[[bytes], bool] | None
    """May be called, in place of ``on_messages``, with a binary message that nothing is before.

    False: it was not taken, and has to wait."""
    on_lost: Callable[[], None] | None
    """Called when the connection is lost; soon, if it is lost already."""

    def take_messages(self) -> list[Message]:
        """Return all messages that wait, which ``receive`` will not return then."""
        ...

    def send_now(self, *messages: Message) -> bool:
        """Send the messages in one piece and return True; or do nothing and return False.

        False: the WebSocket is not open, or its client has not taken what was sent before. Then
        ``send`` waits until it has.
        """
        ...

    def abort(self) -> None:
        """Drop the connection, unsent bytes too."""
        ...


class WebSocketConnection(Handshake):
    """A WebSocket for ASGI, and a ``ClientSocket`` for applications that know it.

    Plain messages are read and written here; websockets judges what else a client sends. A client
    that takes nothing for ``send_timeout`` seconds is dropped.
    """

    __slots__ = (
        "_flows_since",
        "_on_messages",
        "_pong",
        "_send_timeout",
        "_stall",
        "_unread",
        "on_binary",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        send_timeout: float = _SEND_TIMEOUT,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._unread = Unread(self.conn, self._inbox, config.ws_max_size, self._on_control)
        self._on_messages: Callable[[], None] | None = None
        self.on_binary: Callable[[bytes], bool] | None = None
        self._send_timeout = send_timeout
        self._pong = b""  # the last one, where it has to wait
        self._flows_since = 0.0

    @property
    def on_messages(self) -> Callable[[], None] | None:
        """Called when messages have come; soon, if some wait already."""
        return self._on_messages

    @on_messages.setter
    def on_messages(self, call: Callable[[], None] | None) -> None:
        self._on_messages = call
        if call is not None and self._inbox.has_messages:
            self._inbox.has_news = True
            self.loop.call_soon(self._tell)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        super().connection_made(transport)
        self._stall = Stall(self.transport, self.abort, self._send_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stall.stop()
        self._unread.clear()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Close: half a connection is no WebSocket."""
        self._put_end(CloseCode.ABNORMAL_CLOSURE)
        self._end(linger=False)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        stage = self._stage
        if stage is Stage.OPEN or stage is Stage.CLOSING:
            self._unread.feed(data)
            self._read()
        elif stage is Stage.ASKED:
            if not self.handshake_initiated:
                self._ask(data)
                return
            self._unread.feed(data)
            if len(self._unread) > _MAX_EARLY:
                self._pause_reading()

    def pause_writing(self) -> None:
        """Let applications wait, and see whether the client goes on taking."""
        super().pause_writing()
        self._stall.watch()

    def resume_writing(self) -> None:
        """Go on, first with what is owed."""
        self._stall.stop()
        self._flows_since = self.loop.time()
        if self._pong and self._stage is not Stage.OVER:
            self.transport.write(self._pong)
        self._pong = b""
        super().resume_writing()

    def take_messages(self) -> list[Message]:
        """Return all messages that wait, which ``receive`` will not return then."""
        return self._inbox.take()

    def send_now(self, *messages: Message) -> bool:
        """Send the messages in one piece and return True; or do nothing and return False."""
        if self._stage is not Stage.OPEN or not self.writable.is_set():
            return False
        if len(messages) == 1:
            self._write(messages[0])
        elif self.conn.extensions:
            for message in messages:
                self._write(message)
        else:
            self.transport.write(b"".join(map(_framed, messages)))
        return True

    async def send(self, message: Any) -> None:
        """Do what the application says; where the client takes nothing, wait before.

        Raises:
            ClientDisconnected: the WebSocket is closed.

        """
        kind = message["type"]
        while not self.writable.is_set() and kind != "websocket.close":
            await self.writable.wait()
        if self._stage is Stage.OPEN and kind == "websocket.send":
            data: Message | None = message.get("bytes")
            self._write(message["text"] if data is None else data)
        elif self._stage is Stage.ASKED:
            await self._answer(message)
            self._go_on()  # with what came behind the handshake
        elif kind == "websocket.close":
            self._close(message.get("code", CloseCode.NORMAL_CLOSURE), message.get("reason") or "")
        elif self._stage is Stage.OPEN:
            raise RuntimeError(f"{kind} cannot follow websocket.accept")
        else:
            raise ClientDisconnected

    async def run_asgi(self) -> None:
        """Run the application; whatever becomes of it, the WebSocket ends with it."""
        code = CloseCode.INTERNAL_ERROR
        try:
            await self.app(self.scope, self._inbox.get, self.send)
            code = CloseCode.NORMAL_CLOSURE
        except (ClientDisconnected, WebSocketDisconnect):
            pass  # said already: by the client, or with the first error
        except Exception as error:  # noqa: BLE001 - the last resort: told in full, not to the peer
            self._fail(error)
        finally:
            if self._stage is Stage.ASKED:
                if code == CloseCode.NORMAL_CLOSURE:
                    _log.error("websocket_unanswered", path=self.scope["path"])
                self._refuse(500, "internal error")
            self._close(code)

    def handle_ping(self) -> None:
        """Answer; or keep the answer to the last one only, as RFC 6455 5.5.3 allows."""
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)
        else:
            self._pong = pong

    def keepalive_timeout(self) -> None:
        """Close, unless it is not the client's silence: what it says may lie here unread."""
        held = self.read_paused or not self.writable.is_set()
        timeout = self.ping_timeout or 0.0
        if held or self.loop.time() < self._flows_since + timeout:
            self.pong_timer = self.loop.call_later(timeout, self.keepalive_timeout)
            return
        self.pong_timer = None
        self.conn.fail(CloseCode.INTERNAL_ERROR, "no pong came in time")
        self._break_off()

    def _on_control(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.handle_ping()
        elif frame.opcode is Opcode.PONG:
            self.handle_pong(frame)
        else:
            self.handle_close(frame)

    def _read(self) -> None:
        more = self._unread.read()
        if self.conn.parser_exc is not None:
            self._break_off()
        self._tell()
        if self._stage is Stage.OVER:
            self._unread.clear()
            return
        if more:
            self._pause_reading()
            if self._inbox.full:
                self._inbox.on_empty = self._go_on_soon
            else:
                self._go_on_soon()
        elif self.read_paused:
            self.read_paused = False
            self._flows_since = self.loop.time()
            self.transport.resume_reading()

    def _tell(self) -> None:
        """Tell the application of messages, if some have come."""
        inbox = self._inbox
        if not inbox.has_news:
            return
        inbox.has_news = False
        if self._on_messages is not None:
            try:
                self._on_messages()
            except Exception as error:  # noqa: BLE001 - as in run_asgi
                self._on_messages = None
                self._fail(error)
        inbox.wake()

    def _fail(self, error: Exception) -> None:
        """Tell once that the application broke, and close."""
        _log.error("websocket_failed", path=self.scope["path"], exc_info=error)
        self._close(CloseCode.INTERNAL_ERROR)

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _go_on_soon(self) -> None:
        self._inbox.on_empty = None
        self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read what is here already."""
        if self._stage is Stage.OPEN or self._stage is Stage.CLOSING:
            self._read()

    def _write(self, message: Message) -> None:
        # What is short gets no smaller: it may go as it is (RFC 7692 6).
        if not self.conn.extensions or len(message) < _MIN_COMPRESSED:
            self.transport.write(_framed(message))
            return
        if isinstance(message, str):
            self.conn.send_text(message.encode())
        else:
            self.conn.send_binary(message)
        self._flush()

    def _close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake, if the WebSocket is open."""
        if self._stage is not Stage.OPEN:
            return
        self.conn.send_close(code, reason)
        self._stage = Stage.CLOSING
        self.stop_keepalive()
        self._flush()
        self._put_end(code, reason)
        self._set_deadline(self.close_timeout)
        self._go_on_soon()  # to the Close frame of the client


def _framed(message: Message) -> bytes:
    """Return the frame of a message (RFC 6455 5.2)."""
    first = 0x82
    if isinstance(message, str):
        first, message = 0x81, message.encode()
    length = len(message)
    if length < 126:
        return bytes((first, length)) + message
    if length < 65_536:
        return _HEAD_16(first, 126, length) + message
    return _HEAD_64(first, 127, length) + message
