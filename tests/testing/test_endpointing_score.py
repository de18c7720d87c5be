"""The score counts each spoken turn once, in the way that it was heard."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.testing.endpointing_score import (
    FoundTurn,
    FrameScore,
    TurnScore,
    score_frames,
    score_turns,
    turns_of,
)

SPOKEN = [(1_000, 2_000), (3_000, 4_000), (6_000, 6_500)]


@pytest.mark.parametrize(
    ("found", "score"),
    [
        ([], {"missed": 3}),
        (
            [(980, 2_040, 2_540), (3_000, 3_900, 4_400), (6_100, 6_500, 7_000)],
            {"matched": 3, "delays_ms": (40, -100, 0)},
        ),
        ([(1_000, 4_000, 4_500)], {"merged": 2, "missed": 1}),
        ([(1_000, 1_300, 1_800), (1_900, 2_100, 2_600)], {"split": 1, "missed": 2}),
        ([(1_000, 1_300, 1_800), (1_900, 3_100, 3_600)], {"merged": 2, "missed": 1}),
        ([(6_000, 9_000, None)], {"open": 1, "missed": 2}),
        ([(3_000, 9_000, None)], {"merged": 2, "missed": 1}),
        ([(100, 900, 1_000), (2_000, 3_000, 3_100)], {"missed": 3, "false": 2}),
    ],
    ids=["nothing", "all", "merged", "split", "both", "open", "open and merged", "false"],
)
def test_each_turn_counts_once(
    found: list[tuple[int, int, int | None]], score: dict[str, int | tuple[int, ...]]
) -> None:
    """A turn is matched, merged, split, open or missed; where nobody spoke it is false."""
    assert score_turns(SPOKEN, [FoundTurn(*one) for one in found], 500) == TurnScore(
        spoken=3,
        **score,  # type: ignore[arg-type]
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 8_000), st.integers(1, 4_000), st.none() | st.integers(0, 500)),
        max_size=6,
    )
)
def test_the_parts_make_the_whole(found: list[tuple[int, int, int | None]]) -> None:
    """Whatever is found, the counts add up to the turns that were spoken."""
    turns = [
        FoundTurn(start, start + length, None if more is None else start + length + more)
        for start, length, more in found
    ]
    score = score_turns(SPOKEN, turns, 500)

    assert score.matched + score.merged + score.split + score.open + score.missed == 3
    assert len(score.delays_ms) == score.matched
    assert score.false <= len(turns)


def test_scores_add_up() -> None:
    """The score of two recordings is the sum of theirs."""
    one = TurnScore(3, 1, 0, 1, 0, 1, 2, (40,))
    two = TurnScore(4, 2, 2, 0, 0, 0, 1, (20, 90))

    assert one + two == TurnScore(7, 3, 2, 1, 0, 1, 3, (40, 20, 90))
    assert (one + two).delay_ms(50) == 40
    assert math.isnan(TurnScore().delay_ms(50))


@pytest.mark.parametrize(
    ("threshold_ms", "turns"),
    [(300, [(0, 100), (400, 500), (900, 950)]), (301, [(0, 500), (900, 950)]), (500, [(0, 950)])],
)
def test_a_short_pause_ends_no_turn(threshold_ms: int, turns: list[tuple[int, int]]) -> None:
    """A turn ends where the silence lasts for the threshold."""
    assert turns_of([(0, 100), (400, 500), (900, 950)], threshold_ms) == turns


def test_frames_are_counted_in_time() -> None:
    """Of 20 ms frames each 10 ms counts as what it is; what nobody judged counts as the last."""
    score = score_frames([(30, 80)], [False, True, True, True, False], 20, 100)

    assert score == FrameScore(hit_ms=50, false_ms=10, missed_ms=0)
    assert (score.precision, score.recall, score.f1) == (50 / 60, 1.0, 100 / 110)
    assert score_frames([(30, 80)], [False], 20, 100) == FrameScore(missed_ms=50)


def test_windows_need_not_fit_into_ticks() -> None:
    """Windows of 32 ms are laid over the 10 ms of the truth by their middles."""
    assert score_frames([(0, 30)], [True, False], 32, 60) == FrameScore(hit_ms=30)
    assert score_frames([(40, 60)], [True, False], 32, 60) == FrameScore(false_ms=30, missed_ms=20)


def test_nothing_at_all_scores_zero() -> None:
    """Without speech and without claims there is no precision to divide by."""
    score = FrameScore() + score_frames([], [False], 20, 100)

    assert (score.precision, score.recall, score.f1) == (0.0, 0.0, 0.0)
