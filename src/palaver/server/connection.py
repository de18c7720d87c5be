"""One HTTP/1.1 connection: uvicorn's, with bounds on what comes before the body."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, cast

import httptools
import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from palaver.server.a2a_stream import CONNECTION

__all__ = ["MAX_HEAD_BYTES", "Connection", "reset"]

MAX_HEAD_BYTES: Final = 64 * 1024
"""Bytes of a request line and its headers together, where they do not come in one piece."""
_MAX_WAITING: Final = 16
"""Requests that wait for the answer to the one before them."""
_LINGER: Final = 1.0
"""Seconds to read a refusal in."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Connection(HttpToolsProtocol):
    """HTTP/1.1 whose clients cannot send headers for ever, and whose refusals are JSON.

    Applications can drop the connection of a client that takes nothing.
    """

    # Beside the attributes of uvicorn's: with ours among them, the dict of each connection would
    # have more names than CPython shares between instances, and take a kilobyte more.
    __slots__ = (
        "_head_bytes",
        "_head_timeout",
        "_head_timer",
        "_lost",
        "_on_lost",
        "_refused",
        "_replaying_head",
        "_running",
        "_vain_bytes",
    )

    def __init__(self, *args: Any, head_timeout: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_timeout = head_timeout
        self._head_bytes: int | None = None  # None: no head is being read
        self._head_timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._replaying_head = False
        self._running: RequestResponseCycle | None = None  # the one whose answer is next
        self._vain_bytes = 0  # since a request or its body last went on
        self._lost = False
        self._on_lost: Callable[[], None] | None = None

    @property
    def on_lost(self) -> Callable[[], None] | None:
        """Called when the connection is lost; soon, if it is lost already."""
        return self._on_lost

    @on_lost.setter
    def on_lost(self, call: Callable[[], None] | None) -> None:
        self._on_lost = call
        if self._lost and call is not None:
            self.loop.call_soon(self._tell_lost)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self._head_timeout, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_timer()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._drop(self._running)
        self._lost = True
        self._tell_lost()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is still the head and there is too much of it."""
        if self._refused:
            return
        before = _progress(self.cycle)
        try:
            if not self._feed(data):
                return
        except httptools.HttpParserError:
            self._refuse(400, "this is no HTTP request that can be read")
            return
        if self._head_bytes is None:
            # Trailers, line ends before a request, extensions of chunks: none of it has an end.
            gone_on = _progress(self.cycle) != before
            self._vain_bytes = 0 if gone_on else self._vain_bytes + len(data)
            if self._vain_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the headers have more than {MAX_HEAD_BYTES} bytes")
            return
        # Nearly every head comes in one piece, so that none of this costs anything.
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"the headers have more than {MAX_HEAD_BYTES} bytes")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_timeout, self._head_is_late)

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._replaying_head:
            return
        # Not before: what begins no request does not keep the connection either.
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._head_bytes = 0
        scope = cast("dict[str, Any]", self.scope)
        scope.setdefault("extensions", {})[CONNECTION] = self

    def on_url(self, url: bytes) -> None:
        """Take a part of the path."""
        if not self._replaying_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but no trailer."""
        if self._head_bytes is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        if self._replaying_head:
            self._replaying_head = False
            return
        if len(self.pipeline) >= _MAX_WAITING:
            message = "too many requests wait on one connection"
            raise ValueError(message)  # to the parser, which stops there
        self._head_bytes = None
        self._stop_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, if this one has come to its end."""
        if self._running is not None and self._running.more_body:
            self.server_state.total_requests += 1
            self._linger()
            return
        super().on_response_complete()
        if self._head_bytes is not None:
            self._unset_keepalive_if_required()  # the timer of that head runs

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> bool:  # type: ignore[override] # there it is always None
        """Answer a client that has said all that it will say; then close.

        Whether it has left altogether shows when something is written to it: on a stream, at
        the latest with the second heartbeat.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or cycle.disconnected:
            return False
        cycle.keep_alive = False
        return True

    def _feed(self, data: bytes) -> bool:
        """Read requests; return whether the connection is still for requests."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                rest = data[upgrade.args[0] :]
                if self._should_upgrade():
                    self._hand_over(rest)
                    return False
                data = self._pass_over_upgrade(rest)
            else:
                break
        return True

    def _should_upgrade(self) -> bool:
        """Whether the request opens a WebSocket, and nothing comes before or with it."""
        before = cast("RequestResponseCycle | None", self.cycle)
        if self.ws_protocol_class is None or not (before is None or before.response_complete):
            return False
        upgrades = [value.lower() for name, value in self.headers if name == b"upgrade"]
        return (
            upgrades == [b"websocket"]
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and all(value == b"0" for name, value in self.headers if name in _FRAMING)
        )

    def _hand_over(self, rest: bytes) -> None:
        """Leave the connection to a WebSocket, with what came behind the request for it."""
        self._refused = True
        self.handle_websocket_upgrade()
        other = cast("asyncio.Protocol", self.transport.get_protocol())
        if self.flow.write_paused:
            other.pause_writing()
        if rest:
            other.data_received(rest)

    def _pass_over_upgrade(self, rest: bytes) -> bytes:
        """Go on with HTTP/1.1, as a server may that is asked for another protocol (RFC 9110 7.8).

        Java's client asks for HTTP/2 with each first request. The parser has ended that request
        at its headers, so a new one reads the body: it is told again how long that is.
        """
        framing = [
            b"%b: %b\r\n" % (name, value) for name, value in self.headers if name in _FRAMING
        ]
        self.parser = httptools.HttpRequestParser(self)
        self.cycle.more_body = True
        self._replaying_head = True
        return b"".join((b"POST / HTTP/1.1\r\n", *framing, b"\r\n", rest))

    def _tell_lost(self) -> None:
        if self._on_lost is not None:
            self._on_lost()

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
        self._refused = True
        if self.transport.is_closing():
            return
        running = self._running
        if running is not None and not running.response_complete:
            if not running.more_body:
                self._close_after_answers(running)
                return
            self._drop(running)
            if running.response_started:
                # Nothing can be said in the middle of an answer.
                self.transport.close()
                self._head_timer = self.loop.call_later(_LINGER, self.abort)
                return
        body = orjson.dumps({"error": text})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self._linger()

    def _close_after_answers(self, running: RequestResponseCycle) -> None:
        """Answer the requests that have come as a whole, and no other."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        self.cycle = self.pipeline[0][0] if self.pipeline else running
        self.cycle.keep_alive = False
        # To no end but that it is gone when the connection closes: unread, it would reset it.
        self.flow.resume_reading()

    def _drop(self, cycle: RequestResponseCycle) -> None:
        """Tell the application that its client has gone."""
        cycle.disconnected = True
        cycle.message_event.set()

    def _linger(self) -> None:
        """Close once the client has read the answer.

        Closed at once, the connection would be reset under what still comes, and the answer lost
        with it.
        """
        self._refused = True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._stop_timer()
        self._head_timer = self.loop.call_later(_LINGER, self.transport.close)

    def abort(self) -> None:
        """Drop the connection, unsent bytes too."""
        reset(self.transport)


def _progress(cycle: RequestResponseCycle | None) -> tuple[object, int]:
    """Return what changes when a request begins, or its body goes on."""
    return cycle, 0 if cycle is None else len(cycle.body)


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection, unsent bytes too."""
    # Without the reset, the kernel would hold megabytes for a client that takes nothing.
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
