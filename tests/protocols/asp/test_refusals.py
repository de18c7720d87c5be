"""What is refused, with which code, where, and in which words (spec §7, rule 1; §8)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palaver.protocols.asp.errors import ErrorCode, Rejection
from palaver.protocols.asp.messages import MESSAGES, parse_message
from palaver.protocols.asp.text_frames import MAX_TEXT, session_id_of
from tests.protocols.asp.samples import SAMPLES, every_sample
from tests.protocols.asp.strategies import json_values, unhurried

FORMAT, TYPE, VAD = (
    ErrorCode.INVALID_MESSAGE_FORMAT,
    ErrorCode.INVALID_MESSAGE_TYPE,
    ErrorCode.INVALID_VAD_PARAMETER,
)


def _rejection(text: str | bytes) -> Rejection:
    with pytest.raises(Rejection) as caught:
        parse_message(text)
    return caught.value


NO_JSON: list[tuple[str, str | bytes]] = [
    ("nothing", ""),
    ("blank", "  "),
    ("a word", "hello"),
    ("cut short", '{"type":"audio.end","session_id":"s"'),
    ("two", '{"type":"audio.end","session_id":"s"}{}'),
    ("comma", '{"type":"audio.end","session_id":"s",}'),
    ("NaN", '{"type":"session.start","session_id":"s","vad":{"threshold":NaN}}'),
    ("Infinity", '{"type":"session.start","session_id":"s","vad":{"threshold":Infinity}}'),
    ("-Infinity", '{"type":"session.start","session_id":"s","vad":{"threshold":-Infinity}}'),
    ("infinite", '{"type":"session.start","session_id":"s","vad":{"threshold":1e400}}'),
    ("long number", '{"type":"audio.end","session_id":"s","n":' + "9" * 5000 + "}"),
    ("surrogate", '{"type":"audio.end","session_id":"\ud800"}'),
    ("escaped surrogate", '{"type":"audio.end","session_id":"\\ud800"}'),
    ("byte order mark", '\ufeff{"type":"audio.end","session_id":"s"}'),
    ("no UTF-8", b'{"type":"audio.end","session_id":"\xff"}'),
    ("UTF-16", '{"type":"audio.end","session_id":"s"}'.encode("utf-16")),
    ("control character", '{"type":"audio.end","session_id":"\n"}'),
    ("nested", "[" * 60_000),
    ("nested objects", '{"a":' * 10_000),
    ("nested value", '{"type":"audio.end","session_id":"s","a":' + "[" * 500 + "]" * 500 + "}"),
]


@pytest.mark.parametrize("text", [row[1] for row in NO_JSON], ids=[row[0] for row in NO_JSON])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    """Section 7, rule 1: 1001, and the place in the text where it is wrong."""
    error = _rejection(text).error
    assert error.code == FORMAT
    assert error.message.startswith("the message is not JSON: ")
    assert error.details == {"pointer": ""}


UNTYPED: list[tuple[str, str, str, str | None]] = [
    ("[]", "the message must be a JSON object", "", None),
    ("5", "the message must be a JSON object", "", None),
    ("null", "the message must be a JSON object", "", None),
    ('"session.start"', "the message must be a JSON object", "", None),
    ("{}", "type: missing", "/type", None),
    ('{"session_id":"s"}', "type: missing", "/type", "s"),
    ('{"type":5,"session_id":"s"}', "type: must be a string", "/type", "s"),
    ('{"type":null}', "type: must be a string", "/type", None),
    ('{"type":["session.start"]}', "type: must be a string", "/type", None),
]


@pytest.mark.parametrize(("text", "message", "pointer", "session_id"), UNTYPED)
def test_what_has_no_type_is_refused(
    text: str, message: str, pointer: str, session_id: str | None
) -> None:
    """Section 7, rule 1: 1001 for what is no object, or has no type; the session is told."""
    rejection = _rejection(text)
    error = rejection.error
    assert (error.code, error.message) == (FORMAT, message)
    assert error.details == {"pointer": pointer}
    assert rejection.session_id == session_id


@pytest.mark.parametrize("pad", ["x" * MAX_TEXT, "ä" * MAX_TEXT])
def test_a_message_that_is_too_long_is_refused(pad: str) -> None:
    """Section 4: one character more than 64 KiB is refused before anybody reads it."""
    text = ('{"type":"audio.end","session_id":"s","pad":"' + pad)[: MAX_TEXT - 1] + '"}'
    error = _rejection(text).error
    assert (error.code, error.details) == (FORMAT, {"pointer": ""})
    assert error.message == "the message has 65537 characters; 65536 are allowed"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("x", "'x'"),
        ("", "''"),
        ("Session.start", "'Session.start'"),
        ("session.start ", "'session.start '"),
        ("y" * 100, f"'{'y' * 64}'"),
    ],
)
def test_a_type_that_is_not_known_is_refused(kind: str, told: str) -> None:
    """Section 8: 1003 for a type that is none, with those that there are."""
    rejection = _rejection(orjson.dumps({"type": kind, "session_id": "s"}))
    error = rejection.error
    assert (error.code, error.message) == (TYPE, f"type: there is no message {told}")
    assert error.details == {"pointer": "/type", "supported": list(MESSAGES)}
    assert rejection.session_id == "s"


SESSION_IDS: list[tuple[Any, str]] = [
    (5, "session_id: must be a string"),
    (None, "session_id: must be a string"),
    (["s"], "session_id: must be a string"),
    ("", "session_id: must not be empty"),
    ("x" * 129, "session_id: must have at most 128 characters"),
]


@pytest.mark.parametrize(("session_id", "message"), SESSION_IDS, ids=lambda value: str(value)[:9])
@pytest.mark.parametrize("kind", [kind for kind in MESSAGES if "session_id" in SAMPLES[kind]])
def test_a_session_has_an_id(kind: str, session_id: Any, message: str) -> None:
    """Section 7, rule 1: 1 to 128 characters, in each message of a session, or 1001."""
    if kind == "protocol.error" and session_id is None:
        return  # which may be about no session at all
    rejection = _rejection(orjson.dumps(SAMPLES[kind] | {"session_id": session_id}))
    error = rejection.error
    assert (error.code, error.message) == (FORMAT, message)
    assert error.details == {"pointer": "/session_id"}
    assert rejection.session_id is None


# Part of a session.start → code, pointer, what is told.
STARTS: list[tuple[str, ErrorCode, str, str]] = [
    ('"audio":null', FORMAT, "/audio", "must be an object"),
    ('"audio":[]', FORMAT, "/audio", "must be an object"),
    ('"audio":"pcm"', FORMAT, "/audio", "must be an object"),
    *(
        (f'"audio":{{"{name}":{value}}}', FORMAT, f"/audio/{name}", "must be an integer")
        for name in ("sample_rate", "channels", "frame_duration_ms")
        for value in ('"16000"', "true", "8000.0", "8000.5", "1e4", "null", "[]", "{}")
    ),
    (
        '"audio":{"sample_rate":9007199254740993}',
        FORMAT,
        "/audio/sample_rate",
        "must be at most 9007199254740992",
    ),
    (
        f'"audio":{{"channels":-{"9" * 300}}}',
        FORMAT,
        "/audio/channels",
        "must be at least -9007199254740992",
    ),
    *(
        (
            f'"audio":{{"encoding":{value}}}',
            FORMAT,
            "/audio/encoding",
            "must be 'pcm_s16le', 'mulaw' or 'alaw'",
        )
        for value in ("5", "null", "true", "[]", f'"{"x" * 33}"')
    ),
    *(
        (
            f'"audio":{{"framing":{value}}}',
            FORMAT,
            "/audio/framing",
            "must be 'hash12', 'seq14' or 'asp16'",
        )
        for value in ("5", "true", "[]", f'"{"x" * 33}"')
    ),
    ('"vad":null', VAD, "/vad", "must be an object"),
    ('"vad":[]', VAD, "/vad", "must be an object"),
    *(
        (f'"vad":{{"enabled":{value}}}', VAD, "/vad/enabled", "must be true or false")
        for value in ('"true"', "1", "0", "null")
    ),
    *(
        (f'"vad":{{"{name}":{value}}}', VAD, f"/vad/{name}", "must be an integer")
        for name in (
            "silence_threshold_ms",
            "min_speech_ms",
            "ring_buffer_frames",
            "prefix_padding_ms",
        )
        for value in ('"500"', "true", "500.0", "null", "[]")
    ),
    *(
        (f'"vad":{{"{name}":{value}}}', VAD, f"/vad/{name}", "must be a number")
        for name in ("threshold", "speech_ratio")
        for value in ('"0.5"', "true", "null", "{}")
    ),
    ('"vad":{"threshold":1e300}', VAD, "/vad/threshold", "must be at most 1000000000"),
    ('"vad":{"threshold":-1e300}', VAD, "/vad/threshold", "must be at least -1000000000"),
    ('"vad":{"threshold":0.5,"threshold":"x"}', VAD, "/vad/threshold", "must be a number"),
    ('"call_id":5', FORMAT, "/call_id", "must be a string"),
    (f'"call_id":"{"x" * 257}"', FORMAT, "/call_id", "must have at most 256 characters"),
    ('"timestamp":1700000000', FORMAT, "/timestamp", "must be a string"),
    (f'"timestamp":"{"1" * 65}"', FORMAT, "/timestamp", "must have at most 64 characters"),
    ('"metadata":[]', FORMAT, "/metadata", "must be an object"),
    (
        '"metadata":' + orjson.dumps({str(key): key for key in range(65)}).decode(),
        FORMAT,
        "/metadata",
        "must hold at most 64 items",
    ),
    (
        '"metadata":{"n":18446744073709551616}',
        FORMAT,
        "/metadata",
        "must be JSON: Integer exceeds 64-bit range",
    ),
    *(
        (f'"version":"{version}"', FORMAT, "/version", f"must match {pattern}")
        for pattern in (r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$",)
        for version in (
            "",
            "1",
            "1.0",
            "1.0.0-rc",
            "1.0.0\\n",
            "v1.0.0",
            "1.0.1234567",
            "\\u0661.0.0",
        )
    ),
    ('"version":1.1', FORMAT, "/version", "must be a string"),
    ('"features":"dtmf"', FORMAT, "/features", "must be an array"),
    ('"features":{}', FORMAT, "/features", "must be an array"),
    ('"features":["dtmf",5]', FORMAT, "/features/1", "must be a string"),
    (f'"features":["{"x" * 65}"]', FORMAT, "/features/0", "must have at most 64 characters"),
    (
        '"features":[' + ",".join(['"x"'] * 65) + "]",
        FORMAT,
        "/features",
        "must hold at most 64 items",
    ),
    ('"audio_offers":[]', FORMAT, "/audio_offers", "must not be empty"),
    ('"audio_offers":{}', FORMAT, "/audio_offers", "must be an array"),
    ('"audio_offers":[{},5]', FORMAT, "/audio_offers/1", "must be an object"),
    (
        '"audio_offers":[{},{"channels":"1"}]',
        FORMAT,
        "/audio_offers/1/channels",
        "must be an integer",
    ),
    (
        '"audio_offers":[{"encoding":1}]',
        FORMAT,
        "/audio_offers/0/encoding",
        "must be 'pcm_s16le', 'mulaw' or 'alaw'",
    ),
    (
        '"audio_offers":[' + ",".join(["{}"] * 17) + "]",
        FORMAT,
        "/audio_offers",
        "must hold at most 16 items",
    ),
    ('"negotiation":"loose"', FORMAT, "/negotiation", "must be 'adjust' or 'strict'"),
    ('"negotiation":true', FORMAT, "/negotiation", "must be 'adjust' or 'strict'"),
]


@pytest.mark.parametrize(
    ("part", "code", "pointer", "told"), STARTS, ids=lambda value: str(value)[:50]
)
def test_a_start_with_a_wrong_field_is_refused(
    part: str, code: ErrorCode, pointer: str, told: str
) -> None:
    """Section 7, rules 1 and 3: 1001, or 3001 for VAD; where it is wrong, and what is allowed."""
    rejection = _rejection('{"type":"session.start","session_id":"s",' + part + "}")
    error = rejection.error
    where = pointer.removeprefix("/").replace("/", ".")
    assert (error.code, error.message) == (code, f"{where}: {told}")
    assert error.details == {"pointer": pointer}
    assert error.recoverable
    assert rejection.session_id == "s"


# What is changed in the example of a type → pointer, what is told; the code is 1001.
OTHERS: list[tuple[str, dict[str, Any], str, str]] = [
    ("protocol.capabilities", {"capabilities": []}, "/capabilities", "must be an object"),
    ("protocol.capabilities", {"version": 1}, "/version", "must be a string"),
    (
        "protocol.capabilities",
        {"capabilities": {"supported_sample_rates": [8000, "16000"]}},
        "/capabilities/supported_sample_rates/1",
        "must be an integer",
    ),
    (
        "protocol.capabilities",
        {"capabilities": {"vad_defaults": {"threshold": "x"}}},
        "/capabilities/vad_defaults/threshold",
        "must be a number",
    ),
    (
        "session.started",
        {"status": "maybe"},
        "/status",
        "must be 'accepted', 'accepted_with_changes' or 'rejected'",
    ),
    ("session.started", {"stream": 65_536}, "/stream", "must be at most 65535"),
    ("session.started", {"stream": -1}, "/stream", "must be at least 0"),
    ("session.started", {"negotiated": {"vad": {}}}, "/negotiated/audio", "missing"),
    (
        "session.started",
        {"negotiated": {"audio": {}, "vad": {}, "adjustments": [{"field": "vad.threshold"}]}},
        "/negotiated/adjustments/0/requested",
        "missing",
    ),
    (
        "session.started",
        {
            "negotiated": {
                "audio": {},
                "vad": {},
                "adjustments": [{"field": "f", "requested": [], "applied": 1, "reason": "r"}],
            }
        },
        "/negotiated/adjustments/0/requested",
        "must be a short string, a number, true or false",
    ),
    ("session.started", {"errors": [{}]}, "/errors/0/code", "missing"),
    ("session.started", {"resume_token": ""}, "/resume_token", "must not be empty"),
    ("session.confirm", {"config_digest": None}, "/config_digest", "must be a string"),
    ("session.update", {"scope": "call"}, "/scope", "must be 'session' or 'turn'"),
    ("session.updated", {"effective_seq": -1}, "/effective_seq", "must be at least 0"),
    ("session.ended", {"duration_seconds": -0.1}, "/duration_seconds", "must be at least 0"),
    (
        "session.ended",
        {"duration_seconds": 1e300},
        "/duration_seconds",
        "must be at most 1000000000",
    ),
    (
        "session.ended",
        {"statistics": {"barge_in_count": 2**60}},
        "/statistics/barge_in_count",
        "must be at most 9007199254740992",
    ),
    ("session.ack", {"received": "25"}, "/received", "must be an integer"),
    (
        "session.resume",
        {"resume_token": "x" * 257},
        "/resume_token",
        "must have at most 256 characters",
    ),
    (
        "session.resumed",
        {"status": "accepted_with_changes"},
        "/status",
        "must be 'accepted' or 'rejected'",
    ),
    ("audio.speech_start", {"confirmed": "no"}, "/confirmed", "must be true or false"),
    ("audio.speech_end", {"end_ms": 1.5}, "/end_ms", "must be an integer"),
    ("response.start", {"text": "x" * 16_385}, "/text", "must have at most 16384 characters"),
    ("response.end", {"response_id": ""}, "/response_id", "must not be empty"),
    ("response.cancel", {"reason": "bored"}, "/reason", "must be 'barge_in' or 'manual'"),
    ("playback.mark", {"outcome": "lost"}, "/outcome", "must be 'played' or 'cleared'"),
    ("transcript", {"role": "robot"}, "/role", "must be 'user' or 'agent'"),
    ("transcript", {"text": "x" * 16_385}, "/text", "must have at most 16384 characters"),
    ("transcript", {"final": 1}, "/final", "must be true or false"),
    ("transcript", {"task_id": ""}, "/task_id", "must not be empty"),
    ("transcript", {"language": "x" * 36}, "/language", "must have at most 35 characters"),
    (
        "transcript",
        {"language": "pt_BR"},
        "/language",
        "must match ^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}$",
    ),
    ("dtmf", {"digit": "12"}, "/digit", "must match ^[0-9A-D*#]$"),
    ("dtmf", {"digit": "1\n"}, "/digit", "must match ^[0-9A-D*#]$"),
    ("dtmf", {"digit": 1}, "/digit", "must be a string"),
    ("call.action", {"action": "hold"}, "/action", "must be 'transfer' or 'hangup'"),
    ("protocol.error", {"error": "1001"}, "/error", "must be an object"),
    (
        "protocol.error",
        {"error": {"code": "1001", "category": "protocol", "message": "m"}},
        "/error/code",
        "must be an integer",
    ),
    ("protocol.go_away", {"grace_ms": 2**60}, "/grace_ms", "must be at most 9007199254740992"),
]


@pytest.mark.parametrize(("kind", "change", "pointer", "told"), OTHERS)
def test_a_wrong_field_of_any_message_is_refused(
    kind: str, change: dict[str, Any], pointer: str, told: str
) -> None:
    """Section 7, rule 1: 1001, where it is wrong, and what is allowed there."""
    error = _rejection(orjson.dumps(SAMPLES[kind] | change)).error
    where = pointer.removeprefix("/").replace("/", ".")
    assert (error.code, error.message) == (FORMAT, f"{where}: {told}")
    assert error.details == {"pointer": pointer}


@pytest.mark.parametrize("kind", ["session.update", "turn.override"])
def test_vad_of_the_wrong_type_is_3001_wherever_it_is_asked_for(kind: str) -> None:
    """Section 7, rule 3: the wrong type of a VAD value has a code of its own."""
    error = _rejection(orjson.dumps(SAMPLES[kind] | {"vad": {"threshold": "low"}})).error
    assert (error.code, error.message) == (VAD, "vad.threshold: must be a number")


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_without_a_required_member_is_refused(kind: str) -> None:
    """Section 4: each required member is told when it is missing."""
    for name, field in MESSAGES[kind].model_fields.items():
        if field.is_required():
            sample = {key: value for key, value in SAMPLES[kind].items() if key != name}
            error = _rejection(orjson.dumps(sample)).error
            assert (error.code, error.message) == (FORMAT, f"{name}: missing")


# --- whatever comes -------------------------------------------------------------------------


def _read(text: str | bytes) -> None:
    """Hold that a text is a message that can be written and read again, or a rejection."""
    try:
        message = parse_message(text)
    except Rejection as rejection:
        error = rejection.error
    else:
        assert parse_message(message.to_json()) == message
        assert getattr(message, "session_id", None) == session_id_of(orjson.loads(text))
        return
    assert error.code in {FORMAT, TYPE, VAD}
    assert "pointer" in (error.details or {})
    assert 0 < len(error.message) <= 4096
    assert orjson.dumps(error.model_dump())


@unhurried
@given(st.text())
@example("[" * 1000 + "]" * 1000)
def test_any_text_is_a_message_or_refused(text: str) -> None:
    """Nothing but a rejection comes of a text that is no message."""
    _read(text)


@unhurried
@given(st.binary())
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    """Nothing but a rejection comes of bytes that are no message."""
    _read(data)


@unhurried
@given(json_values)
def test_any_json_is_a_message_or_refused(found: Any) -> None:
    """Nothing but a rejection comes of JSON that is no message."""
    _read(orjson.dumps(found))


_NUMBERS = st.sampled_from([2**53, -(2**53) - 1, 2**64 - 1, 1e308, -0.0, 5e-324])


@unhurried
@given(st.sampled_from(every_sample()), st.data())
def test_any_change_of_a_message_is_read_or_refused(
    sample: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever JSON stands in a member, the message is read and can be written, or refused."""
    changed = orjson.loads(orjson.dumps(sample))
    where: Any = changed
    for _ in range(4):
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(where[key], dict | list) or data.draw(st.booleans()):
            where[key] = data.draw(json_values | _NUMBERS)
            break
        where = where[key]
    _read(orjson.dumps(changed))
