"""The protocol before ASP: its shapes in both directions, and who is taken for one of it (§5)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.config import AudioConfig, ProtocolCapabilities, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse
from palaver.protocols.asp.events import (
    AudioReceived,
    CapabilitiesReceived,
    Close,
    ErrorReceived,
    ErrorSent,
    LegacyDetected,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    SessionRejected,
)
from palaver.protocols.asp.frames import session_hash
from palaver.protocols.asp.legacy import LegacySessionStart
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    PlaybackMarkMessage,
)
from palaver.protocols.asp.negotiation import negotiate_vad
from palaver.protocols.asp.states import SessionState
from tests.protocols.asp.ends import FRAME, RawClient, RawServer, registry

HASH = session_hash("s")
AUDIO_CONFIG = {"sample_rate": 8000, "channels": 1, "sample_width": 2, "frame_duration_ms": 20}


def remembered() -> RawServer:
    """Return a server that is known to be a legacy one; the client is ready."""
    peer = RawServer(assume_legacy=True)
    peer.wait(0.0)
    return peer


def opened() -> tuple[RawServer, Any]:
    """Return a legacy server with a session of the client."""
    peer = remembered()
    session = peer.asked()
    peer.say("session.started", session_id="s")
    return peer, session


# --- a legacy client ------------------------------------------------------------------------


def test_a_legacy_client_gets_the_legacy_shapes() -> None:
    """Each message to a legacy client has the members that it knows, and no other (spec §5)."""
    peer = RawClient()
    assert peer.start_legacy() == {"type": "session.started", "session_id": "s"}
    session = peer.sessions.get("s")
    assert session is not None
    session.start_response(0.0, "Good morning.")
    session.send_audio(FRAME, 0.0)
    session.end_response(0.0)
    assert peer.heard() == [
        {"type": "response.start", "session_id": "s", "text": "Good morning."},
        b"\x01\x01" + HASH + b"\x00\x00" + FRAME,
        {"type": "response.end", "session_id": "s"},
    ]
    assert session.fail(0.0, "it broke")
    assert peer.heard() == [
        {"type": "error", "session_id": "s", "code": "INTERNAL_ERROR", "message": "it broke"}
    ]


def test_what_a_legacy_client_says_is_taken() -> None:
    """Audio, the end of an utterance and the end of the call do what they do in ASP."""
    peer = RawClient()
    peer.start_legacy()
    assert peer.audio("s") == []
    assert peer.say("audio.end", session_id="s") == []
    assert peer.say("session.end", session_id="s", reason="hangup") == []
    assert [type(event) for event in peer.events] == [
        SessionOpened,
        AudioReceived,
        MessageReceived,
        SessionClosed,
    ]
    closed = peer.told(SessionClosed)[0]
    assert closed.reason == "hangup"
    assert len(peer.sessions) == 0


def test_legacy_mode_is_on_the_session() -> None:
    """``legacy_mode`` holds for the sessions of legacy starts, and for no other."""
    peer = RawClient()
    peer.start("new")
    peer.start_old("old")
    peer.start_legacy("legacy")
    modes = {session.id: session.legacy_mode for session in peer.sessions}
    assert modes == {"new": False, "old": False, "legacy": True}
    told = {event.session_id: event.legacy_mode for event in peer.told(SessionOpened)}
    assert told == modes


def test_both_kinds_share_a_socket() -> None:
    """A session of ASP and a legacy one go on side by side, each in its own shapes."""
    peer = RawClient()
    peer.start("new")
    peer.start_legacy("legacy")
    for session in peer.sessions:
        session.start_response(0.0, "hi")
    assert peer.heard() == [
        {
            "type": "response.start",
            "session_id": "new",
            "text": "hi",
            "response_id": "r1",
            "generation": 1,
        },
        {"type": "response.start", "session_id": "legacy", "text": "hi"},
    ]
    peer.audio("legacy")
    peer.audio("new")
    assert [event.session_id for event in peer.told(AudioReceived)] == ["legacy", "new"]


def test_a_legacy_client_gets_the_rate_that_it_asks_for() -> None:
    """16 kHz is 16 kHz, and frames of a known duration are kept; the VAD is the server's own."""
    defaults = VADConfig(silence_threshold_ms=700)
    peer = RawClient(registry(ProtocolCapabilities(vad_defaults=defaults)))
    peer.start_legacy(sample_rate=16000, frame_duration_ms=30)
    config = peer.told(SessionOpened)[0].config
    assert config.audio == AudioConfig(sample_rate=16000, frame_duration_ms=30)
    assert config.vad == defaults
    peer.start_legacy("t", frame_duration_ms=40)
    assert peer.told(SessionOpened)[1].config.audio == AudioConfig()


