"""Transcripts from the OpenAI API, over real sockets: well, late, half, never and wrong."""

from __future__ import annotations

import asyncio
import io
import math
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from palaver.errors import ProviderError
from palaver.providers.interfaces import Transcript
from palaver.providers.openai_options import OpenAiOptions
from palaver.providers.openai_transcription import OpenAiTranscription, ResponseFormat
from palaver.testing.openai_api import ApiFault, OpenAiApi

TIMEOUT = 10.0
KEY = "sk-secret-1234"
AUDIO = bytes(range(256)) * 50
JSON = {"content-type": "application/json"}


@asynccontextmanager
async def hearing(
    *faults: ApiFault,
    response_format: ResponseFormat = "json",
    extra: dict[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[OpenAiApi, OpenAiTranscription]]:
    """Run a server that has these faults next, and a client of it."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(api_key=KEY) as api:
        given = {"base_url": api.base_url, "model": "test-model", "api_key": KEY} | options
        ears = OpenAiTranscription(
            OpenAiOptions(**given), response_format=response_format, extra=extra or {}
        )
        await ears.open()
        api.fail(*faults)
        try:
            yield api, ears
        finally:
            await ears.close()


async def test_an_utterance() -> None:
    """The request is a form with a WAV file at 16 kHz, as the API has it."""
    async with hearing(extra={"prompt": "names", "model": "other"}) as (api, ears):
        assert ears.sample_rate_hz == 16_000
        api.transcript = {"text": " Olá, você. "}
        heard = await ears.transcribe(AUDIO, language="pt-BR")
        [asked] = api.requests
    assert heard == Transcript("Olá, você.", "pt-BR", 1.0)
    assert asked.path == "/v1/audio/transcriptions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.fields == {
        "model": "test-model",
        "response_format": "json",
        "language": "pt",
        "prompt": "names",
    }
    with wave.open(io.BytesIO(asked.files["file"])) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert file.readframes(file.getnframes()) == AUDIO


async def test_the_language_is_found_out() -> None:
    """Nothing is said of a language that is not known."""
    async with hearing() as (api, ears):
        assert await ears.transcribe(AUDIO) == Transcript("hello there", None, 1.0)
        assert "language" not in api.requests[0].fields


@pytest.mark.parametrize(
    ("named", "tag"),
    [
        ("portuguese", "pt"),
        ("English", "en"),
        ("pt", "pt"),
        ("klingon", None),
        (7, None),
        ("", None),
    ],
)
async def test_languages(named: object, tag: str | None) -> None:
    """A language is told by its English name or its code; one that we do not know is none."""
    async with hearing(response_format="verbose_json") as (api, ears):
        api.transcript = {"text": "hi", "language": named}
        assert await ears.transcribe(AUDIO) == Transcript("hi", tag, 1.0)


def segment(seconds: float, logprob: float, no_speech: float) -> dict[str, float]:
    """Return a segment as ``verbose_json`` has it."""
    return {"start": 0, "end": seconds, "avg_logprob": logprob, "no_speech_prob": no_speech}


@pytest.mark.parametrize(
    ("segments", "text", "confidence"),
    [
        ([], "hi", 1.0),
        ([segment(1, -0.1, 0.0)], "hi", math.exp(-0.1)),
        ([segment(1, -0.2, 0.0), segment(3, -1.0, 0.0)], "hi", math.exp(-0.8)),
        ([segment(1, -2.0, 0.5)], "hi", math.exp(-2.0)),
        ([segment(1, -0.5, 0.9)], "hi", math.exp(-0.5)),
        ([segment(1, -2.0, 0.9)], "", math.exp(-2.0)),
        ([segment(1, -2.0, 0.9), segment(1, -0.2, 0.1)], "hi", math.exp(-1.1)),
        ([{"start": 0, "end": 1}], "hi", 1.0),
    ],
)
async def test_how_sure_it_is(
    segments: list[dict[str, float]], text: str, confidence: float
) -> None:
    """The confidence is that of the mean token; words made up of noise are no words."""
    async with hearing(response_format="verbose_json") as (api, ears):
        api.transcript = {"text": "hi", "segments": segments}
        heard = await ears.transcribe(AUDIO, language="en")
    assert (heard.text, heard.language) == (text, "en")
    assert heard.confidence == pytest.approx(confidence)


async def test_no_audio_and_half_a_sample() -> None:
    """Nothing needs no request; half a sample is a mistake of the caller."""
    async with hearing() as (api, ears):
        assert not (await ears.transcribe(b"")).understood
        with pytest.raises(ValueError, match="3 bytes does not consist of whole samples"):
            await ears.transcribe(b"abc")
        assert api.requests == []


async def test_cancelling_closes_the_connection() -> None:
    """A caller that is cancelled ends the request at once."""
    async with hearing(ApiFault(silent=True)) as (api, ears):
        waiting = asyncio.create_task(ears.transcribe(AUDIO))
        await api.asked(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await api.abandoned(1)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (ApiFault(status=401, message=KEY), "refused the API key (HTTP 401): ***"),
        (ApiFault(status=415, message="WAV?"), "refused the request (HTTP 415): WAV?"),
        (
            ApiFault(body=b"<html>", headers={"content-type": "text/html"}),
            "answered with what is no JSON (text/html)",
        ),
        (
            ApiFault(body=b"", headers={"content-type": ""}),
            "answered with what is no JSON (no type)",
        ),
        (ApiFault(body=b"[]", headers=JSON), "answered with what is no transcript"),
        (ApiFault(body=b'{"text": null}', headers=JSON), "answered with what is no transcript"),
        (
            ApiFault(body=b'{"text": "hi", "segments": [{"avg_logprob": "low"}]}', headers=JSON),
            "answered with segments that cannot be read",
        ),
        (ApiFault(cut_after=10), "broke off in the middle of its answer"),
    ],
)
async def test_what_is_wrong_is_said(fault: ApiFault, text: str) -> None:
    """Each fault is one clear sentence, after one request; the key is never in it."""
    async with hearing(fault) as (api, ears):
        with pytest.raises(ProviderError) as caught:
            await ears.transcribe(AUDIO)
        assert str(caught.value) == f"{api.base_url} {text}"
        assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("fault", "options", "text"),
    [
        (ApiFault(silent=True), {"first_byte_timeout": 0.1}, "did not answer within 0.1 s"),
        (
            ApiFault(hold_after=5),
            {"silence_timeout": 0.1},
            "went silent for 0.1 s in the middle of its answer",
        ),
        (ApiFault(piece_bytes=1, interval=0.02), {"deadline": 0.2}, "was not done within 0.2 s"),
        (
            ApiFault(body=b" " * 9_000),
            {"max_response_bytes": 1_000},
            "answered with more than 1000 bytes, which is the limit",
        ),
    ],
)
async def test_waits_and_sizes_are_bounded(
    fault: ApiFault, options: dict[str, float], text: str
) -> None:
    """Silence before, silence within, a drip and a flood all come to an end."""
    async with hearing(fault, **options) as (api, ears):
        with pytest.raises(ProviderError) as caught:
            await ears.transcribe(AUDIO)
        assert str(caught.value) == f"{api.base_url} {text}"


async def test_a_second_try() -> None:
    """A server that stumbles is asked again, with all of the audio."""
    async with hearing(ApiFault(status=500)) as (api, ears):
        assert (await ears.transcribe(AUDIO)).text == "hello there"
        first, second = api.requests
        assert first.files == second.files
