"""What detectors are tried on: three seconds of speech, and what lines do to it."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palaver.speech.detector import Samples
from palaver.speech.resample import resample

_SPEECH = Path(__file__).parent / "sounds" / "requests_in_two_languages.wav"
_SPEECH_HZ = 16_000


@cache
def speech(rate_hz: int) -> Samples:
    """Return "A table for two, please. Bom dia, tudo bem?" as a synthesiser says it."""
    with wave.open(str(_SPEECH)) as file:
        spoken = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return resample(spoken, _SPEECH_HZ, rate_hz)


def clipped(samples: NDArray[np.float64]) -> Samples:
    """Return samples as a converter writes them: what is too loud is cut off."""
    return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)


@cache
def sounds(rate_hz: int) -> dict[str, Samples]:
    """Return the speech over good and bad lines, and sounds that are no speech, by name."""
    spoken = speech(rate_hz).astype(np.float64)
    random = np.random.default_rng(7)
    white = random.normal(size=len(spoken))
    brown = np.cumsum(white) / 20
    at = np.arange(len(spoken)) / rate_hz
    loudness = np.sqrt(np.mean(spoken**2))
    heard = {"speech": spoken, "silence": 0 * spoken, "offset": 0 * spoken + 20_000}
    for decibels in (30, 20, 10, 5, 0, -5):
        scale = loudness * 10 ** (-decibels / 20)
        heard[f"speech over white noise, {decibels} dB"] = spoken + scale * white
        heard[f"speech over rumble, {decibels} dB"] = spoken + scale * brown
    for factor in (0.003, 0.03, 0.3, 3, 30, 3000):
        heard[f"speech, {factor} times as loud"] = spoken * factor
    for level in (1, 10, 100, 1_000, 10_000):
        heard[f"white noise of {level}"] = level * white
        heard[f"tone of {level}"] = level * np.sin(2 * np.pi * 440 * at)
    heard["speech beside an offset"] = spoken + 12_000
    heard["speech backward"] = spoken[::-1]
    heard["clicks"] = 30_000 * (np.arange(len(spoken)) % 1_000 == 0)
    heard["clipped noise"] = 1e6 * white
    heard["highest tone"] = 32_767 * np.cos(np.pi * np.arange(len(spoken)))
    return {name: clipped(samples) for name, samples in heard.items()}


def windows(samples: Samples, size: int) -> Samples:
    """Return what is there as windows [count, size]; a rest is left out."""
    count = len(samples) // size
    return samples[: count * size].reshape(count, size)
