"""The server's end of a socket: capabilities, starts, what it refuses and how (§4, §7)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import (
    AudioConfig,
    Framing,
    NegotiatedConfig,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.events import (
    Close,
    ConfigSwitched,
    ErrorReceived,
    HandshakeFailed,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    SessionRejected,
    UpdateRejected,
)
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.session import Applied, apply_as_negotiated
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import EVERYTHING, AspPair
from tests.protocols.asp.ends import RawClient, RawServer, agree, registry

# --- capabilities -----------------------------------------------------------------------------


def test_the_capabilities_come_first() -> None:
    """They are there before anything was said, with the version inside and outside."""
    capabilities = ProtocolCapabilities(features=("dtmf",), supported_sample_rates=(16_000,))
    end = ServerConnection(registry(capabilities), 0.0, server_id="agent-1")
    assert [orjson.loads(text) for text in end.take_output() if isinstance(text, str)] == [
        {
            "type": "protocol.capabilities",
            "timestamp": "1970-01-01T00:00:00Z",
            "version": "1.1.0",
            "capabilities": capabilities.model_dump(mode="json", exclude_none=True),
            "server_id": "agent-1",
        }
    ]
    assert end.take_output() == []


def test_output_is_announced_once_until_it_is_taken() -> None:
    """``on_output`` is called when there is something to take, not for each message."""
    calls = []
    end = ServerConnection(registry(), 0.0, on_output=lambda: calls.append(1))
    assert len(calls) == 1
    end.put("a")
    assert len(calls) == 1
    end.take_output()
    end.put("b")
    end.put("c")
    assert len(calls) == 2
    assert end.take_output() == ["b", "c"]


# --- starts -----------------------------------------------------------------------------------


def test_a_start_is_answered_with_what_both_run() -> None:
    """The answer spells out the whole configuration, and the session has it."""
    peer = RawClient()
    answer = peer.start(
        call_id="c", audio={"sample_rate": 16000, "framing": "asp16"}, metadata={"source": "pbx"}
    )
    assert answer["status"] == "accepted"
    assert answer["version"] == "1.1.0"
    assert answer["stream"] == 1
    assert answer["resume_window_ms"] == 30_000
    session = peer.sessions.get("s")
    assert session is not None
    assert NegotiatedConfig.model_validate(answer["negotiated"]) == session.config
    assert session.config.audio == AudioConfig(sample_rate=16000, framing=Framing.ASP16)
    assert (session.call_id, session.metadata) == ("c", {"source": "pbx"})
    assert session.peer_version == "1.1.0"
    opened = peer.told(SessionOpened)[0]
    assert (opened.config, opened.legacy_mode) == (session.config, False)


def test_a_start_that_is_accepted_with_changes() -> None:
    """What is not as it was asked for stands in the adjustments."""
    answer = RawClient().start(vad={"silence_threshold_ms": 2500})
    assert answer["status"] == "accepted_with_changes"
    assert answer["negotiated"]["vad"]["silence_threshold_ms"] == 2000
    assert answer["negotiated"]["adjustments"] == [
        {
            "field": "vad.silence_threshold_ms",
            "requested": 2500,
            "applied": 2000,
            "reason": "above the maximum of 2000",
        }
    ]


REJECTIONS: list[tuple[dict[str, Any], int, str]] = [
    (
        {"audio": {"sample_rate": 44100}},
        2001,
        "audio.sample_rate: 44100 is not supported; supported: 8000, 16000, 24000, 48000",
    ),
    (
        {"audio": {"encoding": "opus"}},
        2002,
        "audio.encoding: opus is not supported; supported: pcm_s16le, mulaw, alaw",
    ),
    (
        {"audio": {"frame_duration_ms": 25}},
        2003,
        "audio.frame_duration_ms: 25 is not supported; supported: 10, 20, 30",
    ),
    ({"audio": {"channels": 2}}, 2006, "audio.channels: 2 is not supported; supported: 1"),
    (
        {"audio": {"framing": "rtp"}},
        2007,
        "audio.framing: rtp is not supported; supported: hash12, seq14, asp16",
    ),
    ({"audio": {"sample_rate": "8000"}}, 1001, "audio.sample_rate: must be an integer"),
    ({"vad": {"threshold": "high"}}, 3001, "vad.threshold: must be a number"),
    ({"call_id": 7}, 1001, "call_id: must be a string"),
]


@pytest.mark.parametrize(("members", "code", "message"), REJECTIONS)
def test_a_start_that_is_rejected(members: dict[str, Any], code: int, message: str) -> None:
    """The answer says what is wrong, where, and what is allowed; the socket may try again."""
    peer = RawClient()
    answer = peer.start(**members)
    assert answer["status"] == "rejected"
    assert "negotiated" not in answer
    assert [(one["code"], one["message"]) for one in answer["errors"]] == [(code, message)]
    rejected = peer.told(SessionRejected)[0]
    assert (rejected.session_id, rejected.errors[0].code) == ("s", code)
    assert len(peer.sessions) == 0
    assert peer.start()["status"] == "accepted"


def test_everything_that_is_wrong_is_named() -> None:
    """A rejection lists each value that cannot be had, not only the first."""
    answer = RawClient().start(audio={"sample_rate": 44100, "encoding": "opus", "channels": 2})
    assert [one["code"] for one in answer["errors"]] == [2001, 2002, 2006]


def test_a_start_that_may_be_adjusted() -> None:
    """A client that asks for it, and every client of 1.0.0, gets the nearest audio."""
    peer = RawClient()
    assert peer.start("a", audio={"sample_rate": 44100}, negotiation="adjust")["negotiated"][
        "audio"
    ] == {
        "sample_rate": 48000,
        "encoding": "pcm_s16le",
        "channels": 1,
        "frame_duration_ms": 20,
    }
    answer = peer.start_old("b", audio={"sample_rate": 12000})
    assert answer["status"] == "accepted_with_changes"
    assert answer["negotiated"]["audio"]["sample_rate"] == 8000


def test_offers_in_order_of_preference() -> None:
    """The first offer that is supported wins, where the feature was declared."""
    offers = [{"encoding": "opus"}, {"encoding": "mulaw", "framing": "asp16"}, {}]
    answer = RawClient().start(audio_offers=offers)
    assert answer["negotiated"]["audio"]["encoding"] == "mulaw"
    assert answer["status"] == "accepted"
    features = [one for one in Feature if one is not Feature.AUDIO_OFFERS]
    answer = RawClient().start(audio_offers=offers, features=features)
    assert answer["negotiated"]["audio"]["encoding"] == "pcm_s16le"


def test_a_start_without_an_id() -> None:
    """There is nobody to answer to: it is an error of the socket."""
    peer = RawClient()
    heard = peer.say("session.start", version="1.1.0")
    assert [one["type"] for one in heard] == ["protocol.error"]
    assert heard[0]["error"]["details"] == {"pointer": "/session_id"}
    assert peer.told(SessionRejected) == []


@pytest.mark.parametrize("version", ["0.9.0", "2.0.0", "10.0.0"])
def test_another_major_version(version: str) -> None:
    """It is rejected with 1004, and the socket is closed with 4004."""
    peer = RawClient()
    heard = peer.say("session.start", session_id="s", version=version)
    error = heard[0]["errors"][0]
    assert error["code"] == ErrorCode.VERSION_MISMATCH
    assert error["message"] == f"version: {version} cannot be understood; this is 1.1.0"
    assert error["details"] == {"pointer": "/version", "supported": ["1.1.0"]}
    assert heard[1] == Close(4004, "version_mismatch")
    assert peer.told(HandshakeFailed)[0].error.code == 1004


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "1.9.7"])
def test_the_same_major_version(version: str) -> None:
    """A client of another minor version gets a session."""
    assert RawClient().start(version=version)["status"] == "accepted"


def test_another_major_version_beside_a_live_session() -> None:
    """Where a session lives on the socket, it stays open."""
    peer = RawClient()
    peer.start("alive")
    assert peer.start("s", version="2.0.0")["status"] == "rejected"
    assert peer.end.closing is None


@pytest.mark.parametrize("first", ["seq14", "hash12", "asp16"])
@pytest.mark.parametrize("second", ["seq14", "hash12", "asp16"])
def test_seq14_is_alone(first: str, second: str) -> None:
    """``seq14`` names no session, so it shares its socket with none (2007)."""
    peer = RawClient()
    assert peer.start("a", audio={"framing": first})["status"] == "accepted"
    answer = peer.start("b", audio={"framing": second})
    if "seq14" in (first, second):
        error = answer["errors"][0]
        assert error["code"] == ErrorCode.UNSUPPORTED_FRAMING
        assert error["message"] == (
            "audio.framing: seq14 takes a socket of its own, and this one has sessions"
        )
        assert error["details"] == {"supported": ["hash12", "asp16"]}
        peer.say("session.end", session_id="a")
        assert peer.start("b", audio={"framing": second})["status"] == "accepted"
    else:
        assert answer["status"] == "accepted"


def picky(_session_id: str, config: NegotiatedConfig) -> Applied:
    """Run anything but one value."""
    if config.vad.threshold == 0.9:
        raise Rejection(protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, "no such detector"))
    return Applied(config.audio, config.vad)


def test_a_pipeline_that_does_not_start() -> None:
    """What the agent's pipeline refuses is the client's answer (3003), and leaves no session."""
    pair = AspPair(server_configure=picky)
    session = pair.open(SessionRequest(session_id="s", vad=VADConfig(threshold=0.9)))
    assert len(pair.registry) == 0
    assert session.state is SessionState.IDLE
    for side in Side:
        error = pair.told(side, SessionRejected)[0].errors[0]
        assert (error.code, error.message) == (3003, "no such detector")


def test_a_pipeline_that_does_not_follow() -> None:
    """An update that the agent's pipeline refuses is rejected (3003); all stays as it was."""
    pair = AspPair(server_configure=picky)
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.9), 0.0)
    pair.pump()
    for side in Side:
        assert pair.told(side, UpdateRejected)[0].errors[0].code == 3003
        assert pair.told(side, ConfigSwitched) == []
    session.update(VADConfig(threshold=0.8), 0.0)
    pair.pump()
    agree(pair)


