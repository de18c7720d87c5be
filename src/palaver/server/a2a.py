"""A2A over HTTP: every generation on one endpoint. ``a2a_calls`` decides, this answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

import structlog
from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.errors import UnknownAgent
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import (
    A2aError,
    InternalError,
    InvalidParams,
    ServerBusy,
    encode_error,
    from_jsonrpc_error,
)
from palaver.protocols.a2a.methods import generation_of, route
from palaver.protocols.jsonrpc import JsonRpcError, RequestId, parse_request, response
from palaver.server.a2a_calls import STREAMING, A2aCalls, OpenStream, shown_in
from palaver.server.a2a_stream import StreamSender, StreamTimes
from palaver.server.drain import Drain
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

__all__ = ["A2aEndpoint", "A2aLimits"]

_log = structlog.get_logger("palaver.a2a")
_MAX_CURSOR_DIGITS: Final = 15
_MAX_QUERY_FIELDS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class A2aLimits:
    """Bounds of the endpoint: bytes, and seconds."""

    max_body_bytes: int
    body_timeout: float
    send_timeout: float
    stream: StreamTimes


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole answer."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


class A2aEndpoint:
    """``POST`` of A2A JSON-RPC (spec: dispatch rule on one endpoint).

    ``legacy_method`` makes it one of the 0.1 routes, which take that method alone.
    """

    def __init__(
        self,
        engine: Engine,
        default_agent: str,
        limits: A2aLimits,
        drain: Drain,
        legacy_method: str | None = None,
    ) -> None:
        self._engine = engine
        self._default_agent = default_agent
        self._limits = limits
        self._legacy_method = legacy_method
        self._calls = A2aCalls(
            engine,
            send_timeout=limits.send_timeout,
            retry_ms=round(limits.stream.retry_interval * 1_000),
        )
        self._streams = StreamSender(engine, drain, limits.stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever comes in, what goes out is JSON or a stream."""
        body = await self._read(scope, receive, send)
        if body is None:
            return
        # Decided first, sent second: while a stream lives, nothing of its request is held.
        answer = await self._answer(scope, body)
        del body
        if isinstance(answer, OpenStream):
            await self._streams.run(answer, (scope, receive, send))
        else:
            await send_json(send, answer.body, status=answer.status, headers=answer.headers)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> bytes | None:
        """Return the body, or answer why it is not taken."""
        if scope["method"] != "POST":
            await send_problem(send, 405, "use POST here", headers=[(b"allow", b"POST")])
            return None
        media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        # A browser sends other types across origins without asking first.
        if media_type != "application/json" and not media_type.endswith("+json"):
            await send_problem(send, 415, "send Content-Type: application/json")
            return None
        limits = self._limits
        try:
            return await read_body(
                scope, receive, max_bytes=limits.max_body_bytes, timeout=limits.body_timeout
            )
        except BodyTooLarge as error:
            await send_too_large(receive, send, str(error))
        except BodyTooSlow as error:
            await send_problem(send, 408, str(error), headers=[(b"connection", b"close")])
        except ClientLeft:
            pass
        return None

    async def _answer(self, scope: Scope, body: bytes) -> _Reply | OpenStream:
        request_id: RequestId = None
        generation = None if self._legacy_method is None else Generation.V01
        try:
            try:
                request = parse_request(body)
            except JsonRpcError as error:
                request_id = error.request_id
                shown = generation or generation_of(_version(scope))
                raise shown_in(shown, from_jsonrpc_error(error)) from error
            request_id = request.id
            call = route(request, _version(scope), self._legacy_method)
            generation = call.generation or generation
            agent_id = self._agent_id(scope)
            cursor = _cursor(scope) if call.operation in STREAMING else None
            answer = await self._calls.perform(request, call, agent_id, cursor)
        except A2aError as error:
            return self._refuse(request_id, error, error.generation or generation)
        except Exception:  # noqa: BLE001 - the last resort of this shell: told in full, not to the peer
            _log.exception("request_failed")
            return self._refuse(request_id, InternalError(), generation)
        if isinstance(answer, OpenStream):
            return answer
        return _Reply(response(request_id, answer))

    def _agent_id(self, scope: Scope) -> str:
        named: str | None = scope.get("path_params", {}).get("agent_id")
        if named is not None and named not in self._engine.agents:
            raise InvalidParams(str(UnknownAgent(named)))
        return named or self._default_agent

    def _refuse(
        self, request_id: RequestId, error: A2aError, generation: Generation | None
    ) -> _Reply:
        body = encode_error(request_id, error, generation or Generation.V03)
        if isinstance(error, ServerBusy):
            wait = b"%d" % max(1, round(error.retry_after))
            return _Reply(body, 503, ((b"retry-after", wait),))
        # The 0.1 reference answers 400 where the request itself is no good (spec §1).
        bad_request = self._legacy_method is not None and error.code in {-32700, -32600, -32601}
        return _Reply(body, 400 if bad_request else 200)


def _version(scope: Scope) -> str | None:
    """Return what the header ``A2A-Version``, or the query parameter of that name, says."""
    version = header(scope, b"a2a-version")
    return _query(scope, "A2A-Version") if version is None else version


def _query(scope: Scope, name: str) -> str | None:
    """Return the first value of that query parameter."""
    given: bytes = scope.get("query_string", b"")
    if not given:
        return None
    try:
        found = parse_qs(given.decode("latin-1"), max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        message = f"the query of the URL has more than {_MAX_QUERY_FIELDS} fields"
        raise InvalidParams(message) from None
    return found.get(name, [None])[0]


def _cursor(scope: Scope) -> int | None:
    """Return the event after which to resume: ``Last-Event-ID``, or ``?after=``."""
    given = header(scope, b"last-event-id")
    where = "Last-Event-ID"
    if not given:
        given = _query(scope, "after")
        where = "after"
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= _MAX_CURSOR_DIGITS):
        message = f"{where} must be the number of an event, not {given[:40]!r}"
        raise InvalidParams(message)
    return int(given)
