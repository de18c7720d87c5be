"""What every generation says alike, in the words that they share.

Times, counts of history, what is known beside a state, and the members that objects of all
generations have under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from palaver.model.content import Artifact, Message, Part, TextPart
from palaver.model.events import (
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
)
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState
from palaver.protocols.a2a.commands import Send

__all__ = [
    "Wire",
    "change",
    "described",
    "final",
    "parts",
    "progress",
    "recent",
    "status",
    "target",
    "wanted",
    "with_metadata",
]

Wire: TypeAlias = dict[str, Any]
"""A JSON object on its way out."""

_NOTHING: Final = TextPart("")


def recent(history: tuple[Message, ...], length: int | None) -> tuple[Message, ...]:
    """Return the last ``length`` messages; all of them for ``None``."""
    if length is None:
        return history
    return history[max(0, len(history) - length) :]


def progress(fact: StatusChanged | Task) -> Wire:
    """Return what is known beside the state, for metadata. A first attempt needs no word."""
    known: Wire = {}
    if fact.reason is not None:
        known["reason"] = fact.reason
    if fact.percent is not None:
        known["percent"] = fact.percent
    if fact.attempt is not None and fact.attempt > 1:
        known["attempt"] = fact.attempt
    return known


def change(
    event: TaskCreated | StatusChanged | MessageReceived | CallActionRequested,
) -> tuple[TaskState, Message | None, Wire]:
    """Return the state after ``event``, what the agent says to it, and the metadata."""
    if isinstance(event, StatusChanged):
        return event.state, event.message, progress(event)
    if isinstance(event, CallActionRequested):
        action: Wire = {"action": event.action}
        if event.target is not None:
            action["target"] = event.target
        return TaskState.WORKING, None, {"callAction": action}
    created = isinstance(event, TaskCreated)
    return TaskState.SUBMITTED if created else TaskState.WORKING, None, {}


def final(state: TaskState) -> bool:
    """Return the ``final`` of a status event: whether a stream ends with that state."""
    return state in TERMINAL or state in INTERRUPTED


def status(state: str, at: float, said: Wire | None) -> Wire:
    """Return a status since ``at`` (RFC 3339 in UTC, to the millisecond)."""
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    wire: Wire = {"state": state, "timestamp": time}
    if said is not None:
        wire["message"] = said
    return wire


def parts(render: Callable[[Part], Wire], said: Iterable[Part]) -> list[Wire]:
    """Return each part as ``render`` spells it, and at least one.

    A REQUIRED array must not be empty in 1.0, and no reader before it expects an empty one: a
    chunk that only says that it is the last says "".
    """
    wire = []
    for part in said:
        wire.append(render(part))  # noqa: PERF401 -- for one part 0.08 µs less than a comprehension
    return wire or [render(_NOTHING)]


def described(wire: Wire, artifact: Artifact) -> Wire:
    """Add what describes ``artifact``, where there is something."""
    if artifact.name is not None:
        wire["name"] = artifact.name
    if artifact.description is not None:
        wire["description"] = artifact.description
    if artifact.metadata:
        wire["metadata"] = artifact.metadata
    return wire


def with_metadata(wire: Wire, metadata: Mapping[str, Any] | None) -> Wire:
    """Add ``metadata``, where there is any."""
    if metadata:
        wire["metadata"] = metadata
    return wire


def target(task_id: str, history_length: int | None) -> Wire:
    """Return the params that name a task and how much history is wanted with it."""
    wire: Wire = {"id": task_id}
    if history_length is not None:
        wire["historyLength"] = history_length
    return wire


def wanted(command: Send) -> Wire:
    """Return the members that say in which form an answer is wanted."""
    wire: Wire = {}
    if command.accepted_output_modes:
        wire["acceptedOutputModes"] = command.accepted_output_modes
    if command.history_length is not None:
        wire["historyLength"] = command.history_length
    return wire
