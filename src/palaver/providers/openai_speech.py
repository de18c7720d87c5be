"""Speech from ``/audio/speech``, streamed as PCM."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Any, Final

from palaver.providers.openai_endpoint import Answer, OpenAiEndpoint
from palaver.providers.openai_options import OpenAiOptions

__all__ = ["OpenAiSpeech"]

_RATE_HZ: Final = 24_000
"""What the API says of ``pcm``: 24 kHz, int16, little endian, no header."""

_VOICE: Final = "alloy"

# Not audio/l16, which is big endian.
_RAW: Final = frozenset(
    {"", "application/octet-stream", "audio/pcm", "audio/raw", "audio/x-pcm", "audio/x-raw"}
)
_WAV: Final = b"RIFF"


class OpenAiSpeech:
    """A ``TextToSpeech``: any server that speaks the OpenAI API for speech.

    Args:
        options: Where it is, which model, and the bounds.
        voice: The name of a voice; empty: ``alloy``, which the API has always had.
        sample_rate_hz: Of its PCM, where the server has another than the API says.
        extra: Further members of each request, such as ``{"speed": 1.1}``.

    """

    def __init__(
        self,
        options: OpenAiOptions,
        voice: str = "",
        *,
        sample_rate_hz: int = _RATE_HZ,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._endpoint = OpenAiEndpoint(options)
        self._voice = voice or _VOICE
        self._sample_rate_hz = sample_rate_hz
        self._extra = dict(extra)

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which its audio comes."""
        return self._sample_rate_hz

    async def open(self) -> None:
        """Do nothing: the first request connects, and a server may come up after us."""

    async def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the speech of ``text``, whole samples, as it comes; of a blank text, nothing.

        The API has no word for the ``language``: the model tells it from the text.

        Raises:
            ProviderError: the endpoint cannot be reached, refuses, fails, takes too long, breaks
                off, or answers what is no PCM. What came before is sound.

        """
        del language
        if not text.strip():
            return
        body = self._extra | {
            "model": self._endpoint.options.model,
            "voice": self._voice,
            "input": text,
            "response_format": "pcm",
        }
        async with self._endpoint.post("/audio/speech", "audio/pcm", json=body) as answer:
            if answer.content_type not in _RAW:
                raise await answer.instead("PCM audio")
            self._check_rate(answer)
            rest = b""
            begun = False
            async for piece in answer.chunks():
                audio = rest + piece
                if not begun and len(audio) >= len(_WAV):
                    if audio.startswith(_WAV):
                        raise answer.fails("answered with a WAV file where PCM audio should be")
                    begun = True
                whole = len(audio) - len(audio) % 2 if begun else 0
                rest = audio[whole:]
                if whole:
                    yield audio[:whole]
            if len(rest) % 2:
                raise answer.fails("broke off in the middle of a sample")
            if rest:
                yield rest
            elif not begun:
                raise answer.fails("answered without audio")

    def _check_rate(self, answer: Answer) -> None:
        """Refuse audio whose type says another rate: it would be spoken too fast or too slow."""
        for parameter in answer.parameters.split(";"):
            name, _, value = parameter.partition("=")
            if name.strip() == "rate" and value.strip() != str(self._sample_rate_hz):
                shown = "".join(char for char in value.strip()[:10] if char.isprintable())
                raise answer.fails(f"speaks at {shown} Hz, not at {self._sample_rate_hz}")

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()
