"""Envelopes and payloads of ASAP 1.1, field by field: frozen, bounded, no members but their own.

An envelope carries its payload as an object; ``read_payload`` makes it what its type says, once
the envelope has passed the checks that come before. Payload types are spelled in families
(``TaskRequest``, ``task.request``, ``task_request``, ``task-request``): all are read, and an
answer is spelled as the request was.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from palaver.errors import InvalidId
from palaver.model.ids import MAX_ID_LENGTH, check_id
from palaver.protocols.asap.errors import UnknownPayloadType, malformed

__all__ = [
    "ASAP_VERSION",
    "PAYLOADS",
    "ArtifactNotify",
    "AsapModel",
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
    "acknowledge",
    "moment",
    "payload_type",
    "payload_type_of",
    "read_payload",
    "spelled",
    "spelling_of",
]

ASAP_VERSION: Final = "0.1"
"""The version on the wire, of all releases from 1.0 to 2.5: it is not that of a package."""


# --- payload types and their spellings -------------------------------------------------------


class PayloadType(StrEnum):
    """What an envelope carries, by its canonical name."""

    TASK_REQUEST = "TaskRequest"
    TASK_RESPONSE = "TaskResponse"
    TASK_UPDATE = "TaskUpdate"
    TASK_CANCEL = "TaskCancel"
    MESSAGE_SEND = "MessageSend"
    STATE_QUERY = "StateQuery"
    STATE_RESTORE = "StateRestore"
    ARTIFACT_NOTIFY = "ArtifactNotify"
    MCP_TOOL_CALL = "McpToolCall"
    MCP_TOOL_RESULT = "McpToolResult"
    MCP_RESOURCE_FETCH = "McpResourceFetch"
    MCP_RESOURCE_DATA = "McpResourceData"
    MESSAGE_ACK = "MessageAck"


class Spelling(StrEnum):
    """A family of spellings, by what stands between the words."""

    CAMEL = ""
    DOTTED = "."
    SNAKE = "_"
    HYPHENATED = "-"


ANSWERS: Final = frozenset(
    {PayloadType.TASK_RESPONSE, PayloadType.MCP_TOOL_RESULT, PayloadType.MCP_RESOURCE_DATA}
)
"""The types that need a ``correlation_id``: they answer an envelope."""

_TYPES: Final[Mapping[str, PayloadType]] = MappingProxyType(
    {
        spelled.lower(): kind
        for kind in PayloadType
        for spelled in (kind.value, kind.name)  # taskrequest, task_request
    }
)
_SPELLED: Final[Mapping[tuple[PayloadType, Spelling], str]] = MappingProxyType(
    {
        (kind, spelling): kind.value
        if spelling is Spelling.CAMEL
        else kind.name.lower().replace("_", spelling.value)
        for kind in PayloadType
        for spelling in Spelling
    }
)


def payload_type(name: str) -> PayloadType | None:
    """Return the type that ``name`` spells, in whatever family and case; ``None`` for no type."""
    return _TYPES.get(name.lower().replace(".", "_").replace("-", "_"))


def spelling_of(name: str) -> Spelling:
    """Return the family that ``name`` is spelled in: by the first separator in it."""
    for char in name:
        if char in "._-":
            return Spelling(char)
    return Spelling.CAMEL


def spelled(kind: PayloadType, spelling: Spelling) -> str:
    """Return ``kind`` as that family spells it."""
    return _SPELLED[kind, spelling]


# --- the types of fields, with their bounds --------------------------------------------------

MAX_MEMBERS: Final = 10_000
"""Members of an object that holds the work itself: an input, a result. Its bytes are the body's."""

MAX_PARTS: Final = 1_000

MAX_TEXT: Final = 10 * 1024 * 1024
"""Characters of a text; what a whole body may hold is the shell's limit."""

MAX_NOTE: Final = 64 * 1024
"""Bytes of an object beside the work: a config, extensions, metrics, progress."""


def _checked_id(value: str) -> str:
    try:
        return check_id(value, "it")
    except InvalidId as error:
        # In the words of a validator, so that the field's name is told with it.
        raise ValueError(str(error).removeprefix("it ")) from None


