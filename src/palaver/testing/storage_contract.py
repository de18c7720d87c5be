"""The contract of a store, as a test class: subclass it for your backend.

::

    class TestMyStorage(StorageContract):
        @pytest.fixture
        async def storage(self, tmp_path):
            store = MyStorage(tmp_path)
            await store.open()
            yield store
            await store.close()

        @pytest.fixture
        async def reopen(self, storage, tmp_path):
            ...  # yields an async function: another open store over the same data

A store that is not ``durable`` has no such other; its ``reopen`` returns the store itself. The
tests are coroutines for pytest-asyncio.
"""

# ruff: noqa: S101 - a contract is made of assertions

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
import pytest_asyncio

from palaver.errors import NotFound, StaleWriter, StoreUnavailable, VersionConflict
from palaver.model.delivery import Delivery
from palaver.storage.interfaces import Storage
from palaver.testing.log_contract import LogContract
from palaver.testing.samples import chunks, created, finished

__all__ = ["Reopen", "StorageContract"]

Reopen: TypeAlias = Callable[[], Awaitable[Storage]]


def _nobody_is_gone(_worker: str) -> bool:
    return False


def _delivery(number: int, due_at: float = 10.0, task_id: str = "t") -> Delivery:
    return Delivery(
        id=f"d-{number}",
        task_id=task_id,
        seq=1,
        subscriber="s-1",
        body=b'{"body": "\xc3\xa9"}\x00',
        due_at=due_at,
    )


