"""What a store must do. One class per concern; a backend is a ``Storage`` that holds them all.

``palaver.testing.storage_contract`` is the suite that every backend passes.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from palaver.model.delivery import Delivery
from palaver.model.events import TaskEvent

__all__ = [
    "Claim",
    "CredentialStore",
    "EventLog",
    "Leases",
    "LogStats",
    "Outbox",
    "StateStorage",
    "Storage",
]


class StateStorage(ABC):
    """Versioned snapshots of tasks (ASAP v1.1 PRD §3.4.2).

    ``data`` is a JSON object. A version is written once: it is history.
    """

    @abstractmethod
    async def save(self, task_id: str, version: int, data: dict[str, Any]) -> None:
        """Store ``data`` as that version (≥ 0) of the task's state.

        Saving the same content again changes nothing.

        Raises:
            VersionConflict: that version exists with other content.

        """

    @abstractmethod
    async def load(self, task_id: str, version: int | None = None) -> dict[str, Any]:
        """Return that version, or the highest one.

        Raises:
            NotFound: there is no such task or version.

        """

    @abstractmethod
    async def list_versions(self, task_id: str) -> list[int]:
        """Return the versions of the task, ascending; none for an unknown task."""

    @abstractmethod
    async def delete(self, task_id: str) -> None:
        """Remove all versions of the task.

        Raises:
            NotFound: there is none.

        """


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key, claimed by the append that creates a task.

    ``digest`` tells requests with one key apart; the claim is void at ``expires_at`` (seconds
    since the epoch).
    """

    key: str
    digest: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class LogStats:
    """Sizes of a log: tasks that are kept, tasks that are not terminal, events that are kept."""

    tasks: int
    open_tasks: int
    events: int


