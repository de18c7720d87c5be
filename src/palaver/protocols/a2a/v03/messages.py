"""The messages of A2A 0.3, field by field: objects are told apart by ``kind``."""

from __future__ import annotations

from typing import Any, Literal, Self, TypeAlias

from pydantic import model_validator

from palaver.protocols.a2a.fields import (
    Artifacts,
    ArtifactUpdate,
    Configuration,
    FileContent,
    Flag,
    History,
    Id,
    Ids,
    Metadata,
    Name,
    Parts,
    Status,
    TaskIdParams,
    TaskQueryParams,
    Text,
    Uris,
    WireModel,
    check_tag,
)

__all__ = [
    "Artifact",
    "FileContent",
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


class Part(WireModel):
    """Text, a file or an object, as ``kind`` says."""

    kind: Literal["text", "file", "data"]
    text: Text | None = None
    file: FileContent | None = None
    data: dict[str, Any] | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _what_kind_says(self) -> Self:
        check_tag(self, "kind")
        return self


class Message(WireModel):
    """One thing said by one side."""

    kind: Literal["message"] = "message"
    message_id: Id
    role: Literal["user", "agent"]
    parts: Parts[Part]
    task_id: Id | None = None
    context_id: Id | None = None
    reference_task_ids: Ids = ()
    extensions: Uris = ()
    metadata: Metadata | None = None


class Artifact(WireModel):
    """Something that a task made, or a chunk of it."""

    artifact_id: Id
    parts: Parts[Part]
    name: Name | None = None
    description: Text | None = None
    extensions: Uris = ()
    metadata: Metadata | None = None


class TaskStatus(Status[WireState, Message]):
    """Where a task stands, since when, and what the agent says to it."""


class Task(WireModel):
    """A task as a whole."""

    kind: Literal["task"] = "task"
    id: Id
    context_id: Id
    status: TaskStatus
    artifacts: Artifacts[Artifact] | None = None
    history: History[Message] | None = None
    metadata: Metadata | None = None


class TaskStatusUpdateEvent(WireModel):
    """The status of a task changed. ``final``: the stream ends here."""

    kind: Literal["status-update"]
    task_id: Id
    context_id: Id
    status: TaskStatus
    final: Flag
    metadata: Metadata | None = None


class TaskArtifactUpdateEvent(ArtifactUpdate[Artifact]):
    """An artifact came, or a chunk of one."""

    kind: Literal["artifact-update"]


class MessageSendConfiguration(Configuration):
    """How the caller wants to be answered."""

    blocking: Flag | None = None
    push_notification_config: Metadata | None = None


class MessageSendParams(WireModel):
    """The params of message/send and message/stream."""

    message: Message
    configuration: MessageSendConfiguration | None = None
    metadata: Metadata | None = None
