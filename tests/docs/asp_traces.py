"""The worked examples of the ASP specification: what two live ends say to each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Final

from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import (
    AudioConfig,
    AudioEncoding,
    Framing,
    ProtocolCapabilities,
    VADConfig,
    config_digest,
)
from palaver.protocols.asp.frames import AudioFrame, FrameFlags, frame_key, pack
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    Feature,
    Side,
)
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.sessions import Sessions

__all__ = ["DIGESTS", "FRAMES", "STREAM", "TRACES", "canonical", "hexadecimal"]

_SESSION: Final = "call-7f3a"
STREAM: Final = 7
_LIMITS: Final = Limits()
_TAKES: Final = ProtocolCapabilities(
    supported_encodings=tuple(AudioEncoding),
    supported_framings=tuple(Framing),
    features=tuple(Feature),
)
_ASP16: Final = {
    "sample_rate": 16000,
    "encoding": "pcm_s16le",
    "channels": 1,
    "frame_duration_ms": 20,
    "framing": "asp16",
}
_Trace = Iterator[dict[str, Any]]


def _sessions(capabilities: ProtocolCapabilities) -> Sessions:
    tokens = (f"token-{number}" for number in count(1))
    return Sessions(capabilities, _LIMITS, new_token=lambda: next(tokens), stamp=lambda _: "")


def _said(output: list[Any]) -> _Trace:
    for message in output:
        if isinstance(message, str):
            found = json.loads(message)
            found.pop("timestamp", None)
            yield found


def _exchange(*requests: dict[str, Any], capabilities: ProtocolCapabilities = _TAKES) -> _Trace:
    """Return each request, and what a server answers."""
    server = ServerConnection(_sessions(capabilities), 0.0)
    server.take_output()
    for request in requests:
        whole = {"type": request["type"], "session_id": _SESSION, **request}
        yield whole
        server.receive_text(json.dumps(whole), 1.0)
        yield from _said(server.take_output())


def _accepted() -> _Trace:
    vad = {"silence_threshold_ms": 700, "threshold": 0.6}
    return _exchange({"type": "session.start", "version": "1.1.0", "audio": _ASP16, "vad": vad})


def _vad_adjusted() -> _Trace:
    vad = {"silence_threshold_ms": 2500, "threshold": 0.6}
    return _exchange({"type": "session.start", "version": "1.1.0", "vad": vad})


def _rejected() -> _Trace:
    audio = {"sample_rate": 44100, "encoding": "opus"}
    return _exchange({"type": "session.start", "version": "1.1.0", "audio": audio})


def _audio_adjusted() -> _Trace:
    start = {"type": "session.start", "version": "1.1.0", "negotiation": "adjust"}
    return _exchange(start | {"audio": {"sample_rate": 12000, "encoding": "opus"}})


def _old_client() -> _Trace:
    return _exchange({"type": "session.start", "audio": {"sample_rate": 44100}})


def _offers() -> _Trace:
    offers = [_ASP16 | {"sample_rate": 48000}, _ASP16 | {"encoding": "mulaw"}]
    start = {"type": "session.start", "version": "1.1.0", "features": ["audio_offers"]}
    return _exchange(start | {"audio_offers": offers})


def _not_configurable() -> _Trace:
    start = {"type": "session.start", "version": "1.1.0", "vad": {"silence_threshold_ms": 700}}
    update = {"type": "session.update", "vad": {"silence_threshold_ms": 700}}
    capabilities = _TAKES.model_copy(update={"vad_configurable": False})
    return _exchange(start, update, capabilities=capabilities)


def _merged() -> _Trace:
    vad = {"silence_threshold_ms": 700}
    start = {"type": "session.start", "version": "1.1.0", "vad": vad}
    update = {"type": "session.update", "vad": {"threshold": 0.7}}
    trace = list(_exchange(start, update))
    yield from trace[2:]


def _resumed() -> _Trace:
    """Break the line with the second audio message and the server's answer on their way."""
    registry = _sessions(_TAKES)
    server, client = _pair(registry)
    request = SessionRequest(
        session_id=_SESSION,
        audio=AudioConfig(framing=Framing.HASH12),
        features=frozenset({Feature.SESSION_RESUME}),
    )
    session = ClientSession(request, _LIMITS, lambda _: "")
    client.start(session, 1.0)
    _carry(server, client)
    frame = bytes(session.config.audio.bytes_per_frame)
    session.send_audio(frame, 1.0)
    _carry(server, client)
    session.send_audio(frame, 1.0)
    held = registry.get(_SESSION)
    assert held is not None
    held.start_response(1.0, "Good morning.")
    for end in (client, server):
        end.take_output()  # it never arrives
        end.closed(2.0)
    server, client = _pair(registry)
    client.resume(session, 3.0)
    output = client.take_output()
    yield from _said(output)
    server.receive_text(str(output[0]), 3.0)
    output = server.take_output()
    yield from _said(output)
    for message in output:
        client.receive_text(str(message), 3.0)
    again = client.take_output()
    assert len(again) == 1
    assert isinstance(again[0], bytes)


