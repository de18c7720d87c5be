"""A recording, heard by a detector and the endpointing machine as a call would be: what it scored.

In media time and one frame at a time, so that the same recording always scores the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import encode
from palaver.speech.detector import Detector, Probabilities, Samples, Stream
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.heard import Heard, SpeechEnded, SpeechStarted
from palaver.speech.hearing import StreamingVAD
from palaver.testing.endpointing_score import (
    FoundTurn,
    FrameScore,
    TurnScore,
    score_frames,
    score_turns,
    turns_of,
)
from palaver.testing.recordings import Recording

__all__ = ["HearingScore", "found_turns", "hear"]

_DEFAULTS: Final = VADConfig()
_AS_USUAL: Final = EndpointingOptions()


@dataclass(frozen=True, slots=True)
class HearingScore:
    """How the frames of a detector, and the turns of what listens to it, met what was spoken."""

    frames: FrameScore = field(default_factory=FrameScore)
    turns: TurnScore = field(default_factory=TurnScore)

    def __add__(self, other: HearingScore) -> HearingScore:
        return HearingScore(self.frames + other.frames, self.turns + other.turns)


class _Noted:
    """A detector whose answers are written down."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.sample_rate_hz = detector.sample_rate_hz
        self.window_samples = detector.window_samples
        self.probabilities: list[float] = []

    def open(self) -> Stream:
        return self._detector.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        found = self._detector.detect(streams, windows)
        self.probabilities += found.tolist()
        return found


def hear(
    recording: Recording,
    detector: Detector,
    *,
    vad: VADConfig = _DEFAULTS,
    encoding: AudioEncoding = AudioEncoding.PCM_S16LE,
    options: EndpointingOptions = _AS_USUAL,
) -> HearingScore:
    """Return the score of ``detector`` and ``StreamingVAD``, for 20 ms frames in ``encoding``.

    Raises:
        ValueError: the detector is for another rate.

    """
    noted = _Noted(detector)
    audio = AudioConfig(sample_rate=recording.rate_hz, encoding=encoding)
    listening = StreamingVAD(audio, vad, noted, options=options)
    payload = encode(recording.samples, encoding)
    size = audio.bytes_per_frame
    heard: list[Heard] = []
    for start in range(0, len(payload), size):
        heard += listening.process(payload[start : start + size])
    listening.close()
    window_ms = detector.window_samples * 1000 // detector.sample_rate_hz
    flags = [probability >= vad.threshold for probability in noted.probabilities]
    spoken = turns_of(recording.voiced, vad.silence_threshold_ms)
    turns = found_turns(heard, recording.total_ms)
    return HearingScore(
        score_frames(recording.voiced, flags, window_ms, recording.total_ms),
        score_turns(spoken, turns, vad.silence_threshold_ms),
    )


def found_turns(heard: Iterable[Heard], total_ms: int) -> list[FoundTurn]:
    """Return the turns that were heard; what was discarded is none."""
    turns = []
    start_ms: int | None = None
    for event in heard:
        if isinstance(event, SpeechStarted):
            start_ms = event.start_ms
        elif isinstance(event, SpeechEnded):
            start_ms = None
            if not event.discarded:
                turns.append(FoundTurn(event.start_ms, event.end_ms, event.at_ms))
    if start_ms is not None:
        turns.append(FoundTurn(start_ms, total_ms, None))
    return turns
