"""What an A2A request means to the engine: a request in, an answer or a stream out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from palaver.auth.principal import ANONYMOUS
from palaver.engine.engine import Engine, Submission
from palaver.errors import ModelError, StorageError, TaskError, TaskNotFound
from palaver.model.task import Task
from palaver.protocols.a2a.commands import (
    Cancel,
    Command,
    Dialect,
    Generation,
    Get,
    Operation,
    Send,
    Subscribe,
)
from palaver.protocols.a2a.errors import (
    A2aError,
    InvalidParams,
    ServerBusy,
    UnsupportedOperation,
    from_task_error,
)
from palaver.protocols.a2a.mapping import dialect, wire_name
from palaver.protocols.a2a.methods import Call, settle
from palaver.protocols.a2a.stream import ServerStream
from palaver.protocols.jsonrpc import Request

__all__ = ["STREAMING", "A2aCalls", "OpenStream", "shown_in"]

_log = structlog.get_logger("palaver.a2a")

STREAMING: Final = frozenset({Operation.STREAM, Operation.SUBSCRIBE})
"""Operations that are answered by a stream."""


@dataclass(slots=True)
class OpenStream:
    """A stream that is ready to be sent: ``snapshot`` first, or on from the stream's cursor."""

    stream: ServerStream
    task_id: str
    snapshot: Task | None


class A2aCalls:
    """Performs the calls of one agent's callers.

    ``send_timeout`` (seconds) is how long a blocking send waits; ``retry_ms`` when the client of a
    broken stream should come back.
    """

    def __init__(self, engine: Engine, *, send_timeout: float, retry_ms: int) -> None:
        self._engine = engine
        self._send_timeout = send_timeout
        self._retry_ms = retry_ms

    async def perform(
        self, request: Request, call: Call, agent_id: str, cursor: int | None
    ) -> bytes | OpenStream:
        """Return the JSON of the result, or the stream that answers.

        Raises:
            A2aError: the request is refused.

        """
        try:
            spoken = dialect(call.generation or await self._settle(request, call))
            command = spoken.parse(call.operation, request.params)
            if call.operation in STREAMING:
                return await self._stream(request, spoken, command, agent_id, cursor)
            return await self._result(request, spoken, command, agent_id)
        except (TaskError, ModelError) as error:
            raise shown_in(call.generation, from_task_error(error, call.operation)) from error
        except StorageError as error:
            _log.error("store_trouble", error=str(error))
            raise ServerBusy("the store does not answer", generation=call.generation) from error

    async def _settle(self, request: Request, call: Call) -> Generation:
        """Tell the generation of a method that two have by the task that it is about."""
        task_id = request.params.get("id")
        wire = None
        if isinstance(task_id, str) and task_id:
            try:
                wire = (await self._engine.get(task_id, ANONYMOUS)).wire
            except TaskNotFound:
                wire = None
        return settle(call, wire, request.params)

    async def _result(
        self, request: Request, spoken: Dialect, command: Command, agent_id: str
    ) -> bytes:
        engine = self._engine
        if isinstance(command, Send):
            task = await engine.submit(_submission(spoken, command, agent_id))
            if command.blocking and not task.settled:
                task = await engine.settled(task.id, self._send_timeout)
            return spoken.send_result(task, command.history_length)
        if isinstance(command, Get):
            return spoken.task_result(await engine.get(command.task_id), command.history_length)
        if isinstance(command, Cancel):
            return spoken.task_result(await engine.cancel(command.task_id))
        message = f"{request.method} has no answer but a stream"
        raise UnsupportedOperation(message)

    async def _stream(
        self,
        request: Request,
        spoken: Dialect,
        command: Command,
        agent_id: str,
        cursor: int | None,
    ) -> OpenStream:
        if isinstance(command, Send):
            task = await self._submit_or_resume(spoken, command, agent_id, cursor)
        elif isinstance(command, Subscribe):
            task = await self._engine.get(command.task_id)
        else:
            message = f"{request.method} has no stream"
            raise UnsupportedOperation(message, generation=spoken.generation)
        if task.terminal and cursor == task.seq:
            cursor = None  # nothing will ever come behind it: do not let the client wait
        _check_followed(spoken, command, task, cursor)
        stream = ServerStream(
            spoken,
            request.id,
            task.conversation_id,
            task.id,
            retry_ms=self._retry_ms,
            # A subscriber to a task that waits for input stays; a sender has its answer.
            close_when_interrupted=isinstance(command, Send),
            history_length=command.history_length,
            cursor=cursor or 0,
        )
        return OpenStream(stream, task.id, task if cursor is None else None)

    async def _submit_or_resume(
        self, spoken: Dialect, command: Send, agent_id: str, cursor: int | None
    ) -> Task:
        """Return the task of the message. With a cursor the request repeats an earlier one."""
        submission = _submission(spoken, command, agent_id)
        return await (self._engine.find(submission) if cursor else self._engine.submit(submission))


def _submission(spoken: Dialect, command: Send, agent_id: str) -> Submission:
    return Submission(
        agent_id=command.tenant or agent_id,
        message=command.message,
        wire=wire_name(spoken.generation),
        task_id=command.task_id,
        conversation_id=command.conversation_id,
        may_create=command.may_create,
        metadata=command.metadata,
    )


def _check_followed(spoken: Dialect, command: Command, task: Task, cursor: int | None) -> None:
    """Refuse to follow what cannot be followed.

    1.0 §3.1.6: not a task that has ended; the older ones show how it did. A cursor asks for what
    was missed, so it may not be ahead of the task.
    """
    following = isinstance(command, Subscribe) and spoken.generation is Generation.V10
    if task.terminal and following and cursor is None:
        message = f"task {task.id!r} is {task.state}: there is nothing to follow"
        raise UnsupportedOperation(message, generation=spoken.generation)
    if cursor is not None and cursor > task.seq:
        message = f"the cursor {cursor} is beyond the last event of the task, {task.seq}"
        raise InvalidParams(message, generation=spoken.generation)


def shown_in(generation: Generation | None, error: A2aError) -> A2aError:
    """Return the error, to be answered in that generation.

    An error that its raiser names is a cycle with its frame: it, and the body of a request that is
    none, would be held until the collector comes round.
    """
    error.generation = generation
    return error