@pytest.mark.asyncio
class StorageContract(LogContract):
    """Everything that every backend does. A subclass gives the first two fixtures."""

    @pytest.fixture
    def storage(self) -> Storage:
        """Return an open store without anything in it."""
        raise NotImplementedError

    @pytest.fixture
    def reopen(self, storage: Storage) -> Reopen:
        """Return a function that opens another store over the data of ``storage``."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def other(self, reopen: Reopen) -> Storage:
        """Return the store as another process has it open."""
        return await reopen()

    # --- snapshots ---

    async def test_state_versions(self, storage: Storage, other: Storage) -> None:
        """Versions are kept side by side; without a number the highest comes."""
        states = storage.states
        for version in (3, 0, 11):
            await states.save("t", version, {"version": version, "text": "é 🦜", "none": None})
        for found in (states, other.states):
            assert await found.list_versions("t") == [0, 3, 11]
            assert (await found.load("t"))["version"] == 11
            assert await found.load("t", 3) == {"version": 3, "text": "é 🦜", "none": None}
            assert (await found.load("t", 0))["version"] == 0
        await states.delete("t")
        assert await other.states.list_versions("t") == []

    async def test_unknown_states(self, storage: Storage) -> None:
        """What was never saved is not found."""
        await storage.states.save("t", 1, {})
        assert await storage.states.list_versions("unknown") == []
        for version in (None, 1):
            with pytest.raises(NotFound):
                await storage.states.load("unknown", version)
        for version in (0, 2, -1, 10**30):
            with pytest.raises(NotFound):
                await storage.states.load("t", version)
        with pytest.raises(NotFound):
            await storage.states.delete("unknown")

    async def test_a_version_is_history(self, storage: Storage, other: Storage) -> None:
        """The same content again changes nothing; other content is refused and not stored."""
        await storage.states.save("t", 1, {"a": 1, "b": [1, 2]})
        await other.states.save("t", 1, {"b": [1, 2], "a": 1})
        for content in ({"a": 1}, {"a": 1, "b": [2, 1]}, {}):
            with pytest.raises(VersionConflict):
                await other.states.save("t", 1, content)
        assert await storage.states.load("t") == {"a": 1, "b": [1, 2]}
        for version in (-1, 10**30):
            with pytest.raises(ValueError, match="must lie between 0 and"):
                await storage.states.save("t", version, {})

    async def test_a_state_is_a_copy(self, storage: Storage) -> None:
        """What a caller does to its object afterwards does not reach the store."""
        data = {"list": [1]}
        await storage.states.save("t", 1, data)
        data["list"].append(2)
        loaded = await storage.states.load("t")
        loaded["list"].append(3)
        assert await storage.states.load("t") == {"list": [1]}

    async def test_conflicting_saves_at_once(self, storage: Storage, other: Storage) -> None:
        """Of many contents for one version exactly one is stored, and no caller is deceived."""
        saves = [
            (storage if number % 2 else other).states.save("t", 1, {"n": number})
            for number in range(12)
        ]
        results = await asyncio.gather(*saves, return_exceptions=True)
        [winner] = [number for number, result in enumerate(results) if result is None]
        assert all(isinstance(result, VersionConflict) for result in results if result is not None)
        assert await storage.states.load("t") == {"n": winner}

    # --- leases ---

    async def test_leases_live_with_their_worker(self, storage: Storage, other: Storage) -> None:
        """A lease is an orphan once its worker's heartbeat ran out, or never was."""
        await storage.events.append("t-1", 0, [created()], worker="w-1")
        await storage.events.append("t-2", 0, [created()])
        await storage.events.append("t-2", 1, chunks(1), worker="w-2")
        await storage.events.append("t-3", 0, [created()])
        await storage.leases.beat("w-1", now=100.0, ttl=10.0)
        orphans = other.leases.orphans
        assert await orphans(105.0, _nobody_is_gone) == [("t-2", "w-2")]
        await storage.leases.beat("w-2", now=100.0, ttl=20.0)
        assert await orphans(105.0, _nobody_is_gone) == []
        assert await orphans(110.0, _nobody_is_gone) == [("t-1", "w-1")]
        await storage.leases.beat("w-1", now=109.0, ttl=10.0)
        assert await orphans(110.0, _nobody_is_gone) == []
        assert await orphans(110.0, "w-2".__eq__) == [("t-2", "w-2")]
        await storage.leases.retire("w-1")
        assert await orphans(110.0, _nobody_is_gone) == [("t-1", "w-1")]
        assert sorted(await orphans(500.0, _nobody_is_gone)) == [("t-1", "w-1"), ("t-2", "w-2")]
        assert len(await orphans(500.0, _nobody_is_gone, 1)) == 1

    async def test_take_is_exclusive(self, storage: Storage, other: Storage) -> None:
        """Of many takers one gets the lease; nobody takes what another holds by now."""
        await storage.events.append("t", 0, [created()], worker="dead")
        takes = [
            (storage if number % 2 else other).leases.take("t", "dead", f"w-{number}")
            for number in range(10)
        ]
        taken = await asyncio.gather(*takes)
        assert sum(taken) == 1
        assert not await storage.leases.take("t", "dead", "late")
        assert not await storage.leases.take("unknown", "dead", "late")
        winner = f"w-{taken.index(True)}"
        assert await other.leases.orphans(1.0, _nobody_is_gone) == [("t", winner)]
        assert await storage.leases.take("t", winner, winner)

    async def test_a_released_lease_waits_for_a_taker(self, storage: Storage) -> None:
        """Who lets go leaves the lease to exactly one other, alive though it is itself."""
        await storage.leases.beat("w-1", now=1.0, ttl=100.0)
        await storage.leases.beat("w-2", now=1.0, ttl=100.0)
        await storage.events.append("t", 0, [created()], worker="w-1")
        await storage.leases.release("t", "w-2")
        await storage.leases.release("unknown", "w-2")
        assert await storage.leases.orphans(2.0, _nobody_is_gone) == []
        await storage.leases.release("t", "w-1")
        await storage.events.append("t", 1, chunks(1))
        [(task_id, nobody)] = await storage.leases.orphans(2.0, _nobody_is_gone)
        assert (task_id, nobody) == ("t", "")
        assert await storage.leases.take("t", nobody, "w-2")
        assert not await storage.leases.take("t", nobody, "w-1")
        assert await storage.leases.orphans(2.0, _nobody_is_gone) == []

    async def test_the_end_gives_the_lease_up(self, storage: Storage) -> None:
        """A terminal task is nobody's; a refused append takes no lease."""
        await storage.events.append("t", 0, [created()], worker="w-1")
        with pytest.raises(StaleWriter):
            await storage.events.append("t", 0, [created()], worker="w-2")
        assert await storage.leases.orphans(1.0, _nobody_is_gone) == [("t", "w-1")]
        await storage.events.append("t", 1, [finished(1)], worker="w-1")
        assert await storage.leases.orphans(1.0, _nobody_is_gone) == []
        assert not await storage.leases.take("t", "w-1", "w-2")

    # --- outbox ---

    async def test_deliveries_come_with_their_event(self, storage: Storage, other: Storage) -> None:
        """A delivery commits with the append that owes it, or not at all."""
        owed = [_delivery(1, 12.0), _delivery(2, 10.0), _delivery(3, 12.0), _delivery(4, 50.0)]
        await storage.events.append("t", 0, [created()], deliveries=owed[:2])
        with pytest.raises(StaleWriter):
            await storage.events.append("t", 0, [created()], deliveries=[_delivery(9)])
        await storage.events.append("t", 1, chunks(1), deliveries=owed[2:])
        assert await other.outbox.due(12.0) == [owed[1], owed[0], owed[2]]
        assert await other.outbox.due(12.0, limit=2) == [owed[1], owed[0]]
        assert await other.outbox.due(9.9) == []
        assert len(await storage.outbox.due(1000.0)) == 4

    async def test_deliveries_are_retried_until_done(self, storage: Storage) -> None:
        """An attempt is counted and postponed; what is done is gone."""
        await storage.events.append("t", 0, [created()], deliveries=[_delivery(1), _delivery(2)])
        await storage.outbox.retry("d-1", 30.0)
        await storage.outbox.retry("d-1", 40.0)
        assert [row.id for row in await storage.outbox.due(39.0)] == ["d-2"]
        [second, first] = await storage.outbox.due(40.0)
        assert (first.id, first.attempts, first.due_at) == ("d-1", 2, 40.0)
        assert second.attempts == 0
        await storage.outbox.done("d-1")
        await storage.outbox.done("d-1")
        assert await storage.outbox.due(100.0) == [second]
        with pytest.raises(NotFound):
            await storage.outbox.retry("d-1", 50.0)

    async def test_a_known_delivery_is_left_as_it_is(self, storage: Storage) -> None:
        """A delivery that is owed already is not owed twice."""
        await storage.events.append("t", 0, [created()], deliveries=[_delivery(1)])
        await storage.events.append("t", 1, chunks(1), deliveries=[_delivery(1, 99.0)])
        assert await storage.outbox.due(100.0) == [_delivery(1)]

    # --- credentials ---

    async def test_credentials(self, storage: Storage, other: Storage) -> None:
        """Bytes go in and out as they are, by any name."""
        for name in ("plain", "a/b'; --", "🦜"):
            await storage.credentials.put(name, b"one")
            await storage.credentials.put(name, bytes(range(256)))
            assert await other.credentials.get(name) == bytes(range(256))
            await other.credentials.remove(name)
            await other.credentials.remove(name)
            with pytest.raises(NotFound):
                await storage.credentials.get(name)
        await storage.credentials.put("empty", b"")
        assert await other.credentials.get("empty") == b""

    # --- the whole ---

    async def test_a_durable_store_outlives_itself(self, storage: Storage, reopen: Reopen) -> None:
        """What was there before the store was closed is there when it is opened again."""
        if not storage.durable:
            pytest.skip("nothing outlives this store")
        events = [created(), *chunks(1, 30)]
        await storage.events.append("t", 0, events, worker="w", deliveries=[_delivery(1)])
        await storage.credentials.put("name", b"value")
        await storage.close()
        again = await reopen()
        assert await again.events.read("t", 0) == events
        assert await again.outbox.due(10.0) == [_delivery(1)]
        assert await again.leases.orphans(1.0, _nobody_is_gone) == [("t", "w")]
        assert await again.credentials.get("name") == b"value"

    async def test_closing_finishes_what_was_accepted(
        self, storage: Storage, reopen: Reopen
    ) -> None:
        """Appends that were on their way when the store was closed are acknowledged and kept."""
        appends = [
            asyncio.ensure_future(storage.events.append(f"t-{number}", 0, [created()]))
            for number in range(50)
        ]
        await asyncio.gather(*(asyncio.wait({append}, timeout=0) for append in appends[:1]))
        await storage.close()
        results = await asyncio.gather(*appends, return_exceptions=True)
        if storage.durable:
            again = await reopen()
            kept = (await again.events.stats()).tasks
            assert kept == sum(result is None for result in results)
        assert all(isinstance(result, StoreUnavailable) for result in results if result is not None)

    async def test_a_closed_store_says_so(self, storage: Storage) -> None:
        """Nothing is answered from a store that was closed; closing it twice does no harm."""
        await storage.ping()
        await storage.events.append("t", 0, [created()])
        await storage.close()
        await storage.close()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: storage.events.append("t", 1, chunks(1)),
            lambda: storage.events.read("t", 0),
            lambda: storage.events.head("t"),
            lambda: storage.events.wait("t", 0),
            lambda: storage.events.claimed("k", 1.0),
            lambda: storage.events.finished(1.0),
            lambda: storage.events.prune(1.0),
            lambda: storage.events.forget(1.0),
            storage.events.stats,
            lambda: storage.states.save("t", 1, {}),
            lambda: storage.states.load("t"),
            lambda: storage.states.list_versions("t"),
            lambda: storage.states.delete("t"),
            lambda: storage.leases.beat("w", 1.0, 1.0),
            lambda: storage.leases.orphans(1.0, _nobody_is_gone),
            lambda: storage.leases.take("t", "w", "v"),
            lambda: storage.leases.release("t", "w"),
            lambda: storage.leases.retire("w"),
            lambda: storage.outbox.due(1.0),
            lambda: storage.outbox.done("d"),
            lambda: storage.outbox.retry("d", 1.0),
            lambda: storage.credentials.put("n", b""),
            lambda: storage.credentials.get("n"),
            lambda: storage.credentials.remove("n"),
            storage.ping,
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call()
        with pytest.raises(StoreUnavailable):
            storage.events.watch("t", print)
