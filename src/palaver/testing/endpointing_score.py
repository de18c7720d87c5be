"""How well speech was heard: turns found against turns spoken, and frames, in milliseconds.

What was spoken is known (``palaver.testing.audio.voiced`` of the clean recording); what was found
comes from any endpointing machine. Nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FoundTurn", "FrameScore", "TurnScore", "score_frames", "score_turns", "turns_of"]

_TICK_MS = 10


@dataclass(frozen=True, slots=True)
class FoundTurn:
    """A turn as it was found: from where to where, and when its end was decided (media time).

    ``at_ms`` is None where it was not: the recording ended first.
    """

    start_ms: int
    end_ms: int
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Time that was speech and called so (``hit``), called so wrongly, and not called so."""

    hit_ms: int = 0
    false_ms: int = 0
    missed_ms: int = 0

    def __add__(self, other: FrameScore) -> FrameScore:
        return FrameScore(
            self.hit_ms + other.hit_ms,
            self.false_ms + other.false_ms,
            self.missed_ms + other.missed_ms,
        )

    @property
    def precision(self) -> float:
        """How much of what was called speech was speech; 0 where nothing was."""
        return _part(self.hit_ms, self.hit_ms + self.false_ms)

    @property
    def recall(self) -> float:
        """How much of the speech was called so; 0 where there was none."""
        return _part(self.hit_ms, self.hit_ms + self.missed_ms)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return _part(2 * self.hit_ms, 2 * self.hit_ms + self.false_ms + self.missed_ms)


@dataclass(frozen=True, slots=True)
class TurnScore:
    """Of the turns that were spoken: each is matched, merged, split, open or missed.

    ``false`` turns were found where nobody spoke. ``delays_ms`` has one entry for each matched
    turn: from its true end, and the silence that was asked for, to the decision. It is negative
    where the turn was cut off before its end.
    """

    spoken: int = 0
    matched: int = 0
    merged: int = 0
    split: int = 0
    open: int = 0
    missed: int = 0
    false: int = 0
    delays_ms: tuple[int, ...] = ()

    def __add__(self, other: TurnScore) -> TurnScore:
        return TurnScore(
            self.spoken + other.spoken,
            self.matched + other.matched,
            self.merged + other.merged,
            self.split + other.split,
            self.open + other.open,
            self.missed + other.missed,
            self.false + other.false,
            self.delays_ms + other.delays_ms,
        )

    def delay_ms(self, percent: float) -> float:
        """Return the delay that ``percent`` of the matched turns do not pass; NaN without any."""
        return float(np.percentile(self.delays_ms, percent)) if self.delays_ms else float("nan")


def turns_of(voiced: Iterable[tuple[int, int]], silence_threshold_ms: int) -> list[tuple[int, int]]:
    """Return the turns of a recording: pauses shorter than the threshold do not end one."""
    turns: list[tuple[int, int]] = []
    for start_ms, end_ms in voiced:
        if turns and start_ms - turns[-1][1] < silence_threshold_ms:
            turns[-1] = (turns[-1][0], end_ms)
        else:
            turns.append((start_ms, end_ms))
    return turns


def score_turns(
    spoken: Sequence[tuple[int, int]], found: Sequence[FoundTurn], silence_threshold_ms: int
) -> TurnScore:
    """Return how the turns that were found meet those that were spoken.

    A spoken turn is merged where one that was found covers others, too; else split where more than
    one was found for it; else open where the end of that one was not decided; else matched.
    """
    meets = [
        [n for n, (start_ms, end_ms) in enumerate(spoken) if _overlap(start_ms, end_ms, one)]
        for one in found
    ]
    counts = {"matched": 0, "merged": 0, "split": 0, "open": 0, "missed": 0}
    delays = []
    for n, (_, end_ms) in enumerate(spoken):
        these = [index for index, met in enumerate(meets) if n in met]
        if not these:
            counts["missed"] += 1
        elif any(len(meets[index]) > 1 for index in these):
            counts["merged"] += 1
        elif len(these) > 1:
            counts["split"] += 1
        elif (at_ms := found[these[0]].at_ms) is None:
            counts["open"] += 1
        else:
            counts["matched"] += 1
            delays.append(at_ms - end_ms - silence_threshold_ms)
    false = sum(not met for met in meets)
    return TurnScore(spoken=len(spoken), **counts, false=false, delays_ms=tuple(delays))


def score_frames(
    voiced: Sequence[tuple[int, int]], flags: Sequence[bool], frame_ms: int, total_ms: int
) -> FrameScore:
    """Return how frames called speech (``flags``, of ``frame_ms`` each) meet what was voiced."""
    truth = np.zeros(total_ms // _TICK_MS, bool)
    for start_ms, end_ms in voiced:
        truth[start_ms // _TICK_MS : end_ms // _TICK_MS] = True
    middles = np.arange(len(truth)) * _TICK_MS + _TICK_MS // 2
    frames = np.minimum(middles // frame_ms, len(flags) - 1)
    called: NDArray[np.bool_] = np.asarray(flags, bool)[frames]
    return FrameScore(
        hit_ms=int(np.count_nonzero(truth & called)) * _TICK_MS,
        false_ms=int(np.count_nonzero(~truth & called)) * _TICK_MS,
        missed_ms=int(np.count_nonzero(truth & ~called)) * _TICK_MS,
    )


def _overlap(start_ms: int, end_ms: int, one: FoundTurn) -> bool:
    return one.start_ms < end_ms and start_ms < one.end_ms


def _part(some: float, of: float) -> float:
    return some / of if of else 0.0
