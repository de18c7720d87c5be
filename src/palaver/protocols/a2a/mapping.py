"""Model ↔ A2A 1.0, and the table of all dialects.

Results are built as dicts and written by orjson. A text chunk costs 0.9 µs that way (CPython 3.11);
validating and dumping the pydantic model costs 8 µs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, Role, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.task import Task, TaskState, fold
from palaver.protocols.a2a import facts, messages
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Cancel,
    Command,
    Dialect,
    Generation,
    Get,
    MessageReplied,
    Operation,
    Send,
    StatusReceived,
    Subscribe,
    TaskReceived,
    Update,
)
from palaver.protocols.a2a.errors import FieldViolation, InvalidAgentResponse, InvalidParams
from palaver.protocols.a2a.methods import method_name
from palaver.protocols.a2a.v01.mapping import V01
from palaver.protocols.a2a.v03.mapping import V03
from palaver.protocols.a2a.violations import check_params, check_result

__all__ = ["V01", "V03", "V10", "dialect", "wire_name"]

_ROLES: Final[Mapping[Role, str]] = MappingProxyType({"user": "ROLE_USER", "agent": "ROLE_AGENT"})
_STATES: Final = MappingProxyType({state: f"TASK_STATE_{state.name}" for state in TaskState})
_STATES_BY_NAME: Final[Mapping[str, TaskState]] = MappingProxyType(
    # A peer that does not know what became of a task will not bring it to an end either.
    {name: state for state, name in _STATES.items()} | {"TASK_STATE_UNSPECIFIED": TaskState.FAILED}
)
_MEMBERS: Final = ("task", "message", "statusUpdate", "artifactUpdate")
_SNAKE_MEMBERS: Final = ("status_update", "artifact_update")


class _V10:
    """A2A 1.0."""

    generation = Generation.V10

    def parse(self, operation: Operation, params: Mapping[str, Any]) -> Command:
        """Return the command that the params of a request mean."""
        match operation:
            case Operation.SEND | Operation.STREAM:
                return self._parse_send(params)
            case Operation.GET:
                get = check_params(messages.GetTaskRequest, params, self.generation)
                return Get(task_id=get.id, history_length=get.history_length, tenant=get.tenant)
            case Operation.CANCEL:
                cancel = check_params(messages.CancelTaskRequest, params, self.generation)
                return Cancel(task_id=cancel.id, tenant=cancel.tenant)
            case Operation.SUBSCRIBE:
                subscribe = check_params(messages.SubscribeToTaskRequest, params, self.generation)
                return Subscribe(task_id=subscribe.id, tenant=subscribe.tenant)
        raise ValueError(f"no command means {operation}")

    def _parse_send(self, params: Mapping[str, Any]) -> Send:
        request = check_params(messages.SendMessageRequest, params, self.generation)
        message = request.message
        if message.role != "ROLE_USER":
            violation = FieldViolation("message.role", "must be ROLE_USER: the caller is the user")
            raise InvalidParams(
                f"{violation.field} {violation.description}",
                field_violations=(violation,),
                generation=self.generation,
            )
        configuration = request.configuration or messages.SendMessageConfiguration()
        return Send(
            message=_message_from_wire(message),
            task_id=message.task_id,
            conversation_id=message.context_id,
            blocking=not configuration.return_immediately,
            history_length=configuration.history_length,
            accepted_output_modes=configuration.accepted_output_modes,
            metadata=request.metadata,
            tenant=request.tenant,
        )

    def send_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of a blocking or returning send."""
        return orjson.dumps({"task": _task(task, history_length)})

    def task_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of get and cancel."""
        return orjson.dumps(_task(task, history_length))

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:
        """Return the JSON of the ``result`` that shows the whole task."""
        return (self.send_result(task, history_length),)

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:
        """Return the JSON of the ``result`` that an event is on a stream."""
        if isinstance(event, ArtifactUpdated):
            update: dict[str, Any] = {
                "taskId": task_id,
                "contextId": conversation_id,
                "artifact": _artifact(event.artifact),
            }
            if event.append:
                update["append"] = True
            if event.last:
                update["lastChunk"] = True
            return orjson.dumps({"artifactUpdate": update})
        if isinstance(event, TaskCreated):
            return self.send_result(fold(task_id, (event,)))
        ids = {"taskId": task_id, "contextId": conversation_id}
        return orjson.dumps({"statusUpdate": {**ids, **_status_update(ids, event)}})

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``."""
        if isinstance(command, Send):
            params = _send_params(command)
        else:
            params = {"id": command.task_id}
            if isinstance(command, Get) and command.history_length is not None:
                params["historyLength"] = command.history_length
        if command.tenant is not None:
            params["tenant"] = command.tenant
        return method_name(operation, self.generation), params

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer."""
        if not isinstance(result, dict):
            raise InvalidAgentResponse("it must be an object", generation=self.generation)
        if not any(member in result for member in (*_MEMBERS, *_SNAKE_MEMBERS)):
            task = check_result(messages.Task, result, self.generation)
            return _task_from_wire(task)
        answer = check_result(messages.StreamResponse, result, self.generation)
        if answer.artifact_update is not None:
            return _artifact_update_from_wire(answer.artifact_update)
        if answer.status_update is not None:
            return _status_update_from_wire(answer.status_update)
        if answer.message is not None:
            return MessageReplied(
                message=_message_from_wire(answer.message),
                conversation_id=answer.message.context_id,
            )
        assert answer.task is not None  # noqa: S101 -- the model holds exactly one
        return _task_from_wire(answer.task)


# --- model → wire --------------------------------------------------------------------------


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        wire: dict[str, Any] = {"text": part.text}
    elif isinstance(part, DataPart):
        wire = {"data": part.data}
    elif part.base64 is not None:
        wire = {"raw": part.base64}
    else:
        wire = {"url": part.uri}
    if part.media_type is not None:
        wire["mediaType"] = part.media_type
    if part.filename is not None:
        wire["filename"] = part.filename
    if part.metadata:
        wire["metadata"] = part.metadata
    return wire


def _parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    # A REQUIRED array must not be empty: a chunk that only says that it is the last says "".
    return [_part(part) for part in parts] or [{"text": ""}]


def _message(message: Message, ids: Mapping[str, str]) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "messageId": message.id,
        "role": _ROLES[message.role],
        "parts": _parts(message.parts),
        **ids,
    }
    if message.metadata:
        wire["metadata"] = message.metadata
    if message.extensions:
        wire["extensions"] = message.extensions
    if message.reference_task_ids:
        wire["referenceTaskIds"] = message.reference_task_ids
    return wire


def _artifact(artifact: Artifact) -> dict[str, Any]:
    wire: dict[str, Any] = {"artifactId": artifact.id, "parts": _parts(artifact.parts)}
    if artifact.name is not None:
        wire["name"] = artifact.name
    if artifact.description is not None:
        wire["description"] = artifact.description
    if artifact.metadata:
        wire["metadata"] = artifact.metadata
    if artifact.extensions:
        wire["extensions"] = artifact.extensions
    return wire


def _status(
    state: TaskState, at: float, message: Message | None, ids: Mapping[str, str]
) -> dict[str, Any]:
    wire: dict[str, Any] = {"state": _STATES[state], "timestamp": facts.timestamp(at)}
    if message is not None:
        wire["message"] = _message(message, ids)
    return wire


def _status_update(
    ids: Mapping[str, str], event: StatusChanged | MessageReceived | CallActionRequested
) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    message = None
    state = TaskState.WORKING
    if isinstance(event, StatusChanged):
        state, message = event.state, event.message
        metadata = facts.progress(event)
    elif isinstance(event, CallActionRequested):
        metadata = facts.call_action(event)
    wire: dict[str, Any] = {"status": _status(state, event.at, message, ids)}
    if metadata:
        wire["metadata"] = metadata
    return wire


def _task(task: Task, history_length: int | None) -> dict[str, Any]:
    ids = {"taskId": task.id, "contextId": task.conversation_id}
    wire: dict[str, Any] = {
        "id": task.id,
        "contextId": task.conversation_id,
        "status": _status(task.state, task.state_at, task.status_message, ids),
    }
    if task.artifacts:
        wire["artifacts"] = [_artifact(artifact) for artifact in task.artifacts]
    if history := facts.recent(task.history, history_length):
        wire["history"] = [_message(message, ids) for message in history]
    if metadata := facts.merged(task.metadata, facts.progress(task)):
        wire["metadata"] = metadata
    return wire


def _send_params(command: Send) -> dict[str, Any]:
    ids: dict[str, str] = {}
    if command.task_id is not None:
        ids["taskId"] = command.task_id
    if command.conversation_id is not None:
        ids["contextId"] = command.conversation_id
    params: dict[str, Any] = {"message": _message(command.message, ids)}
    configuration: dict[str, Any] = {}
    if command.accepted_output_modes:
        configuration["acceptedOutputModes"] = command.accepted_output_modes
    if command.history_length is not None:
        configuration["historyLength"] = command.history_length
    if not command.blocking:
        configuration["returnImmediately"] = True
    if configuration:
        params["configuration"] = configuration
    if command.metadata:
        params["metadata"] = command.metadata
    return params


# --- wire → model --------------------------------------------------------------------------


def _part_from_wire(part: messages.Part) -> Part:
    rest = (part.media_type, part.filename, part.metadata)
    if part.text is not None:
        return TextPart(part.text, *rest)
    if part.raw is not None or part.url is not None:
        return FilePart(part.raw, part.url, *rest)
    return DataPart(part.data, *rest)


def _message_from_wire(message: messages.Message) -> Message:
    return Message(
        id=message.message_id,
        role="user" if message.role == "ROLE_USER" else "agent",
        parts=tuple(_part_from_wire(part) for part in message.parts),
        metadata=message.metadata,
        extensions=message.extensions,
        reference_task_ids=message.reference_task_ids,
    )


def _optional_message(message: messages.Message | None) -> Message | None:
    return None if message is None else _message_from_wire(message)


def _artifact_from_wire(artifact: messages.Artifact) -> Artifact:
    return Artifact(
        id=artifact.artifact_id,
        parts=tuple(_part_from_wire(part) for part in artifact.parts),
        name=artifact.name,
        description=artifact.description,
        metadata=artifact.metadata,
        extensions=artifact.extensions,
    )


def _task_from_wire(task: messages.Task) -> TaskReceived:
    return TaskReceived(
        task_id=task.id,
        conversation_id=task.context_id,
        state=_STATES_BY_NAME[task.status.state],
        message=_optional_message(task.status.message),
        artifacts=tuple(_artifact_from_wire(artifact) for artifact in task.artifacts or ()),
        history=tuple(_message_from_wire(message) for message in task.history or ()),
        metadata=task.metadata,
    )


def _status_update_from_wire(update: messages.TaskStatusUpdateEvent) -> StatusReceived:
    return StatusReceived(
        task_id=update.task_id,
        conversation_id=update.context_id,
        state=_STATES_BY_NAME[update.status.state],
        message=_optional_message(update.status.message),
        metadata=update.metadata,
    )


def _artifact_update_from_wire(update: messages.TaskArtifactUpdateEvent) -> ArtifactReceived:
    return ArtifactReceived(
        task_id=update.task_id,
        conversation_id=update.context_id,
        artifact=_artifact_from_wire(update.artifact),
        append=bool(update.append),
        last=bool(update.last_chunk),
    )


V10: Final[Dialect] = _V10()

_DIALECTS: Final[Mapping[Generation, Dialect]] = MappingProxyType(
    {Generation.V10: V10, Generation.V03: V03, Generation.V01: V01}
)


def dialect(generation: Generation) -> Dialect:
    """Return the dialect of ``generation``."""
    return _DIALECTS[generation]


def wire_name(generation: Generation) -> str:
    """Return ``TaskCreated.wire`` of what comes in that generation, as in ``a2a-1.0``."""
    return f"a2a-{generation}"
