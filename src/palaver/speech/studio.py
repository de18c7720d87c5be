"""What the answers of all calls are made with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from palaver.engine.engine import Engine
from palaver.providers.interfaces import SpeechToText, TextToSpeech
from palaver.speech.metrics import VoiceMetrics
from palaver.speech.options import VoiceOptions

__all__ = ["Studio"]


@dataclass(frozen=True, slots=True)
class Studio:
    """An engine to think, one to hear and one to speak, and how they are used.

    ``given_up`` is work of engines that nobody waits for any more: it was cancelled, and is over
    when they heed that.
    """

    engine: Engine
    hears: SpeechToText
    speaks: TextToSpeech
    options: VoiceOptions
    metrics: VoiceMetrics
    given_up: set[asyncio.Task[Any]] = field(default_factory=set)

    def give_up(self, work: asyncio.Task[Any]) -> None:
        """Cancel work, and wait for it no longer."""
        if work.cancel():
            self.given_up.add(work)
            work.add_done_callback(self._is_over)
        else:
            self._is_over(work)

    def _is_over(self, work: asyncio.Task[Any]) -> None:
        self.given_up.discard(work)
        if not work.cancelled():
            work.exception()  # nobody else asks
