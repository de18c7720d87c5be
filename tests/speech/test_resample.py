"""Another sample rate: nothing folds back, nothing moves, and it does not matter how it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.speech.detector import Samples
from palaver.speech.resample import Resampler, resample

PAIRS = [
    (16_000, 8_000),
    (8_000, 16_000),
    (22_050, 8_000),
    (22_050, 16_000),
    (24_000, 16_000),
    (44_100, 8_000),
    (48_000, 8_000),
    (8_000, 48_000),
    (11_025, 16_000),
    (8_000, 8_000),
]


def tone(hz: float, rate_hz: int, seconds: float = 1.0, loudness: int = 16_000) -> Samples:
    """Return a sine."""
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.rint(loudness * np.sin(2 * np.pi * hz * at)).astype(np.int16)


def decibels(after: Samples, before: Samples) -> float:
    """Return how much louder the middle of ``after`` is than that of ``before``."""
    power = [
        np.mean(np.square(one[len(one) // 4 : -len(one) // 4], dtype=np.float64)) + 1e-12
        for one in (after, before)
    ]
    return float(10 * np.log10(power[0] / power[1]))


@given(st.data())
def test_it_does_not_matter_how_a_stream_is_cut(data: st.DataObject) -> None:
    """In any pieces, the samples that come out are those of the whole."""
    from_hz, to_hz = data.draw(st.sampled_from(PAIRS))
    seed = data.draw(st.integers(0, 2**32 - 1))
    sizes = data.draw(st.lists(st.integers(0, 1_500), max_size=12))
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, sum(sizes)).astype(np.int16)

    stream = Resampler(from_hz, to_hz)
    pieces = [stream.push(piece) for piece in np.split(samples, np.cumsum(sizes))]
    cut = np.concatenate([*pieces, stream.flush()])

    assert cut.tolist() == resample(samples, from_hz, to_hz).tolist()


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_second_stays_a_second(from_hz: int, to_hz: int) -> None:
    """The length follows the rates, and a click stays where it was."""
    samples = np.zeros(from_hz, np.int16)
    samples[from_hz // 2] = 20_000
    out = resample(samples, from_hz, to_hz)

    assert abs(len(out) - to_hz) <= 2
    assert abs(int(np.abs(out).argmax()) - to_hz // 2) < 3


@pytest.mark.parametrize(
    ("hz", "from_hz", "to_hz"),
    [
        (6_000, 16_000, 8_000),
        (4_400, 16_000, 8_000),
        (7_500, 16_000, 8_000),
        (5_000, 22_050, 8_000),
        (9_000, 24_000, 16_000),
        (20_100, 48_000, 8_000),
    ],
)
def test_what_the_lower_rate_cannot_hold_vanishes(hz: float, from_hz: int, to_hz: int) -> None:
    """A tone above half of the new rate is gone; taking each second sample would fold it back."""
    before = tone(hz, from_hz)
    folded = before[:: from_hz // to_hz]

    assert decibels(folded, before) > -3
    assert np.abs(resample(before, from_hz, to_hz)[to_hz // 4 : -(to_hz // 4)]).max() == 0


@pytest.mark.parametrize(
    ("hz", "from_hz", "to_hz"),
    [
        (300, 16_000, 8_000),
        (3_400, 16_000, 8_000),
        (1_000, 8_000, 16_000),
        (3_400, 8_000, 16_000),
        (3_400, 22_050, 8_000),
        (7_000, 24_000, 16_000),
    ],
)
def test_what_both_rates_hold_stays_as_it_is(hz: float, from_hz: int, to_hz: int) -> None:
    """A tone that both can hold is as loud as before, and nothing else is there."""
    before = tone(hz, from_hz)
    out = resample(before, from_hz, to_hz)
    at = 2 * np.pi * hz * np.arange(to_hz // 2) / to_hz
    middle = out[to_hz // 4 :][: to_hz // 2].astype(np.float64)
    waves = np.stack((np.sin(at), np.cos(at)), axis=1)
    rest = middle - waves @ np.linalg.lstsq(waves, middle, rcond=None)[0]

    assert abs(decibels(out, before)) < 0.01
    assert np.abs(rest).max() < 1  # no more than the rounding of the samples


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_samples_come_out_while_others_go_in(from_hz: int, to_hz: int) -> None:
    """In frames of 20 ms nothing is held back for more than 50 ms."""
    stream = Resampler(from_hz, to_hz)
    frame = from_hz // 50
    heard = 0
    for count in range(1, 51):
        heard += len(stream.push(np.zeros(frame, np.int16)))
        assert count * frame / from_hz - heard / to_hz <= 0.05


def test_loud_samples_do_not_wrap() -> None:
    """What overshoots the loudest sample is cut there: it does not turn its sign."""
    loud = np.where(np.arange(8_000) // 40 % 2, 32_767, -32_768).astype(np.int16)
    out = resample(loud, 8_000, 16_000).astype(np.int64)
    steady = np.sign(out[20:-20]) == np.sign(
        np.repeat(loud, 2).astype(np.int64)[20 : len(out) - 20]
    )

    assert out.max() == 32_767
    assert out.min() == -32_768
    assert steady.mean() > 0.98


@pytest.mark.parametrize("end", ["flush", "clear"])
@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_stream_that_begins_again_knows_nothing_of_the_last(
    from_hz: int, to_hz: int, end: str
) -> None:
    """After an end, or after audio was dropped, the next samples are those of a new stream."""
    samples = tone(440, from_hz, 0.1)
    stream = Resampler(from_hz, to_hz)
    stream.push(tone(1_000, from_hz, 0.07))
    getattr(stream, end)()
    again = np.concatenate((stream.push(samples), stream.flush()))

    assert again.tolist() == resample(samples, from_hz, to_hz).tolist()


def test_equal_rates_pass_samples_through() -> None:
    """Where nothing is to be done, the samples themselves come back, at once."""
    samples = tone(440, 8_000, 0.1)
    stream = Resampler(8_000, 8_000)

    assert stream.push(samples) is samples
    assert len(stream.flush()) == 0


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 8_000), (8_000, 192_001), (-8_000, 8_000)])
def test_rates_that_no_audio_has_are_refused(from_hz: int, to_hz: int) -> None:
    """A rate out of bounds is named with the bounds."""
    with pytest.raises(ValueError, match=r"^a sample rate must be 1000-192000 Hz, not -?\d+$"):
        Resampler(from_hz, to_hz)
