"""A noise gate around a detector: what is no louder than the noise of the line is hardly speech.

Somebody who listens is silent for half of a call, and his line sounds the same all the time. The
gate knows two levels of that noise, the mean magnitude of the samples and that of their
differences, which is where a voice shows in a low noise. A window that exceeds neither by more
than 2 dB is *within* it. That serves twice:

- In a pause such windows are *still*: the network need not judge them, but for one in eight.
- After a voice in noise the network goes on hearing it for 100 ms and more. Within the noise it is
  trusted less, where it has been sure of a voice since the last pause: a turn ends when the voice
  does. A sure network is believed nevertheless, for the noise may have ended as well, and a soft
  voice have begun.

It is a rule of one stream's audio and of what the network said of it; so both ends of a call
decide the same. All sums are of whole numbers below 2^24: they have the same bits in any order of
addition.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from palaver.speech.detector import Probabilities, Samples
from palaver.speech.onnx_weights import Floats

__all__ = ["COLUMNS", "forget", "last", "levels", "note", "pauses", "still"]

Mask: TypeAlias = NDArray[np.bool_]
"""Shape [N]."""

COLUMNS: Final = 7
"""Numbers that are kept of a stream: windows of its pause, how many of them were still since one
was judged, the last probability, whether the levels are known, whether the network has been sure
of a voice since the last pause, and the two levels."""
_PAUSE, _STILL, _LAST, _KNOWN, _SURE, _LEVELS = 0, 1, 2, 3, 4, slice(5, 7)

_CLEARLY_NONE: Final = np.float32(0.1)
_SURELY: Final = np.float32(0.8)
"""Below, it may be a soft voice: nothing is taken from that."""
_PAUSE_WINDOWS: Final = 5
"""So many windows without speech are a pause: one alone may be a dip inside a word."""
_CLOSE_AFTER: Final = 16
"""Windows of a pause until windows may be still: so long the network gets used to its noise. The
longer that may take, the softer the voices are that it hears then."""
_MAX_STILL: Final = 7
_RATIO: Final = np.float32(1.25)
_FALL: Final = np.float32(0.5)
"""What is so much softer is not still: the noise has ended, and may have hidden something."""
_LEAST: Final = np.float32(0.5)
"""Above the levels, in mean magnitude: what quantization alone may add to silence."""
_TRUST: Final = np.float32(0.75)
"""In a probability within the noise. With 0.6, turns at 0 dB begin to be missed."""
_RISE: Final = np.float32(1 / 8)
_SETTLE: Final = np.float32(1 / 64)
"""How fast the levels follow what is within them, and all else: louder noise, softer speech."""
_LOUDEST: Final = np.float32(16_384)
"""Differences above this are taken for it: then their sum stays exact."""


def levels(windows: Samples) -> Floats:
    """Return [N, 2]: the mean magnitude of each window, and that of the differences in it."""
    samples = windows.astype(np.float32)
    size = samples.shape[1]
    differences = samples[:, 1:] - samples[:, :-1]
    np.abs(differences, out=differences)
    np.minimum(differences, _LOUDEST, out=differences)
    np.abs(samples, out=samples)
    found = np.empty((len(samples), 2), np.float32)
    samples.sum(axis=1, out=found[:, 0])
    differences.sum(axis=1, out=found[:, 1])
    found *= np.float32(1 / size)
    return found


def still(memory: Floats, found: Floats) -> Mask:
    """Return which windows, with these ``levels``, need not be judged, and note those.

    ``memory`` has a row of ``COLUMNS`` numbers for each, all 0 at first.
    """
    fallen = found < memory[:, _LEVELS] * _FALL - _LEAST
    closed = _within(memory, found) & ~fallen.any(axis=1)
    closed &= memory[:, _PAUSE] >= _CLOSE_AFTER
    closed &= memory[:, _STILL] < _MAX_STILL
    memory[:, _PAUSE] += closed
    memory[:, _STILL] += closed
    _follow(memory, found, closed, closed)
    return closed


def note(memory: Floats, found: Floats | None, probability: Probabilities) -> None:
    """Note what the network said of windows with these ``levels``; None: there is no gate."""
    clear = probability < _CLEARLY_NONE
    memory[:, _STILL] = 0
    memory[:, _LAST] = probability
    if found is not None:
        new = clear & (memory[:, _KNOWN] == 0)
        memory[new, _LEVELS] = found[new]
        memory[new, _KNOWN] = 1
        within = _within(memory, found)
        memory[:, _SURE] = np.where(pauses(memory), 0, memory[:, _SURE])
        memory[probability >= _SURELY, _SURE] = 1
        memory[:, _LAST] *= np.where(within & (memory[:, _SURE] > 0), _TRUST, np.float32(1))
        _follow(memory, found, within & clear, clear)
        clear &= within
    memory[:, _PAUSE] = (memory[:, _PAUSE] + 1) * clear


def last(memory: Floats) -> Probabilities:
    """Return the last probability of each: that of a still window too."""
    return memory[:, _LAST].copy()


def pauses(memory: Floats) -> Mask:
    """Return which are in a pause that is none within a word."""
    return memory[:, _PAUSE] >= _PAUSE_WINDOWS


def forget(memory: Floats, which: Mask) -> None:
    """Let the pause of some begin anew: for so long all their windows are judged."""
    memory[which, _PAUSE] = 0


def _within(memory: Floats, found: Floats) -> Mask:
    """Return which windows are no louder than the noise, where that is known."""
    within = found <= memory[:, _LEVELS] * _RATIO + _LEAST
    return within.all(axis=1) & (memory[:, _KNOWN] > 0)


def _follow(memory: Floats, found: Floats, noise: Mask, clear: Mask) -> None:
    """Let the levels follow: soon what is noise as before, slowly what may be louder noise."""
    known = memory[:, _LEVELS]
    slowly = np.where(clear[:, None] | (found < known), _SETTLE, np.float32(0))
    known += (found - known) * np.where(noise[:, None], _RISE, slowly)
