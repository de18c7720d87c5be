"""Model ↔ ASAP: the only place where the two meet.

A request's ``input`` is a data part, marked as such by ``{"input": true}`` in its metadata; what it
says in ``text``, ``message`` or ``query`` is a text part before it. A task's text and data are its
``result``: ``{"text": …}`` joined with the members of the data. ASAP 1.1 has no answer to a query
for state, to a cancel or to a message; Palaver answers them with a ``TaskResponse``: the snapshot
in ``final_state``, the status otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Artifact, DataPart, FilePart, Message, Metadata, Part, TextPart
from palaver.model.events import ArtifactUpdated, MessageReceived, StatusChanged, TaskEvent
from palaver.model.states import INTERRUPTED, TERMINAL, TaskState
from palaver.model.task import Task
from palaver.protocols.asap import messages
from palaver.protocols.asap.errors import InputInvalid
from palaver.protocols.asap.fields import MAX_TEXT
from palaver.protocols.asap.messages import (
    ArtifactNotify,
    Envelope,
    MessageSend,
    Payload,
    StateSnapshot,
    TaskRequest,
    TaskResponse,
    TaskStatus,
    TaskUpdate,
    moment,
    payload_type_of,
)
from palaver.protocols.asap.spelling import spelled

__all__ = [
    "WIRE",
    "NewTask",
    "answer_message",
    "reply_envelope",
    "request_key",
    "snapshot_of",
    "snapshot_response",
    "snapshot_version",
    "state_of",
    "status_of",
    "task_response",
    "task_submission",
    "update_of",
]

WIRE: Final = "asap-1.1"
"""``TaskCreated.wire`` of what comes over ASAP."""

_STATUSES: Final[Mapping[TaskState, TaskStatus]] = MappingProxyType(
    {
        TaskState.SUBMITTED: TaskStatus.SUBMITTED,
        TaskState.WORKING: TaskStatus.WORKING,
        TaskState.INPUT_REQUIRED: TaskStatus.INPUT_REQUIRED,
        TaskState.AUTH_REQUIRED: TaskStatus.INPUT_REQUIRED,
        TaskState.COMPLETED: TaskStatus.COMPLETED,
        TaskState.FAILED: TaskStatus.FAILED,
        TaskState.CANCELED: TaskStatus.CANCELLED,
        TaskState.REJECTED: TaskStatus.REJECTED,
    }
)
_STATES: Final[Mapping[TaskStatus, TaskState]] = MappingProxyType(
    {status: state for state, status in _STATUSES.items() if state is not TaskState.AUTH_REQUIRED}
    | {TaskStatus.PAUSED: TaskState.WORKING}
)
_SPOKEN: Final = ("text", "message", "query")
"""Members of an input that may hold what is said, the first of them that is a text."""
_INPUT: Final = {"input": True}
"""Metadata of the data part that is a whole input, not something beside a text."""


def status_of(state: TaskState, *, for_peer: bool = True) -> TaskStatus:
    """Return ``state`` in the words of ASAP; peers know no ``rejected`` (spec §8)."""
    status = _STATUSES[state]
    return TaskStatus.FAILED if for_peer and status is TaskStatus.REJECTED else status


def state_of(status: TaskStatus) -> TaskState:
    """Return what a peer's status means; a task that is ``paused`` there is at work here."""
    return _STATES[status]


