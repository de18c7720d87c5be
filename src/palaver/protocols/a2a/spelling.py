"""Messages, artifacts and tasks as 1.0 and 0.3 have them, both ways.

The two build alike and spell differently: what differs is a generation's ``Spelling``, what is
built of it stands here. 0.1 has no ids of messages and artifacts and no contexts: it has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from palaver.model.content import Artifact, Message, Part, Role
from palaver.model.task import Task, TaskState
from palaver.protocols.a2a import facts, messages
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Cancel,
    Get,
    MessageReplied,
    Send,
    StatusReceived,
    Subscribe,
    TaskReceived,
)
from palaver.protocols.a2a.facts import Wire
from palaver.protocols.a2a.fields import Configuration
from palaver.protocols.a2a.v03 import messages as v03

__all__ = [
    "Spelling",
    "ids_of",
    "read_artifact_update",
    "read_message",
    "read_reply",
    "read_send",
    "read_status_update",
    "read_task",
    "render_artifact",
    "render_send",
    "render_status",
    "render_target",
    "render_task",
    "states_by_name",
]

WireMessage: TypeAlias = messages.Message | v03.Message
WireArtifact: TypeAlias = messages.Artifact | v03.Artifact
WireTask: TypeAlias = messages.Task | v03.Task
WireStatusUpdate: TypeAlias = messages.TaskStatusUpdateEvent | v03.TaskStatusUpdateEvent
WireArtifactUpdate: TypeAlias = messages.TaskArtifactUpdateEvent | v03.TaskArtifactUpdateEvent
WireSend: TypeAlias = messages.SendMessageRequest | v03.MessageSendParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How a generation spells parts, roles and states, and the tags of its objects."""

    render_part: Callable[[Part], Wire]
    read_part: Callable[[Any], Part]
    roles: Mapping[Role, str]
    roles_by_name: Mapping[str, Role]
    states: Mapping[TaskState, str]
    states_by_name: Mapping[str, TaskState]
    message_tag: Mapping[str, str]
    task_tag: Mapping[str, str]


def states_by_name(states: Mapping[TaskState, str], unknown: str) -> Mapping[str, TaskState]:
    """Return the states by their names, and that of ``unknown``.

    A peer that does not know what became of a task will not bring it to an end either.
    """
    named = {name: state for state, name in states.items()}
    return MappingProxyType({**named, unknown: TaskState.FAILED})


# --- model → wire --------------------------------------------------------------------------


def ids_of(task_id: str | None, conversation_id: str | None) -> dict[str, str]:
    """Return the members that say where something belongs."""
    ids: dict[str, str] = {}
    if task_id is not None:
        ids["taskId"] = task_id
    if conversation_id is not None:
        ids["contextId"] = conversation_id
    return ids


def render_message(spelling: Spelling, message: Message, ids: Mapping[str, str]) -> Wire:
    """Return ``message``, which belongs where ``ids`` say."""
    wire: Wire = {
        **spelling.message_tag,
        "messageId": message.id,
        "role": spelling.roles[message.role],
        "parts": facts.parts(spelling.render_part, message.parts),
        **ids,
    }
    if message.metadata:
        wire["metadata"] = message.metadata
    if message.extensions:
        wire["extensions"] = message.extensions
    if message.reference_task_ids:
        wire["referenceTaskIds"] = message.reference_task_ids
    return wire


def render_artifact(spelling: Spelling, artifact: Artifact) -> Wire:
    """Return ``artifact``, or the chunk of one."""
    parts = facts.parts(spelling.render_part, artifact.parts)
    wire = facts.described({"artifactId": artifact.id, "parts": parts}, artifact)
    if artifact.extensions:
        wire["extensions"] = artifact.extensions
    return wire


def render_status(
    spelling: Spelling,
    state: TaskState,
    at: float,
    message: Message | None,
    ids: Mapping[str, str],
) -> Wire:
    """Return the status of the task of ``ids``, in ``state`` since ``at``."""
    said = None if message is None else render_message(spelling, message, ids)
    return facts.status(spelling.states[state], at, said)


