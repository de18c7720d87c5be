"""Envelopes and payloads of ASAP 1.1, member by member: frozen, bounded, no members but their own.

An envelope carries its payload as an object; ``read_payload`` makes it what its type says, once
the envelope has passed the checks that come before.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from palaver.protocols.asap.errors import UnknownPayloadType
from palaver.protocols.asap.fields import (
    AgentUrn,
    AsapModel,
    Base64,
    FileUri,
    Id,
    MediaType,
    Note,
    Object,
    Text,
    Timestamp,
    Uri,
    Word,
    at_most,
    check_note,
    moment,
    write_time,
)
from palaver.protocols.asap.spelling import (
    ANSWERS,
    PayloadType,
    Spelling,
    payload_type,
    spelling_of,
)
from palaver.protocols.asap.violations import malformed

__all__ = [
    "ANSWERS",
    "ASAP_VERSION",
    "PAYLOADS",
    "ArtifactNotify",
    "DataPart",
    "Envelope",
    "FilePart",
    "McpResourceData",
    "McpResourceFetch",
    "McpToolCall",
    "McpToolResult",
    "MessageAck",
    "MessageSend",
    "Part",
    "Payload",
    "PayloadType",
    "ResourcePart",
    "Spelling",
    "StateQuery",
    "StateRestore",
    "StateSnapshot",
    "TaskCancel",
    "TaskConfig",
    "TaskRequest",
    "TaskResponse",
    "TaskStatus",
    "TaskUpdate",
    "TemplatePart",
    "TextPart",
    "moment",
    "payload_type_of",
    "read_payload",
]

ASAP_VERSION: Final = "0.1"
"""The version on the wire, of all releases from 1.0 to 2.5: it is not that of a package."""

MAX_PARTS: Final = 1_000


# --- parts -----------------------------------------------------------------------------------


class TextPart(AsapModel):
    """Text."""

    type: Literal["text"]
    content: Text


class DataPart(AsapModel):
    """A JSON object; ``schema_uri`` says what it is."""

    type: Literal["data"]
    data: Object
    schema_uri: Uri | None = None


class FilePart(AsapModel):
    """A file: where it is, or its bytes in base64, or both."""

    type: Literal["file"]
    uri: FileUri
    mime_type: MediaType
    inline_data: Base64 | None = None


class ResourcePart(AsapModel):
    """Something that an MCP server has."""

    type: Literal["resource"]
    resource_uri: Uri


class TemplatePart(AsapModel):
    """A text with ``{{name}}`` where the variable of that name goes."""

    type: Literal["template"]
    template: Text
    variables: Object


_V0_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {f"{kind.title()}Part": kind for kind in ("text", "data", "file", "resource", "template")}
)


def _v0_part(value: Any) -> Any:
    """Return an object with the type that it has since 1.0, for one that says ``TextPart``."""
    kind = value.get("type") if isinstance(value, dict) else None
    plain = _V0_TYPES.get(kind) if isinstance(kind, str) else None
    return value if plain is None else {**value, "type": plain}


def _part_branch(value: Any) -> str | None:
    """Return the tag of a part. Brackets mark it, so that no path takes it for a member."""
    if isinstance(value, str):
        return "[id]"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"[{kind}]"


Part: TypeAlias = TextPart | DataPart | FilePart | ResourcePart | TemplatePart
SentPart: TypeAlias = Annotated[
    Annotated[Text, Tag("[id]")]
    | Annotated[TextPart, Tag("[text]")]
    | Annotated[DataPart, Tag("[data]")]
    | Annotated[FilePart, Tag("[file]")]
    | Annotated[ResourcePart, Tag("[resource]")]
    | Annotated[TemplatePart, Tag("[template]")],
    Discriminator(
        _part_branch,
        custom_error_type="part",
        custom_error_message="must be a string, or an object whose type is text, data, file, "
        "resource or template",
    ),
    BeforeValidator(_v0_part),
]


# --- payloads --------------------------------------------------------------------------------


class TaskStatus(StrEnum):
    """Where a task stands. ``paused`` and ``rejected`` are of the draft: read, rarely written."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    REJECTED = "rejected"


def _status(value: Any) -> Any:
    """Return the word of ASAP for spellings of other wires: canceled, input-required."""
    if type(value) is not str:
        return value
    word = value.replace("-", "_")
    return "cancelled" if word == "canceled" else word


Status: TypeAlias = Annotated[TaskStatus, BeforeValidator(_status)]