def test_what_a_legacy_client_gets_is_legal() -> None:
    """VAD defaults out of their range are moved into it for a legacy client, too."""
    wrong = ProtocolCapabilities(vad_defaults=VADConfig(silence_threshold_ms=9999))
    peer = RawClient(registry(wrong))
    peer.start_legacy()
    vad = peer.told(SessionOpened)[0].config.vad
    assert vad.silence_threshold_ms == 2000
    assert vad == negotiate_vad(VADConfig(), wrong)[0]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"sample_rate": 44100},
        "UNSUPPORTED_SAMPLE_RATE",
        "audio_config.sample_rate: 44100 is not supported; supported: 8000, 16000, 24000, 48000",
    ),
    (
        {"sample_width": 1},
        "UNSUPPORTED_ENCODING",
        "audio_config.sample_width: 1 is not supported; supported: 2",
    ),
    (
        {"channels": 2},
        "UNSUPPORTED_CHANNELS",
        "audio_config.channels: 2 is not supported; supported: 1",
    ),
    (
        {"sample_rate": "8000"},
        "INVALID_MESSAGE_FORMAT",
        "audio_config.sample_rate: Input should be a valid integer",
    ),
]


@pytest.mark.parametrize(("audio", "code", "message"), REFUSED)
def test_audio_that_a_legacy_client_cannot_have(
    audio: dict[str, Any], code: str, message: str
) -> None:
    """What is not supported is refused in the legacy shape, never changed in silence."""
    peer = RawClient()
    answer = peer.start_legacy(**audio)
    assert answer == {"type": "error", "session_id": "s", "code": code, "message": message}
    assert len(peer.sessions) == 0


def test_a_legacy_start_without_its_members() -> None:
    """A legacy start needs ``call_id`` and a legal id; the answer is a legacy error."""
    peer = RawClient()
    heard = peer.say("session.start", session_id="s", audio_config={})
    assert heard == [
        {
            "type": "error",
            "session_id": "s",
            "code": "INVALID_MESSAGE_FORMAT",
            "message": "call_id: Field required",
        }
    ]
    heard = peer.say("session.start", session_id="", call_id="c", audio_config={})
    assert heard[0]["session_id"] == ""
    assert heard[0]["code"] == "INVALID_MESSAGE_FORMAT"


@pytest.mark.parametrize("first", ["asp", "legacy"])
def test_a_legacy_id_that_is_taken(first: str) -> None:
    """An id that is active, of either kind, is refused to a legacy client (1005)."""
    peer = RawClient()
    if first == "asp":
        peer.start()
    else:
        peer.start_legacy()
    for other in (peer, RawClient(peer.sessions)):
        answer = other.start_legacy()
        assert (answer["type"], answer["code"]) == ("error", "SESSION_ALREADY_ACTIVE")
    assert len(peer.sessions) == 1


def test_legacy_starts_that_fail_too_often() -> None:
    """The sixth refusal within a minute closes the socket, and says so in the legacy shape."""
    peer = RawClient()
    for _ in range(5):
        peer.start_legacy(channels=2)
    heard = peer.say(
        "session.start", session_id="s", call_id="c", audio_config=AUDIO_CONFIG | {"channels": 2}
    )
    assert [one["code"] for one in heard[:2]] == ["UNSUPPORTED_CHANNELS", "SESSION_LIMIT_REACHED"]
    assert heard[2] == Close(4403, "session_limit_reached")