# --- ASAP → model ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """The task that a request asks for.

    ``message.id`` is made of who asks whom for what under which key: the same request has the same
    id, in this process and in any other, so that the claim on it lets it run once. ``timeout`` is
    in seconds; ``None`` leaves it to the agent.
    """

    message: Message
    skill_id: str
    conversation_id: str
    timeout: float | None
    metadata: Metadata | None


def request_key(envelope: Envelope, request: TaskRequest, given: str | None = None) -> str:
    """Return the key by which a request is known to have come before.

    The key of the config is the application's own; ``given`` (of ``params`` or the header) is
    made anew by some clients for each send; without either a request is known by its envelope.
    """
    if request.config is not None and request.config.idempotency_key is not None:
        return f"key:{request.config.idempotency_key}"
    return f"envelope:{envelope.id}" if given is None else f"key:{given}"


def task_submission(
    envelope: Envelope, request: TaskRequest, *, agent_id: str, principal: str, key: str
) -> NewTask:
    """Return the task that ``request`` asks ``agent_id`` for; ``key`` is its ``request_key``."""
    origin = (principal, agent_id, envelope.sender, request.skill_id, key)
    digest = blake2b(orjson.dumps(origin), digest_size=20).hexdigest()
    said: dict[str, Any] = {"sender": envelope.sender, "envelope_id": envelope.id}
    if request.parent_task_id is not None:
        said["parent_task_id"] = request.parent_task_id
    if envelope.trace_id is not None:
        said["trace_id"] = envelope.trace_id
    return NewTask(
        message=Message(id=f"asap_{digest}", role="user", parts=_input_parts(request.input)),
        skill_id=request.skill_id,
        conversation_id=request.conversation_id,
        timeout=None if request.config is None else request.config.timeout_seconds,
        metadata={"asap": said},
    )


def _input_parts(given: dict[str, Any]) -> tuple[Part, ...]:
    whole = DataPart(given, metadata=_INPUT)
    for member in _SPOKEN:
        text = given.get(member)
        if isinstance(text, str):
            return (TextPart(text), whole)
    return (whole,)


def answer_message(payload: MessageSend) -> Message:
    """Return what a peer says in a task.

    Whoever sends it is the caller here: its own ``role`` is kept in the metadata.

    Raises:
        InputInvalid: its templates, filled in, are longer than a text may be.

    """
    room = MAX_TEXT
    parts: list[Part] = []
    for one in payload.parts:
        part = _said(one, room)
        if isinstance(one, messages.TemplatePart) and isinstance(part, TextPart):
            room -= len(part.text)
        parts.append(part)
    parts = parts or [TextPart("")]
    metadata = {"asap": {"sender": payload.sender, "role": payload.role}}
    return Message(id=payload.message_id, role="user", parts=tuple(parts), metadata=metadata)


def _said(part: str | messages.Part, room: int) -> Part:
    match part:
        case messages.DataPart():
            known = None if part.schema_uri is None else {"schema_uri": part.schema_uri}
            return DataPart(part.data, metadata=known)
        case messages.FilePart(inline_data=None):
            return FilePart(uri=part.uri, media_type=part.mime_type)
        case messages.FilePart():
            known = {"uri": part.uri}
            return FilePart(part.inline_data, media_type=part.mime_type, metadata=known)
        case messages.ResourcePart():
            return FilePart(uri=part.resource_uri)
        case messages.TemplatePart():
            return TextPart(_filled_in(part, room))
    return TextPart(part if isinstance(part, str) else part.content)


_VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def _filled_in(part: messages.TemplatePart, room: int) -> str:
    """Return the text with its variables in place; a name without a value stays as it is.

    A short template can ask for a long value a hundred thousand times: at most ``room`` characters
    are made.
    """
    pieces: list[str] = []
    at = 0
    for match in _VARIABLE.finditer(part.template):
        found = part.variables.get(match[1], match[0])
        value = found if isinstance(found, str) else orjson.dumps(found).decode()
        pieces += (part.template[at : match.start()], value)
        room -= len(pieces[-2]) + len(value)
        at = match.end()
        if room < 0:
            break
    pieces.append(part.template[at:])
    if room < len(pieces[-1]):
        raise InputInvalid(f"templates make at most {MAX_TEXT} characters of text, filled in")
    return "".join(pieces)


# --- model → ASAP ----------------------------------------------------------------------------


def task_response(task: Task, *, for_peer: bool = True) -> TaskResponse:
    """Return how ``task`` stands, and what it made so far.

    ``result`` has ``error`` for a task that failed, ``input_request`` for one that waits.
    """
    status = status_of(task.state, for_peer=for_peer)
    result = _result(task.artifacts)
    said = _text(task.status_message)
    if task.state in INTERRUPTED:
        result["input_request"] = _question(task.state, said)
    elif task.state in _ERRORS:
        result["error"] = {"code": _ERRORS[task.state], "message": said or status.value}
        if task.reason is not None:
            result["error"]["reason"] = task.reason
    elif task.state is TaskState.COMPLETED and "text" not in result and (said or not result):
        result["text"] = said
    metrics = None
    if task.terminal:
        metrics = {"duration_ms": max(0, round((task.state_at - task.created_at) * 1000))}
    return TaskResponse(task_id=task.id, status=status, result=result or None, metrics=metrics)


_ERRORS: Final[Mapping[TaskState, str]] = MappingProxyType(
    {
        TaskState.FAILED: "asap:execution/task_failed",
        TaskState.REJECTED: "asap:capability/input_validation",
    }
)


def _result(artifacts: tuple[Artifact, ...]) -> dict[str, Any]:
    """Return the parts of all artifacts: texts joined by lines, data by members, files listed."""
    result: dict[str, Any] = {}
    texts = [text for artifact in artifacts if (text := artifact.text)]
    values: list[Any] = []
    files: list[dict[str, Any]] = []
    for artifact in artifacts:
        for part in artifact.parts:
            if isinstance(part, FilePart):
                files.append(_file(part))
            elif isinstance(part, DataPart):
                if isinstance(part.data, dict):
                    result |= part.data
                else:
                    values.append(part.data)
    if values:
        result["data"] = values
    if files:
        result["files"] = files
    if texts:
        result["text"] = "\n".join(texts)
    return result


def _file(part: FilePart) -> dict[str, Any]:
    """Return a file as a part of ASAP, and its name where it has one."""
    media_type = part.media_type or "application/octet-stream"
    wire: dict[str, Any] = {"type": "file", "mime_type": media_type}
    if part.base64 is None:
        wire["uri"] = part.uri
    else:
        wire |= {"uri": "data:,", "inline_data": part.base64}
    if part.filename is not None:
        wire["name"] = part.filename
    return wire


def _text(message: Message | None) -> str:
    return "" if message is None else message.text


def _question(state: TaskState, prompt: str) -> dict[str, Any]:
    """Return ``input_request``; its ``kind`` says where somebody has to sign in."""
    asked: dict[str, Any] = {"prompt": prompt}
    if state is TaskState.AUTH_REQUIRED:
        asked["kind"] = "auth_required"
    return asked


def update_of(
    event: TaskEvent, task_id: str, *, for_peer: bool = True
) -> TaskUpdate | ArtifactNotify | None:
    """Return what tells a peer of ``event``; ``None`` for what is no news to it.

    That a task was made is in the answer to its request; that an artifact grows is in the last
    answer, and that it is there is told once.
    """
    match event:
        case ArtifactUpdated(append=False):
            artifact = event.artifact
            return ArtifactNotify(task_id=task_id, artifact_id=artifact.id, name=artifact.name)
        case StatusChanged():
            return _status_update(event, task_id, for_peer=for_peer)
        case MessageReceived():
            return TaskUpdate(
                task_id=task_id, update_type="status_change", status=TaskStatus.WORKING
            )
        case _:
            return None


def _status_update(event: StatusChanged, task_id: str, *, for_peer: bool) -> TaskUpdate:
    status = status_of(event.state, for_peer=for_peer)
    said = _text(event.message)
    if event.state in INTERRUPTED:
        return TaskUpdate(
            task_id=task_id,
            update_type="input_required",
            status=status,
            input_request=_question(event.state, said),
        )
    progress: dict[str, Any] = {}
    if event.percent is not None:
        progress["percent"] = event.percent
    if said:
        progress["message"] = said
    if event.reason is not None:
        progress["reason"] = event.reason
    advanced = bool(progress) and event.state not in TERMINAL
    return TaskUpdate(
        task_id=task_id,
        update_type="progress" if advanced else "status_change",
        status=status,
        progress=progress or None,
    )


def snapshot_of(task: Task) -> StateSnapshot:
    """Return the state of ``task`` after its last event: its version is that event's number."""
    response = task_response(task, for_peer=False)
    data: dict[str, Any] = {
        "conversation_id": task.conversation_id,
        "skill_id": task.skill_id,
        "status": response.status.value,
        "attempt": task.attempt,
        "percent": task.percent,
        "result": response.result,
    }
    return StateSnapshot(
        id=_snapshot_id(task.id, task.seq),
        task_id=task.id,
        version=task.seq,
        data=data,
        checkpoint=task.terminal,
        created_at=moment(task.state_at),
    )


