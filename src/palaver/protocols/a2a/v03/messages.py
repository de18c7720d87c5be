"""The messages of A2A 0.3, field by field: objects are told apart by ``kind``."""

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
    Ids,
    MediaType,
    Metadata,
    Modes,
    Name,
    Text,
    Timestamp,
    Uri,
    Uris,
    WireModel,
)

__all__ = [
    "Artifact",
    "File",
    "Message",
    "MessageSendConfiguration",
    "MessageSendParams",
    "Part",
    "Task",
    "TaskArtifactUpdateEvent",
    "TaskIdParams",
    "TaskQueryParams",
    "TaskStatus",
    "TaskStatusUpdateEvent",
    "WireState",
]

WireState: TypeAlias = Literal[
    "submitted",
    "working",
    "input-required",
    "auth-required",
    "completed",
    "failed",
    "canceled",
    "rejected",
    "unknown",
]


class File(WireModel):
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


class Part(WireModel):
    """Text, a file or an object, as ``kind`` says."""

    kind: Literal["text", "file", "data"]
    text: Text | None = None
    file: File | None = None
    data: dict[str, Any] | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _what_kind_says(self) -> Self:
        if getattr(self, self.kind) is None:
            raise ValueError(f"must hold {self.kind}, as its kind says")
        return self


class Message(WireModel):
    """One thing said by one side."""

    kind: Literal["message"] = "message"
    message_id: Id
    role: Literal["user", "agent"]
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MAX_PARTS)
    task_id: Id | None = None
    context_id: Id | None = None
    reference_task_ids: Ids = ()
    extensions: Uris = ()
    metadata: Metadata | None = None


class Artifact(WireModel):
    """Something that a task made, or a chunk of it."""

    artifact_id: Id
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MAX_PARTS)
    name: Name | None = None
    description: Text | None = None
    extensions: Uris = ()
    metadata: Metadata | None = None


class TaskStatus(WireModel):
    """Where a task stands, since when, and what the agent says to it."""

    state: WireState
    message: Message | None = None
    timestamp: Timestamp | None = None


class Task(WireModel):
    """A task as a whole."""

    kind: Literal["task"] = "task"
    id: Id
    context_id: Id
    status: TaskStatus
    artifacts: tuple[Artifact, ...] | None = Field(None, max_length=MAX_PARTS)
    history: tuple[Message, ...] | None = Field(None, max_length=MAX_HISTORY)
    metadata: Metadata | None = None


class TaskStatusUpdateEvent(WireModel):
    """The status of a task changed. ``final``: the stream ends here."""

    kind: Literal["status-update"]
    task_id: Id
    context_id: Id
    status: TaskStatus
    final: Flag
    metadata: Metadata | None = None


class TaskArtifactUpdateEvent(WireModel):
    """An artifact came, or a chunk of one."""

    kind: Literal["artifact-update"]
    task_id: Id
    context_id: Id
    artifact: Artifact
    append: Flag | None = None
    last_chunk: Flag | None = None
    metadata: Metadata | None = None


class MessageSendConfiguration(WireModel):
    """How the caller wants to be answered."""

    accepted_output_modes: Modes = ()
    history_length: HistoryLength | None = None
    blocking: Flag | None = None
    push_notification_config: Metadata | None = None


class MessageSendParams(WireModel):
    """The params of message/send and message/stream."""

    message: Message
    configuration: MessageSendConfiguration | None = None
    metadata: Metadata | None = None


class TaskIdParams(WireModel):
    """The params of tasks/cancel and tasks/resubscribe."""

    id: Id
    metadata: Metadata | None = None


class TaskQueryParams(WireModel):
    """The params of tasks/get."""

    id: Id
    history_length: HistoryLength | None = None
    metadata: Metadata | None = None
