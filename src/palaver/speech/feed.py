"""What a detector is fed of one session: windows of its size, at its rate."""

from __future__ import annotations

from typing import Final

from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.detector import Detector
from palaver.speech.kept_audio import KeptAudio
from palaver.speech.resample import Resampler

__all__ = ["Feed"]

_NEVER: Final = 1 << 62


class Feed:
    """Windows of the kept audio, one after the other; resampled where the detector's rate differs.

    A resampler gets whole frames, and a window is complete with the frame that completes it: so
    each window belongs to one frame, in whatever sizes the audio came.
    """

    __slots__ = (
        "_asked",
        "_fed",
        "_kept",
        "_resampled",
        "_resampler",
        "_size",
        "_window_bytes",
        "detector",
        "encoding",
        "resamples",
        "stream",
        "window_end",
    )

    def __init__(self, detector: Detector, rate_hz: int, kept: KeptAudio, at: int) -> None:
        self._kept = kept
        self._size = detector.window_samples
        other = detector.sample_rate_hz != rate_hz
        self._window_bytes = detector.window_samples * kept.sample_bytes
        self._resampler = Resampler(rate_hz, detector.sample_rate_hz) if other else None
        self.resamples = other
        """Whether the detector has another rate."""
        self._resampled = bytearray()  # what no window has taken yet
        self.detector = detector
        self.encoding = AudioEncoding.PCM_S16LE if other else kept.encoding
        """How windows are written: as the session's audio is, but resampled audio is PCM."""
        self.stream = detector.open()
        self._begin(at)

    @property
    def needs_from(self) -> int:
        """Position of the first sample that a window to come has."""
        return self._fed if self._resampler else self.window_end - self._size

    def forget(self, at: int) -> None:
        """Begin anew at a position: what was before it is not near it."""
        self.stream.reset()
        self._begin(at)

    def _begin(self, at: int) -> None:
        if self._resampler:
            self._resampler.clear()
            self._resampled.clear()
        self._asked = False
        self._fed = at
        self.window_end = _NEVER if self._resampler else at + self._size
        """Position after the next window; resampled windows have none."""

    def waits(self, end: int) -> bool:
        """Whether a window is complete by ``end`` of a frame, and has not been judged yet."""
        if not self._resampler:
            return self.window_end <= end
        if self._fed < end:
            frame = self._kept.samples(self._fed, end)
            self._resampled += self._resampler.push(frame).tobytes()
            self._fed = end
        return len(self._resampled) >= 2 * self._size

    def window(self, end: int) -> bytearray | None:
        """Return the audio of the next window, where it is complete by position ``end``."""
        if self._resampler:
            self._asked = len(self._resampled) >= 2 * self._size
            return self._resampled[: 2 * self._size] if self._asked else None
        if self.window_end > end:
            return None
        self._asked = True
        kept = self._kept
        stop = (self.window_end - kept.first) * kept.sample_bytes
        return kept.data[stop - self._window_bytes : stop]

    def judged(self) -> bool:
        """Go on to the next window. False if this one was forgotten since it was given."""
        if not self._asked:
            return False
        self._asked = False
        if self._resampler:
            del self._resampled[: 2 * self._size]
        else:
            self.window_end += self._size
        return True
