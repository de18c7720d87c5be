"""Fuzz the parser of ASP messages, and the negotiation behind it.

With atheris installed: ``python fuzz/asp_messages.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random texts, mutated from good ones.
"""

from __future__ import annotations

import sys

import orjson
import target

from palaver.protocols.asp.config import ProtocolCapabilities, config_digest
from palaver.protocols.asp.errors import ErrorCode, Rejection
from palaver.protocols.asp.messages import (
    ProtocolCapabilitiesMessage,
    ProtocolErrorMessage,
    SessionStartedMessage,
    SessionStartMessage,
    parse_message,
)
from palaver.protocols.asp.negotiation import ConfigRequest, negotiate

SEEDS = [
    (
        b'{"type":"session.start","session_id":"s","call_id":"c","audio":{"sample_rate":16000,'
        b'"encoding":"mulaw","channels":1,"frame_duration_ms":20,"framing":"asp16"},"vad":'
        b'{"enabled":true,"silence_threshold_ms":700,"threshold":0.5,"speech_ratio":0.4},'
        b'"metadata":{"a":[null,1.5]},"version":"1.1.0","features":["dtmf"],"audio_offers":'
        b'[{"sample_rate":44100},{}],"negotiation":"adjust"}'
    ),
    (
        b'{"type":"protocol.capabilities","version":"1.1.0","capabilities":{"version":"1.1.0",'
        b'"supported_sample_rates":[8000,16000],"supported_encodings":["alaw"],'
        b'"supported_frame_durations":[10],"vad_configurable":true,"vad_parameters":["threshold"],'
        b'"supported_framings":["hash12","asp16"],"vad_defaults":{"min_speech_ms":100}}}'
    ),
    (
        b'{"type":"session.started","session_id":"s","status":"accepted_with_changes",'
        b'"negotiated":{"audio":{},"vad":{"threshold":1},"adjustments":[{"field":"vad.threshold",'
        b'"requested":2,"applied":1.0,"reason":"above"}]},"stream":7,"config_digest":"sha256:00"}'
    ),
    (
        b'{"type":"protocol.error","session_id":"s","error":{"code":2001,"category":"audio",'
        b'"message":"no","details":{"pointer":"/audio","supported":[8000]},"recoverable":true}}'
    ),
    b'{"type":"dtmf","session_id":"s","digit":"#","timestamp":"2026-01-31T09:30:00.000Z"}',
    b'{"type":"session.ended","session_id":"s","duration_seconds":1.5,"statistics":{}}',
]
CODES = {
    ErrorCode.INVALID_MESSAGE_FORMAT,
    ErrorCode.INVALID_MESSAGE_TYPE,
    ErrorCode.INVALID_VAD_PARAMETER,
}


def check(text: bytes) -> None:
    """Hold that a text is a message that can be written and run, or is refused with a place."""
    try:
        message = parse_message(text)
    except Rejection as rejection:
        _refused(rejection)
        return
    written = message.to_json()
    assert written.startswith('{"type":')
    assert parse_message(written) == message
    if isinstance(message, SessionStartMessage):
        offers, mode = message.audio_offers or (), message.negotiation or "strict"
        _negotiated(ConfigRequest(message.audio, message.vad, offers, mode), ProtocolCapabilities())
    elif isinstance(message, ProtocolCapabilitiesMessage):
        _negotiated(ConfigRequest(mode="adjust"), message.capabilities)
    elif isinstance(message, SessionStartedMessage) and message.negotiated is not None:
        assert config_digest(message.negotiated.audio, message.negotiated.vad)


def _refused(rejection: Rejection) -> None:
    error = rejection.error
    assert error.code in CODES
    assert "pointer" in (error.details or {})
    assert ProtocolErrorMessage(session_id=rejection.session_id, error=error).to_json()


def _negotiated(request: ConfigRequest, capabilities: ProtocolCapabilities) -> None:
    outcome = negotiate(request, capabilities)
    if outcome.config is None:
        assert orjson.dumps([error.model_dump(mode="json") for error in outcome.errors]) != b"[]"
        return
    audio, vad = outcome.config.audio, outcome.config.vad
    assert audio.validate() == vad.validate() == []
    assert negotiate(ConfigRequest(audio, vad), capabilities).status == "accepted"


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
