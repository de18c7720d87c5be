"""Model ↔ A2A 0.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState, fold
from palaver.protocols.a2a import facts
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
from palaver.protocols.a2a.v03 import messages
from palaver.protocols.a2a.violations import check_params, check_result

__all__ = ["V03"]

_STATES: Final = MappingProxyType({state: state.replace("_", "-") for state in TaskState})
_STATES_BY_NAME: Final[Mapping[str, TaskState]] = MappingProxyType(
    # A peer that does not know what became of a task will not bring it to an end either.
    {name: state for state, name in _STATES.items()} | {"unknown": TaskState.FAILED}
)


class _V03:
    """A2A 0.3."""

    generation = Generation.V03

    def parse(self, operation: Operation, params: Mapping[str, Any]) -> Command:
        """Return the command that the params of a request mean."""
        match operation:
            case Operation.SEND | Operation.STREAM:
                return self._parse_send(params)
            case Operation.GET:
                query = check_params(messages.TaskQueryParams, params, self.generation)
                return Get(task_id=query.id, history_length=query.history_length)
            case Operation.CANCEL:
                target = check_params(messages.TaskIdParams, params, self.generation)
                return Cancel(task_id=target.id)
            case Operation.SUBSCRIBE:
                target = check_params(messages.TaskIdParams, params, self.generation)
                return Subscribe(task_id=target.id)
        raise ValueError(f"no command means {operation}")

    def _parse_send(self, params: Mapping[str, Any]) -> Send:
        request = check_params(messages.MessageSendParams, params, self.generation)
        message = request.message
        if message.role != "user":
            violation = FieldViolation("message.role", "must be 'user': the caller is the user")
            raise InvalidParams(
                f"{violation.field} {violation.description}",
                field_violations=(violation,),
                generation=self.generation,
            )
        configuration = request.configuration or messages.MessageSendConfiguration()
        return Send(
            message=_message_from_wire(message),
            task_id=message.task_id,
            conversation_id=message.context_id,
            blocking=configuration.blocking is not False,
            history_length=configuration.history_length,
            accepted_output_modes=configuration.accepted_output_modes,
            metadata=request.metadata,
        )

    def send_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of a blocking or returning send."""
        return orjson.dumps(_task(task, history_length))

    def task_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of get and cancel."""
        return self.send_result(task, history_length)

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:
        """Return the JSON of the ``result`` that shows the whole task.

        A settled one is followed by its status as an event, which alone can say ``final``.
        """
        shown = self.send_result(task, history_length)
        if not task.settled:
            return (shown,)
        ids = _ids(task.id, task.conversation_id)
        update = {
            "kind": "status-update",
            **ids,
            "status": _status(task.state, task.state_at, task.status_message, ids),
            "final": True,
        }
        if metadata := facts.progress(task):
            update["metadata"] = metadata
        return (shown, orjson.dumps(update))

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:
        """Return the JSON of the ``result`` that an event is on a stream."""
        if isinstance(event, ArtifactUpdated):
            return orjson.dumps(
                {
                    "kind": "artifact-update",
                    "taskId": task_id,
                    "contextId": conversation_id,
                    "artifact": _artifact(event.artifact),
                    "append": event.append,
                    "lastChunk": event.last,
                }
            )
        if isinstance(event, TaskCreated):
            return self.send_result(fold(task_id, (event,)))
        return orjson.dumps(_status_update(_ids(task_id, conversation_id), event))

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``."""
        if isinstance(command, Send):
            params = _send_params(command)
        else:
            params = {"id": command.task_id}
            if isinstance(command, Get) and command.history_length is not None:
                params["historyLength"] = command.history_length
        return method_name(operation, self.generation), params

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer."""
        if not isinstance(result, dict):
            raise InvalidAgentResponse("it must be an object", generation=self.generation)
        kind = result.get("kind", "task" if "status" in result else "message")
        if kind == "task":
            return _task_from_wire(check_result(messages.Task, result, self.generation))
        if kind == "message":
            message = check_result(messages.Message, result, self.generation)
            return MessageReplied(
                message=_message_from_wire(message), conversation_id=message.context_id
            )
        if kind == "status-update":
            return _status_update_from_wire(
                check_result(messages.TaskStatusUpdateEvent, result, self.generation)
            )
        if kind == "artifact-update":
            return _artifact_update_from_wire(
                check_result(messages.TaskArtifactUpdateEvent, result, self.generation)
            )
        detail = "kind must be task, message, status-update or artifact-update"
        raise InvalidAgentResponse(detail, generation=self.generation)


# --- model → wire --------------------------------------------------------------------------


def _ids(task_id: str, conversation_id: str) -> dict[str, str]:
    return {"taskId": task_id, "contextId": conversation_id}


def _part(part: Part) -> dict[str, Any]:
    metadata = dict(part.metadata or {})
    if isinstance(part, FilePart):
        file: dict[str, Any] = {}
        if part.filename is not None:
            file["name"] = part.filename
        if part.media_type is not None:
            file["mimeType"] = part.media_type
        if part.base64 is not None:
            file["bytes"] = part.base64
        else:
            file["uri"] = part.uri
        wire: dict[str, Any] = {"kind": "file", "file": file}
    else:
        if isinstance(part, TextPart):
            wire = {"kind": "text", "text": part.text}
        else:
            # Data must be an object here: any other value is wrapped in one.
            data = part.data if isinstance(part.data, dict) else {"value": part.data}
            wire = {"kind": "data", "data": data}
        # Only files have fields for these.
        if part.media_type is not None:
            metadata["mediaType"] = part.media_type
        if part.filename is not None:
            metadata["filename"] = part.filename
    if metadata:
        wire["metadata"] = metadata
    return wire


def _parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    # No reader expects an empty array: a chunk that only says that it is the last says "".
    return [_part(part) for part in parts] or [{"kind": "text", "text": ""}]


def _message(message: Message, ids: Mapping[str, str]) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "kind": "message",
        "messageId": message.id,
        "role": message.role,
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
    wire: dict[str, Any] = {
        "kind": "status-update",
        **ids,
        "status": _status(state, event.at, message, ids),
        "final": state in TERMINAL or state in INTERRUPTED,
    }
    if metadata:
        wire["metadata"] = metadata
    return wire


def _task(task: Task, history_length: int | None) -> dict[str, Any]:
    ids = _ids(task.id, task.conversation_id)
    wire: dict[str, Any] = {
        "kind": "task",
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
    configuration: dict[str, Any] = {"blocking": command.blocking}
    if command.accepted_output_modes:
        configuration["acceptedOutputModes"] = command.accepted_output_modes
    if command.history_length is not None:
        configuration["historyLength"] = command.history_length
    params = {"message": _message(command.message, ids), "configuration": configuration}
    if command.metadata:
        params["metadata"] = dict(command.metadata)
    return params


# --- wire → model --------------------------------------------------------------------------


def _part_from_wire(part: messages.Part) -> Part:
    if part.kind == "text":
        return TextPart(part.text or "", metadata=part.metadata)
    if part.file is not None:
        file = part.file
        return FilePart(file.bytes, file.uri, file.mime_type, file.name, part.metadata)
    return DataPart(part.data, metadata=part.metadata)


def _message_from_wire(message: messages.Message) -> Message:
    return Message(
        id=message.message_id,
        role=message.role,
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
        final=update.final,
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


V03: Final[Dialect] = _V03()
