"""What a server of ASP puts up with: how many, how often, how long."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus

from tests.conftest import Serve, Server
from tests.server.asp_host import ECHO, eventually, lines
from tests.server.asp_peers import Call, Peer, dialled, numbers, opened, utterance
from tests.server.legacy_client import LegacyClient

BAD = {"version": "1.1.0", "audio": {"sample_rate": 44_100}}


@pytest.fixture(scope="module")
def strict(serve: Serve) -> Server:
    """Serve few clients."""
    limits = {
        "asp_max_sessions": 4,
        "asp_max_sessions_per_socket": 2,
        "asp_max_sockets": 5,
        "asp_max_failed_starts": 3,
    }
    return serve(*ECHO, *(f"--set={name}={value}" for name, value in limits.items()))


async def start(peer: Peer, session_id: str) -> Call:
    """Start a call that ends with its socket: it takes no room after the test."""
    return await peer.start(session_id, features=())


@pytest.fixture(scope="module")
def brief(serve: Serve) -> Server:
    """Serve short calls to quick clients."""
    limits = {
        "asp_handshake_timeout": 0.5,
        "asp_idle_timeout": 0.7,
        "asp_max_session_seconds": 2.5,
        "asp_resume_window": 0.3,
    }
    return serve(*ECHO, *(f"--set={name}={value}" for name, value in limits.items()))


@pytest.mark.parametrize(
    "said",
    [
        None,
        '{"type": "session.end", "session_id": "none"}',
        "what?",
        b"\x01\x00 and so on",
        json.dumps({"type": "session.start", "session_id": "none", **BAD}),
    ],
    ids=["nothing", "another message", "no JSON", "audio", "a start that is rejected"],
)
async def test_a_handshake_that_takes_too_long(brief: Server, said: str | bytes | None) -> None:
    """Whatever a client says but a start that is accepted: 1002 is told, then it is closed."""
    async with dialled(brief.port) as peer:
        began = time.perf_counter()
        if said is not None:
            await peer.send(said)
        code, reason = await peer.closed()
        took = time.perf_counter() - began
        errors = [one["error"] for one in peer.other if one["type"] == "protocol.error"]
    assert (code, reason) == (4002, "handshake_timeout")
    assert errors[-1]["code"] == 1002
    assert errors[-1]["message"] == "no session was started within 0.5 s"
    assert not errors[-1]["recoverable"]
    assert 0.4 < took < 3


async def test_a_handshake_in_time_stays(brief: Server) -> None:
    """Once a session was there, the socket may be idle for longer than the handshake."""
    async with dialled(brief.port) as peer, dialled(brief.port) as late:
        call = await start(peer, "in time")
        await call.hang_up()
        assert await late.closed() == (4002, "handshake_timeout")
        call = await start(peer, "in time again")
        assert numbers(await call.echo(utterance(2))) == [0, 1]


async def test_sessions_of_a_socket(strict: Server) -> None:
    """One too many is rejected (4003), the others go on, and one that ends makes room."""
    async with dialled(strict.port) as peer:
        calls = [await start(peer, f"socket {number}") for number in range(2)]
        rejected = await peer.ask("one more", version="1.1.0")
        error = rejected["errors"][0]
        assert (error["code"], error["details"]["limit"]) == (4003, 2)
        await calls[0].hang_up()
        await start(peer, "now")
        assert numbers(await calls[1].echo(utterance(3))) == [0, 1, 2]


async def test_sessions_of_a_server(strict: Server) -> None:
    """One too many is rejected (4003) and its socket closed; those of others go on."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dialled(strict.port)) for _ in range(3)]
        calls = [await start(peers[number // 2], f"server {number}") for number in range(4)]
        rejected = await peers[2].ask("one more", version="1.1.0")
        error = rejected["errors"][0]
        assert (error["code"], error["details"]["limit"]) == (4003, 4)
        assert await peers[2].closed() == (4403, "session_limit_reached")
        for call in calls:
            assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
            await call.hang_up()
        async with dialled(strict.port) as again:
            await (await start(again, "there is room")).hang_up()


async def test_sessions_of_a_server_for_an_old_client(strict: Server) -> None:
    """A client from before ASP is told in its own shape, and closed."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dialled(strict.port)) for _ in range(2)]
        calls = [await start(peers[number // 2], f"old {number}") for number in range(4)]
        async with LegacyClient(f"ws://127.0.0.1:{strict.port}/") as old:
            error = await old.start("one more")
            assert (error["type"], error["code"]) == ("error", "SESSION_LIMIT_REACHED")
            await old.socket.wait_closed()
            assert old.socket.close_code == 4403
        for call in calls:
            await call.hang_up()


async def test_sockets_of_a_server(strict: Server) -> None:
    """One too many is refused before it is a WebSocket (503); one that leaves makes room."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dialled(strict.port)) for _ in range(5)]
        with pytest.raises(InvalidStatus) as refused:
            await opened(strict.port)
        response = refused.value.response
        assert response.status_code == 503
        assert json.loads(response.body or b"") == {
            "error": "5 WebSockets are open, which is the limit"
        }
        call = await start(peers[1], "among many")
        await peers[0].leave()
        async with dialled(strict.port) as again:
            await (await start(again, "room again")).hang_up()
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
        await call.hang_up()


async def test_starts_that_fail(strict: Server) -> None:
    """Three may fail in a minute; the fourth is answered, told 4003, and closed."""
    async with dialled(strict.port) as peer:
        for number in range(4):
            rejected = await peer.ask(f"failed {number}", **BAD)
            assert rejected["errors"][0]["code"] == 2001
        told = await peer.told("protocol.error")
        assert (told["error"]["code"], told["error"]["details"]) == (4003, {"limit": 3})
        assert await peer.closed() == (4403, "session_limit_reached")


async def test_starts_that_fail_beside_a_call(strict: Server) -> None:
    """A socket that others use is not closed."""
    async with dialled(strict.port) as peer:
        call = await start(peer, "untouched")
        for number in range(6):
            await peer.ask(f"failed {number}", **BAD)
        assert numbers(await call.echo(utterance(4))) == [0, 1, 2, 3]
        await call.hang_up()


async def ended(call: Call) -> tuple[dict[str, object], dict[str, object]]:
    """Return the error that ends a call, and how it ended."""
    error = await call.take("protocol.error")
    return error["error"], await call.take("session.ended")


async def test_silence_ends_a_call(brief: Server) -> None:
    """4002 and ``session.ended``; one that is not silent goes on; the socket takes another."""
    async with dialled(brief.port) as peer:
        silent = await peer.start("silent")
        began = time.perf_counter()
        busy = await peer.start("busy")
        while not silent.texts("session.ended"):
            await busy.echo(utterance(1))
        took = time.perf_counter() - began
        error, over = await ended(silent)
        assert (error["code"], error["recoverable"]) == (4002, False)
        assert error["message"] == "session 'silent' was idle for 0.7 s"
        assert over["reason"] == "idle"
        assert 0.6 < took < 2.5
        await peer.send({"type": "audio.end", "session_id": "silent"})
        stray = await silent.take("protocol.error")
        assert stray["error"]["code"] == 4001
        await busy.hang_up()
        await (await peer.start("silent")).hang_up()
    assert lines(brief, "asp_session_closed", "silent")[0]["reason"] == "idle"


async def test_the_longest_time_of_a_call(brief: Server) -> None:
    """It ends however much is said: 4002, and ``session.ended`` with what it was."""
    async with dialled(brief.port) as peer:
        assert peer.capabilities["capabilities"]["max_session_duration_seconds"] == 2
        call = await peer.start("long")
        await call.say(*utterance(7))
        while not call.texts("session.ended"):
            await call.send("audio.speech_start")
            await peer.settled()
        error, over = await ended(call)
        assert (error["code"], over["reason"]) == (4002, "max_duration")
        assert 2.4 < float(str(over["duration_seconds"])) < 4.5
        assert isinstance(over["statistics"], dict)
        assert over["statistics"]["audio_frames_received"] == 7


async def test_silence_ends_an_old_call(brief: Server) -> None:
    """A client from before ASP is told with its error; there is no ``session.ended`` for it."""
    async with LegacyClient(f"ws://127.0.0.1:{brief.port}/") as old:
        await old.start("old silent")
        error = await old.message()
        assert (error["type"], error["code"]) == ("error", "SESSION_EXPIRED")
        again = await old.start("old silent")
        assert again["type"] == "session.started"


async def test_a_call_that_is_not_resumed(brief: Server) -> None:
    """It waits for its window, then it is over, and its token is worth nothing."""
    async with dialled(brief.port) as peer:
        call = await peer.start("left")
        peer.drop()
    closed = await eventually(lambda: lines(brief, "asp_session_closed", "left"))
    assert closed[0]["reason"] == "not_resumed"
    async with dialled(brief.port) as other:
        resumed = await call.resume_on(other)
        assert (resumed["status"], resumed["errors"][0]["code"]) == ("rejected", 4006)


async def statistics(peer: Peer) -> dict[str, float]:
    """Have a call with two barge-ins, three speeches and 13 frames; return what is counted."""
    call = await peer.start("counted", "hash12")
    for number in range(3):
        await call.send("audio.speech_start", confirmed=False)
        await call.send("audio.speech_start", confirmed=True)
        await call.say(*utterance(4))
        await call.send("audio.speech_end", duration_ms=80, discarded=number == 2)
        if number < 2:
            await call.answer()
    await call.say(utterance(1)[0])
    ended = await call.hang_up()
    assert ended["duration_seconds"] < TIMEOUT
    found: dict[str, float] = ended["statistics"]
    return found


TIMEOUT = 10


async def test_statistics(brief: Server) -> None:
    """They count frames, speeches and how long answers take, in the message and in the log."""
    async with dialled(brief.port) as peer:
        async with asyncio.timeout(TIMEOUT):
            found = await statistics(peer)
    latency = found.pop("average_response_latency_ms")
    assert 0 < latency < 1_000
    assert found == {
        "audio_frames_received": 13,
        "audio_frames_sent": 8,
        "vad_speech_events": 3,
        "barge_in_count": 0,
    }
    line = lines(brief, "asp_session_closed", "counted")[0]
    assert found.items() <= line.items()
    assert line["reason"] == "call_hangup"
