"""What the providers of the OpenAI API share: one pool of connections, bounds, and clear errors.

Many servers speak this API, so the address is a setting: what follows here takes nothing for
granted. A request that failed before anything came of its answer is tried once more, where the
failure is one that passes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import random
from typing import Any, Final, TypeVar

import httpx2
import orjson
import structlog

from palaver.errors import ProviderError
from palaver.providers.openai_errors import (
    MAX_ERROR_BYTES,
    error_message,
    refusal,
    retry_delay,
    without_key,
)
from palaver.providers.openai_options import OpenAiOptions

__all__ = ["Answer", "OpenAiEndpoint", "OpenAiOptions"]

_log = structlog.get_logger("palaver.providers")
_T = TypeVar("_T")
_OK: Final = 200
_TRIES: Final = 2
_MAX_CONNECTIONS: Final = 100
_LAST_PIECE_TIMEOUT: Final = 0.05
_MAX_EVENT_BYTES: Final = 1024 * 1024


class _Waiting:
    """The time that one answer may be waited for; what its reader does in between is its own."""

    def __init__(self, options: OpenAiOptions) -> None:
        self._options = options
        self._left = options.deadline
        self.first_byte_left = options.first_byte_timeout

    async def wait(self, awaited: Awaitable[_T], at_most: float, otherwise: str) -> _T:
        """Return what is awaited.

        Raises:
            ProviderError: it took more than ``at_most`` seconds, which is told as ``otherwise``,
                or more than the deadline leaves, or the connection failed.

        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with asyncio.timeout(max(0.0, min(at_most, self._left))):
                return await awaited
        except TimeoutError:
            deadline = f"was not done within {self._options.deadline:g} s"
            message = deadline if self._left <= at_most else otherwise
            raise ProviderError(f"{self._options.base_url} {message}") from None
        finally:
            spent = clock() - begun
            self._left -= spent
            self.first_byte_left -= spent


