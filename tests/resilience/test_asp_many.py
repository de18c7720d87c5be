"""Many calls, of all kinds: they succeed, and nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.events import Event, MessageReceived, SessionClosed
from palaver.protocols.asp.messages import DtmfMessage
from palaver.server.asp_echo import EchoTest
from tests.resilience.following import report
from tests.server.asp_host import Host, files, hosting
from tests.server.asp_peers import FRAMINGS, dialled, numbers, opened, utterance
from tests.server.legacy_client import LegacyClient

HANDSHAKES = 1_000
PARALLEL = 50
PROC = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@PROC
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_thousand_handshakes(loop: str) -> None:
    """50 at a time, each on a socket of its own: more than 99.9 % succeed, and soon."""
    async with hosting(EchoTest, loop=loop) as host:
        before, held = await host.left(), files()
        turns = asyncio.Semaphore(PARALLEL)
        times: list[float] = []

        async def shake(number: int) -> None:
            async with turns:
                began = time.perf_counter()
                async with dialled(host.port) as peer:
                    call = await peer.start(f"shake {number}", FRAMINGS[number % 3])
                    times.append(time.perf_counter() - began)
                    await call.hang_up()

        failed = await asyncio.gather(
            *(shake(number) for number in range(HANDSHAKES)), return_exceptions=True
        )
        errors = [one for one in failed if one is not None]
        times.sort()
        p50, p95 = (1_000 * times[int(len(times) * part)] for part in (0.5, 0.95))
        report(
            f"{loop}: {len(times)} of {HANDSHAKES} handshakes, {PARALLEL} at once: "
            f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"
        )
        assert len(errors) < HANDSHAKES / 1_000, errors[:3]
        assert await host.ask(lambda: len(host.endpoint.sessions)) == 0
        assert await host.emptied(before) == before
        assert files() <= held


class Fragile(EchoTest):
    """Echoes, but breaks at the digits 1 and 2, and does not take calls of that name."""

    def __init__(self, call: Answering) -> None:
        if call.session.call_id == "refuse":
            raise ValueError("I do not take this call")
        super().__init__(call)

    def heard(self, event: Event) -> None:
        """Break, or echo."""
        match event:
            case MessageReceived(message=DtmfMessage()):
                raise ValueError("I do not like digits")
        super().heard(event)

    def closed(self, event: SessionClosed) -> None:
        """Break as well."""
        super().closed(event)
        if event.reason == "break":
            raise ValueError("I do not like the end")


async def whole(host: Host, name: str) -> None:
    """Have a call as it should be."""
    async with dialled(host.port) as peer:
        call = await peer.start(name)
        assert numbers(await call.echo(utterance(10))) == list(range(10))
        await call.send("session.update", vad={"threshold": 0.7})
        await call.take("session.updated")
        await call.hang_up()


async def old(host: Host, name: str) -> None:
    """Have a call from before ASP."""
    async with LegacyClient(f"ws://127.0.0.1:{host.port}/") as client:
        await client.start(name)
        await client.say(name, b"".join(utterance(10)))
        await client.response(name)
        await client.hang_up(name)


async def dropped(host: Host, name: str) -> None:
    """Lose the socket, and do not come back."""
    async with dialled(host.port) as peer:
        call = await peer.start(name, "hash12")
        await peer.start(f"{name} too")
        await call.say(*utterance(5))
        peer.drop()


async def resumed(host: Host, name: str) -> None:
    """Lose the socket, and come back, twice."""
    async with (
        dialled(host.port) as peer,
        dialled(host.port) as again,
        dialled(host.port) as at_last,
    ):
        call = await peer.start(name)
        await call.say(*utterance(5))
        peer.drop()
        await call.resume_on(again)
        await call.resume_on(at_last)  # the one before is open still
        assert numbers(await call.echo([])) == list(range(5))
        await call.hang_up()


async def rejected(host: Host, name: str) -> None:
    """Start in vain, on a socket that is closed then."""
    async with dialled(host.port) as peer:
        await peer.ask(name, version="1.1.0", audio={"sample_rate": 1})
        await peer.ask(name, version="7.0.0")
        assert (await peer.closed())[0] == 4004


async def nothing(host: Host, name: str) -> None:
    """Open a socket, and say no sense, or nothing."""
    del name
    async with dialled(host.port) as peer:
        await peer.send("sense")
    socket = await opened(host.port)
    socket.transport.abort()


async def broken(host: Host, name: str) -> None:
    """Have the agent break, at the beginning, in the middle and at the end."""
    async with dialled(host.port) as peer:
        refused = await peer.start(name, call_id="refuse")
        assert (await refused.take("protocol.error"))["error"]["code"] == 1006
        assert (await refused.take("session.ended"))["reason"] == "error"
        call = await peer.start(name)
        await call.say(*utterance(5))
        await call.send("dtmf", digit="1")
        assert (await call.take("protocol.error"))["error"]["code"] == 1006
        assert (await call.take("session.ended"))["reason"] == "error"
        last = await peer.start(name)
        await last.send("session.end", reason="break")
        await last.take("session.ended")


async def cut(host: Host, name: str) -> None:
    """Break off in the middle of the handshake."""
    _, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(b"GET /asp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(
        b"Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    start = json.dumps({"type": "session.start", "session_id": name}).encode()
    writer.write(bytes((0x81, 0x80 | len(start))) + bytes(4) + start[:20])
    await writer.drain()
    writer.transport.abort()


async def mute(host: Host, name: str) -> None:
    """Send a lot, read nothing, and leave."""
    socket = await opened(host.port)
    socket.transport.pause_reading()
    with suppress(ConnectionClosed):
        await socket.send(json.dumps({"type": "session.start", "session_id": name}))
        for _ in range(200):
            await socket.send("{}")
    socket.transport.abort()


KINDS: tuple[Callable[[Host, str], Awaitable[None]], ...] = (
    whole,
    old,
    dropped,
    resumed,
    rejected,
    nothing,
    broken,
    cut,
    mute,
)


@PROC
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_nothing_is_left(loop: str) -> None:
    """After 300 calls of nine kinds, 30 at a time: no task, no session, no socket, no listener."""
    settings = {"loop": loop, "asp_resume_window": 0.2}
    async with hosting(Fragile, **settings) as host:
        before, held = await host.left(), files()
        turns = asyncio.Semaphore(30)
        order = [KINDS[number % len(KINDS)] for number in range(300)]
        random.Random(3).shuffle(order)

        async def have(number: int) -> None:
            async with turns:
                await order[number](host, f"call {number}")

        await asyncio.gather(*(have(number) for number in range(len(order))))
        assert await host.emptied(before) == before
        assert files() <= held
        metrics = host.endpoint._metrics
        assert metrics is not None
        assert metrics._running == {}