def _server_barge_in() -> _Trace:
    """Have the server hear a cough, then speech, while it answers."""
    registry = _sessions(_TAKES)
    server, client = _pair(registry)
    features = frozenset({Feature.SPEECH_EVENTS, Feature.RESPONSE_CONTROL, Feature.TRANSCRIPTS})
    call = ClientSession(
        SessionRequest(session_id=_SESSION, features=features), _LIMITS, lambda _: ""
    )
    client.start(call, 1.0)
    _carry(server, client)
    session = registry.get(_SESSION)
    assert session is not None

    def hear(start_ms: int, *, confirmed: bool) -> None:
        start = AudioSpeechStartMessage(
            session_id=_SESSION, start_ms=start_ms, prefix_ms=300, confirmed=confirmed
        )
        assert session.report_speech(start, 2.0)

    def stop_hearing(start_ms: int, end_ms: int, reason: str) -> None:
        end = AudioSpeechEndMessage(
            session_id=_SESSION,
            duration_ms=end_ms - start_ms,
            start_ms=start_ms,
            end_ms=end_ms,
            discarded=reason == "too_short",
            reason=reason,
        )
        assert session.report_speech(end, 2.0)

    response = session.start_response(2.0, "Our opening hours are")
    session.report_transcript(
        "agent", "Our opening hours are", 2.0, final=False, response_id=response.id
    )
    frame = bytes(session.config.audio.bytes_per_frame)
    for _ in range(100):
        session.send_audio(frame, 2.0)
    hear(5200, confirmed=False)
    stop_hearing(5200, 5320, "too_short")
    hear(6060, confirmed=False)
    hear(6060, confirmed=True)
    session.end_response(2.0, interrupted=True, reason="barge_in")
    stop_hearing(6060, 7480, "silence")
    session.report_transcript("user", "On Sunday, I mean.", 2.0, task_id="task-2", language="en-GB")
    yield from _said(server.take_output())


def _pair(registry: Sessions) -> tuple[ServerConnection, ClientConnection]:
    server = ServerConnection(registry, 0.0)
    client = ClientConnection(0.0, _LIMITS, stamp=lambda _: "", subprotocol=True)
    _carry(server, client)
    return server, client


def _carry(server: ServerConnection, client: ClientConnection) -> None:
    """Take all that the two have to say to the other one."""
    while True:
        down, up = server.take_output(), client.take_output()
        if not (down or up):
            return
        for end, messages in ((client, down), (server, up)):
            for message in messages:
                if isinstance(message, bytes):
                    end.receive_bytes(message, 1.0)
                else:
                    end.receive_text(str(message), 1.0)


TRACES: Final[Mapping[str, Callable[[], _Trace]]] = MappingProxyType(
    {
        "accepted": _accepted,
        "vad_adjusted": _vad_adjusted,
        "rejected": _rejected,
        "audio_adjusted": _audio_adjusted,
        "old_client": _old_client,
        "offers": _offers,
        "not_configurable": _not_configurable,
        "merged": _merged,
        "server_barge_in": _server_barge_in,
        "resumed": _resumed,
    }
)
"""Name of an example → its messages, in their order."""


# --- digests --------------------------------------------------------------------------------

DIGESTS: Final = (
    (AudioConfig(), VADConfig()),
    (
        AudioConfig(sample_rate=16_000, framing=Framing.ASP16),
        VADConfig(silence_threshold_ms=700, threshold=0.6, speech_ratio=0.35),
    ),
)


def canonical(audio: AudioConfig, vad: VADConfig) -> tuple[str, str]:
    """Return the text that a digest is taken over, written without our own code, and the digest."""
    heard = audio.model_dump(mode="json") | {"framing": str(audio.framing or "hash12")}
    detected = vad.model_dump(mode="json")
    for name in ("threshold", "speech_ratio"):
        detected[name] = round(detected[name] * 1_000_000)
    both = {"audio": heard, "vad": detected}
    text = json.dumps(both, sort_keys=True, separators=(",", ":"))
    return text, config_digest(audio, vad)


# --- frames ---------------------------------------------------------------------------------

_AUDIO: Final = bytes.fromhex("1000f0ff")


def _frame(framing: Framing, **members: Any) -> AudioFrame:
    return AudioFrame(framing, frame_key(framing, _SESSION, STREAM), _AUDIO, **members)


FRAMES: Final[Mapping[tuple[Framing, Side], AudioFrame]] = MappingProxyType(
    {
        (Framing.HASH12, Side.CLIENT): _frame(Framing.HASH12),
        (Framing.HASH12, Side.SERVER): _frame(Framing.HASH12),
        (Framing.SEQ14, Side.CLIENT): _frame(Framing.SEQ14, seq=50, time_us=1_000_000),
        (Framing.SEQ14, Side.SERVER): _frame(
            Framing.SEQ14, seq=3, time_us=60_000, flags=FrameFlags.FINAL
        ),
        (Framing.ASP16, Side.CLIENT): _frame(Framing.ASP16, seq=50, samples=16_000),
        (Framing.ASP16, Side.SERVER): _frame(
            Framing.ASP16, seq=3, samples=960, flags=FrameFlags.FINAL, generation=2
        ),
    }
)
"""Framing and sender → the example of it: four bytes of audio behind the header."""


def hexadecimal(framing: Framing, sender: Side) -> str:
    """Return an example as it is written in the document."""
    return pack(FRAMES[framing, sender], sender).hex(" ")
