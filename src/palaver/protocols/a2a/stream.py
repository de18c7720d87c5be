"""Both ends of a stream (stubs)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from palaver.model.events import TaskEvent
from palaver.model.task import Task, TaskState
from palaver.protocols.a2a.commands import Dialect, Update
from palaver.protocols.a2a.errors import A2aError
from palaver.protocols.jsonrpc import RequestId


class ServerStream:
    cursor: int
    closed: bool

    def __init__(
        self,
        dialect: Dialect,
        request_id: RequestId,
        conversation_id: str,
        task_id: str,
        *,
        retry_ms: int,
        close_when_interrupted: bool,
        history_length: int | None = None,
        cursor: int = 0,
    ) -> None:
        raise NotImplementedError

    def open(self, task: Task) -> bytes:
        raise NotImplementedError

    def receive(self, events: Iterable[TaskEvent]) -> bytes:
        raise NotImplementedError

    def fail(self, error: A2aError) -> bytes:
        raise NotImplementedError

    def heartbeat(self) -> bytes:
        raise NotImplementedError

    def bye(self) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Received:
    seq: int | None
    update: Update


class ClientStream:
    cursor: int
    task_id: str | None
    conversation_id: str | None
    state: TaskState | None
    complete: bool

    def __init__(self, dialect: Dialect, *, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        raise NotImplementedError

    def receive(self, chunk: bytes) -> list[Received]:
        """Raises PeerRefused for an error object, InvalidAgentResponse for what is no event.

        What came before it in the same chunk is returned first; the next call raises
        (``receive(b"")`` at the end of the bytes).
        """
        raise NotImplementedError

    def reconnect(self) -> None:
        """Forget half a block: a new connection follows, asked to resume after ``cursor``."""
        raise NotImplementedError
