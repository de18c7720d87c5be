"""A2A over HTTP: every generation on one endpoint; JSON answers here, streams in ``a2a_stream``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

import structlog
from starlette.types import Message, Receive, Scope, Send

from palaver.auth.principal import ANONYMOUS
from palaver.engine.engine import Engine, Submission
from palaver.errors import ModelError, NotFound, StorageError, TaskError, TaskNotFound, UnknownAgent
from palaver.model.task import Task
from palaver.protocols.a2a.commands import (
    Cancel,
    Command,
    Dialect,
    Generation,
    Get,
    Operation,
    Subscribe,
)
from palaver.protocols.a2a.commands import (
    Send as SendCommand,
)
from palaver.protocols.a2a.errors import (
    A2aError,
    InternalError,
    InvalidParams,
    ServerBusy,
    UnsupportedOperation,
    encode_error,
    from_jsonrpc_error,
    from_task_error,
)
from palaver.protocols.a2a.mapping import dialect
from palaver.protocols.a2a.methods import Call, generation_of, route, settle
from palaver.protocols.a2a.stream import ServerStream
from palaver.protocols.jsonrpc import JsonRpcError, Request, RequestId, parse_request, response
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
class _Exchange:
    """One request on its way to its answer."""

    scope: Scope
    receive: Receive
    send: Send
    request: Request
    agent_id: str


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
        self._drain = drain
        self._legacy_method = legacy_method
        self._streams = StreamSender(engine, drain, limits.stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever comes in, what goes out is JSON or a stream."""
        if not await self._acceptable(scope, send):
            return
        try:
            body = await read_body(
                scope,
                receive,
                max_bytes=self._limits.max_body_bytes,
                timeout=self._limits.body_timeout,
            )
        except BodyTooLarge as error:
            await send_too_large(receive, send, str(error))
        except BodyTooSlow as error:
            await send_problem(send, 408, str(error), headers=[(b"connection", b"close")])
        except ClientLeft:
            return
        else:
            await self._answer(scope, receive, send, body)

    async def _acceptable(self, scope: Scope, send: Send) -> bool:
        if scope["method"] != "POST":
            await send_problem(send, 405, "use POST here", headers=[(b"allow", b"POST")])
            return False
        media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        # A browser sends other types across origins without asking first.
        if media_type != "application/json" and not media_type.endswith("+json"):
            await send_problem(send, 415, "send Content-Type: application/json")
            return False
        return True

    async def _answer(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        request_id: RequestId = None
        started = False

        async def tracked(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        generation = None if self._legacy_method is None else Generation.V01
        try:
            try:
                request = parse_request(body)
            except JsonRpcError as error:
                request_id = error.request_id
                refusal = from_jsonrpc_error(error)
                refusal.generation = generation or generation_of(_version(scope))
                raise refusal from error
            request_id = request.id
            call = route(request, _version(scope), self._legacy_method)
            generation = call.generation or generation
            agent_id = self._agent_id(scope)
            exchange = _Exchange(scope, receive, tracked, request, agent_id)
            await self._perform(exchange, call)
        except A2aError as error:
            shown = error.generation or generation or Generation.V03
            await self._refuse(send, request_id, error, shown)
        except Exception:
            if started:
                raise
            _log.exception("request_failed")
            shown = generation or Generation.V03
            await self._refuse(send, request_id, InternalError(), shown)

    def _agent_id(self, scope: Scope) -> str:
        named: str | None = scope.get("path_params", {}).get("agent_id")
        if named is not None and named not in self._engine.agents:
            raise InvalidParams(str(UnknownAgent(named)))
        return named or self._default_agent

    async def _refuse(
        self, send: Send, request_id: RequestId, error: A2aError, generation: Generation
    ) -> None:
        body = encode_error(request_id, error, generation)
        if isinstance(error, ServerBusy):
            wait = b"%d" % max(1, round(error.retry_after))
            await send_json(send, body, status=503, headers=[(b"retry-after", wait)])
            return
        # The 0.1 reference answers 400 where the request itself is no good (spec §1).
        bad_request = self._legacy_method is not None and error.code in {-32700, -32600, -32601}
        await send_json(send, body, status=400 if bad_request else 200)

    async def _perform(self, exchange: _Exchange, call: Call) -> None:
        operation = call.operation
        try:
            generation = call.generation or await self._settle(exchange, call)
            spoken = dialect(generation)
            command = spoken.parse(operation, exchange.request.params)
            if operation in {Operation.STREAM, Operation.SUBSCRIBE}:
                await self._stream(exchange, spoken, command)
                return
            result = await self._result(exchange, spoken, command)
        except (TaskError, ModelError) as error:
            refusal = from_task_error(error, operation)
            refusal.generation = call.generation
            raise refusal from error
        except StorageError as error:
            _log.error("store_trouble", error=str(error))
            busy = ServerBusy("the store does not answer", generation=call.generation)
            raise busy from error
        await send_json(exchange.send, response(exchange.request.id, result))

    async def _settle(self, exchange: _Exchange, call: Call) -> Generation:
        """Tell the generation of a method that two have by the task that it is about."""
        task_id = exchange.request.params.get("id")
        wire = None
        if isinstance(task_id, str) and task_id:
            try:
                wire = (await self._engine.get(task_id, ANONYMOUS)).wire
            except (TaskNotFound, NotFound):
                wire = None
        return settle(call, wire, exchange.request.params)

    async def _result(self, exchange: _Exchange, spoken: Dialect, command: Command) -> bytes:
        engine = self._engine
        if isinstance(command, SendCommand):
            task = await engine.submit(self._submission(exchange, spoken, command))
            if command.blocking and not task.settled:
                task = await engine.settled(task.id, self._limits.send_timeout)
            return spoken.send_result(task, command.history_length)
        if isinstance(command, Get):
            return spoken.task_result(await engine.get(command.task_id), command.history_length)
        if isinstance(command, Cancel):
            return spoken.task_result(await engine.cancel(command.task_id))
        message = f"{exchange.request.method} has no answer but a stream"
        raise UnsupportedOperation(message)

    def _submission(self, exchange: _Exchange, spoken: Dialect, command: SendCommand) -> Submission:
        return Submission(
            agent_id=command.tenant or exchange.agent_id,
            message=command.message,
            wire=f"a2a-{spoken.generation}",
            task_id=command.task_id,
            conversation_id=command.conversation_id,
            may_create=command.may_create,
            metadata=command.metadata,
        )

    async def _stream(self, exchange: _Exchange, spoken: Dialect, command: Command) -> None:
        cursor = _cursor(exchange.scope)
        if isinstance(command, SendCommand):
            task = await self._submit_or_resume(exchange, spoken, command, cursor)
            history_length = command.history_length
        elif isinstance(command, Subscribe):
            task = await self._engine.get(command.task_id)
            history_length = command.history_length
        else:
            message = f"{exchange.request.method} has no stream"
            raise UnsupportedOperation(message, generation=spoken.generation)
        if task.terminal:
            if cursor == task.seq:
                cursor = None  # nothing will ever come behind it: do not let the client wait
            # 1.0 §3.1.6; the older ones show how it ended. A cursor asks for what was missed.
            following = isinstance(command, Subscribe) and spoken.generation is Generation.V10
            if following and cursor is None:
                message = f"task {task.id!r} is {task.state}: there is nothing to follow"
                raise UnsupportedOperation(message, generation=spoken.generation)
        if cursor is not None and cursor > task.seq:
            message = f"the cursor {cursor} is beyond the last event of the task, {task.seq}"
            raise InvalidParams(message, generation=spoken.generation)
        stream = ServerStream(
            spoken,
            exchange.request.id,
            task.conversation_id,
            task.id,
            retry_ms=round(self._limits.stream.retry_interval * 1_000),
            # A subscriber to a task that waits for input stays; a sender has its answer.
            close_when_interrupted=isinstance(command, SendCommand),
            history_length=history_length,
            cursor=cursor or 0,
        )
        snapshot = task if cursor is None else None
        asgi = (exchange.scope, exchange.receive, exchange.send)
        running = self._streams.run(stream, task.id, snapshot, asgi)
        del task, snapshot  # as large as all that was put out: not held while the stream lives
        await running

    async def _submit_or_resume(
        self, exchange: _Exchange, spoken: Dialect, command: SendCommand, cursor: int | None
    ) -> Task:
        """Return the task of the message. With a cursor the request repeats an earlier one."""
        if cursor is not None and command.task_id is not None:
            return await self._engine.get(command.task_id)
        return await self._engine.submit(self._submission(exchange, spoken, command))


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
