"""Writing the log: the one writer of a task numbers its events and stores them in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from palaver.engine.clock import Clock
from palaver.errors import (
    CursorExpired,
    IllegalEvent,
    ModelError,
    NotFound,
    StaleWriter,
    StorageError,
    StoreUnavailable,
    TaskNotFound,
)
from palaver.model.content import Artifact, Message
from palaver.model.encoding import task_from_data
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskEvent,
)
from palaver.model.task import INTERRUPTED, TERMINAL, TRANSITIONS, Fold, Task, TaskState
from palaver.storage.interfaces import Storage

__all__ = ["TaskWriter", "load_task", "read_all"]

_log = structlog.get_logger("palaver.log")
_FIRST_RETRY: Final = 0.05
_PAGE: Final = 1_024


async def read_all(storage: Storage, task_id: str, after: int) -> list[TaskEvent]:
    """Return all events of the task behind ``after``; errors are those of ``EventLog.read``."""
    events = page = await storage.events.read(task_id, after, _PAGE)
    while len(page) == _PAGE:
        page = await storage.events.read(task_id, page[-1].seq, _PAGE)
        events = events + page
    return events


async def load_task(storage: Storage, task_id: str) -> Task:
    """Return the task as the store knows it: the fold of its events, or its kept snapshot.

    Raises:
        TaskNotFound: the store knows no such task.

    """
    try:
        events = await read_all(storage, task_id, 0)
    except NotFound:
        raise TaskNotFound(task_id) from None
    except CursorExpired:
        return task_from_data(await storage.states.load(task_id))
    folding = Fold()
    for event in events:
        folding.apply(task_id, event)
    return folding.task


class TaskWriter:
    """The writer of one task that runs here.

    ``write`` numbers an event and returns at once; groups are stored behind it, one at a time.
    ``task`` shows only what is stored. When another process has written to the task, its events
    come first and ours are numbered anew; what may not follow them any more is dropped. Once
    another worker has begun an attempt of its own, that is everything: the task is its alone.

    ``on_stored`` is called with each group once it is durable, foreign events included.
    """

    __slots__ = (
        "_clock",
        "_draining",
        "_fold",
        "_foreign_head",
        "_id",
        "_loop",
        "_max_pending",
        "_on_stored",
        "_pending",
        "_places",
        "_scheduled",
        "_seq",
        "_state",
        "_storage",
        "_store_timeout",
        "_unwatch",
        "failed",
        "superseded",
    )

    def __init__(
        self,
        storage: Storage,
        task: Task,
        clock: Clock,
        *,
        max_pending: int,
        store_timeout: float,
        on_stored: Callable[[Sequence[TaskEvent]], None],
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._max_pending = max_pending
        self._store_timeout = store_timeout
        self._on_stored = on_stored
        self._fold = Fold(task)
        self._id: Final = task.id
        self._pending: list[TaskEvent] = []
        self._loop = asyncio.get_running_loop()
        self._scheduled: asyncio.Handle | None = None
        self._draining: asyncio.Future[None] | None = None
        self._foreign_head = 0
        self._unwatch = storage.events.watch(task.id, self._on_append)
        self.failed: StoreUnavailable | None = None
        self.superseded = False
        self._seq = task.seq
        self._state = task.state
        self._places: dict[str, int] = {}
        self._rewind()

    # --- what stands ---

    @property
    def task(self) -> Task:
        """The task as it is stored."""
        return self._fold.task

    @property
    def stored_state(self) -> TaskState:
        """The state of the task as it is stored."""
        return self._fold.state or TaskState.SUBMITTED

    @property
    def state(self) -> TaskState:
        """The state after everything that was written, stored or not."""
        return self._state

    @property
    def seq(self) -> int:
        """The number of the last event that was written, stored or not."""
        return self._seq

    @property
    def full(self) -> bool:
        """Whether the writer should ``flush`` before it writes on."""
        return len(self._pending) >= self._max_pending

    # --- writing ---

    def status(
        self,
        state: TaskState,
        *,
        message: Message | None = None,
        reason: str | None = None,
        percent: float | None = None,
        attempt: int | None = None,
    ) -> StatusChanged:
        """Write that the state changed; return the event as it will be stored.

        Raises:
            IllegalEvent: the task cannot go there from where it is.

        """
        self._demand(state in TRANSITIONS[self._state], f"go to {state}")
        event = StatusChanged(
            seq=self._seq + 1,
            at=self._clock(),
            state=state,
            message=message,
            reason=reason,
            percent=percent,
            attempt=attempt,
        )
        self._write(event)
        return event

    def received(self, message: Message) -> MessageReceived:
        """Write that the caller answered; return the event as it will be stored.

        Raises:
            IllegalEvent: the task did not ask, or its question is not stored yet.

        """
        asked = self._state in INTERRUPTED and self._fold.state in INTERRUPTED
        self._demand(asked, "take a message")
        event = MessageReceived(seq=self._seq + 1, at=self._clock(), message=message)
        self._write(event)
        return event

    def artifact(self, artifact: Artifact, *, append: bool, last: bool) -> None:
        """Write an artifact, or a chunk of one.

        Raises:
            IllegalEvent: the task is not working.

        """
        self._demand(self._state is TaskState.WORKING, "take an artifact")
        index = self._places.setdefault(artifact.id, len(self._places))
        self._write(
            ArtifactUpdated(
                seq=self._seq + 1,
                at=self._clock(),
                artifact=artifact,
                index=index,
                append=append,
                last=last,
            )
        )

    def call_action(self, action: CallActionRequested) -> None:
        """Write what the agent wants done to the call; number and time are set here.

        Raises:
            IllegalEvent: the task is not working.

        """
        self._demand(self._state is TaskState.WORKING, "act on a call")
        self._write(replace(action, seq=self._seq + 1, at=self._clock()))

    async def flush(self) -> None:
        """Return once everything written so far is stored.

        Raises:
            StoreUnavailable: the store did not take it in time; the task is lost to this writer.

        """
        if self._scheduled is not None:
            self._begin_draining()
        while self._draining is not None:
            # Shielded: a caller who gives up must not take the group with it.
            await asyncio.shield(self._draining)
        if self.failed is not None:
            raise self.failed

    async def catch_up(self) -> None:
        """Read what others wrote to the task, if anything: then ``task`` is as the store has it.

        Raises:
            StoreUnavailable: the store does not answer.

        """
        self._on_append(await self._storage.events.head(self._id))
        await self.flush()

    async def close(self) -> None:
        """Store what is written, and end the watch. Must not be cancelled."""
        self._unwatch()
        if self._draining is None:
            # Nobody else is at it: store here, without a task and a turn of the loop for it.
            self._unschedule()
            done = self._draining = self._loop.create_future()
            await self._drain()
            done.set_result(None)
        with suppress(StoreUnavailable):
            await self.flush()

    # --- storing ---

    def _demand(self, legal: bool, deed: str) -> None:  # noqa: FBT001 - reads as a sentence
        if self.superseded:
            message = f"task {self._id!r} runs elsewhere now: it cannot {deed} here"
            raise IllegalEvent(message)
        if not legal:
            message = f"task {self._id!r} is {self._state}: it cannot {deed}"
            raise IllegalEvent(message)

    def _write(self, event: TaskEvent) -> None:
        self._seq = event.seq
        self._state = _state_after(event, self._state)
        self._pending.append(event)
        self._start_draining()

    def _start_draining(self) -> None:
        # On the next turn of the loop: what a handler puts out at one go is one group.
        if self._draining is None and self._scheduled is None:
            self._scheduled = self._loop.call_soon(self._begin_draining)

    def _begin_draining(self) -> None:
        self._unschedule()
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain())

    def _unschedule(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _rewind(self) -> None:
        """Forget what was written and not stored: go on from the fold."""
        task = self._fold.task
        self._seq = task.seq
        self._state = task.state
        self._places = {artifact.id: index for index, artifact in enumerate(task.artifacts)}

    async def _drain(self) -> None:
        try:
            while self._pending or self._foreign_head > self._fold.seq:
                group, self._pending = self._pending, []
                if group:
                    await self._store(group)
                else:
                    await self._take_foreign(())
        except (StorageError, ModelError) as error:
            _log.error("task_not_stored", task_id=self._id, error=str(error))
            self.failed = StoreUnavailable(str(error))
            self._pending.clear()
            self._on_stored(())
        finally:
            self._draining = None

    async def _store(self, group: list[TaskEvent]) -> None:
        give_up_at = self._loop.time() + self._store_timeout
        delay = _FIRST_RETRY
        while True:
            try:
                await self._storage.events.append(self._id, self._fold.seq, group)
            except StaleWriter:
                await self._take_foreign(group)
                return
            except StoreUnavailable:
                if self._loop.time() + delay > give_up_at:
                    raise
                await asyncio.sleep(delay)
                delay *= 2
            else:
                self._take(group)
                return

    def _take(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            self._fold.apply(self._id, event)
        self._on_stored(events)

    async def _take_foreign(self, group: Sequence[TaskEvent]) -> None:
        """Read what others wrote; put what we had written behind it, as far as it may follow."""
        mine = [*group, *self._pending]
        self._pending = []
        foreign = await read_all(self._storage, self._id, self._fold.seq)
        # After an append whose outcome was unknown, "foreign" may be our own group.
        stored = min(len(group), len(foreign))
        if list(foreign[:stored]) != list(group[:stored]):
            stored = 0
        mine = mine[stored:]
        if any(_begins_attempt(event) for event in foreign[stored:]):
            self.superseded = True
            mine = []
        self._take(foreign)
        self._foreign_head = max(self._foreign_head, self._fold.seq)
        self._rewind()
        for event in mine:
            draft = replace(event, seq=self._seq + 1)
            try:
                self._rewrite(draft)
            except IllegalEvent as error:
                _log.info("event_dropped", task_id=self._id, event_kind=event.kind, why=str(error))

    def _rewrite(self, event: TaskEvent) -> None:
        if isinstance(event, StatusChanged):
            self._demand(event.state in TRANSITIONS[self._state], f"go to {event.state}")
        elif isinstance(event, ArtifactUpdated):
            self._demand(self._state is TaskState.WORKING, "take an artifact")
            place = self._places.setdefault(event.artifact.id, len(self._places))
            event = replace(event, index=place)
        else:
            self._demand(self._state not in TERMINAL, f"take {event.kind}")
        self._seq = event.seq
        self._state = _state_after(event, self._state)
        self._pending.append(event)

    def _on_append(self, head: int) -> None:
        if head > self._seq or (head > self._fold.seq and self._draining is None):
            self._foreign_head = max(self._foreign_head, head)
            self._start_draining()


def _begins_attempt(event: TaskEvent) -> bool:
    return isinstance(event, StatusChanged) and event.attempt is not None


def _state_after(event: TaskEvent, state: TaskState) -> TaskState:
    if isinstance(event, StatusChanged):
        return event.state
    return TaskState.WORKING if isinstance(event, MessageReceived) else state