class EventLog(ABC):
    """The truth: per task an append-only sequence of events, numbered from 1 without a gap."""

    @abstractmethod
    async def append(
        self,
        task_id: str,
        expected_seq: int,
        events: Sequence[TaskEvent],
        *,
        claim: Claim | None = None,
        worker: str | None = None,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """Add ``events`` behind event ``expected_seq`` (0: this creates the task), all or none.

        When this returns, the events are durable; nobody can read them before. ``claim``
        (creation only), the lease that ``worker`` takes on the task, and ``deliveries`` commit in
        the same transaction. A terminal status, which can only come last, gives up the lease on
        the task. A claim is void for this append if it expired before the first event's ``at``; a
        delivery whose id is known is left as it is.

        Cancelling the call leaves open whether the events were added.

        Raises:
            IllegalEvent: there are no events, they are not numbered from ``expected_seq`` on, or
                they cannot be written down.
            InvalidId: the id of something new is no Unicode.
            AlreadyClaimed: the key of ``claim`` made a task before; looked at before the log.
            StaleWriter: the log ends at another event than ``expected_seq``.
            StoreUnavailable: the events may or may not be stored; read to find out.

        """

    @abstractmethod
    async def read(self, task_id: str, after: int, limit: int = 256) -> list[TaskEvent]:
        """Return up to ``limit`` events that follow event ``after``, in order.

        Fewer come only where the log ends. An ``after`` behind its end yields none.

        Raises:
            NotFound: there is no such task.
            CursorExpired: those events are no longer kept.

        """

    @abstractmethod
    async def head(self, task_id: str) -> int:
        """Return the number of the task's last event.

        Raises:
            NotFound: there is no such task.

        """

    @abstractmethod
    def watch(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        """Call ``on_append(head)`` in this event loop after appends to the task by anybody.

        Calls may be merged or repeated, but never lost: after the last append there is a call
        with its head.
        ``on_append`` must not raise. Return a function that ends the watch.
        """

    async def wait(self, task_id: str, after: int) -> None:
        """Return once the task has an event behind ``after``.

        Raises:
            NotFound: there is no such task.

        """
        arrived = asyncio.get_running_loop().create_future()

        def on_append(head: int) -> None:
            if head > after and not arrived.done():
                arrived.set_result(None)

        unwatch = self.watch(task_id, on_append)
        try:
            if await self.head(task_id) <= after:
                await arrived
        finally:
            unwatch()

    @abstractmethod
    async def claimed(self, key: str, now: float) -> tuple[str, str] | None:
        """Return the task that a live claim of ``key`` made, and the claim's digest."""

    @abstractmethod
    async def finished(self, before: float, limit: int = 256) -> list[str]:
        """Return up to ``limit`` tasks that were terminal before that time, the oldest first.

        Only tasks whose events are still kept count: the caller snapshots them for ``prune``.
        """

    @abstractmethod
    async def prune(self, finished_before: float, limit: int = 256) -> list[str]:
        """Drop the events of up to ``limit`` tasks that were terminal before that time.

        Only tasks whose latest snapshot in ``StateStorage`` stands at their last event are
        touched, so that nothing is lost. Heads are kept; later reads raise ``CursorExpired``.
        Claims that expired before ``finished_before`` go, too. Return the ids of those tasks.
        """

    @abstractmethod
    async def forget(self, finished_before: float, limit: int = 256) -> list[str]:
        """Remove up to ``limit`` tasks that were terminal before that time, snapshots included."""

    @abstractmethod
    async def stats(self) -> LogStats:
        """Return the sizes of the log."""


class Leases(ABC):
    """Who runs what. A lease lives as long as its worker's heartbeat."""

    @abstractmethod
    async def beat(self, worker: str, now: float, ttl: float) -> None:
        """Keep all leases of ``worker`` alive until ``now + ttl`` (seconds)."""

    @abstractmethod
    async def orphans(
        self, now: float, gone: Callable[[str], bool], limit: int = 256
    ) -> list[tuple[str, str]]:
        """Return up to ``limit`` pairs (task id, worker) of leases that nobody holds any more.

        Those are the leases that were released (their worker is ``""``), and those of workers
        whose heartbeat has run out, is unknown, or who are ``gone`` by the caller's own knowledge.
        """

    @abstractmethod
    async def take(self, task_id: str, old_worker: str, new_worker: str) -> bool:
        """Move the lease on the task from one worker to another; false if it moved before."""

    @abstractmethod
    async def release(self, task_id: str, worker: str) -> None:
        """Leave the lease on the task to whoever looks for orphans next."""

    @abstractmethod
    async def retire(self, worker: str) -> None:
        """End the worker's heartbeat: the leases that it still has are orphans at once."""


class Outbox(ABC):
    """Deliveries that are owed. Rows arrive through ``EventLog.append`` alone."""

    @abstractmethod
    async def due(self, now: float, limit: int = 256) -> list[Delivery]:
        """Return up to ``limit`` deliveries whose time has come, the oldest first."""

    @abstractmethod
    async def done(self, delivery_id: str) -> None:
        """Remove a delivery that was acknowledged or given up."""

    @abstractmethod
    async def retry(self, delivery_id: str, due_at: float) -> None:
        """Count an attempt, and make the delivery due again at ``due_at``.

        Raises:
            NotFound: there is no such delivery.

        """


class CredentialStore(ABC):
    """Secrets that outlive a process: token sets, hashed keys. Values are opaque bytes."""

    @abstractmethod
    async def put(self, name: str, value: bytes) -> None:
        """Store ``value`` under ``name``, in place of what was there."""

    @abstractmethod
    async def get(self, name: str) -> bytes:
        """Return what is stored under ``name``.

        Raises:
            NotFound: nothing is.

        """

    @abstractmethod
    async def remove(self, name: str) -> None:
        """Remove what is stored under ``name``, if anything."""


class Storage(ABC):
    """A backend: all concerns over one set of tables, so that they can share transactions."""

    states: StateStorage
    events: EventLog
    leases: Leases
    outbox: Outbox
    credentials: CredentialStore

    @property
    @abstractmethod
    def name(self) -> str:
        """Where things are kept, as a user would write it (``memory:``, a path, a URL)."""

    @property
    @abstractmethod
    def durable(self) -> bool:
        """Whether what is stored outlives this process."""

    @abstractmethod
    async def open(self) -> None:
        """Get ready; create what is missing.

        Raises:
            StoreUnavailable: it cannot be opened; the text says why and what to do.

        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, and let go. Calls after it raise ``StoreUnavailable``."""

    @abstractmethod
    async def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            StoreUnavailable: it does not.

        """
