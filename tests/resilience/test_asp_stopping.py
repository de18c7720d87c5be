"""SIGTERM during calls: who can be told is told, calls may end, and the process leaves in time."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import Serve, Server
from tests.resilience.following import report
from tests.server.asp_host import ECHO, eventually, hosting, lines
from tests.server.asp_peers import Call, deaf_peer, dialled, numbers, opened, utterance
from tests.server.legacy_client import LegacyClient


async def started(serve: Serve, **settings: float) -> Server:
    """Return a server of the echo test."""
    return await asyncio.to_thread(
        serve, *ECHO, *(f"--set={name}={value}" for name, value in settings.items())
    )


async def left(server: Server) -> tuple[int, float]:
    """Return the exit code, and how long it took from now on."""
    began = time.perf_counter()
    code = await asyncio.to_thread(server.process.wait, 20)
    return code, time.perf_counter() - began


async def ended(call: Call) -> None:
    """See that the call was ended by the server."""
    over = await call.take("session.ended")
    assert over.get("reason") == ("shutdown" if call.started.get("version") else None)
    assert await call.peer.closed() == (1001, "shutdown")


async def test_calls_may_end(serve: Serve) -> None:
    """Who knows it is told to go away; calls go on; when the last has ended, the server leaves."""
    server = await started(serve, drain_timeout=10)
    async with (
        dialled(server.port) as newest,
        dialled(server.port) as plain,
        LegacyClient(f"ws://127.0.0.1:{server.port}/") as legacy,
    ):
        call = await newest.start("knows it")
        other = await plain.start_old("does not")
        await legacy.start("never will")
        server.process.send_signal(signal.SIGTERM)
        told = await newest.told("protocol.go_away")
        assert (told["reason"], told["grace_ms"]) == ("shutdown", 10_000)
        rejected = await newest.ask("one more", version="1.1.0")
        error = rejected["errors"][0]
        assert (error["code"], error["message"]) == (4003, "the server is stopping: connect again")
        for one in (call, other):
            assert numbers(await one.echo(utterance(20))) == list(range(20))
        await legacy.say("never will", b"".join(utterance(20)))
        assert len((await legacy.response("never will"))[1]) == 20 * 320
        assert server.process.poll() is None
        await legacy.hang_up("never will")
        await other.hang_up()
        ended = await call.hang_up()
        assert "reason" not in ended
        assert await newest.closed() == (1001, "shutdown")
        assert await plain.closed() == (1001, "shutdown")
        assert plain.other == newest.other == other.items == []
        assert legacy.unknown == ["protocol.capabilities"]
    code, took = await left(server)
    report(f"exit {code}, {took:.2f} s after the last call")
    assert code == 0
    assert took < 3
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


async def test_calls_that_do_not_end(serve: Serve) -> None:
    """They are ended when the time is over, on every socket, and each client hears so."""
    server = await started(serve, drain_timeout=0.5)
    async with (
        dialled(server.port) as first,
        dialled(server.port) as second,
        LegacyClient(f"ws://127.0.0.1:{server.port}/") as legacy,
    ):
        calls = [await first.start("one"), await first.start("two", "hash12")]
        calls += [await second.start_old("three")]
        await legacy.start("four")
        server.process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        await asyncio.gather(*(ended(call) for call in calls))
        waited = time.perf_counter() - began
        with suppress(ConnectionClosed):
            await legacy.socket.recv()
        assert legacy.socket.close_code == 1001
    code, took = await left(server)
    report(f"ended after {waited:.2f} s of 0.5 s; exit {code} after {took:.2f} s more")
    assert code == 0
    assert 0.4 < waited < 3
    assert took < 3
    for name in ("one", "two", "three", "four"):
        assert lines(server, "asp_session_closed", name)[0]["reason"] == "shutdown"


async def test_idle_sockets_hold_nothing_up(serve: Serve) -> None:
    """Sockets without a call, and calls without a socket, are closed at once."""
    server = await started(serve, drain_timeout=15)
    async with (
        dialled(server.port) as never,
        dialled(server.port) as once,
        dialled(server.port) as lost,
        dialled(server.port) as failed,
    ):
        await (await once.start("was there")).hang_up()
        await lost.start("lost")
        await failed.ask("failed", version="1.1.0", audio={"sample_rate": 1})
        lost.drop()
        await eventually(lambda: lines(server, "asp_session_detached", "lost"))
        server.process.send_signal(signal.SIGTERM)
        for peer in (never, once, failed):
            assert await peer.closed() == (1001, "shutdown")
            assert peer.other == []
    code, took = await left(server)
    report(f"exit {code} after {took:.2f} s")
    assert code == 0
    assert took < 3
    assert lines(server, "asp_session_closed", "lost")[0]["reason"] == "shutdown"


async def test_a_call_that_is_lost_during_the_drain(serve: Serve) -> None:
    """Nobody can come back to it: the server does not wait for that."""
    server = await started(serve, drain_timeout=15)
    async with dialled(server.port) as peer:
        await peer.start("leaves")
        server.process.send_signal(signal.SIGTERM)
        await peer.told("protocol.go_away")
        peer.drop()
    code, took = await left(server)
    report(f"exit {code} after {took:.2f} s")
    assert code == 0
    assert took < 3
    assert lines(server, "asp_session_closed", "leaves")[0]["reason"] == "shutdown"


async def test_a_client_that_does_not_read_during_the_drain(serve: Serve) -> None:
    """It cannot be told; the process does not wait for it."""
    server = await started(serve, drain_timeout=0.3, asp_max_audio_lead=1_000_000)
    peer = await deaf_peer(server.port)
    call = await peer.start("deaf")
    peer.socket.transport.pause_reading()
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while True:
                for _ in range(100):
                    await call.say(b"".join(utterance(10)))
                await call.send("audio.end")
    server.process.send_signal(signal.SIGTERM)
    code, took = await left(server)
    peer.drop()
    report(f"exit {code} after {took:.2f} s with a client that reads nothing")
    assert code == 0
    assert took < 0.3 + 5 + 3


async def test_a_second_signal_ends_calls_at_once(serve: Serve) -> None:
    """SIGTERM twice: nobody is waited for."""
    server = await started(serve, drain_timeout=30)
    async with dialled(server.port) as peer:
        await peer.start("cut")
        server.process.send_signal(signal.SIGTERM)
        await peer.told("protocol.go_away")
        server.process.send_signal(signal.SIGTERM)
        _, took = await left(server)
        await peer.closed()
    report(f"ended {took:.2f} s after the second signal")
    assert took < 3


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_sockets_that_come_during_the_drain(loop: str) -> None:
    """Who still reaches the server is refused with 503; who was admitted just before is closed."""
    async with hosting(loop=loop, drain_timeout=15) as host:
        async with dialled(host.port) as peer:
            call = await peer.start("stays")
            draining = asyncio.run_coroutine_threadsafe(host.app.drain(), host.loop)
            await peer.told("protocol.go_away")
            with pytest.raises(InvalidStatus) as refused:
                await opened(host.port)
            response = refused.value.response
            assert response.status_code == 503
            assert json.loads(response.body or b"") == {"error": "the server is stopping"}
            await call.hang_up()
            assert await peer.closed() == (1001, "shutdown")
            await asyncio.wrap_future(draining)
        assert (await host.left())["sockets"] == 0
