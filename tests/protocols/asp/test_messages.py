"""The messages: what each has, how it is written, and that it comes back (spec §4)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from palaver.protocols.asp.config import AudioConfig, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Rejection
from palaver.protocols.asp.messages import (
    MESSAGES,
    ASPMessage,
    AudioEndMessage,
    Feature,
    ProtocolCapabilitiesMessage,
    ProtocolGoAwayMessage,
    ResponseStartMessage,
    SessionEndMessage,
    SessionMessage,
    SessionStartMessage,
    SessionUpdateMessage,
    Side,
    TurnOverrideMessage,
    parse_message,
)
from palaver.protocols.asp.text_frames import MAX_TEXT, read_object, session_id_of
from tests.protocols.asp.samples import REJECTED, SAMPLES, every_sample
from tests.protocols.asp.strategies import json_values, messages, texts, unhurried

CLIENT, SERVER = Side.CLIENT, Side.SERVER

TABLE: list[tuple[str, set[Side], Feature | None, set[str]]] = [
    ("protocol.capabilities", {SERVER}, None, {"capabilities"}),
    ("session.start", {CLIENT}, None, {"session_id"}),
    ("session.started", {SERVER}, None, {"session_id", "status"}),
    ("session.confirm", {CLIENT}, Feature.CONFIG_DIGEST, {"session_id", "config_digest"}),
    ("session.update", {CLIENT}, None, {"session_id"}),
    ("session.updated", {SERVER}, None, {"session_id", "status"}),
    ("session.end", {CLIENT}, None, {"session_id"}),
    ("session.ended", {SERVER}, None, {"session_id"}),
    ("session.ack", {CLIENT, SERVER}, Feature.SESSION_RESUME, {"session_id", "received"}),
    (
        "session.resume",
        {CLIENT},
        Feature.SESSION_RESUME,
        {"session_id", "resume_token", "received", "sending_from"},
    ),
    ("session.resumed", {SERVER}, Feature.SESSION_RESUME, {"session_id", "status"}),
    ("audio.speech_start", {CLIENT, SERVER}, None, {"session_id"}),
    ("audio.speech_end", {CLIENT, SERVER}, None, {"session_id"}),
    ("audio.end", {CLIENT}, None, {"session_id"}),
    ("response.start", {SERVER}, None, {"session_id"}),
    ("response.end", {SERVER}, None, {"session_id"}),
    ("response.cancel", {CLIENT}, Feature.RESPONSE_CONTROL, {"session_id", "response_id"}),
    ("playback.mark", {CLIENT, SERVER}, Feature.PLAYBACK_MARKS, {"session_id", "mark_id"}),
    ("transcript", {SERVER}, Feature.TRANSCRIPTS, {"session_id", "role", "text"}),
    ("turn.override", {SERVER}, Feature.TURN_OVERRIDES, {"session_id", "vad"}),
    ("dtmf", {CLIENT}, Feature.DTMF, {"session_id", "digit"}),
    ("call.action", {SERVER}, Feature.CALL_ACTION, {"session_id", "action"}),
    ("protocol.error", {CLIENT, SERVER}, None, {"error"}),
    ("protocol.go_away", {SERVER}, Feature.GO_AWAY, set()),
]


@pytest.mark.parametrize(("kind", "sender", "feature", "required"), TABLE)
def test_the_table_of_messages(
    kind: str, sender: set[Side], feature: Feature | None, required: set[str]
) -> None:
    """Section 4: who sends it, which feature it needs, which members it must have."""
    message = MESSAGES[kind]
    assert message.message_type == kind
    assert message.sender == sender
    assert message.feature is feature
    assert {name for name, field in message.model_fields.items() if field.is_required()} == required
    assert issubclass(message, SessionMessage) is ("session_id" in required)
    assert message.__doc__


def test_the_table_is_whole() -> None:
    """Each message stands in the table, in the order of a session, and has an example."""
    assert [row[0] for row in TABLE] == list(MESSAGES) == list(SAMPLES)


def test_the_examples_have_every_member() -> None:
    """Between the good outcome and the bad one, each member of each message occurs."""
    for kind, message in MESSAGES.items():
        shown = set(SAMPLES[kind]) | set(REJECTED.get(kind, ()))
        assert shown == set(message.model_fields), kind


def _named(sample: Any) -> str:
    return str(sample["type"])


@pytest.mark.parametrize("sample", every_sample(), ids=_named)
def test_examples_are_read_and_written_as_they_are(sample: dict[str, Any]) -> None:
    """An example is read as its class, and what is written is the example, ``type`` first."""
    message = parse_message(orjson.dumps(sample))
    assert type(message) is MESSAGES[sample["type"]]
    written = orjson.loads(message.to_json())
    assert written == sample
    assert next(iter(written)) == "type"
    assert type(message).from_json(message.to_json()) == message


@pytest.mark.parametrize("sample", every_sample(), ids=_named)
def test_members_of_a_later_version_are_ignored(sample: dict[str, Any]) -> None:
    """Section 1: a new optional member breaks nobody, in the message or inside of it."""
    message = parse_message(orjson.dumps(sample))
    assert parse_message(orjson.dumps(_with_more(sample))) == message


def _with_more(found: Any) -> Any:
    if isinstance(found, dict):
        inner = {
            name: value if name in {"metadata", "details"} else _with_more(value)
            for name, value in found.items()
        }
        return inner | ({} if "source" in found else {"zz_new": {"type": 1}})
    return [_with_more(item) for item in found] if isinstance(found, list) else found


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES.keys())
@unhurried
@given(st.data())
def test_messages_come_back_as_they_went(kind: type[ASPMessage], data: st.DataObject) -> None:
    """What was written is read as the same message, with the same VAD values left out."""
    message = data.draw(messages(kind))
    text = message.to_json()
    back = kind.from_json(text)
    assert back == message
    assert _given_vad(back) == _given_vad(message)
    found = orjson.loads(text)
    assert next(iter(found)) == "type"
    assert all(value is not None for value in _members(message, found))


def _given_vad(message: ASPMessage) -> set[str]:
    vad = getattr(message, "vad", None)
    return set() if vad is None else vad.model_fields_set


def _members(model: BaseModel, found: dict[str, Any]) -> list[Any]:
    """Return what stands in the members that the models declare."""
    values = []
    for name, value in found.items():
        values.append(value)
        inner = getattr(model, name, None)
        if isinstance(inner, BaseModel):
            values += _members(inner, value)
    return values


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_class_reads_only_its_own(kind: type[ASPMessage]) -> None:
    """``from_json`` of another class: 1003, both types are told, and the session."""
    for other in (sample for sample in every_sample() if sample["type"] != kind.message_type):
        with pytest.raises(Rejection) as caught:
            kind.from_json(orjson.dumps(other))
        error = caught.value.error
        assert error.code == ErrorCode.INVALID_MESSAGE_TYPE
        assert error.message == f"type: expected {kind.message_type}, not {other['type']}"
        assert error.details == {"pointer": "/type"}
        assert caught.value.session_id == other.get("session_id")


def test_base_classes_read_what_is_derived_from_them() -> None:
    """A base class reads each message of its kind, and says so of another."""
    end = '{"type":"audio.end","session_id":"s"}'
    assert (
        ASPMessage.from_json(end)
        == SessionMessage.from_json(end)
        == AudioEndMessage(session_id="s")
    )
    with pytest.raises(Rejection, match=r"^type: expected SessionMessage, not protocol.go_away$"):
        SessionMessage.from_json('{"type":"protocol.go_away"}')


def test_the_time_is_written_where_the_message_has_none() -> None:
    """``timestamp`` is an argument of writing, unless the message was made with one."""
    at = "2026-01-31T09:30:00.000Z"
    message = AudioEndMessage(session_id="s")
    assert message.to_json() == '{"type":"audio.end","session_id":"s"}'
    assert message.to_json(at) == (
        '{"type":"audio.end","session_id":"s","timestamp":"2026-01-31T09:30:00.000Z"}'
    )
    assert AudioEndMessage(session_id="s", timestamp="then").to_json(at) == (
        '{"type":"audio.end","timestamp":"then","session_id":"s"}'
    )


def test_a_start_leaves_out_what_was_not_asked_for() -> None:
    """VAD values that a client does not ask for are the server's: they must not travel."""
    start = SessionStartMessage(session_id="s", vad=VADConfig(silence_threshold_ms=700))
    assert orjson.loads(start.to_json()) == {
        "type": "session.start",
        "session_id": "s",
        "audio": {
            "sample_rate": 8000,
            "encoding": "pcm_s16le",
            "channels": 1,
            "frame_duration_ms": 20,
        },
        "vad": {"silence_threshold_ms": 700},
    }


