"""Engines of speech for tests: what they hear is scripted, what they say is a tone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final, TypeAlias

import numpy as np

from palaver.providers.interfaces import Transcript

__all__ = ["Cue", "ScriptedRecogniser", "ToneSpeech"]

Cue: TypeAlias = str | Transcript | Exception | Callable[[], "asyncio.Future[str]"]
"""What a recogniser does with an utterance: text, a transcript, an error, or waiting."""


class ScriptedRecogniser:
    """Understands the first utterance as the first cue, and so on; nothing after the last.

    ``utterances`` keeps what it was given: PCM, int16, at ``sample_rate_hz``.
    """

    def __init__(self, cues: Iterable[Cue] = (), *, sample_rate_hz: int = 8_000) -> None:
        self.sample_rate_hz: Final = sample_rate_hz
        self.utterances: list[bytes] = []
        self.languages: list[str | None] = []
        self.closed = False
        self._cues = list(cues)

    async def open(self) -> None:
        """Be ready."""

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Return what the script says, or raise it."""
        self.utterances.append(audio)
        self.languages.append(language)
        cue: Cue = self._cues.pop(0) if self._cues else ""
        if isinstance(cue, Exception):
            raise cue
        if callable(cue):
            cue = await cue()
        return cue if isinstance(cue, Transcript) else Transcript(cue)

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class ToneSpeech:
    """Says each text as a tone of ``ms_per_character``; ``fails`` says which texts it cannot say.

    A text for which ``fails`` returns an error is broken off with it, after ``sound_before_ms``.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 22_050,
        ms_per_character: int = 20,
        fails: Callable[[str], Exception | None] = lambda _: None,
        sound_before_ms: int = 0,
    ) -> None:
        self.sample_rate_hz: Final = sample_rate_hz
        self.said: list[tuple[str, str | None]] = []
        self.closed = False
        self._ms_per_character = ms_per_character
        self._fails = fails
        self._sound_before_ms = sound_before_ms

    async def open(self) -> None:
        """Be ready."""

    async def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the tone, 100 ms at a time."""
        self.said.append((text, language))
        failure = self._fails(text)
        left_ms = self._ms_per_character * len(text)
        if failure is not None:
            left_ms = self._sound_before_ms
        while left_ms > 0:
            await asyncio.sleep(0)
            yield self._tone(min(left_ms, 100))
            left_ms -= 100
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    def _tone(self, duration_ms: int) -> bytes:
        count = self.sample_rate_hz * duration_ms // 1000
        phase = np.arange(count) * (2 * np.pi * 330 / self.sample_rate_hz)
        return bytes((np.sin(phase) * 8_000).astype(np.int16))
