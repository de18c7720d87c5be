"""The handshake of ASP over real sockets: what each kind of client is told, and in which order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.conftest import Serve, Server
from tests.server.asp_host import DENSE, ECHO, SHELLS, dense
from tests.server.asp_peers import (
    FEATURES,
    FRAME,
    FRAMINGS,
    SUBPROTOCOL,
    dialled,
    numbers,
    opened,
    utterance,
)

# Exactly what a client of 1.0.0 is sent, message by message.
OLD_SHAPES = {
    "session.started": {"type", "session_id", "status", "negotiated", "timestamp"},
    "session.updated": {"type", "session_id", "status", "negotiated", "timestamp"},
    "session.ended": {"type", "session_id", "duration_seconds", "statistics", "timestamp"},
    "response.start": {"type", "session_id", "text", "timestamp"},
    "response.end": {"type", "session_id", "timestamp"},
}
OLD_AUDIO = {"sample_rate", "encoding", "channels", "frame_duration_ms"}
OLD_VAD = {
    "enabled",
    "silence_threshold_ms",
    "min_speech_ms",
    "threshold",
    "ring_buffer_frames",
    "speech_ratio",
    "prefix_padding_ms",
}
OLD_CAPABILITIES = {
    "version",
    "supported_sample_rates",
    "supported_encodings",
    "supported_frame_durations",
    "vad_configurable",
    "vad_parameters",
    "max_session_duration_seconds",
    "features",
}


@pytest.fixture(scope="module", params=SHELLS)
def line(serve: Serve, request: pytest.FixtureRequest) -> Server:
    """Serve the echo test to pages of one other origin, at either port."""
    if request.param == "main port":
        return serve(*ECHO, "--set", "asp_allowed_origins=https://Console.example")
    return dense(serve(*ECHO, "--set", "asp_allowed_origins=https://Console.example", *DENSE))


@pytest.mark.parametrize("path", ["/asp", "/", "/agents/demo/asp"])
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((SUBPROTOCOL,), SUBPROTOCOL),
        (("chat", SUBPROTOCOL), SUBPROTOCOL),
        (("chat",), None),
        ((), None),
    ],
)
async def test_paths_and_subprotocols(
    line: Server, path: str, offered: tuple[str, ...], chosen: str | None
) -> None:
    """ASP is spoken on each path, whatever is offered; the subprotocol is chosen if it is."""
    async with dialled(line.port, path, subprotocols=offered) as peer:
        assert peer.socket.subprotocol == chosen
        call = await peer.start(f"{path}{offered}")
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]


@pytest.mark.parametrize("path", ["/agents/nobody/asp", "/agents/demo", "/asp/", "/a2a", "/x"])
async def test_where_there_is_none(line: Server, path: str) -> None:
    """Another path is answered with 404 and a reason."""
    with pytest.raises(InvalidStatus) as refused:
        await opened(line.port, path)
    response = refused.value.response
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body or b"").keys() == {"error"}


async def test_capabilities_come_first(line: Server) -> None:
    """They come at once, unasked, with all that 1.0.0 has and nothing missing."""
    socket = await opened(line.port)
    first = json.loads(await socket.recv())
    assert first["type"] == "protocol.capabilities"
    assert first.keys() == {"type", "version", "capabilities", "server_id", "timestamp"}
    assert first["version"] == first["capabilities"]["version"] == "1.1.0"
    assert first["capabilities"].keys() == OLD_CAPABILITIES | {
        "supported_framings",
        "vad_defaults",
    }
    assert first["capabilities"]["supported_framings"] == list(FRAMINGS)
    assert set(first["capabilities"]["features"]) == set(FEATURES)
    await socket.close()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"call_id": "c", "audio": {"sample_rate": 16_000}, "vad": {"threshold": 0.7}},
        {"metadata": {"source": "media-server", "transfer_retry": True}, "timestamp": "now"},
    ],
)
async def test_a_client_of_the_first_version(line: Server, members: dict[str, Any]) -> None:
    """Nothing that it receives in a whole call has a member or a type of 1.1."""
    async with dialled(line.port) as peer:
        call = await peer.start_old(f"old{len(members)}", **members)
        assert call.started.keys() == OLD_SHAPES["session.started"]
        await call.send("audio.speech_start")
        echo = await call.echo(utterance(30))
        assert numbers(echo) == list(range(30))
        await call.send("session.update", vad={"silence_threshold_ms": 50})
        updated = await call.take("session.updated")
        await call.send("audio.speech_end", duration_ms=0)
        assert await call.answer() == b""
        ended = await call.hang_up()
    assert updated["status"] == "accepted_with_changes"
    assert call.items == peer.other == []
    for message in (call.started, updated, ended):
        assert message.keys() == OLD_SHAPES[message["type"]]
    for message in (call.started, updated):
        negotiated = message["negotiated"]
        assert negotiated.keys() == {"audio", "vad", "adjustments"}
        assert negotiated["audio"].keys() == OLD_AUDIO
        assert negotiated["vad"].keys() == OLD_VAD
    # A client of 1.0.0 fails on any other member of an adjustment.
    assert updated["negotiated"]["adjustments"] == [
        {
            "field": "vad.silence_threshold_ms",
            "requested": 50,
            "applied": 100,
            "reason": "below the minimum of 100",
        }
    ]


async def test_the_responses_of_the_first_version(line: Server) -> None:
    """A client of 1.0.0 sees no id, no generation and no position in an answer."""
    async with dialled(line.port) as peer:
        call = await peer.start_old("shapes")
        await call.say(*utterance(2))
        await call.send("audio.end")
        for kind in ("response.start", "response.end"):
            assert (await call.take(kind)).keys() == OLD_SHAPES[kind]


async def test_a_client_of_the_first_version_is_adjusted(line: Server) -> None:
    """It does not know how to ask for that: the nearest that is supported is taken."""
    async with dialled(line.port) as peer:
        call = await peer.start_old("near", audio={"sample_rate": 12_000, "encoding": "opus"})
        assert call.started["status"] == "accepted_with_changes"
        changed = {
            one["field"]: one["applied"] for one in call.started["negotiated"]["adjustments"]
        }
        assert changed == {"audio.sample_rate": 8_000, "audio.encoding": "pcm_s16le"}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_client_with_every_feature(line: Server, framing: str) -> None:
    """It gets each of them, a digest, a token, and a stream where audio is framed by one."""
    async with dialled(line.port) as peer:
        call = await peer.start(f"all {framing}", framing, vad={"threshold": 0.25})
        started = call.started
        more = {"version", "features", "config_digest", "resume_token", "resume_window_ms"}
        more |= {"stream"} if framing == "asp16" else set()
        assert started.keys() == OLD_SHAPES["session.started"] | more
        assert started["status"] == "accepted"
        assert set(started["features"]) == set(FEATURES)
        await call.send("session.confirm", config_digest=started["config_digest"])
        await call.send("dtmf", digit="5", duration_ms=80)
        await call.say(*utterance(3))
        await call.say(b"\x01\x00" * (FRAME // 2 * 7))  # seven frames in one message
        await call.send("audio.end")
        begun = await call.take("response.start")
        assert (begun["response_id"], begun["generation"]) == ("r1", 1)
        done = await call.take("response.end")
        assert (done["response_id"], done["interrupted"], done["sent_ms"]) == ("r1", False, 200)
        ended = await call.hang_up()
    assert ended["statistics"]["audio_frames_received"] == 10
    assert ended["statistics"]["audio_frames_sent"] == 10
    assert peer.other == []
    assert call.errors == []


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("encoding", ["pcm_s16le", "mulaw", "alaw"])
@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("duration", [10, 20, 30])
async def test_every_audio_that_is_offered(
    line: Server, framing: str, encoding: str, rate: int, duration: int
) -> None:
    """What goes in comes out again, in all that can be agreed on, numbered without a gap."""
    size = rate * duration // 1000 * (2 if encoding == "pcm_s16le" else 1)
    audio = {"sample_rate": rate, "encoding": encoding, "frame_duration_ms": duration}
    async with dialled(line.port) as peer:
        call = await peer.start(f"{audio}{framing}"[:128], audio=audio | {"framing": framing})
        assert call.started["negotiated"]["audio"] == audio | {"channels": 1, "framing": framing}
        for _ in range(2):
            assert numbers(await call.echo(utterance(25, size)), size) == list(range(25))
        assert call.errors == []


async def test_a_rejected_start_may_be_repeated(line: Server) -> None:
    """The rejection says what is supported; the same socket takes the same id again."""
    async with dialled(line.port) as peer:
        bad = {"version": "1.1.0", "audio": {"sample_rate": 44_100, "frame_duration_ms": 25}}
        rejected = await peer.ask("retry", **bad)
        assert rejected.keys() == {"type", "session_id", "status", "errors", "timestamp"}
        assert rejected["status"] == "rejected"
        found = [(one["code"], one["details"]["supported"]) for one in rejected["errors"]]
        assert found == [(2001, [8_000, 16_000]), (2003, [10, 20, 30])]
        call = await peer.start("retry", audio={"sample_rate": found[0][1][1]})
        assert await call.echo([]) == b""


async def test_a_client_that_asks_to_be_adjusted(line: Server) -> None:
    """With ``negotiation: adjust`` the nearest is taken, and told."""
    async with dialled(line.port) as peer:
        call = await peer.start("adjust", negotiation="adjust", audio={"sample_rate": 44_100})
        assert call.started["status"] == "accepted_with_changes"
        assert call.audio["sample_rate"] == 16_000


@pytest.mark.parametrize("version", ["2.0.0", "0.9.0"])
async def test_another_major_version(line: Server, version: str) -> None:
    """It is told 1004 with the version that is spoken, and the socket closes."""
    async with dialled(line.port) as peer:
        rejected = await peer.ask("v2", version=version)
        error = rejected["errors"][0]
        assert (error["code"], error["recoverable"]) == (1004, False)
        assert error["details"]["supported"] == ["1.1.0"]
        assert await peer.closed() == (4004, "version_mismatch")


async def test_another_major_version_beside_a_call(line: Server) -> None:
    """The socket stays where a session runs on it."""
    async with dialled(line.port) as peer:
        call = await peer.start("fine")
        rejected = await peer.ask("v2", version="2.0.0")
        assert rejected["errors"][0]["code"] == 1004
        assert numbers(await call.echo(utterance(5))) == list(range(5))


async def test_an_early_start(line: Server) -> None:
    """A start that is sent before the capabilities were read is as good as any."""
    socket = await opened(line.port)
    await socket.send('{"type": "session.start", "session_id": "early"}')
    kinds = [json.loads(await socket.recv())["type"] for _ in range(2)]
    assert kinds == ["protocol.capabilities", "session.started"]
    await socket.close()


HERE = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("", 101),
        (HERE, 101),
        ("HTTP://127.0.0.1:{port}", 101),
        ("https://console.example", 101),
        ("https://CONSOLE.example/", 101),
        ("http://console.example", 403),
        ("https://console.example:444", 403),
        ("https://console.example.evil.example", 403),
        ("https://evil.example", 403),
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1", 403),
        ("null", 403),
        ("file://", 403),
        ("http://127.0.0.1:{port}@evil.example", 403),
        ("http://[", 403),
        ("http://[::1", 403),
        ("http://\xe9", 403),
        ("://", 403),
        ("x" * 5_000, 403),
    ],
)
async def test_origins(line: Server, origin: str | None, status: int) -> None:
    """Pages of the server and of the named origins may connect, and clients that are no page."""
    headers = {} if origin is None else {"Origin": origin.replace("{port}", str(line.port))}
    if status == 101:
        socket = await opened(line.port, additional_headers=headers)
        await socket.close()
        return
    with pytest.raises(InvalidStatus) as refused:
        await opened(line.port, additional_headers=headers)
    assert refused.value.response.status_code == status
    assert "asp_allowed_origins" in json.loads(refused.value.response.body or b"")["error"]