def test_errors_of_no_session_are_in_the_shape_of_the_socket() -> None:
    """What belongs to no session is told as whoever started one last can read it."""
    peer = RawClient()
    assert peer.text("{")[0]["type"] == "protocol.error"
    peer.start_legacy()
    peer.say("session.end", session_id="s", reason="hangup")
    assert peer.text("{")[0]["type"] == "error"
    assert peer.audio("s")[0]["code"] == "SESSION_NOT_FOUND"
    assert peer.say("audio.end", session_id="s")[0]["code"] == "SESSION_NOT_FOUND"
    peer.start("new")
    assert peer.text("{")[0]["type"] == "protocol.error"


def test_an_asp_start_is_never_taken_for_a_legacy_one() -> None:
    """Without ``audio_config`` it is ASP, whatever is wrong with it: an encoding, even a call."""
    peer = RawClient()
    answer = peer.start_old("s", call_id="c", audio={"encoding": "opus"}, negotiation="strict")
    assert answer["type"] == "session.started"
    assert answer["status"] == "rejected"
    assert answer["errors"][0]["code"] == ErrorCode.UNSUPPORTED_ENCODING
    assert peer.say("session.start", call_id="c")[0]["type"] == "protocol.error"
    assert peer.told(SessionOpened) == []


def test_messages_of_asp_in_a_legacy_session() -> None:
    """What only ASP has is refused in the legacy shape where it needs a feature (1003)."""
    peer = RawClient()
    peer.start_legacy()
    heard = peer.say("dtmf", session_id="s", digit="1")
    assert [(one["type"], one["code"]) for one in heard] == [("error", "INVALID_MESSAGE_TYPE")]
    heard = peer.say("session.update", session_id="s", vad={"threshold": 0.9})
    assert heard[0]["status"] == "rejected"
    assert heard[0]["errors"][0]["code"] == ErrorCode.VAD_NOT_CONFIGURABLE
    session = peer.sessions.get("s")
    assert session is not None
    assert session.config.vad == VADConfig()


def test_a_legacy_session_that_expires() -> None:
    """A legacy client is told why in its shape; there is no ``session.ended`` for it."""
    sessions = registry(limits=Limits(idle_timeout=10.0))
    peer = RawClient(sessions)
    peer.start_legacy()
    closed = sessions.handle_timeout(10.0)
    assert [event.reason for event in closed if isinstance(event, SessionClosed)] == ["idle"]
    assert peer.heard() == [
        {
            "type": "error",
            "session_id": "s",
            "code": "SESSION_EXPIRED",
            "message": "session 's' was idle for 10 s",
        }
    ]


# --- a legacy server ------------------------------------------------------------------------


def test_a_legacy_server_gets_the_legacy_shapes() -> None:
    """Each message to a legacy server has the members that it knows, and no other (spec §5)."""
    peer = remembered()
    session = peer.session(call_id="call", audio=AudioConfig(sample_rate=16000))
    peer.end.start(session, 0.0)
    assert peer.heard() == [
        {
            "type": "session.start",
            "session_id": "s",
            "call_id": "call",
            "audio_config": AUDIO_CONFIG | {"sample_rate": 16000},
        }
    ]
    assert peer.say("session.started", session_id="s") == []
    session.send_audio(bytes(640), 0.0)
    session.commit(0.0)
    session.end(0.0, "hangup")
    assert peer.heard() == [
        b"\x01\x00" + HASH + b"\x00\x00" + bytes(640),
        {"type": "audio.end", "session_id": "s"},
        {"type": "session.end", "session_id": "s", "reason": "hangup"},
    ]


def test_messages_to_a_legacy_server_have_no_timestamp() -> None:
    """A legacy message has no ``timestamp`` either."""
    peer, session = opened()
    session.commit(0.0)
    assert peer.end.take_output() == ['{"type":"audio.end","session_id":"s"}']


def test_a_call_without_an_id_has_the_sessions() -> None:
    """A legacy server needs ``call_id``: where there is none, it is the session's id."""
    peer = remembered()
    peer.end.start(peer.session(), 0.0)
    start = LegacySessionStart.model_validate(peer.heard()[0])
    assert start.call_id == "s"


