"""Language models behind the OpenAI API, over real sockets: well, late, half, never and wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from palaver.errors import ProviderError
from palaver.providers.interfaces import ChatMessage
from palaver.providers.openai_chat import OpenAiChat
from palaver.providers.openai_options import OpenAiOptions
from palaver.testing.openai_api import ApiFault, OpenAiApi

TIMEOUT = 10.0
KEY = "sk-secret-0815"
HELLO = (ChatMessage("system", "Be brief."), ChatMessage("user", "one two three"))


@asynccontextmanager
async def chatting(
    *faults: ApiFault, extra: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[OpenAiApi, OpenAiChat]]:
    """Run a server that has these faults next, and a client of it."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(api_key=KEY) as api:
        given = {"base_url": api.base_url, "model": "test-model", "api_key": KEY} | options
        chat = OpenAiChat(OpenAiOptions(**given), extra=extra or {})
        api.fail(*faults)
        try:
            yield api, chat
        finally:
            await chat.close()


async def told(chat: OpenAiChat, said: list[str] | None = None) -> list[str]:
    """Return the pieces of an answer; they are put into ``said`` as they come."""
    said = [] if said is None else said
    async for piece in chat.stream(HELLO):
        said.append(piece)
    return said


async def failing(*faults: ApiFault, **options: Any) -> tuple[str, int]:
    """Return what a failing request says, and how many requests were made of it."""
    async with chatting(*faults, **options) as (api, chat):
        with pytest.raises(ProviderError) as caught:
            await told(chat)
        assert KEY not in str(caught.value)
        return str(caught.value).removeprefix(api.base_url).strip(), len(api.requests)


def event(text: str) -> bytes:
    """Return one event of a stream."""
    return f"data: {text}\n\n".encode()


SAID = event('{"choices": [{"delta": {"content": "half"}}]}')


async def test_a_conversation() -> None:
    """The messages go as the API has them, and the answer comes in pieces."""
    async with chatting(extra={"temperature": 0.2, "stream": False}) as (api, chat):
        assert await told(chat) == ["one", " two", " three"]
        [asked] = api.requests
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.fields == {
        "model": "test-model",
        "stream": True,
        "temperature": 0.2,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one two three"},
        ],
    }


async def test_pieces_come_as_they_are_made() -> None:
    """The first words are there while the server still writes."""
    first = len(SAID)
    stream = SAID + event('{"choices": [{"delta": {"content": " whole"}}]}') + event("[DONE]")
    held = ApiFault(body=stream, hold_after=first)
    async with chatting(held) as (api, chat), aclosing(chat.stream(HELLO)) as pieces:
        assert await anext(pieces) == "half"
        api.release()
        assert [piece async for piece in pieces] == [" whole"]


async def test_leaving_closes_the_connection() -> None:
    """A stream that is closed, or whose reader is cancelled, ends the request at once."""
    held = ApiFault(hold_after=400)
    async with chatting(held, ApiFault(silent=True)) as (api, chat):
        async with aclosing(chat.stream(HELLO)) as pieces:
            await anext(pieces)
        await api.abandoned(1)
        waiting = asyncio.create_task(told(chat))
        await api.asked(2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await api.abandoned(2)
        assert await told(chat) == ["one", " two", " three"]


async def test_connections_are_shared() -> None:
    """Requests that follow each other use one connection."""
    async with chatting() as (api, chat):
        for _ in range(3):
            await told(chat)
        assert len({asked.client for asked in api.requests}) == 1


async def test_nobody_waits_behind_the_last_word() -> None:
    """A server that keeps the stream open behind ``[DONE]`` holds nobody up, nor one that cuts."""
    whole = SAID + event("[DONE]")
    for fault in (
        ApiFault(body=whole, hold_after=len(whole)),
        ApiFault(body=whole, cut_after=len(whole)),
    ):
        async with chatting(fault, silence_timeout=TIMEOUT / 2) as (_, chat):
            async with asyncio.timeout(TIMEOUT / 4):
                assert await told(chat) == ["half"]


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_events_are_cut_anywhere(size: int) -> None:
    """However the bytes of the stream fall, the text is the same, letters of two bytes too."""
    async with chatting(ApiFault(piece_bytes=size)) as (api, chat):
        api.chat = ["Olá,", " você", " — 👋"]
        assert await told(chat) == ["Olá,", " você", " — 👋"]


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (SAID + event("[DONE]"), ["half"]),
        (event('{"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}'), ["a"]),
        (event('{"choices": [{"delta": {}, "finish_reason": "length"}]}'), []),
        (
            b": thinking\n\n" + SAID + event('{"choices": [], "usage": {}}') + event("[DONE]"),
            ["half"],
        ),
        (event('{"choices": [{"delta": {"content": null}}]}') + event(" [DONE] "), []),
        (SAID.replace(b"\n", b"\r\n") + event("[DONE]"), ["half"]),
        (event("[DONE]") + SAID, []),
    ],
)
async def test_streams_of_other_houses(stream: bytes, said: list[str]) -> None:
    """What servers do differently, and may: comments, counts, no last word."""
    async with chatting(ApiFault(body=stream)) as (_, chat):
        assert await told(chat) == said


HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}
BROKE_OFF = "broke off in the middle of its answer"
NO_CHUNK = "streamed what is no chunk of a chat completion"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            ApiFault(status=400, message="bad\n\x1b[31mrole"),
            "refused the request (HTTP 400): bad [31mrole",
        ),
        (
            ApiFault(status=401, message=f"wrong {KEY}!"),
            "refused the API key (HTTP 401): wrong ***!",
        ),
        (ApiFault(status=403, message=""), "does not allow that (HTTP 403)"),
        (
            ApiFault(status=404, message="no such"),
            "has no model 'test-model', or its API begins at another URL (HTTP 404): no such",
        ),
        (ApiFault(status=413, message=""), "takes no request of that size (HTTP 413)"),
        (ApiFault(status=429, message="quota"), "takes no more requests now (HTTP 429): quota"),
        (
            ApiFault(status=429, message="", headers={"retry-after": "60"}),
            "takes no more requests now (HTTP 429)",
        ),
        (
            ApiFault(
                status=429, message="", headers={"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}
            ),
            "takes no more requests now (HTTP 429)",
        ),
        (ApiFault(status=501, message="x" * 300), f"failed (HTTP 501): {'x' * 199}…"),
        (ApiFault(status=503, message="", headers={"retry-after": "30"}), "failed (HTTP 503)"),
        (
            ApiFault(status=307, message="", headers={"location": "http://127.0.0.1:1/"}),
            "sends elsewhere, and nobody follows: set base_url to where its API is (HTTP 307)",
        ),
        (
            ApiFault(body=b"<html>Log in", headers=HTML),
            "answered with text/html where a stream of events should be",
        ),
        (
            ApiFault(body=b'{"error": {"message": "no streams"}}', headers=JSON),
            "failed: no streams",
        ),
        (
            ApiFault(body=b"{}", headers=JSON),
            "answered with application/json where a stream of events should be",
        ),
        (
            ApiFault(body=b"", headers={"content-encoding": "gzip"}),
            "answered compressed, which nobody asked for",
        ),
        (ApiFault(body=b""), BROKE_OFF),
        (ApiFault(body=SAID), BROKE_OFF),
        (ApiFault(cut_after=300), BROKE_OFF),
        (ApiFault(body=event("oops")), "streamed what is no JSON"),
        (ApiFault(body=event("[]")), NO_CHUNK),
        (ApiFault(body=event('{"choices": [{}]}')), NO_CHUNK),
        (ApiFault(body=event('{"choices": {"a": 1}}')), NO_CHUNK),
        (ApiFault(body=event('{"choices": [{"delta": {"content": 5}}]}')), NO_CHUNK),
        (ApiFault(body=event('{"error": {"message": "overloaded"}}')), "failed: overloaded"),
        (ApiFault(body=event('{"error": true}')), "failed: without saying why"),
        (
            ApiFault(body=event('{"choices": [{"delta": {}, "finish_reason": "content_filter"}]}')),
            "stopped its answer: its filter of contents struck",
        ),
        (
            ApiFault(body=b"data: " + b"x" * 1_100_000),
            "answered with an event of more than 1048576 bytes",
        ),
    ],
)
async def test_what_is_wrong_is_said_once(fault: ApiFault, text: str) -> None:
    """Each fault that lasts is one clear sentence, after one request; the key is never in it."""
    assert await failing(fault) == (text, 1)


