"""Speech from the OpenAI API, over real sockets: well, late, half, never and wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from palaver.errors import ProviderError
from palaver.providers.openai_options import OpenAiOptions
from palaver.providers.openai_speech import OpenAiSpeech
from palaver.testing.openai_api import ApiFault, OpenAiApi

TIMEOUT = 10.0
KEY = "sk-secret-4711"
PCM = bytes(range(256)) * 20


@asynccontextmanager
async def speaking(
    *faults: ApiFault, extra: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[OpenAiApi, OpenAiSpeech]]:
    """Run a server that has these faults next, and a client of it."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(api_key=KEY) as api:
        api.audio = PCM
        given = {"base_url": api.base_url, "model": "test-model", "api_key": KEY} | options
        speech = OpenAiSpeech(OpenAiOptions(**given), "nova", extra=extra or {})
        await speech.open()
        api.fail(*faults)
        try:
            yield api, speech
        finally:
            await speech.close()


async def heard(speech: OpenAiSpeech, pieces: list[bytes] | None = None) -> bytes:
    """Return the speech; its pieces are put into ``pieces`` as they come."""
    pieces = [] if pieces is None else pieces
    async for piece in speech.speak("Good day.", language="en"):
        pieces.append(piece)
    return b"".join(pieces)


async def test_a_sentence() -> None:
    """The request is as the API has it, and the answer is its PCM at 24 kHz."""
    async with speaking(extra={"speed": 1.1, "voice": "echo"}) as (api, speech):
        assert speech.sample_rate_hz == 24_000
        assert await heard(speech) == PCM
        [asked] = api.requests
    assert asked.path == "/v1/audio/speech"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.fields == {
        "model": "test-model",
        "voice": "nova",
        "input": "Good day.",
        "response_format": "pcm",
        "speed": 1.1,
    }


async def test_nothing_to_say() -> None:
    """A blank text is not worth a request."""
    async with speaking() as (api, speech):
        assert [piece async for piece in speech.speak(" \n")] == []
        assert api.requests == []


async def test_a_voice_of_no_name() -> None:
    """Where no voice is named, it is one that every server has."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(models=("m",)) as api:
        speech = OpenAiSpeech(OpenAiOptions(base_url=api.base_url, model="m"), "")
        assert len([piece async for piece in speech.speak("ab")]) > 0
        await speech.close()
        assert api.requests[0].fields["voice"] == "alloy"
        assert "authorization" not in api.requests[0].headers


async def test_audio_comes_as_it_is_made() -> None:
    """The first audio is there while the server still speaks; leaving ends the request."""
    held = ApiFault(hold_after=1_000)
    async with speaking(held, held) as (api, speech):
        async with aclosing(speech.speak("Good day.")) as pieces:
            assert await anext(pieces) == PCM[:1_000]
        await api.abandoned(1)
        async with aclosing(speech.speak("Good day.")) as pieces:
            assert await anext(pieces) == PCM[:1_000]
            api.release()
            assert b"".join([piece async for piece in pieces]) == PCM[1_000:]


async def test_cancelling_closes_the_connection() -> None:
    """A reader that is cancelled ends the request at once."""
    async with speaking(ApiFault(silent=True)) as (api, speech):
        waiting = asyncio.create_task(heard(speech))
        await api.asked(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await api.abandoned(1)


@pytest.mark.parametrize("size", [1, 3, 481])
async def test_samples_stay_whole(size: int) -> None:
    """However the bytes fall, each piece consists of whole samples, and none is lost."""
    async with speaking(ApiFault(piece_bytes=size, body=PCM[:1_500])) as (_, speech):
        pieces: list[bytes] = []
        assert await heard(speech, pieces) == PCM[:1_500]
        assert all(len(piece) % 2 == 0 for piece in pieces)


@pytest.mark.parametrize(
    "declared",
    ["audio/pcm;rate=24000;channels=1", "application/octet-stream", "Audio/PCM", ""],
)
async def test_what_pcm_is_called(declared: str) -> None:
    """Servers call PCM by several names, or by none."""
    async with speaking(ApiFault(headers={"content-type": declared})) as (_, speech):
        assert await heard(speech) == PCM


async def test_one_sample() -> None:
    """The shortest audio is audio, too."""
    async with speaking(ApiFault(body=b"\1\2")) as (_, speech):
        assert await heard(speech) == b"\1\2"


def typed(declared: str, body: bytes) -> ApiFault:
    """Return an answer of that type."""
    return ApiFault(body=body, headers={"content-type": declared})


@pytest.mark.parametrize(
    ("fault", "text", "sound"),
    [
        (ApiFault(status=400, message="no voice"), "refused the request (HTTP 400): no voice", b""),
        (typed("text/html", b"<p>hi"), "answered with text/html where PCM audio should be", b""),
        (typed("audio/mpeg", PCM), "answered with audio/mpeg where PCM audio should be", b""),
        (typed("audio/l16", PCM), "answered with audio/l16 where PCM audio should be", b""),
        (typed("application/json", b'{"detail": "no voice"}'), "failed: no voice", b""),
        (
            typed("application/json", b'{"audio": "UklGRg"}'),
            "answered with application/json where PCM audio should be",
            b"",
        ),
        (
            typed("audio/pcm", b"RIFF" + PCM),
            "answered with a WAV file where PCM audio should be",
            b"",
        ),
        (typed("audio/pcm; rate=16000", PCM), "speaks at 16000 Hz, not at 24000", b""),
        (ApiFault(body=b""), "answered without audio", b""),
        (ApiFault(body=b"\1"), "broke off in the middle of a sample", b""),
        (ApiFault(body=PCM[:999]), "broke off in the middle of a sample", PCM[:998]),
        (ApiFault(cut_after=1_000), "broke off in the middle of its answer", PCM[:1_000]),
    ],
)
async def test_what_is_wrong_is_said(fault: ApiFault, text: str, sound: bytes) -> None:
    """Each fault is one clear sentence, and what came before it is sound."""
    async with speaking(fault) as (api, speech):
        pieces: list[bytes] = []
        with pytest.raises(ProviderError) as caught:
            await heard(speech, pieces)
        assert str(caught.value) == f"{api.base_url} {text}"
        assert b"".join(pieces) == sound
        assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("fault", "options", "text"),
    [
        (ApiFault(silent=True), {"first_byte_timeout": 0.1}, "did not answer within 0.1 s"),
        (
            ApiFault(hold_after=1_000),
            {"silence_timeout": 0.1},
            "went silent for 0.1 s in the middle of its answer",
        ),
        (ApiFault(piece_bytes=2, interval=0.01), {"deadline": 0.3}, "was not done within 0.3 s"),
        (
            ApiFault(body=PCM * 100),
            {"max_response_bytes": 100_000},
            "answered with more than 100000 bytes, which is the limit",
        ),
    ],
)
async def test_waits_and_sizes_are_bounded(
    fault: ApiFault, options: dict[str, float], text: str
) -> None:
    """Silence before, silence within, a drip and a flood all come to an end."""
    async with speaking(fault, **options) as (api, speech):
        with pytest.raises(ProviderError) as caught:
            await heard(speech)
        assert str(caught.value) == f"{api.base_url} {text}"


async def test_a_second_try() -> None:
    """A server that stumbles before it speaks is asked again."""
    async with speaking(ApiFault(status=503)) as (api, speech):
        assert await heard(speech) == PCM
        assert len(api.requests) == 2
