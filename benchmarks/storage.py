"""The stores by themselves: appends, reads and saves per second at 1 to 64 concurrent writers.

Every writer appends the events of tasks of 100 text chunks, first one event per append, then ten
per append; each append is awaited, so with SQLite it is on the disk. Then the last of those tasks
are read back, and snapshots of about 1 KB are saved to the state storage. In the end the tasks are
read from the file by a store that was opened anew. Compared in interleaved rounds: the memory
store, the SQLite store, and (for one writer) a plain loop over apsw that commits every insert to
the same disk by itself.
"""

import asyncio
import functools
import gc
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import uvloop
from report import Metric, Options, Report, parse_options, percentile
from servers import folder_facts
from workload import CHUNK_TEXTS, PROMPT

from palaver.model.content import Artifact, Message, TextPart
from palaver.model.events import ArtifactUpdated, StatusChanged, TaskCreated, TaskEvent
from palaver.model.states import TaskState
from palaver.storage.interfaces import Storage
from palaver.storage.memory import MemoryStorage
from palaver.storage.sqlite import SqliteStorage

WRITERS = (1, 8, 32, 64)
BATCH = 10
TASKS_TO_READ = 100
STORES = ("memory", "sqlite")
BARE_APSW = "bare apsw"
METRICS = (
    Metric("appends/s", "1/s", with_range=True),
    Metric("append p50", "ms", digits=3),
    Metric("append p95", "ms", digits=3),
    Metric("events/s, ten an append", "1/s", with_range=True),
    Metric("events read/s", "1/s"),
    Metric("read/s, reopened", "1/s"),
    Metric("saves/s", "1/s", with_range=True),
)


def task_events() -> list[TaskEvent]:
    """Return the events of one task of 100 text chunks, from its creation to its completion."""
    now = time.time()
    message = Message(id="m", role="user", parts=(TextPart(PROMPT),))
    created = TaskCreated(
        seq=1,
        at=now,
        conversation_id="c",
        agent_id="bench",
        message=message,
        principal="anonymous",
        wire="a2a",
    )
    events: list[TaskEvent] = [created, StatusChanged(seq=2, at=now, state=TaskState.WORKING)]
    for number, text in enumerate(CHUNK_TEXTS):
        artifact = Artifact(id="answer", parts=(TextPart(text),))
        append = number > 0
        events.append(
            ArtifactUpdated(seq=number + 3, at=now, artifact=artifact, index=0, append=append)
        )
    last = len(events) + 1
    return [*events, StatusChanged(seq=last, at=now, state=TaskState.COMPLETED)]


EVENTS = task_events()
SNAPSHOT: dict[str, Any] = {
    "state": "working",
    "history": [{"text": text} for text in CHUNK_TEXTS[:24]],
}


@dataclass(slots=True)
class Work:
    """What concurrent writers did: calls, and the seconds that each took."""

    calls: int = 0
    latencies: list[float] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    async def timed(self, call: Awaitable[None]) -> None:
        """Await the call and count it."""
        started = time.perf_counter()
        await call
        self.latencies.append(time.perf_counter() - started)
        self.calls += 1


async def _append_tasks(
    storage: Storage, name: str, batch: int, stop_at: float, work: Work
) -> None:
    """Append whole tasks, `batch` events at a time, until `stop_at` (monotonic seconds)."""
    for number in itertools.count():
        task_id = f"{name}-{number}"
        for start in range(0, len(EVENTS), batch):
            if time.monotonic() >= stop_at:
                return
            events = EVENTS[start : start + batch]
            await work.timed(storage.events.append(task_id, start, events))
        work.tasks.append(task_id)


async def _save_snapshots(storage: Storage, name: str, stop_at: float, work: Work) -> None:
    """Save version after version of one task until `stop_at` (monotonic seconds)."""
    for version in itertools.count():
        if time.monotonic() >= stop_at:
            return
        await work.timed(storage.states.save(name, version, SNAPSHOT | {"version": version}))


async def _read_tasks(storage: Storage, tasks: Sequence[str]) -> float:
    """Read the tasks back, and return the events per second."""
    started = time.perf_counter()
    count = 0
    for task_id in tasks:
        events = await storage.events.read(task_id, 0)
        if [event.seq for event in events] != [event.seq for event in EVENTS]:
            raise RuntimeError(f"task {task_id!r} was not read back as it was written")
        count += len(events)
    return count / (time.perf_counter() - started) if count else float("nan")


