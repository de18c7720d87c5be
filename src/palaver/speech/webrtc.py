"""The detector of WebRTC: light, without batches. It calls loud noise speech.

A window costs 1.5 µs. In white noise of 5 dB or babble of 10 dB it hears no pause, so that turns
do not end: it is for clean lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import webrtcvad

from palaver.errors import ConfigError
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.windows import WINDOWS_A_SECOND, check_rate, check_windows

__all__ = ["WebrtcDetector", "webrtc_mode"]

_MAX_MODE = 3


def webrtc_mode(threshold: float) -> int:
    """Return the mode, 0 to 3, that stands for a threshold of 0 to 1: asp.md §10."""
    return min(_MAX_MODE, math.floor(threshold * 4))


class WebrtcStream:
    """What the library remembers of one session: a ``Stream``."""

    __slots__ = ("_mode", "_vad")

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self._vad: webrtcvad.Vad | None = webrtcvad.Vad(mode)

    def reset(self) -> None:
        """Forget what was heard. Raises ``ValueError`` once the stream is closed."""
        if self._vad is None:
            raise ValueError("the stream is closed")
        self._vad = webrtcvad.Vad(self._mode)

    def close(self) -> None:
        """Give back what the stream holds. Closing again does nothing."""
        self._vad = None

    def is_speech(self, window: bytes, sample_rate_hz: int) -> bool:
        """Judge the next window. Raises ``ValueError`` once the stream is closed."""
        if self._vad is None:
            raise ValueError("the stream is closed")
        return bool(self._vad.is_speech(window, sample_rate_hz))


class WebrtcDetector:
    """A ``Detector``: windows of 20 ms at 8 or 16 kHz; the probability is 0 or 1.

    ``mode`` goes from 0, which hears speech most readily, to 3. Raises ``ConfigError`` for another
    mode or rate.
    """

    name = "webrtc"

    def __init__(self, sample_rate_hz: int, mode: int = 2) -> None:
        check_rate("webrtc", sample_rate_hz)
        if not 0 <= mode <= _MAX_MODE:
            raise ConfigError(f"webrtc has the modes 0 to {_MAX_MODE}, not {mode}")
        self.sample_rate_hz = sample_rate_hz
        self.mode = mode
        self.window_samples = sample_rate_hz // WINDOWS_A_SECOND

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return WebrtcStream(self.mode)

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return 1 where the next window of a stream is speech, else 0, shape [N].

        Raises ``ValueError`` where ``windows`` is not int16 of the shape [N, window_samples], or a
        stream is closed, ``TypeError`` for a stream of another kind of detector.
        """
        check_windows(windows, len(streams), self.window_samples)
        rate = self.sample_rate_hz
        result = np.zeros(len(streams), np.float32)
        for at, (stream, window) in enumerate(zip(streams, windows, strict=True)):
            if not isinstance(stream, WebrtcStream):
                raise TypeError(f"a stream of another kind of detector: {stream!r}")
            result[at] = stream.is_speech(window.tobytes(), rate)
        return result
