"""From utterances to text, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from palaver.errors import ProviderError
from palaver.providers.interfaces import Transcript
from palaver.speech.resample import resample
from palaver.speech.studio import Studio

__all__ = ["transcribe"]


async def transcribe(
    studio: Studio, takes: Sequence[bytes], rate_hz: int, language: str | None
) -> Transcript:
    """Return what was said in the first of ``takes`` (PCM, int16) that is understood.

    Raises:
        ProviderError: the recogniser failed, or took too long.

    """
    limit = studio.options.transcribe_timeout
    transcript = Transcript("", confidence=0.0)
    try:
        async with asyncio.timeout(limit):
            with studio.metrics.transcribing.time():
                for take in takes:
                    samples = np.frombuffer(take, dtype=np.int16)
                    audio = resample(samples, rate_hz, studio.hears.sample_rate_hz)
                    transcript = await studio.hears.transcribe(audio.tobytes(), language=language)
                    if transcript.understood:
                        break
    except TimeoutError:
        raise ProviderError(f"the recogniser took longer than {limit:g} s") from None
    return transcript
