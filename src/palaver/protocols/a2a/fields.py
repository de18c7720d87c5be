"""The types of the fields that the generations share, with the bounds of each.

Whatever a peer can send has a bound here: characters, items, members.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from palaver.errors import InvalidId
from palaver.model.ids import check_id

__all__ = [
    "MAX_HISTORY",
    "MAX_PARTS",
    "Base64",
    "Flag",
    "HistoryLength",
    "Id",
    "Ids",
    "Index",
    "MediaType",
    "Metadata",
    "Modes",
    "Name",
    "Text",
    "Timestamp",
    "Uri",
    "Uris",
    "WireModel",
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
