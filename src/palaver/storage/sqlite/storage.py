"""The concerns of a store over one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import orjson

from palaver.errors import IllegalEvent, StoreUnavailable
from palaver.model.delivery import Delivery
from palaver.model.encoding import encode_events
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
from palaver.storage.sqlite import queries
from palaver.storage.sqlite.core import OpenFile
from palaver.storage.sqlite.jobs import Append

__all__ = ["SqliteStorage"]

_MAX_SEQ = 2**62


class _Concern:
    """Finds the open file, each time anew: a store can be closed and opened again."""

    def __init__(self, storage: SqliteStorage) -> None:
        self._storage = storage

    @property
    def _file(self) -> OpenFile:
        return self._storage.file


class _States(_Concern, StateStorage):
    async def save(self, task_id: str, version: int, data: dict[str, Any]) -> None:
        file = self._file
        check_text(task_id, "the task id")
        content = canonical(version, data)
        await file.write(
            lambda connection: queries.save_state(connection, task_id, version, content),
            touches_logs=False,
        )

    async def load(self, task_id: str, version: int | None = None) -> dict[str, Any]:
        return await self._file.query(queries.load_state, task_id, version)

    async def list_versions(self, task_id: str) -> list[int]:
        return await self._file.query(queries.list_versions, task_id)

    async def delete(self, task_id: str) -> None:
        await self._file.write(
            lambda connection: queries.delete_states(connection, task_id), touches_logs=False
        )


class _Events(_Concern, EventLog):
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
        file = self._file
        file.check_open()
        check_append(task_id, expected_seq, events, claim)
        if not expected_seq or worker is not None or deliveries:
            check_texts(task_id, claim, worker, deliveries)
        try:
            body = encode_events(events)
        except orjson.JSONEncodeError as error:
            message = f"task {task_id!r}: its events cannot be written as JSON: {error}"
            raise IllegalEvent(message) from error
        await file.append(
            Append(
                asyncio.get_running_loop().create_future(),
                task_id,
                expected_seq,
                events,
                body,
                claim,
                worker,
                deliveries,
                finish_time(events),
            )
        )

    async def read(self, task_id: str, after: int, limit: int = 256) -> list[TaskEvent]:
        return await self._file.read(task_id, min(max(after, 0), _MAX_SEQ), limit)

    async def head(self, task_id: str) -> int:
        return await self._file.head(task_id)

    def watch(self, task_id: str, on_append: Callable[[int], None]) -> Callable[[], None]:
        return self._file.watch(task_id, on_append)

    async def claimed(self, key: str, now: float) -> tuple[str, str] | None:
        return await self._file.query(queries.claimed, key, now)

    async def finished(self, before: float, limit: int = 256) -> list[str]:
        return await self._file.query(queries.finished, before, limit)

    async def prune(self, finished_before: float, limit: int = 256) -> list[str]:
        return await self._remove(queries.prune, finished_before, limit)

    async def forget(self, finished_before: float, limit: int = 256) -> list[str]:
        return await self._remove(queries.forget, finished_before, limit)

    async def _remove(
        self,
        remove: Callable[[apsw.Connection, float, int], list[str]],
        finished_before: float,
        limit: int,
    ) -> list[str]:
        return await self._file.write(
            lambda connection: remove(connection, finished_before, limit),
            moved=lambda task_ids: dict.fromkeys(task_ids, 0),
        )

    async def stats(self) -> LogStats:
        return await self._file.query(queries.stats)


class _Leases(_Concern, Leases):
    async def beat(self, worker: str, now: float, ttl: float) -> None:
        check_text(worker, "the worker")
        await self._file.write(
            lambda connection: queries.beat(connection, worker, now, now + ttl),
            touches_logs=False,
        )

    async def orphans(
        self, now: float, gone: Callable[[str], bool], limit: int = 256
    ) -> list[tuple[str, str]]:
        file = self._file
        lost = [
            worker
            for worker, alive_until in await file.query(queries.workers)
            if not worker or alive_until is None or alive_until <= now or gone(worker)
        ]
        return await file.query(queries.leases_of, lost, limit) if lost else []

    async def take(self, task_id: str, old_worker: str, new_worker: str) -> bool:
        for text in (task_id, old_worker, new_worker):
            check_text(text, "the task id or worker")
        return await self._file.write(
            lambda connection: queries.take(connection, task_id, old_worker, new_worker)
        )

    async def release(self, task_id: str, worker: str) -> None:
        await self.take(task_id, worker, "")

    async def retire(self, worker: str) -> None:
        check_text(worker, "the worker")
        await self._file.write(
            lambda connection: _execute(connection, "DELETE FROM workers WHERE worker = ?", worker),
            touches_logs=False,
        )


class _Outbox(_Concern, Outbox):
    async def due(self, now: float, limit: int = 256) -> list[Delivery]:
        return await self._file.query(queries.due, now, limit)

    async def done(self, delivery_id: str) -> None:
        check_text(delivery_id, "the id of the delivery")
        await self._file.write(
            lambda connection: _execute(
                connection, "DELETE FROM deliveries WHERE id = ?", delivery_id
            )
        )

    async def retry(self, delivery_id: str, due_at: float) -> None:
        await self._file.write(lambda connection: queries.retry(connection, delivery_id, due_at))


class _Credentials(_Concern, CredentialStore):
    async def put(self, name: str, value: bytes) -> None:
        check_text(name, "the name of the credential")
        content = bytes(value)
        await self._file.write(
            lambda connection: _execute(
                connection, "INSERT OR REPLACE INTO credentials VALUES (?, ?)", name, content
            ),
            touches_logs=False,
        )

    async def get(self, name: str) -> bytes:
        return await self._file.query(queries.credential, name)

    async def remove(self, name: str) -> None:
        check_text(name, "the name of the credential")
        await self._file.write(
            lambda connection: _execute(connection, "DELETE FROM credentials WHERE name = ?", name),
            touches_logs=False,
        )


def _execute(connection: apsw.Connection, sql: str, *values: Any) -> None:
    connection.execute(sql, values)


class SqliteStorage(Storage):
    """Keeps everything in one SQLite file, which several processes may share.

    ``max_waiting`` writes may wait for the disk; callers beyond wait for room. ``poll_interval``
    is how long (seconds) it takes at most to notice what a process wrote that could not tell us.
    """

    def __init__(
        self, path: str | Path, *, max_waiting: int = 4096, poll_interval: float = 0.25
    ) -> None:
        self._path = Path(path).absolute()
        self._max_waiting = max_waiting
        self._poll_interval = poll_interval
        self._open_file: OpenFile | None = None
        self.states = _States(self)
        self.events = _Events(self)
        self.leases = _Leases(self)
        self.outbox = _Outbox(self)
        self.credentials = _Credentials(self)

    @property
    def file(self) -> OpenFile:
        """The open file.

        Raises:
            StoreUnavailable: there is none.

        """
        if self._open_file is None:
            raise StoreUnavailable(f"the store {self._path} is not open")
        return self._open_file

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self._path)

    @property
    def durable(self) -> bool:
        """True."""
        return True

    async def open(self) -> None:
        """Open the file, making it and its directory where they are missing.

        Raises:
            StoreUnavailable: it cannot be opened; the text says why and what to do.

        """
        await self.close()
        # Every process must come to the same name, as the place of the sockets hangs on it.
        path = await asyncio.to_thread(self._path.resolve)
        file = OpenFile(path, max_waiting=self._max_waiting, poll_interval=self._poll_interval)
        await file.open()
        self._open_file = file

    async def close(self) -> None:
        """Finish what was accepted, and let go. Calls after it raise ``StoreUnavailable``."""
        if self._open_file is not None:
            await self._open_file.close()

    async def ping(self) -> None:
        """Make sure that the file answers.

        Raises:
            StoreUnavailable: it does not.

        """
        await self.file.ping()
