"""What of a sound tells words apart: mel-frequency cepstra and how they change, every 10 ms.

The features forget how loud somebody speaks, and most of what a line or a microphone adds: the
mean of each over the utterance is taken off, its spread is made one, and whatever is far below the
loudest moment counts as silence.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "FRAME_SAMPLES", "HOP_SAMPLES", "SAMPLE_RATE_HZ", "Features", "features"]

Features = NDArray[np.float32]
"""One row for each 10 ms, 39 columns: 13 cepstra, their slopes, the slopes of those."""

SAMPLE_RATE_HZ: Final = 8_000
FRAME_SAMPLES: Final = 200
HOP_SAMPLES: Final = 80
FEATURES: Final = 39

_FFT: Final = 256
_MELS: Final = 24
_CEPSTRA: Final = 13
_LOW_HZ: Final = 120.0
_HIGH_HZ: Final = 3_600.0
_PREEMPHASIS: Final = 0.95
_FLOOR: Final = 10.0**-3.5
"""Energy, in parts of the loudest band of the utterance, below which all is silence (-35 dB)."""
_SLOPE_REACH: Final = 2


def features(samples: NDArray[np.int16]) -> Features:
    """Return the features of an utterance at 8 kHz; no rows where it is shorter than 25 ms."""
    if len(samples) < FRAME_SAMPLES:
        return np.zeros((0, FEATURES), np.float32)
    signal = samples.astype(np.float32)
    signal[1:] -= _PREEMPHASIS * signal[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames * _WINDOW, _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    mels = power @ _MEL_BANK
    logs = np.log(mels + _FLOOR * max(float(mels.max()), 1.0))
    cepstra = logs @ _COSINES
    slopes = _slopes(cepstra)
    whole = np.concatenate([cepstra, slopes, _slopes(slopes)], axis=1)
    whole -= whole.mean(axis=0)
    whole /= whole.std(axis=0) + np.float32(1e-3)
    return whole.astype(np.float32, copy=False)


def _slopes(values: Features) -> Features:
    """Return the slope of each column by a regression over 50 ms; the ends are held."""
    padded = np.pad(values, ((_SLOPE_REACH, _SLOPE_REACH), (0, 0)), mode="edge")
    count = len(values)
    total = np.zeros_like(values)
    for step in range(1, _SLOPE_REACH + 1):
        ahead = padded[_SLOPE_REACH + step :][:count]
        behind = padded[_SLOPE_REACH - step :][:count]
        total += step * (ahead - behind)
    weight = 2 * sum(step * step for step in range(1, _SLOPE_REACH + 1))
    return total / np.float32(weight)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2_595.0 * np.log10(1.0 + hz / 700.0)


def _mel_bank() -> NDArray[np.float32]:
    """Return triangles, evenly spaced in mel: one row for each line of the spectrum."""
    lines = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE_HZ / _FFT)
    lowest, highest = _mel(np.array([_LOW_HZ, _HIGH_HZ]))
    edges = np.linspace(lowest, highest, _MELS + 2)
    rising = (lines[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - lines[:, None]) / (edges[2:] - edges[1:-1])
    bank: NDArray[np.float32] = np.clip(np.minimum(rising, falling), 0.0, None).astype(np.float32)
    return bank


def _cosines() -> NDArray[np.float32]:
    """Return the cosine transform from log mel energies to cepstra."""
    angle = np.pi / _MELS * (np.arange(_MELS)[:, None] + 0.5) * np.arange(_CEPSTRA)
    cosines: NDArray[np.float32] = (np.cos(angle) * np.sqrt(2.0 / _MELS)).astype(np.float32)
    return cosines


_WINDOW: Final = np.hamming(FRAME_SAMPLES).astype(np.float32)
_MEL_BANK: Final = _mel_bank()
_COSINES: Final = _cosines()
