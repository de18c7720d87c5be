"""The messages of A2A 1.0, field by field (ProtoJSON: camelCase, unset members omitted)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, model_validator

from palaver.protocols.a2a.fields import (
    Artifacts,
    ArtifactUpdate,
    Base64,
    Configuration,
    Flag,
    History,
    HistoryLength,
    Id,
    Ids,
    MediaType,
    Metadata,
    Name,
    Parts,
    Status,
    Text,
    Uri,
    Uris,
    WireModel,
)

__all__ = [
    "Artifact",
    "CancelTaskRequest",
    "GetTaskRequest",
    "Message",
    "Part",
    "SendMessageConfiguration",
    "SendMessageRequest",
    "StreamResponse",
    "SubscribeToTaskRequest",
    "Task",
    "TaskArtifactUpdateEvent",
    "TaskStatus",
    "TaskStatusUpdateEvent",
    "WireRole",
    "WireState",
]

WireRole: TypeAlias = Literal["ROLE_USER", "ROLE_AGENT"]

WireState: TypeAlias = Literal[
    "TASK_STATE_UNSPECIFIED",
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_REJECTED",
    "TASK_STATE_AUTH_REQUIRED",
]


def _unset_for_empty(value: Any) -> Any:
    return None if value == "" else value


# A proto3 string that is not set equals an empty one, and some writers spell that out.
_OptionalId: TypeAlias = Annotated[Id | None, BeforeValidator(_unset_for_empty)]

_PART_MEMBERS: Final = ("text", "raw", "url", "data")


class Part(WireModel):
    """Exactly one of ``text``, ``raw`` (base64), ``url`` and ``data`` (any JSON value)."""

    text: Text | None = None
    raw: Base64 | None = None
    url: Uri | None = None
    data: Any = None
    filename: Name | None = None
    media_type: MediaType | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in _PART_MEMBERS if getattr(self, name) is not None]
        # A null is a value of ``data`` where nothing else is there.
        if len(given) > 1 or not (given or "data" in self.model_fields_set):
            raise ValueError("must hold exactly one of text, raw, url and data")
        return self


class Message(WireModel):
    """One thing said by one side."""

    message_id: Id
    role: WireRole
    parts: Parts[Part]
    context_id: _OptionalId = None
    task_id: _OptionalId = None
    metadata: Metadata | None = None
    extensions: Uris = ()
    reference_task_ids: Ids = ()


class Artifact(WireModel):
    """Something that a task made, or a chunk of it."""

    artifact_id: Id
    parts: Parts[Part]
    name: Name | None = None
    description: Text | None = None
    metadata: Metadata | None = None
    extensions: Uris = ()


class TaskStatus(Status[WireState, Message]):
    """Where a task stands, since when, and what the agent says to it."""

    state: WireState = "TASK_STATE_UNSPECIFIED"


class Task(WireModel):
    """A task as a whole."""

    id: Id
    status: TaskStatus
    context_id: _OptionalId = None
    artifacts: Artifacts[Artifact] | None = None
    history: History[Message] | None = None
    metadata: Metadata | None = None


class TaskStatusUpdateEvent(WireModel):
    """The status of a task changed."""

    task_id: Id
    context_id: Id
    status: TaskStatus
    metadata: Metadata | None = None


class TaskArtifactUpdateEvent(ArtifactUpdate[Artifact]):
    """An artifact came, or a chunk of one."""


class SendMessageConfiguration(Configuration):
    """How the caller wants to be answered."""

    return_immediately: Flag | None = None
    task_push_notification_config: Metadata | None = None


class SendMessageRequest(WireModel):
    """The params of SendMessage and SendStreamingMessage."""

    message: Message
    tenant: _OptionalId = None
    configuration: SendMessageConfiguration | None = None
    metadata: Metadata | None = None


class GetTaskRequest(WireModel):
    """The params of GetTask."""

    id: Id
    tenant: _OptionalId = None
    history_length: HistoryLength | None = None


class CancelTaskRequest(WireModel):
    """The params of CancelTask."""

    id: Id
    tenant: _OptionalId = None
    metadata: Metadata | None = None


class SubscribeToTaskRequest(WireModel):
    """The params of SubscribeToTask."""

    id: Id
    tenant: _OptionalId = None


class StreamResponse(WireModel):
    """The ``result`` of a stream event, and of SendMessage: exactly one member."""

    task: Task | None = None
    message: Message | None = None
    status_update: TaskStatusUpdateEvent | None = None
    artifact_update: TaskArtifactUpdateEvent | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError("must hold exactly one of task, message, statusUpdate, artifactUpdate")
        return self
