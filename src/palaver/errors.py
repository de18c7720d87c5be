"""The error tree. Wires add their own codes in ``protocols/<wire>/errors.py``.

::

    PalaverError
    ├── ConfigError             a setting is missing, malformed or out of its range
    ├── AgentError              an agent is declared wrongly, or cannot be loaded
    ├── ModelError              a value that the task model refuses
    │   ├── InvalidId
    │   └── IllegalEvent        an event that may not follow the events before it
    ├── StorageError
    │   ├── NotFound            nothing is stored under that id or version
    │   ├── VersionConflict     that version exists with other content
    │   ├── StaleWriter         somebody else wrote to the task first
    │   ├── AlreadyClaimed      that idempotency key made a task before
    │   ├── CursorExpired       the events behind that cursor are no longer kept
    │   ├── DamagedEvent        what is stored as an event is none
    │   └── StoreUnavailable    the store cannot be reached or was closed
    ├── TaskError
    │   ├── TaskNotFound        no such task for this caller
    │   ├── TaskFinished        the task is terminal: frozen
    │   ├── TaskBusy            the task is working and takes no message now
    │   ├── ConversationMismatch  the task belongs to another conversation
    │   ├── MessageReused       a message id came back with other content
    │   ├── UnknownAgent, UnknownSkill
    │   ├── Overloaded          as many tasks as this process may hold
    │   └── Stopping            this process takes no more tasks
    ├── ProviderError           an engine or vendor of speech or language failed
    └── PeerError               a peer answered with an error, or not as its protocol says
        ├── PeerUnreachable     the peer cannot be reached, or went silent
        └── PeerRefused         the peer answered with an error of its protocol
"""

from __future__ import annotations

__all__ = [
    "AgentError",
    "AlreadyClaimed",
    "ConfigError",
    "ConversationMismatch",
    "CursorExpired",
    "DamagedEvent",
    "IllegalEvent",
    "InvalidId",
    "MessageReused",
    "ModelError",
    "NotFound",
    "Overloaded",
    "PalaverError",
    "PeerError",
    "PeerRefused",
    "PeerUnreachable",
    "ProviderError",
    "StaleWriter",
    "Stopping",
    "StorageError",
    "StoreUnavailable",
    "TaskBusy",
    "TaskError",
    "TaskFinished",
    "TaskNotFound",
    "UnknownAgent",
    "UnknownSkill",
    "VersionConflict",
]


class PalaverError(Exception):
    """Base of everything that Palaver raises on purpose."""


class ConfigError(PalaverError):
    """A setting is missing, malformed or out of its range; the text names it and its origin."""


class AgentError(PalaverError):
    """An agent is declared wrongly, or cannot be loaded."""


class ModelError(PalaverError):
    """A value that the task model refuses."""


class InvalidId(ModelError):
    """An id is empty, too long, or holds characters that no id may hold."""


class IllegalEvent(ModelError):
    """An event may not follow the events before it."""


class StorageError(PalaverError):
    """Base of what a store reports."""


class NotFound(StorageError, KeyError):
    """Nothing is stored under that id or version."""

    def __str__(self) -> str:
        """Return the text itself: ``KeyError`` would quote it."""
        return str(self.args[0]) if self.args else ""


class VersionConflict(StorageError):
    """That version of the state exists with other content; it was left as it is."""


class StaleWriter(StorageError):
    """The task's log has moved past the event that the writer had seen last."""

    def __init__(self, task_id: str, expected_seq: int, actual_seq: int) -> None:
        super().__init__(
            f"task {task_id!r}: the writer had seen event {expected_seq}, "
            f"the log ends at event {actual_seq}"
        )
        self.task_id = task_id
        self.expected_seq = expected_seq
        self.actual_seq = actual_seq


class AlreadyClaimed(StorageError):
    """That idempotency key made ``task_id`` before, from a request with this ``digest``."""

    def __init__(self, key: str, task_id: str, digest: str) -> None:
        super().__init__(f"idempotency key {key!r} belongs to task {task_id!r}")
        self.key = key
        self.task_id = task_id
        self.digest = digest


class CursorExpired(StorageError):
    """The events after that cursor are no longer kept: read the snapshot at ``head`` instead."""

    def __init__(self, task_id: str, after: int, head: int) -> None:
        super().__init__(
            f"task {task_id!r}: the events after {after} are no longer kept; "
            f"its snapshot stands at event {head}"
        )
        self.task_id = task_id
        self.after = after
        self.head = head


class DamagedEvent(StorageError):
    """What is stored as event ``seq`` of the task is none that this release can read."""

    def __init__(self, task_id: str, seq: int) -> None:
        super().__init__(
            f"task {task_id!r}: event {seq} is damaged: restore the store from a backup, "
            "or use the release of Palaver that wrote it"
        )
        self.task_id = task_id
        self.seq = seq


class StoreUnavailable(StorageError):
    """The store cannot be reached, or was closed."""


class TaskError(PalaverError):
    """Base of what the engine answers about a task."""


class TaskNotFound(TaskError):
    """There is no such task for this caller; a foreign task looks the same."""

    def __init__(self, task_id: str, what: str = "task") -> None:
        super().__init__(f"there is no {what} {task_id!r}")
        self.task_id = task_id


class TaskFinished(TaskError):
    """The task is terminal, and a terminal task never changes."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(f"task {task_id!r} is {state}: a terminal task never changes")
        self.task_id = task_id
        self.state = state


class TaskBusy(TaskError):
    """The task is working and did not ask for input."""

    def __init__(self, task_id: str, state: str) -> None:
        super().__init__(
            f"task {task_id!r} is {state} and did not ask for input: "
            "wait until it does, or cancel it"
        )
        self.task_id = task_id
        self.state = state


class ConversationMismatch(TaskError):
    """The task belongs to another conversation than the one that the caller named."""

    def __init__(self, task_id: str, given: str) -> None:
        super().__init__(f"task {task_id!r} does not belong to conversation {given!r}")
        self.task_id = task_id
        self.given = given


class MessageReused(TaskError):
    """A message id came back with other content."""

    def __init__(self, message_id: str) -> None:
        super().__init__(
            f"message id {message_id!r} was used before with other content: "
            "give each new message an id of its own"
        )
        self.message_id = message_id


class UnknownAgent(TaskError):
    """No agent of that id is served here."""

    def __init__(self, agent_id: str) -> None:
        super().__init__(f"no agent {agent_id!r} is served here")
        self.agent_id = agent_id


class UnknownSkill(TaskError):
    """The agent has no skill of that id."""

    def __init__(self, agent_id: str, skill_id: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"agent {agent_id!r} has no skill {skill_id!r}; it has: {', '.join(known) or 'none'}"
        )
        self.agent_id = agent_id
        self.skill_id = skill_id


class Overloaded(TaskError):
    """This process holds as many tasks as it may; try again after ``retry_after`` seconds."""

    def __init__(self, limit: int, retry_after: float) -> None:
        super().__init__(
            f"{limit} tasks are open here, which is the limit; try again in {retry_after:g} s"
        )
        self.limit = limit
        self.retry_after = retry_after


class Stopping(TaskError):
    """This process takes no more tasks: it stops."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"this server is stopping; try again in {retry_after:g} s")
        self.retry_after = retry_after


class ProviderError(PalaverError):
    """An engine or vendor of speech or language failed, was too slow, or is not installed."""


class PeerError(PalaverError):
    """A peer answered with an error, or not as its protocol says."""


class PeerUnreachable(PeerError):
    """The peer cannot be reached, or went silent and did not come back in time."""


class PeerRefused(PeerError):
    """The peer answered with an error of its protocol."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
