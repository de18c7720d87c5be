"""Events and tasks as JSON, for stores. Wires have spellings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, TypeAlias, cast

import orjson
from pydantic import Field, TypeAdapter

from palaver.model.events import TaskEvent
from palaver.model.task import Task

__all__ = ["decode_events", "encode_events", "task_from_data", "task_to_data"]

_TaggedEvent: TypeAlias = Annotated[TaskEvent, Field(discriminator="kind")]
_EVENTS: Final[TypeAdapter[list[TaskEvent]]] = TypeAdapter(list[_TaggedEvent])
_TASK: Final[TypeAdapter[Task]] = TypeAdapter(Task)


def encode_events(events: Sequence[TaskEvent]) -> bytes:
    """Return ``events`` as a JSON array."""
    return orjson.dumps(events)


def decode_events(data: bytes) -> list[TaskEvent]:
    """Return the events of a JSON array that ``encode_events`` made."""
    return _EVENTS.validate_json(data)


def task_to_data(task: Task) -> dict[str, Any]:
    """Return ``task`` as a JSON object."""
    return cast("dict[str, Any]", orjson.loads(orjson.dumps(task)))


def task_from_data(data: dict[str, Any]) -> Task:
    """Return the task that ``task_to_data`` made an object of."""
    return _TASK.validate_python(data)
