"""Speech as what is louder than the noise before it: the detector of last resort.

It needs no model, and costs so little that an overloaded server can still hear when people speak.
It cannot tell speech from other sudden sounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palaver.speech.arena import Arena
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.windows import SCALE, WINDOWS_A_SECOND, check_rate, check_windows

__all__ = ["EnergyDetector"]

_QUIETEST = 1e-9  # -90 dB, where full scale is 0 dB: below the last bit
_FIRST_FLOOR_DB = -50.0  # a call may begin with speech: its first window is no measure of noise
_LOWEST_FLOOR_DB = -60.0  # whispers in a silent room are not amplified
_SINKS = 0.25  # of the way down to a quieter window: a pause between words shows the noise
_RISES_DB = 4.0 / WINDOWS_A_SECOND  # 4 dB a second towards louder ones: longer than words last
_EVEN_DB = 9.0  # above the noise it is as likely speech as not
_SLOPE_DB = 1.5

_Levels = NDArray[np.float32]


class EnergyDetector:
    """A ``Detector``: windows of 20 ms at 8 or 16 kHz.

    It is not for several threads. Raises ``ConfigError`` for another rate.
    """

    name = "energy"

    def __init__(self, sample_rate_hz: int) -> None:
        check_rate("energy", sample_rate_hz)
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = sample_rate_hz // WINDOWS_A_SECOND
        self._arena = Arena(np.array([_FIRST_FLOOR_DB], np.float32))

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return self._arena.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return the probability of speech for the next window of each stream, shape [N].

        Raises ``ValueError`` where ``windows`` is not int16 of the shape [N, window_samples], or a
        stream is closed, another detector's or there twice; then nothing was heard.
        """
        rows = self._arena.rows(streams)
        check_windows(windows, len(rows), self.window_samples)
        levels = _levels(windows)
        floors = _floors(self._arena.gather(rows)[:, 0], levels)
        self._arena.scatter(rows, floors[:, None])
        return _probabilities(levels - floors)


def _levels(windows: Samples) -> _Levels:
    """Return the level of each window in dB of full scale, [N]; a constant offset is silence."""
    samples = windows * SCALE  # [N, window_samples]
    power = np.einsum("ij,ij->i", samples, samples) / np.float32(windows.shape[1])
    power -= np.square(samples.mean(axis=1))
    levels: _Levels = np.float32(10) * np.log10(np.maximum(power, np.float32(_QUIETEST)))
    return levels


def _floors(floors: _Levels, levels: _Levels) -> _Levels:
    """Return the next estimate of each stream's noise: quick to sink, slow to rise."""
    sinking = floors + np.float32(_SINKS) * (levels - floors)
    rising = np.minimum(levels, floors + np.float32(_RISES_DB))
    followed: _Levels = np.where(levels < floors, sinking, rising)
    return np.maximum(followed, np.float32(_LOWEST_FLOOR_DB))


def _probabilities(above: _Levels) -> Probabilities:
    """Return [N] for levels above the noise in dB: a smooth step about ``_EVEN_DB``."""
    steepness = np.float32(0.5 / _SLOPE_DB)
    result: Probabilities = np.tanh((above - np.float32(_EVEN_DB)) * steepness) * np.float32(0.5)
    return result + np.float32(0.5)
