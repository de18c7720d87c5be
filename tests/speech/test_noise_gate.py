"""The noise gate: what is judged, what is trusted, and that it never shuts a voice out for long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palaver.speech import noise_gate
from palaver.speech.detector import Probabilities, Samples
from palaver.speech.silero import SileroDetector
from palaver.speech.silero_streams import WINDOW_MS
from tests.speech.recordings import clipped, speech, windows

RATES_HZ = (8_000, 16_000)
LISTENED = 16
"""Windows of a pause that are all judged."""


class Line:
    """One stream whose network says what the test says."""

    def __init__(self) -> None:
        self.memory = np.zeros((1, noise_gate.COLUMNS), np.float32)

    def judged(self, levels: tuple[float, float], probability: float = 0.0) -> bool:
        """Take a window; tell whether the network was asked."""
        found = np.array([levels], np.float32)
        if noise_gate.still(self.memory, found)[0]:
            return False
        noise_gate.note(self.memory, found, np.array([probability], np.float32))
        return True

    @property
    def probability(self) -> float:
        """What was said of the last window."""
        return float(noise_gate.last(self.memory)[0])


@pytest.fixture
def line() -> Line:
    """Return a line that has been noisy for long."""
    one = Line()
    for _ in range(LISTENED):
        assert one.judged((40.0, 50.0))
    return one


def test_a_pause_is_judged_now_and_then(line: Line) -> None:
    """Of eight windows like those before one is judged."""
    asked = [line.judged((40.0, 50.0)) for _ in range(80)]
    assert asked == ([False] * 7 + [True]) * 10


@pytest.mark.parametrize(
    "levels",
    [(51.0, 50.0), (40.0, 64.0), (400.0, 500.0), (19.0, 50.0), (40.0, 24.0), (0.0, 0.0)],
    ids=["louder", "brighter", "a voice", "softer", "duller", "nothing"],
)
def test_what_differs_is_judged(line: Line, levels: tuple[float, float]) -> None:
    """What is 2 dB above a level of the noise, or 6 dB below it, is not still."""
    assert not line.judged((40.0, 50.0))
    assert line.judged(levels)


def test_after_something_louder_all_is_judged_for_a_time(line: Line) -> None:
    """A voice may have begun, of which the network is not sure yet."""
    assert line.judged((400.0, 500.0), 0.05)
    assert all(line.judged((40.0, 50.0)) for _ in range(LISTENED))
    assert not line.judged((40.0, 50.0))


def test_within_the_noise_the_network_is_trusted_less(line: Line) -> None:
    """What it still hears there is mostly the end of a voice; a sure one is believed."""
    line.judged((400.0, 500.0), 0.9)
    assert line.probability == pytest.approx(0.9)
    line.judged((40.0, 50.0), 0.6)
    assert line.probability == pytest.approx(0.45)
    line.judged((40.0, 50.0), 0.99)
    assert line.probability > 0.7


def test_a_voice_of_which_nobody_was_sure_is_trusted_as_it_is(line: Line) -> None:
    """It is soft: there is no loud voice whose end this could be, not even before the pause."""
    line.judged((400.0, 500.0), 0.5)
    for probability in (0.5, 0.7):
        assert line.judged((40.0, 50.0), probability)
        assert line.probability == pytest.approx(probability)
    line.judged((400.0, 500.0), 0.9)
    for _ in range(8):
        line.judged((40.0, 50.0))
    line.judged((40.0, 50.0), 0.7)
    assert line.probability == pytest.approx(0.7)


def test_nothing_is_within_a_noise_that_nobody_knows() -> None:
    """A call that begins with speech: there is no pause yet to compare it with."""
    line = Line()
    for _ in range(40):
        assert line.judged((400.0, 500.0), 0.9)
        assert line.probability == pytest.approx(0.9)


@pytest.mark.parametrize(("after", "seconds"), [(120.0, 4), (10.0, 1)], ids=["louder", "softer"])
def test_the_noise_may_change(line: Line, after: float, seconds: int) -> None:
    """Other noise is judged until it is known; then it is still as well."""
    many = seconds * 1000 // WINDOW_MS
    asked = [line.judged((after, after)) for _ in range(2 * many)]
    assert asked[0]
    assert sum(asked[many:]) < many / 4


def test_a_voice_does_not_become_the_noise(line: Line) -> None:
    """A minute of speech: what it is compared with stays what the pause was."""
    for _ in range(60_000 // WINDOW_MS):
        line.judged((400.0, 500.0), 0.9)
    line.judged((60.0, 75.0), 0.8)
    assert line.probability == pytest.approx(0.8)
    line.judged((42.0, 52.0), 0.6)
    assert line.probability == pytest.approx(0.45)


def test_nothing_at_all_is_still() -> None:
    """Digital silence, and silence with the lowest bit at random."""
    line = Line()
    bits = np.random.default_rng(3).integers(0, 2, (200, 256)).astype(np.int16)
    found = noise_gate.levels(bits * (np.arange(200)[:, None] % 2).astype(np.int16))
    asked = [line.judged((float(one[0]), float(one[1]))) for one in found]
    assert sum(asked[LISTENED:]) <= len(asked) / 8


@given(st.data())
def test_levels_are_the_same_in_any_company(data: st.DataObject) -> None:
    """Bit by bit, and as whole numbers say."""
    size = data.draw(st.sampled_from([256, 512]))
    seed, scale = data.draw(st.integers(0, 999)), data.draw(st.sampled_from([1, 50, 3_000, 40_000]))
    count = data.draw(st.integers(1, 150))
    noise = np.random.default_rng(seed).normal(0, scale, (count, size))
    audio: Samples = clipped(noise)
    found = noise_gate.levels(audio)
    one = data.draw(st.integers(0, count - 1))
    assert np.array_equal(noise_gate.levels(audio[one : one + 1])[0], found[one])
    wide = audio[one].astype(np.int64)
    steps = np.minimum(np.abs(np.diff(wide)), 16_384)
    assert found[one].tolist() == pytest.approx([np.abs(wide).sum() / size, steps.sum() / size])


# --- with the network ---------------------------------------------------------------------------


def listen(judge: SileroDetector, samples: Samples) -> Probabilities:
    """Return the probabilities of a call that is alone."""
    stream = judge.open()
    heard = [judge.detect([stream], one[None]) for one in windows(samples, judge.window_samples)]
    stream.close()
    return np.concatenate(heard)


def noise(rate_hz: int, seconds: int, scale: float, seed: int = 5) -> NDArray[np.float64]:
    """Return white noise."""
    return scale * np.random.default_rng(seed).normal(size=rate_hz * seconds)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("level", [0.05, 1.0], ids=["soft", "loud"])
def test_a_voice_behind_a_long_pause_is_heard(rate_hz: int, level: float) -> None:
    """As many windows as without a gate, but for a few at its ends."""
    spoken = speech(rate_hz) * level
    sound = noise(rate_hz, 60, 12)
    sound[-len(spoken) :] += spoken
    found = listen(SileroDetector(rate_hz), clipped(sound)) > 0.5
    expected = listen(SileroDetector(rate_hz, gated=False), clipped(sound)) > 0.5
    begin = (len(sound) - len(spoken)) // (rate_hz * WINDOW_MS // 1000)
    assert not found[:begin].any()
    assert found.sum() >= expected.sum() - 8


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_soft_voice_behind_a_noise_that_ends_is_heard(rate_hz: int) -> None:
    """It is softer than what the gate takes for the noise of the line, when it begins."""
    spoken = speech(rate_hz) * 0.1
    before = noise(rate_hz, 20, 3_000)
    after = noise(rate_hz, 4, 4)[: len(spoken)] + spoken
    found = listen(SileroDetector(rate_hz), clipped(np.concatenate([before, after]))) > 0.5
    alone = listen(SileroDetector(rate_hz, gated=False), clipped(after)) > 0.5
    assert found.sum() >= alone.sum() * 0.7


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_long_pause_costs_little(rate_hz: int) -> None:
    """A minute of a quiet line: the network is asked for less than a fifth of it."""
    judge = SileroDetector(rate_hz)
    asked = 0
    compute = judge._compute

    def counted(before: NDArray[np.float32], some: Samples) -> tuple[Probabilities, Probabilities]:
        nonlocal asked
        asked += len(some)
        return compute(before, some)

    judge._compute = counted  # type: ignore[method-assign]
    heard = listen(judge, clipped(noise(rate_hz, 60, 60)))
    assert asked < len(heard) / 5
    assert heard.max() < 0.2
