"""What is negotiated: types, ranges, defaults, digest (spec §3)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from palaver.protocols.asp.config import (
    FRAME_DURATIONS_MS,
    SAMPLE_RATES_HZ,
    VAD_RANGES,
    Adjustment,
    AudioConfig,
    AudioEncoding,
    Framing,
    ProtocolCapabilities,
    SessionStatistics,
    VADConfig,
    config_digest,
)
from tests.protocols.asp.strategies import built, unhurried


def test_defaults_of_audio() -> None:
    """Section 3: 8 kHz linear PCM, mono, frames of 20 ms; no framing is named."""
    assert AudioConfig().model_dump(mode="json") == {
        "sample_rate": 8000,
        "encoding": "pcm_s16le",
        "channels": 1,
        "frame_duration_ms": 20,
        "framing": None,
    }
    assert AudioConfig().validate() == []


def test_defaults_of_vad() -> None:
    """Section 3: the seven values of voice detection."""
    assert VADConfig().model_dump(mode="json") == {
        "enabled": True,
        "silence_threshold_ms": 500,
        "min_speech_ms": 250,
        "threshold": 0.5,
        "ring_buffer_frames": 5,
        "speech_ratio": 0.4,
        "prefix_padding_ms": 300,
    }
    assert VADConfig().validate() == []


def test_defaults_of_capabilities() -> None:
    """Section 3: what a server takes that says nothing of it."""
    assert ProtocolCapabilities().model_dump(mode="json") == {
        "version": "1.1.0",
        "supported_sample_rates": [8000, 16000],
        "supported_encodings": ["pcm_s16le"],
        "supported_frame_durations": [10, 20, 30],
        "vad_configurable": True,
        "vad_parameters": [
            "enabled",
            "silence_threshold_ms",
            "min_speech_ms",
            "threshold",
            "ring_buffer_frames",
            "speech_ratio",
            "prefix_padding_ms",
        ],
        "max_session_duration_seconds": 3600,
        "features": [],
        "supported_framings": ["hash12"],
        "vad_defaults": VADConfig().model_dump(),
    }


AUDIO_LEGAL: list[tuple[str, Any]] = [
    *(("sample_rate", rate) for rate in SAMPLE_RATES_HZ),
    *(("encoding", encoding) for encoding in AudioEncoding),
    ("channels", 1),
    *(("frame_duration_ms", duration) for duration in FRAME_DURATIONS_MS),
    *(("framing", framing) for framing in (None, *Framing)),
]


@pytest.mark.parametrize(("field", "value"), AUDIO_LEGAL)
def test_every_audio_value_of_the_table_is_legal(field: str, value: Any) -> None:
    """Section 3: each value of the table can be asked for."""
    assert AudioConfig(**{field: value}).validate() == []


AUDIO_ILLEGAL: list[tuple[str, Any, str]] = [
    ("sample_rate", 44100, "sample_rate must be one of 8000, 16000, 24000, 48000, not 44100"),
    ("sample_rate", 0, "sample_rate must be one of 8000, 16000, 24000, 48000, not 0"),
    ("sample_rate", -8000, "sample_rate must be one of 8000, 16000, 24000, 48000, not -8000"),
    ("encoding", "opus", "encoding must be one of pcm_s16le, mulaw, alaw, not 'opus'"),
    ("encoding", "", "encoding must be one of pcm_s16le, mulaw, alaw, not ''"),
    ("encoding", "MULAW", "encoding must be one of pcm_s16le, mulaw, alaw, not 'MULAW'"),
    ("channels", 2, "channels must be 1, not 2"),
    ("channels", 0, "channels must be 1, not 0"),
    ("frame_duration_ms", 25, "frame_duration_ms must be one of 10, 20, 30, not 25"),
    ("frame_duration_ms", 0, "frame_duration_ms must be one of 10, 20, 30, not 0"),
    ("framing", "seq15", "framing must be one of hash12, seq14, asp16, not 'seq15'"),
]


@pytest.mark.parametrize(("field", "value", "text"), AUDIO_ILLEGAL)
def test_an_audio_value_outside_the_table_is_named(field: str, value: Any, text: str) -> None:
    """Section 3: what is not in the table can be written down, and is told word for word."""
    assert AudioConfig(**{field: value}).validate() == [text]


def test_each_wrong_audio_value_is_named() -> None:
    """One sentence for each value that is wrong."""
    audio = AudioConfig(sample_rate=1, encoding="x", channels=3, frame_duration_ms=1, framing="y")
    assert [text.split()[0] for text in audio.validate()] == list(AudioConfig.model_fields)


VAD_EDGES: list[tuple[str, Any, Any]] = [
    ("silence_threshold_ms", 100, 99),
    ("silence_threshold_ms", 2000, 2001),
    ("silence_threshold_ms", 2000, 1_000_001),
    ("min_speech_ms", 100, 99),
    ("min_speech_ms", 1000, 1001),
    ("threshold", 0.0, -0.0000001),
    ("threshold", 1.0, 1.0000001),
    ("ring_buffer_frames", 3, 2),
    ("ring_buffer_frames", 10, 11),
    ("speech_ratio", 0.2, 0.19999999),
    ("speech_ratio", 0.8, 0.80000001),
    ("prefix_padding_ms", 0, -1),
    ("prefix_padding_ms", 500, 501),
]


@pytest.mark.parametrize(("field", "inside", "outside"), VAD_EDGES)
def test_vad_ranges_hold_their_ends(field: str, inside: Any, outside: Any) -> None:
    """Section 3: both ends of a range are legal, the next value is not, and it is told."""
    assert VADConfig(**{field: inside}).validate() == []
    least, most = VAD_RANGES[field]
    text = f"{field} must be {least:g}-{most:g}, not {outside}"
    assert VADConfig(**{field: outside}).validate() == [text]


def test_ranges_are_those_of_the_table() -> None:
    """Section 3: each parameter but ``enabled`` has a range."""
    assert dict(VAD_RANGES) == {
        "silence_threshold_ms": (100, 2000),
        "min_speech_ms": (100, 1000),
        "threshold": (0.0, 1.0),
        "ring_buffer_frames": (3, 10),
        "speech_ratio": (0.2, 0.8),
        "prefix_padding_ms": (0, 500),
    }
    assert ["enabled", *VAD_RANGES] == list(VADConfig.model_fields)


def test_each_vad_value_out_of_range_is_named() -> None:
    """One sentence for each value that is out of its range."""
    vad = VADConfig(**dict.fromkeys(VAD_RANGES, -1))
    assert [text.split()[0] for text in vad.validate()] == list(VAD_RANGES)


INTEGERS = [
    *(("audio", name) for name in ("sample_rate", "channels", "frame_duration_ms")),
    *(("vad", name) for name in VAD_RANGES if VADConfig.model_fields[name].annotation is int),
]
NO_INTEGERS = ["8000", True, 8000.0, 0.5, None, [], {}, 2**53 + 1, -(2**53) - 1, 10**400]
NO_NUMBERS = ["0.5", True, None, [], {}, float("nan"), float("inf"), -float("inf"), 1e10, -1e10]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(("part", "name"), INTEGERS)
def test_an_integer_is_an_integer(part: str, name: str, value: Any) -> None:
    """Section 7, rule 1: no string, no boolean, no float, nothing beyond what JSON keeps exact."""
    _refused(AudioConfig if part == "audio" else VADConfig, name, value)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["threshold", "speech_ratio"])
def test_a_number_is_finite(name: str, value: Any) -> None:
    """Section 7, rule 1: no string, no boolean, no NaN, nothing without a bound."""
    _refused(VADConfig, name, value)


@pytest.mark.parametrize("value", ["true", 1, 0, 1.0, None])
def test_a_boolean_is_a_boolean(value: Any) -> None:
    """Section 7, rule 1: 1 is not true, and null is nothing."""
    _refused(VADConfig, "enabled", value)
    _refused(ProtocolCapabilities, "vad_configurable", value)


@pytest.mark.parametrize("value", [5, True, None, [], "x" * 33])
def test_an_encoding_is_a_word(value: Any) -> None:
    """A word of at most 32 characters, whether it is known or not."""
    _refused(AudioConfig, "encoding", value)
    assert AudioConfig(encoding="x" * 32).encoding == "x" * 32


@pytest.mark.parametrize("value", [5, True, [], "x" * 33])
def test_a_framing_is_a_word_or_none(value: Any) -> None:
    """A word of at most 32 characters, whether it is known or not."""
    _refused(AudioConfig, "framing", value)


def _refused(model: type[BaseModel], name: str, value: Any) -> None:
    """Hold that neither Python nor JSON can make a model with that value."""
    with pytest.raises(ValidationError) as caught:
        model(**{name: value})
    assert {found["loc"][0] for found in caught.value.errors()} == {name}
    with pytest.raises(ValidationError):
        model.model_validate_json(json.dumps({name: value}))


def test_a_word_of_the_table_becomes_its_enum() -> None:
    """In Python code as in JSON, "mulaw" is the encoding and "asp16" the framing."""
    spelled = AudioConfig(encoding="mulaw", framing="asp16")
    read = AudioConfig.model_validate_json('{"encoding":"mulaw","framing":"asp16"}')
    for audio in (spelled, read):
        assert audio.encoding is AudioEncoding.MULAW
        assert audio.framing is Framing.ASP16
        assert audio.validate() == []


def test_a_whole_number_is_a_number() -> None:
    """JSON does not tell 1 from 1.0, where a number is asked for."""
    assert VADConfig.model_validate_json('{"threshold":1}').threshold == 1.0


BYTES: list[tuple[int, str, int, int, int]] = [
    (8000, "pcm_s16le", 10, 80, 160),
    (8000, "pcm_s16le", 20, 160, 320),
    (8000, "mulaw", 20, 160, 160),
    (8000, "alaw", 30, 240, 240),
    (16000, "pcm_s16le", 20, 320, 640),
    (24000, "pcm_s16le", 30, 720, 1440),
    (48000, "pcm_s16le", 10, 480, 960),
    (48000, "alaw", 30, 1440, 1440),
    (8000, "opus", 20, 160, 160),
]


@pytest.mark.parametrize(("rate", "encoding", "duration", "samples", "size"), BYTES)
def test_sizes_of_a_frame(rate: int, encoding: str, duration: int, samples: int, size: int) -> None:
    """Section 6: rate · ms / 1000 samples, of 2 bytes or 1."""
    audio = AudioConfig(sample_rate=rate, encoding=encoding, frame_duration_ms=duration)
    assert audio.samples_per_frame == samples
    assert audio.bytes_per_frame == size == samples * audio.sample_bytes


def test_configurations_are_frozen() -> None:
    """What was negotiated cannot be changed behind anybody's back."""
    with pytest.raises(ValidationError):
        VADConfig().threshold = 0.1


