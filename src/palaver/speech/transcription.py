"""From utterances to text: in bounded time, and whatever the recogniser does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import structlog

from palaver.errors import ProviderError
from palaver.providers.interfaces import Transcript
from palaver.speech.characters import printable
from palaver.speech.resample import resample
from palaver.speech.studio import Studio

__all__ = ["is_language", "transcribe"]

_log = structlog.get_logger("palaver.voice")
_MAX_TEXT: Final = 4_000
"""Characters of one utterance: minutes of speech."""
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")
_MAX_LANGUAGE: Final = 35


def is_language(tag: object) -> bool:
    """Tell whether it is a language tag (BCP 47), as messages may have it."""
    return (
        isinstance(tag, str) and len(tag) <= _MAX_LANGUAGE and _LANGUAGE.fullmatch(tag) is not None
    )


async def transcribe(
    studio: Studio, takes: Sequence[bytes], rate_hz: int, language: str | None
) -> Transcript:
    """Return what was said in the first of ``takes`` (PCM, int16) that is understood.

    Of what is not text nothing is left of it: control characters, a language that is none. A
    recogniser that goes on though it was cancelled is not waited for.

    Raises:
        ProviderError: the recogniser failed, whatever it raised, or took too long, or answered
            what is no transcript.

    """
    limit = studio.options.transcribe_timeout
    work = asyncio.create_task(
        _first_understood(studio, takes, rate_hz, language), name="voice-transcribes"
    )
    try:
        with studio.metrics.transcribing.time():
            done, _ = await asyncio.wait({work}, timeout=limit)
    finally:
        studio.give_up(work)
    if not done:
        raise ProviderError(f"the recogniser took longer than {limit:g} s")
    return work.result()


async def _first_understood(
    studio: Studio, takes: Sequence[bytes], rate_hz: int, language: str | None
) -> Transcript:
    transcript = Transcript("", confidence=0.0)
    for take in takes:
        samples = np.frombuffer(take, dtype=np.int16)
        audio = resample(samples, rate_hz, studio.hears.sample_rate_hz)
        try:
            answer: object = await studio.hears.transcribe(audio.tobytes(), language=language)
        except ProviderError:
            raise
        except Exception as error:
            _log.exception("voice_engine_broke", engine="hears")
            raise ProviderError(f"the recogniser broke: {type(error).__name__}") from error
        transcript = _checked(answer)
        if transcript.understood:
            break
    return transcript


def _checked(answer: object) -> Transcript:
    """Return a transcript that can be told to the client, the agent and the store.

    Raises:
        ProviderError: it is none.

    """
    said: object = answer.text if isinstance(answer, Transcript) else answer
    if not isinstance(answer, Transcript) or not isinstance(said, str):
        what = type(said).__name__
        raise ProviderError(f"the recogniser answered with a {what}, not with a transcript")
    language, confidence = _hints(answer.language, answer.confidence)
    if len(said) > _MAX_TEXT:
        _log.warning("voice_transcript_too_long", characters=len(said), kept=_MAX_TEXT)
    return Transcript(printable(said[:_MAX_TEXT]), language, confidence)


def _hints(language: object, confidence: object) -> tuple[str | None, float]:
    return (
        str(language) if is_language(language) else None,
        float(confidence) if isinstance(confidence, int | float) else 0.0,
    )
