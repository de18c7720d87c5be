"""Events and tasks as JSON, for stores. Wires have spellings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias, cast

import orjson
from pydantic import Field, TypeAdapter

from palaver.model.content import Artifact, Part
from palaver.model.events import TaskEvent
from palaver.model.task import Task

__all__ = [
    "decode_events",
    "detached_artifact",
    "detached_part",
    "encode_events",
    "task_from_data",
    "task_to_data",
]

_TaggedEvent: TypeAlias = Annotated[TaskEvent, Field(discriminator="kind")]
_EVENTS: Final[TypeAdapter[list[TaskEvent]]] = TypeAdapter(list[_TaggedEvent])
_TaggedPart: TypeAlias = Annotated[Part, Field(discriminator="kind")]
_PART: Final[TypeAdapter[Part]] = TypeAdapter(_TaggedPart)
_ARTIFACT: Final[TypeAdapter[Artifact]] = TypeAdapter(Artifact)
_TASK: Final[TypeAdapter[Task]] = TypeAdapter(Task)


def encode_events(events: Sequence[TaskEvent]) -> bytes:
    """Return ``events`` as a JSON array."""
    return orjson.dumps(events)


def decode_events(data: bytes) -> list[TaskEvent]:
    """Return the events of a JSON array that ``encode_events`` made."""
    return _EVENTS.validate_json(data)


def detached_part(part: Part) -> Part:
    """Return ``part`` as it will be read again: of the right types, and sharing nothing with it.

    Raises:
        TypeError: it holds what JSON cannot.
        ValueError: a field is of another type, or it nests too deep to be read.

    """
    return _PART.validate_json(orjson.dumps(part))


def detached_artifact(artifact: Artifact) -> Artifact:
    """Return ``artifact`` as it will be read again; errors are those of ``detached_part``."""
    return _ARTIFACT.validate_json(orjson.dumps(artifact))


def task_to_data(task: Task) -> dict[str, Any]:
    """Return ``task`` as a JSON object."""
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(task)))


def task_from_data(data: dict[str, Any]) -> Task:
    """Return the task that ``task_to_data`` made an object of."""
    return _TASK.validate_python(data)