def test_members_of_a_later_version_are_ignored() -> None:
    """Section 1: a new optional member breaks nobody."""
    assert VADConfig.model_validate_json('{"eagerness":"low"}') == VADConfig()
    assert AudioConfig.model_validate_json('{"bitrate":64}') == AudioConfig()


def test_only_given_values_replace_others() -> None:
    """Section 7, rule 5: a merge leaves alone what was not given, and takes what was."""
    given_ = VADConfig.model_validate_json('{"threshold":0.5,"enabled":false}')
    merged = given_.over(VADConfig(threshold=0.9, silence_threshold_ms=800))
    assert merged == VADConfig(threshold=0.5, enabled=False, silence_threshold_ms=800)
    assert VADConfig().over(merged) == merged


@unhurried
@given(built(VADConfig), built(VADConfig))
def test_a_merge_is_idempotent_and_whole(one: VADConfig, other: VADConfig) -> None:
    """A merge gives every field; merging the same again changes nothing."""
    merged = one.over(other)
    assert merged.model_fields_set == set(VADConfig.model_fields)
    assert one.over(merged) == merged
    assert merged.over(other) == merged


WRONG_CAPABILITIES: list[tuple[str, Any]] = [
    ("version", 1),
    ("version", "x" * 33),
    ("supported_sample_rates", ["8000"]),
    ("supported_sample_rates", [True]),
    ("supported_sample_rates", 8000),
    ("supported_sample_rates", [8000] * 65),
    ("supported_encodings", [1]),
    ("supported_encodings", "pcm_s16le"),
    ("supported_encodings", ["x" * 33]),
    ("supported_encodings", ["x"] * 65),
    ("supported_frame_durations", [20.0]),
    ("vad_parameters", None),
    ("vad_parameters", {"threshold": True}),
    ("max_session_duration_seconds", "3600"),
    ("max_session_duration_seconds", 2**53 + 1),
    ("features", ["x" * 33]),
    ("supported_framings", [None]),
    ("vad_defaults", {"threshold": "x"}),
    ("vad_defaults", None),
]


