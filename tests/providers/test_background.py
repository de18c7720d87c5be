"""What is behind the words: it is found, and templates before it lack what it covers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from palaver.providers.background import hear, levelled, loud_part
from palaver.providers.dtw import Templates, distances
from palaver.providers.mfcc import BANDS, FEATURES, band_energies
from palaver.testing.audio import mix, pink_noise, silence, white_noise

Samples = NDArray[np.int16]


def words() -> Samples:
    """Return a second of a buzzing voice whose colour changes five times, at 8 kHz."""
    random = np.random.default_rng(5)
    buzz = np.zeros(1_600)
    buzz[::64] = 1.0
    parts = [np.convolve(buzz, random.normal(size=40), "same") for _ in range(5)]
    sound = np.concatenate([part * (0.2 + np.hanning(len(part))) for part in parts])
    return (sound / np.abs(sound).max() * 20_000).astype(np.int16)


def line(speech: Samples, before: float = 0.3, after: float = 0.2) -> Samples:
    """Return speech with padding around it, in seconds."""
    return np.concatenate([silence(before, 8_000), speech, silence(after, 8_000)])


NOISES = {"white": white_noise, "pink": pink_noise}


@pytest.mark.parametrize("snr_db", [20, 10, 5])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_is_found(noise: Callable[..., Samples], snr_db: int) -> None:
    """Its colour is that of the padding, above what counts as silence without it."""
    behind = noise(2.0, 8_000, seed=1)
    noisy = mix(line(words()), behind, snr_db, 8_000)
    heard, quiet = hear(noisy), hear(line(words()))
    assert heard is not None
    assert quiet is not None
    share = heard.background.energies - quiet.background.energies
    assert (share > 0).all()
    share /= band_energies(noisy)[:25].mean(axis=0)
    assert np.log(share / np.median(share)).std() < 0.3


@pytest.mark.parametrize("snr_db", [None, 20, 10])
@pytest.mark.parametrize("padding", [(0.3, 0.2), (0.3, 0.0), (0.0, 0.2), (1.0, 1.0)])
def test_the_words_are_found(padding: tuple[float, float], snr_db: int | None) -> None:
    """Whatever padding is around them, in noise and without: a second, but for the edges."""
    sound = line(words(), *padding)
    if snr_db is not None:
        sound = mix(sound, white_noise(2.0, 8_000, seed=2), snr_db, 8_000)
    heard = hear(sound)
    assert heard is not None
    assert heard.features.shape[1] == FEATURES
    assert 80 <= len(heard.features) <= 108
    assert heard.features.mean(axis=0) == pytest.approx(np.zeros(FEATURES), abs=1e-3)


@pytest.mark.parametrize(
    "samples",
    [
        silence(0.0, 8_000),
        silence(2.0, 8_000),
        np.full(16_000, 9_000, np.int16),
        line(words())[:1_000],
        line((words() // 5_000).astype(np.int16)),
    ],
    ids=["nothing", "silence", "a constant", "125 ms", "far too faint"],
)
def test_nobody_speaks(samples: Samples) -> None:
    """There is nothing to compare."""
    assert hear(samples) is None


@pytest.mark.parametrize("snr_db", [15, 10, 5])
def test_a_template_behind_the_same_noise_is_nearer(snr_db: int) -> None:
    """What was heard is more like the template before its background than before none."""
    template = loud_part(levelled(band_energies(line(words()))))
    quiet, noisy = hear(line(words())), hear(mix(line(words()), NOISE, snr_db, 8_000))
    assert quiet is not None
    assert noisy is not None
    far, near = (
        distances(noisy.features, Templates(one.background.of([template])), [0])[0]
        for one in (quiet, noisy)
    )
    assert near < 0.7 * far


NOISE = white_noise(2.0, 8_000, seed=3)


def test_several_templates_at_once() -> None:
    """Each is as it would be alone; one that the noise covers has no rows left."""
    heard = hear(mix(line(words()), NOISE, 10, 8_000))
    assert heard is not None
    whole = loud_part(levelled(band_energies(line(words()))))
    faint = whole * np.float32(1e-6)
    first, second, third = heard.background.of([whole, faint, whole])
    assert first == pytest.approx(heard.background.of([whole])[0], abs=0.1)
    assert first[5:-5] == pytest.approx(third[5:-5], abs=0.1)
    assert len(second) == 0
    assert len(heard.background.of([whole], every=2)[0]) == (len(first) + 1) // 2
    assert heard.background.of([]) == []


def test_templates_are_levelled_and_cut() -> None:
    """Twice as loud is the same; the silence around goes; silence alone has no rows."""
    once, twice = (
        loud_part(levelled(band_energies(line(sound)))) for sound in (words() // 2, words())
    )
    assert once == pytest.approx(twice, rel=0.05, abs=1e-3)
    assert 90 <= len(once) <= 116
    for nothing in (silence(1.0, 8_000), silence(0.0, 8_000)):
        assert loud_part(levelled(band_energies(nothing))).shape == (0, BANDS)
