"""A noise gate before a detector: windows that are no louder than the pause they are in.

Somebody who listens is silent for half of a call, and his line sounds the same all the time: there
a network need not judge every window. The gate knows two levels of the pause, the mean magnitude
of the samples and that of their differences, which is where a voice shows in a low noise. A window
that exceeds neither by more than 2 dB is *still*: the gate stays closed. It is a rule of one
stream's audio and of what the network said of it; so both ends of a call close it at the same
window.

All sums are of whole numbers below 2^24: they have the same bits in any order of addition.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from palaver.speech.detector import Probabilities, Samples
from palaver.speech.onnx_weights import Floats

__all__ = ["COLUMNS", "last", "levels", "note", "pauses", "still"]

Mask: TypeAlias = NDArray[np.bool_]
"""Shape [N]."""

COLUMNS: Final = 5
"""Numbers that are kept of a stream: windows of its pause, those that were still since one was
judged, the last probability, and the two levels."""
_PAUSE, _STILL, _LAST, _LEVELS = 0, 1, 2, slice(3, 5)

_PAUSE_WINDOWS: Final = 5
"""So many windows without speech are a pause: one alone may be a dip inside a word."""
_CLEARLY_NONE: Final = np.float32(0.1)
_CLOSE_AFTER: Final = 16
_MAX_STILL: Final = 7
"""Of eight windows one is judged, however still they are."""
_RATIO: Final = np.float32(1.25)
_LEAST: Final = np.float32(2.0)
"""Above the levels, mean magnitude: what quantization alone may add to silence."""
_SMOOTHING: Final = np.float32(1 / 8)
_LOUDEST: Final = np.float32(16_384)
"""Differences above this are taken for it: then their sum stays exact."""


def levels(windows: Samples) -> Floats:
    """Return [N, 2]: the mean magnitude of each window, and that of the differences in it."""
    samples = windows.astype(np.float32)
    size = samples.shape[1]
    differences = np.abs(samples[:, 1:] - samples[:, :-1])
    np.minimum(differences, _LOUDEST, out=differences)
    found = np.empty((len(samples), 2), np.float32)
    np.abs(samples, out=samples)
    found[:, 0] = samples.sum(axis=1)
    found[:, 1] = differences.sum(axis=1)
    found *= np.float32(1 / size)
    return found


def still(memory: Floats, found: Floats) -> Mask:
    """Return which windows, with these ``levels``, need not be judged, and note those.

    ``memory`` has a row of ``COLUMNS`` numbers for each, all 0 at first. The probability of a
    still window is the last one: the column 2.
    """
    known = memory[:, _LEVELS]
    closed = (found <= known * _RATIO + _LEAST).all(axis=1)
    closed &= (memory[:, _PAUSE] >= _CLOSE_AFTER) & (memory[:, _STILL] < _MAX_STILL)
    memory[:, _PAUSE] += closed
    memory[:, _STILL] += closed
    known += (found - known) * (closed * _SMOOTHING)[:, None]
    return closed


def note(memory: Floats, found: Floats, probability: Probabilities) -> None:
    """Note what was judged of windows with these ``levels``."""
    clear = probability < _CLEARLY_NONE
    begun = clear & (memory[:, _PAUSE] == 0)
    memory[:, _PAUSE] = (memory[:, _PAUSE] + 1) * clear
    memory[:, _STILL] = 0
    memory[:, _LAST] = probability
    known = memory[:, _LEVELS]
    share = np.where(begun, np.float32(1), clear * _SMOOTHING)
    known += (found - known) * share[:, None]


def last(memory: Floats) -> Probabilities:
    """Return the last probability of each."""
    return memory[:, _LAST].copy()


def pauses(memory: Floats) -> Mask:
    """Return which are in a pause that is none within a word."""
    return memory[:, _PAUSE] >= _PAUSE_WINDOWS