@pytest.mark.parametrize("kind", [SessionUpdateMessage, TurnOverrideMessage])
def test_an_update_says_only_what_changes(
    kind: type[SessionUpdateMessage | TurnOverrideMessage],
) -> None:
    """Section 7, rule 5: an update is merged, so what it leaves out must not travel."""
    update = kind(session_id="s", vad=VADConfig(threshold=0.5))
    assert orjson.loads(update.to_json())["vad"] == {"threshold": 0.5}


@pytest.mark.parametrize(
    ("outside", "inside", "version", "of_capabilities"),
    [
        ({}, {}, "1.0.0", "1.0.0"),
        ({"version": "1.1.0"}, {}, "1.1.0", "1.1.0"),
        ({}, {"version": "1.1.0"}, "1.0.0", "1.1.0"),
        ({"version": "1.0.0"}, {"version": "1.1.0"}, "1.0.0", "1.1.0"),
    ],
)
def test_a_server_that_names_no_version_speaks_1_0_0(
    outside: dict[str, str], inside: dict[str, str], version: str, of_capabilities: str
) -> None:
    """Section 1: one version holds for both places; where none is said, it is the first one."""
    text = orjson.dumps({"type": "protocol.capabilities", **outside, "capabilities": inside})
    message = ProtocolCapabilitiesMessage.from_json(text)
    assert (message.version, message.capabilities.version) == (version, of_capabilities)


