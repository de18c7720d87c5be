"""Transcripts from ``/audio/transcriptions``."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from palaver.errors import ProviderError
from palaver.providers.interfaces import Transcript
from palaver.providers.openai_endpoint import Answer, OpenAiEndpoint
from palaver.providers.openai_options import OpenAiOptions
from palaver.providers.whisper_segments import SegmentScore, confidence, only_noise

__all__ = ["OpenAiTranscription", "ResponseFormat"]

ResponseFormat: TypeAlias = Literal["json", "verbose_json"]

_RATE_HZ: Final = 16_000
_JSON: Final = "application/json"

# ``verbose_json`` names languages in English words; servers of other houses answer the code.
_TAGS: Final = {
    "arabic": "ar",
    "chinese": "zh",
    "czech": "cs",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hebrew": "he",
    "hindi": "hi",
    "hungarian": "hu",
    "indonesian": "id",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "norwegian": "no",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
    "thai": "th",
    "turkish": "tr",
    "ukrainian": "uk",
    "vietnamese": "vi",
}


class OpenAiTranscription:
    """A ``SpeechToText``: any server that speaks the OpenAI API for transcriptions.

    Args:
        options: Where it is, which model, and the bounds.
        response_format: ``verbose_json`` tells the language and how sure the model is; not every
            model has it.
        extra: Further fields of each request, such as ``{"prompt": "names of our products"}``.

    """

    def __init__(
        self,
        options: OpenAiOptions,
        *,
        response_format: ResponseFormat = "json",
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._endpoint = OpenAiEndpoint(options)
        self._format = response_format
        self._extra = dict(extra)

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which it wants its audio: 16 kHz, which is what its models hear."""
        return _RATE_HZ

    async def open(self) -> None:
        """Do nothing: the first request connects, and a server may come up after us."""

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Return what was said in one utterance: mono int16 at 16 kHz.

        ``language`` is a BCP 47 tag; the API takes the language alone, without the region.

        Raises:
            ProviderError: the endpoint cannot be reached, refuses, fails, takes too long, or
                answers what is no transcript.
            ValueError: the audio does not consist of whole samples.

        """
        if len(audio) % 2:
            message = f"audio of {len(audio)} bytes does not consist of whole samples"
            raise ValueError(message)
        if not audio:
            return Transcript("", language)
        fields = self._extra | {
            "model": self._endpoint.options.model,
            "response_format": self._format,
        }
        if language is not None:
            fields["language"] = language.partition("-")[0].lower()
        files = {"file": ("speech.wav", _wav(audio), "audio/wav")}
        path = "/audio/transcriptions"
        async with self._endpoint.post(path, _JSON, data=fields, files=files) as answer:
            return _transcript(await answer.json(), answer, language)

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()


def _wav(audio: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(_RATE_HZ)
        writer.writeframes(audio)
    return file.getvalue()


def _transcript(found: Any, answer: Answer, language: str | None) -> Transcript:
    if not isinstance(found, dict) or not isinstance(found.get("text"), str):
        raise answer.fails("answered with what is no transcript")
    named = found.get("language")
    if language is None and isinstance(named, str):
        language = _tag(named.strip().lower())
    scores = _scores(found.get("segments"), answer)
    if only_noise(scores):
        return Transcript("", language, confidence(scores))
    return Transcript(found["text"].strip(), language, confidence(scores))


def _tag(named: str) -> str | None:
    """Return the BCP 47 tag of a language, given as that or by its English name."""
    if named.isascii() and named.isalpha() and len(named) in {2, 3}:
        return named
    return _TAGS.get(named)


def _scores(segments: Any, answer: Answer) -> list[SegmentScore]:
    """Return how sure the model was of each segment; none where the answer does not tell."""
    try:
        return [
            SegmentScore(
                seconds=float(one["end"]) - float(one["start"]),
                avg_logprob=float(one["avg_logprob"]),
                no_speech_prob=float(one.get("no_speech_prob", 0.0)),
            )
            for one in segments or ()
            if one.get("avg_logprob") is not None
        ]
    except (TypeError, KeyError, ValueError, AttributeError):
        error: ProviderError = answer.fails("answered with segments that cannot be read")
        raise error from None