class TaskConfig(AsapModel):
    """How a task is to be run; members that are not listed are kept as they are.

    ``callback_*`` register a webhook: carried here, delivered by nobody yet.
    """

    model_config = ConfigDict(extra="allow")

    timeout_seconds: Annotated[float | None, Field(ge=1, le=2_592_000)] = None
    priority: Word | None = None
    idempotency_key: Id | None = None
    streaming: bool | None = None
    persist_state: bool | None = None
    stream_endpoint: Uri | None = None
    state_mode: Literal["snapshot", "event-sourced"] | None = None
    event_retention_hours: Annotated[float | None, Field(ge=0, le=2**53)] = None
    callback_url: Uri | None = None
    callback_events: Annotated[tuple[Word, ...] | None, Field(max_length=64), at_most(64)] = None
    callback_secret: Annotated[str | None, Field(max_length=1024, repr=False)] = None
    broker: Note | None = None
    model: Word | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_note(self.model_extra or {})
        return self


class TaskRequest(AsapModel):
    """Do something: ``skill_id`` says what, ``input`` with what."""

    conversation_id: Id
    skill_id: Id
    input: Object
    parent_task_id: Id | None = None
    config: TaskConfig | None = None


class TaskResponse(AsapModel):
    """How a task stands, and what it made."""

    task_id: Id
    status: Status
    result: Object | None = None
    final_state: Object | None = None
    metrics: Note | None = None


def _with_percent(value: dict[str, Any]) -> dict[str, Any]:
    percent = value.get("percent", 0)
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise ValueError("percent must be a number from 0 to 100")
    return value


class TaskUpdate(AsapModel):
    """Something happened to a task.

    ``progress``: ``percent`` (0 to 100), ``message``, ``estimated_remaining_seconds``.
    ``input_request``: ``prompt``, ``options`` (``id``, ``label``), ``schema``.
    """

    task_id: Id
    update_type: Literal["progress", "input_required", "status_change"]
    status: Status
    progress: Annotated[Note, AfterValidator(_with_percent)] | None = None
    input_request: Note | None = None


class TaskCancel(AsapModel):
    """Stop a task."""

    task_id: Id
    reason: Annotated[str | None, Field(max_length=4096)] = None


class MessageSend(AsapModel):
    """Say something in a task: the answer to what it asked.

    A part is an object, as in the draft, or a string: the id of a part in ASAP 1.0, which names
    nothing that could be fetched, so that it is taken for the text itself.
    """

    task_id: Id
    message_id: Id
    sender: AgentUrn
    role: Literal["user", "assistant", "system"]
    parts: Annotated[tuple[SentPart, ...], Field(max_length=MAX_PARTS), at_most(MAX_PARTS)]


class StateQuery(AsapModel):
    """Ask for a version of a task's state; ``None`` is the latest."""

    task_id: Id
    version: Annotated[int | None, Field(ge=0, le=2**53)] = None


class StateRestore(AsapModel):
    """Ask for a snapshot of a task's state."""

    task_id: Id
    snapshot_id: Id


class ArtifactNotify(AsapModel):
    """A task has an artifact."""

    artifact_id: Id
    task_id: Id
    name: Annotated[str | None, Field(max_length=1024)] = None


class McpToolCall(AsapModel):
    """Call a tool of MCP."""

    request_id: Id
    tool_name: Id
    arguments: Object
    mcp_context: Object | None = None


class McpToolResult(AsapModel):
    """What a tool of MCP gave, or why it gave nothing."""

    request_id: Id
    success: bool
    result: Object | None = None
    error: Text | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.success and (self.result is None or self.error is not None):
            raise ValueError("must hold result and no error, as its success says")
        if not self.success and (self.error is None or self.result is not None):
            raise ValueError("must hold error and no result, as its success says")
        return self


class McpResourceFetch(AsapModel):
    """Ask for a resource of MCP."""

    resource_uri: Uri


class McpResourceData(AsapModel):
    """A resource of MCP."""

    resource_uri: Uri
    content: Object


class MessageAck(AsapModel):
    """An envelope was ``received``, then ``processed``; or it was ``rejected``, with why."""

    original_envelope_id: Id
    status: Literal["received", "processed", "rejected"]
    error: Text | None = None


class StateSnapshot(AsapModel):
    """A version of a task's state: what ``final_state`` holds in the answer to a query."""

    id: Id
    task_id: Id
    version: Annotated[int, Field(ge=1, le=2**53)]
    data: Object
    checkpoint: bool = False
    created_at: Timestamp


