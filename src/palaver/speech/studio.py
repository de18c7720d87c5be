"""What the answers of all calls are made with."""

from __future__ import annotations

from dataclasses import dataclass

from palaver.engine.engine import Engine
from palaver.providers.interfaces import SpeechToText, TextToSpeech
from palaver.speech.metrics import VoiceMetrics
from palaver.speech.options import VoiceOptions

__all__ = ["Studio"]


@dataclass(frozen=True, slots=True)
class Studio:
    """An engine to think, one to hear and one to speak, and how they are used."""

    engine: Engine
    hears: SpeechToText
    speaks: TextToSpeech
    options: VoiceOptions
    metrics: VoiceMetrics
