"""Random histories: the embedded store answers as the reference does, cached or not."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.errors import AlreadyClaimed, CursorExpired, StaleWriter, StorageError
from palaver.model.delivery import Delivery
from palaver.model.events import TaskEvent
from palaver.storage.interfaces import Claim, Storage
from palaver.storage.memory import MemoryStorage
from palaver.storage.sqlite import SqliteStorage
from palaver.testing.samples import chunks, created, finished

Step = Callable[[Storage], Awaitable[Any]]

tasks = st.sampled_from(["t-1", "t-2", "it's"])
keys = st.sampled_from(["k-1", "k-2"])
workers = st.sampled_from(["w-1", "w-2"])
small = st.integers(0, 8)
times = small.map(float)


def append(
    task_id: str,
    expected: int,
    count: int,
    end: float | None,
    key: str | None,
    worker: str | None,
    owed: int | None,
) -> Step:
    """Return an append of ``count`` chunks, or of the end of the task."""
    events: list[TaskEvent] = chunks(expected, count)
    if expected == 0:
        events[0] = created(at=float(count))
    if end is not None:
        events.append(finished(expected + count, at=end))
    deliveries = (
        ()
        if owed is None
        else (
            Delivery(
                id=f"d-{owed}",
                task_id=task_id,
                seq=1,
                subscriber="s",
                body=b"b",
                due_at=float(owed),
            ),
        )
    )
    claim = Claim(key, f"digest-{count}", float(count + 4)) if key and expected == 0 else None
    return lambda store: store.events.append(
        task_id, expected, events, claim=claim, worker=worker, deliveries=deliveries
    )


async def orphans(store: Storage, now: float) -> list[tuple[str, str]]:
    """Return the orphans in an order that both stores share."""
    return sorted(await store.leases.orphans(now, "w-2".__eq__))


steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        append,
        tasks,
        small,
        st.integers(1, 3),
        st.none() | times,
        st.none() | keys,
        st.none() | workers,
        st.none() | small,
    ),
    st.builds(lambda t, a, n: lambda s: s.events.read(t, a, n), tasks, small, st.integers(1, 4)),
    st.builds(lambda t: lambda s: s.events.head(t), tasks),
    st.builds(lambda k, n: lambda s: s.events.claimed(k, n), keys, times),
    st.builds(lambda n, limit: lambda s: s.events.finished(n, limit), times, small),
    st.builds(lambda n, limit: lambda s: s.events.prune(n, limit), times, small),
    st.builds(lambda n, limit: lambda s: s.events.forget(n, limit), times, small),
    st.just(lambda s: s.events.stats()),
    st.builds(lambda t, v, x: lambda s: s.states.save(t, v, {"x": x}), tasks, small, st.booleans()),
    st.builds(lambda t, v: lambda s: s.states.load(t, v), tasks, st.none() | small),
    st.builds(lambda t: lambda s: s.states.list_versions(t), tasks),
    st.builds(lambda t: lambda s: s.states.delete(t), tasks),
    st.builds(lambda w, n, ttl: lambda s: s.leases.beat(w, n, ttl), workers, times, times),
    st.builds(lambda w: lambda s: s.leases.retire(w), workers),
    st.builds(lambda n: lambda s: orphans(s, n), times),
    st.builds(lambda t, w, v: lambda s: s.leases.take(t, w, v), tasks, workers, workers),
    st.builds(lambda t, w: lambda s: s.leases.release(t, w), tasks, workers),
    st.builds(lambda n, limit: lambda s: s.outbox.due(n, limit), times, small),
    st.builds(lambda i: lambda s: s.outbox.done(f"d-{i}"), small),
    st.builds(lambda i, n: lambda s: s.outbox.retry(f"d-{i}", n), small, times),
)


async def outcome(step: Step, store: Storage) -> Any:
    """Return what the step returns, or what it raises with what is told by it."""
    try:
        return await step(store)
    except (StaleWriter, AlreadyClaimed, CursorExpired) as error:
        return type(error), vars(error)
    except StorageError as error:
        return type(error), str(error)


async def compare(path: Path, history: list[tuple[Step, bool]]) -> None:
    """Let two handles on one file answer by turns, beside the reference."""
    reference = MemoryStorage()
    one, two = SqliteStorage(path), SqliteStorage(path)
    await one.open()
    await two.open()
    try:
        for number, (step, first) in enumerate(history):
            expected = await outcome(step, reference)
            assert await outcome(step, one if first else two) == expected, f"step {number}"
        for task_id in ("t-1", "t-2", "it's"):
            expected = await outcome(lambda s, t=task_id: s.events.read(t, 0), reference)
            for store in (one, two):
                assert await outcome(lambda s, t=task_id: s.events.read(t, 0), store) == expected
    finally:
        await one.close()
        await two.close()


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(st.tuples(steps, st.booleans()), min_size=8, max_size=50))
def test_answers_as_the_reference_does(history: list[tuple[Step, bool]]) -> None:
    """Whatever is asked, in whatever order, of whichever process."""
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(compare(folder / "palaver.db", history))
    finally:
        shutil.rmtree(folder)
