"""What 1.1 adds is said to nobody who did not declare it (§5, §7)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from palaver.protocols.asp.client_session import SessionRequest, speaks_1_0
from palaver.protocols.asp.config import AudioConfig, Framing, ProtocolCapabilities, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse
from palaver.protocols.asp.events import (
    ConfigSwitched,
    ErrorReceived,
    MessageReceived,
    SessionOpened,
)
from palaver.protocols.asp.messages import (
    MESSAGES,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    Feature,
    PlaybackMarkMessage,
    Side,
)
from palaver.testing.asp_pair import EVERYTHING, AspPair
from tests.protocols.asp.ends import FRAME, OLD, RawClient, RawServer
from tests.protocols.asp.samples import SAMPLES

VERSIONED: Final = "version"
"""Stands for members that every peer of 1.1 gets, whatever it declared."""

MEMBERS: Final[dict[tuple[str, str], str]] = {
    ("session.start", "version"): VERSIONED,
    ("session.start", "features"): VERSIONED,
    ("session.start", "negotiation"): VERSIONED,
    ("session.start", "audio_offers"): Feature.AUDIO_OFFERS,
    ("session.started", "version"): VERSIONED,
    ("session.started", "features"): VERSIONED,
    ("session.started", "stream"): VERSIONED,
    ("session.started", "config_digest"): Feature.CONFIG_DIGEST,
    ("session.started", "resume_token"): Feature.SESSION_RESUME,
    ("session.started", "resume_window_ms"): Feature.SESSION_RESUME,
    ("session.update", "scope"): Feature.TURN_OVERRIDES,
    ("session.updated", "effective_seq"): VERSIONED,
    ("session.updated", "effective_samples"): VERSIONED,
    ("session.updated", "config_digest"): Feature.CONFIG_DIGEST,
    ("session.ended", "reason"): VERSIONED,
    ("audio.speech_start", "start_ms"): Feature.SPEECH_EVENTS,
    ("audio.speech_start", "prefix_ms"): Feature.SPEECH_EVENTS,
    ("audio.speech_start", "confirmed"): Feature.SPEECH_EVENTS,
    ("audio.speech_end", "start_ms"): Feature.SPEECH_EVENTS,
    ("audio.speech_end", "end_ms"): Feature.SPEECH_EVENTS,
    ("audio.speech_end", "discarded"): Feature.SPEECH_EVENTS,
    ("audio.speech_end", "reason"): Feature.SPEECH_EVENTS,
    ("response.start", "response_id"): Feature.RESPONSE_CONTROL,
    ("response.start", "generation"): Feature.RESPONSE_CONTROL,
    ("response.end", "response_id"): Feature.RESPONSE_CONTROL,
    ("response.end", "interrupted"): Feature.RESPONSE_CONTROL,
    ("response.end", "sent_ms"): Feature.RESPONSE_CONTROL,
    ("response.end", "played_ms"): Feature.RESPONSE_CONTROL,
    ("response.end", "reason"): Feature.RESPONSE_CONTROL,
}
"""Message and member of 1.1 → what a peer must have declared to get it."""

START = AudioSpeechStartMessage(session_id="s", start_ms=1, prefix_ms=2, confirmed=True)
END = AudioSpeechEndMessage(
    session_id="s", duration_ms=5, start_ms=1, end_ms=6, discarded=False, reason="silence"
)
MARK = PlaybackMarkMessage(session_id="s", mark_id="m1")


def everything_of(said: list[Any]) -> tuple[set[str], set[tuple[str, str]]]:
    """Return the types that were said, and the members of 1.1."""
    objects = [one for one in said if isinstance(one, dict)]
    members = {(one["type"], name) for one in objects for name in one}
    return {one["type"] for one in objects}, members & set(MEMBERS)


def all_that_a_server_says(peer: RawClient, **start: Any) -> list[Any]:
    """Have the agent do everything that it can do; return what the client is told."""
    said: list[Any] = [peer.capabilities, peer.start(**start)]
    session = peer.sessions.get("s")
    assert session is not None
    session.start_response(0.0, "hi")
    session.send_audio(FRAME, 0.0)
    session.mark(0.0)
    session.start_response(0.0, "ho")
    session.end_response(0.0, interrupted=True, played_ms=1, reason="because")
    session.override_turn(VADConfig(threshold=0.6), 0.0)
    session.act("transfer", 0.0, target="desk", reason="asked")
    session.report_speech(START, 0.0)
    session.report_speech(END, 0.0)
    session.report_transcript("user", "yes", 0.0)
    said += peer.say("session.update", session_id="s", vad={"threshold": 0.6})
    peer.end.go_away(0.0, 5.0)
    for _ in range(120):
        said += peer.audio("s")
    said += peer.text('{"type":"greeting","session_id":"s"}')
    session.end(0.0, "hangup")
    return said + peer.heard()


def all_that_a_client_says(peer: RawServer, **answer: Any) -> list[Any]:
    """Have the media server do everything that it can do; return what the server is told."""
    session = peer.session(
        audio=AudioConfig(framing=Framing.HASH12),
        audio_offers=(AudioConfig(framing=Framing.HASH12),),
        negotiation="adjust",
    )
    peer.end.start(session, 0.0)
    said = peer.heard()
    said += peer.accept(**answer)
    session.send_audio(FRAME, 0.0)
    session.report_speech(START, 0.0)
    session.report_speech(END, 0.0)
    session.cancel_response("r1", 10, 0.0)
    session.report_mark(MARK, "played", 10, 0.0)
    session.press("1", 0.0)
    session.commit(0.0)
    for for_turn in (True, False):
        try:
            session.update(VADConfig(threshold=0.6), 0.0, for_turn=for_turn)
        except Misuse as misuse:
            assert str(misuse) == "the server does not know values for a turn"  # noqa: PT017
            continue
        negotiated = {"audio": {}, "vad": {"threshold": 0.6}, "adjustments": []}
        said += peer.say(
            "session.updated", session_id="s", status="accepted", negotiated=negotiated
        )
    for _ in range(120):
        said += peer.say("response.end", session_id="s")
    said += peer.text('{"type":"greeting","session_id":"s"}')
    session.end(0.0)
    return said + peer.heard()


def test_the_table_of_members_is_complete() -> None:
    """A pair that agreed on everything says every message and every member of the table."""
    client, server = RawClient(), RawServer()
    server.introduce()
    said = all_that_a_server_says(client, audio={"framing": "asp16"})
    said += all_that_a_client_says(server)
    types, members = everything_of(said)
    assert members == set(MEMBERS)
    assert types == set(MESSAGES) - {"session.resume", "session.resumed"}


@pytest.mark.parametrize("feature", Feature)
def test_a_client_without_a_feature(feature: Feature) -> None:
    """A client that did not declare a feature gets no message and no member of it."""
    declared = [one for one in Feature if one is not feature]
    types, members = everything_of(all_that_a_server_says(RawClient(), features=declared))
    assert [kind for kind in types if MESSAGES[kind].feature is feature] == []
    assert [member for member in members if MEMBERS[member] == feature] == []
    if feature is Feature.SPEECH_EVENTS:
        assert not types & {"audio.speech_start", "audio.speech_end"}


@pytest.mark.parametrize("feature", Feature)
def test_a_server_without_a_feature(feature: Feature) -> None:
    """A server that did not offer a feature gets no message and no member of it."""
    offered = tuple(one for one in Feature if one is not feature)
    peer = RawServer()
    peer.introduce(EVERYTHING.model_copy(update={"features": offered}))
    types, members = everything_of(all_that_a_client_says(peer, features=list(offered)))
    assert [kind for kind in types if MESSAGES[kind].feature is feature] == []
    assert [member for member in members if MEMBERS[member] == feature] == []


def test_a_client_of_1_0() -> None:
    """A client that names no version and no feature gets nothing of 1.1."""
    peer = RawClient()
    said = all_that_a_server_says(peer, version=None, features=None)[1:]
    types, members = everything_of(said)
    assert members == set()
    assert types == {
        "session.started",
        "session.updated",
        "session.ended",
        "response.start",
        "response.end",
        "protocol.error",
    }


def test_a_server_of_1_0() -> None:
    """A server of 1.0.0 gets nothing of 1.1, not even the framing."""
    peer = RawServer()
    peer.introduce(OLD)
    said = all_that_a_client_says(peer, version=None, features=None, resume_token=None)
    types, members = everything_of(said)
    assert members == set()
    assert "framing" not in said[0]["audio"]
    assert types == {
        "session.start",
        "session.update",
        "session.end",
        "audio.speech_start",
        "audio.speech_end",
        "audio.end",
        "protocol.error",
    }


# What a client of 1.0.0 gets, byte by byte.
_AUDIO = '{"sample_rate":8000,"encoding":"pcm_s16le","channels":1,"frame_duration_ms":20}'
_VAD = (
    '{"enabled":true,"silence_threshold_ms":%d,"min_speech_ms":250,"threshold":0.5,'
    '"ring_buffer_frames":5,"speech_ratio":0.4,"prefix_padding_ms":300}'
)
_AT = '"timestamp":"1970-01-01T00:00:00Z"'


def test_every_byte_that_a_client_of_1_0_gets() -> None:
    """Answers and responses to a client of 1.0.0 are exactly the objects that it knows."""
    peer = RawClient()
    peer.end.receive_text('{"type":"session.start","session_id":"s"}', 0.0)
    peer.end.receive_text(
        '{"type":"session.update","session_id":"s","vad":{"silence_threshold_ms":3000}}', 0.0
    )
    session = peer.sessions.get("s")
    assert session is not None
    session.start_response(0.0, "hi")
    session.end_response(0.0, interrupted=True, played_ms=3, reason="barge_in")
    session.end(0.0, "hangup")
    assert peer.end.take_output() == [
        (
            '{"type":"session.started","session_id":"s","status":"accepted","negotiated":'
            f'{{"audio":{_AUDIO},"vad":{_VAD % 500},"adjustments":[]}},{_AT}}}'
        ),
        (
            '{"type":"session.updated","session_id":"s","status":"accepted_with_changes","negotiated":'
            f'{{"audio":{_AUDIO},"vad":{_VAD % 2000},"adjustments":[{{"field":'
            '"vad.silence_threshold_ms","requested":3000,"applied":2000,'
            f'"reason":"above the maximum of 2000"}}]}},{_AT}}}'
        ),
        f'{{"type":"response.start","session_id":"s","text":"hi",{_AT}}}',
        f'{{"type":"response.end","session_id":"s",{_AT}}}',
        (
            '{"type":"session.ended","session_id":"s","duration_seconds":0.0,"statistics":'
            '{"audio_frames_received":0,"audio_frames_sent":0,"vad_speech_events":0,'
            f'"barge_in_count":0,"average_response_latency_ms":0.0}},{_AT}}}'
        ),
    ]


def test_every_byte_that_a_server_of_1_0_gets() -> None:
    """The start of a client is, for a server of 1.0.0, exactly the object that it knows."""
    peer = RawServer()
    peer.introduce(OLD)
    peer.end.start(peer.session(call_id="c", metadata={"source": "pbx"}), 0.0)
    assert peer.end.take_output() == [
        (
            f'{{"type":"session.start","session_id":"s","call_id":"c","audio":{_AUDIO},'
            f'"vad":{_VAD % 500},"metadata":{{"source":"pbx"}},{_AT}}}'
        )
    ]


# --- a peer that sends what was not agreed on -------------------------------------------------


def of_a_feature(side: Side) -> list[str]:
    """Return the messages of a session that a side may only send with a feature."""
    return [
        kind
        for kind, message in MESSAGES.items()
        if message.feature is not None
        and side in message.sender
        and kind not in {"session.resume", "session.resumed", "protocol.go_away"}
    ]


def without_type(kind: str) -> dict[str, Any]:
    """Return a sample of a message, of the session ``s``."""
    return {name: value for name, value in SAMPLES[kind].items() if name != "type"} | {
        "session_id": "s"
    }


@pytest.mark.parametrize("kind", of_a_feature(Side.CLIENT))
@pytest.mark.parametrize("old", [True, False])
def test_a_message_of_the_client_without_its_feature(kind: str, *, old: bool) -> None:
    """It is answered with 1003, names the feature, and changes nothing."""
    feature = MESSAGES[kind].feature
    peer = RawClient()
    if old:
        peer.start_old()
    else:
        peer.start(features=[one for one in Feature if one is not feature])
    heard = peer.say(kind, **without_type(kind))
    error = heard[0]["error"]
    assert error["code"] == ErrorCode.INVALID_MESSAGE_TYPE
    assert error["message"] == f"type: {kind} needs the feature {feature}, which was not agreed on"
    assert error["details"] == {"pointer": "/type", "feature": feature}
    assert peer.told(MessageReceived) == []


@pytest.mark.parametrize("kind", of_a_feature(Side.SERVER))
def test_a_message_of_the_server_without_its_feature(kind: str) -> None:
    """It is answered with 1003, and changes nothing."""
    feature = MESSAGES[kind].feature
    peer = RawServer()
    peer.introduce()
    peer.opened(features=[one for one in Feature if one is not feature])
    error = peer.say(kind, **without_type(kind))[0]["error"]
    assert (error["code"], error["details"]["feature"]) == (1003, feature)
    assert peer.told(MessageReceived) == []


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_of_the_other_side(side: Side, kind: str) -> None:
    """A message that the other side does not send is 1003, in a session or not."""
    if side not in MESSAGES[kind].sender:
        peer: RawClient | RawServer
        if side is Side.CLIENT:
            peer = RawClient()
            peer.start()
        else:
            peer = RawServer()
            peer.introduce()
            peer.opened()
        error = peer.say(kind, **without_type(kind))[0]["error"]
        assert error["code"] == ErrorCode.INVALID_MESSAGE_TYPE
        assert error["message"] == f"type: {kind} is not sent by a {side}"


def test_an_unknown_message() -> None:
    """A type that nobody knows is 1003, with the list of those that are known."""
    for peer in (RawClient(), RawServer(subprotocol=True)):
        if isinstance(peer, RawServer):
            peer.introduce()
        error = peer.say("greeting")[0]["error"]
        assert error["code"] == ErrorCode.INVALID_MESSAGE_TYPE
        assert error["message"] == "type: there is no message 'greeting'"
        assert error["details"]["supported"] == list(MESSAGES)


def test_unknown_members_are_ignored() -> None:
    """A member of a version to come does no harm, wherever it stands."""
    peer = RawClient()
    answer = peer.start(audio={"sample_rate": 8000, "spatial": True}, mood="good")
    assert answer["status"] == "accepted"


# --- what was agreed on -----------------------------------------------------------------------


def test_a_feature_holds_where_both_know_it() -> None:
    """What holds is what the server offered and the client declared, by name and in order."""
    capabilities = EVERYTHING.model_copy(update={"features": ("dtmf", "barge_in", "go_away")})
    pair = AspPair(capabilities)
    wanted = frozenset({Feature.DTMF, Feature.CALL_ACTION})
    session = pair.open(SessionRequest(session_id="s", features=wanted))
    assert session.features == pair.agent("s").features == {Feature.DTMF}
    peer = RawClient()
    assert peer.start(features=["go_away", "dtmf", "telepathy"])["features"] == ["dtmf", "go_away"]


def test_a_feature_that_was_not_asked_for() -> None:
    """What a server grants beyond what the client declared does not hold."""
    peer = RawServer()
    peer.introduce()
    session = peer.asked(features=frozenset({Feature.DTMF}))
    peer.accept()
    assert session.features == {Feature.DTMF}


def test_a_resumption_needs_a_token() -> None:
    """A server that grants it and gives no token cannot be meant: nothing is kept."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened(resume_token=None)
    assert Feature.SESSION_RESUME not in session.features
    assert not session.resumable


