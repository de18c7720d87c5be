"""How calls are heard and answered. Durations in seconds, but for media time (``_ms``)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VoiceOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceOptions:
    """What can be set of the voice of a server.

    Attributes:
        language: What callers speak (BCP 47), where a call does not say it by ``language`` in its
            metadata; ``None``: the recogniser finds out.
        greeting: Said first in each call; empty: the caller speaks first.
        filler_after: Seconds of thinking after which something is said to fill the time; 0: never.
        transcribe_timeout: How long the recogniser may take for an utterance.
        speak_timeout: How long the voice may take to the first sound of a sentence.
        lead_ms: How far audio is sent ahead of what is heard.
        max_digits: Keys that one entry may have.
        digits_timeout: Silence after a key that ends the entry; ``#`` ends it at once.

    """

    language: str | None = None
    greeting: str = ""
    filler_after: float = 0.0
    transcribe_timeout: float = 15.0
    speak_timeout: float = 10.0
    lead_ms: int = 400
    max_digits: int = 32
    digits_timeout: float = 3.0