@pytest.mark.parametrize(("name", "value"), WRONG_CAPABILITIES)
def test_capabilities_are_strict_and_bounded(name: str, value: Any) -> None:
    """Section 7, rule 1, holds for servers too."""
    _refused(ProtocolCapabilities, name, value)


def test_the_schema_promises_no_version_of_capabilities() -> None:
    """Where capabilities name no version it is that of their message, which is no default."""
    members = ProtocolCapabilities.model_json_schema()["properties"]
    assert [name for name, member in members.items() if "default" not in member] == ["version"]


@pytest.mark.parametrize("value", [True, False, 0, -(2**53), 2**53, 0.5, -1.5, "", "x" * 128])
def test_an_adjustment_holds_values_of_a_configuration(value: Any) -> None:
    """``requested`` and ``applied`` are strings, numbers or booleans, and keep their type."""
    adjustment = Adjustment(field="f", requested=value, applied=value, reason="r")
    back = Adjustment.model_validate_json(adjustment.model_dump_json())
    assert back == adjustment
    assert type(back.requested) is type(value)


@pytest.mark.parametrize("value", [None, [], {}, 2**53 + 1, 1e300, float("nan"), "x" * 129])
@pytest.mark.parametrize("name", ["requested", "applied"])
def test_an_adjustment_holds_nothing_else(name: str, value: Any) -> None:
    """No list, no object, no null, nothing without a bound stands in an adjustment."""
    members = {"field": "f", "requested": 1, "applied": 2, "reason": "r", name: value}
    with pytest.raises(ValidationError, match="must be a short string, a number, true or false"):
        Adjustment(**members)


