"""A trial hears as a call does: by frames, in the session's encoding, in media time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from palaver.protocols.asp.config import AudioEncoding, VADConfig
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.heard import Heard, SpeechEnded, SpeechStarted
from palaver.testing.audio import silence, tone
from palaver.testing.endpointing_score import FoundTurn
from palaver.testing.hearing_trial import found_turns, hear
from palaver.testing.recordings import arrange

RATE_HZ = 8_000
TURNS = [tone(300, 0.6, RATE_HZ), tone(500, 1.0, RATE_HZ), tone(400, 0.3, RATE_HZ)]


class _NoMemory:
    def reset(self) -> None:
        """Forget nothing."""

    def close(self) -> None:
        """Hold nothing."""


class Loudness:
    """A detector for clean tones: speech is what is loud, or all, or nothing."""

    name = "loudness"
    sample_rate_hz = RATE_HZ
    window_samples = 160

    def __init__(self, quietest: int) -> None:
        self._quietest = quietest

    def open(self) -> Stream:
        """Return a memory of nothing."""
        return _NoMemory()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Judge by the loudest sample."""
        loudest = np.abs(windows.astype(np.int32)).max(axis=1)
        return (loudest >= self._quietest).astype(np.float32)


@pytest.mark.parametrize("encoding", list(AudioEncoding))
def test_a_perfect_detector_scores_perfectly(encoding: AudioEncoding) -> None:
    """Where loud is speech, each turn is matched, to the frame, in each encoding."""
    score = hear([arrange(TURNS, RATE_HZ, seed=1)], Loudness(1_000), encoding=encoding)

    assert score.frames.f1 > 0.97
    assert (score.turns.spoken, score.turns.matched, score.turns.false) == (3, 3, 0)
    assert all(0 <= delay <= 40 for delay in score.turns.delays_ms)


def test_recordings_heard_together_score_as_alone() -> None:
    """Of any lengths, side by side, the score is the sum of what each would have alone."""
    recordings = [arrange(TURNS[:count], RATE_HZ, seed=count) for count in (1, 3, 2)]
    alone = [hear([one], Loudness(1_000)) for one in recordings]

    assert hear(recordings, Loudness(1_000)) == alone[0] + alone[1] + alone[2]
    assert alone[1].turns.spoken == 3


def test_recordings_of_two_rates_are_no_trial() -> None:
    """One detector hears one rate."""
    with pytest.raises(ValueError, match=r"^a trial takes recordings of one rate, not of"):
        hear([arrange(TURNS, rate, seed=1) for rate in (RATE_HZ, 16_000)], Loudness(1_000))


def test_a_deaf_detector_misses_all() -> None:
    """Where nothing is speech, every turn is missed."""
    score = hear([arrange(TURNS, RATE_HZ, seed=1)], Loudness(40_000))

    assert (score.turns.missed, score.turns.matched) == (3, 0)
    assert (score.frames.hit_ms, score.frames.false_ms) == (0, 0)


def test_a_detector_that_hears_speech_in_all_joins_them() -> None:
    """Where all is speech, one turn swallows the others, and its end is never decided."""
    score = hear([arrange(TURNS, RATE_HZ, seed=1)], Loudness(0))

    assert (score.turns.merged, score.turns.matched) == (3, 0)
    assert score.frames.recall == 1.0


def test_a_pause_below_the_threshold_is_within_a_turn() -> None:
    """What is one turn goes by the silence that was asked for."""
    halves = np.concatenate((TURNS[0], silence(0.4, RATE_HZ), TURNS[1]))
    recording = arrange([halves], RATE_HZ, seed=1)
    spoken = [
        hear([recording], Loudness(1_000), vad=VADConfig(silence_threshold_ms=ms)).turns
        for ms in (300, 500)
    ]

    assert [(score.spoken, score.matched) for score in spoken] == [(2, 2), (1, 1)]


def test_what_was_discarded_is_no_turn_and_what_is_open_has_no_end() -> None:
    """Only what was heard as speech counts; the last may still be open."""
    heard: list[Heard] = [
        SpeechStarted(100, 0, 140),
        SpeechEnded(100, 200, 700, "too_short"),
        SpeechStarted(1_000, 0, 1_040),
        SpeechEnded(1_000, 2_000, 2_500, "silence"),
        SpeechStarted(3_000, 0, 3_040),
    ]

    assert found_turns(heard, 4_000) == [
        FoundTurn(1_000, 2_000, 2_500),
        FoundTurn(3_000, 4_000, None),
    ]
