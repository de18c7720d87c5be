"""Both ends of a stream: events of the log to blocks, blocks to updates.

``ServerStream`` is a cursor in the log of one task that speaks; ``ClientStream`` the cursor at the
other end, which tells what it has seen from what is new. A dropped connection costs nothing: the
client asks for what comes after its cursor (``Last-Event-ID``) and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from palaver.errors import PalaverError, PeerRefused
from palaver.model.events import StatusChanged, TaskCreated, TaskEvent
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState, fold
from palaver.protocols import jsonrpc, sse
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Dialect,
    Generation,
    MessageReplied,
    StatusReceived,
    Update,
)
from palaver.protocols.a2a.errors import A2aError, InvalidAgentResponse, encode_error

__all__ = ["ClientStream", "Received", "ServerStream"]

_MAX_SEQ_DIGITS: Final = 18
_SETTLED: Final = TERMINAL | INTERRUPTED


class ServerStream:
    """Turns a task and its events into the blocks of one response.

    ``cursor`` is the last event that was said, or that the client has seen before. ``closed`` is
    set with the block after which the generation wants the stream to end.
    """

    def __init__(
        self,
        dialect: Dialect,
        request_id: jsonrpc.RequestId,
        conversation_id: str,
        task_id: str,
        *,
        retry_ms: int,
        close_when_interrupted: bool,
        history_length: int | None = None,
        cursor: int = 0,
    ) -> None:
        """Answer the request ``request_id``; begin after event ``cursor``.

        ``close_when_interrupted`` matters in 1.0 only: before it, a status that asks for input says
        ``final``, so the stream ends there.
        """
        self.cursor = cursor
        self.closed = False
        self._dialect = dialect
        self._request_id = request_id
        self._conversation_id = conversation_id
        self._task_id = task_id
        self._retry_ms = retry_ms
        self._first_retry_ms: int | None = retry_ms
        self._history_length = history_length
        interrupting = close_when_interrupted or dialect.generation is not Generation.V10
        self._closing = _SETTLED if interrupting else TERMINAL
        # The same around every event of the stream, so made once.
        self._head = b'{"jsonrpc":"2.0","id":%b,"result":' % orjson.dumps(request_id)

    def open(self, task: Task) -> bytes:
        """Return the blocks that show ``task`` as it stands; the cursor moves to its last event."""
        shown = self._show(task)
        self.cursor = task.seq
        self._close_at(task.state)
        return shown

    def receive(self, events: Iterable[TaskEvent]) -> bytes:
        """Return the blocks of ``events``, without those at or below the cursor.

        After the block that closes the stream, nothing more is said.
        """
        blocks = []
        for event in events:
            if self.closed:
                break
            if event.seq <= self.cursor:
                continue
            self.cursor = event.seq
            if isinstance(event, TaskCreated):
                blocks.append(self._show(fold(self._task_id, (event,))))
                continue
            result = self._dialect.stream_event(self._task_id, self._conversation_id, event)
            if result is not None:
                blocks.append(self._block(result, event.seq))
            if isinstance(event, StatusChanged):
                self._close_at(event.state)
        return b"".join(blocks)

    def fail(self, error: A2aError) -> bytes:
        """Return the block that ends the stream with ``error``."""
        self.closed = True
        data = encode_error(self._request_id, error, self._dialect.generation)
        return sse.encode_block(data, None, self._first_retry())

    def heartbeat(self) -> bytes:
        """Return the line that shows that the stream lives."""
        return sse.HEARTBEAT

    def bye(self) -> bytes:
        """Return the line that tells when to come back, for a stream that ends before its time."""
        return sse.retry_hint(self._retry_ms)

    def _show(self, task: Task) -> bytes:
        *before, last = self._dialect.stream_task(task, self._history_length)
        # Only the last block moves the client's cursor: cut before it, all of them come again.
        blocks = [self._block(result, None) for result in before]
        return b"".join((*blocks, self._block(last, task.seq)))

    def _block(self, result: bytes, seq: int | None) -> bytes:
        return sse.encode_block(b"%b%b}" % (self._head, result), seq, self._first_retry())

    def _first_retry(self) -> int | None:
        retry_ms, self._first_retry_ms = self._first_retry_ms, None
        return retry_ms

    def _close_at(self, state: TaskState) -> None:
        if state in self._closing:
            self.closed = True


@dataclass(frozen=True, slots=True)
class Received:
    """An update, and the number of the event that it is, where the peer numbers them."""

    seq: int | None
    update: Update


class ClientStream:
    """Turns the bytes of one or more connections into updates, each of them once.

    ``cursor`` is what to resume after, ``state`` the last that the task was said to be in, and
    ``complete`` whether the peer said all: then the end of the bytes is no loss.
    """

    def __init__(self, dialect: Dialect, *, max_event_bytes: int = sse.MAX_EVENT_BYTES) -> None:
        """Read what a server of ``dialect`` sends."""
        self.cursor = 0
        self.task_id: str | None = None
        self.conversation_id: str | None = None
        self.state: TaskState | None = None
        self.complete = False
        self.retry_ms: int | None = None
        self._dialect = dialect
        self._max_event_bytes = max_event_bytes
        self._failure: PalaverError | None = None
        self._decoder = sse.Decoder(max_event_bytes)

    def receive(self, chunk: bytes) -> list[Received]:
        """Return the updates that ``chunk`` completes, without those seen before.

        What fails after updates in the same chunk is raised by the next call, so that they are not
        lost: call with ``b""`` when the bytes end.

        Raises:
            PeerRefused: the peer ended the stream with an error.
            InvalidAgentResponse: it sent what is no event of its generation.

        """
        if self._failure is not None:
            raise self._failure
        try:
            events = self._decoder.feed(chunk)
        except sse.SseError as error:
            detail = str(error)
            raise InvalidAgentResponse(detail, generation=self._dialect.generation) from None
        self.retry_ms = self._decoder.retry_ms or self.retry_ms
        received: list[Received] = []
        for event in events:
            try:
                update = self._take(event)
            except (PeerRefused, InvalidAgentResponse) as failure:
                self._failure = failure
                break
            if update is not None:
                received.append(update)
        if self._failure is not None and not received:
            raise self._failure
        return received

    def reconnect(self) -> None:
        """Forget half a block: the bytes of a new connection follow."""
        self._decoder = sse.Decoder(self._max_event_bytes)
        self._failure = None

    def _take(self, event: sse.ServerSentEvent) -> Received | None:
        seq = _seq(event.id)
        if seq is not None and seq <= self.cursor:
            return None
        try:
            response = jsonrpc.parse_response(event.data.encode())
        except jsonrpc.JsonRpcError as error:
            detail = error.message
            raise InvalidAgentResponse(detail, generation=self._dialect.generation) from None
        if response.error is not None:
            raise PeerRefused(response.error.code, response.error.message)
        update = self._dialect.receive(response.result)
        if seq is not None:
            self.cursor = seq
        self._learn(update)
        return Received(seq, update)

    def _learn(self, update: Update) -> None:
        self.conversation_id = update.conversation_id or self.conversation_id
        if isinstance(update, MessageReplied):
            self.complete = True
            return
        self.task_id = update.task_id
        if isinstance(update, ArtifactReceived):
            return
        self.state = update.state
        final = isinstance(update, StatusReceived) and update.final
        self.complete = final or update.state in TERMINAL


def _seq(event_id: str | None) -> int | None:
    """Return the number in an event's id; a peer that is not ours may write anything there."""
    if event_id is None or len(event_id) > _MAX_SEQ_DIGITS:
        return None
    return int(event_id) if event_id.isascii() and event_id.isdigit() else None
