"""What an envelope can carry, and how that is spelled: in families, all of them read.

``TaskRequest``, ``task.request``, ``task_request``, ``task-request``: an answer is spelled as the
request was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["ANSWERS", "PayloadType", "Spelling", "payload_type", "spelled", "spelling_of"]


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
_EXACT: Final[Mapping[str, PayloadType]] = MappingProxyType(
    {name: kind for (kind, _), name in _SPELLED.items()}
)


def payload_type(name: str) -> PayloadType | None:
    """Return the type that ``name`` spells, in whatever family and case; ``None`` for no type."""
    kind = _EXACT.get(name)
    if kind is not None:  # nearly always; it is asked several times for each envelope
        return kind
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
