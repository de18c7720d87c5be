"""The types of fields, and the messages, that generations share, with the bounds of each.

Whatever a peer can send has a bound here: characters, items, members.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Annotated, Any, Final, Generic, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

from palaver.errors import InvalidId
from palaver.model.ids import check_id

__all__ = [
    "ArtifactUpdate",
    "Artifacts",
    "Base64",
    "Configuration",
    "FileContent",
    "Flag",
    "History",
    "HistoryLength",
    "Id",
    "Ids",
    "Index",
    "MediaType",
    "Metadata",
    "Modes",
    "Name",
    "Parts",
    "Status",
    "TaskIdParams",
    "TaskQueryParams",
    "Text",
    "Timestamp",
    "Uri",
    "Uris",
    "WireModel",
    "check_tag",
]

MAX_TEXT: Final = 16 * 1024 * 1024
"""Characters of a text; what a whole body may hold is the shell's limit."""

MAX_PARTS: Final = 10_000
MAX_HISTORY: Final = 10_000
MAX_MEMBERS: Final = 1_000


class WireModel(BaseModel):
    """Frozen; camelCase on the wire, snake_case taken too (ProtoJSON); unknown members ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def _checked_id(value: str) -> str:
    try:
        return check_id(value, "it")
    except InvalidId as error:
        # In the words of a validator, so that the field's name is told with it.
        text = str(error).removeprefix("it ")
        raise ValueError(text) from None


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _checked_base64(value: str) -> str:
    """Return ``value`` in the standard alphabet with padding; ProtoJSON takes either, and none."""
    plain = value.translate(_URL_SAFE).rstrip("=")
    plain += "=" * (-len(plain) % 4)
    try:
        b64decode(plain, validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    return plain


_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?[0-9.,:Zz+-]*\Z")


def _checked_timestamp(value: str) -> str:
    if not _TIMESTAMP.match(value):
        raise ValueError("must be a time as in 2025-01-31T12:00:00.000Z")
    return value


def _nothing_for_null(value: Any) -> Any:
    return () if value is None else value


_Absent: Final = BeforeValidator(_nothing_for_null)

Id: TypeAlias = Annotated[str, AfterValidator(_checked_id)]
Ids: TypeAlias = Annotated[tuple[Id, ...], Field(max_length=100), _Absent]
Name: TypeAlias = Annotated[str, Field(max_length=1024)]
Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
MediaType: TypeAlias = Annotated[str, Field(max_length=256)]
Modes: TypeAlias = Annotated[tuple[MediaType, ...], Field(max_length=100), _Absent]
Uri: TypeAlias = Annotated[str, Field(min_length=1, max_length=8192)]
Uris: TypeAlias = Annotated[tuple[Uri, ...], Field(max_length=100), _Absent]
Base64: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_checked_base64)]
Timestamp: TypeAlias = Annotated[str, Field(max_length=64), AfterValidator(_checked_timestamp)]
Metadata: TypeAlias = Annotated[dict[str, Any], Field(max_length=MAX_MEMBERS)]
HistoryLength: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Index: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Flag: TypeAlias = Annotated[bool, Field(strict=True)]

_T = TypeVar("_T")

Parts: TypeAlias = Annotated[tuple[_T, ...], Field(min_length=1, max_length=MAX_PARTS)]
Artifacts: TypeAlias = Annotated[tuple[_T, ...], Field(max_length=MAX_PARTS)]
History: TypeAlias = Annotated[tuple[_T, ...], Field(max_length=MAX_HISTORY)]


class FileContent(WireModel):
    """A file of 0.1 and 0.3: its bytes in base64, or where it can be fetched."""

    name: Name | None = None
    mime_type: MediaType | None = None
    bytes: Base64 | None = None
    uri: Uri | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.bytes is None) == (self.uri is None):
            raise ValueError("must hold exactly one of bytes and uri")
        return self


def check_tag(part: WireModel, tag: str) -> None:
    """Check that ``part`` of 0.1 or 0.3 holds what its ``tag`` says.

    Raises:
        ValueError: it does not.

    """
    said = getattr(part, tag)
    if getattr(part, said) is None:
        raise ValueError(f"must hold {said}, as its {tag} says")


_StateT = TypeVar("_StateT", bound=str)
_MessageT = TypeVar("_MessageT", bound=WireModel)
_ArtifactT = TypeVar("_ArtifactT", bound=WireModel)


class Status(WireModel, Generic[_StateT, _MessageT]):
    """Where a task stands, since when, and what the agent says to it."""

    state: _StateT
    message: _MessageT | None = None
    timestamp: Timestamp | None = None


class ArtifactUpdate(WireModel, Generic[_ArtifactT]):
    """An artifact came, or a chunk of one (0.3 and 1.0)."""

    task_id: Id
    context_id: Id
    artifact: _ArtifactT
    append: Flag | None = None
    last_chunk: Flag | None = None
    metadata: Metadata | None = None


class Configuration(WireModel):
    """How the caller wants to be answered (0.3 and 1.0)."""

    accepted_output_modes: Modes = ()
    history_length: HistoryLength | None = None


class TaskIdParams(WireModel):
    """The params of 0.1 and 0.3 that name a task."""

    id: Id
    metadata: Metadata | None = None


class TaskQueryParams(WireModel):
    """The params of 0.1 and 0.3 that name a task, and how much of its history is wanted."""

    id: Id
    history_length: HistoryLength | None = None
    metadata: Metadata | None = None
