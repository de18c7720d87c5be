"""One legal example of every message, as JSON: with each member that it can have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["REJECTED", "SAMPLES", "every_sample"]

_SESSION: Final = "call-7f3a"
_AT: Final = "2026-01-31T09:30:00.000Z"
_DIGEST: Final = "sha256:8dd94b2ac2a5f10bb6e9e5b0f9e1b3d6d0ad9a5c2e8bb95fb6b0a6f7a0c4d1e2"

_AUDIO: Final = {
    "sample_rate": 16000,
    "encoding": "pcm_s16le",
    "channels": 1,
    "frame_duration_ms": 20,
    "framing": "asp16",
}
_G711: Final = {
    "sample_rate": 8000,
    "encoding": "mulaw",
    "channels": 1,
    "frame_duration_ms": 20,
    "framing": "asp16",
}
_VAD: Final = {
    "enabled": True,
    "silence_threshold_ms": 700,
    "min_speech_ms": 300,
    "threshold": 0.6,
    "ring_buffer_frames": 5,
    "speech_ratio": 0.5,
    "prefix_padding_ms": 200,
}
_NEGOTIATED: Final = {
    "audio": _AUDIO,
    "vad": _VAD,
    "adjustments": [
        {
            "field": "vad.prefix_padding_ms",
            "requested": 300,
            "applied": 200,
            "reason": "the server does not let clients set it (3002 vad_not_configurable)",
        }
    ],
}
_ERROR: Final = {
    "code": 2001,
    "category": "audio",
    "message": "audio.sample_rate: 44100 is not supported; supported: 8000, 16000",
    "name": "unsupported_sample_rate",
    "details": {
        "field": "audio.sample_rate",
        "requested": 44100,
        "supported": [8000, 16000],
    },
    "recoverable": True,
}
_RESUME_REFUSED: Final = {
    "code": 4006,
    "category": "session",
    "message": "the token fits no session",
    "name": "resume_refused",
    "details": {"pointer": "/resume_token"},
    "recoverable": True,
}


def _of(kind: str, **members: Any) -> dict[str, Any]:
    """Return a message of the session, sent at some time."""
    return {"type": kind, "timestamp": _AT, "session_id": _SESSION, **members}


SAMPLES: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        "protocol.capabilities": {
            "type": "protocol.capabilities",
            "timestamp": _AT,
            "version": "1.1.0",
            "capabilities": {
                "version": "1.1.0",
                "supported_sample_rates": [16000, 8000],
                "supported_encodings": ["pcm_s16le", "mulaw", "alaw"],
                "supported_frame_durations": [10, 20, 30],
                "vad_configurable": True,
                "vad_parameters": ["enabled", "silence_threshold_ms", "threshold"],
                "max_session_duration_seconds": 3600,
                "features": ["audio_offers", "config_digest", "response_control"],
                "supported_framings": ["asp16", "hash12"],
                "vad_defaults": _VAD,
            },
            "server_id": "agent-1",
        },
        "session.start": _of(
            "session.start",
            call_id="sip-42",
            audio=_AUDIO,
            vad=_VAD | {"prefix_padding_ms": 300},
            metadata={"source": "pbx", "transfer_retry": False, "line": 3, "note": None},
            version="1.1.0",
            features=["audio_offers", "config_digest"],
            audio_offers=[_AUDIO, _G711],
            negotiation="adjust",
        ),
        "session.started": _of(
            "session.started",
            status="accepted_with_changes",
            negotiated=_NEGOTIATED,
            version="1.1.0",
            features=["audio_offers", "config_digest"],
            stream=7,
            config_digest=_DIGEST,
            resume_token="b0c1d2e3",
            resume_window_ms=30000,
        ),
        "session.confirm": _of("session.confirm", config_digest=_DIGEST),
        "session.update": _of(
            "session.update", vad={"silence_threshold_ms": 900, "threshold": 0.7}, scope="session"
        ),
        "session.updated": _of(
            "session.updated",
            status="accepted",
            negotiated={"audio": _AUDIO, "vad": _VAD, "adjustments": []},
            effective_seq=1200,
            effective_samples=384000,
            config_digest=_DIGEST,
        ),
        "session.end": _of("session.end", reason="call_hangup"),
        "session.ended": _of(
            "session.ended",
            duration_seconds=63.5,
            statistics={
                "audio_frames_received": 3175,
                "audio_frames_sent": 1400,
                "vad_speech_events": 9,
                "barge_in_count": 2,
                "average_response_latency_ms": 740.25,
            },
            reason="call_hangup",
        ),
        "session.ack": _of("session.ack", received=25),
        "session.resume": _of(
            "session.resume", resume_token="b0c1d2e3", received=40, sending_from=25
        ),
        "session.resumed": _of(
            "session.resumed",
            status="accepted",
            received=50,
            sending_from=25,
            resume_token="f4a5b6c7",
        ),
        "audio.speech_start": _of(
            "audio.speech_start", start_ms=1240, prefix_ms=300, confirmed=False
        ),
        "audio.speech_end": _of(
            "audio.speech_end",
            duration_ms=1800,
            start_ms=1240,
            end_ms=3040,
            discarded=False,
            reason="silence",
        ),
        "audio.end": _of("audio.end"),
        "response.start": _of(
            "response.start", text="Good morning.", response_id="r1", generation=1
        ),
        "response.end": _of(
            "response.end",
            response_id="r1",
            interrupted=True,
            sent_ms=2000,
            played_ms=860,
            reason="barge_in",
        ),
        "response.cancel": _of(
            "response.cancel", response_id="r1", played_ms=860, reason="barge_in"
        ),
        "playback.mark": _of(
            "playback.mark", mark_id="m1", response_id="r1", outcome="played", played_ms=860
        ),
        "transcript": _of(
            "transcript",
            role="agent",
            text="Good morning.",
            final=True,
            task_id="task-1",
            response_id="r1",
            language="en-GB",
        ),
        "turn.override": _of("turn.override", vad={"silence_threshold_ms": 1500}),
        "dtmf": _of("dtmf", digit="#", duration_ms=120),
        "call.action": _of(
            "call.action", action="transfer", target="sip:desk@example.org", reason="asked for it"
        ),
        "protocol.error": _of("protocol.error", error=_ERROR),
        "protocol.go_away": {
            "type": "protocol.go_away",
            "timestamp": _AT,
            "reason": "shutdown",
            "grace_ms": 20000,
        },
    }
)
"""Type → an example of it; where there are two outcomes, the good one."""

REJECTED: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        "session.started": _of("session.started", status="rejected", errors=[_ERROR]),
        "session.updated": _of("session.updated", status="rejected", errors=[_ERROR]),
        "session.resumed": _of("session.resumed", status="rejected", errors=[_RESUME_REFUSED]),
    }
)
"""Type → an example of the bad outcome."""


def every_sample() -> list[dict[str, Any]]:
    """Return all examples."""
    return [*SAMPLES.values(), *REJECTED.values()]
