"""VAD values to begin with, for four kinds of calls (§6 of the ASP page)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from palaver.protocols.asp.config import VADConfig

__all__ = ["PRESETS"]

PRESETS: Final[Mapping[str, VADConfig]] = MappingProxyType(
    {
        # Soft voices count, and short answers.
        "quiet_office": VADConfig(
            silence_threshold_ms=500, min_speech_ms=200, threshold=0.4, speech_ratio=0.3
        ),
        # Other people's voices and keyboards do not.
        "noisy_call_centre": VADConfig(
            silence_threshold_ms=700, min_speech_ms=300, threshold=0.6, speech_ratio=0.5
        ),
        # Callers think aloud: a pause is not the end.
        "reflective_support": VADConfig(
            silence_threshold_ms=800, min_speech_ms=250, threshold=0.5, speech_ratio=0.4
        ),
        # The answer comes as soon as the question is over.
        "quick_questions": VADConfig(
            silence_threshold_ms=400, min_speech_ms=150, threshold=0.5, speech_ratio=0.4
        ),
    }
)
"""Name → values. What a preset does not name has its default, also in a merge (``over``)."""
