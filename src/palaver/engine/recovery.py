"""Looking after tasks over time: leases kept, orphans taken in, finished tasks put away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

import structlog

from palaver.engine.agent import Agent
from palaver.engine.clock import Clock
from palaver.engine.limits import Limits
from palaver.engine.log import load_task
from palaver.engine.worker import is_gone
from palaver.errors import StaleWriter, StorageError, TaskNotFound
from palaver.model.content import Message, TextPart
from palaver.model.encoding import task_to_data
from palaver.model.events import StatusChanged
from palaver.model.task import Task, TaskState
from palaver.storage.interfaces import Storage

__all__ = ["Caretaker", "Home"]

_log = structlog.get_logger("palaver.recovery")
_BEATS_PER_TTL: Final = 3
_Work: TypeAlias = Callable[[], Awaitable[None]]


class Home(Protocol):
    """What the caretaker needs of the engine."""

    @property
    def storage(self) -> Storage:
        """The store."""
        ...

    @property
    def limits(self) -> Limits:
        """The bounds."""
        ...

    @property
    def agents(self) -> dict[str, Agent]:
        """The agents that are served here, by id."""
        ...

    @property
    def worker(self) -> str:
        """The name of this worker."""
        ...

    def run(self, agent: Agent, task: Task, *, attempt: int) -> None:
        """Run a task whose lease this worker holds."""
        ...

    def runs_here(self, task_id: str) -> bool:
        """Whether the task runs in this process."""
        ...


class Caretaker:
    """Beats for this worker's leases, takes in orphans, and applies retention."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._loops: list[asyncio.Task[None]] = []
        self._given_up: set[str] = set()
        self._looked: tuple[float, float] | None = None
        self._jumped_at: float | None = None

    async def start(self) -> None:
        """Beat once, then go on in the background.

        Raises:
            StoreUnavailable: the store does not answer.

        """
        await self._beat()
        limits = self._home.limits
        self._loops = [
            asyncio.create_task(self._every(limits.lease_ttl / _BEATS_PER_TTL, self._beat)),
            asyncio.create_task(self._every(limits.lease_ttl / _BEATS_PER_TTL, self.take_in)),
            asyncio.create_task(self._every(limits.sweep_interval, self.sweep)),
        ]

    async def stop(self) -> None:
        """Stop, and leave the leases that are still held to others."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        with suppress(StorageError):
            await self._home.storage.leases.retire(self._home.worker)

    def give_up(self, task_id: str) -> None:
        """Leave a task whose run broke to the next look for orphans."""
        self._given_up.add(task_id)

    async def take_in(self) -> None:
        """Go on with the tasks that lost their worker: run them again, or fail them."""
        home = self._home
        for task_id in list(self._given_up):
            await home.storage.leases.release(task_id, home.worker)
            self._given_up.discard(task_id)
        if self._clock_jumped():
            return
        for task_id, worker in await home.storage.leases.orphans(self._clock(), is_gone):
            if not home.runs_here(task_id):
                try:
                    await self._adopt(task_id, worker)
                except StorageError as error:
                    _log.error("task_not_adopted", task_id=task_id, error=str(error))

    def _clock_jumped(self) -> bool:
        """Whether the clock jumped less than a lease ago: other workers could not beat since.

        A machine that slept, or whose clock was set, makes every heartbeat look old at once.
        """
        now, ticks = self._clock(), asyncio.get_running_loop().time()
        ttl = self._home.limits.lease_ttl
        if self._looked is not None and abs((now - self._looked[0]) - (ticks - self._looked[1])) > (
            ttl / 2
        ):
            self._jumped_at = ticks
        self._looked = (now, ticks)
        return self._jumped_at is not None and ticks - self._jumped_at < ttl

    async def sweep(self) -> None:
        """Keep snapshots of tasks that finished long ago in place of their events."""
        events = self._home.storage.events
        limits = self._home.limits
        now = self._clock()
        pruned = forgotten = 0
        while await self._snapshot(now - limits.retention):
            page = await events.prune(now - limits.retention)
            if not page:
                break  # what cannot be pruned would come again for ever
            pruned += len(page)
        while page := await events.forget(now - limits.task_retention):
            forgotten += len(page)
        if pruned or forgotten:
            _log.info("retention", pruned=pruned, forgotten=forgotten)

    async def _snapshot(self, finished_before: float) -> bool:
        """Keep snapshots of a page of finished tasks; return whether there were any to keep."""
        storage = self._home.storage
        kept = 0
        for task_id in await storage.events.finished(finished_before):
            with suppress(TaskNotFound):  # forgotten by another process in between
                task = await load_task(storage, task_id)
                await storage.states.save(task_id, task.seq, task_to_data(task))
                kept += 1
        return kept > 0

    async def _every(self, seconds: float, work: _Work) -> None:
        while True:
            try:
                await work()
            except StorageError as error:
                _log.warning("store_trouble", error=str(error))
            except Exception:  # noqa: BLE001 - it looks after every task: it must outlive a bad one
                _log.exception("caretaker_failed")
            await asyncio.sleep(seconds)

    async def _beat(self) -> None:
        home = self._home
        await home.storage.leases.beat(home.worker, self._clock(), home.limits.lease_ttl)

    async def _adopt(self, task_id: str, worker: str) -> None:
        home = self._home
        try:
            task = await load_task(home.storage, task_id)
        except TaskNotFound:
            return
        agent = home.agents.get(task.agent_id)
        # A terminal task gives its lease up in the same transaction: it is no orphan.
        if (
            agent is None
            or task.terminal
            or not await home.storage.leases.take(task_id, worker, home.worker)
        ):
            return
        if task.restartable and task.attempt < home.limits.max_attempts:
            _log.info("task_restarted", task_id=task_id, attempt=task.attempt + 1)
            home.run(agent, task, attempt=task.attempt + 1)
        else:
            _log.warning("task_lost", task_id=task_id, lost_worker=worker)
            await self._fail(task)

    async def _fail(self, task: Task) -> None:
        text = "The worker that ran the task was lost."
        event = StatusChanged(
            seq=task.seq + 1,
            at=self._clock(),
            state=TaskState.FAILED,
            message=Message(id=f"{task.id}-worker-lost", role="agent", parts=(TextPart(text),)),
            reason="worker_lost",
        )
        home = self._home
        try:
            await home.storage.events.append(task.id, task.seq, (event,))
        except StaleWriter:
            # The worker was alive after all, and wrote: look again soon.
            await home.storage.leases.release(task.id, home.worker)