# --- the rest ---------------------------------------------------------------------------------


def test_an_error_of_the_client() -> None:
    """A recoverable one is told; one that is not ends the session with its name."""
    peer = RawClient()
    peer.start()
    error = {"code": 2004, "category": "audio", "message": "noise", "name": "noise"}
    assert peer.say("protocol.error", session_id="s", error=error) == []
    heard = peer.say("protocol.error", session_id="s", error=error | {"recoverable": False})
    assert [one["type"] for one in heard] == ["session.ended"]
    assert heard[0]["reason"] == "noise"
    assert [one.session_id for one in peer.told(ErrorReceived)] == ["s", "s"]
    assert peer.told(SessionClosed)[0].reason == "noise"
    peer.start()
    del error["name"]
    heard = peer.say("protocol.error", session_id="s", error=error | {"recoverable": False})
    assert heard[0]["reason"] == "error"
    assert peer.say("protocol.error", error=error) == []
    assert peer.told(ErrorReceived)[-1].session_id is None


def test_messages_that_change_nothing_are_handed_on() -> None:
    """Keys, marks and ends of speech reach the agent as they are."""
    peer = RawClient()
    peer.start()
    peer.say("dtmf", session_id="s", digit="5")
    peer.say("playback.mark", session_id="s", mark_id="m1", outcome="played", played_ms=20)
    peer.say("audio.speech_start", session_id="s", start_ms=100)
    peer.say("audio.speech_end", session_id="s", duration_ms=300)
    peer.say("audio.end", session_id="s")
    assert [one.message.message_type for one in peer.told(MessageReceived)] == [
        "dtmf",
        "playback.mark",
        "audio.speech_start",
        "audio.speech_end",
        "audio.end",
    ]


