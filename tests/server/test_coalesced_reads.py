"""Connections that are read in rounds: everything arrives, and the end of each is noticed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvloop

from palaver.server.coalesced_reads import MAX_WAIT, CoalescedReads
from tests.server.asp_host import eventually

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Hearer(asyncio.BufferedProtocol):
    """Keeps what comes, ``room`` bytes a read at most; ``on_bytes`` is told of each read."""

    def __init__(self, room: int = 4096) -> None:
        self.buffer = bytearray(room)
        self.heard: list[bytes] = []
        self.lost = asyncio.Event()
        self.ended = False
        self.on_bytes: Callable[[], None] = lambda: None
        self.on_lost: Callable[[asyncio.Transport], None] = lambda _: None
        self.transport: asyncio.Transport

    @property
    def bytes(self) -> bytes:
        """All that came."""
        return b"".join(self.heard)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def get_buffer(self, sizehint: int) -> bytearray:
        """Give the buffer."""
        del sizehint
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what came."""
        self.heard.append(bytes(self.buffer[:nbytes]))
        self.on_bytes()

    def eof_received(self) -> None:
        """Note the end."""
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone."""
        del exc
        self.on_lost(self.transport)
        self.lost.set()


class Lines:
    """Connections between a test and what is tested."""

    def __init__(self) -> None:
        self.rounds = 0
        self.reads = CoalescedReads(self._count)
        self.pairs: list[tuple[socket.socket, Hearer]] = []

    def _count(self) -> None:
        self.rounds += 1

    async def open(self, room: int = 4096) -> tuple[socket.socket, Hearer]:
        """Connect once more, and have it read."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            near = socket.create_connection(listening.getsockname())
            far, _ = listening.accept()
        far.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, hearer = await loop.connect_accepted_socket(lambda: Hearer(room), far)
        hearer.on_lost = self.reads.forget
        self.reads.start(transport)
        self.pairs.append((near, hearer))
        return near, hearer


@asynccontextmanager
async def lines(count: int = 0, room: int = 4096) -> AsyncIterator[Lines]:
    """Open connections; close them in the end."""
    found = Lines()
    async with asyncio.timeout(15):
        for _ in range(count):
            await found.open(room)
        try:
            yield found
        finally:
            for near, hearer in found.pairs:
                near.close()
                hearer.transport.abort()
            for _, hearer in found.pairs:
                await hearer.lost.wait()
            found.reads.close()


