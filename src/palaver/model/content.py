"""What is said: parts, messages, artifacts. Values: frozen, compared by content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

__all__ = [
    "Artifact",
    "DataPart",
    "FilePart",
    "Message",
    "Metadata",
    "Part",
    "Role",
    "TextPart",
    "compact",
    "text_of",
]

Metadata: TypeAlias = Mapping[str, Any]
"""JSON object that a peer attached; carried, never read by the engine."""

Role: TypeAlias = Literal["user", "agent"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text, UTF-8."""

    text: str
    media_type: str | None = None
    filename: str | None = None
    metadata: Metadata | None = None
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file: its bytes in base64, or where it can be fetched. Exactly one of the two is set."""

    base64: str | None = None
    uri: str | None = None
    media_type: str | None = None
    filename: str | None = None
    metadata: Metadata | None = None
    kind: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class DataPart:
    """A JSON value."""

    data: Any
    media_type: str | None = None
    filename: str | None = None
    metadata: Metadata | None = None
    kind: Literal["data"] = "data"


Part: TypeAlias = TextPart | FilePart | DataPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing said by one side; ``language`` is the BCP 47 tag of its text, where known."""

    id: str
    role: Role
    parts: tuple[Part, ...]
    metadata: Metadata | None = None
    extensions: tuple[str, ...] = ()
    reference_task_ids: tuple[str, ...] = ()
    language: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined as they stand."""
        return text_of(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something that a task made; in an event, the parts of one chunk of it."""

    id: str
    parts: tuple[Part, ...]
    name: str | None = None
    description: str | None = None
    metadata: Metadata | None = None
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text parts, joined as they stand."""
        return text_of(self.parts)


def text_of(parts: Iterable[Part]) -> str:
    """Return the text parts of ``parts``, joined as they stand."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def compact(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return ``parts`` with neighbouring text parts joined where only their text differs.

    The text of the result equals the concatenation of the texts; nothing else moves.
    """
    joined: list[Part] = []
    run: list[str] = []
    for part in parts:
        previous = joined[-1] if joined else None
        if (
            isinstance(part, TextPart)
            and isinstance(previous, TextPart)
            and part.media_type == previous.media_type
            and part.filename == previous.filename
            and part.metadata == previous.metadata
        ):
            run = run or [previous.text]
            run.append(part.text)
            continue
        if run:
            joined[-1] = _with_text(joined[-1], run)
            run = []
        joined.append(part)
    if run:
        joined[-1] = _with_text(joined[-1], run)
    return tuple(joined)


def _with_text(part: Part, pieces: list[str]) -> Part:
    return replace(part, text="".join(pieces)) if isinstance(part, TextPart) else part
