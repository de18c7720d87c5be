"""Media servers that do not read or send, send too much, or break off: nobody else is harmed."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.events import Event, SessionClosed
from palaver.server.asp_echo import EchoTest
from tests.conftest import Serve, Server
from tests.resilience.following import report
from tests.server.asp_host import ECHO, Mirror, eventually, hosting, lines, resident
from tests.server.asp_neighbours import street
from tests.server.asp_peers import (
    FRAME,
    Call,
    Heard,
    Peer,
    deaf_peer,
    dialled,
    numbers,
    opened,
    utterance,
)

CONT, TEXT, BINARY, CLOSE, PING = 0x0, 0x1, 0x2, 0x8, 0x9
PROC = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def line(serve: Serve) -> Server:
    """Serve the echo test; a client has a second for its handshake."""
    return serve(*ECHO, "--set", "asp_handshake_timeout=1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return the bytes of a frame of a client (RFC 6455 5.2); its mask is zero."""
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        head = bytes((first, 0x80 | len(payload)))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(payload))
    return head + bytes(4) + payload


def text(session_id: str, kind: str = "audio.end") -> bytes:
    """Return a message of the session."""
    return json.dumps({"type": kind, "session_id": session_id}).encode()


def put(peer: Peer, *data: bytes) -> None:
    """Write bytes under the WebSocket."""
    peer.socket.transport.write(b"".join(data))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ((frame(TEXT, b'{"type": "\xff"}'),), 1007),
        ((frame(TEXT, b'"\xe2\x82', fin=False), frame(CONT, b"x")), 1007),
        ((bytes((0x82, 5)) + b"plain",), 1002),
        ((frame(0x3, b"x"),), 1002),
        ((bytes((0xC2, 0x80)) + bytes(4),), 1002),
        ((frame(CONT, b"x"),), 1002),
        ((frame(PING, b"x" * 126),), 1002),
        ((struct.pack("!BBQ", 0x82, 0xFF, 17 * 1024 * 1024),), 1009),
        ((struct.pack("!BBQ", 0x82, 0xFF, 2**63 - 1),), 1009),
        ((os.urandom(4_000),), None),
        ((b"GET / HTTP/1.1\r\n\r\n" * 10,), 1002),
    ],
    ids=[
        "no UTF-8",
        "half a character",
        "no mask",
        "an unknown opcode",
        "a reserved bit",
        "a continuation of nothing",
        "a long ping",
        "17 MiB",
        "8 EiB",
        "noise",
        "HTTP",
    ],
)
async def test_frames_that_are_none(
    line: Server, data: tuple[bytes, ...], code: int | None
) -> None:
    """The socket closes with the code of what was wrong; its calls go on, on another one."""
    async with street(line.port) as here:
        put(here.near, *data)
        closed = await here.near.closed()
        assert code is None or closed[0] == code


async def test_a_message_in_fragments(line: Server) -> None:
    """Texts and audio may come in any pieces, with pings between them, also a byte at a time."""
    async with street(line.port) as here:
        call, speech = here.wronged, utterance(3)
        for payload in speech:
            data = call.pack(payload)
            put(here.near, frame(BINARY, data[:7], fin=False), frame(PING, b"?"))
            put(here.near, frame(CONT, data[7:20], fin=False), frame(CONT, fin=False))
            put(here.near, frame(CONT, data[20:]))
        end = text(call.id)
        whole = [frame(TEXT, end[:1], fin=False)]
        whole += [frame(CONT, bytes((one,)), fin=False) for one in end[1:]]
        put(here.near, *whole, frame(CONT))
        assert numbers(await call.answer()) == [0, 1, 2]
        for one in frame(TEXT, end):
            put(here.near, bytes((one,)))
            await asyncio.sleep(0)
        assert await call.answer() == b""
        call.kept.clear()  # what was written under the socket was not kept


async def test_a_flood_of_empty_fragments(line: Server) -> None:
    """A message of a hundred thousand pieces is a message."""
    async with street(line.port) as here:
        end = text(here.wronged.id)
        put(here.near, frame(TEXT, end, fin=False), frame(CONT, fin=False) * 100_000)
        put(here.near, frame(CONT))
        assert await here.wronged.answer() == b""


async def test_a_flood_of_pings(line: Server) -> None:
    """Fifty thousand pings are answered, or the last of them, and calls go on meanwhile."""
    async with street(line.port) as here:
        for _ in range(50):
            put(here.near, frame(PING, b"x" * 125) * 1_000)
            await here.beat()
        assert numbers(await here.wronged.echo(utterance(3))) == [0, 1, 2]


