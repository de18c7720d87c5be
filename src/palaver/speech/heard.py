"""What was heard: facts of the endpointing machine, in the past tense and in media time.

Each ``SpeechStarted`` is followed by one ``SpeechEnded``; between them, once, ``SpeechConfirmed``
where the speech lasted for ``min_speech_ms`` of voiced time. Times are milliseconds of the
client's audio since the session began.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["EndReason", "Heard", "SpeechConfirmed", "SpeechEnded", "SpeechStarted"]

EndReason: TypeAlias = Literal["silence", "too_short", "max_duration", "committed"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody may be speaking since ``start_ms``; it was decided at ``at_ms``.

    ``prefix_ms`` of audio before it belong to the utterance.
    """

    start_ms: int
    prefix_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechConfirmed:
    """It is speech: voiced for ``min_speech_ms`` at ``at_ms``."""

    start_ms: int
    prefix_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance is over, or was none (``discarded``, reason ``too_short``).

    ``end_ms`` is the end of its last voiced frame. ``audio`` is PCM, int16, little endian, at the
    session's rate, from ``prefix_ms`` before the start to 200 ms after the end at most; it is
    empty where the speech was discarded, or where nobody keeps audio.
    """

    start_ms: int
    end_ms: int
    at_ms: int
    reason: EndReason
    audio: bytes = field(default=b"", repr=False)

    @property
    def duration_ms(self) -> int:
        """How long it was."""
        return self.end_ms - self.start_ms

    @property
    def discarded(self) -> bool:
        """Whether it was too short to be speech."""
        return self.reason == "too_short"


Heard: TypeAlias = SpeechStarted | SpeechConfirmed | SpeechEnded
