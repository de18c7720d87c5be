"""Loudness above the noise: crude, cheap, and the same in any company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from palaver.errors import ConfigError
from palaver.speech.detector import Samples
from palaver.speech.energy import EnergyDetector
from tests.speech.recordings import clipped, sounds, speech, windows


def listen(samples: Samples, rate_hz: int = 8_000) -> NDArray[np.float32]:
    """Return the probabilities of a call that is alone."""
    detector = EnergyDetector(rate_hz)
    stream = detector.open()
    cut = windows(samples, detector.window_samples)
    return np.concatenate([detector.detect([stream], one[None]) for one in cut])


def noise(level: float, seconds: float) -> Samples:
    """Return white noise at 8 kHz."""
    return clipped(level * np.random.default_rng(3).normal(size=round(8_000 * seconds)))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_speech_in_a_quiet_room_is_heard(rate_hz: int) -> None:
    """Most of a sentence is speech, what is before it is none."""
    heard = listen(speech(rate_hz), rate_hz)
    assert heard[:8].max() < 0.1
    assert heard[20:50].mean() > 0.8


@pytest.mark.parametrize("decibels", [30, 20])
def test_speech_over_noise_is_heard(decibels: int) -> None:
    """Once it knows the noise, speech that stands out of it is heard, and noise is not."""
    spoken = speech(8_000).astype(np.float64)
    scale = float(np.sqrt(np.mean(spoken**2))) * 10 ** (-decibels / 20)
    before = np.zeros(8_000 * 5)
    line = (
        np.concatenate([before, spoken])
        + noise(scale, 5 + len(spoken) / 8_000 + 1)[: len(before) + len(spoken)]
    )
    heard = listen(clipped(line))
    assert heard[200:250].max() < 0.5
    assert (heard[270:300] > 0.5).mean() > 0.7


@pytest.mark.parametrize("level", [0, 1, 30, 300, 3_000])
def test_noise_is_known_after_ten_seconds(level: float) -> None:
    """What goes on evenly, however loud, is no speech for long."""
    assert listen(noise(level, 12))[500:].max() < 0.5


def test_a_pause_shows_the_noise_at_once() -> None:
    """A call that begins with shouting: after half a second of quiet, speech is heard again."""
    line = np.concatenate([noise(9_000, 20), noise(5, 0.5), noise(900, 0.2)])
    assert listen(line)[-10:].min() > 0.9


def test_an_offset_is_silence() -> None:
    """A constant voltage moves no ear."""
    assert listen(np.full(8_000, 25_000, np.int16)).max() < 0.1


@given(
    loud=arrays(
        np.int16,
        (6, 160),
        elements=st.sampled_from([-32_768, -1, 0, 1, 32_767]),
        fill=st.sampled_from([-32_768, 0, 32_767]),
    )
)
def test_any_audio_has_a_probability(loud: Samples) -> None:
    """Clipped, constant, jumping from end to end: always a number from 0 to 1."""
    heard = listen(loud.ravel())
    assert ((heard >= 0) & (heard <= 1)).all()


@settings(max_examples=40)
@given(st.data())
def test_nobody_hears_who_else_is_there(data: st.DataObject) -> None:
    """Calls are judged in any company and order: bit by bit as if alone."""
    rate_hz = data.draw(st.sampled_from([8_000, 16_000]))
    detector = EnergyDetector(rate_hz)
    names = data.draw(st.lists(st.sampled_from(list(sounds(rate_hz))), min_size=1, max_size=20))
    streams = [detector.open() for _ in names]
    heard: list[list[float]] = [[] for _ in names]
    for _ in range(data.draw(st.integers(1, 15))):
        company = data.draw(st.lists(st.integers(0, len(names) - 1), unique=True, min_size=1))
        cut = [
            windows(sounds(rate_hz)[names[one]], detector.window_samples)[len(heard[one])]
            for one in company
        ]
        said = detector.detect([streams[one] for one in company], np.stack(cut))
        for one, probability in zip(company, said.tolist(), strict=True):
            heard[one].append(probability)
    for name, ours in zip(names, heard, strict=True):
        some = sounds(rate_hz)[name][: len(ours) * detector.window_samples]
        assert ours == (listen(some, rate_hz).tolist() if ours else [])


def test_what_is_not_its_own_is_refused() -> None:
    """Closed streams, those of another detector, other windows and rates."""
    detector = EnergyDetector(8_000)
    stream = detector.open()
    with pytest.raises(ValueError, match=r"wanted is int16 of the shape \(1, 160\)"):
        detector.detect([stream], np.zeros((1, 320), np.int16))
    with pytest.raises(ValueError, match="another detector"):
        detector.detect([EnergyDetector(8_000).open()], np.zeros((1, 160), np.int16))
    stream.close()
    with pytest.raises(ValueError, match="the stream is closed"):
        detector.detect([stream], np.zeros((1, 160), np.int16))
    with pytest.raises(ConfigError, match="energy hears 8000 or 16000 Hz, not 11025"):
        EnergyDetector(11_025)
