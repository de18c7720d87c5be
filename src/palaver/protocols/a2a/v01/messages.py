"""The messages of A2A 0.1, field by field: parts are told apart by ``type``.

Optional members may be null. Of the two events a stream knows no more than what they hold: there
is no task and no message on it.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeAlias

from pydantic import model_validator

from palaver.protocols.a2a.fields import (
    Artifacts,
    FileContent,
    Flag,
    History,
    HistoryLength,
    Id,
    Index,
    Metadata,
    Modes,
    Name,
    Parts,
    Status,
    TaskIdParams,
    TaskQueryParams,
    Text,
    WireModel,
    check_tag,
)
from palaver.protocols.jsonrpc import RequestId

__all__ = [
    "Artifact",
    "FileContent",
    "JSONRPCRequest",
    "Message",
    "MessagePart",
    "Task",
    "TaskArtifactUpdateEvent",
    "TaskIdParams",
    "TaskQueryParams",
    "TaskSendParams",
    "TaskStatus",
    "TaskStatusUpdateEvent",
    "WireState",
]

WireState: TypeAlias = Literal[
    "submitted", "working", "input-required", "completed", "failed", "canceled", "unknown"
]


class MessagePart(WireModel):
    """Text, a file, or an object or array, as ``type`` says."""

    type: Literal["text", "file", "data"]
    text: Text | None = None
    file: FileContent | None = None
    data: Any = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _what_type_says(self) -> Self:
        if not isinstance(self.data, dict | list | None):
            raise ValueError("must hold an object or an array in data")  # noqa: TRY004 -- pydantic's
        check_tag(self, "type")
        return self


class Message(WireModel):
    """One thing said by one side. It has no id."""

    role: Literal["user", "agent"]
    parts: Parts[MessagePart]
    metadata: Metadata | None = None


class Artifact(WireModel):
    """Something that a task made, or a chunk of it, known by its place ``index``."""

    name: Name | None = None
    description: Text | None = None
    parts: Parts[MessagePart]
    index: Index = 0
    append: Flag | None = None
    last_chunk: Flag | None = None
    metadata: Metadata | None = None


class TaskStatus(Status[WireState, Message]):
    """Where a task stands, since when, and what the agent says to it."""


class Task(WireModel):
    """A task as a whole."""

    id: Id
    session_id: Id | None = None
    status: TaskStatus
    artifacts: Artifacts[Artifact] | None = None
    history: History[Message] | None = None
    metadata: Metadata | None = None


class TaskStatusUpdateEvent(WireModel):
    """The status of a task changed. ``final``: the stream ends here."""

    id: Id
    status: TaskStatus
    final: Flag | None = None
    metadata: Metadata | None = None


class TaskArtifactUpdateEvent(WireModel):
    """An artifact came, or a chunk of one."""

    id: Id
    artifact: Artifact
    metadata: Metadata | None = None


class TaskSendParams(WireModel):
    """The params of tasks/send and tasks/sendSubscribe. The client makes the ids."""

    id: Id
    session_id: Id | None = None
    message: Message
    accepted_output_modes: Modes = ()
    push_notification: Metadata | None = None
    history_length: HistoryLength | None = None
    metadata: Metadata | None = None


class JSONRPCRequest(WireModel):
    """The request of the legacy plan, as a whole."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId = None
    method: Literal["tasks/sendSubscribe", "tasks/send"] = "tasks/sendSubscribe"
    params: TaskSendParams
