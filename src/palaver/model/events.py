"""What happened to a task: the events of its log, numbered 1, 2, 3 … by ``seq``.

``at`` is wall-clock time in seconds since the epoch (UTC), given by the writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from palaver.model.content import Artifact, Message, Metadata
from palaver.model.states import TaskState

__all__ = [
    "ArtifactUpdated",
    "CallActionRequested",
    "MessageReceived",
    "StatusChanged",
    "TaskCreated",
    "TaskEvent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCreated:
    """The first event of every log: who asked which agent for what, over which wire.

    ``context`` is what was said in the conversation before, as far as the other side heard it.
    """

    seq: int
    at: float
    conversation_id: str
    agent_id: str
    message: Message
    principal: str
    wire: str
    skill_id: str | None = None
    restartable: bool = False
    metadata: Metadata | None = None
    context: tuple[Message, ...] = ()
    kind: Literal["task_created"] = "task_created"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """The state, or what is known of the progress in it, changed.

    ``percent`` is 0 to 100. ``reason`` is a word for programs (``worker_lost``). ``attempt`` is
    set where a run of the agent begins: 1, and one more for each rerun after a lost worker.
    """

    seq: int
    at: float
    state: TaskState
    message: Message | None = None
    reason: str | None = None
    percent: float | None = None
    attempt: int | None = None
    kind: Literal["status_changed"] = "status_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """The caller answered what the agent had asked: the task is working again."""

    seq: int
    at: float
    message: Message
    kind: Literal["message_received"] = "message_received"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactUpdated:
    """A chunk of an artifact, or the whole of it.

    ``index`` is the artifact's place in the task, from 0. ``append`` adds the parts to it;
    otherwise they create or replace it. ``last`` is true where the writer knows that no chunk
    follows; an artifact of a finished task is complete either way.
    """

    seq: int
    at: float
    artifact: Artifact
    index: int
    append: bool = False
    last: bool = False
    kind: Literal["artifact_updated"] = "artifact_updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallActionRequested:
    """The agent wants something done to the voice call that carries the task."""

    seq: int
    at: float
    action: Literal["hang_up", "transfer"]
    target: str | None = None
    kind: Literal["call_action_requested"] = "call_action_requested"


TaskEvent: TypeAlias = (
    TaskCreated | StatusChanged | MessageReceived | ArtifactUpdated | CallActionRequested
)