@pytest.mark.parametrize(
    ("version", "old"),
    [("1.0.0", True), ("1.0", True), ("1", True), ("", True), ("1.x.0", True), ("1.1.0", False)],
)
def test_who_speaks_1_0(version: str, *, old: bool) -> None:
    """Whoever does not say 1.1 or later is taken for a peer that knows nothing of it."""
    assert speaks_1_0(version) is old


def test_a_cough_for_a_server_that_cannot_know() -> None:
    """Without the feature nothing is said of speech before it is confirmed, or that was none."""
    pair = AspPair(EVERYTHING.model_copy(update={"features": ("turn_overrides",)}))
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.9), 0.0, for_turn=True)
    pair.pump()
    cough = END.model_copy(update={"discarded": True, "reason": "too_short"})
    assert session.report_speech(START.model_copy(update={"confirmed": False}), 0.0) is None
    assert session.report_speech(cough, 0.0) is None
    pair.pump()
    assert pair.told(Side.SERVER, MessageReceived) == []
    assert session.config.vad.threshold == 0.9
    over = session.report_speech(END, 0.0)
    pair.pump()
    assert over is not None
    assert over.cause == "turn_over"
    assert pair.told(Side.SERVER, ConfigSwitched)[-1] == over


def test_a_misuse_of_a_feature_reaches_nobody() -> None:
    """Even the general way to send checks what was agreed on, and how long a message may be."""
    pair = AspPair(ProtocolCapabilities())
    session = pair.open(SessionRequest(session_id="s"))
    with pytest.raises(Misuse, match=r"playback\.mark needs a feature"):
        session.send(MARK, 0.0)
    huge = AudioSpeechEndMessage.model_construct(session_id="s", reason="x" * 70_000)
    with pytest.raises(Misuse, match="characters; 65536 may"):
        session.send(huge, 0.0)
    assert pair.socket.quiet
    assert pair.told(Side.SERVER, ErrorReceived) == []
    assert len(pair.told(Side.SERVER, SessionOpened)) == 1
