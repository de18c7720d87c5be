"""The one thread that writes: everything that waits goes into one transaction and one fsync."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from palaver.errors import StorageError, StoreUnavailable
from palaver.storage.sqlite.appends import AppendBatch
from palaver.storage.sqlite.identity import FileIdentity
from palaver.storage.sqlite.jobs import Append, Job, Operation
from palaver.storage.sqlite.schema import roll_back, unavailable

__all__ = ["GroupWriter"]

_MAX_GROUP: Final = 1024
_REFUSED: Final = (apsw.Error, ArithmeticError, TypeError, ValueError)
"""What SQLite and apsw say of a statement or of a value in it."""


class GroupWriter:
    """Commits jobs in groups. A job that is alone is committed at once.

    ``tell`` is called in the writer's thread with what a transaction has moved, ``settle`` in the
    event loop, once per group, with jobs that have a result or an error.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        identity: FileIdentity,
        *,
        settle: Callable[[list[Job]], None],
        tell: Callable[[dict[str, int]], None],
    ) -> None:
        self._connection = connection
        self._path = path
        self._identity = identity
        self._settle = settle
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._batch = AppendBatch(connection)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.stopped = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="palaver-sqlite", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have the job done; its turn comes after those submitted before."""
        self._queue.put(job)
        if self.stopped:
            self._abandon([])

    async def close(self) -> None:
        """Finish what was submitted, and end the thread."""
        self._queue.put(None)
        # Told by the thread itself: the loop's own threads may all be taken by what users run.
        await self._ended.wait()
        self._thread.join()

    def _serve(self) -> None:
        jobs: list[Job] = []
        try:
            while True:
                jobs, last = self._next_group()
                if jobs:
                    self._write(jobs)
                    self._hand_back(jobs)
                    jobs = []
                if last:
                    break
        finally:
            # Nothing waits here unless this thread failed: then nobody may wait for ever.
            self.stopped = True
            self._abandon(jobs)
            with contextlib.suppress(apsw.Error):  # what is committed stands in the file
                self._connection.close()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._ended.set)

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for a job, and take all that wait with it; true once nothing follows."""
        job = self._queue.get()
        jobs: list[Job] = []
        waiting = min(self._queue.qsize(), _MAX_GROUP)
        while job is not None:
            jobs.append(job)
            if not waiting:
                return jobs, False
            waiting -= 1
            job = self._queue.get()
        return jobs, True

    def _abandon(self, jobs: list[Job]) -> None:
        lost = list(jobs)
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    lost.append(job)
        for job in lost:
            job.error = StoreUnavailable(f"the writer of {self._path} stopped: restart it")
        self._hand_back(lost)

    def _hand_back(self, jobs: list[Job]) -> None:
        if jobs and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, jobs)

    def _write(self, jobs: list[Job]) -> None:
        try:
            self._identity.check_sometimes()
            self._connection.execute("BEGIN IMMEDIATE")
        except (apsw.Error, StoreUnavailable) as error:
            self._fail(jobs, error)
            return
        try:
            self._batch.begin()
            for job in jobs:
                self._take(job)
            self._batch.flush()
        except _REFUSED as error:
            self._fail(jobs[:1], error)
            if len(jobs) > 1:
                # One of them spoils the transaction: alone it spoils only its own.
                for job in jobs:
                    self._write([job])
            return
        try:
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            self._fail(jobs, error)
            return
        self._tell(_moved(jobs))

    def _take(self, job: Job) -> None:
        job.error = None
        try:
            if isinstance(job, Append):
                self._batch.add(job)
                return
            if job.touches_logs:
                self._batch.flush()
            job.result = job.run(self._connection)
            if job.touches_logs:
                self._batch.forget()
        except StorageError as error:
            job.error = error

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        self._batch.forget()
        roll_back(self._connection)
        for job in jobs:
            job.error = unavailable(self._path, error) if isinstance(error, apsw.Error) else error


def _moved(jobs: list[Job]) -> dict[str, int]:
    """Return what these jobs moved: task → head, 0 where its events are gone."""
    heads: dict[str, int] = {}
    for job in jobs:
        if job.error is not None:
            continue
        if isinstance(job, Operation):
            if job.moved is not None:
                heads.update(job.moved(job.result))
        else:
            heads[job.task_id] = job.head
    return heads