@pytest.mark.parametrize(
    "fault",
    [
        *(ApiFault(status=status) for status in (500, 502, 503, 504)),
        ApiFault(status=503, headers={"retry-after": "0"}),
        ApiFault(status=429, headers={"retry-after": "0.05"}),
    ],
)
async def test_what_passes_is_tried_again_once(fault: ApiFault) -> None:
    """A server that stumbles is asked a second time, and no third time."""
    async with chatting(fault) as (api, chat):
        assert await told(chat) == ["one", " two", " three"]
        assert len(api.requests) == 2
    _, requests = await failing(fault, fault)
    assert requests == 2


async def test_no_second_try_after_output() -> None:
    """What has been said is not said again: a stream that breaks off fails."""
    async with chatting(ApiFault(cut_after=400)) as (api, chat):
        said: list[str] = []
        with pytest.raises(ProviderError, match=BROKE_OFF):
            await told(chat, said)
        assert said == ["one"]
        assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("fault", "options", "text"),
    [
        (ApiFault(silent=True), {"first_byte_timeout": 0.1}, "did not answer within 0.1 s"),
        (ApiFault(hold_after=0), {"first_byte_timeout": 0.1}, "did not answer within 0.1 s"),
        (
            ApiFault(hold_after=400),
            {"silence_timeout": 0.1},
            "went silent for 0.1 s in the middle of its answer",
        ),
        (
            ApiFault(piece_bytes=1, interval=0.01),
            {"silence_timeout": 5.0, "deadline": 0.3},
            "was not done within 0.3 s",
        ),
        (ApiFault(silent=True), {"deadline": 0.1}, "was not done within 0.1 s"),
        (
            ApiFault(body=b": hm\n\n" * 100_000, interval=0.01, piece_bytes=600),
            {"deadline": 0.3},
            "was not done within 0.3 s",
        ),
    ],
)
async def test_waits_are_bounded(fault: ApiFault, options: dict[str, float], text: str) -> None:
    """Silence before, silence within, a drip and endless signs of life all come to an end."""
    assert await failing(fault, **options) == (text, 1)


async def test_the_time_of_the_reader_does_not_count() -> None:
    """A slow reader, such as a voice that speaks what it reads, does not use up the deadline."""
    async with chatting(silence_timeout=0.1, deadline=0.2) as (_, chat):
        said = []
        async for piece in chat.stream(HELLO):
            said.append(piece)
            await asyncio.sleep(0.15)
        assert said == ["one", " two", " three"]


async def test_an_answer_without_end() -> None:
    """An answer that grows over the limit is cut there."""
    flood = ApiFault(body=SAID * 3_000)
    text, _ = await failing(flood, max_response_bytes=100_000)
    assert text == "answered with more than 100000 bytes, which is the limit"


async def test_a_key_is_asked_for() -> None:
    """Without a key nothing is sent in its place."""
    text, _ = await failing(api_key="")
    assert text == "asks for an API key (HTTP 401): Incorrect API key provided:"


async def test_nobody_is_there() -> None:
    """A port where nobody listens is told as that, and a closed client says so."""
    chat = OpenAiChat(OpenAiOptions(base_url="http://127.0.0.1:1/v1/", model="m"))
    with pytest.raises(ProviderError, match=r"^http://127\.0\.0\.1:1/v1 cannot be reached: \S+"):
        await told(chat)
    await chat.close()
    with pytest.raises(ProviderError, match=r"^the connections to \S+ were closed$"):
        await told(chat)
