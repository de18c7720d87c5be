import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.storage.interfaces import Storage
from palaver.storage.sqlite import SqliteStorage
from palaver.testing.samples import chunks, created
from palaver.testing.storage_contract import Reopen, StorageContract


class TestSqliteStorage(StorageContract):
    """The embedded store, with another one over the same file beside it."""

    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[Storage]:
        """Return an empty store."""
        store = SqliteStorage(tmp_path / "palaver.db")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def reopen(self, storage: Storage, tmp_path: Path) -> AsyncIterator[Reopen]:
        """Open further stores over the same file."""
        opened: list[Storage] = []

        async def another() -> Storage:
            store = SqliteStorage(tmp_path / "palaver.db")
            await store.open()
            opened.append(store)
            return store

        yield another
        for store in opened:
            await store.close()


async def test_lives_without_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no socket can be made processes poll: later, but nothing is lost."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("d" * 100)))
    path = tmp_path / ("e" * 100) / "palaver.db"
    one, two = (SqliteStorage(path, poll_interval=0.01) for _ in range(2))
    await one.open()
    await two.open()
    await one.events.append("t", 0, [created()])
    async with asyncio.timeout(10):
        waiting = asyncio.ensure_future(two.events.wait("t", 2))
        await one.events.append("t", 1, chunks(1, 2))
        await waiting
    assert await two.events.read("t", 0) == [created(), *chunks(1, 2)]
    assert await one.events.head("t") == 3
    await one.close()
    await two.close()


async def test_dead_workers_are_forgotten(tmp_path: Path) -> None:
    """A worker that crashed is remembered only as long as it holds a lease."""
    store = SqliteStorage(tmp_path / "palaver.db")
    await store.open()
    await store.events.append("t", 0, [created()], worker="holds")
    for worker in ("holds", "crashed", "alive"):
        await store.leases.beat(worker, now=1.0, ttl=100.0 if worker == "alive" else 10.0)

    async def known() -> list[str]:
        rows = await store.file.query(
            lambda connection: connection.execute("SELECT worker FROM workers").fetchall()
        )
        return sorted(worker for (worker,) in rows)

    assert await known() == ["alive", "crashed", "holds"]
    await store.leases.beat("new", now=11.0, ttl=10.0)
    assert await known() == ["alive", "holds", "new"]
    assert await store.leases.take("t", "holds", "new")
    await store.leases.beat("new", now=12.0, ttl=10.0)
    assert await known() == ["alive", "new"]
    await store.close()


async def test_a_burst_that_overflows_the_queue(tmp_path: Path) -> None:
    """More news than a socket holds, while nobody listens: the watchers hear of the last head."""
    one, two = (SqliteStorage(tmp_path / "palaver.db", poll_interval=60) for _ in range(2))
    await one.open()
    await two.open()
    reached = asyncio.Event()
    await two.events.append("t", 0, [created()])
    receiver = two.file._receiver
    assert receiver is not None
    asyncio.get_running_loop().remove_reader(receiver.fileno())
    two.events.watch("t", lambda head: reached.set() if head == 201 else None)
    for head in range(1, 201):
        await one.events.append("t", head, chunks(head))
    assert await two.events.head("t") == 201
    async with asyncio.timeout(10):
        await reached.wait()
    await one.close()
    await two.close()
