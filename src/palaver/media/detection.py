"""What our own detector says of the audio that was sent in a call, under the negotiated values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palaver.media.call_record import CallRecord
from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.audio import encode
from palaver.speech.detector import Detector, Probabilities, Samples, Stream
from palaver.speech.engines import open_detector
from palaver.speech.heard import SpeechEnded
from palaver.speech.hearing import StreamingVAD, detector_rate_hz

__all__ = ["DetectedSpeech", "Detection", "detect"]


@dataclass(frozen=True, slots=True)
class DetectedSpeech:
    """Speech from ``start_ms`` to ``end_ms``; that it is over was decided at ``decided_ms``."""

    start_ms: int
    end_ms: int
    decided_ms: int
    discarded: bool


@dataclass(frozen=True, slots=True)
class Detection:
    """The probability of each window from ``times`` (s) on, and the speech found by them."""

    times: list[float]
    probabilities: list[float]
    spans: list[DetectedSpeech]


def detect(record: CallRecord, detector: str = "silero") -> Detection | None:
    """Return what is detected in a call; nothing, where detection was off.

    Values that were changed during the call are not followed.

    Raises:
        ConfigError: the detector is not installed.

    """
    audio, vad = record.config.audio, record.config.vad
    if not vad.enabled or audio.validate():
        return None
    engine = open_detector(detector, detector_rate_hz(audio), vad.threshold)
    kept = _Kept(engine)
    hearing = StreamingVAD(audio, vad, kept)
    spans: list[DetectedSpeech] = []
    try:
        for frame in record.sent:
            spans += [
                DetectedSpeech(event.start_ms, event.end_ms, event.at_ms, event.discarded)
                for event in hearing.process(encode(frame, AudioEncoding(audio.encoding)))
                if isinstance(event, SpeechEnded)
            ]
    finally:
        hearing.close()
    window = engine.window_samples / engine.sample_rate_hz
    times = [number * window for number in range(len(kept.probabilities))]
    return Detection(times, kept.probabilities, spans)


class _Kept:
    """A detector that keeps what it has said."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.sample_rate_hz = detector.sample_rate_hz
        self.window_samples = detector.window_samples
        self.probabilities: list[float] = []

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return self._detector.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Judge, and keep it."""
        found = self._detector.detect(streams, windows)
        self.probabilities += np.asarray(found, np.float64).tolist()
        return found
