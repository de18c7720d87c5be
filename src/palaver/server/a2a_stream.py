"""Sending a stream: reads the log at its cursor and writes what is there, once per wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.engine.subscriptions import MAX_BATCH, Subscription
from palaver.errors import CursorExpired, StorageError
from palaver.model.task import Task
from palaver.protocols.a2a.errors import ServerBusy
from palaver.protocols.a2a.stream import ServerStream
from palaver.server.drain import Drain

__all__ = ["ABORT", "StreamSender", "StreamTimes"]

_log = structlog.get_logger("palaver.stream")

ABORT: Final = "palaver.abort"
"""Key of the ASGI scope's extensions: a function that drops the connection, unsent bytes too."""

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


class _ClientGone(Exception):
    """The client has left, or takes nothing any more."""


class StreamSender:
    """Sends streams of tasks; one object serves all streams of an endpoint."""

    def __init__(self, engine: Engine, drain: Drain, times: StreamTimes) -> None:
        self._engine = engine
        self._drain = drain
        self._times = times

    async def run(
        self,
        stream: ServerStream,
        task_id: str,
        snapshot: Task | None,
        asgi: tuple[Scope, Receive, Send],
    ) -> None:
        """Send the stream until it closes, the client leaves, or the server drains.

        ``snapshot`` comes first; without it the stream resumes behind its cursor.
        """
        scope, receive, send = asgi
        cursor = stream.cursor if snapshot is None else snapshot.seq
        with self._engine.subscribe(task_id, cursor) as subscription:
            left = asyncio.ensure_future(receive())
            left.add_done_callback(lambda _: subscription.wake())
            unlisten = self._drain.listen(subscription.wake)
            live = _Live(stream, subscription, send, left, scope)
            try:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}
                )
                if snapshot is not None:
                    await live.write(stream.open(snapshot), self._times.silence_timeout)
                    del snapshot
                await self._follow(live)
                await live.end(self._times.silence_timeout)
            except _ClientGone:
                return
            finally:
                unlisten()
                left.cancel()

    async def _follow(self, live: _Live) -> None:
        """Write what the log holds and will hold, until there is no more to say."""
        stream, times = live.stream, self._times
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while not stream.closed:
            try:
                events = await live.subscription.next(times.heartbeat_interval)
            except CursorExpired:
                # Said by a full snapshot: the events behind the cursor are no longer kept.
                task = await self._engine.get(live.subscription.task_id)
                live.subscription.cursor = task.seq
                await live.write(stream.open(task), times.silence_timeout)
                continue
            except StorageError as error:
                _log.error("stream_broke", task_id=live.subscription.task_id, error=str(error))
                broken = ServerBusy("the store does not answer")
                await live.write(stream.fail(broken), times.silence_timeout)
                return
            if live.left.done():
                raise _ClientGone
            if events:
                quiet_since = loop.time()
                block = stream.receive(events)
                fitting = len(events) * _MAX_BLOCK // (len(block) or 1)
                live.subscription.batch = max(1, min(fitting, MAX_BATCH))
                await live.write(block, times.silence_timeout)
            elif (
                self._must_end(live.subscription.task_id)
                or 0 < times.idle_timeout <= loop.time() - quiet_since
            ):
                await live.write(stream.bye(), times.silence_timeout)
                return
            else:
                await live.write(stream.heartbeat(), times.silence_timeout)

    def _must_end(self, task_id: str) -> bool:
        """Whether the server drains, and nothing more will come from here."""
        drain = self._drain
        return drain.over or (drain.begun and not self._engine.works_here(task_id))


class _Live:
    """A stream with its connection."""

    __slots__ = ("_scope", "_send", "left", "stream", "subscription")

    def __init__(
        self,
        stream: ServerStream,
        subscription: Subscription,
        send: Send,
        left: asyncio.Future[MutableMapping[str, Any]],
        scope: Scope,
    ) -> None:
        self.stream = stream
        self.subscription = subscription
        self.left = left
        self._send = send
        self._scope = scope

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
            abort = self._scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()
            raise _ClientGone from None
