"""Model ↔ A2A 0.1.

Its messages have no ids (here they get one that is made of what they say), its artifacts are known
by their place, and it has no words for rejected and auth-required: those are failed and
input-required, with ``state`` in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Artifact, DataPart, FilePart, Message, Metadata, Part, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState
from palaver.protocols.a2a import facts
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Cancel,
    Command,
    Dialect,
    Generation,
    Get,
    Operation,
    Send,
    StatusReceived,
    Subscribe,
    TaskReceived,
    Update,
)
from palaver.protocols.a2a.errors import FieldViolation, InvalidAgentResponse, InvalidParams
from palaver.protocols.a2a.methods import method_name
from palaver.protocols.a2a.v01 import messages
from palaver.protocols.a2a.violations import check_params, check_result

__all__ = ["V01"]

_STATES: Final[Mapping[TaskState, str]] = MappingProxyType(
    {state: state.replace("_", "-") for state in TaskState}
    | {TaskState.REJECTED: "failed", TaskState.AUTH_REQUIRED: "input-required"}
)
_UNSPOKEN: Final = MappingProxyType(
    {TaskState.REJECTED: "rejected", TaskState.AUTH_REQUIRED: "auth-required"}
)
_STATES_BY_NAME: Final[Mapping[str, TaskState]] = MappingProxyType(
    {
        "submitted": TaskState.SUBMITTED,
        "working": TaskState.WORKING,
        "input-required": TaskState.INPUT_REQUIRED,
        "completed": TaskState.COMPLETED,
        "failed": TaskState.FAILED,
        "canceled": TaskState.CANCELED,
        # A peer that does not know what became of a task will not bring it to an end either.
        "unknown": TaskState.FAILED,
    }
)
_MODES: Final = MappingProxyType({"text": "text/plain", "data": "application/json"})


class _V01:
    """A2A 0.1."""

    generation = Generation.V01

    def parse(self, operation: Operation, params: Mapping[str, Any]) -> Command:
        """Return the command that the params of a request mean."""
        match operation:
            case Operation.SEND | Operation.STREAM:
                return self._parse_send(params)
            case Operation.GET:
                query = check_params(messages.TaskQueryParams, params, self.generation)
                # History comes only to those who ask for it.
                return Get(task_id=query.id, history_length=query.history_length or 0)
            case Operation.CANCEL:
                target = check_params(messages.TaskIdParams, params, self.generation)
                return Cancel(task_id=target.id)
            case Operation.SUBSCRIBE:
                query = check_params(messages.TaskQueryParams, params, self.generation)
                return Subscribe(task_id=query.id, history_length=query.history_length or 0)
        raise ValueError(f"no command means {operation}")

    def _parse_send(self, params: Mapping[str, Any]) -> Send:
        request = check_params(messages.TaskSendParams, params, self.generation)
        if request.message.role != "user":
            violation = FieldViolation("message.role", "must be 'user': the caller is the user")
            raise InvalidParams(
                f"{violation.field} {violation.description}",
                field_violations=(violation,),
                generation=self.generation,
            )
        return Send(
            message=_message_from_wire(request.message),
            task_id=request.id,
            conversation_id=request.session_id,
            may_create=True,
            history_length=request.history_length or 0,
            accepted_output_modes=tuple(
                _MODES.get(mode, mode) for mode in request.accepted_output_modes
            ),
            metadata=request.metadata,
        )

    def send_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of a blocking send."""
        wire: dict[str, Any] = {
            "id": task.id,
            "sessionId": task.conversation_id,
            "status": _status(task.state, task.state_at, task.status_message),
        }
        if task.artifacts:
            wire["artifacts"] = [
                _artifact(artifact, index) for index, artifact in enumerate(task.artifacts)
            ]
        # Only if asked: what is left open is none.
        if history := facts.recent(task.history, history_length or 0):
            wire["history"] = [_message(message) for message in history]
        if metadata := {**(task.metadata or {}), **_unspoken(task.state), **facts.progress(task)}:
            wire["metadata"] = metadata
        return orjson.dumps(wire)

    def task_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of get and cancel."""
        return self.send_result(task, history_length)

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:  # noqa: ARG002 -- events of 0.1 have no history
        """Return the JSON of the ``result`` of the events that show the task.

        Each artifact as a whole, then the status: a stream knows no task.
        """
        artifacts = [
            {"id": task.id, "artifact": {**_artifact(artifact, index), "append": False}}
            for index, artifact in enumerate(task.artifacts)
        ]
        metadata = {**_unspoken(task.state), **facts.progress(task)}
        status = _status(task.state, task.state_at, task.status_message)
        shown = [*artifacts, _status_update(task.id, task.state, status, metadata)]
        return tuple(orjson.dumps(update) for update in shown)

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:  # noqa: ARG002 -- sessions stand in tasks only
        """Return the JSON of the ``result`` that an event is on a stream."""
        if isinstance(event, ArtifactUpdated):
            artifact = _artifact(event.artifact, event.index)
            artifact["append"] = event.append
            artifact["lastChunk"] = event.last
            return orjson.dumps({"id": task_id, "artifact": artifact})
        metadata: dict[str, Any] = {}
        state, message = TaskState.WORKING, None
        if isinstance(event, TaskCreated):
            state = TaskState.SUBMITTED
        elif isinstance(event, StatusChanged):
            state, message = event.state, event.message
            metadata = {**_unspoken(state), **facts.progress(event)}
        elif isinstance(event, CallActionRequested):
            metadata = facts.call_action(event)
        status = _status(state, event.at, message)
        return orjson.dumps(_status_update(task_id, state, status, metadata))

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``.

        Raises:
            ValueError: a send without a task id, which is for the client to make here.

        """
        if isinstance(command, Send):
            params = _send_params(command)
        else:
            params = {"id": command.task_id}
            if not isinstance(command, Cancel) and command.history_length is not None:
                params["historyLength"] = command.history_length
        return method_name(operation, self.generation), params

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer.

        A status event has ``final``; a task may have what no event has.
        """
        if not isinstance(result, dict):
            raise InvalidAgentResponse("it must be an object", generation=self.generation)
        if "artifact" in result:
            chunk = check_result(messages.TaskArtifactUpdateEvent, result, self.generation)
            return ArtifactReceived(
                task_id=chunk.id,
                conversation_id=None,
                artifact=_artifact_from_wire(chunk.artifact),
                append=bool(chunk.artifact.append),
                last=bool(chunk.artifact.last_chunk),
            )
        if "final" in result:
            update = check_result(messages.TaskStatusUpdateEvent, result, self.generation)
            return StatusReceived(
                task_id=update.id,
                conversation_id=None,
                state=_state_from_wire(update.status.state, update.metadata),
                message=_optional_message(update.status.message),
                final=bool(update.final),
                metadata=update.metadata,
            )
        task = check_result(messages.Task, result, self.generation)
        return TaskReceived(
            task_id=task.id,
            conversation_id=task.session_id,
            state=_state_from_wire(task.status.state, task.metadata),
            message=_optional_message(task.status.message),
            artifacts=tuple(_artifact_from_wire(artifact) for artifact in task.artifacts or ()),
            history=tuple(_message_from_wire(message) for message in task.history or ()),
            metadata=task.metadata,
        )


# --- model → wire --------------------------------------------------------------------------


def _unspoken(state: TaskState) -> dict[str, str]:
    name = _UNSPOKEN.get(state)
    return {} if name is None else {"state": name}


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
        wire: dict[str, Any] = {"type": "file", "file": file}
    else:
        if isinstance(part, TextPart):
            wire = {"type": "text", "text": part.text}
        else:
            # Data must be an object or an array here: any other value is wrapped in one.
            data = part.data if isinstance(part.data, dict | list) else {"value": part.data}
            wire = {"type": "data", "data": data}
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
    return [_part(part) for part in parts] or [{"type": "text", "text": ""}]


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "parts": _parts(message.parts)}
    if message.metadata:
        wire["metadata"] = message.metadata
    return wire


def _artifact(artifact: Artifact, index: int) -> dict[str, Any]:
    wire: dict[str, Any] = {"parts": _parts(artifact.parts), "index": index}
    if artifact.name is not None:
        wire["name"] = artifact.name
    if artifact.description is not None:
        wire["description"] = artifact.description
    if artifact.metadata:
        wire["metadata"] = artifact.metadata
    return wire


def _status(state: TaskState, at: float, message: Message | None) -> dict[str, Any]:
    wire: dict[str, Any] = {"state": _STATES[state], "timestamp": facts.timestamp(at)}
    if message is not None:
        wire["message"] = _message(message)
    return wire


def _status_update(
    task_id: str, state: TaskState, status: dict[str, Any], metadata: dict[str, Any]
) -> dict[str, Any]:
    final = state in TERMINAL or state in INTERRUPTED
    wire: dict[str, Any] = {"id": task_id, "status": status, "final": final}
    if metadata:
        wire["metadata"] = metadata
    return wire


def _send_params(command: Send) -> dict[str, Any]:
    if command.task_id is None:
        raise ValueError("in A2A 0.1 the client makes the task's id: set task_id")
    params: dict[str, Any] = {"id": command.task_id, "message": _message(command.message)}
    if command.conversation_id is not None:
        params["sessionId"] = command.conversation_id
    if command.accepted_output_modes:
        params["acceptedOutputModes"] = command.accepted_output_modes
    if command.history_length is not None:
        params["historyLength"] = command.history_length
    if command.metadata:
        params["metadata"] = command.metadata
    return params


# --- wire → model --------------------------------------------------------------------------


def _state_from_wire(state: messages.WireState, metadata: Metadata | None) -> TaskState:
    known = _STATES_BY_NAME[state]
    if metadata is not None:
        for unspoken, name in _UNSPOKEN.items():
            if metadata.get("state") == name and _STATES[unspoken] == state:
                return unspoken
    return known


def _part_from_wire(part: messages.MessagePart) -> Part:
    if part.type == "text":
        return TextPart(part.text or "", metadata=part.metadata)
    if part.type == "file" and part.file is not None:
        file = part.file
        return FilePart(file.bytes, file.uri, file.mime_type, file.name, part.metadata)
    return DataPart(part.data, metadata=part.metadata)


def _id_of(message: messages.Message) -> str:
    """Return an id for a message, as the other generations want one of every message."""
    return f"m-{sha256(message.model_dump_json().encode()).hexdigest()[:32]}"


def _message_from_wire(message: messages.Message) -> Message:
    return Message(
        id=_id_of(message),
        role=message.role,
        parts=tuple(_part_from_wire(part) for part in message.parts),
        metadata=message.metadata,
    )


def _optional_message(message: messages.Message | None) -> Message | None:
    return None if message is None else _message_from_wire(message)


def _artifact_from_wire(artifact: messages.Artifact) -> Artifact:
    return Artifact(
        id=str(artifact.index),
        parts=tuple(_part_from_wire(part) for part in artifact.parts),
        name=artifact.name,
        description=artifact.description,
        metadata=artifact.metadata,
    )


V01: Final[Dialect] = _V01()
