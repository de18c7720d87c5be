"""What is negotiated: audio, voice detection, and what a server is capable of (``docs``: §3).

Values of a request may be out of range: negotiation answers them (§7), ``validate`` names them.
Their types are strict: "16000" is no number, 1 is no boolean, NaN is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "FRAMES_PER_MESSAGE",
    "FRAME_DURATIONS_MS",
    "SAMPLE_RATES_HZ",
    "VAD_RANGES",
    "VERSION",
    "Adjustment",
    "AudioConfig",
    "AudioEncoding",
    "Framing",
    "NegotiatedConfig",
    "ProtocolCapabilities",
    "SessionStatistics",
    "VADConfig",
    "config_digest",
]

VERSION: Final = "1.1.0"
"""The version that this package speaks; a peer that names none speaks 1.0.0."""

SAMPLE_RATES_HZ: Final = (8_000, 16_000, 24_000, 48_000)
FRAME_DURATIONS_MS: Final = (10, 20, 30)
FRAMES_PER_MESSAGE: Final = 10
"""Frames that one binary message may carry."""

VAD_RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "silence_threshold_ms": (100, 2000),
        "min_speech_ms": (100, 1000),
        "threshold": (0.0, 1.0),
        "ring_buffer_frames": (3, 10),
        "speech_ratio": (0.2, 0.8),
        "prefix_padding_ms": (0, 500),
    }
)
"""Parameter → its least and greatest value, both allowed."""


class AudioEncoding(StrEnum):
    """How a sample is written."""

    PCM_S16LE = "pcm_s16le"
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample: 2 for linear PCM, 1 for G.711."""
        return 2 if self is AudioEncoding.PCM_S16LE else 1


class Framing(StrEnum):
    """What stands before the audio in a binary message (``frames.py``)."""

    HASH12 = "hash12"
    SEQ14 = "seq14"
    ASP16 = "asp16"


_FROZEN: Final = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)
_MAX_INTEGER: Final = 2**53
_Integer: TypeAlias = Annotated[int, Field(ge=-_MAX_INTEGER, le=_MAX_INTEGER)]
_Word: TypeAlias = Annotated[str, Field(max_length=32)]
_MAX_NUMBER: Final = 1e9
_Number: TypeAlias = Annotated[float, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER)]


def _legal(description: str, **schema: Any) -> Any:
    """Describe a field, in the schema with the values that a peer should send."""
    return Field(description=description, json_schema_extra=schema)


def _ranged(name: str, description: str) -> Any:
    least, most = VAD_RANGES[name]
    return _legal(description, minimum=least, maximum=most)


class AudioConfig(BaseModel):
    """The audio of a session, the same in both directions.

    ``framing`` is of 1.1: without it, binary messages are ``hash12``.
    """

    model_config = _FROZEN

    sample_rate: Annotated[
        _Integer, _legal("Samples a second (Hz)", enum=list(SAMPLE_RATES_HZ))
    ] = 8_000
    encoding: Annotated[
        Annotated[AudioEncoding, Field(strict=False)] | _Word,
        Field(
            union_mode="left_to_right",
            description="How a sample is written",
            json_schema_extra={"enum": [str(one) for one in AudioEncoding]},
        ),
    ] = AudioEncoding.PCM_S16LE
    channels: Annotated[_Integer, _legal("Channels", enum=[1])] = 1
    frame_duration_ms: Annotated[
        _Integer, _legal("Milliseconds of one frame", enum=list(FRAME_DURATIONS_MS))
    ] = 20
    framing: Annotated[
        Annotated[Framing, Field(strict=False)] | _Word | None,
        Field(
            union_mode="left_to_right",
            description="What stands before the audio in a binary message (1.1)",
            json_schema_extra={"enum": [str(one) for one in Framing]},
        ),
    ] = None

    def validate(self) -> list[str]:  # type: ignore[override] # pydantic's own is deprecated
        """Return what is wrong with it, in sentences; nothing where it is legal."""
        errors = []
        if self.sample_rate not in SAMPLE_RATES_HZ:
            errors.append(
                f"sample_rate must be one of 8000, 16000, 24000, 48000, not {self.sample_rate}"
            )
        if not isinstance(self.encoding, AudioEncoding):
            errors.append(f"encoding must be one of pcm_s16le, mulaw, alaw, not {self.encoding!r}")
        if self.channels != 1:
            errors.append(f"channels must be 1, not {self.channels}")
        if self.frame_duration_ms not in FRAME_DURATIONS_MS:
            errors.append(
                f"frame_duration_ms must be one of 10, 20, 30, not {self.frame_duration_ms}"
            )
        if not (self.framing is None or isinstance(self.framing, Framing)):
            errors.append(f"framing must be one of hash12, seq14, asp16, not {self.framing!r}")
        return errors

    @property
    def samples_per_frame(self) -> int:
        """Samples of one frame."""
        return self.sample_rate * self.frame_duration_ms // 1000

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample; of an unknown encoding, 1."""
        return self.encoding.sample_bytes if isinstance(self.encoding, AudioEncoding) else 1

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one frame: rate · ms / 1000 · bytes of a sample."""
        return self.samples_per_frame * self.sample_bytes


