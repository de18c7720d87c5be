"""The reference store: everything in this process, nothing outlives it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

import orjson

from palaver.errors import (
    AlreadyClaimed,
    CursorExpired,
    NotFound,
    StaleWriter,
    StoreUnavailable,
    VersionConflict,
)
from palaver.model.delivery import Delivery
from palaver.model.events import TaskEvent
from palaver.storage.checks import canonical, check_append, check_text, check_texts, finish_time
from palaver.storage.interfaces import (
    Claim,
    CredentialStore,
    EventLog,
    Leases,
    LogStats,
    Outbox,
    StateStorage,
    Storage,
)
from palaver.storage.watchers import Watchers

__all__ = ["MemoryStorage"]

_NOBODY: Final = ""
"""Who holds a lease that was released."""


@dataclass(slots=True)
class _Log:
    """One task: ``events`` follow event ``base``, which is 0 until the log is pruned."""

    events: list[TaskEvent]
    head: int
    base: int = 0
    finished_at: float | None = None
    claim_key: str | None = None
    worker: str | None = None


@dataclass(slots=True)
class _Tables:
    """Everything that is kept, shared by the concerns as the tables of a database are."""

    max_finished_tasks: int
    max_finished_events: int
    finished_events: int = 0
    logs: dict[str, _Log] = field(default_factory=dict)
    # Ordered: the first of a plain dict is found behind all that were taken from its front.
    finished: OrderedDict[str, None] = field(default_factory=OrderedDict)
    states: dict[str, dict[int, bytes]] = field(default_factory=dict)
    claims: dict[str, tuple[str, Claim]] = field(default_factory=dict)
    workers: dict[str, float] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    credentials: dict[str, bytes] = field(default_factory=dict)
    closed: bool = False

    def check_open(self) -> None:
        if self.closed:
            message = "the store memory: is closed"
            raise StoreUnavailable(message)

    def log(self, task_id: str) -> _Log:
        self.check_open()
        log = self.logs.get(task_id)
        if log is None:
            message = f"there is no task {task_id!r}"
            raise NotFound(message)
        return log

    def forget(self, task_id: str) -> None:
        log = self.logs.pop(task_id)
        if task_id in self.finished:
            del self.finished[task_id]
            self.finished_events -= len(log.events)
        self.states.pop(task_id, None)
        key = log.claim_key
        if key is not None and key in self.claims and self.claims[key][0] == task_id:
            del self.claims[key]

    def finished_before(self, when: float) -> list[tuple[str, _Log]]:
        """Return the tasks that were terminal before ``when``, the oldest first."""
        found = [
            (log.finished_at, task_id, log)
            for task_id in self.finished
            if (log := self.logs[task_id]).finished_at is not None and log.finished_at < when
        ]
        found.sort(key=lambda row: row[:2])
        return [(task_id, log) for _, task_id, log in found]


class _States(StateStorage):
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def save(self, task_id: str, version: int, data: dict[str, Any]) -> None:
        self._tables.check_open()
        check_text(task_id, "the task id")
        content = canonical(version, data)
        versions = self._tables.states.setdefault(task_id, {})
        if versions.setdefault(version, content) != content:
            message = f"version {version} of the state of task {task_id!r} has other content"
            raise VersionConflict(message)

    async def load(self, task_id: str, version: int | None = None) -> dict[str, Any]:
        self._tables.check_open()
        versions = self._tables.states.get(task_id, {})
        content = versions.get(max(versions, default=0) if version is None else version)
        if content is None:
            what = "state" if version is None else f"version {version} of the state"
            message = f"there is no {what} of task {task_id!r}"
            raise NotFound(message)
        data: dict[str, Any] = orjson.loads(content)
        return data

    async def list_versions(self, task_id: str) -> list[int]:
        self._tables.check_open()
        return sorted(self._tables.states.get(task_id, ()))

    async def delete(self, task_id: str) -> None:
        self._tables.check_open()
        if self._tables.states.pop(task_id, None) is None:
            message = f"there is no state of task {task_id!r}"
            raise NotFound(message)


class _Events(EventLog):
    # ``append``, ``read`` and ``head`` never suspend: a caller that awaits them goes on at once.

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._watchers = Watchers()

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
        tables = self._tables
        tables.check_open()
        check_append(task_id, expected_seq, events, claim)
        if not expected_seq or worker is not None or deliveries:
            check_texts(task_id, claim, worker, deliveries)
        if claim is not None:
            self._check_claim(claim, events[0].at)
        log = tables.logs.get(task_id)
        if (0 if log is None else log.head) != expected_seq:
            raise StaleWriter(task_id, expected_seq, 0 if log is None else log.head)
        if log is None:
            log = tables.logs[task_id] = _Log(list(events), len(events))
            if claim is not None:
                tables.claims[claim.key] = (task_id, claim)
                log.claim_key = claim.key
        else:
            log.events += events
            log.head += len(events)
        if worker is not None:
            log.worker = worker
        for delivery in deliveries:
            tables.deliveries.setdefault(delivery.id, delivery)
        finished_at = finish_time(events)
        if finished_at is not None:
            self._finish(task_id, log, finished_at)
        self._watchers.notify(task_id, log.head)

    def _check_claim(self, claim: Claim, now: float) -> None:
        known = self._tables.claims.get(claim.key)
        if known is not None and known[1].expires_at > now:
            raise AlreadyClaimed(claim.key, known[0], known[1].digest)

    def _finish(self, task_id: str, log: _Log, finished_at: float) -> None:
        log.finished_at = finished_at
        log.worker = None
        tables = self._tables
        finished = tables.finished
        finished[task_id] = None
        tables.finished_events += len(log.events)
        while len(finished) > tables.max_finished_tasks or (
            # The latest is kept, however long it is: somebody is reading it.
            tables.finished_events > tables.max_finished_events and len(finished) > 1
        ):
            tables.forget(next(iter(finished)))

    async def read(self, task_id: str, after: int, limit: int = 256) -> list[TaskEvent]:
        log = self._tables.log(task_id)
        start = max(after, 0) - log.base
        if start < 0:
            raise CursorExpired(task_id, after, log.head)
        return log.events[start : start + limit]

    async def head(self, task_id: str) -> int:
        return self._tables.log(task_id).head

    def watch(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        self._tables.check_open()
        return self._watchers.add(task_id, on_append)

    async def claimed(self, key: str, now: float) -> tuple[str, str] | None:
        self._tables.check_open()
        known = self._tables.claims.get(key)
        if known is None or known[1].expires_at <= now:
            return None
        return known[0], known[1].digest

    async def finished(self, before: float, limit: int = 256) -> list[str]:
        self._tables.check_open()
        kept = (task_id for task_id, log in self._tables.finished_before(before) if log.events)
        return list(islice(kept, limit))

    async def prune(self, finished_before: float, limit: int = 256) -> list[str]:
        tables = self._tables
        tables.check_open()
        pruned: list[str] = []
        for task_id, log in tables.finished_before(finished_before):
            if len(pruned) == limit:
                break
            if log.events and max(tables.states.get(task_id, ()), default=-1) == log.head:
                tables.finished_events -= len(log.events)
                log.events = []
                log.base = log.head
                pruned.append(task_id)
        expired = [key for key, row in tables.claims.items() if row[1].expires_at < finished_before]
        for key in expired:
            del tables.claims[key]
        return pruned

    async def forget(self, finished_before: float, limit: int = 256) -> list[str]:
        self._tables.check_open()
        forgotten = [
            task_id for task_id, _ in self._tables.finished_before(finished_before)[:limit]
        ]
        for task_id in forgotten:
            self._tables.forget(task_id)
        return forgotten

    async def stats(self) -> LogStats:
        self._tables.check_open()
        logs = self._tables.logs.values()
        return LogStats(
            tasks=len(logs),
            open_tasks=len(logs) - len(self._tables.finished),
            events=sum(len(log.events) for log in logs),
        )


class _Leases(Leases):
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def beat(self, worker: str, now: float, ttl: float) -> None:
        self._tables.check_open()
        known = self._tables.workers
        known[worker] = now + ttl
        dead = {name for name, until in known.items() if until <= now and name != worker}
        if dead:
            dead.difference_update(log.worker for log in self._tables.logs.values() if log.worker)
            for name in dead:
                del known[name]

    async def orphans(
        self, now: float, gone: Callable[[str], bool], limit: int = 256
    ) -> list[tuple[str, str]]:
        self._tables.check_open()
        alive = {
            worker
            for worker, until in self._tables.workers.items()
            if until > now and not gone(worker)
        }
        found = (
            (task_id, log.worker)
            for task_id, log in self._tables.logs.items()
            if log.worker is not None and log.worker not in alive
        )
        return [pair for pair, _ in zip(found, range(limit), strict=False)]

    async def take(self, task_id: str, old_worker: str, new_worker: str) -> bool:
        self._tables.check_open()
        log = self._tables.logs.get(task_id)
        if log is None or log.worker != old_worker:
            return False
        log.worker = new_worker
        return True

    async def release(self, task_id: str, worker: str) -> None:
        await self.take(task_id, worker, _NOBODY)

    async def retire(self, worker: str) -> None:
        self._tables.check_open()
        self._tables.workers.pop(worker, None)


class _Outbox(Outbox):
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def due(self, now: float, limit: int = 256) -> list[Delivery]:
        self._tables.check_open()
        found = [row for row in self._tables.deliveries.values() if row.due_at <= now]
        found.sort(key=lambda delivery: delivery.due_at)
        return found[:limit]

    async def done(self, delivery_id: str) -> None:
        self._tables.check_open()
        self._tables.deliveries.pop(delivery_id, None)

    async def retry(self, delivery_id: str, due_at: float) -> None:
        self._tables.check_open()
        known = self._tables.deliveries.get(delivery_id)
        if known is None:
            message = f"there is no delivery {delivery_id!r}"
            raise NotFound(message)
        self._tables.deliveries[delivery_id] = replace(
            known, due_at=due_at, attempts=known.attempts + 1
        )


class _Credentials(CredentialStore):
    def __init__(self, tables: _Tables) -> None:
        self._tables = tables

    async def put(self, name: str, value: bytes) -> None:
        self._tables.check_open()
        check_text(name, "the name of the credential")
        self._tables.credentials[name] = bytes(value)

    async def get(self, name: str) -> bytes:
        self._tables.check_open()
        value = self._tables.credentials.get(name)
        if value is None:
            message = f"there is no credential {name!r}"
            raise NotFound(message)
        return value

    async def remove(self, name: str) -> None:
        self._tables.check_open()
        self._tables.credentials.pop(name, None)


class MemoryStorage(Storage):
    """Keeps everything in this process.

    Beyond ``max_finished_tasks``, or as many events of theirs, the tasks that finished first are
    forgotten, snapshots and claims included. The events are what takes memory, and what the cyclic
    collector has to look through: with a million of them its pauses are of 100 ms.
    """

    def __init__(
        self, max_finished_tasks: int = 10_000, max_finished_events: int = 100_000
    ) -> None:
        self._tables = _Tables(max_finished_tasks, max_finished_events)
        self.states = _States(self._tables)
        self.events = _Events(self._tables)
        self.leases = _Leases(self._tables)
        self.outbox = _Outbox(self._tables)
        self.credentials = _Credentials(self._tables)

    @property
    def name(self) -> str:
        """``memory:``."""
        return "memory:"

    @property
    def durable(self) -> bool:
        """False."""
        return False

    async def open(self) -> None:
        """Get ready; a store that was closed comes back with what it held."""
        self._tables.closed = False

    async def close(self) -> None:
        """Let go. Calls after it raise ``StoreUnavailable``."""
        self._tables.closed = True

    async def ping(self) -> None:
        """Make sure that the store is open.

        Raises:
            StoreUnavailable: it was closed.

        """
        self._tables.check_open()
