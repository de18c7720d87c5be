"""The metrics of voice: turns, interruptions, and what hearing and speaking cost in time."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Histogram

from palaver.observability.metrics import Registry

__all__ = ["VoiceMetrics"]

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class VoiceMetrics:
    """Counts by kind; no label names a call."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_SECONDS, registry=registry)

        self.turns: Final = counter(
            "palaver_voice_turns", "Utterances, by what became of them", "outcome"
        )
        self.interruptions: Final = counter(
            "palaver_voice_interruptions", "Speech over an answer, by what it was", "kind"
        )
        self.failures: Final = counter(
            "palaver_voice_failures", "Failures of engines of speech", "engine"
        )
        self.fallbacks: Final = counter(
            "palaver_voice_detector_fallbacks",
            "Calls heard by the light detector for a while, because there was too much to do",
        )
        self.transcribing: Final = histogram(
            "palaver_voice_transcribe_seconds", "From the end of an utterance to its text"
        )
        self.first_audio: Final = histogram(
            "palaver_voice_first_audio_seconds", "From the end of an utterance to the first sound"
        )
