"""The types of fields, with the bounds of each: characters, items, members, bytes."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self, TypeAlias

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from palaver.errors import InvalidId
from palaver.model.ids import MAX_ID_LENGTH, check_id

__all__ = [
    "AgentUrn",
    "AsapModel",
    "Base64",
    "FileUri",
    "Id",
    "MediaType",
    "Note",
    "Object",
    "Text",
    "Timestamp",
    "Uri",
    "Word",
    "at_most",
    "check_note",
    "moment",
    "write_time",
]

MAX_MEMBERS: Final = 10_000
"""Members of an object that holds the work itself: an input, a result. Its bytes are the body's."""

MAX_TEXT: Final = 10 * 1024 * 1024
"""Characters of a text; what a whole body may hold is the shell's limit."""

MAX_STRANGE: Final = 256
"""Members of an object whose members are named here. Each of a million would be an error."""

MAX_NOTE: Final = 64 * 1024
"""Bytes of an object beside the work: a config, extensions, metrics, progress."""


def _checked_id(value: str) -> str:
    try:
        return check_id(value, "it")
    except InvalidId as error:
        # In the words of a validator, so that the field's name is told with it.
        raise ValueError(str(error).removeprefix("it ")) from None


def check_note(value: dict[str, Any]) -> dict[str, Any]:
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


def write_time(value: datetime) -> str:
    """Return ``value``, which is in UTC, as RFC 3339: without a fraction, or with microseconds."""
    return value.isoformat()[: -len("+00:00")] + "Z"


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
    datetime,
    AfterValidator(_in_utc),
    PlainSerializer(write_time, return_type=str, when_used="json"),
]
Word: TypeAlias = Annotated[str, Field(max_length=256)]
Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
Uri: TypeAlias = Annotated[str, Field(min_length=1, max_length=8192)]
FileUri: TypeAlias = Annotated[Uri, AfterValidator(_file_uri)]
MediaType: TypeAlias = Annotated[str, Field(max_length=256), AfterValidator(_media_type)]
Base64: TypeAlias = Annotated[Text, AfterValidator(_base64)]
Object: TypeAlias = Annotated[dict[str, Any], Field(max_length=MAX_MEMBERS)]
Note: TypeAlias = Annotated[dict[str, Any], Field(max_length=256), AfterValidator(check_note)]


def at_most(most: int) -> BeforeValidator:
    """Return what refuses an array with more items before any of them is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, list) and len(value) > most:
            raise PydanticCustomError(
                "too_long", "must hold at most {max_length} items", {"max_length": most}
            )
        return value

    return BeforeValidator(check)


class AsapModel(BaseModel):
    """Frozen; a member that it does not know is an error (spec §2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MAX_STRANGE:
            text = "must hold at most {max_length} members"
            raise PydanticCustomError("too_many", text, {"max_length": MAX_STRANGE})
        return value

    @classmethod
    def trusted(cls, members: dict[str, Any]) -> Self:
        """Return one that has all these members, which were checked before: nothing is here.

        Every member has to be there, with the value and the type that checking would leave.
        """
        made = cls.__new__(cls)
        fill = object.__setattr__
        fill(made, "__dict__", members)
        fill(made, "__pydantic_fields_set__", set(members))
        fill(made, "__pydantic_extra__", None)
        fill(made, "__pydantic_private__", None)
        return made

    def wire(self) -> dict[str, Any]:
        """Return the members as JSON has them; those that are ``None`` are left out."""
        return self.model_dump(mode="json", exclude_none=True)
