"""Model ↔ A2A 0.1.

Its messages have no ids (here they get one that is made of what they say), its artifacts are known
by their place, and it has no words for rejected and auth-required: those are failed and
input-required, with ``state`` in the metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Artifact, Message, Metadata, Part
from palaver.model.events import ArtifactUpdated, TaskEvent
from palaver.model.task import Task, TaskState
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
from palaver.protocols.a2a.facts import Wire
from palaver.protocols.a2a.methods import method_name
from palaver.protocols.a2a.tagged import read_tagged, render_tagged
from palaver.protocols.a2a.v01 import messages
from palaver.protocols.a2a.violations import (
    check_object,
    check_params,
    check_result,
    not_the_user,
)

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
            raise not_the_user("'user'", self.generation)
        return Send(
            message=_read_message(request.message),
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
        wire: Wire = {
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
        metadata = {**(task.metadata or {}), **_unspoken(task.state), **facts.progress(task)}
        return orjson.dumps(facts.with_metadata(wire, metadata))

    task_result = send_result

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:  # noqa: ARG002 -- events of 0.1 have no history
        """Return the JSON of the ``result`` of the events that show the task.

        Each artifact as a whole, then the status: a stream knows no task.
        """
        artifacts = [
            orjson.dumps(
                {"id": task.id, "artifact": {**_artifact(artifact, index), "append": False}}
            )
            for index, artifact in enumerate(task.artifacts)
        ]
        change = task.state, task.status_message, facts.progress(task)
        return (*artifacts, _status_update(task.id, task.state_at, *change))

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:  # noqa: ARG002 -- sessions stand in tasks only
        """Return the JSON of the ``result`` that an event is on a stream."""
        if isinstance(event, ArtifactUpdated):
            artifact = _artifact(event.artifact, event.index)
            artifact["append"] = event.append
            artifact["lastChunk"] = event.last
            return orjson.dumps({"id": task_id, "artifact": artifact})
        return _status_update(task_id, event.at, *facts.change(event))

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``.

        Raises:
            ValueError: a send without a task id, which is for the client to make here.

        """
        if isinstance(command, Send):
            params = _send_params(command)
        else:
            length = None if isinstance(command, Cancel) else command.history_length
            params = facts.target(command.task_id, length)
        return method_name(operation, self.generation), params

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer.

        A status event has ``final``; a task may have what no event has.
        """
        said = check_object(result, self.generation)
        if "artifact" in said:
            chunk = check_result(messages.TaskArtifactUpdateEvent, said, self.generation)
            return ArtifactReceived(
                task_id=chunk.id,
                conversation_id=None,
                artifact=_read_artifact(chunk.artifact),
                append=bool(chunk.artifact.append),
                last=bool(chunk.artifact.last_chunk),
            )
        if "final" in said:
            update = check_result(messages.TaskStatusUpdateEvent, said, self.generation)
            return StatusReceived(
                task_id=update.id,
                conversation_id=None,
                state=_read_state(update.status.state, update.metadata),
                message=_optional_message(update.status.message),
                final=bool(update.final),
                metadata=update.metadata,
            )
        task = check_result(messages.Task, said, self.generation)
        return TaskReceived(
            task_id=task.id,
            conversation_id=task.session_id,
            state=_read_state(task.status.state, task.metadata),
            message=_optional_message(task.status.message),
            artifacts=tuple(map(_read_artifact, task.artifacts or ())),
            history=tuple(map(_read_message, task.history or ())),
            metadata=task.metadata,
        )


# --- model → wire --------------------------------------------------------------------------


def _unspoken(state: TaskState) -> dict[str, str]:
    name = _UNSPOKEN.get(state)
    return {} if name is None else {"state": name}


# Data must be an object or an array here.
_render_part = partial(render_tagged, "type", (dict, list))


def _message(message: Message) -> Wire:
    wire = {"role": message.role, "parts": facts.parts(_render_part, message.parts)}
    return facts.with_metadata(wire, message.metadata)


def _artifact(artifact: Artifact, index: int) -> Wire:
    parts = facts.parts(_render_part, artifact.parts)
    return facts.described({"parts": parts, "index": index}, artifact)


def _status(state: TaskState, at: float, message: Message | None) -> Wire:
    return facts.status(_STATES[state], at, None if message is None else _message(message))


def _status_update(
    task_id: str, at: float, state: TaskState, message: Message | None, metadata: Wire
) -> bytes:
    status = _status(state, at, message)
    update = {"id": task_id, "status": status, "final": facts.final(state)}
    return orjson.dumps(facts.with_metadata(update, {**_unspoken(state), **metadata}))


def _send_params(command: Send) -> Wire:
    if command.task_id is None:
        raise ValueError("in A2A 0.1 the client makes the task's id: set task_id")
    params: Wire = {"id": command.task_id, "message": _message(command.message)}
    if command.conversation_id is not None:
        params["sessionId"] = command.conversation_id
    return facts.with_metadata({**params, **facts.wanted(command)}, command.metadata)


# --- wire → model --------------------------------------------------------------------------


def _read_state(state: messages.WireState, metadata: Metadata | None) -> TaskState:
    known = _STATES_BY_NAME[state]
    if metadata is not None:
        for unspoken, name in _UNSPOKEN.items():
            if metadata.get("state") == name and _STATES[unspoken] == state:
                return unspoken
    return known


def _read_part(part: messages.MessagePart) -> Part:
    return read_tagged(part, part.type, part.file if part.type == "file" else None)


def _id_of(message: messages.Message) -> str:
    """Return an id for a message, as the other generations want one of every message."""
    return f"m-{sha256(message.model_dump_json().encode()).hexdigest()[:32]}"


def _read_message(message: messages.Message) -> Message:
    return Message(
        id=_id_of(message),
        role=message.role,
        parts=tuple(map(_read_part, message.parts)),
        metadata=message.metadata,
    )


def _optional_message(message: messages.Message | None) -> Message | None:
    return None if message is None else _read_message(message)


def _read_artifact(artifact: messages.Artifact) -> Artifact:
    return Artifact(
        id=str(artifact.index),
        parts=tuple(map(_read_part, artifact.parts)),
        name=artifact.name,
        description=artifact.description,
        metadata=artifact.metadata,
    )


V01: Final[Dialect] = _V01()