def run(loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[[], Any]) -> None:
    """Run a test on a loop of its own."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("count", "room"), [(1, 4096), (3, 5), (70, 4096), (300, 7)])
def test_all_that_is_said_arrives_in_order(loop: Any, count: int, room: int) -> None:
    """Few connections or many, in one read or in several."""

    async def test() -> None:
        async with lines(count, room) as open_lines:
            for word in (b"first ", b"second ", b"third"):
                for near, _ in open_lines.pairs:
                    near.send(word)
                await asyncio.sleep(0)
            whole = b"first second third"
            await eventually(lambda: all(hearer.bytes == whole for _, hearer in open_lines.pairs))
            assert open_lines.rounds > 0

    run(loop, test)


async def test_many_are_read_once_for_what_came_meanwhile() -> None:
    """With a thousand connections, who says two things within the wait is read once for both."""
    async with lines(1000) as open_lines:
        near, hearer = open_lines.pairs[0]
        near.send(b"round. ")  # after it, his group waits
        await eventually(lambda: hearer.bytes == b"round. ")
        near.send(b"one ")
        await asyncio.sleep(0)
        near.send(b"two")
        assert open_lines.reads.wait() == MAX_WAIT
        await eventually(lambda: hearer.bytes == b"round. one two")
        assert hearer.heard == [b"round. ", b"one two"]


async def test_few_do_not_wait() -> None:
    """With a few connections, nothing waits."""
    async with lines(64) as open_lines:
        assert open_lines.reads.wait() == 0.0


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("room", [3, 4096])
def test_the_end_is_found_behind_all_words(loop: Any, room: int) -> None:
    """Who says something and closes was heard; then the protocol is told of the end."""

    async def test() -> None:
        async with lines(2, room) as open_lines:
            near, hearer = open_lines.pairs[0]
            near.send(b"the last words")
            near.close()
            await hearer.lost.wait()
            assert hearer.bytes == b"the last words"
            assert hearer.ended

    run(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reset_is_noticed(loop: Any) -> None:
    """Where words lie before it, too; the others go on."""

    async def test() -> None:
        async with lines(2) as open_lines:
            (near, hearer), (other, listens) = open_lines.pairs
            near.send(b"words")
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            await hearer.lost.wait()
            other.send(b"still here")
            await eventually(lambda: listens.bytes == b"still here")

    run(loop, test)


async def test_one_that_says_much_takes_no_more_than_its_turn() -> None:
    """Of one connection 64 KiB are read in a round, however large its buffer is."""
    async with lines(1, room=1_000_000) as open_lines:
        near, hearer = open_lines.pairs[0]
        said = bytes(range(256)) * 1_200
        await asyncio.to_thread(near.sendall, said)
        await eventually(lambda: hearer.bytes == said)
        assert max(map(len, hearer.heard)) <= 64 * 1024


async def test_what_waits_for_a_round_is_known() -> None:
    """Nobody who has said something is silent; nothing is known of one that is not read here."""
    async with lines(1) as open_lines:
        near, hearer = open_lines.pairs[0]
        reads, transport = open_lines.reads, hearer.transport
        assert not reads.has_unread(transport)
        near.send(b"hello")
        assert reads.has_unread(transport)
        await eventually(lambda: hearer.bytes == b"hello")
        assert not reads.has_unread(transport)
        reads.stop(transport)
        near.send(b"again")
        assert not reads.has_unread(transport)


async def test_who_is_stopped_is_not_read() -> None:
    """What comes meanwhile waits, and is read once it is started again."""
    async with lines(2) as open_lines:
        (near, hearer), (other, listens) = open_lines.pairs
        open_lines.reads.stop(hearer.transport)
        near.send(b"wait")
        other.send(b"now")
        await eventually(lambda: listens.bytes == b"now")
        assert hearer.bytes == b""
        open_lines.reads.start(hearer.transport)
        await eventually(lambda: hearer.bytes == b"wait")


async def test_one_that_stops_another_in_a_round() -> None:
    """The other is not read in that round any more."""
    async with lines(2) as open_lines:
        (near, hearer), (other, listens) = open_lines.pairs
        hearer.on_bytes = lambda: open_lines.reads.stop(listens.transport)
        listens.on_bytes = lambda: open_lines.reads.stop(hearer.transport)
        near.send(b"a")
        other.send(b"b")
        await eventually(lambda: open_lines.rounds > 0)
        assert sorted([hearer.bytes, listens.bytes]) in ([b"", b"a"], [b"", b"b"])


async def test_one_that_closes_itself_hears_nothing_more() -> None:
    """As with the loop's own reads: a transport that is closing is not read."""
    async with lines(1, room=1) as open_lines:
        near, hearer = open_lines.pairs[0]
        hearer.on_bytes = hearer.transport.close
        near.send(b"abc")
        await hearer.lost.wait()
        assert hearer.bytes == b"a"


@pytest.mark.parametrize("error", [ValueError("cannot read this"), BlockingIOError("nor this")])
async def test_a_protocol_that_breaks(error: Exception) -> None:
    """Its connection is dropped and the loop is told why; the others are read."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(repr(context["exception"]))
    )

    def fail() -> None:
        raise error

    async with lines(2) as open_lines:
        (near, hearer), (other, listens) = open_lines.pairs
        hearer.on_bytes = fail
        near.send(b"x")
        other.send(b"y")
        await hearer.lost.wait()
        await eventually(lambda: listens.bytes == b"y")
        assert told == [repr(error)]


async def test_a_round_that_is_cancelled() -> None:
    """The rounds go on: nobody is deaf for what one protocol has raised."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def cancel() -> None:
        raise asyncio.CancelledError

    async with lines(100) as open_lines:
        (near, hearer), (other, listens) = open_lines.pairs[:2]
        hearer.on_bytes = cancel
        near.send(b"x")
        await eventually(lambda: hearer.bytes == b"x")
        other.send(b"y")
        await eventually(lambda: listens.bytes == b"y")


async def test_nothing_is_read_after_the_end() -> None:
    """Who comes late is not read, and nothing is left of it."""
    async with lines(1) as open_lines:
        near, hearer = open_lines.pairs[0]
        open_lines.reads.close()
        open_lines.reads.start(hearer.transport)
        near.send(b"late")
        await asyncio.sleep(0)
        assert not open_lines.reads.has_unread(hearer.transport)
        assert hearer.bytes == b""


async def test_groups_take_the_room_of_those_that_left() -> None:
    """Who leaves and who comes, in any number, is read."""
    async with lines(260) as open_lines:
        for near, hearer in open_lines.pairs[:255]:
            hearer.transport.abort()
            near.close()
            await hearer.lost.wait()
        near, hearer = await open_lines.open()
        near.send(b"late")
        await eventually(lambda: hearer.bytes == b"late")
        near, hearer = open_lines.pairs[256]
        near.send(b"early")
        await eventually(lambda: hearer.bytes == b"early")