def _noted(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is long, or cannot be written again."""
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError as error:
        raise PydanticCustomError("json", "must be JSON: {why}", {"why": str(error)}) from None
    if size > MAX_NOTE:
        text = "must be at most {most} bytes of JSON, not {size}"
        raise PydanticCustomError("json", text, {"most": MAX_NOTE, "size": size})
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)  # spec §2: a naive timestamp is read as UTC
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999 in UTC") from None


def _written(value: datetime) -> str:
    """Return ``value`` as RFC 3339 in UTC: without a fraction, or with microseconds."""
    return value.replace(tzinfo=None).isoformat() + "Z"


def moment(now: float) -> datetime:
    """Return the time ``now`` (seconds since the epoch) as envelopes carry it."""
    return datetime.fromtimestamp(now, UTC)


def _base64(value: str) -> str:
    try:
        b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    return value


_MEDIA_TYPE: Final = re.compile(r"[a-z0-9-]+/[a-z0-9.+\-]+\Z")


def _media_type(value: str) -> str:
    """Return ``value`` in lower case (spec §5)."""
    lower = value.lower()
    if not _MEDIA_TYPE.match(lower):
        raise ValueError("must be a media type such as text/plain")
    return lower


def _file_uri(value: str) -> str:
    """Refuse what leads into file systems (spec §5)."""
    if ".." in value:
        raise ValueError("must not contain ..")
    if value.strip().lower().startswith("file:"):
        raise ValueError("must not be a file: URI")
    return value


Id: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_LENGTH), AfterValidator(_checked_id)
]
AgentUrn: TypeAlias = Annotated[
    str, Field(max_length=256, pattern=r"^urn:asap:agent:[a-z0-9-]+(?::[a-z0-9-]+)?$")
]
Timestamp: TypeAlias = Annotated[
    datetime, AfterValidator(_in_utc), PlainSerializer(_written, return_type=str, when_used="json")
]
Word: TypeAlias = Annotated[str, Field(max_length=256)]
Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
Uri: TypeAlias = Annotated[str, Field(min_length=1, max_length=8192)]
FileUri: TypeAlias = Annotated[Uri, AfterValidator(_file_uri)]
MediaType: TypeAlias = Annotated[str, Field(max_length=256), AfterValidator(_media_type)]
Base64: TypeAlias = Annotated[Text, AfterValidator(_base64)]
Object: TypeAlias = Annotated[dict[str, Any], Field(max_length=MAX_MEMBERS)]
Note: TypeAlias = Annotated[dict[str, Any], Field(max_length=256), AfterValidator(_noted)]
Number: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]


class AsapModel(BaseModel):
    """Frozen; a member that it does not know is an error (spec §2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def wire(self) -> dict[str, Any]:
        """Return the members as JSON has them; those that are ``None`` are left out."""
        return self.model_dump(mode="json", exclude_none=True)


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
    variables: Object = Field(default_factory=dict)


_PART_TYPES: Final = frozenset({"text", "data", "file", "resource", "template"})


def _v0_part(value: Any) -> Any:
    """Return an object with the type that it has since 1.0, for one that says ``TextPart``."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and (plain := kind.removesuffix("Part").lower()) in _PART_TYPES:
        return {**value, "type": plain}
    return value


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
    callback_events: Annotated[tuple[Word, ...] | None, Field(max_length=64)] = None
    callback_secret: Annotated[str | None, Field(max_length=1024, repr=False)] = None
    broker: Note | None = None
    model: Word | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        _noted(self.model_extra or {})
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
    parts: Annotated[tuple[SentPart, ...], Field(max_length=MAX_PARTS)]


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
            "timestamp": _written(self.timestamp),
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


def acknowledge(
    envelope: Envelope,
    status: Literal["received", "processed", "rejected"],
    *,
    id: str,  # noqa: A002 -- the word of the wire
    now: float,
    error: str | None = None,
) -> Envelope:
    """Return the envelope that tells the sender of ``envelope`` what became of it (spec §7)."""
    ack = MessageAck(original_envelope_id=envelope.id, status=status, error=error)
    return Envelope(
        id=id,
        asap_version=envelope.asap_version,
        timestamp=moment(now),
        sender=envelope.recipient,
        recipient=envelope.sender,
        payload_type=PayloadType.MESSAGE_ACK.value,
        payload=ack.wire(),
        trace_id=envelope.trace_id,
    )
