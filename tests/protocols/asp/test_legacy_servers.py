"""Servers from before ASP: their shapes, and which are taken for one (§5)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.config import AudioConfig, VADConfig
from palaver.protocols.asp.errors import Misuse
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
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    PlaybackMarkMessage,
)
from palaver.protocols.asp.states import SessionState
from tests.protocols.asp.ends import RawServer

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
    assert peer.told(SessionOpened)[0].config.audio == AudioConfig(sample_rate=16000)
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