class Answer:
    """An answer of the API whose headers have come. Its body is read once, within the bounds."""

    def __init__(
        self, response: httpx2.Response, waiting: _Waiting, options: OpenAiOptions
    ) -> None:
        self._response = response
        self._waiting = waiting
        self._options = options
        declared, _, parameters = response.headers.get("content-type", "").partition(";")
        self.content_type = declared.strip().lower()
        self.parameters = parameters.strip().lower()
        self._complete = False

    def complete(self) -> None:
        """Say that all has been read which counts: what may follow is waited for no longer.

        Reading on to the end, which is mostly there already, keeps the connection for others.
        """
        self._complete = True

    def fails(self, what: str) -> ProviderError:
        """Return the error of an endpoint that did ``what``."""
        return ProviderError(f"{self._options.base_url} {what}")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes.

        Raises:
            ProviderError: it broke off, went silent, or is larger than taken.

        """
        options = self._options
        if self._response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self.fails("answered compressed, which nobody asked for")
        pieces = self._response.aiter_raw()
        at_most = self._waiting.first_byte_left
        late = f"did not answer within {options.first_byte_timeout:g} s"
        size = 0
        while True:
            try:
                piece = await self._waiting.wait(anext(pieces), at_most, late)
            except StopAsyncIteration:
                return
            except ProviderError:
                if self._complete:
                    return
                raise
            except (httpx2.HTTPError, httpx2.StreamError) as error:
                if self._complete:
                    return
                raise self.fails("broke off in the middle of its answer") from error
            size += len(piece)
            if size > options.max_response_bytes:
                limit = options.max_response_bytes
                raise self.fails(f"answered with more than {limit} bytes, which is the limit")
            yield piece
            at_most = _LAST_PIECE_TIMEOUT if self._complete else options.silence_timeout
            late = f"went silent for {at_most:g} s in the middle of its answer"

    async def whole(self) -> bytes:
        """Return the whole body; raises as ``chunks`` does."""
        return b"".join([piece async for piece in self.chunks()])

    async def json(self) -> Any:
        """Return the value of the whole body.

        Raises:
            ProviderError: it is no JSON, or as ``chunks`` says.

        """
        try:
            return orjson.loads(await self.whole())
        except orjson.JSONDecodeError:
            shown = self.content_type or "no type"
            raise self.fails(f"answered with what is no JSON ({shown})") from None

    async def events(self) -> AsyncIterator[str]:
        """Yield the data of each server-sent event as it comes; raises as ``chunks`` does."""
        paced = httpx2.Response(
            _OK,
            headers={"content-type": "text/event-stream; charset=utf-8"},
            content=self.chunks(),
            request=self._response.request,
        )
        try:
            async for event in httpx2.EventSource(paced, _MAX_EVENT_BYTES):
                yield event.data
        except httpx2.SSEError:
            limit = f"an event of more than {_MAX_EVENT_BYTES} bytes"
            raise self.fails(f"answered with {limit}") from None

    async def instead(self, wanted: str) -> ProviderError:
        """Return the error of an answer that is not what was asked for: ``wanted``."""
        shown = self.content_type or "something without a type"
        error = self.fails(f"answered with {shown} where {wanted} should be")
        if not self.content_type.endswith("json"):
            return error
        patience = self._options.silence_timeout
        said = error_message(await _beginning(self._response, self._waiting, patience))
        return self.fails(f"failed: {without_key(said, self._options.api_key)}") if said else error


class OpenAiEndpoint:
    """One server of the API: its connections are shared by all requests, until ``close``."""

    def __init__(self, options: OpenAiOptions, *, chance: Callable[[], float] = random) -> None:
        """``chance`` (0 to 1) keeps second tries of many clients apart."""
        self.options: Final = options
        self._chance = chance
        self._http: httpx2.AsyncClient | None = None
        self._closed = False

    async def close(self) -> None:
        """Close every connection; requests that are under way fail."""
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    @asynccontextmanager
    async def post(self, path: str, accept: str, **body: Any) -> AsyncIterator[Answer]:
        """Ask, and give the answer once its headers have come; leaving closes what is left of it.

        Args:
            path: What follows the base URL.
            accept: The content types that can be used.
            body: ``json``, or ``data`` and ``files`` for a form, as httpx2 has them.

        Raises:
            ProviderError: the endpoint cannot be reached, refuses, fails, or takes too long.

        """
        waiting = _Waiting(self.options)
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if self.options.api_key:
            headers["Authorization"] = f"Bearer {self.options.api_key}"
        if "json" in body:
            body = {"content": orjson.dumps(body["json"])}
            headers["Content-Type"] = "application/json"
        response = await self._tried(path, headers, body, waiting)
        try:
            yield Answer(response, waiting, self.options)
        finally:
            await response.aclose()

    async def _tried(
        self, path: str, headers: Mapping[str, str], body: Mapping[str, Any], waiting: _Waiting
    ) -> httpx2.Response:
        """Return the answer to the first try, or to the second where the first failed passingly."""
        for tries_left in reversed(range(_TRIES)):
            answer = await self._send(path, headers, body, waiting)
            delay: float | None = 0.0
            if isinstance(answer, ProviderError):
                error = answer
            elif answer.status_code == _OK:
                return answer
            else:
                delay = retry_delay(
                    answer.status_code,
                    answer.headers.get("retry-after"),
                    self.options.max_retry_delay,
                    self._chance(),
                )
                error = await self._refused(answer, waiting)
            if delay is None or not tries_left:
                raise error
            _log.info("provider_tried_again", why=str(error), delay=round(delay, 3))
            await waiting.wait(asyncio.sleep(delay), math.inf, "")
        raise AssertionError  # the last try raises or returns

    async def _send(
        self, path: str, headers: Mapping[str, str], body: Mapping[str, Any], waiting: _Waiting
    ) -> httpx2.Response | ProviderError:
        """Return the answer, or the error of a connection that may do at the next try.

        Raises:
            ProviderError: another try would not help, or there is no time for it.

        """
        options = self.options
        http = self._client()
        request = http.build_request("POST", options.base_url + path, headers=headers, **body)
        waiting.first_byte_left = options.first_byte_timeout
        late = f"did not answer within {options.first_byte_timeout:g} s"
        try:
            return await waiting.wait(
                http.send(request, stream=True), options.first_byte_timeout, late
            )
        except httpx2.ConnectTimeout:
            what = f"cannot be reached within {options.connect_timeout:g} s"
            raise ProviderError(f"{options.base_url} {what}") from None
        except httpx2.PoolTimeout:
            what = f"has {_MAX_CONNECTIONS} requests of ours under way, which is the limit"
            raise ProviderError(f"{options.base_url} {what}") from None
        except httpx2.ConnectError as error:
            return ProviderError(f"{options.base_url} cannot be reached: {error}")
        except httpx2.HTTPError as error:
            name = type(error).__name__
            return ProviderError(f"{options.base_url} hung up without an answer ({name})")

    async def _refused(self, response: httpx2.Response, waiting: _Waiting) -> ProviderError:
        try:
            body = await _beginning(response, waiting, self.options.silence_timeout)
        finally:
            await response.aclose()
        options, said = self.options, error_message(body)
        what = refusal(response.status_code, options.model, has_key=bool(options.api_key))
        detail = f": {without_key(said, options.api_key)}" if said else ""
        return ProviderError(f"{options.base_url} {what}{detail}")

    def _client(self) -> httpx2.AsyncClient:
        """Return the client; it is made by the first request, for that takes some milliseconds."""
        if self._closed:
            message = f"the connections to {self.options.base_url} were closed"
            raise ProviderError(message)
        if self._http is None:
            options = self.options
            self._http = httpx2.AsyncClient(
                # What passes between connecting and the last byte is timed above.
                timeout=httpx2.Timeout(
                    None, connect=options.connect_timeout, pool=options.connect_timeout
                ),
                limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS),
                follow_redirects=False,
                trust_env=False,
            )
        return self._http


async def _beginning(response: httpx2.Response, waiting: _Waiting, patience: float) -> bytes:
    """Return the first bytes of an error's body; what cannot be read says nothing."""

    async def read() -> bytes:
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if len(body) >= MAX_ERROR_BYTES:
                break
        return body[:MAX_ERROR_BYTES]

    try:
        return await waiting.wait(read(), patience, "")
    except (ProviderError, httpx2.HTTPError, httpx2.StreamError):
        return b""
