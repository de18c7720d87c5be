"""The sound that tests are made of is what its names say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from palaver.speech.detector import Samples
from palaver.testing.audio import (
    babble,
    clipped,
    level_db,
    mix,
    pink_noise,
    silence,
    tone,
    voiced,
    white_noise,
    with_clicks,
    with_offset,
)

RATE_HZ = 8_000
SPEECH = np.concatenate(
    (
        silence(0.5, RATE_HZ),
        tone(300, 0.4, RATE_HZ),
        silence(0.09, RATE_HZ),
        tone(500, 0.2, RATE_HZ, peak_db=-30),
        silence(0.1, RATE_HZ),
        tone(200, 0.3, RATE_HZ),
        silence(0.5, RATE_HZ),
    )
)


def band_db(samples: Samples, low_hz: float, high_hz: float) -> float:
    """Return the power between two frequencies."""
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    power = np.square(np.abs(np.fft.rfft(samples)))
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum()))


@pytest.mark.parametrize("noise", [white_noise, pink_noise])
def test_noise_is_drawn_from_its_seed(noise: object) -> None:
    """The same seed gives the same noise, another seed another; both at -20 dBFS."""
    assert callable(noise)
    one, again, other = (noise(1.0, RATE_HZ, seed=seed) for seed in (1, 1, 2))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert (len(one), one.dtype) == (RATE_HZ, np.int16)
    assert level_db(one) == pytest.approx(-20, abs=0.1)


def test_white_is_even_in_hertz_and_pink_in_octaves() -> None:
    """White noise gains 3 dB with each octave; pink noise has the same in each."""
    white, pink = (noise(20.0, RATE_HZ, seed=3) for noise in (white_noise, pink_noise))
    octaves = [(125, 250), (250, 500), (500, 1_000), (1_000, 2_000), (2_000, 4_000)]
    rises = [
        [band_db(noise, *upper) - band_db(noise, *lower) for lower, upper in pairwise(octaves)]
        for noise in (white, pink)
    ]

    assert rises[0] == pytest.approx([3.01] * 4, abs=0.4)
    assert rises[1] == pytest.approx([0.0] * 4, abs=0.4)


def test_babble_holds_each_voice_as_loud_as_the_others() -> None:
    """A quiet voice and a loud one are both there, again and again, for as long as asked."""
    loud, quiet = tone(300, 0.7, RATE_HZ), tone(1_000, 0.5, RATE_HZ, peak_db=-40)
    crowd = babble([loud, quiet], 3.0, RATE_HZ, seed=1)

    assert len(crowd) == 3 * RATE_HZ
    assert level_db(crowd) == pytest.approx(-20, abs=0.1)
    assert band_db(crowd, 250, 350) == pytest.approx(band_db(crowd, 950, 1_050), abs=0.5)
    assert not np.array_equal(crowd, babble([loud, quiet], 3.0, RATE_HZ, seed=2))


@pytest.mark.parametrize("voices", [[], [tone(300, 0.1, RATE_HZ), silence(0.1, RATE_HZ)]])
def test_babble_of_nobody_is_refused(voices: list[Samples]) -> None:
    """Without a voice, or with one that is silent, there is no babble."""
    with pytest.raises(ValueError, match=r"^babble takes one voice or more, each of them heard$"):
        babble(voices, 1.0, RATE_HZ, seed=1)


def test_voiced_is_where_somebody_speaks() -> None:
    """Quiet parts count, gaps under 100 ms are closed, one of 100 ms is not."""
    assert voiced(SPEECH, RATE_HZ) == [(500, 1_190), (1_290, 1_590)]


def test_nobody_speaks_in_silence() -> None:
    """Without any sound there is nothing voiced."""
    assert voiced(silence(1.0, RATE_HZ), RATE_HZ) == []
    assert voiced(silence(0.0, RATE_HZ), RATE_HZ) == []


@pytest.mark.parametrize("snr_db", [20, 5, 0, -5])
def test_the_ratio_is_that_of_the_voiced_parts(snr_db: float) -> None:
    """Silence around the speech changes nothing in how loud the noise behind it is."""
    noise = white_noise(0.3, RATE_HZ, seed=1)
    quiet = (SPEECH / 4).astype(np.int16)
    ratios = []
    for speech in (quiet, np.concatenate((quiet, silence(5.0, RATE_HZ)))):
        behind = (mix(speech, noise, snr_db, RATE_HZ) - speech).astype(np.int16)
        spoken = np.concatenate([speech[8 * a : 8 * b] for a, b in voiced(speech, RATE_HZ)])
        ratios.append(level_db(spoken) - level_db(behind))

    assert ratios == pytest.approx([snr_db] * 2, abs=0.2)


def test_a_mix_that_is_too_loud_is_made_quieter() -> None:
    """No peak is cut off, whatever the ratio: the whole becomes quieter."""
    noise = white_noise(2.0, RATE_HZ, seed=1)
    loud = tone(300, 2.0, RATE_HZ, peak_db=0)
    both = mix(loud, noise, 0, RATE_HZ)

    assert np.abs(both.astype(int)).max() == 32_767
    assert np.count_nonzero(np.abs(both.astype(int)) >= 32_767) <= 2


@pytest.mark.parametrize(
    ("speech", "noise"),
    [
        (silence(1.0, RATE_HZ), white_noise(1.0, RATE_HZ, seed=1)),
        (SPEECH, silence(1.0, RATE_HZ)),
    ],
)
def test_a_ratio_takes_two(speech: Samples, noise: Samples) -> None:
    """Without speech or without noise there is no ratio."""
    with pytest.raises(ValueError, match=r"^a ratio takes speech in which somebody speaks, and "):
        mix(speech, noise, 10, RATE_HZ)


def test_clicks_are_short_loud_and_as_many_as_asked() -> None:
    """Five a second, of a millisecond each, at half of the loudest."""
    clicks = with_clicks(silence(2.0, RATE_HZ), RATE_HZ, per_second=5, seed=4)

    assert set(np.abs(clicks.astype(int)).tolist()) == {0, 16_384}
    assert np.count_nonzero(clicks) == 2 * 5 * 8
    assert np.array_equal(clicks, with_clicks(silence(2.0, RATE_HZ), RATE_HZ, per_second=5, seed=4))


def test_an_offset_moves_all_and_wraps_nowhere() -> None:
    """Each sample moves by the same, up to the loudest."""
    moved = with_offset(np.array([0, -5, 32_000, -32_768], np.int16), 1_000)

    assert moved.tolist() == [1_000, 995, 32_767, -31_768]


def test_clipping_cuts_peaks_only() -> None:
    """20 dB more is ten times as loud, and what is too loud is the loudest."""
    cut = clipped(np.array([100, -200, 20_000, -20_000], np.int16), 20)

    assert cut.tolist() == [1_000, -2_000, 32_767, -32_768]


@pytest.mark.parametrize(
    ("samples", "level"),
    [
        (tone(1_000, 1.0, RATE_HZ, peak_db=0), -3.01),
        (tone(1_000, 1.0, RATE_HZ, peak_db=-20), -23.01),
    ],
)
def test_a_sine_is_3_db_below_its_peak(samples: Samples, level: float) -> None:
    """Levels are those of the mean power."""
    assert level_db(samples) == pytest.approx(level, abs=0.01)


def test_silence_has_no_level() -> None:
    """Silence is as quiet as can be."""
    assert level_db(silence(0.1, RATE_HZ)) == -np.inf