def render_task(spelling: Spelling, task: Task, history_length: int | None) -> Wire:
    """Return ``task`` with the last ``history_length`` messages of its history."""
    ids = ids_of(task.id, task.conversation_id)
    wire: Wire = {
        **spelling.task_tag,
        "id": task.id,
        "contextId": task.conversation_id,
        "status": render_status(spelling, task.state, task.state_at, task.status_message, ids),
    }
    if task.artifacts:
        wire["artifacts"] = [render_artifact(spelling, artifact) for artifact in task.artifacts]
    if history := facts.recent(task.history, history_length):
        wire["history"] = [render_message(spelling, message, ids) for message in history]
    return facts.with_metadata(wire, {**(task.metadata or {}), **facts.progress(task)})


def render_send(spelling: Spelling, command: Send, configuration: Wire) -> Wire:
    """Return the params of a send, with ``configuration`` where there is any."""
    ids = ids_of(command.task_id, command.conversation_id)
    params: Wire = {"message": render_message(spelling, command.message, ids)}
    if configuration:
        params["configuration"] = configuration
    return facts.with_metadata(params, dict(command.metadata or {}))


def render_target(command: Get | Cancel | Subscribe) -> Wire:
    """Return the params of a request about a task; history is for those who get it."""
    length = command.history_length if isinstance(command, Get) else None
    return facts.target(command.task_id, length)


# --- wire → model --------------------------------------------------------------------------


def read_message(spelling: Spelling, message: WireMessage) -> Message:
    """Return what was said."""
    return Message(
        id=message.message_id,
        role=spelling.roles_by_name[message.role],
        parts=tuple(map(spelling.read_part, message.parts)),
        metadata=message.metadata,
        extensions=message.extensions,
        reference_task_ids=message.reference_task_ids,
    )


def read_send(
    spelling: Spelling,
    request: WireSend,
    configuration: Configuration,
    *,
    blocking: bool,
    tenant: str | None = None,
) -> Send:
    """Return the command that a send means."""
    return Send(
        message=read_message(spelling, request.message),
        task_id=request.message.task_id,
        conversation_id=request.message.context_id,
        blocking=blocking,
        history_length=configuration.history_length,
        accepted_output_modes=configuration.accepted_output_modes,
        metadata=request.metadata,
        tenant=tenant,
    )


def read_reply(spelling: Spelling, message: WireMessage) -> MessageReplied:
    """Return the message as the answer that it is."""
    reply = read_message(spelling, message)
    return MessageReplied(message=reply, conversation_id=message.context_id)


def read_task(spelling: Spelling, task: WireTask) -> TaskReceived:
    """Return the whole task."""
    return TaskReceived(
        task_id=task.id,
        conversation_id=task.context_id,
        state=spelling.states_by_name[task.status.state],
        message=_optional_message(spelling, task.status.message),
        artifacts=tuple(_read_artifact(spelling, artifact) for artifact in task.artifacts or ()),
        history=tuple(read_message(spelling, message) for message in task.history or ()),
        metadata=task.metadata,
    )


def read_status_update(
    spelling: Spelling, update: WireStatusUpdate, *, final: bool
) -> StatusReceived:
    """Return the change of state, which may be the ``final`` word of a stream."""
    return StatusReceived(
        task_id=update.task_id,
        conversation_id=update.context_id,
        state=spelling.states_by_name[update.status.state],
        message=_optional_message(spelling, update.status.message),
        final=final,
        metadata=update.metadata,
    )


def read_artifact_update(spelling: Spelling, update: WireArtifactUpdate) -> ArtifactReceived:
    """Return the artifact, or the chunk of one."""
    return ArtifactReceived(
        task_id=update.task_id,
        conversation_id=update.context_id,
        artifact=_read_artifact(spelling, update.artifact),
        append=bool(update.append),
        last=bool(update.last_chunk),
    )


def _read_artifact(spelling: Spelling, artifact: WireArtifact) -> Artifact:
    return Artifact(
        id=artifact.artifact_id,
        parts=tuple(map(spelling.read_part, artifact.parts)),
        name=artifact.name,
        description=artifact.description,
        metadata=artifact.metadata,
        extensions=artifact.extensions,
    )


def _optional_message(spelling: Spelling, message: WireMessage | None) -> Message | None:
    return None if message is None else read_message(spelling, message)
