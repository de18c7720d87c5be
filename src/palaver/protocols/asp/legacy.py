"""The protocol before ASP: its shapes, and how each side recognises it.

There are no capabilities, no negotiation and no updates; audio is ``hash12``. A server knows a
legacy client by ``audio_config`` in ``session.start``; a client knows a legacy server by the
capabilities that do not come.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palaver.protocols.asp.config import (
    FRAME_DURATIONS_MS,
    SAMPLE_RATES_HZ,
    AudioConfig,
    ProtocolCapabilities,
)
from palaver.protocols.asp.errors import (
    ErrorCategory,
    ErrorCode,
    ProtocolError,
    Rejection,
    malformed,
    protocol_error,
)
from palaver.protocols.asp.fields import SessionId
from palaver.protocols.asp.negotiation import ConfigRequest, negotiate

__all__ = [
    "LegacyAudioConfig",
    "LegacyError",
    "LegacySessionStart",
    "ended_by_client",
    "error",
    "is_legacy_start",
    "read_error",
    "read_start",
    "requested_audio",
    "response_end",
    "response_start",
    "start",
    "started",
]

_STRICT: Final = ConfigDict(frozen=True, extra="ignore", strict=True)


class LegacyAudioConfig(BaseModel):
    """The four members that a legacy peer knows; it fails on any other."""

    model_config = _STRICT

    sample_rate: Annotated[int, Field(ge=1, le=768_000, description="Hz")] = 8_000
    channels: Annotated[int, Field(ge=1, le=32, description="Channels")] = 1
    sample_width: Annotated[int, Field(ge=1, le=8, description="Bytes of a sample")] = 2
    frame_duration_ms: Annotated[int, Field(ge=1, le=1_000, description="Milliseconds")] = 20


class LegacySessionStart(BaseModel):
    """The client begins; every member is there."""

    model_config = _STRICT

    type: Literal["session.start"] = "session.start"
    session_id: SessionId
    call_id: Annotated[str, Field(max_length=256)]
    audio_config: LegacyAudioConfig


class LegacyError(BaseModel):
    """What went wrong, with a word for a code. 1.0.0 servers send it as well."""

    model_config = _STRICT

    type: Literal["error"] = "error"
    session_id: Annotated[str | None, Field(max_length=128)] = None
    code: Annotated[str, Field(max_length=64)] = "ERROR"
    message: Annotated[str, Field(max_length=4096)] = ""


def is_legacy_start(found: dict[str, Any]) -> bool:
    """Tell whether an object is what a legacy client begins with."""
    return found["type"] == "session.start" and "audio_config" in found


def read_start(text: str | bytes) -> LegacySessionStart:
    """Return the legacy start that ``text`` holds.

    Raises:
        Rejection: 1001, a member is missing or wrong.

    """
    try:
        return LegacySessionStart.model_validate_json(text)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_context=False)[0]
        path = [str(step) for step in first["loc"]]
        raise malformed(
            f"{'.'.join(path) or 'message'}: {first['msg']}",
            "".join(f"/{step}" for step in path),
        ) from None


def requested_audio(config: LegacyAudioConfig, capabilities: ProtocolCapabilities) -> AudioConfig:
    """Return what a legacy client sends; its frames' duration is a hint, its rate is not.

    Raises:
        Rejection: 2001, 2002, 2003, 2006 or 2007, the server does not take it.

    """
    supported = [one for one in capabilities.supported_sample_rates if one in SAMPLE_RATES_HZ]
    if config.sample_rate not in supported:
        raise Rejection(
            protocol_error(
                ErrorCode.UNSUPPORTED_SAMPLE_RATE,
                f"audio_config.sample_rate: {config.sample_rate} is not supported; "
                f"supported: {', '.join(map(str, supported))}",
                supported=supported,
            )
        )
    if config.sample_width != 2:
        raise Rejection(
            protocol_error(
                ErrorCode.UNSUPPORTED_ENCODING,
                f"audio_config.sample_width: {config.sample_width} is not supported; supported: 2",
            )
        )
    if config.channels != 1:
        raise Rejection(
            protocol_error(
                ErrorCode.UNSUPPORTED_CHANNELS,
                f"audio_config.channels: {config.channels} is not supported; supported: 1",
            )
        )
    durations = [ms for ms in capabilities.supported_frame_durations if ms in FRAME_DURATIONS_MS]
    wishes = (config.frame_duration_ms, 20, *durations)
    duration = next((ms for ms in wishes if ms in durations), 20)
    audio = AudioConfig(sample_rate=config.sample_rate, frame_duration_ms=duration)
    errors = negotiate(ConfigRequest(audio), capabilities).errors
    if errors:  # of a server that takes no PCM, or none behind the legacy header
        raise Rejection(errors[0])
    return audio


def start(session_id: str, call_id: str, audio: AudioConfig) -> str:
    """Return what begins a session at a legacy server: exactly the four keys of audio."""
    config = LegacyAudioConfig(
        sample_rate=audio.sample_rate, frame_duration_ms=audio.frame_duration_ms
    )
    return LegacySessionStart(
        session_id=session_id, call_id=call_id, audio_config=config
    ).model_dump_json()


def started(session_id: str) -> str:
    """Return the server's answer to a legacy start."""
    return _text("session.started", session_id)


def ended_by_client(session_id: str, reason: str) -> str:
    """Return a client's last message; nothing answers it."""
    return _text("session.end", session_id, reason=reason)


def response_start(session_id: str, text: str) -> str:
    """Return what comes before the audio of an answer."""
    return _text("response.start", session_id, text=text)


def response_end(session_id: str) -> str:
    """Return what comes after it."""
    return _text("response.end", session_id)


def error(session_id: str | None, problem: ProtocolError) -> str:
    """Return an error as a legacy client reads it: ``UNSUPPORTED_SAMPLE_RATE`` for 2001."""
    word = (problem.name or "error").upper()
    return _text("error", session_id or "", code=word, message=problem.message)


def read_error(text: str | bytes) -> LegacyError | None:
    """Return the legacy error that ``text`` holds, or nothing."""
    try:
        return LegacyError.model_validate_json(text)
    except ValidationError:
        return None


def as_protocol_error(found: LegacyError) -> ProtocolError:
    """Return a legacy error as the one of ASP that says the same."""
    return ProtocolError(
        code=int(ErrorCode.INTERNAL_ERROR),
        category=ErrorCategory.PROTOCOL,
        name=found.code.lower(),
        message=found.message or found.code,
    )


def _text(kind: str, session_id: str, **members: str) -> str:
    return orjson.dumps({"type": kind, "session_id": session_id, **members}).decode()
