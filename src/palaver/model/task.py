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
    """A task as it stands after event ``seq``."""

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
        return replace(self.latest, parts=compact(self.parts))


class Fold:
    """Takes the events of one task in order and knows the task after each.

    ``apply`` either accepts an event or raises ``IllegalEvent`` and leaves everything as it was,
    so that a writer can ask here before anything is stored.
    """

    __slots__ = ("_artifacts", "_cached", "_seq", "_task")

    def __init__(self, task: Task | None = None) -> None:
        """Start empty, or from a snapshot."""
        # ``_task`` is brought up to date lazily: an artifact chunk, the commonest event by far,
        # only moves ``_seq`` and the open artifact.
        self._task = task
        self._cached = task
        self._seq = 0 if task is None else task.seq
        self._artifacts: dict[str, _OpenArtifact] = {}
        if task is not None:
            for index, artifact in enumerate(task.artifacts):
                self._artifacts[artifact.id] = _OpenArtifact(index, artifact, list(artifact.parts))

    @property
    def seq(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._seq

    @property
    def state(self) -> TaskState | None:
        """The state after the last event; ``None`` before the first."""
        return None if self._task is None else self._task.state

    @property
    def task(self) -> Task:
        """The task after the last event.

        Raises:
            IllegalEvent: there was no event yet.

        """
        if self._cached is None:
            task = self._started()
            artifacts = tuple(artifact.close() for artifact in self._artifacts.values())
            self._task = self._cached = replace(task, seq=self._seq, artifacts=artifacts)
        return self._cached

    def artifact_index(self, artifact_id: str) -> int | None:
        """Return the place of that artifact in the task, or ``None`` if there is none."""
        known = self._artifacts.get(artifact_id)
        return None if known is None else known.index

    @property
    def artifact_count(self) -> int:
        """How many artifacts the task has."""
        return len(self._artifacts)

    def apply(self, task_id: str, event: TaskEvent) -> None:
        """Take the next event.

        Raises:
            IllegalEvent: its number is not the next, or it may not follow the task's state.

        """
        if event.seq != self._seq + 1:
            message = f"task {task_id!r}: event {event.seq} cannot follow event {self._seq}"
            raise IllegalEvent(message)
        if isinstance(event, ArtifactUpdated):
            self._update_artifact(event)
        elif isinstance(event, TaskCreated):
            self._create(task_id, event)
        elif isinstance(event, StatusChanged):
            self._change_status(event)
        elif isinstance(event, MessageReceived):
            self._receive(event)
        else:
            self._working(event)
        self._seq = event.seq
        self._cached = None

    def _started(self) -> Task:
        if self._task is None:
            message = "a task begins with task_created"
            raise IllegalEvent(message)
        return self._task

    def _create(self, task_id: str, event: TaskCreated) -> None:
        if self._task is not None:
            message = f"task {task_id!r} exists already"
            raise IllegalEvent(message)
        self._task = Task(
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
        )

    def _change_status(self, event: StatusChanged) -> None:
        task = self._started()
        if event.state not in TRANSITIONS[task.state]:
            message = f"task {task.id!r} cannot go from {task.state} to {event.state}"
            raise IllegalEvent(message)
        self._task = replace(
            task,
            state=event.state,
            state_at=event.at,
            history=_with_question(task),
            status_message=event.message,
            reason=event.reason,
            percent=task.percent if event.percent is None else event.percent,
            attempt=task.attempt if event.attempt is None else event.attempt,
        )

    def _receive(self, event: MessageReceived) -> None:
        task = self._started()
        if task.state not in INTERRUPTED:
            message = f"task {task.id!r} is {task.state} and did not ask for input"
            raise IllegalEvent(message)
        self._task = replace(
            task,
            state=TaskState.WORKING,
            state_at=event.at,
            history=(*_with_question(task), event.message),
            status_message=None,
            reason=None,
        )

    def _update_artifact(self, event: ArtifactUpdated) -> None:
        task = self._working(event)
        known = self._artifacts.get(event.artifact.id)
        expected = len(self._artifacts) if known is None else known.index
        if event.index != expected:
            message = (
                f"task {task.id!r}: artifact {event.artifact.id!r} has the place {expected}, "
                f"not {event.index}"
            )
            raise IllegalEvent(message)
        if event.append:
            if known is None:
                message = f"task {task.id!r} has no artifact {event.artifact.id!r} to append to"
                raise IllegalEvent(message)
            known.add(event.artifact.parts)
        else:
            self._artifacts[event.artifact.id] = _OpenArtifact(
                expected, event.artifact, list(event.artifact.parts)
            )

    def _working(self, event: ArtifactUpdated | CallActionRequested) -> Task:
        task = self._started()
        if task.state is not TaskState.WORKING:
            message = f"task {task.id!r} is {task.state}: {event.kind} needs a working task"
            raise IllegalEvent(message)
        return task


def fold(task_id: str, events: Iterable[TaskEvent], start: Task | None = None) -> Task:
    """Return the task after ``events``, which continue ``start`` or begin with the first.

    Raises:
        IllegalEvent: an event may not follow the ones before it, or there is none at all.

    """
    folding = Fold(start)
    for event in events:
        folding.apply(task_id, event)
    return folding.task


def _with_question(task: Task) -> tuple[Message, ...]:
    """Return the history with what the agent asked, once it asks no more."""
    if task.state in INTERRUPTED and task.status_message is not None:
        return (*task.history, task.status_message)
    return task.history
