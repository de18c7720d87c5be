"""Sending a stream: reads the log at its cursor and writes what is there, once per wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.engine.subscriptions import MAX_BATCH, Subscription
from palaver.errors import CursorExpired, StorageError
from palaver.protocols.a2a.errors import ServerBusy
from palaver.protocols.a2a.stream import ServerStream
from palaver.server.a2a_calls import OpenStream
from palaver.server.drain import Drain

__all__ = ["CONNECTION", "ClientConnection", "StreamSender", "StreamTimes"]

_log = structlog.get_logger("palaver.stream")

CONNECTION: Final = "palaver.connection"
"""Key of the ASGI scope's extensions, where our own listener puts the ``ClientConnection``."""

_MAX_BLOCK: Final = 256 * 1024
"""About how many bytes are made ready at once: what a reader that stalls holds in memory."""
_MAX_PIECE: Final = 64 * 1024
"""The most bytes of one write: as long as one of them passes in time, a client is not stalled."""

_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimes:
    """Times of a stream, in seconds; an ``idle_timeout`` of 0 means none."""

    heartbeat_interval: float
    silence_timeout: float
    idle_timeout: float
    retry_interval: float


class ClientConnection(Protocol):
    """What a stream needs of its connection beyond ASGI."""

    on_lost: Callable[[], None] | None
    """Called when the connection is lost; a stream sets it and takes it back."""

    def abort(self) -> None:
        """Drop the connection, unsent bytes too."""
        ...


class _ClientGone(Exception):
    """The client has left, or takes nothing any more."""


class StreamSender:
    """Sends streams of tasks; one object serves all streams of an endpoint."""

    def __init__(self, engine: Engine, drain: Drain, times: StreamTimes) -> None:
        self._engine = engine
        self._drain = drain
        self._times = times

    async def run(self, opened: OpenStream, asgi: tuple[Scope, Receive, Send]) -> None:
        """Send the stream until it closes, the client leaves, or the server drains.

        The snapshot of ``opened`` comes first; without it the stream resumes behind its cursor.
        """
        scope, receive, send = asgi
        stream, snapshot = opened.stream, opened.snapshot
        cursor = stream.cursor if snapshot is None else snapshot.seq
        with self._engine.subscribe(opened.task_id, cursor) as subscription:
            live = _Live(stream, subscription, send, scope)
            live.watch(receive)
            self._drain.listen(subscription.wake)
            try:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}
                )
                if snapshot is not None:
                    await live.write(stream.open(snapshot), self._times.silence_timeout)
                    del snapshot  # as large as all that was put out: not held while it goes on
                    opened.snapshot = None
                await self._follow(live)
                await live.end(self._times.silence_timeout)
            except _ClientGone:
                return
            finally:
                self._drain.unlisten(subscription.wake)
                live.stop_watching()

    async def _follow(self, live: _Live) -> None:
        """Write what the log holds and will hold, until there is no more to say."""
        stream, times = live.stream, self._times
        clock = asyncio.get_running_loop().time
        written_at = news_at = clock()
        while not stream.closed:
            now = clock()
            wait = written_at + times.heartbeat_interval - now
            if times.idle_timeout:
                wait = min(wait, news_at + times.idle_timeout - now)
            block = await self._next_block(live, max(wait, 0.0))
            now = clock()
            if live.left:
                raise _ClientGone
            if block:
                news_at = now
            elif self._must_end(live.subscription.task_id) or (
                0 < times.idle_timeout <= now - news_at
            ):
                await live.write(stream.bye(), times.silence_timeout)
                return
            elif now < written_at + times.heartbeat_interval:
                continue  # woken for nothing
            else:
                block = stream.heartbeat()
            await live.write(block, times.silence_timeout)
            written_at = now
            del block  # not held while the stream waits

    async def _next_block(self, live: _Live, wait: float) -> bytes:
        """Return what is to be written next; nothing after ``wait`` seconds, or when woken."""
        subscription, stream = live.subscription, live.stream
        try:
            events = await subscription.next(wait)
        except CursorExpired:
            # Said by a full snapshot: the events behind the cursor are no longer kept.
            task = await self._engine.get(subscription.task_id)
            subscription.cursor = task.seq
            return stream.open(task)
        except StorageError as error:
            _log.error("stream_broke", task_id=subscription.task_id, error=str(error))
            return stream.fail(ServerBusy("the store does not answer"))
        if not events:
            return b""
        block = stream.receive(events)
        fitting = len(events) * _MAX_BLOCK // (len(block) or 1)
        subscription.batch = max(1, min(fitting, MAX_BATCH))
        return block

    def _must_end(self, task_id: str) -> bool:
        """Whether the server drains, and nothing more will come from here."""
        drain = self._drain
        return drain.over or (drain.begun and not self._engine.works_here(task_id))


class _Live:
    """A stream with its connection."""

    __slots__ = ("_receiving", "_scope", "_send", "left", "stream", "subscription")

    def __init__(
        self, stream: ServerStream, subscription: Subscription, send: Send, scope: Scope
    ) -> None:
        self.stream = stream
        self.subscription = subscription
        self.left = False
        self._receiving: asyncio.Future[Any] | None = None
        self._send = send
        self._scope = scope

    def watch(self, receive: Receive) -> None:
        """Wake the reader when the client leaves."""
        connection = _connection(self._scope)
        if connection is not None:
            connection.on_lost = self._leave
            # Nobody reads them again, and a stream may live long: a kilobyte each.
            self._scope["headers"].clear()
        else:
            # Any other server says so through ASGI alone, at the price of a task for each stream.
            self._receiving = asyncio.ensure_future(receive())
            self._receiving.add_done_callback(self._leave)

    def stop_watching(self) -> None:
        """End that."""
        connection = _connection(self._scope)
        if connection is not None:
            connection.on_lost = None
        elif self._receiving is not None:
            self._receiving.cancel()

    def _leave(self, _message: object = None) -> None:
        self.left = True
        self.subscription.wake()

    async def write(self, block: bytes, silence_timeout: float) -> None:
        """Send ``block``; a client that takes nothing for that long is dropped.

        Raises:
            _ClientGone: it was.

        """
        if len(block) <= _MAX_PIECE:
            if block:
                await self._write_piece(block, silence_timeout, more=True)
            return
        for start in range(0, len(block), _MAX_PIECE):
            piece = block[start : start + _MAX_PIECE]
            await self._write_piece(piece, silence_timeout, more=True)

    async def end(self, silence_timeout: float) -> None:
        """End the response, once what was sent is nearly gone; errors are those of ``write``."""
        await self._write_piece(b"", silence_timeout, more=False)

    async def _write_piece(self, piece: bytes, silence_timeout: float, *, more: bool) -> None:
        try:
            async with asyncio.timeout(silence_timeout):
                await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            _log.info(
                "stream_stalled", task_id=self.subscription.task_id, cursor=self.stream.cursor
            )
            connection = _connection(self._scope)
            if connection is not None:
                connection.abort()
            raise _ClientGone from None


def _connection(scope: Scope) -> ClientConnection | None:
    found: ClientConnection | None = scope.get("extensions", {}).get(CONNECTION)
    return found
