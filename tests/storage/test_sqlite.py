from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.storage.interfaces import Storage
from palaver.storage.sqlite import SqliteStorage
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