def test_null_is_as_if_left_out_where_a_member_may_be_missing() -> None:
    """A peer that writes null for what it does not have is understood."""
    text = (
        '{"type":"session.start","session_id":"s","call_id":null,"metadata":null,"version":null,'
        '"features":null,"audio_offers":null,"negotiation":null,"timestamp":null,'
        '"audio":{"framing":null}}'
    )
    assert parse_message(text) == SessionStartMessage(session_id="s")


def test_of_two_members_of_one_name_the_last_counts() -> None:
    """The type, the session and the values are read from the same ones of doubled members."""
    text = (
        '{"type":"audio.end","session_id":5,"session_id":"s","type":"session.start",'
        '"vad":{"threshold":"x"},"vad":{"threshold":0.1,"threshold":0.2}}'
    )
    assert parse_message(text) == SessionStartMessage(session_id="s", vad=VADConfig(threshold=0.2))


def test_bytes_are_read_as_text_is() -> None:
    """UTF-8 and its text are the same message."""
    text = '{"type":"response.start","session_id":"s","text":"ação 🎧"}'
    assert parse_message(text.encode()) == parse_message(text)
    assert parse_message(text) == ResponseStartMessage(session_id="s", text="ação 🎧")


def test_a_message_of_the_greatest_size_is_read() -> None:
    """Section 4: 64 KiB of characters are taken."""
    text = '{"type":"audio.end","session_id":"s","pad":"' + "ä" * (MAX_TEXT - 46) + '"}'
    assert len(text) == MAX_TEXT == 65_536
    assert parse_message(text) == AudioEndMessage(session_id="s")


@pytest.mark.parametrize("session_id", ["s", "x" * 128, "\0", "é 🎧", " "])
def test_any_short_string_names_a_session(session_id: str) -> None:
    """Section 7, rule 1: a session's id is a string of 1 to 128 characters."""
    message = SessionEndMessage(session_id=session_id)
    assert SessionEndMessage.from_json(message.to_json()).session_id == session_id
    assert session_id_of({"session_id": session_id}) == session_id


@pytest.mark.parametrize("found", [{}, *({"session_id": no} for no in ("", "x" * 129, 5, None))])
def test_nothing_else_names_a_session(found: dict[str, Any]) -> None:
    """An error in a message without a legal id belongs to no session."""
    assert session_id_of(found) is None


def test_objects_are_read_without_their_meaning() -> None:
    """An object with a type is read whatever it is, for those who know other types."""
    assert read_object('{"type":"x","a":[1,null]}') == {"type": "x", "a": [1, None]}


def test_messages_are_frozen_and_legal() -> None:
    """A message cannot be changed, and cannot be made with what the wire would refuse."""
    with pytest.raises(ValidationError):
        ProtocolGoAwayMessage().reason = "x"
    with pytest.raises(ValidationError):
        SessionEndMessage(session_id="")
    with pytest.raises(ValidationError):
        SessionStartMessage(session_id="s", metadata={"n": 2**64})
    with pytest.raises(ValidationError):
        SessionStartMessage(session_id="s", audio_offers=(AudioConfig(),) * 17)


@unhurried
@given(st.dictionaries(texts, json_values, max_size=4))
def test_metadata_comes_back_as_it_went(metadata: dict[str, Any]) -> None:
    """Any JSON that a client keeps with its session is given back, nulls and all."""
    start = SessionStartMessage(session_id="s", metadata=metadata)
    assert SessionStartMessage.from_json(start.to_json()).metadata == metadata
