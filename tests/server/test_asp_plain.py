"""ASP behind a server that knows nothing but ASGI, and at the dense port: all is as at ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from websockets.exceptions import InvalidStatus

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.events import Event, SessionClosed
from palaver.server.asp_echo import EchoTest
from tests.server.asp_host import Host, Mirror, hosting
from tests.server.asp_neighbours import street
from tests.server.asp_peers import (
    FRAME,
    FRAMINGS,
    SUBPROTOCOL,
    Heard,
    Peer,
    deaf_peer,
    dialled,
    numbers,
    opened,
    utterance,
)
from tests.server.legacy_client import LegacyClient

SHELLS = [(loop, shell) for loop in ("uvloop", "asyncio") for shell in ("plain", "dense")]
each_shell = pytest.mark.parametrize(("loop", "shell"), SHELLS)


@pytest.fixture(params=SHELLS, ids="-".join)
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    """Serve the echo test; nothing may be left of the calls of a test."""
    loop, shell = request.param
    settings = {
        "loop": loop,
        shell: True,
        "asp_handshake_timeout": 0.5,
        "asp_resume_window": 0.5,
        "asp_max_sockets": 6,
    }
    async with hosting(EchoTest, **settings) as serving:
        before = await serving.left()
        yield serving
        assert await serving.emptied(before) == before


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_call(host: Host, framing: str) -> None:
    """It is negotiated, echoed, updated and ended."""
    async with dialled(host.port) as peer:
        assert peer.socket.subprotocol == SUBPROTOCOL
        call = await peer.start("plain", framing)
        for _ in range(3):
            assert numbers(await call.echo(utterance(60))) == list(range(60))
        await call.send("session.update", vad={"threshold": 0.9})
        assert (await call.take("session.updated"))["effective_seq"] == 180
        assert (await call.hang_up())["statistics"]["audio_frames_sent"] == 180


async def test_a_call_from_before_asp(host: Host) -> None:
    """It is answered in the shapes that it knows."""
    async with LegacyClient(f"ws://127.0.0.1:{host.port}/") as old:
        await old.start("old")
        await old.say("old", b"".join(utterance(20)))
        assert (await old.response("old"))[1] == b"".join(utterance(20))
        await old.hang_up("old")


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [("/agents/nobody/asp", None, 404), ("/asp", "https://evil.example", 403), ("/x", None, 404)],
)
async def test_refusals(host: Host, path: str, origin: str | None, status: int) -> None:
    """They have their status and their reason."""
    headers = {} if origin is None else {"Origin": origin}
    with pytest.raises(InvalidStatus) as refused:
        await opened(host.port, path, additional_headers=headers)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"").keys() == {"error"}


async def test_one_socket_too_many(host: Host) -> None:
    """It is refused with 503."""
    sockets = [await opened(host.port) for _ in range(6)]
    with pytest.raises(InvalidStatus) as refused:
        await opened(host.port)
    assert refused.value.response.status_code == 503
    for socket in sockets:
        await socket.close()


async def test_a_handshake_that_takes_too_long(host: Host) -> None:
    """1002 is told, and the socket closed with 4002."""
    async with dialled(host.port) as peer:
        assert await peer.closed() == (4002, "handshake_timeout")
        assert peer.other[0]["error"]["code"] == 1002  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "code"), [("{", 1001), ("{}", 1001), ('{"type": "x"}', 1003), (b"junk", 2004)]
)
async def test_bad_messages(host: Host, data: str | bytes, code: int) -> None:
    """They are answered, and nobody beside is harmed."""
    async with street(host.port) as here:
        await here.near.send(data)
        assert (await here.near.told("protocol.error"))["error"]["code"] == code
        await here.wronged.hang_up()


async def test_a_call_that_is_resumed(host: Host) -> None:
    """Nothing is lost or doubled."""
    async with dialled(host.port) as peer:
        call = await peer.start("resumed")
        for _ in range(10):
            await call.say(*utterance(7))
            call.peer.drop()
            await call.say(*utterance(3))
            again = Peer(await opened(host.port))
            assert (await call.resume_on(again))["status"] == "accepted"
            assert numbers(await call.echo([])) == [*range(7), *range(3)]
        assert (await call.hang_up())["statistics"]["audio_frames_received"] == 100
        await call.peer.leave()


@each_shell
async def test_a_client_that_reads_late(loop: str, shell: str) -> None:
    """What it said meanwhile is heard in its order, and it gets all that was said to it."""
    count = 8_000
    async with hosting(Mirror, loop=loop, asp_max_audio_lead=1_000, **{shell: True}) as host:
        before = await host.left()
        peer = await deaf_peer(host.port)
        call = await peer.start("late", "hash12", features=())
        for start in range(0, count, 4_000):
            peer.socket.transport.pause_reading()
            saying = asyncio.create_task(call.say(*utterance(count)[start : start + 4_000]))
            await asyncio.wait([saying], timeout=0.3)
            peer.socket.transport.resume_reading()
            await saying
        await peer.wait(lambda: len(call.items) > count)
        heard = b"".join(one.payload for one in call.items if isinstance(one, Heard))
        assert numbers(heard) == list(range(count))
        await call.hang_up()
        await peer.leave()
        assert await host.emptied(before) == before


class Flood:
    """Says 20 MB as soon as it can."""

    def __init__(self, call: Answering) -> None:
        self._call = call
        self._open = True
        asyncio.get_running_loop().call_soon(self._talk)

    def heard(self, event: Event) -> None:
        """Take no notice."""

    def closed(self, event: SessionClosed) -> None:
        """Stop."""
        self._open = False

    def _talk(self) -> None:
        if self._open:
            self._call.session.start_response(self._call.now())
        for _ in range(20_000_000 // (FRAME * 10)):
            if self._open:
                self._call.session.send_audio(bytes(FRAME * 10), self._call.now())


@each_shell
async def test_a_client_that_does_not_read(loop: str, shell: str) -> None:
    """What waits for it is bounded: then it is let go, and what it had is free."""
    async with hosting(
        Flood, loop=loop, send_timeout=0.5, asp_resume_window=0.1, **{shell: True}
    ) as host:
        before = await host.left()
        peers = [await deaf_peer(host.port) for _ in range(2)]
        began = time.perf_counter()
        for number, peer in enumerate(peers):
            peer.socket.transport.pause_reading()
            start = {"type": "session.start", "session_id": f"deaf {number}"}
            with suppress(ConnectionError):
                await peer.send(start)
        async with asyncio.timeout(10):
            while (await host.left())["open sockets"] or not await host.ask(
                lambda: host.endpoint.sessions._last_stream == len(peers)
            ):
                pass
        assert time.perf_counter() - began < 5
        for peer in peers:
            peer.drop()
        assert await host.emptied(before) == before


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_drain(loop: str) -> None:
    """Clients are told, idle ones closed, new ones refused; what does not end is ended."""
    async with (
        hosting(EchoTest, plain=True, loop=loop, drain_timeout=0.5) as host,
        dialled(host.port) as peer,
        dialled(host.port) as idle,
    ):
        call = await peer.start("stays")
        draining = asyncio.run_coroutine_threadsafe(host.app.drain(), host.loop)
        assert (await peer.told("protocol.go_away"))["grace_ms"] == 500
        assert await idle.closed() == (1001, "shutdown")
        with pytest.raises(InvalidStatus) as refused:
            await opened(host.port)
        assert refused.value.response.status_code == 503
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
        assert (await call.take("session.ended"))["reason"] == "shutdown"
        assert await peer.closed() == (1001, "shutdown")
        await asyncio.wrap_future(draining)