def test_what_a_legacy_server_says_is_taken() -> None:
    """Answers and their audio arrive as in ASP; what is no message of it is left alone."""
    peer, session = opened()
    assert session.legacy_mode
    assert peer.end.legacy_mode
    peer.say("response.start", session_id="s", text="hi")
    peer.audio("s", bytes(2000))
    peer.say("response.end", session_id="s")
    mark = len(peer.events)
    assert [type(event) for event in peer.events] == [
        LegacyDetected,
        SessionOpened,
        MessageReceived,
        AudioReceived,
        MessageReceived,
    ]
    assert peer.say("session.updated", session_id="s", status="accepted") == []
    assert peer.say("call.action", session_id="s", action="hangup") == []
    assert peer.since(mark) == []


def test_the_end_of_a_legacy_session_has_no_answer() -> None:
    """The session is over at once, and leaves nothing behind on the socket."""
    peer, session = opened()
    session.end(0.0)
    assert session.state is SessionState.CLOSED
    assert peer.end.sessions == {}
    assert peer.end.next_timeout() is None
    peer.heard()
    mark = len(peer.events)
    assert peer.say("response.end", session_id="s") == []
    assert peer.audio("s") == []
    peer.closed()
    assert peer.since(mark) == []
    with pytest.raises(Misuse, match="cannot be sent now"):
        session.end(0.0)


def test_a_legacy_session_that_ends_without_a_socket() -> None:
    """A session whose socket is gone is over, and cannot be ended again."""
    peer, session = opened()
    peer.closed()
    assert peer.told(SessionClosed) == [SessionClosed("s", "connection_lost")]
    with pytest.raises(Misuse):
        session.end(0.0)


def test_speech_is_the_end_of_an_utterance() -> None:
    """Of speech, a legacy server is told the end alone: ``audio.end``, if it was speech at all."""
    peer, session = opened()
    start = AudioSpeechStartMessage(session_id="s", start_ms=100)
    too_short = AudioSpeechEndMessage(session_id="s", duration_ms=50, discarded=True)
    end = AudioSpeechEndMessage(session_id="s", duration_ms=500)
    for message in (start, too_short, start, end):
        assert session.report_speech(message, 0.0) is None
    assert peer.heard() == [{"type": "audio.end", "session_id": "s"}]


def test_what_a_legacy_server_has_no_message_for() -> None:
    """Cancelling, keys and marks are not told; an update is our own mistake."""
    peer, session = opened()
    assert not session.cancel_response("r1", 0, 0.0)
    assert not session.press("1", 0.0)
    mark = PlaybackMarkMessage(session_id="s", mark_id="m1")
    assert not session.report_mark(mark, "played", 20, 0.0)
    with pytest.raises(Misuse, match=r"a legacy server has no session\.update"):
        session.update(VADConfig(threshold=0.4), 0.0)
    assert peer.heard() == []


