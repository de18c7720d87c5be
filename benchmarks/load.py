"""The load client: keep-alive connections that ask, wait for the whole answer, and ask again.

It is a raw asyncio `Protocol` on uvloop which sends ready bytes and parses next to nothing, so
that the server is the slower side by far; `Outcome.client_busy` tells whether that held.
"""

import asyncio
import functools
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar, cast

import uvloop

Check = Callable[[bytes], None]
T = TypeVar("T")

EXCHANGE_TIMEOUT = 60.0
_END_OF_CHUNKS = b"\r\n0\r\n\r\n"
_CONTENT_LENGTH = b"content-length:"


@dataclass(slots=True)
class Outcome:
    """What one load run saw. All times are seconds, sizes are bytes.

    `first` holds, per answer, the time from sending the request to the first event (streams) or
    to the whole answer (replies). `client_busy` is the client's CPU time over elapsed time.
    """

    answers: int = 0
    elapsed: float = 0.0
    received: int = 0
    client_busy: float = 0.0
    first: list[float] = field(default_factory=list)
    last_answer: bytes = b""


class LoadConnection(asyncio.Protocol):
    """One connection; it asks again after each answer until `stop_at` (monotonic seconds)."""

    def __init__(self, requests: Iterator[bytes], check: Check, outcome: Outcome) -> None:
        self._requests = requests
        self._check = check
        self._outcome = outcome
        self._transport: asyncio.Transport
        self._pieces: list[bytes] = []
        self._asked_at = 0.0
        self._stop_at = 0.0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; nothing is sent before `start`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail unless the load was over."""
        if not self.finished.done():
            self.finished.set_exception(exc or ConnectionError("the server closed the connection"))

    def start(self, stop_at: float) -> None:
        """Send the first request; no request is sent once it is `stop_at`."""
        self._stop_at = stop_at
        self._ask()

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _ask(self) -> None:
        self._pieces.clear()
        self._asked_at = time.monotonic()
        self._transport.write(next(self._requests))

    def _answered(self) -> None:
        answer = b"".join(self._pieces)
        try:
            self._check(answer)
        except Exception as error:  # noqa: BLE001 - handed to the waiting caller
            self._fail(error)
            return
        outcome = self._outcome
        outcome.answers += 1
        outcome.received += len(answer)
        outcome.last_answer = answer
        if time.monotonic() < self._stop_at:
            self._ask()
        elif not self.finished.done():
            self.finished.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)
        self.close()


class StreamConnection(LoadConnection):
    """Asks for streams: chunked answers, timed up to their first event."""

    _first_seen = False

    def data_received(self, data: bytes) -> None:
        """Take a piece of the stream; its end is the terminal chunk."""
        self._pieces.append(data)
        if not self._first_seen and (b"data:" in data or b"data:" in b"".join(self._pieces)):
            self._first_seen = True
            self._outcome.first.append(time.monotonic() - self._asked_at)
        if data.endswith(_END_OF_CHUNKS) or (
            len(data) < len(_END_OF_CHUNKS) and b"".join(self._pieces[-8:]).endswith(_END_OF_CHUNKS)
        ):
            self._first_seen = False
            self._answered()
        elif not self._first_seen and b"content-length:" in data.lower():
            self._fail(ConnectionError(f"a plain answer instead of a stream: {data!r}"))


class ReplyConnection(LoadConnection):
    """Asks for single replies: answers with a Content-Length, timed up to their last byte."""

    def data_received(self, data: bytes) -> None:
        """Take a piece of the reply; its end is known from its Content-Length."""
        self._pieces.append(data)
        whole = data if len(self._pieces) == 1 else b"".join(self._pieces)
        head_end = whole.find(b"\r\n\r\n")
        if head_end < 0:
            return
        if len(whole) - head_end - 4 >= _content_length(whole[:head_end]):
            self._outcome.first.append(time.monotonic() - self._asked_at)
            self._answered()


def _content_length(head: bytes) -> int:
    head = head.lower()
    start = head.index(_CONTENT_LENGTH) + len(_CONTENT_LENGTH)
    return int(head[start : start + 12].split(b"\r", 1)[0])


class IdleConnection(asyncio.Protocol):
    """Asks once and keeps its stream open; `opened` is done when `mark` has arrived."""

    def __init__(self, request: bytes, mark: bytes) -> None:
        self._request = request
        self._mark = mark
        self._seen = b""
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for the mark that tells that the agent is at work."""
        self._seen += data
        if self._mark in self._seen and not self.opened.done():
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if the stream had not opened."""
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError(f"closed after {self._seen!r}"))

    @property
    def is_open(self) -> bool:
        """Whether the stream still stands."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.abort()


async def apply_load(
    connection_type: type[LoadConnection],
    port: int,
    requests: Iterator[bytes],
    check: Check,
    *,
    connections: int,
    seconds: float,
) -> Outcome:
    """Ask over `connections` connections for `seconds`, let what is under way end, and report.

    Connecting is not part of the measured time. With `seconds` 0 each connection asks once.
    """
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    make = functools.partial(connection_type, requests, check, outcome)
    opened = [
        (await loop.create_connection(make, "127.0.0.1", port))[1] for _ in range(connections)
    ]
    gc.collect()
    gc.disable()
    cpu_before, started = time.process_time(), time.monotonic()
    try:
        for connection in opened:
            connection.start(started + seconds)
        async with asyncio.timeout(seconds + EXCHANGE_TIMEOUT):
            await asyncio.gather(*(connection.finished for connection in opened))
    finally:
        outcome.elapsed = time.monotonic() - started
        outcome.client_busy = (time.process_time() - cpu_before) / outcome.elapsed
        gc.enable()
        for connection in opened:
            connection.close()
    return outcome


async def open_idle_streams(
    port: int, requests: Iterator[bytes], mark: bytes, count: int
) -> list[IdleConnection]:
    """Open `count` streams, one after the other, each until `mark` has arrived on it."""
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(count):
        make = functools.partial(IdleConnection, next(requests), mark)
        _, connection = await loop.create_connection(make, "127.0.0.1", port)
        async with asyncio.timeout(EXCHANGE_TIMEOUT):
            await connection.opened
        opened.append(connection)
    return opened


def run_client(work: Awaitable[T]) -> T:
    """Run the client's coroutine on uvloop."""

    async def main() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
