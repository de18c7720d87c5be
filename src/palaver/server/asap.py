"""ASAP over HTTP: ``POST /asap``, one request or a batch. ``asap_calls`` decides, this answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from starlette.types import Receive, Scope, Send

from palaver.engine.clock import new_id, wall_clock
from palaver.protocols.asap import codec
from palaver.protocols.asap.errors import AsapError, InternalError, InvalidRequest, ServerBusy
from palaver.protocols.asap.messages import PayloadType
from palaver.server.asap_calls import AsapCalls
from palaver.server.asap_compression import ENCODINGS, BadCompression, UnknownEncoding, inflate
from palaver.server.asap_metrics import AsapMetrics
from palaver.server.asap_rate import CallerRates
from palaver.server.http import (
    BodyTooLarge,
    BodyTooSlow,
    ClientLeft,
    header,
    read_body,
    send_json,
    send_problem,
    send_too_large,
)

__all__ = ["AsapEndpoint", "AsapLimits"]

_log = structlog.get_logger("palaver.asap")
_MEMBER: Final = "detail"
"""What the text of a refusal is called that is no JSON-RPC (spec §6)."""
_MAX_BATCH_ANSWER: Final = 32 * 1024 * 1024
"""Bytes of all answers to a batch: a hundred short questions may have long ones."""
_new_envelope_id: Final = partial(new_id, "env")


@dataclass(frozen=True, slots=True, kw_only=True)
class AsapLimits:
    """Bounds of the endpoint: bytes, seconds, and how many items of a batch go on at once."""

    max_body_bytes: int
    body_timeout: float
    max_batch_calls: int


class AsapEndpoint:
    """``POST`` of ASAP (spec §6: the rate, the size, JSON, JSON-RPC, the envelope, its age)."""

    def __init__(
        self,
        calls: AsapCalls,
        limits: AsapLimits,
        rates: CallerRates,
        metrics: AsapMetrics,
    ) -> None:
        self._calls = calls
        self._limits = limits
        self._rates = rates
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or batch; whatever comes in, what goes out is JSON."""
        body = await self._read(scope, receive, send)
        if body is None:
            return
        answer = await self._answer(scope, body)
        if isinstance(answer, bytes):
            await send_json(send, answer)
            return
        status, headers = 200, list[tuple[bytes, bytes]]()
        if isinstance(answer, codec.Failure):
            status = answer.error.status
            if status != 200 and answer.error.retry_after is not None:
                wait = b"%d" % answer.error.data()["retry_after"]
                headers.append((b"retry-after", wait))
        await send_json(send, codec.encode(answer), status=status, headers=headers)

    # --- the body ---------------------------------------------------------------------------

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """Return the body, made plain, or answer why it is not taken."""
        problem = partial(send_problem, send, member=_MEMBER)
        if scope["method"] != "POST":
            await problem(405, "use POST here", headers=[(b"allow", b"POST")])
            return None
        media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        # A browser sends other types across origins without asking first.
        if media_type != "application/json" and not media_type.endswith("+json"):
            await problem(415, "send Content-Type: application/json")
            return None
        body = await self._receive(scope, receive, send)
        if body is None:
            return None
        try:
            encoding = header(scope, b"content-encoding") or ""
            return inflate(encoding, body, self._limits.max_body_bytes)
        except UnknownEncoding as error:
            accepted = (b"accept-encoding", ", ".join(ENCODINGS).encode())
            await problem(415, str(error), headers=[accepted])
        except BadCompression as error:
            await problem(400, str(error))
        except BodyTooLarge as error:
            await problem(413, str(error))
        return None

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """Return the body as it comes."""
        limits = self._limits
        try:
            return await read_body(
                scope, receive, max_bytes=limits.max_body_bytes, timeout=limits.body_timeout
            )
        except BodyTooLarge as error:
            await send_too_large(receive, send, str(error), member=_MEMBER)
        except BodyTooSlow as error:
            late = [(b"connection", b"close")]
            await send_problem(send, 408, str(error), headers=late, member=_MEMBER)
        except ClientLeft:
            pass
        return None

    # --- what it asks -----------------------------------------------------------------------

    async def _answer(self, scope: Scope, data: bytes) -> codec.Frame | bytes:
        """Return the answer; to a batch, what is sent."""
        try:
            self._rates.take(_address(scope), 1)
            body = codec.parse_body(data)
            if body.batch:
                self._rates.take(_address(scope), len(body.items) - 1)
            key = _key(scope)
        except AsapError as error:
            return self._refuse(None, error)
        agent_id = scope.get("path_params", {}).get("agent_id")
        if not body.batch:
            return await self._perform(body.items[0], agent_id, key)
        return await self._answer_batch(body.items, agent_id, key)

    async def _answer_batch(
        self, items: tuple[Any, ...], agent_id: str | None, key: str | None
    ) -> bytes:
        """Return the answers to a batch, as long as they are short enough together."""
        slots = asyncio.Semaphore(self._limits.max_batch_calls)
        room = _MAX_BATCH_ANSWER

        async def one(index: int, item: Any) -> bytes:
            nonlocal room
            async with slots:
                # The header is that of the batch: each request in it has its own key by its place.
                own = None if key is None else f"{key}#{index}"
                answer = await self._perform(item, agent_id, own, batch=True)
                encoded = codec.encode(answer)
                if len(encoded) > room and isinstance(answer, codec.Reply):
                    text = (
                        f"the answers to a batch have at most {_MAX_BATCH_ANSWER} bytes: ask alone"
                    )
                    error = ServerBusy(text, request_id=answer.id)
                    return codec.encode(self._refuse(None, error))
                room -= len(encoded)
                return encoded

        answers = await asyncio.gather(*(one(*item) for item in enumerate(items)))
        return codec.encode_batch(answers)

    async def _perform(
        self, item: Any, agent_id: str | None, key: str | None, *, batch: bool = False
    ) -> codec.Frame:
        """Return the answer to one request."""
        began = time.monotonic()
        request_id: codec.RequestId | None = None
        kind: PayloadType | None = None
        try:
            request = codec.read_request(item, now=wall_clock(), new_id=_new_envelope_id)
            request_id, kind = request.id, request.envelope.kind
            known = _one_key(request.idempotency_key, key, batch=batch)
            envelope = request.envelope
            repeated = await self._calls.came_before(envelope, agent_id, known)
            self._calls.check_fresh(envelope, repeated=repeated)
            reply = await self._calls.perform(envelope, agent_id, known)
        except AsapError as error:
            if request_id is not None:
                error.request_id = request_id
            return self._refuse(kind, error, time.monotonic() - began)
        except Exception:  # noqa: BLE001 - the last resort of this shell: told in full, not to the peer
            _log.exception("request_failed")
            broken = InternalError(request_id=request_id)
            return self._refuse(kind, broken, time.monotonic() - began)
        self._metrics.answered(kind, time.monotonic() - began)
        return codec.Reply(request.id, reply)

    def _refuse(
        self, kind: PayloadType | None, error: AsapError, seconds: float = 0.0
    ) -> codec.Frame:
        self._metrics.refused(kind, error, seconds)
        _log.debug("asap_refused", error=error.uri, code=error.code)
        return codec.failure(error)


def _key(scope: Scope) -> str | None:
    """Return the idempotency key of the header."""
    key = header(scope, b"x-idempotency-key")
    if key is not None and not 0 < len(key) <= codec.MAX_KEY_LENGTH:
        text = f"X-Idempotency-Key must have 1 to {codec.MAX_KEY_LENGTH} characters"
        raise InvalidRequest(text)
    return key


def _one_key(own: str | None, given: str | None, *, batch: bool) -> str | None:
    """Return the key of ``params``, or that of the header; both have to be the same."""
    if own is not None and given is not None and own != given and not batch:
        text = (
            "X-Idempotency-Key and params.idempotency_key differ: send one of them, "
            "or the same in both"
        )
        raise InvalidRequest(text)
    return given if own is None else own


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
