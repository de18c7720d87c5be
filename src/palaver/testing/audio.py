"""Sound to test with: noise that is the same each time, and what lines and microphones do.

All is mono int16. Whatever is drawn comes from a numpy generator seeded by the caller. How loud is
told in dBFS: 0 is a square wave as loud as int16 goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from palaver.speech.detector import Samples

__all__ = [
    "babble",
    "clipped",
    "level_db",
    "mix",
    "pink_noise",
    "silence",
    "tone",
    "voiced",
    "white_noise",
    "with_clicks",
    "with_offset",
]

_Floats: TypeAlias = NDArray[np.float64]
_LOUDEST: Final = 32_767
_NOISE_DB: Final = -20.0
_TICK_MS: Final = 10
_FLOOR_DB: Final = -45.0
_GAP_MS: Final = 100


def silence(seconds: float, rate_hz: int) -> Samples:
    """Return zeros."""
    return np.zeros(round(seconds * rate_hz), np.int16)


def tone(hz: float, seconds: float, rate_hz: int, *, peak_db: float = -6.0) -> Samples:
    """Return a sine whose peaks are at ``peak_db``."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return _int16(_LOUDEST * 10 ** (peak_db / 20) * np.sin(2 * np.pi * hz * at))


def white_noise(seconds: float, rate_hz: int, *, seed: int) -> Samples:
    """Return noise of equal power at each frequency, at -20 dBFS."""
    return _levelled(np.random.default_rng(seed).standard_normal(round(seconds * rate_hz)))


def pink_noise(seconds: float, rate_hz: int, *, seed: int) -> Samples:
    """Return noise of equal power in each octave from 20 Hz, at -20 dBFS."""
    count = round(seconds * rate_hz)
    drawn = 1 << max(1, count - 1).bit_length()  # of other lengths a transform may take seconds
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(drawn))
    hz = np.fft.rfftfreq(drawn, 1 / rate_hz)
    pink = np.where(hz < 20, 0, spectrum / np.sqrt(np.maximum(hz, 20)))
    return _levelled(np.fft.irfft(pink, drawn)[:count])


def babble(voices: Sequence[Samples], seconds: float, rate_hz: int, *, seed: int) -> Samples:
    """Return many people talking at once, at -20 dBFS: each voice again and again, from anywhere.

    Raises:
        ValueError: there is no voice, or one is silent.

    """
    if not voices or any(not voice.any() for voice in voices):
        raise ValueError("babble takes one voice or more, each of them heard")
    count = round(seconds * rate_hz)
    random = np.random.default_rng(seed)
    together = np.zeros(count)
    for voice in voices:
        start = int(random.integers(len(voice)))
        around = np.resize(np.roll(voice, -start), count).astype(np.float64)
        together += around / np.sqrt(np.mean(np.square(voice, dtype=np.float64)))
    return _levelled(together)


def mix(speech: Samples, noise: Samples, snr_db: float, rate_hz: int) -> Samples:
    """Return ``speech`` with ``noise`` behind it: again from its start where it is shorter.

    ``snr_db`` compares the speech while somebody speaks (``voiced``) with the noise; pauses do not
    count. Where the sum would be too loud, all of it is made quieter.

    Raises:
        ValueError: nobody speaks, or the noise is silent.

    """
    spoken = np.zeros(len(speech), bool)
    for start_ms, end_ms in voiced(speech, rate_hz):
        spoken[start_ms * rate_hz // 1000 : end_ms * rate_hz // 1000] = True
    if not spoken.any() or not noise.any():
        raise ValueError("a ratio takes speech in which somebody speaks, and noise that is heard")
    behind = np.resize(noise, len(speech)).astype(np.float64)
    gain_db = level_db(speech[spoken]) - snr_db - level_db(noise)
    both = speech + behind * 10 ** (gain_db / 20)
    return _int16(both * min(1.0, _LOUDEST / np.abs(both).max()))


def with_clicks(samples: Samples, rate_hz: int, *, per_second: float, seed: int) -> Samples:
    """Return the samples with clicks of a bad line: a millisecond each, at half the loudest."""
    random = np.random.default_rng(seed)
    out = samples.astype(np.float64)
    length = max(1, rate_hz // 1000)
    places = max(0, len(samples) - length)
    for start in random.integers(0, places + 1, round(per_second * len(samples) / rate_hz)):
        out[start : start + length] += random.choice((-0.5, 0.5)) * _LOUDEST
    return _int16(out)


def with_offset(samples: Samples, offset: int) -> Samples:
    """Return the samples with ``offset`` added to each, as a bad microphone has it."""
    return _int16(samples.astype(np.float64) + offset)


def clipped(samples: Samples, gain_db: float) -> Samples:
    """Return the samples ``gain_db`` louder, cut off where they are too loud."""
    return _int16(samples.astype(np.float64) * 10 ** (gain_db / 20))


def level_db(samples: Samples) -> float:
    """Return how loud the samples are on average, in dBFS; silence is -inf."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * float(np.log10(power / _LOUDEST**2)) if power else -np.inf


def voiced(clean: Samples, rate_hz: int) -> list[tuple[int, int]]:
    """Return where somebody speaks in a clean recording: starts and ends, in milliseconds.

    Speech is what comes within 45 dB of the loudest 10 ms; a gap under 100 ms is part of it.
    """
    size = rate_hz * _TICK_MS // 1000
    whole = len(clean) // size * size
    power = np.mean(np.square(clean[:whole], dtype=np.float64).reshape(-1, size), axis=1)
    if not power.any():
        return []
    ticks = np.flatnonzero(power > power.max() * 10 ** (_FLOOR_DB / 10))
    breaks = np.flatnonzero(np.diff(ticks) - 1 >= _GAP_MS // _TICK_MS)
    starts = ticks[np.concatenate(([0], breaks + 1))] * _TICK_MS
    ends = (ticks[np.concatenate((breaks, [len(ticks) - 1]))] + 1) * _TICK_MS
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _levelled(noise: _Floats) -> Samples:
    power = np.sqrt(np.mean(np.square(noise))) if len(noise) else 1.0
    return _int16(noise * (_LOUDEST * 10 ** (_NOISE_DB / 20) / power))


def _int16(samples: _Floats) -> Samples:
    return np.clip(np.rint(samples), -_LOUDEST - 1, _LOUDEST).astype(np.int16)