def _snapshot_id(task_id: str, version: int) -> str:
    return f"snap_{blake2b(task_id.encode(), digest_size=10).hexdigest()}_{version}"


def snapshot_version(task_id: str, snapshot_id: str) -> int | None:
    """Return the version that ``snapshot_id`` names; ``None`` for one of another task, or none."""
    version = snapshot_id.rpartition("_")[2]
    if not (version.isascii() and version.isdecimal() and len(version) < 16):
        return None
    return int(version) if snapshot_id == _snapshot_id(task_id, int(version)) else None


def snapshot_response(
    task: Task, snapshot: StateSnapshot, *, for_peer: bool = True
) -> TaskResponse:
    """Return the answer to a query for the state of ``task``: how it stands, and the snapshot."""
    return TaskResponse(
        task_id=task.id,
        status=status_of(task.state, for_peer=for_peer),
        final_state=snapshot.wire(),
    )


def reply_envelope(
    request: Envelope,
    payload: Payload,
    *,
    id: str,  # noqa: A002 -- the word of the wire
    now: float,
    sender: str,
) -> Envelope:
    """Return the envelope that answers ``request``, spelled as it was; ``now`` is Unix time.

    ``id`` and ``sender`` are made here, the rest was checked with the request and the payload.
    """
    return Envelope.trusted(
        {
            "id": id,
            "asap_version": request.asap_version,
            "timestamp": moment(now),
            "sender": sender,
            "recipient": request.sender,
            "payload_type": spelled(payload_type_of(payload), request.spelling),
            "payload": payload.wire(),
            "correlation_id": request.id,
            "trace_id": request.trace_id,
            "requires_ack": False,
            "extensions": None,
        }
    )
