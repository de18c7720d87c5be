"""The client's end of a socket: capabilities, answers, errors, and what is a misuse (§4, §7)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, NegotiatedConfig, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse, Rejection, protocol_error
from palaver.protocols.asp.events import (
    AudioMissing,
    AudioReceived,
    CapabilitiesReceived,
    Close,
    ErrorReceived,
    ErrorSent,
    HandshakeFailed,
    MessageReceived,
    PeerGoingAway,
    SessionClosed,
    SessionOpened,
    SessionRejected,
)
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.session import Applied
from palaver.protocols.asp.states import LinkState, SessionState
from palaver.testing.asp_pair import EVERYTHING, AspPair
from tests.protocols.asp.ends import FRAME, OLD, RawServer, capabilities_of


def ready(**options: Any) -> RawServer:
    """Return a server whose capabilities are there."""
    peer = RawServer(**options)
    peer.introduce()
    peer.heard()
    return peer


# --- capabilities -----------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", [True, False])
def test_the_capabilities_are_waited_for(*, subprotocol: bool) -> None:
    """Nothing can be started before they are there; then they are told, and known."""
    peer = RawServer(subprotocol=subprotocol)
    with pytest.raises(Misuse, match="the server is not ready for one"):
        peer.end.start(peer.session(), 0.0)
    assert peer.heard() == []
    peer.say("protocol.capabilities", server_id="agent-1", **capabilities_of(EVERYTHING))
    assert peer.events == [CapabilitiesReceived(EVERYTHING, "agent-1")]
    assert peer.end.capabilities == EVERYTHING
    assert peer.end.state is LinkState.CAPS_RECEIVED
    peer.end.start(peer.session(), 0.0)
    assert [one["type"] for one in peer.heard()] == ["session.start"]


@pytest.mark.parametrize("version", ["2.0.0", "0.1.0"])
def test_a_server_of_another_major_version(version: str) -> None:
    """Nobody could be understood there: the socket is closed with 4004."""
    peer = RawServer()
    capabilities = EVERYTHING.model_copy(update={"version": version})
    assert peer.introduce(capabilities) == [Close(4004, "version_mismatch")]
    error = peer.told(HandshakeFailed)[0].error
    assert error.code == ErrorCode.VERSION_MISMATCH
    assert error.message == f"version: the server speaks {version}; this is 1.1.0"
    assert peer.end.next_timeout() is None
    assert peer.introduce() == []
    assert peer.wait(100.0) == []


def test_capabilities_that_cannot_be_read() -> None:
    """They are refused, and still waited for."""
    peer = RawServer(subprotocol=True)
    said = peer.say("protocol.capabilities", capabilities={"supported_sample_rates": "all"})
    assert said == []  # nothing is said to a server of which nothing is known
    assert peer.told(ErrorSent)[0].error.code == 1001
    assert peer.end.state is LinkState.CONNECTED
    peer.introduce()
    assert peer.end.state is LinkState.CAPS_RECEIVED


def test_capabilities_of_1_0() -> None:
    """A server of 1.0.0 is known by its version, and takes what 1.0.0 has."""
    peer = RawServer()
    peer.introduce(OLD)
    session = peer.asked(audio=AudioConfig(framing=Framing.ASP16))
    negotiated = {"audio": {"sample_rate": 8000}, "vad": {}, "adjustments": []}
    peer.say("session.started", session_id="s", status="accepted", negotiated=negotiated)
    assert session.framing is Framing.HASH12
    assert session.features == frozenset()
    assert peer.audio("s", bytes(2000)) == []  # 125 ms: 1.0.0 says nothing of whole frames
    assert len(peer.told(AudioReceived)) == 1


# --- starting ---------------------------------------------------------------------------------


def test_what_is_asked_for_is_spelled_out() -> None:
    """Every VAD value is there; what the caller left open is the server's default."""
    peer = RawServer()
    peer.introduce(EVERYTHING.model_copy(update={"vad_defaults": VADConfig(min_speech_ms=300)}))
    peer.end.start(peer.session(vad=VADConfig(threshold=0.7), call_id="c"), 0.0)
    start = peer.heard()[0]
    assert start["vad"] == VADConfig(threshold=0.7, min_speech_ms=300).model_dump()
    assert start["audio"] == AudioConfig().model_dump(exclude_none=True)
    assert (start["session_id"], start["call_id"], start["version"]) == ("s", "c", "1.1.0")