@pytest.mark.parametrize("reason", ["call_hangup", None])
def test_the_client_ends_the_session(reason: str | None) -> None:
    """It is answered with the duration and the statistics; the reason is the client's."""
    peer = RawClient()
    peer.start()
    peer.now = 2.0
    heard = peer.say("session.end", session_id="s", reason=reason)
    assert heard[0]["type"] == "session.ended"
    assert heard[0]["duration_seconds"] == 2.0
    assert "reason" not in heard[0]
    closed = peer.told(SessionClosed)[0]
    assert (closed.reason, closed.duration_seconds) == (reason or "ended_by_client", 2.0)
    error = peer.say("session.end", session_id="s")[0]["error"]
    assert error["code"] == ErrorCode.SESSION_NOT_FOUND


def test_a_server_that_shuts_down() -> None:
    """Every session of the socket ends, each is told, and then the socket closes."""
    peer = RawClient()
    peer.start("a")
    peer.start_legacy("b")
    events = peer.end.shut_down(1.0, "update")
    assert [event.reason for event in events if isinstance(event, SessionClosed)] == ["update"] * 2
    heard = peer.heard()
    assert [one["type"] for one in heard[:-1]] == ["session.ended"]
    assert heard[0]["reason"] == "update"
    assert heard[-1] == Close(1001, "update")
    assert len(peer.sessions) == 0
    assert peer.say("session.start", session_id="c") == []


def test_a_drop_ends_what_cannot_be_resumed() -> None:
    """A socket that is gone leaves nothing of a 1.0.0 session behind, and closes once."""
    peer = RawClient()
    peer.start_old()
    session = peer.sessions.get("s")
    peer.closed()
    peer.closed()
    assert session is not None
    assert session.state is SessionState.CLOSED
    assert [one.reason for one in peer.told(SessionClosed)] == ["connection_lost"]
    assert len(peer.sessions) == 0


def test_legality_is_what_a_client_finds() -> None:
    """Whatever the server is set to, what it answers can be run by the client."""
    odd = EVERYTHING.model_copy(
        update={
            "supported_sample_rates": (11_025, 16_000),
            "vad_defaults": VADConfig(silence_threshold_ms=9_999),
        }
    )
    pair = AspPair(odd)
    session = pair.open(SessionRequest(session_id="s", audio=AudioConfig(sample_rate=16_000)))
    assert session.state is SessionState.ACTIVE
    assert session.config.vad.validate() == session.config.audio.validate() == []
    peer = RawClient(registry(odd))
    assert peer.start_legacy(sample_rate=11_025)["type"] == "error"


def test_messages_before_the_answer_to_a_resumption() -> None:
    """A server that talks too early is listened to; nothing is acknowledged without a socket."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    peer.closed()
    other = RawServer()
    other.introduce()
    other.end.resume(session, 0.0)
    other.heard()
    assert [other.say("response.end", session_id="s") for _ in range(130)] == [[]] * 130
    assert session.received == 130
    assert apply_as_negotiated("s", session.config) == session.applied
