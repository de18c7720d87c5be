"""The A2A client: asks, follows streams, and comes back with its cursor when a connection drops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import httpx2
import structlog

from palaver.client.transport import Patience, http_client
from palaver.engine.clock import new_id
from palaver.errors import PeerError, PeerRefused, PeerUnreachable
from palaver.model.content import Message, Part, TextPart
from palaver.model.ids import IdSource
from palaver.model.states import INTERRUPTED, TERMINAL
from palaver.protocols.a2a.commands import (
    Cancel,
    Command,
    Generation,
    Get,
    MessageReplied,
    Operation,
    Send,
    Subscribe,
    TaskReceived,
    Update,
)
from palaver.protocols.a2a.errors import A2aError
from palaver.protocols.a2a.mapping import dialect
from palaver.protocols.a2a.stream import ClientStream, Received
from palaver.protocols.jsonrpc import JsonRpcError, encode_request, parse_response

__all__ = ["A2aClient"]

_log = structlog.get_logger("palaver.client")
_OK: Final = 200
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


class _Dropped(Exception):
    """The connection ended before the stream did; ``hint`` is when to come back, in seconds."""

    def __init__(self, why: str, hint: float | None = None) -> None:
        super().__init__(why)
        self.hint = hint


class A2aClient:
    """Speaks one generation of A2A to one endpoint. Use it in an ``async with`` block.

    Args:
        url: The endpoint that takes JSON-RPC.
        generation: What to speak there.
        ids: Where ids of messages and requests come from.
        patience: How to wait, and when to give up.
        http: What to ask with; without it the client has its own, and closes it at the end.

    Every method raises ``PeerRefused`` for an error that the peer answers, and
    ``PeerUnreachable`` when the peer does not answer any more.

    """

    def __init__(
        self,
        url: str,
        generation: Generation,
        *,
        ids: IdSource = new_id,
        patience: Patience | None = None,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self.url: Final = url
        self._dialect = dialect(generation)
        self._ids = ids
        self._patience = patience or Patience()
        self._http = http or http_client(self._patience)
        self._owns_http = http is None

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close its connections; those of an ``http`` that it was given are left alone."""
        if self._owns_http:
            await self._http.aclose()

    # --- asking ---

    async def send(self, *parts: str | Part, **more: Any) -> Update:
        """Send a message and return what the peer answers once its task settles.

        ``more`` is that of ``palaver.protocols.a2a.commands.Send`` (``task_id``, …).
        """
        command = Send(message=self._message(parts), **more)
        return await self._ask(Operation.SEND, self._with_id(command))

    async def get(self, task_id: str) -> Update:
        """Return how the task stands."""
        return await self._ask(Operation.GET, Get(task_id=task_id))

    async def cancel(self, task_id: str) -> Update:
        """Stop the task, and return how it stands then."""
        return await self._ask(Operation.CANCEL, Cancel(task_id=task_id))

    # --- following ---

    def stream(self, *parts: str | Part, **more: Any) -> AsyncGenerator[Received, None]:
        """Send a message and return what the peer streams, each event once.

        It ends when the task does, or asks for input.

        When the connection drops, the client comes back with its cursor by itself. A peer that
        numbers no events may have said something in between that nobody hears.
        """
        command = Send(message=self._message(parts), **more)
        return self._follow(Operation.STREAM, self._with_id(command), after=None)

    def resume(self, task_id: str, after: int | None = None) -> AsyncGenerator[Received, None]:
        """Return what the task streams behind event ``after``, or from how it stands now.

        It ends when the task does; from 1.0 on, a task that asks for input is followed further.
        """
        return self._follow(Operation.SUBSCRIBE, Subscribe(task_id=task_id), after=after)

    # --- inside ---

    def _message(self, parts: tuple[str | Part, ...]) -> Message:
        return Message(
            id=self._ids("msg"),
            role="user",
            parts=tuple(TextPart(part) if isinstance(part, str) else part for part in parts),
        )

    def _with_id(self, command: Send) -> Send:
        """In 0.1 the client makes the id of the task."""
        if self._dialect.generation is Generation.V01 and command.task_id is None:
            return replace(command, task_id=self._ids("task"), may_create=True)
        return command

    async def _ask(self, operation: Operation, command: Command) -> Update:
        method, params = self._dialect.request(operation, command)
        body = encode_request(self._ids("req"), method, params)
        try:
            async with self._http.stream(
                "POST", self.url, content=body, headers=self._headers()
            ) as response:
                answer = await self._read_whole(response)
        except httpx2.HTTPError as error:
            message = f"{self.url} does not answer: {str(error) or type(error).__name__}"
            raise PeerUnreachable(message) from error
        return self._read_answer(response.status_code, answer)

    async def _read_whole(self, response: httpx2.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > _MAX_ANSWER_BYTES:
                message = f"{self.url} answered with more than {_MAX_ANSWER_BYTES} bytes"
                raise PeerError(message)
            chunks.append(chunk)
        return b"".join(chunks)

    def _headers(self, after: int | None = None) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if self._dialect.generation is not Generation.V01:
            headers["A2A-Version"] = str(self._dialect.generation)
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        return headers

    def _read_answer(self, status: int, body: bytes) -> Update:
        try:
            answer = parse_response(body)
        except JsonRpcError as error:
            if status == _OK:
                message = f"{self.url} answered what is no JSON-RPC: {error}"
                raise PeerError(message) from None
            text = body[:200].decode(errors="replace").strip()
            raise PeerRefused(status, f"{self.url} answered HTTP {status}: {text}") from None
        if answer.error is not None:
            raise PeerRefused(answer.error.code, answer.error.message)
        try:
            return self._dialect.receive(answer.result)
        except A2aError as error:
            message = f"{self.url}: {error}"
            raise PeerError(message) from None

    async def _follow(
        self, operation: Operation, command: Command, after: int | None
    ) -> AsyncGenerator[Received, None]:
        stream = ClientStream(self._dialect)
        stream.cursor = after or 0
        loop = asyncio.get_running_loop()
        attempt = 0
        last_news = loop.time()
        asked = operation is Operation.STREAM
        while not (stream.complete or (asked and stream.state in INTERRUPTED)):
            try:
                async with aclosing(self._connection(stream, operation, command, after)) as news:
                    async for received in news:
                        attempt = 0
                        last_news = loop.time()
                        yield received
            except PeerRefused as refusal:
                followed = command.task_id if isinstance(command, Subscribe) else None
                ended = await self._ended(stream.task_id or followed, refusal)
                yield Received(None, ended)
                return
            except _Dropped as drop:
                if asked and stream.state in INTERRUPTED:
                    return  # 1.0 has no word for it: the stream of a sender just ends here
                attempt += 1
                _log.info("stream_dropped", why=str(drop), cursor=stream.cursor)
                delay = self._patience.delay(attempt, drop.hint)
                if loop.time() + delay - last_news > self._patience.give_up_after:
                    message = f"{self.url} is lost after {attempt} tries: {drop}"
                    raise PeerUnreachable(message) from drop
                await asyncio.sleep(delay)
                operation, command = self._next_try(stream, operation, command)
                after = stream.cursor or None
                stream.reconnect()

    async def _ended(self, task_id: str | None, refusal: PeerRefused) -> Update:
        """Return how a task ended that cannot be followed any more.

        For that each server has a code of its own, some in an answer and some on the stream.

        Raises:
            PeerRefused: that was not the reason.

        """
        if task_id is None:
            raise refusal
        update = await self.get(task_id)
        if not _ends(update):
            raise refusal
        return update

    def _next_try(
        self, stream: ClientStream, operation: Operation, command: Command
    ) -> tuple[Operation, Command]:
        """Once the task is known it is followed; before, the same message is sent again."""
        if stream.task_id is None:
            return operation, command
        return Operation.SUBSCRIBE, Subscribe(task_id=stream.task_id)

    async def _connection(
        self, stream: ClientStream, operation: Operation, command: Command, after: int | None
    ) -> AsyncGenerator[Received, None]:
        """Yield what one connection brings.

        Raises:
            _Dropped: it ended before the stream did.

        """
        method, params = self._dialect.request(operation, command)
        body = encode_request(self._ids("req"), method, params)
        try:
            async with self._http.stream(
                "POST", self.url, content=body, headers=self._headers(after)
            ) as response:
                if response.status_code in _UNAVAILABLE:
                    wait = response.headers.get("retry-after", "")
                    hint = float(wait) if wait.isdecimal() else None
                    why = f"HTTP {response.status_code}"
                    raise _Dropped(why, hint)
                media_type = response.headers.get("content-type", "").partition(";")[0].strip()
                if media_type != "text/event-stream":
                    update = self._read_answer(
                        response.status_code, await self._read_whole(response)
                    )
                    stream.complete = _ends(update)
                    yield Received(None, update)
                else:
                    async for received in _read(response, stream):
                        yield received
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise _Dropped(why, _hint(stream)) from error
        except A2aError as error:
            message = f"{self.url}: {error}"
            raise PeerError(message) from error
        if not stream.complete:
            why = "the stream ended early"
            raise _Dropped(why, _hint(stream))


async def _read(response: httpx2.Response, stream: ClientStream) -> AsyncGenerator[Received, None]:
    async for chunk in response.aiter_bytes():
        for received in stream.receive(chunk):
            yield received
        if stream.complete:
            return
    for received in stream.receive(b""):
        yield received


def _ends(update: Update) -> bool:
    if isinstance(update, MessageReplied):
        return True
    return isinstance(update, TaskReceived) and update.state in TERMINAL | INTERRUPTED


def _hint(stream: ClientStream) -> float | None:
    """Return what the server's ``retry:`` asked for, in seconds."""
    return None if stream.retry_ms is None else stream.retry_ms / 1_000
