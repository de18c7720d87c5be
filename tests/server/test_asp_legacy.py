"""Media servers from before ASP, beside those of 1.0.0 and 1.1, on a server that runs."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Serve, Server
from tests.server.asp_host import DENSE, ECHO, SHELLS, dense, eventually, lines
from tests.server.asp_peers import dialled, numbers, utterance
from tests.server.legacy_client import LegacyClient

SPEECH = b"".join(utterance(40))


@pytest.fixture(scope="module", params=SHELLS)
def line(serve: Serve, request: pytest.FixtureRequest) -> Server:
    """Serve the echo test, at either port."""
    if request.param == "main port":
        return serve(*ECHO)
    return dense(serve(*ECHO, *DENSE))


def url(line: Server, path: str = "/") -> str:
    """Return where an old media server connects to."""
    return f"ws://127.0.0.1:{line.port}{path}"


@pytest.mark.parametrize("path", ["/", "/asp"])
async def test_an_old_media_server_makes_a_call(line: Server, path: str) -> None:
    """It starts, is answered in the shapes that it knows, several times, and hangs up."""
    session_id = f"old{path}"
    async with LegacyClient(url(line, path)) as old:
        assert await old.start(session_id) == {"type": "session.started", "session_id": session_id}
        for _ in range(3):
            await old.say(session_id, SPEECH)
            text, audio = await old.response(session_id)
            assert (text, audio) == ("echo test", SPEECH)
        await old.hang_up(session_id)
        assert old.unknown == ["protocol.capabilities"]
    closed = await eventually(lambda: lines(line, "asp_session_closed", session_id))
    assert (closed[0]["reason"], closed[0]["audio_frames_received"]) == ("hangup", 120)


async def test_an_old_media_server_has_many_calls_on_a_socket(line: Server) -> None:
    """The hash in the header keeps them apart."""
    speech = {f"many{number}": SPEECH[number * 320 :] for number in range(5)}
    async with LegacyClient(url(line)) as old:
        for session_id in speech:
            await old.start(session_id)
        for session_id, audio in speech.items():
            await old.say(session_id, audio)
        for session_id, audio in speech.items():
            assert (await old.response(session_id))[1] == audio


async def test_an_old_media_server_that_does_not_say_goodbye(line: Server) -> None:
    """Its call ends with the socket: it cannot come back to it."""
    async with LegacyClient(url(line)) as old:
        await old.start("gone")
        old.socket.transport.abort()
        closed = await eventually(lambda: lines(line, "asp_session_closed", "gone"))
    assert closed[0]["reason"] == "connection_lost"


async def test_an_old_media_server_at_16_khz(line: Server) -> None:
    """The rate that it names is the rate of the call, not the default."""
    async with LegacyClient(url(line)) as old:
        await old.start("wide", sample_rate=16_000)
        await old.say("wide", SPEECH)
        assert (await old.response("wide"))[1] == SPEECH
    opened = lines(line, "asp_session_opened", "wide")[0]
    assert opened["audio"]["sample_rate"] == 16_000


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        ({"sample_rate": 44_100}, "UNSUPPORTED_SAMPLE_RATE"),
        ({"sample_width": 1}, "UNSUPPORTED_ENCODING"),
        ({"channels": 2}, "UNSUPPORTED_CHANNELS"),
        ({"sample_rate": "8000"}, "INVALID_MESSAGE_FORMAT"),
    ],
)
async def test_what_an_old_media_server_is_refused(
    line: Server, audio: dict[str, int], code: str
) -> None:
    """It is told in its own shape of an error, and may start again on the same socket."""
    async with LegacyClient(url(line)) as old:
        error = await old.start("r", **audio)
        assert (error["type"], error["session_id"], error["code"]) == ("error", "r", code)
        started = await old.start("r")
        assert started["type"] == "session.started"
        again = await old.start("r")
        assert (again["type"], again["code"]) == ("error", "SESSION_ALREADY_ACTIVE")
        await old.say("r", SPEECH)
        assert (await old.response("r"))[1] == SPEECH


async def test_three_generations_at_once(line: Server) -> None:
    """Each is answered in its own way, and the log tells which is which."""
    async with (
        LegacyClient(url(line)) as old,
        dialled(line.port, "/") as first,
        dialled(line.port) as newest,
    ):
        await old.start("g0")
        one = await first.start_old("g1")
        two = await newest.start("g2")
        await old.say("g0", SPEECH)
        echoes = await asyncio.gather(one.echo(utterance(40)), two.echo(utterance(40)))
        assert [numbers(echo) for echo in echoes] == [list(range(40))] * 2
        assert (await old.response("g0"))[1] == SPEECH
        modes = {
            name: lines(line, "asp_session_opened", name)[0]["legacy_mode"]
            for name in ("g0", "g1", "g2")
        }
        assert modes == {"g0": True, "g1": False, "g2": False}
        warned = [name for name in modes if lines(line, "asp_legacy_client", name)]
        assert warned == ["g0"]
