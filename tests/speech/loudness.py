"""A detector for tests: loud is speech. It remembers, as a neural one does, and is exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from palaver.protocols.asp.config import AudioConfig
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.hearing import detector_rate_hz

__all__ = ["Loudness", "LoudnessStream", "tones"]


@dataclass(eq=False)
class LoudnessStream:
    """What was loud before, how many windows there were, and whether it was closed."""

    before: float = 0.0
    windows: int = 0
    resets: int = 0
    closed: bool = False

    def reset(self) -> None:
        """Forget what was heard."""
        self.before = 0.0
        self.resets += 1

    def close(self) -> None:
        """Be closed."""
        self.closed = True


class Loudness:
    """Half of a window's probability is its loudness, half is what was before it.

    Sums of integers: the same bits for a window, whoever else is in the batch.
    """

    name = "loudness"

    def __init__(self, sample_rate_hz: int = 8_000, window_ms: int = 32) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = sample_rate_hz * window_ms // 1000
        self.streams: list[LoudnessStream] = []
        self.calls: list[list[LoudnessStream]] = []

    @classmethod
    def of(cls, audio: AudioConfig) -> Loudness:
        """Return one for the rate of a session."""
        return cls(detector_rate_hz(audio))

    def open(self) -> Stream:
        """Return a new memory."""
        self.streams.append(LoudnessStream())
        return self.streams[-1]

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Judge a window of each."""
        assert windows.shape == (len(streams), self.window_samples)
        known = [stream for stream in streams if isinstance(stream, LoudnessStream)]
        assert len({id(stream) for stream in known}) == len(streams)
        assert not any(stream.closed for stream in known)
        self.calls.append(known)
        sums = np.abs(windows.astype(np.int64)).sum(axis=1).tolist()
        probabilities = []
        for stream, total in zip(known, sums, strict=True):
            mean = total / self.window_samples
            stream.before = (stream.before + mean / (mean + 500)) / 2
            stream.windows += 1
            probabilities.append(stream.before)
        return np.array(probabilities, np.float32)


def tones(parts: Iterable[tuple[int, int]], rate_hz: int = 8_000, seed: int = 1) -> Samples:
    """Return noise of ``(milliseconds, amplitude)`` after each other."""
    random = np.random.default_rng(seed)
    pieces = [
        random.integers(-amplitude, amplitude + 1, rate_hz * duration_ms // 1000)
        for duration_ms, amplitude in parts
    ]
    return np.concatenate(pieces).astype(np.int16)
