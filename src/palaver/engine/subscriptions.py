"""Readers of the log: a cursor each, and no queue. A slow reader only lags."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

from palaver.model.events import TaskEvent
from palaver.storage.interfaces import EventLog

__all__ = ["MAX_BATCH", "Subscription"]

MAX_BATCH: Final = 256
_FIRST_BATCH: Final = 32


class Subscription:
    """A cursor over the log of one task. Use it in a ``with`` block, from one reader at a time.

    ``cursor`` is the number of the last event that was given out. ``batch`` is how many are read
    at once: a reader may set it by the size of what it got, up to ``MAX_BATCH``.
    """

    __slots__ = ("_head", "_log", "_unwatch", "_waiter", "_woken", "batch", "cursor", "task_id")

    def __init__(self, log: EventLog, task_id: str, after: int) -> None:
        self.task_id: Final = task_id
        self.cursor = after
        self.batch = _FIRST_BATCH
        self._log = log
        self._head = 0
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._unwatch = log.watch(task_id, self._on_append)

    async def next(self, timeout: float | None = None) -> list[TaskEvent]:  # noqa: ASYNC109
        """Return the events behind the cursor as soon as there are any, and move on.

        The list is empty after ``timeout`` seconds, or, once nothing is left to read, after
        ``wake``. Cancelling loses nothing: the cursor only moves with what was returned.

        Raises:
            CursorExpired: the events behind the cursor are no longer kept.
            NotFound: there is no such task.
            StoreUnavailable: the store does not answer.

        """
        events = await self._log.read(self.task_id, self.cursor, self.batch)
        if not events:
            # An append may have come while that was under way: then there is nothing to wait for.
            if not self._woken and self._head <= self.cursor:
                loop = asyncio.get_running_loop()
                self._waiter = loop.create_future()
                timer = None if timeout is None else loop.call_later(timeout, self._release)
                try:
                    await self._waiter
                finally:
                    self._waiter = None
                    if timer is not None:
                        timer.cancel()
            events = await self._log.read(self.task_id, self.cursor, self.batch)
        if events:
            self.cursor = events[-1].seq
        else:
            self._woken = False
        return events

    def wake(self) -> None:
        """Let ``next`` return now, with or without events."""
        self._woken = True
        self._release()

    def close(self) -> None:
        """End the watch."""
        self._unwatch()
        self.wake()

    def _on_append(self, head: int) -> None:
        self._head = max(self._head, head)
        if head > self.cursor:
            self._release()

    def _release(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __enter__(self) -> Self:
        """Return the subscription itself."""
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End the watch."""
        self.close()
