"""The messages of A2A 0.1, field by field: parts are told apart by ``type``.

Optional members may be null. Of the two events a stream knows no more than what they hold: there
is no task and no message on it.
"""

from __future__ import annotations

from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from palaver.protocols.a2a.fields import (
    MAX_HISTORY,
    MAX_PARTS,
    Base64,
    Flag,
    HistoryLength,
    Id,
    Index,
    MediaType,
    Metadata,
    Modes,
    Name,
    Text,
    Timestamp,
    Uri,
    WireModel,
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


class FileContent(WireModel):
    """A file: its bytes in base64, or where it can be fetched."""

    name: Name | None = None
    mime_type: MediaType | None = None
    bytes: Base64 | None = None
    uri: Uri | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.bytes is None) == (self.uri is None):
            raise ValueError("must hold exactly one of bytes and uri")
        return self


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
        if getattr(self, self.type) is None:
            raise ValueError(f"must hold {self.type}, as its type says")
        return self


class Message(WireModel):
    """One thing said by one side. It has no id."""

    role: Literal["user", "agent"]
    parts: tuple[MessagePart, ...] = Field(min_length=1, max_length=MAX_PARTS)
    metadata: Metadata | None = None


class Artifact(WireModel):
    """Something that a task made, or a chunk of it, known by its place ``index``."""

    name: Name | None = None
    description: Text | None = None
    parts: tuple[MessagePart, ...] = Field(min_length=1, max_length=MAX_PARTS)
    index: Index = 0
    append: Flag | None = None
    last_chunk: Flag | None = None
    metadata: Metadata | None = None


class TaskStatus(WireModel):
    """Where a task stands, since when, and what the agent says to it."""

    state: WireState
    message: Message | None = None
    timestamp: Timestamp | None = None


class Task(WireModel):
    """A task as a whole."""

    id: Id
    session_id: Id | None = None
    status: TaskStatus
    artifacts: tuple[Artifact, ...] | None = Field(None, max_length=MAX_PARTS)
    history: tuple[Message, ...] | None = Field(None, max_length=MAX_HISTORY)
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


class TaskIdParams(WireModel):
    """The params of tasks/cancel."""

    id: Id
    metadata: Metadata | None = None


class TaskQueryParams(WireModel):
    """The params of tasks/get and tasks/resubscribe."""

    id: Id
    history_length: HistoryLength | None = None
    metadata: Metadata | None = None


class JSONRPCRequest(WireModel):
    """The request of the legacy plan, as a whole."""

    jsonrpc: Literal["2.0"] = "2.0"
    id: RequestId = None
    method: Literal["tasks/sendSubscribe", "tasks/send"] = "tasks/sendSubscribe"
    params: TaskSendParams
