"""Another sample rate, without folding what is above half of it back into speech.

Of soxr's engines this takes the one for variable rates, at a fixed rate: it gives samples back as
they come in, 5 to 30 ms late, where the others hold 60 to 140 ms back and then give a block.
It costs 8 to 27 µs per 20 ms (the others 3 to 5); what would fold back is 108 dB down or more.
Samples go in and out as floats, because soxr would dither integers, at random: so the output
depends on the samples alone, not on how they were cut.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from palaver.speech.detector import Samples

__all__ = ["MAX_RATE_HZ", "MIN_RATE_HZ", "Resampler", "resample"]

MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 192_000
_NONE: Final = np.zeros(0, np.float32)


class Resampler:
    """Brings a stream of int16 samples from one rate to another.

    Over a whole stream, N samples become N · to_hz / from_hz, give or take 2, and what is heard
    moves by less than 3 of the new samples. Until its end, the time of about 240 samples at the
    lower of the two rates is held back (at 8 kHz: 30 ms).

    Raises:
        ValueError: a rate is not from 1,000 to 192,000 Hz.

    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        for rate_hz in (from_hz, to_hz):
            if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
                raise ValueError(
                    f"a sample rate must be {MIN_RATE_HZ}-{MAX_RATE_HZ} Hz, not {rate_hz}"
                )
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._engine = (
            None
            if from_hz == to_hz
            else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", vr=True)
        )

    def push(self, samples: Samples) -> Samples:
        """Take the next samples of the stream; return those that are ready, maybe none."""
        if self._engine is None:
            return samples
        return _rounded(self._engine.resample_chunk(samples.astype(np.float32)))

    def flush(self) -> Samples:
        """End the stream: return what was held back. The next ``push`` begins another stream."""
        if self._engine is None:
            return np.zeros(0, np.int16)
        rest = _rounded(self._engine.resample_chunk(_NONE, last=True))
        self._engine.clear()
        return rest

    def clear(self) -> None:
        """Drop what was held back: the next ``push`` begins another stream."""
        if self._engine is not None:
            self._engine.clear()


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return ``samples`` at ``to_hz``: what a ``Resampler`` gives for them in pieces, in one.

    Raises:
        ValueError: a rate is not from 1,000 to 192,000 Hz.

    """
    stream = Resampler(from_hz, to_hz)
    return np.concatenate((stream.push(samples), stream.flush()))


def _rounded(samples: NDArray[np.float32]) -> Samples:
    """Return the nearest int16: what is past the loudest becomes the loudest."""
    return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)
