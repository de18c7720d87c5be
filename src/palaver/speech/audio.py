"""How samples are written on a wire: linear PCM, and G.711 in its two laws (µ and A).

G.711 packs a sample into a byte: a sign, one of eight segments, each twice as coarse as the one
below, and one of sixteen steps within it. Both directions are a look-up in a table, which is built
here from that rule: 256 entries to read a byte, 65,536 to write a sample.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.detector import Samples

__all__ = ["decode", "encode"]

_MULAW_BIAS: Final = 33
"""Added to a µ-law magnitude (14 bits with sign), so that each segment begins at a power of two."""
_MULAW_MOST: Final = 8_158
"""The greatest µ-law magnitude; what is louder is written as this."""


def decode(payload: bytes, encoding: AudioEncoding) -> Samples:
    """Return the samples that ``payload`` holds, without copying linear PCM: read-only there.

    Raises:
        ValueError: linear PCM of an odd number of bytes.

    """
    if encoding is AudioEncoding.PCM_S16LE:
        if len(payload) % 2:
            raise ValueError(
                f"{len(payload)} bytes of pcm_s16le: a sample has 2 bytes, so they must be even"
            )
        return np.frombuffer(payload, "<i2").astype(np.int16, copy=False)
    return _READ[encoding].take(np.frombuffer(payload, np.uint8))


def encode(samples: Samples, encoding: AudioEncoding) -> bytes:
    """Return ``samples`` as they are written on the wire.

    Raises:
        ValueError: they are no int16 in one dimension.

    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"samples must be int16 of one dimension, not {samples.dtype} of {samples.ndim}"
        )
    if encoding is AudioEncoding.PCM_S16LE:
        return samples.astype("<i2", copy=False).tobytes()
    return _WRITE[encoding].take(samples.view(np.uint16)).tobytes()


def _segments(magnitudes: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Return how far each magnitude reaches past ``bits`` bits; 0 where it does not."""
    past = np.zeros_like(magnitudes)
    for shift in range(bits, bits + 8):
        past += (magnitudes >> shift) > 0
    return past


def _mulaw_read(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    bits = ~codes & 0xFF
    segment, step = bits >> 4 & 7, bits & 0x0F
    magnitude = (((2 * step + _MULAW_BIAS) << segment) - _MULAW_BIAS) * 4
    return np.where(bits & 0x80, -magnitude, magnitude)


def _mulaw_written(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    biased = np.minimum(np.abs(samples >> 2), _MULAW_MOST) + _MULAW_BIAS
    segment = _segments(biased, 6)
    sign = np.where(samples < 0, 0x80, 0)
    written: NDArray[np.int32] = ~(sign | segment << 4 | biased >> (segment + 1) & 0x0F) & 0xFF
    return written


def _alaw_read(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    bits = codes ^ 0x55
    segment, step = bits >> 4 & 7, bits & 0x0F
    in_first = 2 * step + 1
    magnitude = np.where(segment == 0, in_first, (in_first + 32) << np.maximum(segment - 1, 0)) * 8
    return np.where(bits & 0x80, magnitude, -magnitude)


def _alaw_written(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    magnitude = np.where(samples < 0, ~samples, samples) >> 3
    segment = _segments(magnitude, 5)
    sign = np.where(samples < 0, 0, 0x80)
    step = magnitude >> np.maximum(segment, 1) & 0x0F
    written: NDArray[np.int32] = (sign | segment << 4 | step) ^ 0x55
    return written


_CODES: Final = np.arange(256, dtype=np.int32)
_SAMPLES: Final = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
"""Each sample at the place of its bits, read as a number without sign."""

_READ: Final = {
    AudioEncoding.MULAW: _mulaw_read(_CODES).astype(np.int16),
    AudioEncoding.ALAW: _alaw_read(_CODES).astype(np.int16),
}
_WRITE: Final = {
    AudioEncoding.MULAW: _mulaw_written(_SAMPLES).astype(np.uint8),
    AudioEncoding.ALAW: _alaw_written(_SAMPLES).astype(np.uint8),
}
