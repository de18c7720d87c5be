"""ASAP over HTTP: one ``POST`` a request, sent again under one key until somebody answers."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import random
from typing import Final, TypeAlias

import httpx2
import structlog

from palaver.client.asap_discovery import ACCEPTED, read_bounded
from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable, raised
from palaver.client.asp_dial import shown
from palaver.client.transport import Patience
from palaver.engine.clock import new_id, wall_clock
from palaver.errors import PeerError
from palaver.model.ids import IdSource
from palaver.protocols.asap import codec
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.messages import Envelope, moment

__all__ = ["Headers", "HttpLink", "headers_of", "retry_after", "retry_delay"]

Headers: TypeAlias = Mapping[str, str] | Callable[[], Awaitable[Mapping[str, str]]]
"""What goes with each request beside what ASAP says, such as who calls; or who knows it."""

_log = structlog.get_logger("palaver.client")
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_COMPRESSED_FROM: Final = 1024
_COMPRESSED_ASIDE_FROM: Final = 256 * 1024
"""Bytes whose compression takes so long that the loop must not wait for it."""
_GZIP_LEVEL: Final = 6
_FINAL: Final = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


@dataclass(frozen=True, slots=True)
class _Failed:
    """A try that may be made again; ``error`` is raised after the last. ``hint`` in seconds."""

    error: PeerError
    hint: float | None = None


async def headers_of(headers: Headers) -> Mapping[str, str]:
    """Return the headers as they are now."""
    return headers if isinstance(headers, Mapping) else await headers()


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for; ``None`` where it says nothing."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())


def retry_delay(
    attempt: int,
    patience: Patience,
    hint: float | None = None,
    chance: Callable[[], float] = random,
) -> float:
    """Return the seconds after try ``attempt`` (from 1): twice as long each time, up to a bound.

    A server that asked for more is given it, up to the same bound; a tenth is left to ``chance``.
    """
    delay = patience.first_delay * 2.0 ** min(attempt - 1, 16)
    return min(patience.max_delay, max(delay, hint or 0.0)) * (1.0 + 0.1 * chance())


class HttpLink:
    """Sends requests to one URL.

    A try that nobody answers, or whose answer says that it may work later (5xx, 429), is followed
    by another one: ``attempts`` in all, with the same envelope and the same key, by which a
    server knows them for one. None begins when ``patience.give_up_after`` has passed.
    """

    def __init__(
        self,
        url: str,
        http: httpx2.AsyncClient,
        patience: Patience,
        *,
        attempts: int = 3,
        headers: Headers | None = None,
        ids: IdSource = new_id,
    ) -> None:
        self.url: Final = url
        self._http = http
        self._patience = patience
        self._attempts = attempts
        self._headers: Headers = {} if headers is None else headers
        self._ids = ids
        self._compresses = True
        self._over = asyncio.Event()

    async def exchange(self, envelope: Envelope, key: str, timeout: float) -> Envelope:  # noqa: ASYNC109 -- of each try
        """Return the answer. ``timeout`` (s) is that of each try.

        Raises:
            AsapRefused: the server answered with an error.
            AsapInvalid: it answered what is no ASAP.
            AsapUnreachable: nobody answered any try.

        """
        loop = asyncio.get_running_loop()
        attempt, began = 0, loop.time()
        while not self._over.is_set():
            attempt += 1
            result = await self._try(envelope, key, timeout)
            if isinstance(result, Envelope):
                return result
            delay = retry_delay(attempt, self._patience, result.hint)
            spent = loop.time() - began + delay
            enough = attempt >= self._attempts or spent > self._patience.give_up_after
            if enough and not self._over.is_set():
                raise result.error
            _log.info("asap_retried", attempt=attempt, delay=delay, why=str(result.error))
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._over.wait()
        raise AsapUnreachable("the client is closed", local=True)

    def close(self) -> None:
        """Begin no more tries."""
        self._over.set()

    # --- one try ----------------------------------------------------------------------------

    async def _try(self, envelope: Envelope, key: str, timeout: float) -> Envelope | _Failed:  # noqa: ASYNC109
        where = shown(self.url)
        # What waited for its turn would be refused for its age.
        envelope = envelope.model_copy(update={"timestamp": moment(wall_clock())})
        request_id = self._ids("req")
        body = codec.encode(codec.Request(request_id, envelope, key))
        try:
            async with asyncio.timeout(timeout):
                response, answer = await self._post(body, key, timeout)
                if response.status_code == httpx2.codes.UNSUPPORTED_MEDIA_TYPE and self._compresses:
                    self._compresses = False
                    response, answer = await self._post(body, key, timeout)
        except (TimeoutError, httpx2.TimeoutException):
            why = f"{where} did not answer within {timeout:g} s"
            return _Failed(AsapUnreachable(why, "asap:execution/task_timeout"))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            gone = AsapUnreachable(f"{where} does not answer: {str(error) or type(error).__name__}")
            if isinstance(error, httpx2.TransportError) and not isinstance(error, _FINAL):
                return _Failed(gone)
            raise gone from error
        return self._read(response, answer, request_id)

    async def _post(
        self,
        body: bytes,
        key: str,
        timeout: float,  # noqa: ASYNC109 -- of each step, too
    ) -> tuple[httpx2.Response, bytes]:
        headers = {
            **await headers_of(self._headers),
            **ACCEPTED,
            "Content-Type": "application/json",
        }
        if key.isascii() and key.isprintable():  # any other is in the params only
            headers["X-Idempotency-Key"] = key
        if self._compresses and len(body) >= _COMPRESSED_FROM:
            small = await _compressed(body)
            if len(small) < len(body):
                body, headers["Content-Encoding"] = small, "gzip"
        waits = httpx2.Timeout(timeout, connect=min(timeout, self._patience.connect_timeout))
        async with self._http.stream(
            "POST", self.url, content=body, headers=headers, timeout=waits
        ) as response:
            return response, await read_bounded(response, _MAX_ANSWER_BYTES)

    def _read(self, response: httpx2.Response, body: bytes, request_id: str) -> Envelope | _Failed:
        """Return the answer, or why to ask again.

        Raises:
            PeerError: neither; this is what came.

        """
        status = response.status_code
        result = self._answer(status, body, request_id)
        if isinstance(result, Envelope):
            return result
        if status < httpx2.codes.INTERNAL_SERVER_ERROR and status != httpx2.codes.TOO_MANY_REQUESTS:
            raise result
        hint = retry_after(response.headers.get("retry-after", ""), wall_clock())
        return _Failed(result, hint)

    def _answer(self, status: int, body: bytes, request_id: str) -> Envelope | PeerError:
        where = shown(self.url)
        frame: codec.Frame | AsapError
        try:
            frame = codec.parse_server_frame(
                body, now=wall_clock(), new_id=lambda: self._ids("env")
            )
        except AsapError as error:
            frame = error
        if isinstance(frame, codec.Failure):
            return raised(frame.error, where)
        if status != httpx2.codes.OK:
            return AsapRefused(status, f"{where} answered HTTP {status}: {_excerpt(body)}")
        if isinstance(frame, AsapError):
            return raised(frame, where)
        if isinstance(frame, codec.Reply) and frame.id == request_id:
            return frame.envelope
        return AsapInvalid(f"{where} answered something else than what it was asked")


async def _compressed(body: bytes) -> bytes:
    if len(body) < _COMPRESSED_ASIDE_FROM:
        return gzip.compress(body, _GZIP_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL, mtime=0)


def _excerpt(body: bytes) -> str:
    """Return the beginning of what a server says instead of ASAP."""
    return body[:200].decode(errors="replace").strip() or "nothing more"
