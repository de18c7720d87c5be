from collections.abc import AsyncIterator

import pytest

from palaver.errors import NotFound
from palaver.storage.interfaces import Claim, LogStats, Storage
from palaver.storage.memory import MemoryStorage
from palaver.testing.samples import chunks, created, finished
from palaver.testing.storage_contract import Reopen, StorageContract


class TestMemoryStorage(StorageContract):
    """The reference passes the contract that it is the reference of."""

    @pytest.fixture
    async def storage(self) -> AsyncIterator[Storage]:
        """Return an empty store."""
        store = MemoryStorage()
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def reopen(self, storage: Storage) -> Reopen:
        """Return the store itself, each time."""

        async def same() -> Storage:
            return storage

        return same


async def test_says_what_it_is() -> None:
    """Its name is what a user writes, and it promises nothing beyond this process."""
    store = MemoryStorage()
    assert store.name == "memory:"
    assert store.durable is False


async def test_forgets_the_tasks_that_finished_first() -> None:
    """Beyond its bound the oldest finished tasks go, with everything of theirs; open ones stay."""
    store = MemoryStorage(max_finished_tasks=2)
    await store.events.append("open", 0, [created()])
    for number in range(4):
        claim = Claim(f"key-{number}", "d", 1000.0)
        await store.events.append(f"t-{number}", 0, [created(), *chunks(1)], claim=claim)
        await store.states.save(f"t-{number}", 1, {})
    for number in (2, 0, 3, 1):
        await store.events.append(f"t-{number}", 2, [finished(2)])
    for number in (0, 2):
        with pytest.raises(NotFound):
            await store.events.head(f"t-{number}")
        assert await store.states.list_versions(f"t-{number}") == []
        assert await store.events.claimed(f"key-{number}", 1.0) is None
    assert await store.events.stats() == LogStats(tasks=3, open_tasks=1, events=7)


async def test_forgetting_a_task_leaves_a_claim_that_passed_on() -> None:
    """A key whose claim ran out and made another task belongs to that one."""
    store = MemoryStorage(max_finished_tasks=0)
    await store.events.append("t-1", 0, [created(at=1.0)], claim=Claim("key", "d", 5.0))
    await store.events.append("t-2", 0, [created(at=6.0)], claim=Claim("key", "d", 50.0))
    await store.events.append("t-1", 1, [finished(1)])
    assert await store.events.claimed("key", 7.0) == ("t-2", "d")


async def test_the_hot_path_never_suspends() -> None:
    """``append``, ``read`` and ``head`` are done when they are first resumed."""
    store = MemoryStorage()
    for call in (
        store.events.append("t", 0, [created()]),
        store.events.read("t", 0),
        store.events.head("t"),
    ):
        with pytest.raises(StopIteration):
            call.send(None)


async def test_forgets_by_the_number_of_events_too() -> None:
    """Long tasks go sooner; the latest is kept, however long it is."""
    store = MemoryStorage(max_finished_events=10)
    for number, length in enumerate((3, 4, 20)):
        events = [created(), *chunks(1, length), finished(length + 1)]
        await store.events.append(f"t-{number}", 0, events)
        for earlier in range(number):
            with pytest.raises(NotFound):
                await store.events.head(f"t-{earlier}")
        assert await store.events.head(f"t-{number}") == len(events)
