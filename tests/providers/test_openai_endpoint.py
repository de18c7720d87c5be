"""What all providers of the OpenAI API share: options, keys that stay secret, connections."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.errors import ConfigError, ProviderError
from palaver.providers.openai_endpoint import OpenAiEndpoint
from palaver.providers.openai_errors import error_message, retry_delay
from palaver.providers.openai_options import OpenAiOptions
from palaver.testing.fault_proxy import Fault, FaultProxy
from palaver.testing.openai_api import ApiFault, OpenAiApi

TIMEOUT = 10.0
KEY = "sk-secret-9999"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"base_url": ""}, "base_url: write it as https://HOST/v1"),
        ({"base_url": "localhost:11434/v1"}, "base_url: write it as https://HOST/v1"),
        ({"base_url": "ftp://host/v1"}, "base_url: write it as https://HOST/v1"),
        ({"base_url": "http://host:port/v1"}, "base_url: write it as https://HOST/v1"),
        ({"base_url": "http://[::1/v1"}, "base_url: write it as https://HOST/v1"),
        (
            {"base_url": f"https://user:{KEY}@host/v1"},
            "base_url: a key stands in api_key, not in the URL",
        ),
        (
            {"base_url": f"https://host/v1?key={KEY}"},
            "base_url: paths are put behind it, so it cannot hold '?' or '#'",
        ),
        ({"model": " "}, "model: the name of a model is missing"),
        ({"api_key": KEY + "\n"}, "api_key: a key holds visible ASCII characters only"),
        ({"api_key": KEY + "é"}, "api_key: a key holds visible ASCII characters only"),
        ({"api_key": f"Bearer {KEY}"}, "api_key: a key holds no spaces"),
        ({"deadline": 0}, "deadline: must be a number of seconds over 0, not 0"),
        (
            {"silence_timeout": float("inf")},
            "silence_timeout: must be a number of seconds over 0, not inf",
        ),
        (
            {"connect_timeout": float("nan")},
            "connect_timeout: must be a number of seconds over 0, not nan",
        ),
        ({"max_response_bytes": 0}, "max_response_bytes: must be 1 or more, not 0"),
        ({"max_retry_delay": -1.0}, "max_retry_delay: must be a number of seconds, not -1.0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], text: str) -> None:
    """Each wrong option is named, with what is allowed, and the key is never shown."""
    with pytest.raises(ConfigError) as caught:
        OpenAiOptions(**({"base_url": "http://host/v1", "model": "m"} | options))
    assert str(caught.value) == text


def test_the_key_is_not_shown() -> None:
    """Whoever prints the options does not print the key."""
    options = OpenAiOptions(base_url="http://host/v1/", model="m", api_key=KEY)
    assert KEY not in f"{options!r}{options}"
    assert options.base_url == "http://host/v1"


async def test_the_key_is_not_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even at the level that tells all, and not where the server repeats it."""
    caplog.set_level(logging.DEBUG)
    async with asyncio.timeout(TIMEOUT), OpenAiApi(api_key="another") as api:
        api.fail(ApiFault(status=503, message=KEY))
        options = OpenAiOptions(base_url=api.base_url, model="m", api_key=KEY)
        endpoint = OpenAiEndpoint(options)
        with pytest.raises(ProviderError, match=r"Incorrect API key provided: \*\*\*$"):
            async with endpoint.post("/chat/completions", "*/*", json={}):
                pass
        await endpoint.close()
        assert [asked.headers["authorization"] for asked in api.requests] == [f"Bearer {KEY}"] * 2
    printed = "".join(capsys.readouterr())
    assert "provider_tried_again" in printed
    assert KEY not in caplog.text + printed


async def test_a_connection_that_is_reset() -> None:
    """A connection that breaks before the answer is made anew, once."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(models=("m",)) as api:
        port = int(api.base_url.removesuffix("/v1").rpartition(":")[2])
        for resets, reaches in ((1, True), (2, False)):
            faults = [Fault(reset_after=0)] * resets + [Fault()]
            async with FaultProxy(port, faults.__getitem__) as proxy:
                endpoint = OpenAiEndpoint(OpenAiOptions(base_url=f"{proxy.url}/v1", model="m"))
                asking = endpoint.post(
                    "/audio/transcriptions", "*/*", data={"model": "m"}, files={"file": b"x"}
                )
                if reaches:
                    async with asking as answer:
                        assert await answer.json() == {"text": "hello there"}
                else:
                    with pytest.raises(ProviderError, match=r"/v1 hung up without an answer \("):
                        await asking.__aenter__()
                await endpoint.close()
                assert proxy.resets == resets


async def test_who_closes_ends_what_is_under_way() -> None:
    """A request that waits when the endpoint is closed fails, and waits no longer."""
    async with asyncio.timeout(TIMEOUT), OpenAiApi(models=("m",)) as api:
        api.fail(ApiFault(hold_after=0))
        endpoint = OpenAiEndpoint(OpenAiOptions(base_url=api.base_url, model="m"))
        body = {"model": "m", "input": "a"}
        async with endpoint.post("/audio/speech", "*/*", json=body) as answer:
            reading = asyncio.create_task(answer.whole())
            await api.asked(1)
            await endpoint.close()
            with pytest.raises(ProviderError):
                await reading


@pytest.mark.parametrize(
    ("status", "hint", "delay"),
    [
        (500, None, 0.25),
        (503, "1", 1.25),
        (503, "2.5", None),
        (503, "-1", None),
        (503, "nan", None),
        (429, "0.4", 0.5),
        (429, None, None),
        (429, "soon", None),
        (400, "0", None),
        (302, None, None),
    ],
)
def test_when_to_try_again(status: int, hint: str | None, delay: float | None) -> None:
    """A short time where the failure passes, or what the server asks for; else not at all."""
    assert retry_delay(status, hint, 2.0, 1.0) == delay


@given(st.binary(max_size=200) | st.text(max_size=300).map(lambda said: said.encode()))
def test_an_error_of_any_kind_is_a_line_at_most(body: bytes) -> None:
    """Whatever stands in an error's body, what is shown of it is short and printable."""
    line = error_message(body)
    assert len(line) <= 200
    assert line.isprintable()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"error": {"message": "a", "code": 1}}', "a"),
        (b'{"error": "a"}', "a"),
        (b'{"message": "a"}', "a"),
        (b'{"detail": "a"}', "a"),
        (b'{"detail": [{"msg": "a"}]}', ""),
        (b'{"error": {"error": {"error": {"error": "a"}}}}', ""),
        (b'{"error": null, "detail": "a"}', "a"),
        (b'"a"', "a"),
        (b"<p>a</p>", ""),
        (b"", ""),
    ],
)
def test_errors_of_other_houses(body: bytes, line: str) -> None:
    """The usual places of an error's text are looked at."""
    assert error_message(body) == line
