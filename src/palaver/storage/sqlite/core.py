"""One open file: its writer, its reader, what is cached of it, and what other processes say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import apsw

from palaver.errors import StoreUnavailable
from palaver.model.events import TaskEvent
from palaver.storage.recent import Recent
from palaver.storage.sqlite import queries
from palaver.storage.sqlite.identity import FileIdentity
from palaver.storage.sqlite.jobs import Append, Job, Operation
from palaver.storage.sqlite.schema import connect, unavailable, upgrade
from palaver.storage.sqlite.writer import GroupWriter
from palaver.storage.wake import Receiver, Sender, directory_for
from palaver.storage.watchers import Watchers

__all__ = ["OpenFile"]

P = ParamSpec("P")
T = TypeVar("T")


class OpenFile:
    """Lives in the event loop that opened it; the threads behind it see nothing of this."""

    def __init__(self, path: Path, *, max_waiting: int, poll_interval: float) -> None:
        self.path = path
        self.recent = Recent()
        self.watchers = Watchers()
        self._loop = asyncio.get_running_loop()
        self._max_waiting = max_waiting
        self._poll_interval = poll_interval
        self._waiting = 0
        self._room: asyncio.Event = asyncio.Event()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._readers = ThreadPoolExecutor(1, "palaver-sqlite-read")
        self._reader: apsw.Connection
        self.identity: FileIdentity
        self._writer: GroupWriter
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._poll: asyncio.Task[None] | None = None
        self._check: asyncio.Task[None] | None = None

    # --- opening and closing ---

    async def open(self) -> None:
        """Open the file, start the writer, and listen to others."""
        try:
            writing = await self._loop.run_in_executor(self._readers, self._connect)
        except StoreUnavailable:
            self._readers.shutdown()
            raise
        # Where there are no such sockets, or none can be made, polling alone must do.
        with contextlib.suppress(OSError, NotImplementedError, AttributeError):
            self._receiver = Receiver(directory_for(self.path))
            self._loop.add_reader(self._receiver.fileno(), self.hear)
            self._sender = Sender(self._receiver.path)
        self._writer = GroupWriter(
            writing, self.path, self.identity, settle=self._settle, tell=self._tell
        )

    def _connect(self) -> apsw.Connection:
        writing = connect(self.path)
        self.identity = FileIdentity(self.path)
        try:
            upgrade(writing, self.path)
            self._reader = connect(self.path)
            self._reader.execute("PRAGMA query_only = 1")
            self.identity.check()
        except StoreUnavailable:
            writing.close()
            raise
        return writing

    async def close(self) -> None:
        """Finish what was accepted, and let go."""
        if self._closing:
            return
        self._closing = True
        self._room.set()
        background = [task for task in (self._poll, self._check) if task is not None]
        for task in background:
            task.cancel()
        if background:
            await asyncio.wait(background)
        await self._loop.run_in_executor(self._readers, self._reader.close)
        self._readers.shutdown(wait=False)
        await self._idle.wait()
        await self._writer.close()
        if self._receiver is not None:
            self._loop.remove_reader(self._receiver.fileno())
            self._receiver.close()
        if self._sender is not None:
            self._sender.close()

    def check_open(self) -> None:
        """Make sure that calls are still taken."""
        if self._closing:
            raise StoreUnavailable(f"the store {self.path} is closed")
        if self.identity.lost:
            self.identity.check()
        if self._writer.stopped:
            raise StoreUnavailable(f"the writer of {self.path} stopped: restart this process")

    # --- writing ---

    async def append(self, job: Append) -> None:
        """Have events written; return once they are durable."""
        await self._submit(job)

    async def write(
        self,
        run: Callable[[apsw.Connection], T],
        *,
        touches_logs: bool = True,
        moved: Callable[[T], Mapping[str, int]] | None = None,
    ) -> T:
        """Have ``run`` done in a transaction; return its result once it is durable."""
        job = Operation(self._loop.create_future(), run, touches_logs, moved)
        await self._submit(job)
        result: T = job.result
        return result

    async def _submit(self, job: Job) -> None:
        self.check_open()
        while self._waiting >= self._max_waiting:
            self._room.clear()
            await self._room.wait()
            self.check_open()
        self._waiting += 1
        self._idle.clear()
        self._writer.submit(job)
        await job.future

    def _settle(self, jobs: list[Job]) -> None:
        """Take note of what is durable now, and tell the callers."""
        now = self._loop.time()
        moved: list[Append] = []
        for job in jobs:
            future = job.future
            if job.error is not None:
                if not future.done():
                    future.set_exception(job.error)
                continue
            if isinstance(job, Append):
                self.recent.extend(job.task_id, job.expected_seq, job.events, len(job.body), now)
                moved.append(job)
            elif job.moved is not None:
                for task_id, head in job.moved(job.result).items():
                    self.recent.notice(task_id, head)
            if not future.done():
                future.set_result(None)
        self._waiting -= len(jobs)
        if not self._waiting:
            self._idle.set()
        self._room.set()
        for job in moved:
            self.watchers.notify(job.task_id, job.head)

    def _tell(self, heads: dict[str, int]) -> None:
        if heads and self._sender is not None:
            self._sender.tell(heads)

    # --- reading ---

    async def query(
        self,
        run: Callable[Concatenate[apsw.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a question on the reading connection."""
        self.check_open()

        def answer() -> T:
            self.identity.check_sometimes()
            return run(self._reader, *args, **kwargs)

        try:
            return await self._loop.run_in_executor(self._readers, answer)
        except apsw.Error as error:
            raise unavailable(self.path, error) from error

    async def ping(self) -> None:
        """Make sure that the file answers, and that it is where it was."""

        def look(connection: apsw.Connection) -> None:
            self.identity.check()
            queries.stats(connection)

        await self.query(look)

    async def read(self, task_id: str, after: int, limit: int) -> list[TaskEvent]:
        """Return events from what is cached, or from the file."""
        self.check_open()
        if self._receiver is not None:
            now = self._loop.time()
            kept = self.recent.read(task_id, after, limit, now)
            if kept is not None and len(kept) < limit and self.hear():
                # The log ended here a moment ago; another process may just have said otherwise.
                kept = self.recent.read(task_id, after, limit, now)
            if kept is not None:
                return kept
        return await self.query(queries.read, task_id, after, limit)

    async def head(self, task_id: str) -> int:
        """Return the head from what is cached, or from the file."""
        self.check_open()
        if self._receiver is not None:
            self.hear()
            known = self.recent.head(task_id, self._loop.time())
            if known is not None:
                return known
        return await self.query(queries.head, task_id)

    # --- what other processes say ---

    def watch(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        """Call ``on_append`` when the log grows; poll for it as long as anybody watches."""
        self.check_open()
        unwatch = self.watchers.add(task_id, on_append)
        if self._poll is None or self._poll.done():
            self._poll = self._loop.create_task(self._poll_while_watched())
        return unwatch

    def hear(self) -> bool:
        """Take what other processes have said by now; false if they said nothing."""
        news = None if self._receiver is None else self._receiver.receive()
        if news is None:
            return False
        if news.everything:
            self.recent.distrust(self._loop.time())
            self._check_soon()
        for task_id, head in news.heads.items():
            self.recent.notice(task_id, head)
            if head:
                self.watchers.notify(task_id, head)
        return True

    def _check_soon(self) -> None:
        if self._check is None or self._check.done():
            self._check = self._loop.create_task(self._check_watched())

    async def _check_watched(self) -> None:
        with contextlib.suppress(StoreUnavailable):  # polling goes on, and tries again
            found = await self.query(queries.heads, self.watchers.task_ids)
            for task_id, head in found.items():
                self.recent.notice(task_id, head)
                self.watchers.notify(task_id, head)

    async def _poll_while_watched(self) -> None:
        """Notice what no datagram told, as from another user's process."""
        version: int | None = None
        while self.watchers:
            with contextlib.suppress(StoreUnavailable):
                latest = await self.query(_data_version)
                if latest != version:
                    version = latest
                    await self._check_watched()
            await asyncio.sleep(self._poll_interval)


def _data_version(connection: apsw.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").get
    return version
