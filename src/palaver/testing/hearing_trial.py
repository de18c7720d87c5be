"""Recordings, heard by a detector and the endpointing machine as calls are: what they scored.

In media time and one frame at a time, so that the same recordings always score the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import encode
from palaver.speech.detector import Detector
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.heard import Heard, SpeechEnded, SpeechStarted
from palaver.speech.hearing import AudioBuffer, read_windows
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


def hear(
    recordings: Sequence[Recording],
    detector: Detector,
    *,
    vad: VADConfig = _DEFAULTS,
    encoding: AudioEncoding = AudioEncoding.PCM_S16LE,
    options: EndpointingOptions = _AS_USUAL,
) -> HearingScore:
    """Return the score of ``detector`` and ``AudioBuffer`` over all recordings together.

    They are heard side by side as calls of one process are: in frames of 20 ms in ``encoding``,
    with one batch of windows for all.

    Raises:
        ValueError: the recordings are not of one rate, or the detector is for another.

    """
    rates_hz = {recording.rate_hz for recording in recordings}
    if len(rates_hz) != 1:
        raise ValueError(f"a trial takes recordings of one rate, not of {sorted(rates_hz)}")
    audio = AudioConfig(sample_rate=rates_hz.pop(), encoding=encoding)
    calls = [_Call(one, AudioBuffer(audio, vad, detector, options=options)) for one in recordings]
    longest = max(len(recording.samples) for recording in recordings)
    for start in range(0, longest, audio.samples_per_frame):
        for call in calls:
            samples = call.recording.samples[start : start + audio.samples_per_frame]
            call.buffer.push(encode(samples, encoding), min(start, len(call.recording.samples)))
        _judge(calls, detector)
    for call in calls:
        call.buffer.close()
    window_ms = detector.window_samples * 1000 // detector.sample_rate_hz
    return sum((_score(call, vad, window_ms) for call in calls), HearingScore())


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


@dataclass(slots=True)
class _Call:
    recording: Recording
    buffer: AudioBuffer
    probabilities: list[float] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)


def _judge(calls: Iterable[_Call], detector: Detector) -> None:
    """Judge all windows that are complete."""
    while ready := [(one, audio) for one in calls if (audio := one.buffer.window()) is not None]:
        windows = read_windows(
            [audio for _, audio in ready],
            ready[0][0].buffer.window_encoding,
            detector.window_samples,
        )
        streams = [call.buffer.stream for call, _ in ready]
        for (call, _), probability in zip(ready, detector.detect(streams, windows), strict=True):
            call.probabilities.append(float(probability))
            call.heard += call.buffer.take(float(probability))
    for call in calls:
        call.heard += call.buffer.heard()


def _score(call: _Call, vad: VADConfig, window_ms: int) -> HearingScore:
    recording = call.recording
    flags = [probability >= vad.threshold for probability in call.probabilities]
    spoken = turns_of(recording.voiced, vad.silence_threshold_ms)
    found = found_turns(call.heard, recording.total_ms)
    return HearingScore(
        score_frames(recording.voiced, flags, window_ms, recording.total_ms),
        score_turns(spoken, found, vad.silence_threshold_ms),
    )
