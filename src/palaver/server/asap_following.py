"""What happens to the task of a request that asked for it, told from the log while it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import structlog

from palaver.engine.engine import Engine
from palaver.errors import StorageError
from palaver.model.events import StatusChanged, TaskEvent
from palaver.model.states import TERMINAL
from palaver.model.task import Task
from palaver.protocols.asap.mapping import update_of
from palaver.protocols.asap.messages import Envelope, Payload

__all__ = ["Followed"]

_log = structlog.get_logger("palaver.asap")
_NEWS_FIRST: Final = 1.0
"""Seconds that an answer waits for the news before it to be told."""


class Followed:
    """The tasks of one socket whose news its client asked for, at most ``max_tasks`` of them.

    ``tell`` sends a payload that belongs to a request of the task's agent; ``flowing`` returns
    once the client takes what it is sent.
    """

    def __init__(
        self,
        engine: Engine,
        tell: Callable[[Envelope, str, Payload], None],
        flowing: Callable[[], Awaitable[object]],
        *,
        max_tasks: int,
    ) -> None:
        self._engine = engine
        self._tell = tell
        self._flowing = flowing
        self._max_tasks = max_tasks
        self._cursors: dict[str, int] = {}
        self._moved = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False

    async def follow(self, envelope: Envelope, task: Task) -> None:
        """Tell of a task from now on, until it is terminal. What it is known by now goes first."""
        if self._over:
            return
        if task.id in self._cursors:
            with suppress(TimeoutError):
                async with asyncio.timeout(_NEWS_FIRST):
                    await self._told(task)
        elif not task.terminal and len(self._cursors) < self._max_tasks:
            self._cursors[task.id] = task.seq
            following = asyncio.create_task(self._follow(envelope, task), name="asap-follower")
            self._tasks.add(following)
            following.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Tell nothing more."""
        self._over = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._moved:
            self._moved.notify_all()  # nobody waits for news that do not come

    async def _told(self, task: Task) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._cursors.get(task.id, task.seq) >= task.seq)

    async def _follow(self, envelope: Envelope, task: Task) -> None:
        try:
            with self._engine.subscribe(task.id, task.seq) as subscription:
                over = False
                while not over:
                    await self._flowing()
                    for event in await subscription.next():
                        self._tell_of(envelope, task, event)
                        over = over or _is_last(event)
                    await self._move(task.id, subscription.cursor)
        except StorageError as error:
            _log.warning("asap_following_ended", task_id=task.id, error=str(error))
        finally:
            del self._cursors[task.id]
        await self._move(task.id, None)

    def _tell_of(self, envelope: Envelope, task: Task, event: TaskEvent) -> None:
        payload = update_of(event, task.id)
        if payload is not None:
            self._tell(envelope, task.agent_id, payload)

    async def _move(self, task_id: str, cursor: int | None) -> None:
        async with self._moved:
            if cursor is not None:
                self._cursors[task_id] = cursor
            self._moved.notify_all()


def _is_last(event: TaskEvent) -> bool:
    return isinstance(event, StatusChanged) and event.state in TERMINAL
