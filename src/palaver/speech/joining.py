"""Two utterances as one: the caller went on before there was an answer."""

from __future__ import annotations

from typing import Final

from palaver.speech.heard import SpeechEnded
from palaver.speech.hearing import TAIL_MS

__all__ = ["MAX_SECONDS", "join"]

MAX_SECONDS: Final = 120
"""Speech without an answer that is heard as one: the last of it."""
_PAUSE_MS: Final = 200
"""What is left of a pause between two utterances."""


def join(before: SpeechEnded, after: SpeechEnded, rate_hz: int) -> bytes:
    """Return the audio of both (PCM, int16, at ``rate_hz``), in its time: none of it twice.

    Where one was cut in the middle of speech, the other follows on. A long pause is made short.
    """
    begins_ms = _audio_until_ms(after) - len(after.audio) * 500 // rate_hz
    pause_ms = begins_ms - _audio_until_ms(before)
    pause = bytes(_bytes_in(min(max(pause_ms, 0), _PAUSE_MS), rate_hz))
    twice = _bytes_in(max(-pause_ms, 0), rate_hz)
    audio = before.audio + pause + after.audio[twice:]
    return audio[-_bytes_in(1_000 * MAX_SECONDS, rate_hz) :]


def _audio_until_ms(utterance: SpeechEnded) -> int:
    return min(utterance.end_ms + TAIL_MS, utterance.at_ms)


def _bytes_in(duration_ms: int, rate_hz: int) -> int:
    return duration_ms * rate_hz // 1000 * 2
