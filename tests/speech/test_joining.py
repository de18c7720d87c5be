"""Two utterances become one: their audio stands in its time, none of it twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.speech.heard import SpeechEnded
from palaver.speech.joining import MAX_SECONDS, join

RATE = 8_000
LINE = np.arange(1, 60_000, dtype=np.uint16).astype(np.int16)
"""Audio in which each sample is another one: sample n of the media time."""


def cut(start_ms: int, end_ms: int, at_ms: int, prefix_ms: int = 0) -> SpeechEnded:
    """Return what is heard of the line: from the prefix to 200 ms after the end at most."""
    last = min(end_ms + 200, at_ms)
    audio = LINE[(start_ms - prefix_ms) * 8 : last * 8].astype("<i2").tobytes()
    return SpeechEnded(start_ms, end_ms, at_ms, "silence", audio)


@pytest.mark.parametrize(
    ("before", "after", "pause_ms"),
    [
        (cut(100, 1_000, 1_000), cut(1_000, 2_000, 2_500), 0),
        (cut(100, 800, 1_000), cut(1_000, 2_000, 2_500, 200), 0),
        (cut(100, 800, 1_300), cut(1_000, 2_000, 2_500, 100), 0),
        (cut(100, 800, 1_300), cut(1_150, 2_000, 2_500, 100), 50),
        (cut(100, 800, 1_300), cut(3_000, 4_000, 4_500, 300), 200),
    ],
    ids=["cut", "cut in a pause", "overlap", "short pause", "long pause"],
)
def test_utterances_are_joined_in_their_time(
    before: SpeechEnded, after: SpeechEnded, pause_ms: int
) -> None:
    """What is in both is there once; a pause is silence, and no longer than it was."""
    joined = np.frombuffer(join(before, after, RATE), np.int16)
    spoken = joined[joined != 0]
    first = int(LINE.tolist().index(spoken[0]))
    assert first == 100 * 8
    assert len(joined) - len(spoken) == pause_ms * 8
    if pause_ms == 0:
        assert np.array_equal(spoken, LINE[first : first + len(spoken)])
    assert spoken[-1] == LINE[(min(after.end_ms + 200, after.at_ms)) * 8 - 1]


def test_what_nobody_answers_does_not_grow_for_ever() -> None:
    """Of very long speech the last two minutes are kept."""
    minute = bytes(2 * RATE * 60)
    said = SpeechEnded(0, 60_000, 60_000, "max_duration", minute)
    for number in range(1, 5):
        start = 60_000 * number
        after = SpeechEnded(start, start + 60_000, start + 60_000, "max_duration", minute)
        joined = join(said, after, RATE)
        assert len(joined) <= 2 * RATE * MAX_SECONDS
        said = SpeechEnded(0, after.end_ms, after.at_ms, "max_duration", joined)
    assert len(said.audio) == 2 * RATE * MAX_SECONDS


@given(
    before=st.tuples(st.integers(0, 500), st.integers(500, 900), st.integers(900, 1_500)),
    start=st.integers(0, 3_000),
    size=st.integers(0, 300),
)
def test_whatever_the_times_whole_samples_come(
    before: tuple[int, int, int], start: int, size: int
) -> None:
    """Nothing breaks where the times cannot be: all of it is whole samples, and of both no more."""
    one = cut(*before)
    two = SpeechEnded(start, start + size, start + size, "committed", bytes(2 * size))
    joined = join(one, two, RATE)
    assert len(joined) % 2 == 0
    assert len(one.audio) <= len(joined) <= len(one.audio) + len(two.audio) + 2 * 8 * 200