def test_a_session_that_was_accepted() -> None:
    """It runs what the server answered, and is told so once."""
    peer = ready()
    session = peer.asked()
    negotiated = {
        "audio": {"sample_rate": 16000, "framing": "asp16"},
        "vad": {"threshold": 0.3},
        "adjustments": [],
    }
    peer.accept(negotiated=negotiated, stream=7)
    assert session.state is SessionState.ACTIVE
    opened = peer.told(SessionOpened)[0]
    assert opened.config == session.config == NegotiatedConfig.model_validate(negotiated)
    session.send_audio(bytes(640), 0.0)
    assert peer.heard()[-1][:4] == b"\xa5\x11\x07\x00"
    peer.audio("s", bytes(640), framing=Framing.ASP16, stream=7, seq=0, samples=0)
    assert len(peer.told(AudioReceived)) == 1


def test_a_session_that_was_rejected() -> None:
    """It never began; the errors say why, and it may be asked for again."""
    peer = ready()
    session = peer.asked()
    error = protocol_error(ErrorCode.UNSUPPORTED_SAMPLE_RATE, "no").model_dump()
    peer.say("session.started", session_id="s", status="rejected", errors=[error])
    assert [one.code for one in peer.told(SessionRejected)[0].errors] == [2001]
    assert session.state is SessionState.IDLE
    assert session.link is None
    assert peer.end.sessions == {}
    assert peer.end.next_timeout() is None
    peer.end.start(session, 0.0)
    peer.accept()
    assert session.state is SessionState.ACTIVE


def test_a_rejection_without_reasons() -> None:
    """A server may leave them out."""
    peer = ready()
    peer.asked()
    peer.say("session.started", session_id="s", status="rejected")
    assert peer.told(SessionRejected) == [SessionRejected("s", ())]


def test_an_error_in_place_of_an_answer() -> None:
    """It rejects the start: the server could not even read it."""
    peer = ready()
    session = peer.asked()
    error = protocol_error(ErrorCode.SESSION_ALREADY_ACTIVE, "taken").model_dump()
    peer.say("protocol.error", session_id="s", error=error)
    assert [one.code for one in peer.told(SessionRejected)[0].errors] == [1005]
    assert len(peer.told(ErrorReceived)) == 1
    assert session.state is SessionState.IDLE


UNUSABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"negotiated": None}, "negotiated: missing", "/negotiated"),
    (
        {"negotiated": {"audio": {"sample_rate": 11_025}, "vad": {}}},
        "negotiated: sample_rate must be one of 8000, 16000, 24000, 48000, not 11025",
        "/negotiated",
    ),
    (
        {"negotiated": {"audio": {}, "vad": {"min_speech_ms": 5}}},
        "negotiated: min_speech_ms must be 100-1000, not 5",
        "/negotiated",
    ),
    (
        {"negotiated": {"audio": {"framing": "asp16"}, "vad": {}}},
        "stream: missing, and asp16 needs it",
        "/stream",
    ),
]


@pytest.mark.parametrize(("members", "message", "pointer"), UNUSABLE)
def test_an_answer_that_cannot_be_run(members: dict[str, Any], message: str, pointer: str) -> None:
    """The server is told why, and to end what it has begun."""
    peer = ready()
    session = peer.asked()
    said = peer.accept(**members)
    assert [one["type"] for one in said] == ["protocol.error", "session.end"]
    assert said[0]["error"]["message"] == message
    assert said[0]["error"]["details"] == {"pointer": pointer}
    assert said[1]["reason"] == "invalid_answer"
    assert peer.told(SessionRejected)[0].errors[0].message == message
    assert peer.told(SessionOpened) == []
    peer.say("session.ended", session_id="s")
    assert session.state is SessionState.CLOSED
    assert peer.end.sessions == {}


