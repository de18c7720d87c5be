"""Clients from before ASP: their shapes, and who is taken for one (§5)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.config import AudioConfig, ProtocolCapabilities, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse
from palaver.protocols.asp.events import (
    AudioReceived,
    Close,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    SessionRejected,
)
from palaver.protocols.asp.frames import session_hash
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.negotiation import negotiate_vad
from tests.protocols.asp.ends import FRAME, RawClient, registry

HASH = session_hash("s")
AUDIO_CONFIG = {"sample_rate": 8000, "channels": 1, "sample_width": 2, "frame_duration_ms": 20}


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
    with pytest.raises(Misuse, match=r"closed: response\.start cannot be sent now"):
        session.start_response(0.0, "late")


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


SERVERS: list[tuple[dict[str, Any], int | str]] = [
    ({"supported_frame_durations": (10, 30)}, 10),
    ({"supported_frame_durations": (30, 20)}, 20),
    ({"supported_frame_durations": ()}, "INVALID_FRAME_DURATION"),
    ({"supported_encodings": ("mulaw",)}, "UNSUPPORTED_ENCODING"),
    ({"supported_framings": ("asp16",)}, "UNSUPPORTED_FRAMING"),
    ({"supported_sample_rates": (11_025,)}, "UNSUPPORTED_SAMPLE_RATE"),
]


@pytest.mark.parametrize(("members", "outcome"), SERVERS)
def test_a_server_that_takes_no_legacy_audio(members: dict[str, Any], outcome: int | str) -> None:
    """Legacy audio is PCM behind its own header; only the duration of its frames is a hint."""
    peer = RawClient(registry(ProtocolCapabilities(**members)))
    rate = 11_025 if "supported_sample_rates" in members else 8_000
    answer = peer.start_legacy(sample_rate=rate, frame_duration_ms=60)
    if isinstance(outcome, int):
        assert answer["type"] == "session.started"
        assert peer.told(SessionOpened)[0].config.audio.frame_duration_ms == outcome
    else:
        assert (answer["type"], answer["code"]) == ("error", outcome)


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
    assert [one.session_id for one in peer.told(SessionRejected)] == ["s", ""]


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
    assert [(one["type"], one["code"]) for one in heard] == [("error", "VAD_NOT_CONFIGURABLE")]
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
