"""How sure a Whisper model is of what it wrote: it tells so for each segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["SegmentScore", "confidence", "only_noise"]

_NO_SPEECH: Final = 0.6
_DOUBTFUL: Final = -1.0


@dataclass(frozen=True, slots=True)
class SegmentScore:
    """One segment: its length, and the two numbers that the model gives with it."""

    seconds: float
    avg_logprob: float
    """The mean of the natural logarithms of its tokens' probabilities."""
    no_speech_prob: float
    """0 to 1: how likely it is that nobody spoke."""


def confidence(scores: Sequence[SegmentScore]) -> float:
    """Return 0 to 1: the mean probability of a token, long segments counting more.

    Without scores it is 1.0: nothing speaks against the transcript.
    """
    known = [one for one in scores if math.isfinite(one.avg_logprob)]
    weights = [max(one.seconds, 0.01) if math.isfinite(one.seconds) else 0.01 for one in known]
    if not known:
        return 1.0
    mean = sum(one.avg_logprob * weight for one, weight in zip(known, weights, strict=True))
    return min(1.0, math.exp(min(0.0, mean / sum(weights))))


def only_noise(scores: Sequence[SegmentScore]) -> bool:
    """Return whether every segment was made up: no speech likely, and the words in doubt.

    Whisper writes fluent sentences into noise; its own rule to drop them is both numbers at once.
    """
    return bool(scores) and all(
        one.no_speech_prob > _NO_SPEECH and one.avg_logprob < _DOUBTFUL for one in scores
    )
