"""One WebSocket of picows, for an ASGI application: messages are handed on where they are read.

picows reads and writes frames in compiled code. What RFC 6455 leaves to whoever uses it is done
here: fragments, pings, the closing handshake; and what a client may cost has bounds, as in
``websocket``. picows keeps the buffer that a client's largest frame needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from starlette.types import ASGIApp, Receive, Scope
from starlette.websockets import WebSocketDisconnect
from uvicorn._types import WebSocketDisconnectEvent

from palaver.server.coalesced_reads import CoalescedReads
from palaver.server.connection import reset
from palaver.server.picows_frames import BadFrame, Fragments, Keepalive
from palaver.server.websocket import WEBSOCKET
from palaver.server.websocket_inbox import Inbox, Message
from palaver.server.websocket_stall import Stall

__all__ = ["PicowsSocket", "SocketLimits"]

_log = structlog.get_logger("palaver.server")

_WRITE_MARK: Final = 64 * 1024
_LINGER: Final = 1.0
"""Seconds for a client that did something wrong to read what."""
_NO_CODE: Final = 1005
_GONE: Final = 1006
_NEVER_SENT: Final = frozenset({_NO_CODE, _GONE})
_MAX_CODE: Final = 4999
_PROTOCOL_ERROR: Final = 1002
_BINARY, _TEXT = WSMsgType.BINARY, WSMsgType.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """How large a message of a WebSocket's client is (bytes), and how long it may take (s).

    ``close_timeout`` is for its answer to our Close frame, or to take what is left for it.
    """

    max_message_bytes: int = 16 * 1024 * 1024
    send_timeout: float = 30.0
    ping_interval: float = 30.0
    pong_timeout: float = 10.0
    close_timeout: float = 5.0


class PicowsSocket(WSListener):
    """A WebSocket that is open: a ``ClientSocket``, and what ASGI calls ``receive`` and ``send``.

    ``on_open`` is called when it is open, ``on_over`` once its application has ended and its
    connection is lost.
    """

    # A dict would cost more for each frame than what is done with it.
    __slots__ = (
        "_app",
        "_closing",
        "_direct",
        "_flows_since",
        "_fragments",
        "_inbox",
        "_keepalive",
        "_limits",
        "_loop",
        "_lost",
        "_on_messages",
        "_on_open",
        "_on_over",
        "_open",
        "_paused",
        "_pong",
        "_reads",
        "_scope",
        "_stall",
        "_task",
        "_transport",
        "_writable",
        "on_binary",
        "on_lost",
    )

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        limits: SocketLimits,
        reads: CoalescedReads,
        *,
        on_open: Callable[[PicowsSocket], None],
        on_over: Callable[[PicowsSocket], None],
    ) -> None:
        self._app = app
        self._scope = scope
        self._limits = limits
        self._reads = reads
        self._on_open = on_open
        self._on_over = on_over
        scope["extensions"] = {WEBSOCKET: self}
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._direct = True  # does nothing wait there, and is no message in fragments coming?
        self._on_messages: Callable[[], None] | None = None
        self.on_binary: Callable[[bytes], bool] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._open = False
        self._lost = False
        self._paused = False
        self._fragments = Fragments(limits.max_message_bytes)
        self._pong: bytes | None = None  # the last one, where it has to wait
        self._flows_since = 0.0
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # --- what the application does ----------------------------------------------------------

    @property
    def on_messages(self) -> Callable[[], None] | None:
        """Called when messages have come; soon, if some wait already."""
        return self._on_messages

    @on_messages.setter
    def on_messages(self, call: Callable[[], None] | None) -> None:
        self._on_messages = call
        if call is not None and self._inbox.has_messages:
            self._inbox.has_news = True
            self._loop.call_soon(self._tell)

    def take_messages(self) -> list[Message]:
        """Return all messages that wait, which ``receive`` will not return then."""
        self._direct = not self._fragments.open
        return self._inbox.take()

    def send_now(self, *messages: Message) -> bool:
        """Send the messages and return True; or do nothing and return False."""
        if not self._open or not self._writable.is_set():
            return False
        for message in messages:
            self._transport.send(_TEXT if isinstance(message, str) else _BINARY, message)
        return True

    async def send(self, message: Any) -> None:
        """Do what the application says; where the client takes nothing, wait before.

        Raises:
            WebSocketDisconnect: the WebSocket is closed.

        """
        kind = message["type"]
        if kind == "websocket.accept":
            return  # picows has answered the handshake already
        if kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason") or "")
            return
        while not self._writable.is_set():
            await self._writable.wait()
        if not self._open:
            raise WebSocketDisconnect(_GONE)
        data: Message | None = message.get("bytes")
        if data is None:
            self._transport.send(_TEXT, message["text"])
        else:
            self._transport.send(_BINARY, data)

    def abort(self) -> None:
        """Drop the connection, unsent bytes too."""
        if not self._lost:
            self._open = False
            reset(self._transport.underlying_transport)

    def cancel(self) -> None:
        """End the application as well."""
        self.abort()
        if self._task is not None:
            self._task.cancel()

    # --- what picows tells ------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin: the handshake is answered."""
        self._transport = transport
        # Left to itself, uvloop resumes writing when no more than 16 bytes are left.
        transport.underlying_transport.set_write_buffer_limits(_WRITE_MARK)
        self._stall = Stall(transport.underlying_transport, self.abort, self._limits.send_timeout)
        self._open = True
        self._keepalive = Keepalive(
            self._ask_for_life,
            self._miss,
            interval=self._limits.ping_interval,
            timeout=self._limits.pong_timeout,
        )
        self._keepalive.wait()
        self._reads.start(transport.underlying_transport)
        self._on_open(self)
        self._task = asyncio.create_task(self._run(), name="asp-socket")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take what came."""
        kind = frame.msg_type
        if not self._open:
            if kind is WSMsgType.CLOSE:
                transport.disconnect()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:  # RFC 6455 5.2
            self._close(_PROTOCOL_ERROR, "a reserved bit is set", timeout=_LINGER)
        elif kind is _BINARY and self._direct and frame.fin and self.on_binary is not None:
            data = frame.get_payload_as_bytes()
            try:
                if self.on_binary(data):
                    return  # nothing else has come, or it would wait
            except Exception as error:  # noqa: BLE001 - as in _tell
                self._break(error)
            else:
                self._direct = False
                self._inbox.add(data, frame.payload_size)
        else:
            self._take(transport, frame, kind)
        if frame.last_in_buffer and self._inbox.has_news:
            self._tell()
            if self._inbox.full and not self._paused and self._open:
                self._paused = True
                self._inbox.on_empty = self._resume_reading
                self._reads.stop(transport.underlying_transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Wait for nothing more."""
        self._reads.forget(transport.underlying_transport)
        self._open, self._lost = False, True
        self._stall.stop()
        self._keepalive.stop()
        if self._closing is not None:
            self._closing.cancel()
        self._fragments.clear()
        self._writable.set()
        self._inbox.put_nowait(_end_of(_GONE, ""))
        if self.on_lost is not None:
            self.on_lost()
        if self._task is None:
            self._on_over(self)

    def pause_writing(self) -> None:
        """Let the application wait, and see whether the client goes on taking."""
        self._writable.clear()
        self._stall.watch()

    def resume_writing(self) -> None:
        """Go on, first with what is owed."""
        self._stall.stop()
        self._flows_since = self._loop.time()
        pong, self._pong = self._pong, None
        if pong is not None and self._open:
            self._transport.send_pong(pong)
        self._writable.set()

    # --- frames -----------------------------------------------------------------------------

    def _take(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType) -> None:
        """Take a frame that is not a whole binary message."""
        if kind is WSMsgType.PING:
            if self._writable.is_set():
                transport.send_pong(frame.get_payload_as_bytes())
            else:
                self._pong = frame.get_payload_as_bytes()  # RFC 6455 5.5.3: the last is enough
        elif kind is WSMsgType.PONG:
            self._keepalive.wait()
        elif kind is WSMsgType.CLOSE:
            self._answer_close(transport, frame)
        else:
            try:
                message = self._fragments.join(frame, kind)
            except BadFrame as bad:
                self._close(bad.code.value, bad.reason, timeout=_LINGER)
            else:
                self._direct = False
                if message is not None:
                    self._inbox.add(message, self._fragments.size)

    def _tell(self) -> None:
        """Tell the application of messages, if some have come."""
        inbox = self._inbox
        if not inbox.has_news:
            return
        inbox.has_news = False
        if self._on_messages is not None:
            try:
                self._on_messages()
            except Exception as error:  # noqa: BLE001 - the last resort: told in full, not to the peer
                self._break(error)
        inbox.wake()

    def _resume_reading(self) -> None:
        self._inbox.on_empty = None
        if self._paused and not self._lost:
            self._paused = False
            self._flows_since = self._loop.time()
            self._reads.start(self._transport.underlying_transport)

    def _ask_for_life(self) -> None:
        if self._transport.is_close_frame_sent:  # by picows, over what was no frame
            self.abort()
        else:
            self._transport.send_ping(b"")

    def _miss(self, timeout: float) -> bool:
        """Close, unless it is not the client's silence: what it says may lie here unread."""
        held = self._paused or not self._writable.is_set()
        if held or self._loop.time() < self._flows_since + timeout:
            return False
        if self._reads.has_unread(self._transport.underlying_transport):
            return False
        self._close(WSCloseCode.INTERNAL_ERROR.value, "no pong came in time", timeout=_LINGER)
        return True

    # --- the end ----------------------------------------------------------------------------

    async def _run(self) -> None:
        """Run the application; whatever becomes of it, the WebSocket ends with it."""
        try:
            await self._app(self._scope, cast("Receive", self._inbox.get), self.send)
        except WebSocketDisconnect:
            pass  # said already
        except Exception as error:  # noqa: BLE001 - as in _tell
            self._break(error)
        finally:
            self._close(WSCloseCode.OK.value)
            self._task = None
            if self._lost:
                self._on_over(self)

    def _break(self, error: Exception) -> None:
        """Tell once that the application broke, hand nothing on any more, and close."""
        self._on_messages = self.on_binary = None
        _log.error("websocket_failed", path=self._scope["path"], exc_info=error)
        self._close(WSCloseCode.INTERNAL_ERROR.value)

    def _close(self, code: int, reason: str = "", *, timeout: float | None = None) -> None:
        """Begin the closing handshake, if the WebSocket is open (RFC 6455 7.1.7)."""
        if not self._open:
            return
        self._open = False
        self._transport.send_close(code, reason.encode())  # type: ignore[arg-type] # any number is taken
        self._end(code, reason, timeout or self._limits.close_timeout)

    def _answer_close(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer; then a server closes first (RFC 6455 7.1.1)."""
        found: Any = frame.get_close_code()
        code = int(getattr(found, "value", found)) or _NO_CODE
        if frame.payload_size and (code in _NEVER_SENT or code > _MAX_CODE):  # RFC 6455 7.4.2
            self._close(_PROTOCOL_ERROR, "a close code is none", timeout=_LINGER)
            return
        self._open = False
        transport.send_close(WSCloseCode.OK if code == _NO_CODE else found)
        self._end(code, "", self._limits.close_timeout)
        transport.disconnect()

    def _end(self, code: int, reason: str, timeout: float) -> None:
        """Say no more; the client has ``timeout`` seconds for its part of the end."""
        self._keepalive.stop()
        self._fragments.clear()
        self._writable.set()  # for those who wait to send: it is over
        self._inbox.put_nowait(_end_of(code, reason))
        self._resume_reading()
        left = self._transport.underlying_transport.get_write_buffer_size()
        self._closing = self._loop.call_later(timeout, self._meet_deadline, timeout, left)

    def _meet_deadline(self, timeout: float, before: int) -> None:
        left = self._transport.underlying_transport.get_write_buffer_size()
        if 0 < left < before:  # it takes what is left
            self._closing = self._loop.call_later(timeout, self._meet_deadline, timeout, left)
        else:
            self.abort()


def _end_of(code: int, reason: str) -> WebSocketDisconnectEvent:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}