def picky(_session_id: str, config: NegotiatedConfig) -> Applied:
    """Run anything but one value."""
    if config.vad.threshold == 0.9:
        raise Rejection(protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, "no such detector"))
    return Applied(config.audio, config.vad)


def test_a_pipeline_that_does_not_start() -> None:
    """What the client's pipeline refuses (3003) ends the session on both sides."""
    pair = AspPair(client_configure=picky)
    session = pair.open(SessionRequest(session_id="s", vad=VADConfig(threshold=0.9)))
    assert pair.told(Side.CLIENT, SessionRejected)[0].errors[0].code == 3003
    assert pair.told(Side.CLIENT, SessionOpened) == []
    assert pair.told(Side.SERVER, SessionClosed)[0].reason == "vad_initialization_error"
    assert session.state is SessionState.CLOSED
    assert len(pair.registry) == 0


def test_a_pipeline_that_does_not_follow() -> None:
    """The server has switched already: the session ends on both sides, and both know why."""
    pair = AspPair(client_configure=picky)
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.9), 0.0)
    pair.pump()
    for side in Side:
        reasons = [one.reason for one in pair.told(side, SessionClosed)]
        assert reasons == ["vad_initialization_error"]
    assert pair.told(Side.CLIENT, ErrorSent)[0].error.code == 3003
    assert session.state is SessionState.CLOSED
    assert pair.client.sessions == {}


def test_a_session_is_started_once() -> None:
    """Neither a second start of it nor another one of its id is possible meanwhile."""
    peer = ready()
    session = peer.asked()
    for one in (session, peer.session()):
        with pytest.raises(Misuse, match="is on this socket already"):
            peer.end.start(one, 0.0)
    assert peer.heard() == []
    peer.accept()
    peer.closed()
    assert session.state is SessionState.ACTIVE
    other = ready()
    with pytest.raises(Misuse, match=r"active: session\.start cannot be sent now"):
        other.end.start(session, 0.0)
    assert other.end.sessions == {}
    assert other.end.next_timeout() is None
    assert session.link is None


def test_a_start_that_would_be_too_long() -> None:
    """What the server would refuse unread is our own mistake; nothing of it is left."""
    peer = ready()
    session = peer.session(metadata={"note": "x" * 70_000})
    with pytest.raises(Misuse, match="must be at most 8192 bytes of JSON"):
        peer.end.start(session, 0.0)
    assert session.state is SessionState.IDLE
    assert peer.end.sessions == {}
    assert peer.heard() == []
    assert peer.end.next_timeout() is None


# --- later ------------------------------------------------------------------------------------


def test_the_server_ends_the_session() -> None:
    """The client is told the server's reason and its figures."""
    peer = ready()
    session = peer.opened()
    statistics = {"audio_frames_received": 9, "barge_in_count": 1}
    peer.say(
        "session.ended",
        session_id="s",
        reason="hangup",
        duration_seconds=4.5,
        statistics=statistics,
    )
    closed = peer.told(SessionClosed)[0]
    assert (closed.reason, closed.duration_seconds) == ("hangup", 4.5)
    assert closed.statistics is not None
    assert closed.statistics.audio_frames_received == 9
    assert session.state is SessionState.CLOSED
    assert session.link is None