WRONG = ["text", "binary", "audio", "message", "started"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_legacy_server_is_told_no_errors(wrong: str) -> None:
    """Whatever it says, the client neither raises nor answers: there is no message for it."""
    peer, session = opened()
    said = {
        "text": lambda: peer.text("{"),
        "binary": lambda: peer.data(b"\x07"),
        "audio": lambda: peer.audio("s", b""),
        "message": lambda: peer.say("response.start", session_id="s", text=7),
        "started": lambda: peer.say("session.started", session_id="s"),
    }[wrong]()
    assert said == []
    assert len(peer.told(ErrorSent)) == 1
    assert session.state is SessionState.ACTIVE


def test_a_legacy_error_rejects_a_start() -> None:
    """An error before the session began is its rejection; afterwards it is told, no more."""
    peer = remembered()
    session = peer.asked()
    peer.say("error", session_id="s", code="BUSY", message="no more calls")
    rejected = peer.told(SessionRejected)[0]
    assert rejected.errors[0].message == "no more calls"
    assert rejected.errors[0].name == "busy"
    assert session.state is SessionState.IDLE
    assert peer.end.sessions == {}
    peer.end.start(session, 0.0)
    peer.say("session.started", session_id="s")
    peer.say("error", session_id="s", code="PIPELINE_ERROR", message="")
    peer.say("error", code="PIPELINE_ERROR")
    received = peer.told(ErrorReceived)
    assert [(one.session_id, one.error.message) for one in received] == [
        ("s", "no more calls"),
        ("s", "PIPELINE_ERROR"),
        (None, "PIPELINE_ERROR"),
    ]
    assert session.state is SessionState.ACTIVE


def test_a_legacy_error_that_cannot_be_read() -> None:
    """An ``error`` of another shape is an unknown message, and changes nothing."""
    peer, session = opened()
    assert peer.say("error", session_id="s", code=7) == []
    assert peer.told(ErrorReceived) == []
    assert session.state is SessionState.ACTIVE


def test_the_legacy_error_of_an_asp_server() -> None:
    """Servers of 1.0.0 send it in their sessions as well: it is told."""
    peer = RawServer()
    peer.introduce()
    peer.opened()
    assert peer.say("error", session_id="s", code="STT", message="failed") == []
    assert [one.error.message for one in peer.told(ErrorReceived)] == ["failed"]


def test_a_server_that_turns_out_to_speak_asp() -> None:
    """Capabilities that come late end the legacy mode; a session that runs stays what it is."""
    peer, session = opened()
    peer.introduce()
    assert not peer.end.legacy_mode
    assert len(peer.told(CapabilitiesReceived)) == 1
    peer.say("response.end", session_id="s")
    assert session.legacy_mode
    other = peer.opened("other")
    assert not other.legacy_mode
    assert [(one.session_id, one.legacy_mode) for one in peer.told(SessionOpened)] == [
        ("s", True),
        ("other", False),
    ]


def test_a_session_that_was_refused_is_started_again_as_asp() -> None:
    """The mode is that of the socket on which a session starts, not of the one before."""
    peer = remembered()
    session = peer.asked()
    peer.say("error", session_id="s", code="BUSY", message="")
    assert session.legacy_mode
    other = RawServer()
    other.introduce()
    other.end.start(session, 0.0)
    other.accept()
    assert not session.legacy_mode
    assert other.told(SessionOpened)[0].legacy_mode is False


# --- who is a legacy server -----------------------------------------------------------------


def test_silence_makes_a_legacy_server() -> None:
    """Without capabilities for five seconds, the server is a legacy one."""
    peer = RawServer()
    assert peer.end.next_timeout() == 5.0
    peer.wait(4.9)
    assert peer.events == []
    peer.wait(0.1)
    assert peer.events == [LegacyDetected("timeout")]
    assert peer.end.next_timeout() is None


def test_the_first_message_of_a_legacy_server_is_not_lost() -> None:
    """A message that is none of the capabilities shows a legacy server, and is taken."""
    peer = RawServer()
    peer.say("error", code="BUSY", message="not now")
    peer.say("response.start", session_id="gone", text="")
    assert [type(event) for event in peer.events] == [LegacyDetected, ErrorReceived]
    assert peer.told(LegacyDetected) == [LegacyDetected("first_message")]
    other = RawServer()
    assert other.say("greeting") == []
    assert [type(event) for event in other.events] == [LegacyDetected, ErrorSent]


def test_what_was_remembered_saves_the_wait() -> None:
    """A server that was a legacy one is taken for one at once."""
    peer = RawServer(assume_legacy=True)
    assert peer.end.next_timeout() == 0.0
    peer.wait(0.0)
    assert peer.events == [LegacyDetected("remembered")]


@pytest.mark.parametrize("assume_legacy", [False, True])
def test_a_server_that_selected_the_subprotocol_is_no_legacy_one(*, assume_legacy: bool) -> None:
    """With ``asp.v1`` selected, only silence is wrong: it ends the socket, whatever was known."""
    peer = RawServer(subprotocol=True, assume_legacy=assume_legacy)
    peer.say("response.start", session_id="s")
    assert peer.told(LegacyDetected) == []
    assert peer.end.next_timeout() == 5.0
    assert peer.wait(5.0) == [Close(4002, "handshake_timeout")]
    assert peer.told(LegacyDetected) == []
