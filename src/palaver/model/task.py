"""The task: the fold of its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from palaver.errors import IllegalEvent
from palaver.model.content import Artifact, Message, Metadata, Part, compact
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.states import INTERRUPTED, TERMINAL, TRANSITIONS, TaskState

__all__ = ["INTERRUPTED", "TERMINAL", "TRANSITIONS", "Fold", "Task", "TaskState", "fold"]

_COMPACT_EVERY: Final = 512
"""Chunks that an artifact gathers before they are joined, so that a long stream stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it stands after event ``seq``.

    ``history`` begins with the message that made the task; ``context`` is what was said in the
    conversation before it.
    """

    id: str
    conversation_id: str
    agent_id: str
    principal: str
    wire: str
    seq: int
    created_at: float
    state: TaskState
    state_at: float
    history: tuple[Message, ...]
    artifacts: tuple[Artifact, ...] = ()
    status_message: Message | None = None
    reason: str | None = None
    percent: float | None = None
    attempt: int = 0
    skill_id: str | None = None
    restartable: bool = False
    metadata: Metadata | None = None
    context: tuple[Message, ...] = ()

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self.state in TERMINAL

    @property
    def settled(self) -> bool:
        """Whether a caller who waits for an answer has it: terminal, or waiting for input."""
        return self.state in TERMINAL or self.state in INTERRUPTED

    @property
    def answers(self) -> tuple[Message, ...]:
        """What the caller said after the first message, in order."""
        return tuple(message for message in self.history if message.role == "user")[1:]


@dataclass(slots=True)
class _OpenArtifact:
    """An artifact that still grows: its latest description and its parts so far."""

    index: int
    latest: Artifact
    parts: list[Part]

    def add(self, parts: tuple[Part, ...]) -> None:
        self.parts.extend(parts)
        if len(self.parts) >= _COMPACT_EVERY:
            self.parts = list(compact(self.parts))

    def close(self) -> Artifact:
        if len(self.parts) == 1 == len(self.latest.parts) and self.parts[0] is self.latest.parts[0]:
            return self.latest
        return replace(self.latest, parts=compact(self.parts))


class Fold:
    """Takes the events of one task in order and knows the task after each.

    ``apply`` either accepts an event or raises ``IllegalEvent`` and leaves everything as it was,
    so that a writer can ask here before anything is stored. The task itself is only put together
    when somebody asks for it: between two askers an event costs about a microsecond.
    """

    __slots__ = (
        "_artifacts",
        "_attempt",
        "_cached",
        "_history",
        "_message",
        "_origin",
        "_percent",
        "_reason",
        "_seq",
        "_state",
        "_state_at",
    )

    def __init__(self, task: Task | None = None) -> None:
        """Start empty, or from a snapshot."""
        self._artifacts: dict[str, _OpenArtifact] = {}
        self._origin: Task | None = None
        self._cached: Task | None = None
        self._seq = 0
        if task is not None:
            self._begin_from(task)

    def _begin_from(self, task: Task) -> None:
        self._origin = self._cached = task
        self._seq = task.seq
        self._state = task.state
        self._state_at = task.state_at
        self._history = task.history
        self._message = task.status_message
        self._reason = task.reason
        self._percent = task.percent
        self._attempt = task.attempt
        for index, artifact in enumerate(task.artifacts):
            self._artifacts[artifact.id] = _OpenArtifact(index, artifact, list(artifact.parts))

    @property
    def seq(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._seq

    @property
    def state(self) -> TaskState | None:
        """The state after the last event; ``None`` before the first."""
        return None if self._origin is None else self._state

    @property
    def task(self) -> Task:
        """The task after the last event.

        Raises:
            IllegalEvent: there was no event yet.

        """
        if self._cached is None:
            self._cached = replace(
                self._started(),
                seq=self._seq,
                state=self._state,
                state_at=self._state_at,
                history=self._history,
                artifacts=tuple(artifact.close() for artifact in self._artifacts.values()),
                status_message=self._message,
                reason=self._reason,
                percent=self._percent,
                attempt=self._attempt,
            )
        return self._cached

    def apply(self, task_id: str, event: TaskEvent) -> None:
        """Take the next event.

        Raises:
            IllegalEvent: its number is not the next, or it may not follow the task's state.

        """
        if event.seq != self._seq + 1:
            message = f"task {task_id!r}: event {event.seq} cannot follow event {self._seq}"
            raise IllegalEvent(message)
        if isinstance(event, TaskCreated):
            self._create(task_id, event)
            return
        if isinstance(event, ArtifactUpdated):
            self._update_artifact(task_id, event)
        elif isinstance(event, StatusChanged):
            self._change_status(task_id, event)
        elif isinstance(event, MessageReceived):
            self._receive(task_id, event)
        else:
            self._demand_working(task_id, event)
        self._seq = event.seq
        self._cached = None

    def _started(self) -> Task:
        if self._origin is None:
            message = "a task begins with task_created"
            raise IllegalEvent(message)
        return self._origin

    def _create(self, task_id: str, event: TaskCreated) -> None:
        if self._origin is not None:
            message = f"task {task_id!r} exists already"
            raise IllegalEvent(message)
        self._begin_from(
            Task(
                id=task_id,
                conversation_id=event.conversation_id,
                agent_id=event.agent_id,
                principal=event.principal,
                wire=event.wire,
                seq=event.seq,
                created_at=event.at,
                state=TaskState.SUBMITTED,
                state_at=event.at,
                history=(event.message,),
                skill_id=event.skill_id,
                restartable=event.restartable,
                metadata=event.metadata,
                context=event.context,
            )
        )

    def _change_status(self, task_id: str, event: StatusChanged) -> None:
        self._started()
        if event.state not in TRANSITIONS[self._state]:
            message = f"task {task_id!r} cannot go from {self._state} to {event.state}"
            raise IllegalEvent(message)
        self._keep_question()
        self._state = event.state
        self._state_at = event.at
        self._message = event.message
        self._reason = event.reason
        if event.percent is not None:
            self._percent = event.percent
        if event.attempt is not None:
            self._attempt = event.attempt

    def _receive(self, task_id: str, event: MessageReceived) -> None:
        self._started()
        if self._state not in INTERRUPTED:
            message = f"task {task_id!r} is {self._state} and did not ask for input"
            raise IllegalEvent(message)
        self._keep_question()
        self._history = (*self._history, event.message)
        self._state = TaskState.WORKING
        self._state_at = event.at
        self._message = None
        self._reason = None

    def _update_artifact(self, task_id: str, event: ArtifactUpdated) -> None:
        self._demand_working(task_id, event)
        artifact = event.artifact
        known = self._artifacts.get(artifact.id)
        expected = len(self._artifacts) if known is None else known.index
        if event.index != expected:
            message = (
                f"task {task_id!r}: artifact {artifact.id!r} has the place {expected}, "
                f"not {event.index}"
            )
            raise IllegalEvent(message)
        if not event.append:
            self._artifacts[artifact.id] = _OpenArtifact(expected, artifact, list(artifact.parts))
        elif known is None:
            message = f"task {task_id!r} has no artifact {artifact.id!r} to append to"
            raise IllegalEvent(message)
        else:
            known.add(artifact.parts)

    def _demand_working(self, task_id: str, event: ArtifactUpdated | CallActionRequested) -> None:
        self._started()
        if self._state is not TaskState.WORKING:
            message = f"task {task_id!r} is {self._state}: {event.kind} needs a working task"
            raise IllegalEvent(message)

    def _keep_question(self) -> None:
        """Add what the agent asked to the history, once it asks no more."""
        if self._message is not None and self._state in INTERRUPTED:
            self._history = (*self._history, self._message)


def fold(task_id: str, events: Iterable[TaskEvent], start: Task | None = None) -> Task:
    """Return the task after ``events``, which continue ``start`` or begin with the first.

    Raises:
        IllegalEvent: an event may not follow the ones before it, or there is none at all.

    """
    folding = Fold(start)
    for event in events:
        folding.apply(task_id, event)
    return folding.task
