"""From sentences to sound: in bounded time and size, and whatever the voice does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import numpy as np
import structlog

from palaver.errors import ProviderError
from palaver.speech.detector import Samples
from palaver.speech.studio import Studio

__all__ = ["synthesize"]

_log = structlog.get_logger("palaver.voice")
_MAX_SECONDS: Final = 60
"""Sound of one sentence: 240 characters are 20 s of ordinary speech."""


async def synthesize(
    studio: Studio, sentence: str, language: str | None
) -> AsyncGenerator[Samples, None]:
    """Yield the speech of a sentence at the voice's rate, a second at once at most.

    Close it: that closes what the voice has begun.

    Raises:
        ProviderError: the voice failed, whatever it raised; nothing came of it for too long, or
            no end. What came before is sound.

    """
    second = 2 * studio.speaks.sample_rate_hz
    rest = b""
    try:
        async with aclosing(_chunks(studio, sentence, language)) as chunks:
            async for chunk in chunks:
                data = rest + chunk
                whole = len(data) - len(data) % 2
                for start in range(0, whole, second):
                    yield np.frombuffer(data[start : min(start + second, whole)], dtype=np.int16)
                rest = data[whole:]
    except ProviderError:
        raise
    except Exception as error:
        _log.exception("voice_engine_broke", engine="speaks")
        raise ProviderError(f"the voice broke: {type(error).__name__}") from error


async def _chunks(
    studio: Studio, sentence: str, language: str | None
) -> AsyncGenerator[bytes, None]:
    """Yield what the voice gives, as long as something of it comes in time, up to a limit."""
    left = 2 * studio.speaks.sample_rate_hz * _MAX_SECONDS
    limit = studio.options.speak_timeout
    loop = asyncio.get_running_loop()
    async with aclosing(studio.speaks.speak(sentence, language=language)) as stream:
        while True:
            until = loop.time() + limit
            chunk: bytes | None = b""
            while chunk is not None and not chunk:
                if loop.time() >= until:
                    raise ProviderError(f"the voice said nothing for {limit:g} s")
                await asyncio.sleep(0)  # a voice that gives nothing must not stop everybody
                try:
                    async with asyncio.timeout_at(until):
                        chunk = await anext(stream, None)
                except TimeoutError:
                    raise ProviderError(f"the voice said nothing for {limit:g} s") from None
            if chunk is None:
                return
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                raise ProviderError(f"the voice did not end within {_MAX_SECONDS} s of sound")
