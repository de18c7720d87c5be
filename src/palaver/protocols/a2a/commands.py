"""What any generation asks for, and what any generation's stream says: the common ground.

A ``Dialect`` (one per generation) turns params into commands and tasks and events into results on
the server, and commands into params and results into updates on the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from palaver.model.content import Artifact, Message, Metadata
from palaver.model.events import TaskEvent
from palaver.model.task import Task, TaskState

__all__ = [
    "ArtifactReceived",
    "Cancel",
    "Command",
    "Dialect",
    "Generation",
    "Get",
    "MessageReplied",
    "Operation",
    "Send",
    "StatusReceived",
    "Subscribe",
    "TaskReceived",
    "Update",
]


class Generation(StrEnum):
    """A generation of the A2A protocol, by the version that it is known under."""

    V01 = "0.1"
    V03 = "0.3"
    V10 = "1.0"


class Operation(StrEnum):
    """What a method does, in whatever generation (spec: the map of methods)."""

    SEND = "send"
    STREAM = "stream"
    GET = "get"
    CANCEL = "cancel"
    SUBSCRIBE = "subscribe"
    LIST = "list"
    PUSH = "push"
    EXTENDED_CARD = "extended_card"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Say something to the agent: begin a task, or go on with one.

    ``task_id`` names a task to go on with, or, where ``may_create`` is set (0.1: the client makes
    the ids), the id of the task to begin. ``blocking`` callers wait until the task settles.
    ``history_length`` is the number of messages wanted in answers; ``None`` leaves it to us.
    Where the wire names no messages (0.1), ``message.id`` is made of what is said: the same words
    have the same id, so there it tells nothing of repetition.
    """

    message: Message
    task_id: str | None = None
    conversation_id: str | None = None
    may_create: bool = False
    blocking: bool = True
    history_length: int | None = None
    accepted_output_modes: tuple[str, ...] = ()
    metadata: Metadata | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """Ask how a task stands."""

    task_id: str
    history_length: int | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a task."""

    task_id: str
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Follow a task that exists."""

    task_id: str
    history_length: int | None = None
    tenant: str | None = None


Command: TypeAlias = Send | Get | Cancel | Subscribe


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReceived:
    """The peer sent a whole task."""

    task_id: str
    conversation_id: str | None
    state: TaskState
    message: Message | None = None
    artifacts: tuple[Artifact, ...] = ()
    history: tuple[Message, ...] = ()
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReceived:
    """The peer's task changed its state. ``final``: the peer says that its stream ends here."""

    task_id: str
    conversation_id: str | None
    state: TaskState
    message: Message | None = None
    final: bool = False
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactReceived:
    """The peer sent an artifact, or a chunk of one."""

    task_id: str
    conversation_id: str | None
    artifact: Artifact
    append: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReplied:
    """The peer answered with a message and made no task."""

    message: Message
    conversation_id: str | None = None


Update: TypeAlias = TaskReceived | StatusReceived | ArtifactReceived | MessageReplied


class Dialect(Protocol):
    """How one generation spells things. Stateless and pure."""

    @property
    def generation(self) -> Generation:
        """The generation."""
        ...

    # --- server ---

    def parse(self, operation: Operation, params: Mapping[str, Any]) -> Command:
        """Return the command that the params of a request mean.

        Raises:
            A2aError: invalid params, naming the field and what is allowed there.

        """
        ...

    def send_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of a blocking or returning send."""
        ...

    def task_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of get and cancel."""
        ...

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:
        """Return the JSON of the ``result`` of each stream event that it takes to show the task.

        One, but where a generation cannot say it in one: 0.1 has no event that holds a task (its
        artifacts come one by one, then its status), 0.3 says ``final`` in a status of its own.
        """
        ...

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:
        """Return the JSON of the ``result`` that an event is on a stream.

        ``None`` where this generation has no word for the event. ``TaskCreated`` is rendered as
        the task of that event alone.
        """
        ...

    # --- client ---

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``."""
        ...

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer.

        Raises:
            A2aError: it is not a result of this generation (InvalidAgentResponse).

        """
        ...
