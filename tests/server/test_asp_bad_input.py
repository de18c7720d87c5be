"""Bad messages: each is answered with its error, and nobody beside it is harmed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Serve, Server
from tests.server.asp_host import DENSE, ECHO, SHELLS, dense, eventually, lines
from tests.server.asp_neighbours import Street, street
from tests.server.asp_peers import (
    FRAME,
    FRAMINGS,
    asp16,
    dialled,
    hash12,
    numbers,
    seq14,
    utterance,
)

ME, NOBODY = "WRONGED", None
SILENT = b"\0" * FRAME


@pytest.fixture(scope="module", params=SHELLS)
def line(serve: Serve, request: pytest.FixtureRequest) -> Server:
    """Serve the echo test, at either port."""
    if request.param == "main port":
        return serve(*ECHO)
    return dense(serve(*ECHO, *DENSE))


def start(**members: Any) -> dict[str, Any]:
    """Return a start of a session that is there no more when it was answered."""
    return {"type": "session.start", "session_id": "new", "version": "1.1.0"} | members


def of(kind: str, session_id: Any = ME, **members: Any) -> dict[str, Any]:
    """Return a message."""
    return {"type": kind, "session_id": session_id} | members


async def said(here: Street, kind: str, session_id: str | None) -> dict[str, Any]:
    """Return what the server answers."""
    if session_id == here.wronged.id:
        return await here.wronged.take(kind)
    return await here.near.told(kind, session_id)


REJECTED = [
    # a start → code, pointer or field
    (start(audio={"sample_rate": "16000"}), 1001, "/audio/sample_rate"),
    (start(audio={"sample_rate": 16000.0}), 1001, "/audio/sample_rate"),
    (start(audio={"sample_rate": True}), 1001, "/audio/sample_rate"),
    (start(audio={"sample_rate": None}), 1001, "/audio/sample_rate"),
    (start(audio={"sample_rate": -8_000}), 2001, "audio.sample_rate"),
    (start(audio={"sample_rate": 10**30}), 1001, "/audio/sample_rate"),
    (start(audio={"encoding": "opus"}), 2002, "audio.encoding"),
    (start(audio={"encoding": 1}), 1001, "/audio/encoding"),
    (start(audio={"frame_duration_ms": 0}), 2003, "audio.frame_duration_ms"),
    (start(audio={"frame_duration_ms": -20}), 2003, "audio.frame_duration_ms"),
    (start(audio={"channels": 2}), 2006, "audio.channels"),
    (start(audio={"channels": "1"}), 1001, "/audio/channels"),
    (start(audio={"framing": "rtp"}), 2007, "audio.framing"),
    (start(audio={"framing": "seq14"}), 2007, None),
    (start(audio=None), 1001, "/audio"),
    (start(audio=[]), 1001, "/audio"),
    (start(vad="loud"), 3001, "/vad"),
    (start(vad={"threshold": "0.5"}), 3001, "/vad/threshold"),
    (start(vad={"threshold": None}), 3001, "/vad/threshold"),
    (start(vad={"enabled": None}), 3001, "/vad/enabled"),
    (start(vad={"enabled": 1}), 3001, "/vad/enabled"),
    (start(vad={"ring_buffer_frames": 5.5}), 3001, "/vad/ring_buffer_frames"),
    (start(version=1), 1001, "/version"),
    (start(version="1"), 1001, "/version"),
    (start(features="all"), 1001, "/features"),
    (start(features=["x"] * 65), 1001, "/features"),
    (start(audio_offers=[]), 1001, "/audio_offers"),
    (start(negotiation="maybe"), 1001, "/negotiation"),
    (start(call_id=7), 1001, "/call_id"),
    (start(call_id="c" * 257), 1001, "/call_id"),
    (start(metadata=[]), 1001, "/metadata"),
    (start(metadata={str(number): 0 for number in range(65)}), 1001, "/metadata"),
    (start(session_id="APART"), 1005, None),
]


@pytest.mark.parametrize(("message", "code", "where"), REJECTED)
async def test_a_start_that_is_rejected(
    line: Server, message: dict[str, Any], code: int, where: str | None
) -> None:
    """``session.started rejected`` names the field; a start that is right follows it."""
    async with street(line.port) as here:
        message = json.loads(json.dumps(message).replace("APART", here.apart.id))
        await here.near.send(message)
        session_id = message["session_id"]
        rejected = await said(here, "session.started", session_id)
        assert rejected["status"] == "rejected"
        error = rejected["errors"][0]
        details = error.get("details", {})
        assert (error["code"], details.get("field", details.get("pointer"))) == (code, where)
        assert error["message"]
        if session_id == "new":
            await (await here.near.start("new")).hang_up()


ERRORS: list[tuple[str | dict[str, Any], int, str | None, str | None]] = [
    # text → code, pointer, session that it is told in
    ("", 1001, "", NOBODY),
    ("hello", 1001, "", NOBODY),
    ("[]", 1001, "", NOBODY),
    ("17", 1001, "", NOBODY),
    ("null", 1001, "", NOBODY),
    ('"session.start"', 1001, "", NOBODY),
    ("[" * 60_000, 1001, "", NOBODY),
    ('{"a":' * 10_000 + "1" + "}" * 10_000, 1001, "", NOBODY),
    ('{"type": "session.start", "session_id": "new", "vad": {"threshold": NaN}}', 1001, "", NOBODY),
    (
        '{"type": "session.start", "session_id": "new", "vad": {"threshold": 1e999}}',
        1001,
        "",
        NOBODY,
    ),
    ('{"type": "session.end", "session_id": "\\ud800"}', 1001, "", NOBODY),
    ('{"type": "audio.end", "session_id": "WRONGED"} ', 0, None, ME),
    ("{}", 1001, "/type", NOBODY),
    ({"session_id": ME}, 1001, "/type", ME),
    (of(5), 1001, "/type", ME),  # type: ignore[arg-type]
    (of(None), 1001, "/type", ME),  # type: ignore[arg-type]
    (of("session.begin"), 1003, "/type", ME),
    (of(" rejected"), 1003, "/type", ME),
    (of("session.started"), 1001, "/status", ME),
    (of("session.started", status="accepted"), 1003, "/type", ME),
    (of("response.start"), 1003, "/type", ME),
    (of("response.cancel"), 1001, "/response_id", ME),
    (of("audio.end", None), 1001, "/session_id", NOBODY),
    (of("audio.end", 12), 1001, "/session_id", NOBODY),
    (of("audio.end", ""), 1001, "/session_id", NOBODY),
    (of("audio.end", "x" * 129), 1001, "/session_id", NOBODY),
    ({"type": "audio.end"}, 1001, "/session_id", NOBODY),
    (start(session_id=None), 1001, "/session_id", NOBODY),
    (start(session_id=["new"]), 1001, "/session_id", NOBODY),
    (of("audio.end", "ghost"), 4001, None, "ghost"),
    (of("session.end", "ghost"), 4001, None, "ghost"),
    (of("session.end", "APART"), 4001, None, "APART"),
    (of("session.update", "APART", vad={"threshold": 0.9}), 4001, None, "APART"),
    (of("session.start"), 1005, None, ME),
    (of("session.start", audio={"sample_rate": 16_000}), 1005, None, ME),
    (of("session.ack", received=-1), 1001, "/received", ME),
    (of("session.ack", received=10**6), 1001, "/received", ME),
    (of("session.ack"), 1001, "/received", ME),
    (of("dtmf", digit="E"), 1001, "/digit", ME),
    (of("dtmf", digit="11"), 1001, "/digit", ME),
    (of("audio.speech_end", duration_ms=-1), 1001, "/duration_ms", ME),
    (of("x" * 10_000), 1003, "/type", ME),
    ({"type": "dtmf", "session_id": ME, "digit": "1", "more": "x" * 70_000}, 1001, "", NOBODY),
    (json.dumps(of("audio.end", more="x" * 10_000_000)), 1001, "", NOBODY),
]


@pytest.mark.parametrize(("message", "code", "where", "whose"), ERRORS)
async def test_a_message_that_is_refused(
    line: Server,
    message: str | dict[str, Any],
    code: int,
    where: str | None,
    whose: str | None,
) -> None:
    """``protocol.error`` names the field and the session; everything goes on, the session too."""
    async with street(line.port) as here:
        text = message if isinstance(message, str) else json.dumps(message)
        text = text.replace(ME, here.wronged.id).replace("APART", here.apart.id)
        await here.near.send(text)
        if code:
            whose = {ME: here.wronged.id, "APART": here.apart.id}.get(whose or "", whose)
            told = await said(here, "protocol.error", whose)
            error = told["error"]
            assert (error["code"], error.get("details", {}).get("pointer")) == (code, where)
            assert len(error["message"]) < 300
        else:
            assert await here.wronged.answer() == b""
        assert numbers(await here.wronged.echo(utterance(3))) == [0, 1, 2]


@pytest.mark.parametrize(
    ("members", "code", "where"),
    [
        ({"vad": {"threshold": "0.9"}}, 3001, "/vad/threshold"),
        ({"vad": {"min_speech_ms": None}}, 3001, "/vad/min_speech_ms"),
        ({"vad": None}, 3001, "/vad"),
        ({"scope": "day"}, 1001, "/scope"),
    ],
)
async def test_an_update_that_cannot_be_read(
    line: Server, members: dict[str, Any], code: int, where: str
) -> None:
    """``session.updated rejected`` names the field; the session goes on as it was."""
    async with street(line.port) as here:
        await here.wronged.send("session.update", **members)
        answer = await here.wronged.take("session.updated")
        assert answer["status"] == "rejected"
        error = answer["errors"][0]
        assert (error["code"], error["details"]["pointer"]) == (code, where)
        assert numbers(await here.wronged.echo(utterance(3))) == [0, 1, 2]


async def test_a_wrong_token(line: Server) -> None:
    """A session cannot be taken by who does not know its token: whether it is there is not told."""
    async with street(line.port) as here:
        texts = set()
        for session_id in (here.apart.id, here.wronged.id, "ghost"):
            resume = of("session.resume", session_id, resume_token="x", received=0, sending_from=0)
            await here.near.send(resume)
            answer = await said(here, "session.resumed", session_id)
            error = answer["errors"][0]
            assert (answer["status"], error["code"]) == ("rejected", 4006)
            texts.add(error["message"].replace(session_id, ""))
        assert len(texts) == 1


async def test_values_that_are_out_of_range(line: Server) -> None:
    """They are no mistake: each is moved to the end of its range, and told."""
    vad = {"silence_threshold_ms": -1, "threshold": 1e9, "ring_buffer_frames": 0}
    async with street(line.port) as here:
        await here.wronged.send("session.update", vad=vad)
        updated = await here.wronged.take("session.updated")
        assert updated["status"] == "accepted_with_changes"
        applied = {one["field"]: one["applied"] for one in updated["negotiated"]["adjustments"]}
        assert applied == {
            "vad.silence_threshold_ms": 100,
            "vad.threshold": 1.0,
            "vad.ring_buffer_frames": 3,
        }


AUDIO = [
    # audio of a stream → code; None stands for what is taken
    (b"", 2004),
    (b"\xa5", 2004),
    (b"\x01", 2004),
    (b"\x01\x00" + b"x" * 9, 2004),
    (b"\x00" * 400, 2004),
    (b"\xff" * 65_536, 2004),
    (b"\x02\x00" + b"\x00" * 400, 2004),
    (b"\xa5\x12" + b"\x00" * 400, 2004),
    (b"\xa5\x21" + b"\x00" * 400, 2004),
    (hash12("nobody", SILENT), 4001),
    (asp16(60_000, 0, 0, SILENT), 4001),
    (seq14(0, 0, SILENT), 4001),
]


@pytest.mark.parametrize(("data", "code"), AUDIO)
async def test_audio_of_nobody(line: Server, data: bytes, code: int) -> None:
    """Junk, and audio of sessions that are not there, is answered, once a second at most."""
    async with street(line.port) as here:
        for _ in range(20):
            await here.near.send(data)
        error = (await here.near.told("protocol.error"))["error"]
        assert error["code"] == code
        assert numbers(await here.wronged.echo(utterance(3))) == [0, 1, 2]
        assert len(here.near.other) <= 1


async def test_audio_before_a_start(line: Server) -> None:
    """It is of no session; the start that comes after it is taken."""
    async with dialled(line.port) as peer:
        await peer.send(hash12("early audio", SILENT))
        assert (await peer.told("protocol.error"))["error"]["code"] == 4001
        call = await peer.start("early audio", "hash12")
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]


async def test_audio_of_the_session_next_door(line: Server) -> None:
    """A stream belongs to its socket: nobody can speak into a call on another one."""
    async with street(line.port) as here:
        await here.near.send(asp16(here.apart.started["stream"], 15, 2_400, SILENT))
        assert (await here.near.told("protocol.error"))["error"]["code"] == 4001


@pytest.mark.parametrize("size", [0, 1, 2, 159, FRAME - 1, FRAME + 1, FRAME * 11, 65_535])
@pytest.mark.parametrize("framing", ["asp16", "hash12"])
async def test_audio_of_a_wrong_size(line: Server, framing: str, size: int) -> None:
    """1.1 sends 1 to 10 whole frames: 2004, and the audio around it is heard."""
    async with street(line.port, framing) as here:
        call, speech = here.wronged, utterance(4)
        await call.say(*speech[:2], b"x" * size, *speech[2:])
        error = (await call.take("protocol.error"))["error"]
        assert error["code"] == 2004
        assert error["details"] == {"bytes_per_frame": FRAME}
        assert numbers(await call.echo([])) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 319, 1_601])
async def test_half_samples_of_the_first_version(line: Server, size: int) -> None:
    """1.0.0 may send any number of samples, but whole ones."""
    async with dialled(line.port) as peer:
        call = await peer.start_old(f"odd {size}")
        await call.say(b"x" * size)
        assert (await call.take("protocol.error"))["error"]["code"] == 2004
        await call.say(b"".join(utterance(3))[:500], b"".join(utterance(3))[500:])
        assert numbers(await call.echo([])) == [0, 1, 2]


@pytest.mark.parametrize("framing", FRAMINGS[1:])
async def test_numbers_out_of_order(line: Server, framing: str) -> None:
    """A number that came before is refused (2004), one that was skipped is told in the log."""
    session_id = f"order {framing}"
    async with dialled(line.port) as peer:
        call = await peer.start(session_id, framing)
        speech = utterance(6)
        packed = [call.pack(one) for one in speech]
        for number in (0, 1, 1, 0, 4, 2, 5):
            await call.put(packed[number])
        error = (await call.take("protocol.error"))["error"]
        assert (error["code"], error["details"]) == (2004, {"expected": 2})
        assert numbers(await call.echo([])) == [0, 1, 4, 5]
        missing = await eventually(lambda: lines(line, "asp_audio_missing", session_id))
        assert [(one["seq"], one["count"]) for one in missing] == [(4, 2)]
        assert (await call.hang_up())["statistics"]["audio_frames_received"] == 4


async def test_a_number_far_ahead(line: Server) -> None:
    """Two thousand million missing messages cost nothing, and the audio goes on behind them."""
    async with dialled(line.port) as peer:
        call = await peer.start("far ahead")
        stream = call.started["stream"]
        for number in range(4):
            seq = number * 0x7FFF_FFFF & 0xFFFF_FFFF
            await call.put(asp16(stream, seq, number * 160, utterance(4)[number]))
        assert numbers(await call.echo([])) == [0, 1, 2, 3]
