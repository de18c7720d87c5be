"""Envelopes and payloads: what is taken, what is refused and with which words (spec §2 to §5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from palaver.protocols.asap.errors import MalformedEnvelope, UnknownPayloadType
from palaver.protocols.asap.messages import (
    PAYLOADS,
    Envelope,
    PayloadType,
    Spelling,
    StateSnapshot,
    TaskConfig,
    TaskRequest,
    TaskStatus,
    TaskUpdate,
    moment,
    payload_type_of,
    read_payload,
)
from palaver.protocols.asap.spelling import payload_type, spelled, spelling_of
from tests.protocols.asap.samples import FULL, LEAST, NOW, envelope, sent


def violations(value: dict[str, Any]) -> dict[str, str]:
    """Return what is said to be wrong with an envelope or its payload: pointer → text."""
    with pytest.raises(MalformedEnvelope) as refused:
        read_payload(envelope(**value))
    return {found["pointer"]: found["msg"] for found in refused.value.violations}


@pytest.mark.parametrize("kind", PayloadType)
@pytest.mark.parametrize("samples", [LEAST, FULL], ids=["least", "full"])
@pytest.mark.parametrize("family", Spelling)
def test_every_payload_in_every_spelling(kind: PayloadType, samples: Any, family: Spelling) -> None:
    """Each payload is read in each spelling, and written as it came."""
    found = envelope(kind, payload_type=spelled(kind, family), payload=samples[kind])
    assert found.kind is kind
    assert found.spelling is family
    payload = read_payload(found)
    assert type(payload) is PAYLOADS[kind]
    assert payload_type_of(payload) is kind
    assert payload.wire() == samples[kind]


@pytest.mark.parametrize("kind", PayloadType)
def test_members_without_a_value_may_be_null(kind: PayloadType) -> None:
    """Peers write null for what has no value."""
    optional = {
        name for name, field in PAYLOADS[kind].model_fields.items() if not field.is_required()
    }
    nulls = dict.fromkeys(optional - LEAST[kind].keys())
    read_payload(envelope(kind, payload=LEAST[kind] | nulls))


@pytest.mark.parametrize("kind", PayloadType)
def test_members_that_are_missing_or_unknown(kind: PayloadType) -> None:
    """What is required is missed, and what is not known is refused, by name."""
    payload = LEAST[kind]
    required = [name for name, field in PAYLOADS[kind].model_fields.items() if field.is_required()]
    for name in required:
        without = {key: value for key, value in payload.items() if key != name}
        found = violations({"kind": kind, "payload": without})
        assert found == {f"/envelope/payload/{name}": "is required"}
    found = violations({"kind": kind, "payload": payload | {"span_id": "x"}})
    assert found == {"/envelope/payload/span_id": "is not a member that is known here"}


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("TaskRequest", PayloadType.TASK_REQUEST, Spelling.CAMEL),
        ("taskrequest", PayloadType.TASK_REQUEST, Spelling.CAMEL),
        ("task.request", PayloadType.TASK_REQUEST, Spelling.DOTTED),
        ("Task.Request", PayloadType.TASK_REQUEST, Spelling.DOTTED),
        ("task_request", PayloadType.TASK_REQUEST, Spelling.SNAKE),
        ("TASK_REQUEST", PayloadType.TASK_REQUEST, Spelling.SNAKE),
        ("task-request", PayloadType.TASK_REQUEST, Spelling.HYPHENATED),
        ("mcp.tool_result", PayloadType.MCP_TOOL_RESULT, Spelling.DOTTED),
        ("task.re.quest", None, Spelling.DOTTED),
        ("task request", None, Spelling.CAMEL),
        ("TaskStream", None, Spelling.CAMEL),
    ],
)
def test_spellings(name: str, kind: PayloadType | None, family: Spelling) -> None:
    """A name means the same in every family and case, and keeps its family."""
    assert payload_type(name) is kind
    assert spelling_of(name) is family


@pytest.mark.parametrize(
    ("change", "pointer", "text"),
    [
        ({"id": ""}, "/envelope/id", "must not be empty"),
        ({"id": 5}, "/envelope/id", "must be a string"),
        ({"id": "x" * 257}, "/envelope/id", "must have at most 256 characters"),
        ({"id": "a\nb"}, "/envelope/id", "holds the character U+000A at position 1"),
        ({"asap_version": None}, "/envelope/asap_version", "must be a string"),
        ({"asap_version": ""}, "/envelope/asap_version", "must not be empty"),
        ({"sender": "peer"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:Peer"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:my.peer"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:my_peer"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:a:b:c"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:"}, "/envelope/sender", None),
        ({"sender": "urn:asap:agent:a\n"}, "/envelope/sender", None),
        (
            {"recipient": f"urn:asap:agent:{'a' * 242}"},
            "/envelope/recipient",
            "must have at most 256 characters",
        ),
        ({"payload_type": ""}, "/envelope/payload_type", "must not be empty"),
        ({"payload": []}, "/envelope/payload", "must be an object"),
        ({"payload": None}, "/envelope/payload", "must be an object"),
        ({"requires_ack": "maybe"}, "/envelope/requires_ack", "must be true or false"),
        ({"requires_ack": None}, "/envelope/requires_ack", "must be true or false"),
        ({"timestamp": "yesterday"}, "/envelope/timestamp", None),
        (
            {"timestamp": "0001-01-01T00:00:00+01:00"},
            "/envelope/timestamp",
            "must be a time of the years 1 to 9999 in UTC",
        ),
        ({"span_id": "x"}, "/envelope/span_id", "is not a member that is known here"),
        (
            {"extensions": {"a": "x" * 65_536}},
            "/envelope/extensions",
            "must be at most 65536 bytes of JSON, not 65544",
        ),
        ({"extensions": []}, "/envelope/extensions", "must be an object"),
    ],
)
def test_envelopes_that_are_refused(change: dict[str, Any], pointer: str, text: str | None) -> None:
    """A wrong member is named with a pointer and what is allowed."""
    found = violations(change)
    assert list(found) == [pointer]
    pattern = r"must match ^urn:asap:agent:[a-z0-9-]+(?::[a-z0-9-]+)?$"
    if text is not None or "sender" in change:
        assert found[pointer] == (text or pattern)


def test_what_the_schema_of_an_envelope_requires() -> None:
    """What is filled in where it is missing need not be there."""
    required = ["asap_version", "sender", "recipient", "payload_type", "payload"]
    assert Envelope.model_json_schema()["required"] == required


@pytest.mark.parametrize("kind", PayloadType)
@pytest.mark.parametrize("samples", [LEAST, FULL], ids=["least", "full"])
def test_the_schemas_take_what_is_taken(kind: PayloadType, samples: Any) -> None:
    """By the schema of a payload its samples are valid, and not without what they need."""
    schema = Draft202012Validator(PAYLOADS[kind].model_json_schema())
    schema.validate(samples[kind])
    for name in schema.schema["required"]:
        assert not schema.is_valid(
            {key: samples[kind][key] for key in samples[kind] if key != name}
        )
    assert not schema.is_valid(samples[kind] | {"span_id": "x"})


@pytest.mark.parametrize("name", ["asap_version", "sender", "recipient", "payload_type", "payload"])
def test_members_of_an_envelope_that_must_be_there(name: str) -> None:
    """Each member without a default is missed by name."""
    with pytest.raises(ValidationError) as refused:
        Envelope.model_validate(
            {key: value for key, value in _whole().items() if key != name},
        )
    assert [error["loc"] for error in refused.value.errors()] == [(name,)]


def _whole() -> dict[str, Any]:
    return sent() | {"id": "env_1", "timestamp": "2026-01-31T10:00:00Z"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("2026-01-31T10:00:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T12:00:00.250+02:00", "2026-01-31T10:00:00.250000Z"),
        ("2026-01-31 10:00:00.000001Z", "2026-01-31T10:00:00.000001Z"),
        (None, "2026-01-31T10:00:00Z"),
    ],
)
def test_times_are_in_utc(written: str | None, meant: str) -> None:
    """A naive time is UTC, another zone is turned into it, none at all is now."""
    found = envelope(timestamp=written)
    assert found.timestamp.tzinfo is UTC
    assert found.wire()["timestamp"] == meant


@pytest.mark.parametrize("kind", ["TaskResponse", "McpToolResult", "McpResourceData"])
@pytest.mark.parametrize("family", Spelling)
@pytest.mark.parametrize("given_id", [None, ""])
def test_answers_need_a_correlation(kind: str, family: Spelling, given_id: str | None) -> None:
    """What answers says what it answers, in each spelling (spec §3)."""
    meant = PayloadType(kind)
    found = violations(
        {"kind": meant, "payload_type": spelled(meant, family), "correlation_id": given_id}
    )
    assert found == {"/envelope": f"needs a correlation_id: it is a {kind}"}


def test_what_an_envelope_leaves_out() -> None:
    """What has no value does not travel: peers of 1.0 do not know all members."""
    least = {"id", "asap_version", "timestamp", "sender", "recipient", "payload_type", "payload"}
    assert set(envelope().wire()) == least
    more = {
        "correlation_id": "env_0",
        "trace_id": "trace_1",
        "requires_ack": True,
        "extensions": {"nonce": "n1", "com.example.x": 1},
    }
    found = envelope(**more)
    assert found.wire().items() >= more.items()
    assert found.nonce == "n1"
    assert envelope().nonce is None
    assert envelope(extensions={"com.example.x": 1}).nonce is None


def test_an_unknown_type_is_no_error_of_the_envelope() -> None:
    """It is one of what is asked for, and told as it was spelled."""
    found = envelope(payload_type="task.dance")
    assert found.kind is None
    with pytest.raises(UnknownPayloadType) as refused:
        read_payload(found)
    assert refused.value.code == -32601
    assert refused.value.data()["payload_type"] == "task.dance"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", "submitted"),
        ("input_required", "input_required"),
        ("input-required", "input_required"),
        ("cancelled", "cancelled"),
        ("canceled", "cancelled"),
        ("rejected", "rejected"),
        ("paused", "paused"),
        (TaskStatus.WORKING, "working"),
    ],
)
def test_words_for_a_status(word: str, status: str) -> None:
    """Both spellings of both words are read; one is written."""
    found = TaskUpdate(task_id="t", update_type="status_change", status=word)  # type: ignore[arg-type]
    assert found.wire()["status"] == status


@pytest.mark.parametrize("word", ["COMPLETED", "unknown", "", 3, None])
def test_words_for_no_status(word: Any) -> None:
    """Other words are refused, and the known ones told."""
    with pytest.raises(MalformedEnvelope, match=r"payload\.status must be 'submitted', 'working'"):
        read_payload(envelope(PayloadType.TASK_RESPONSE, payload={"task_id": "t", "status": word}))


@pytest.mark.parametrize("percent", [0, 100, 65.5])
def test_percents(percent: float) -> None:
    """A percent is a number from 0 to 100."""
    update = LEAST[PayloadType.TASK_UPDATE] | {"progress": {"percent": percent}}
    assert TaskUpdate.model_validate(update).progress == {"percent": percent}


@pytest.mark.parametrize("percent", [-1, 100.5, "50", None, True, []])
def test_percents_that_are_none(percent: Any) -> None:
    """Anything else is none."""
    update = LEAST[PayloadType.TASK_UPDATE] | {"progress": {"percent": percent}}
    found = violations({"kind": PayloadType.TASK_UPDATE, "payload": update})
    assert found == {"/envelope/payload/progress": "percent must be a number from 0 to 100"}


@pytest.mark.parametrize(
    ("config", "pointer", "text"),
    [
        ({"timeout_seconds": 0.5}, "timeout_seconds", "must be at least 1"),
        ({"timeout_seconds": 1e9}, "timeout_seconds", "must be at most 2592000"),
        ({"timeout_seconds": "soon"}, "timeout_seconds", None),
        ({"idempotency_key": ""}, "idempotency_key", "must not be empty"),
        ({"streaming": "perhaps"}, "streaming", "must be true or false"),
        ({"state_mode": "both"}, "state_mode", "must be 'snapshot' or 'event-sourced'"),
        ({"temperature": 3}, "temperature", "must be at most 2"),
        ({"callback_events": ["x"] * 65}, "callback_events", "must hold at most 64 items"),
        ({"callback_events": "x"}, "callback_events", "must be an array"),
        ({"x": "y" * 65_536}, "", "must be at most 65536 bytes of JSON, not 65544"),
    ],
)
def test_configs_that_are_refused(config: Any, pointer: str, text: str | None) -> None:
    """Known members have types and bounds; unknown ones a size."""
    found = violations({"payload": LEAST[PayloadType.TASK_REQUEST] | {"config": config}})
    at = f"/envelope/payload/config{'/' if pointer else ''}{pointer}"
    assert list(found) == [at]
    assert text is None or found[at] == text


def test_the_secret_of_a_config_is_not_shown() -> None:
    """It travels, but no log line that shows the config has it."""
    config = TaskConfig.model_validate({"callback_secret": "whsec_1", "other": 1})
    assert "whsec_1" not in repr(config)
    assert config.wire() == {"callback_secret": "whsec_1", "other": 1}


@pytest.mark.parametrize(
    ("part", "below", "text"),
    [
        ({"type": "text"}, "/content", "is required"),
        ({"type": "text", "content": 5}, "/content", "must be a string"),
        ({"type": "text", "content": "x", "a[b]": 1}, "/a[b]", None),
        ({"type": "data", "data": []}, "/data", "must be an object"),
        ({"type": "file", "mime_type": "a/b"}, "/uri", "is required"),
        ({"type": "file", "uri": "a/../b", "mime_type": "a/b"}, "/uri", "must not contain .."),
        ({"type": "file", "uri": "FILE:///x", "mime_type": "a/b"}, "/uri", None),
        ({"type": "file", "uri": " file://x", "mime_type": "a/b"}, "/uri", None),
        ({"type": "file", "uri": "x:y", "mime_type": "a/b_c"}, "/mime_type", None),
        ({"type": "file", "uri": "x:y", "mime_type": "a/b\n"}, "/mime_type", None),
        (
            {"type": "file", "uri": "x:y", "mime_type": "a/b", "inline_data": "a"},
            "/inline_data",
            "must be base64",
        ),
        ({"type": "template", "template": "x"}, "/variables", "is required"),
        ({"type": "Text", "content": "x"}, "", None),
        ({"type": ["text"], "content": "x"}, "", None),
        ({"type": "video"}, "", None),
        ({"type": None}, "", None),
        ({"content": "x"}, "", None),
        (5, "", None),
        (None, "", None),
    ],
)
def test_parts_that_are_refused(part: Any, below: str, text: str | None) -> None:
    """A part is one of five objects, or a string; the pointer leads into it."""
    payload = LEAST[PayloadType.MESSAGE_SEND] | {"parts": ["fine", part]}
    found = violations({"kind": PayloadType.MESSAGE_SEND, "payload": payload})
    at = f"/envelope/payload/parts/1{below}"
    assert list(found) == [at]
    if not below:
        text = "must be a string, or an object whose type is text, data, file, resource or template"
    assert text is None or found[at] == text


@pytest.mark.parametrize("part", FULL[PayloadType.MESSAGE_SEND]["parts"][1:])
def test_parts_of_the_draft(part: dict[str, Any]) -> None:
    """The draft spells the type of a part as ``TextPart``."""
    older = part | {"type": part["type"].title() + "Part"}
    payload = LEAST[PayloadType.MESSAGE_SEND] | {"parts": [older]}
    found = read_payload(envelope(PayloadType.MESSAGE_SEND, payload=payload))
    assert found.wire()["parts"] == [part]


def test_media_types_are_in_lower_case() -> None:
    """A media type is compared without case, and kept in lower case."""
    part = {"type": "file", "uri": "x:y", "mime_type": "Text/Plain"}
    payload = LEAST[PayloadType.MESSAGE_SEND] | {"parts": [part]}
    found = read_payload(envelope(PayloadType.MESSAGE_SEND, payload=payload))
    assert found.wire()["parts"] == [part | {"mime_type": "text/plain"}]


@pytest.mark.parametrize(
    ("success", "rest", "text"),
    [
        (True, {}, "must hold result and no error, as its success says"),
        (True, {"result": {}, "error": "x"}, "must hold result and no error, as its success says"),
        (False, {}, "must hold error and no result, as its success says"),
        (False, {"result": {}, "error": "x"}, "must hold error and no result, as its success says"),
    ],
)
def test_results_of_tools(success: bool, rest: dict[str, Any], text: str) -> None:  # noqa: FBT001
    """A tool gave a result or an error, never both and never none."""
    payload = {"request_id": "r", "success": success} | rest
    found = violations({"kind": PayloadType.MCP_TOOL_RESULT, "payload": payload})
    assert found == {"/envelope/payload": text}


def test_what_cannot_be_written_is_refused() -> None:
    """A program that puts in what is no JSON learns it before it sends."""
    with pytest.raises(ValidationError, match="must be JSON: Type is not JSON serializable"):
        TaskConfig(broker={"x": object()})
    with pytest.raises(ValidationError, match="must be JSON"):
        TaskConfig.model_validate({"x": object()})


def test_a_snapshot_travels() -> None:
    """A snapshot is written with its time in UTC, and read again."""
    snapshot = StateSnapshot(
        id="snap_1", task_id="task_1", version=1, data={"a": None}, created_at=moment(NOW)
    )
    assert snapshot.wire() == {
        "id": "snap_1",
        "task_id": "task_1",
        "version": 1,
        "data": {"a": None},
        "checkpoint": False,
        "created_at": "2026-01-31T10:00:00Z",
    }
    assert StateSnapshot.model_validate(snapshot.wire()) == snapshot


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), json_values), st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read(given_input: dict[str, Any], at: datetime) -> None:
    """Any envelope comes back as it was, null and all."""
    request = TaskRequest(conversation_id="c", skill_id="s", input=given_input)
    before = envelope(payload=request.wire(), timestamp=at.isoformat())
    after = Envelope.model_validate(orjson.loads(orjson.dumps(before.wire())))
    assert after == before
    assert read_payload(after) == request