async def test_a_flood_of_mistakes(line: Server) -> None:
    """Each text is answered, bad audio once a second; others do not wait for it."""
    count = 3_000
    async with street(line.port) as here:
        waits = []
        for _ in range(10):
            put(here.near, frame(TEXT, b"{}") * (count // 10))
            put(here.near, frame(BINARY, b"junk") * (count // 10))
            waits.append(await here.beat())
        errors: list[int] = []
        async with asyncio.timeout(15):
            while errors.count(1001) < count:
                errors.append((await here.near.told("protocol.error"))["error"]["code"])
        assert errors.count(2004) <= 5
        report(f"{2 * count} mistakes; longest answer to another call {1_000 * max(waits):.0f} ms")
        assert max(waits) < 2
        here.near.other.clear()


async def test_a_client_that_says_nothing(line: Server) -> None:
    """An open TCP connection, half a request, a silent WebSocket: each ends in bounded time."""
    async with street(line.port) as here:
        began = time.perf_counter()
        silent = await opened(line.port)
        half = await asyncio.open_connection("127.0.0.1", line.port)
        half[1].write(b"GET /asp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
        await asyncio.wait_for(silent.wait_closed(), 10)
        took = time.perf_counter() - began
        half[1].close()
        assert silent.close_code == 4002
        assert 0.9 < took < 5
        assert await here.wronged.echo([]) == b""


async def test_half_closed_sockets(line: Server) -> None:
    """A client that will send no more has left; its calls wait to be resumed."""
    async with street(line.port) as here:
        here.near.socket.transport.write_eof()
        assert (await here.near.closed())[0] in {1000, 1001, 1006}
        await eventually(lambda: lines(line, "asp_session_detached", here.beside.id))
        async with dialled(line.port) as again:
            assert (await here.wronged.resume_on(again))["status"] == "accepted"
            assert numbers(await here.wronged.echo(utterance(2))) == [0, 1]


async def test_a_hundred_times_as_fast_as_the_clock(line: Server) -> None:
    """What is more than 30 s ahead is dropped and told (2005); the call is fine again after it."""
    async with street(line.port) as here:
        call = here.wronged
        ten = b"".join(utterance(10))  # 200 ms each
        await call.say(*[ten] * 500)
        error = (await call.take("protocol.error"))["error"]
        assert (error["code"], error["details"]) == (2005, {"max_lead_ms": 30_000})
        began = time.perf_counter()
        heard = await call.echo([])
        assert len(heard) // FRAME in range(1_400, 1_520)  # the last 30 s of what was taken
        assert numbers(heard)[-10:] == list(range(10))
        while True:  # as the clock goes on, there is room for more
            call.items.clear()
            await call.say(*utterance(1))
            if await call.echo([]):
                break
        assert time.perf_counter() - began < 5
        assert (await call.hang_up())["statistics"]["audio_frames_received"] < 2_000


async def talk(call: Call, seconds: float) -> None:
    """Say as much as is taken, and have it said again, until the server has enough of it."""
    ten = b"".join(utterance(10))
    with suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                for _ in range(100):
                    await call.say(ten)
                    await asyncio.sleep(0)  # a send that need not wait lets nobody else run
                await call.send("audio.end")


@PROC
async def test_clients_that_do_not_read(serve: Serve) -> None:
    """Nothing more is read from them than fits; each costs a few megabytes, and others nothing."""
    line = serve(*ECHO, "--set", "asp_max_audio_lead=1000000")
    async with street(line.port) as here:
        before = most = resident(line)
        peers = [await deaf_peer(line.port) for _ in range(5)]
        calls = [await peer.start_old(f"deaf {number}") for number, peer in enumerate(peers)]
        for peer in peers:
            peer.socket.transport.pause_reading()
        talking = [asyncio.create_task(talk(call, 4)) for call in calls]
        waits = []
        while not all(one.done() for one in talking):
            waits.append(await here.beat())
            most = max(most, resident(line))
        heard = [len(lines(line, "asp_session_closed", call.id)) for call in calls]
        for peer in peers:
            peer.drop()
        report(
            f"{len(peers)} clients that do not read: memory {before:.0f} → {most:.0f} MB; "
            f"longest answer to another call {1_000 * max(waits):.0f} ms; dropped {sum(heard)}"
        )
        assert most - before < 5 * 8
        assert max(waits) < 1
        for call in calls:
            await eventually(lambda one=call: lines(line, "asp_session_closed", one.id))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_client_that_does_not_read_is_dropped(loop: str) -> None:
    """After the time that it has to take something; nothing of it is left."""
    settings = {"loop": loop, "send_timeout": 0.5, "asp_max_audio_lead": 1_000_000}
    async with hosting(EchoTest, **settings) as host:
        before = await host.left()
        peer = await deaf_peer(host.port)
        call = await peer.start("deaf", features=())
        peer.socket.transport.pause_reading()
        began = time.perf_counter()
        await talk(call, 15)
        took = time.perf_counter() - began
        left = await host.emptied(before)
        peer.drop()
        report(f"{loop}: dropped after {took:.1f} s with 0.5 s of patience")
        assert took < 8
        assert left == before


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_client_that_reads_late(loop: str) -> None:
    """What it said meanwhile is heard in its order, and it gets all that was said to it."""
    count = 20_000
    async with hosting(Mirror, loop=loop, asp_max_audio_lead=1_000_000) as host:
        before = await host.left()
        peer = await deaf_peer(host.port)
        call = await peer.start("late", "hash12", features=())
        speech = utterance(count)
        for start in range(0, count, 5_000):
            peer.socket.transport.pause_reading()
            saying = asyncio.create_task(call.say(*speech[start : start + 5_000]))
            await asyncio.wait([saying], timeout=0.3)
            peer.socket.transport.resume_reading()
            await saying
        await peer.wait(lambda: len(call.items) > count)
        heard = b"".join(one.payload for one in call.items if isinstance(one, Heard))
        assert numbers(heard) == list(range(count))
        await call.hang_up()
        await peer.leave()
        assert await host.emptied(before) == before


class Babble:
    """Talks without end, and does not look whether anybody listens."""

    def __init__(self, call: Answering) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        call.session.start_response(call.now(), "babble")
        self._timer = self._loop.call_soon(self._talk)
        self._open = True

    def heard(self, event: Event) -> None:
        """Go on."""

    def closed(self, event: SessionClosed) -> None:
        """Stop."""
        self._open = False
        self._timer.cancel()

    def _talk(self) -> None:
        for _ in range(20):
            if self._open:
                self._call.session.send_audio(bytes(FRAME * 10), self._call.now())
        if self._open:
            self._timer = self._loop.call_later(0.001, self._talk)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("features", [(), ("session_resume",)])
async def test_an_agent_that_talks_to_nobody(loop: str, features: tuple[str, ...]) -> None:
    """What waits for a client that does not read is bounded: then it is dropped."""
    async with hosting(Babble, loop=loop, asp_resume_window=0.1) as host:
        before = await host.left()
        peer = await deaf_peer(host.port)
        await peer.start("babble", features=features)
        peer.socket.transport.pause_reading()
        async with asyncio.timeout(15):
            while await host.ask(lambda: host.endpoint._open_sockets):
                pass
        peer.drop()
        assert await host.emptied(before) == before


async def test_two_clients_that_resume_one_session(line: Server) -> None:
    """The later one has it; nothing is said twice, and the earlier one is told 4001."""
    async with (
        street(line.port) as here,
        dialled(line.port) as first,
        dialled(line.port) as second,
    ):
        call = here.wronged
        await call.say(*utterance(10))
        resume = {
            "type": "session.resume",
            "session_id": call.id,
            "resume_token": call.started["resume_token"],
            "received": call.received,
            "sending_from": 0,
        }
        answers = []
        for peer in (first, second):  # in this order: an older socket takes nothing from a newer
            await peer.send(resume)
            answers.append(await peer.told("session.resumed", call.id))
        assert [one["status"] for one in answers] == ["accepted"] * 2
        tokens = {one["resume_token"] for one in answers}
        assert len(tokens | {call.started["resume_token"]}) == 3
        end = {"type": "audio.end", "session_id": call.id}
        await asyncio.gather(*(peer.send(end) for peer in (first, second, here.near)))
        await asyncio.gather(*(peer.wait(lambda one=peer: one.other) for peer in (first, second)))
        kinds = sorted(peer.other[0]["type"] for peer in (first, second))
        assert kinds == ["protocol.error", "response.start"]
        loser = first if first.other[0]["type"] == "protocol.error" else second
        assert loser.other[0]["error"]["code"] == 4001
        assert (await call.take("protocol.error"))["error"]["code"] == 4001


async def test_tokens_that_were_used(line: Server) -> None:
    """A token holds until its successor is known to have arrived, then it is worth nothing."""
    async with street(line.port) as here, dialled(line.port) as again, dialled(line.port) as thief:
        call = here.wronged
        first = call.started["resume_token"]
        assert (await call.resume_on(again))["status"] == "accepted"
        second = call.started["resume_token"]
        await call.say(*utterance(1))  # whoever speaks there has the new token
        assert numbers(await call.echo([])) == [0]
        for token in (first, "", "x" * 300, second[:-1], second + "x", second.swapcase()):
            await thief.send(
                {
                    "type": "session.resume",
                    "session_id": call.id,
                    "resume_token": token,
                    "received": 0,
                    "sending_from": 0,
                }
            )
            if 0 < len(token) < 257:
                answer = await thief.told("session.resumed", call.id)
                assert answer["errors"][0]["code"] == 4006
            else:
                answer = await thief.told("protocol.error", call.id)
                assert answer["error"]["details"]["pointer"] == "/resume_token"
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