Payload: TypeAlias = (
    TaskRequest
    | TaskResponse
    | TaskUpdate
    | TaskCancel
    | MessageSend
    | StateQuery
    | StateRestore
    | ArtifactNotify
    | McpToolCall
    | McpToolResult
    | McpResourceFetch
    | McpResourceData
    | MessageAck
)

PAYLOADS: Final[Mapping[PayloadType, type[Payload]]] = MappingProxyType(
    {
        PayloadType.TASK_REQUEST: TaskRequest,
        PayloadType.TASK_RESPONSE: TaskResponse,
        PayloadType.TASK_UPDATE: TaskUpdate,
        PayloadType.TASK_CANCEL: TaskCancel,
        PayloadType.MESSAGE_SEND: MessageSend,
        PayloadType.STATE_QUERY: StateQuery,
        PayloadType.STATE_RESTORE: StateRestore,
        PayloadType.ARTIFACT_NOTIFY: ArtifactNotify,
        PayloadType.MCP_TOOL_CALL: McpToolCall,
        PayloadType.MCP_TOOL_RESULT: McpToolResult,
        PayloadType.MCP_RESOURCE_FETCH: McpResourceFetch,
        PayloadType.MCP_RESOURCE_DATA: McpResourceData,
        PayloadType.MESSAGE_ACK: MessageAck,
    }
)
_KINDS: Final[Mapping[type[Payload], PayloadType]] = MappingProxyType(
    {model: kind for kind, model in PAYLOADS.items()}
)


def payload_type_of(payload: Payload) -> PayloadType:
    """Return the type of ``payload``."""
    return _KINDS[type(payload)]


# --- the envelope ----------------------------------------------------------------------------


def _may_be_absent(schema: dict[str, Any]) -> None:
    """Say of the members that the reader fills in that they need not be there."""
    schema["required"] = [name for name in schema["required"] if name not in {"id", "timestamp"}]


class Envelope(AsapModel):
    """What travels: who tells whom, and what."""

    model_config = ConfigDict(json_schema_extra=_may_be_absent)

    id: Id
    asap_version: Annotated[str, Field(min_length=1, max_length=32)]
    timestamp: Timestamp
    sender: AgentUrn
    recipient: AgentUrn
    payload_type: Annotated[str, Field(min_length=1, max_length=128)]
    payload: Object
    correlation_id: Annotated[str | None, Field(max_length=256)] = None
    trace_id: Word | None = None
    requires_ack: bool = False
    extensions: Note | None = None

    @model_validator(mode="after")
    def _answers_something(self) -> Self:
        """Spec §3, for every spelling of the type."""
        if not self.correlation_id and self.kind in ANSWERS:
            raise ValueError(f"needs a correlation_id: it is a {self.kind}")
        return self

    @property
    def kind(self) -> PayloadType | None:
        """The type of the payload; ``None`` for one that ASAP does not know."""
        return payload_type(self.payload_type)

    @property
    def spelling(self) -> Spelling:
        """The family in which the type is spelled, and an answer should be."""
        return spelling_of(self.payload_type)

    @property
    def nonce(self) -> Any:
        """``extensions.nonce``, whatever it is; ``None`` where there is none."""
        return None if self.extensions is None else self.extensions.get("nonce")

    def wire(self) -> dict[str, Any]:
        """Return the members as JSON has them.

        What has no value is left out: a peer of 1.0 takes no ``requires_ack``.
        """
        members: dict[str, Any] = {
            "id": self.id,
            "asap_version": self.asap_version,
            "timestamp": write_time(self.timestamp),
            "sender": self.sender,
            "recipient": self.recipient,
            "payload_type": self.payload_type,
            "payload": self.payload,
        }
        if self.correlation_id is not None:
            members["correlation_id"] = self.correlation_id
        if self.trace_id is not None:
            members["trace_id"] = self.trace_id
        if self.requires_ack:
            members["requires_ack"] = True
        if self.extensions is not None:
            members["extensions"] = self.extensions
        return members


def read_payload(envelope: Envelope) -> Payload:
    """Return the payload as its type says.

    Raises:
        UnknownPayloadType: ASAP has no such type.
        MalformedEnvelope: the payload is not of its type.

    """
    kind = envelope.kind
    if kind is None:
        raise UnknownPayloadType(envelope.payload_type)
    try:
        return PAYLOADS[kind].model_validate(envelope.payload)
    except ValidationError as error:
        raise malformed(error, "envelope", "payload") from None