class VADConfig(BaseModel):
    """Voice activity detection and endpointing, the same on both sides.

    A field that was not given is filled from the configuration that it is merged over.
    """

    model_config = _FROZEN

    enabled: Annotated[
        bool, Field(description="Detect speech; if false, the client says `audio.end`")
    ] = True
    silence_threshold_ms: Annotated[
        _Integer, _ranged("silence_threshold_ms", "Silence (ms) that ends an utterance")
    ] = 500
    min_speech_ms: Annotated[
        _Integer, _ranged("min_speech_ms", "Voiced time (ms) below which speech is discarded")
    ] = 250
    threshold: Annotated[
        _Number, _ranged("threshold", "Probability from which a frame is speech")
    ] = 0.5
    ring_buffer_frames: Annotated[
        _Integer, _ranged("ring_buffer_frames", "Frames over which speech is smoothed")
    ] = 5
    speech_ratio: Annotated[
        _Number, _ranged("speech_ratio", "Part of the ring that must be speech")
    ] = 0.4
    prefix_padding_ms: Annotated[
        _Integer, _ranged("prefix_padding_ms", "Audio (ms) kept from before the speech")
    ] = 300

    def validate(self) -> list[str]:  # type: ignore[override] # pydantic's own is deprecated
        """Return what is out of its range, in sentences; nothing where it is legal."""
        return [
            f"{name} must be {least:g}-{most:g}, not {getattr(self, name)}"
            for name, (least, most) in VAD_RANGES.items()
            if not least <= getattr(self, name) <= most
        ]

    def over(self, other: VADConfig) -> VADConfig:
        """Return ``other`` with the fields that were given here in their place (JSON merge)."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return VADConfig(**(other.model_dump() | given))


_Rates: TypeAlias = Annotated[tuple[_Integer, ...], Field(max_length=64, strict=False)]
_Words: TypeAlias = Annotated[tuple[_Word, ...], Field(max_length=64, strict=False)]


def _no_default(schema: dict[str, Any]) -> None:
    """Promise no version: where the capabilities name none, it is that of the message."""
    schema.pop("default", None)


class ProtocolCapabilities(BaseModel):
    """What a server takes; lists are in its order of preference."""

    model_config = _FROZEN

    version: Annotated[
        str, Field(max_length=32, description="Version of ASP", json_schema_extra=_no_default)
    ] = VERSION
    supported_sample_rates: Annotated[_Rates, Field(description="Hz")] = (8_000, 16_000)
    supported_encodings: Annotated[_Words, Field(description="Encodings")] = ("pcm_s16le",)
    supported_frame_durations: Annotated[_Rates, Field(description="Milliseconds")] = (10, 20, 30)
    vad_configurable: Annotated[
        bool, Field(description="Whether clients may configure VAD at all")
    ] = True
    vad_parameters: Annotated[_Words, Field(description="What of it they may configure")] = (
        "enabled",
        *VAD_RANGES,
    )
    max_session_duration_seconds: Annotated[
        _Integer, Field(description="Longest time of a session (s)")
    ] = 3_600
    features: Annotated[_Words, Field(description="Features that a client may declare")] = ()
    supported_framings: Annotated[_Words, Field(description="Framings (1.1)")] = ("hash12",)
    vad_defaults: Annotated[
        VADConfig, Field(description="What is used for what a client leaves out (1.1)")
    ] = VADConfig()


def _scalar(value: Any) -> Any:
    """Refuse what no field of a configuration can hold."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, str) and len(value) <= 128:
        return value
    raise PydanticCustomError("scalar", "must be a short string, a number, true or false")


_Scalar: TypeAlias = Annotated[
    Any,
    AfterValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": 128}),
]


class Adjustment(BaseModel):
    """One value that is not the one that was asked for. A peer of 1.0.0 takes no other member."""

    model_config = _FROZEN

    field: Annotated[str, Field(max_length=128, description="Dotted, as `vad.threshold`")]
    requested: Annotated[_Scalar, Field(description="The value that was asked for")]
    applied: Annotated[_Scalar, Field(description="The value that is used")]
    reason: Annotated[str, Field(max_length=512, description="Why")]


_Adjustments: TypeAlias = Annotated[
    tuple[Adjustment, ...], Field(max_length=64, strict=False, description="What was changed")
]


class NegotiatedConfig(BaseModel):
    """What both sides run from now on, and where it is not what the client asked for."""

    model_config = _FROZEN

    audio: AudioConfig
    vad: VADConfig
    adjustments: _Adjustments = ()


_Count: TypeAlias = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]


class SessionStatistics(BaseModel):
    """What a session was, counted by the server."""

    model_config = _FROZEN

    audio_frames_received: Annotated[_Count, Field(description="Frames heard")] = 0
    audio_frames_sent: Annotated[_Count, Field(description="Frames said")] = 0
    vad_speech_events: Annotated[_Count, Field(description="Starts of speech")] = 0
    barge_in_count: Annotated[_Count, Field(description="Answers that were interrupted")] = 0
    average_response_latency_ms: Annotated[
        _Number, Field(ge=0, description="From the end of an utterance to the first audio")
    ] = 0.0


NegotiationMode: TypeAlias = Literal["adjust", "strict"]


def config_digest(audio: AudioConfig, vad: VADConfig) -> str:
    """Return the digest of what a side runs: ``sha256:`` and 64 hexadecimal digits.

    It is taken over the JSON object ``{"audio": …, "vad": …}`` with all fields, keys sorted, no
    spaces, ``framing`` spelled out (``hash12`` where none was agreed), and ``threshold`` and
    ``speech_ratio`` as integers of millionths, so that no two writers of floats can disagree.
    """
    heard = audio.model_dump(mode="json") | {"framing": audio.framing or Framing.HASH12}
    detected = vad.model_dump(mode="json")
    for name in ("threshold", "speech_ratio"):
        detected[name] = round(detected[name] * 1_000_000)
    text = orjson.dumps({"audio": heard, "vad": detected}, option=orjson.OPT_SORT_KEYS)
    return f"sha256:{sha256(text).hexdigest()}"
