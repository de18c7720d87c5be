"""Features of sound: what they keep, and what they forget."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from palaver.providers.mfcc import (
    BANDS,
    FEATURES,
    FRAME_SAMPLES,
    HOP_SAMPLES,
    Features,
    band_energies,
    centred,
    cepstra,
)


def features(samples: NDArray[np.int16]) -> Features:
    """Return what is compared, with all that is 35 dB below the loudest as silence."""
    energies = band_energies(samples)
    return centred(cepstra(np.log(energies + max(energies.max(), 1.0) * np.float32(3e-4))))


def vowels(*formants_hz: float, loud: float = 6_000.0) -> NDArray[np.int16]:
    """Return 200 ms of each tone after the other, with a little noise."""
    time = np.arange(1_600) / 8_000
    tones = np.concatenate([np.sin(2 * np.pi * hz * time) for hz in formants_hz])
    noise = np.random.default_rng(1).normal(scale=0.02, size=len(tones))
    return (loud * (tones + noise)).astype(np.int16)


@pytest.mark.parametrize("count", [0, 1, 199, 200, 279, 280, 8_000, 240_000])
def test_a_row_for_each_10_ms(count: int) -> None:
    """As many as there are whole windows of 25 ms."""
    samples = np.random.default_rng(1).integers(-9_000, 9_000, count).astype(np.int16)
    found = band_energies(samples)
    rows = 0 if count < FRAME_SAMPLES else 1 + (count - FRAME_SAMPLES) // HOP_SAMPLES
    assert found.shape == (rows, BANDS)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_features_of_each_row() -> None:
    """As many rows as there are of energies."""
    found = features(vowels(400, 1_500))
    assert found.shape == (38, FEATURES)
    assert found.dtype == np.float32


def test_loudness_is_forgotten() -> None:
    """The same sound at a tenth of the level has the same features."""
    loud, quiet = features(vowels(400, 1_500, 2_500)), features(vowels(400, 1_500, 2_500, loud=600))
    assert np.abs(loud - quiet).mean() < 0.1


def test_a_constant_colour_is_forgotten() -> None:
    """A line that lets highs pass worse changes them little; another sound changes them much."""
    sound = vowels(400, 1_500, 2_500, 700)
    dull = np.convolve(sound, [0.6, 0.4], "same").astype(np.int16)
    other = vowels(2_500, 400, 700, 1_500)
    assert np.abs(features(sound) - features(dull)).mean() < 0.3
    assert np.abs(features(sound) - features(other)).mean() > 0.5


def test_columns_are_normalised() -> None:
    """Over the utterance each has the mean 0."""
    found = features(vowels(400, 1_500, 2_500))
    assert found.mean(axis=0) == pytest.approx(np.zeros(FEATURES), abs=1e-3)
    assert (found.std(axis=0) > 0.05).all()


@pytest.mark.parametrize("level", [0, 1, -32_768, 32_767])
def test_what_never_changes_has_no_features(level: int) -> None:
    """Silence and a constant are finite, and all the same."""
    found = features(np.full(4_000, level, np.int16))
    assert np.isfinite(found).all()
    assert np.abs(found[10:-10]).max() < 5.0