async def _together(
    writers: int, seconds: float, write: Callable[[str, float, Work], Awaitable[None]], prefix: str
) -> tuple[Work, float]:
    """Run `writers` of `write` for `seconds`; return what they did and their calls per second."""
    work = Work()
    started = time.monotonic()
    stop_at = started + seconds
    await asyncio.gather(*(write(f"{prefix}-{number}", stop_at, work) for number in range(writers)))
    return work, work.calls / (time.monotonic() - started)


async def _measure(make: Callable[[], Storage], writers: int, seconds: float) -> dict[str, float]:
    """Append, read back and save; figures by metric name."""
    storage = make()
    await storage.open()
    try:
        single, appends = await _together(
            writers,
            seconds,
            lambda name, stop_at, work: _append_tasks(storage, name, 1, stop_at, work),
            "single",
        )
        read = await _read_tasks(storage, single.tasks[-TASKS_TO_READ:])
        _, batches = await _together(
            writers,
            seconds,
            lambda name, stop_at, work: _append_tasks(storage, name, BATCH, stop_at, work),
            "batch",
        )
        _, saves = await _together(
            writers,
            seconds,
            lambda name, stop_at, work: _save_snapshots(storage, name, stop_at, work),
            "save",
        )
    finally:
        await storage.close()
    reopened = {}
    if storage.durable:
        reopened["read/s, reopened"] = await _read_reopened(make(), single.tasks[-TASKS_TO_READ:])
    return reopened | {
        "appends/s": appends,
        "append p50": percentile(single.latencies, 50) * 1e3,
        "append p95": percentile(single.latencies, 95) * 1e3,
        "events/s, ten an append": batches * len(EVENTS) / -(-len(EVENTS) // BATCH),
        "events read/s": read,
        "saves/s": saves,
    }


async def _read_reopened(storage: Storage, tasks: Sequence[str]) -> float:
    """Read the tasks with a fresh store, which keeps nothing in memory yet; events per second."""
    await storage.open()
    try:
        return await _read_tasks(storage, tasks)
    finally:
        await storage.close()


def _measure_bare_apsw(path: str, seconds: float) -> dict[str, float]:
    """Insert rows of about an event's size, each in a durable transaction of its own."""
    connection = apsw.Connection(path)
    connection.execute("pragma journal_mode = wal; pragma synchronous = full")
    connection.execute("create table log (task, seq, body, primary key (task, seq))")
    latencies: list[float] = []
    body = bytes(200)
    started = time.perf_counter()
    for seq in itertools.count():
        before = time.perf_counter()
        if before >= started + seconds:
            break
        connection.execute("insert into log values (?, ?, ?)", ("task", seq, body))
        latencies.append(time.perf_counter() - before)
    elapsed = time.perf_counter() - started
    connection.close()
    return {
        "appends/s": len(latencies) / elapsed,
        "append p50": percentile(latencies, 50) * 1e3,
        "append p95": percentile(latencies, 95) * 1e3,
    }


def _make(store: str, folder: str) -> Storage:
    if store == "memory":
        return MemoryStorage()
    return SqliteStorage(str(Path(folder, "bench.db")))


def _measure_rounds(options: Options, report: Report, seconds: float) -> None:
    wanted = options.wanted([*STORES, BARE_APSW])
    for _, writers in itertools.product(range(options.rounds), WRITERS):
        load = f"{writers} writer{'s' if writers > 1 else ''}"
        for subject in wanted:
            if subject == BARE_APSW and writers > 1:
                continue
            gc.collect()
            with tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder:
                if subject == BARE_APSW:
                    figures = _measure_bare_apsw(str(Path(folder, "bare.db")), seconds)
                else:
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        make = functools.partial(_make, subject, folder)
                        figures = runner.run(_measure(make, writers, seconds))
                report.add(load, subject, figures)


def main() -> None:
    """Measure and report."""
    options, _ = parse_options(__doc__, rounds=3)
    seconds = 0.2 if options.quick else 0.7
    report = Report("Stores: appends, reads and saves", METRICS)
    report.settings |= {"rounds": options.rounds, "seconds_per_figure": seconds} | folder_facts()
    _measure_rounds(options, report, seconds)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