@pytest.mark.parametrize(("name", "value"), [("field", "x" * 129), ("field", 1), ("reason", None)])
def test_words_of_an_adjustment_are_strings(name: str, value: Any) -> None:
    """Field and reason are strings with a bound."""
    members = {"field": "f", "requested": 1, "applied": 2, "reason": "r", name: value}
    with pytest.raises(ValidationError):
        Adjustment(**members)


@pytest.mark.parametrize("name", SessionStatistics.model_fields)
@pytest.mark.parametrize("value", [-1, "1", None, True, 2**53 + 1])
def test_statistics_are_counted_up_from_nothing(name: str, value: Any) -> None:
    """No number of the statistics is negative, or more than can be counted."""
    _refused(SessionStatistics, name, value)
    assert getattr(SessionStatistics(), name) == 0


# --- the digest -----------------------------------------------------------------------------

_AUDIO = {
    "sample_rate": 8000,
    "encoding": "pcm_s16le",
    "channels": 1,
    "frame_duration_ms": 20,
    "framing": "hash12",
}
_VAD = {
    "enabled": True,
    "silence_threshold_ms": 500,
    "min_speech_ms": 250,
    "threshold": 500_000,
    "ring_buffer_frames": 5,
    "speech_ratio": 400_000,
    "prefix_padding_ms": 300,
}
DIGESTS: list[tuple[AudioConfig, VADConfig, dict[str, Any], dict[str, Any]]] = [
    (AudioConfig(), VADConfig(), {}, {}),
    (AudioConfig(framing=Framing.HASH12), VADConfig(), {}, {}),
    (
        AudioConfig(
            sample_rate=16000,
            encoding=AudioEncoding.ALAW,
            frame_duration_ms=30,
            framing=Framing.ASP16,
        ),
        VADConfig(enabled=False, threshold=1 / 3, speech_ratio=0.7000001, min_speech_ms=100),
        {
            "sample_rate": 16000,
            "encoding": "alaw",
            "frame_duration_ms": 30,
            "framing": "asp16",
        },
        {
            "enabled": False,
            "threshold": 333_333,
            "speech_ratio": 700_000,
            "min_speech_ms": 100,
        },
    ),
]


@pytest.mark.parametrize(("audio", "vad", "heard", "detected"), DIGESTS)
def test_digests_are_those_of_their_text(
    audio: AudioConfig, vad: VADConfig, heard: dict[str, Any], detected: dict[str, Any]
) -> None:
    """The digest is SHA-256 over sorted JSON without spaces, ratios as integers of millionths."""
    members = {"audio": _AUDIO | heard, "vad": _VAD | detected}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    assert config_digest(audio, vad) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_the_digest_of_the_defaults_is_written_down() -> None:
    """A peer in another language can compare with this one."""
    assert config_digest(AudioConfig(), VADConfig()) == (
        "sha256:25fe54cb70cc6a2bfa38323990f7bcae226b5ac4dbce3ddecef780aa6233720f"
    )


@unhurried
@given(built(AudioConfig), built(VADConfig))
def test_whatever_can_be_written_down_has_a_digest(audio: AudioConfig, vad: VADConfig) -> None:
    """The digest is of the values, not of how they came, and no value is without one."""
    digest = config_digest(audio, vad)
    again = AudioConfig.model_validate_json(orjson.dumps(audio.model_dump(mode="json")))
    whole = VADConfig.model_validate_json(orjson.dumps(vad.model_dump(mode="json")))
    assert config_digest(again, whole) == digest
    assert len(digest) == 7 + 64


@unhurried
@given(st.data())
def test_changing_one_value_changes_the_digest(data: st.DataObject) -> None:
    """No value of audio or VAD can differ between two sides that have one digest."""
    audio, vad = data.draw(built(AudioConfig, legal=True)), data.draw(built(VADConfig, legal=True))
    model, config = data.draw(st.sampled_from([(AudioConfig, audio), (VADConfig, vad)]))
    name = data.draw(st.sampled_from(list(model.model_fields)))
    before = getattr(config, name)
    after = getattr(data.draw(built(model, legal=True)), name)
    changed = config.model_copy(update={name: after})
    pair = (changed, vad) if model is AudioConfig else (audio, changed)
    same = (
        abs(before - after) < 2e-6
        if isinstance(before, float)
        else (before or "hash12") == (after or "hash12")
        if name == "framing"
        else before == after
    )
    if not same:
        assert config_digest(*pair) != config_digest(audio, vad)