def test_both_sides_end_the_session() -> None:
    """Ends that cross are one end on each side."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    session.end(0.0)
    pair.agent("s").end(0.0, "hangup")
    pair.pump()
    pair.handle_timeouts()
    for side in Side:
        assert len(pair.told(side, SessionClosed)) == 1
    assert pair.told(Side.CLIENT, SessionClosed)[0].reason == "hangup"


def test_what_the_server_said_before_it_heard_of_the_end() -> None:
    """Audio and messages still arrive while the session ends, and after it are left alone."""
    peer = ready()
    session = peer.opened()
    session.end(0.0)
    peer.heard()
    peer.say("response.start", session_id="s", text="hi")
    peer.audio("s")
    peer.say("response.end", session_id="s")
    assert len(peer.told(MessageReceived)) == 2
    assert len(peer.told(AudioReceived)) == 1
    peer.say("session.ended", session_id="s")
    assert peer.told(SessionClosed)[0].reason == "ended"
    mark = len(peer.events)
    assert peer.say("response.start", session_id="s") == []
    assert peer.audio("s") == []
    assert peer.since(mark) == []


def test_an_error_of_the_server() -> None:
    """It is told, of the session or of the socket; the session goes on."""
    peer = ready()
    session = peer.opened()
    error = protocol_error(ErrorCode.AUDIO_PROCESSING_ERROR, "noise").model_dump()
    peer.say("protocol.error", session_id="s", error=error)
    peer.say("protocol.error", error=error)
    peer.say("protocol.error", session_id="gone", error=error)
    assert [(one.session_id, one.error.message) for one in peer.told(ErrorReceived)] == [
        ("s", "noise"),
        (None, "noise"),
    ]
    assert session.state is SessionState.ACTIVE


def test_the_server_goes_away() -> None:
    """It is told with the time that is left, and nothing more is started there."""
    peer = ready()
    peer.say("protocol.go_away", reason="update", grace_ms=5000)
    assert peer.told(PeerGoingAway) == [PeerGoingAway("update", 5000)]
    assert peer.end.going_away
    with pytest.raises(Misuse):
        peer.end.start(peer.session(), 0.0)


def test_audio_that_skips_numbers() -> None:
    """What the server left out is told before what came instead."""
    peer = ready()
    peer.asked()
    peer.accept(negotiated={"audio": {"framing": "seq14"}, "vad": {}})
    peer.audio("s", framing=Framing.SEQ14, seq=0, flags=FrameFlags.BARGE_IN)
    peer.audio("s", framing=Framing.SEQ14, seq=4, time_us=100_000)
    assert peer.told(AudioMissing) == [AudioMissing("s", 4, 3)]
    assert [(one.samples, one.flags) for one in peer.told(AudioReceived)] == [
        (0, FrameFlags.BARGE_IN),
        (800, FrameFlags.NONE),
    ]


MISFITS: list[tuple[int, str]] = [
    (0, "0 bytes are not 1 to 10 frames of 320 bytes"),
    (319, "319 bytes are not 1 to 10 frames of 320 bytes"),
    (3520, "3520 bytes are not 1 to 10 frames of 320 bytes"),
]


@pytest.mark.parametrize(("size", "message"), MISFITS)
def test_audio_that_is_no_whole_frames(size: int, message: str) -> None:
    """What we send ourselves is 1 to 10 whole frames; anything else is a misuse, uncounted."""
    peer = ready()
    session = peer.opened()
    with pytest.raises(Misuse, match=message):
        session.send_audio(bytes(size), 0.0)
    assert session.send_audio(FRAME, 0.0) == 0
    assert len(peer.heard()) == 1


def test_a_drop_before_the_answer() -> None:
    """A session that had not begun is over; it never waits to be resumed."""
    peer = ready()
    session = peer.asked()
    peer.closed()
    assert peer.told(SessionClosed) == [SessionClosed("s", "connection_lost")]
    assert session.state is SessionState.CLOSED
    with pytest.raises(Misuse, match="cannot be resumed"):
        ready().end.resume(session, 0.0)


def test_what_is_no_json() -> None:
    """Text that cannot be read is answered with 1001, and so is what is no object."""
    peer = ready()
    for text in ("{", "[]", "7", '{"type":7}', "{}"):
        error = peer.text(text)[0]["error"]
        assert error["code"] == ErrorCode.INVALID_MESSAGE_FORMAT
    assert len(peer.told(ErrorSent)) == 5
