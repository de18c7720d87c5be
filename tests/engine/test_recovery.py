"""Workers that die, stop or come back, and tasks that are looked after over time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from palaver.engine.agent import Agent
from palaver.engine.engine import Engine, Submission
from palaver.engine.limits import Limits
from palaver.engine.log import load_task, read_all
from palaver.engine.outputs import Output
from palaver.engine.recovery import Caretaker
from palaver.engine.turn import Turn
from palaver.engine.worker import is_gone, worker_id
from palaver.errors import CursorExpired, StaleWriter, TaskNotFound
from palaver.model.events import StatusChanged
from palaver.model.task import TaskState
from palaver.storage.interfaces import Storage
from tests.engine.conftest import StartEngine, all_ended

Say = Callable[..., Submission]
WAIT = 10.0


class Counter:
    """An agent that counts to four and waits before each number until the test lets it go on."""

    def __init__(self, *, restartable: bool, carries_on: bool = True) -> None:
        self.steps = asyncio.Semaphore(0)
        self.attempts: list[int] = []
        self.agent = Agent("counter", restartable=restartable)
        self._carries_on = carries_on
        self.agent.skill("count")(self._count)

    async def _count(self, turn: Turn) -> AsyncIterator[Output]:
        self.attempts.append(turn.attempt)
        done = len(turn.carry_on().split()) if self._carries_on else 0
        for number in range(done + 1, 5):
            await self.steps.acquire()
            yield f"{number} "

    async def go(self, steps: int) -> None:
        """Let it go on by some steps."""
        for _ in range(steps):
            self.steps.release()


async def die(engine: Engine) -> None:
    """End an engine as a crash does: nothing is written, passed on or given back."""
    for run in list(engine._runs.values()):
        await run.hand_over()
    await engine._caretaker.stop()


async def read_until(engine: Engine, task_id: str, seq: int) -> None:
    """Return once the task has that many events."""
    with engine.subscribe(task_id, 0) as subscription:
        while subscription.cursor < seq:
            await subscription.next(WAIT)


@pytest.mark.parametrize("carries_on", [True, False])
async def test_a_restartable_task_goes_on_elsewhere(
    start: StartEngine,
    say: Say,
    storage: Storage,
    *,
    carries_on: bool,
) -> None:
    """The next worker runs it again; its text goes on, or is replaced. The numbers have no gap."""
    counter = Counter(restartable=True, carries_on=carries_on)
    first = await start(counter.agent)
    task = await first.submit(say(counter.agent, "count"))
    await counter.go(2)
    await read_until(first, task.id, 4)
    await die(first)
    second = await start(counter.agent)
    await counter.go(4)
    done = await second.settled(task.id, WAIT)
    while not done.terminal:
        done = await second.settled(task.id, WAIT)
    assert (done.state, done.attempt) == (TaskState.COMPLETED, 2)
    assert done.artifacts[0].text == "1 2 3 4 "
    assert counter.attempts == [1, 2]
    events = await read_all(storage, task.id, 0)
    assert [event.seq for event in events] == list(range(1, done.seq + 1))
    chunks = [event for event in events if event.kind == "artifact_updated"]
    assert [chunk.append for chunk in chunks] == (
        [False, True, True, True] if carries_on else [False, True, False, True, True, True]
    )


async def test_any_other_task_fails_cleanly(start: StartEngine, say: Say) -> None:
    """With the reason ``worker_lost``; what it had put out is kept."""
    counter = Counter(restartable=False)
    first = await start(counter.agent)
    task = await first.submit(say(counter.agent, "count"))
    await counter.go(1)
    await read_until(first, task.id, 3)
    await die(first)
    second = await start(counter.agent)
    lost = await second.settled(task.id, WAIT)
    assert (lost.state, lost.reason) == (TaskState.FAILED, "worker_lost")
    assert lost.artifacts[0].text == "1 "
    assert counter.attempts == [1]


async def test_answers_are_not_asked_for_again(start: StartEngine, say: Say) -> None:
    """A rerun is given the answers that stand in the history, and asks what comes after them."""
    agent = Agent("desk", restartable=True)

    @agent.skill("book")
    async def book(turn: Turn) -> str:
        return f"{await turn.ask('Day?')} {await turn.ask('Hour?')}"

    first = await start(agent)
    task = await first.submit(say(agent, "book"))
    await first.settled(task.id, WAIT)
    await first.submit(say(agent, "monday", task_id=task.id))
    await first.settled(task.id, WAIT)
    await die(first)
    second = await start(agent)
    await read_until(second, task.id, 7)
    again = await second.get(task.id)
    assert (again.state, again.attempt) == (TaskState.INPUT_REQUIRED, 2)
    assert again.status_message is not None
    assert again.status_message.text == "Hour?"
    await second.submit(say(agent, "noon", task_id=task.id))
    assert (await second.settled(task.id, WAIT)).artifacts[0].text == "monday noon"


async def test_stopping_hands_over_or_fails(start: StartEngine, say: Say, storage: Storage) -> None:
    """After the grace a restartable task is left to others; any other is failed at once."""
    long, short = Counter(restartable=True), Counter(restartable=False)
    short.agent.id = "short"
    engine = await start(long.agent, short.agent)
    tasks = [await engine.submit(say(counter.agent, "count")) for counter in (long, short)]
    for task in tasks:
        await read_until(engine, task.id, 2)
    await engine.stop()
    kept, failed = [await load_task(storage, task.id) for task in tasks]
    assert (failed.state, failed.reason) == (TaskState.FAILED, "worker_lost")
    # A store that ends with the process has nobody to hand anything to.
    assert kept.state is (TaskState.WORKING if storage.durable else TaskState.FAILED)


async def test_tasks_at_work_have_a_grace(start: StartEngine, say: Say) -> None:
    """What ends in time is completed, not cut."""
    counter = Counter(restartable=False)
    engine = await start(counter.agent)
    task = await engine.submit(say(counter.agent, "count"))
    await read_until(engine, task.id, 2)
    stopping = asyncio.ensure_future(engine.stop(WAIT))
    await counter.go(4)
    await stopping
    assert (await engine.get(task.id)).state is TaskState.COMPLETED


async def test_a_task_is_followed_answered_and_cancelled_from_elsewhere(
    start: StartEngine,
    say: Say,
) -> None:
    """Two engines over one store: the log is the mailbox."""
    agent = Agent("desk")

    @agent.skill("book")
    async def book(turn: Turn) -> str:
        return await turn.ask("Day?") + await turn.ask("Hour?")

    here, there = await start(agent), await start(agent)
    task = await here.submit(say(agent, "book"))
    assert (await there.settled(task.id, WAIT)).state is TaskState.INPUT_REQUIRED
    answered = await there.submit(say(agent, "monday", task_id=task.id))
    assert answered.state is TaskState.WORKING
    assert (await here.settled(task.id, WAIT)).history[-1].text == "monday"
    await read_until(there, task.id, 5)
    assert (await there.cancel(task.id)).state is TaskState.CANCELED
    await all_ended(here)
    assert (await here.get(task.id)).state is TaskState.CANCELED


async def test_a_worker_that_lost_its_task_stops(
    start: StartEngine,
    say: Say,
    storage: Storage,
) -> None:
    """Its next event is refused, because the log has moved on; the handler is cancelled."""
    counter = Counter(restartable=False)
    engine = await start(counter.agent)
    task = await engine.submit(say(counter.agent, "count"))
    await read_until(engine, task.id, 2)
    head = await storage.events.head(task.id)
    taken = StatusChanged(
        seq=head + 1, at=time.time(), state=TaskState.FAILED, reason="worker_lost"
    )
    await storage.events.append(task.id, head, (taken,))
    await counter.go(4)
    await all_ended(engine)
    lost = await engine.get(task.id)
    assert (lost.state, lost.reason, lost.seq) == (TaskState.FAILED, "worker_lost", head + 1)
    with pytest.raises(StaleWriter):
        await storage.events.append(task.id, head, (taken,))


async def test_chunks_and_foreign_events_find_an_order(
    start: StartEngine,
    say: Say,
    storage: Storage,
) -> None:
    """An event of somebody else between two of ours: ours are numbered anew, none is lost."""
    counter = Counter(restartable=False)
    engine = await start(counter.agent)
    task = await engine.submit(say(counter.agent, "count"))
    await counter.go(2)
    await read_until(engine, task.id, 4)
    foreign = StatusChanged(seq=5, at=time.time(), state=TaskState.WORKING, percent=50.0)
    await storage.events.append(task.id, 4, (foreign,))
    await counter.go(2)
    done = await engine.settled(task.id, WAIT)
    assert done.artifacts[0].text == "1 2 3 4 "
    assert done.percent == 50.0
    assert [event.seq for event in await read_all(storage, task.id, 0)] == list(range(1, 9))


async def test_finished_tasks_are_put_away(start: StartEngine, say: Say, storage: Storage) -> None:
    """First their events make way for a snapshot, which says the same; later they are forgotten."""
    agent = Agent("quick")
    agent.skill("x")(lambda turn: turn.text)
    now = [1_000.0]
    limits = Limits(retention=100, task_retention=1_000, sweep_interval=3_600)
    engine = await start(agent, limits=limits, clock=lambda: now[0])
    task = await engine.submit(say(agent, "x hello"))
    done = await engine.settled(task.id, WAIT)
    caretaker = Caretaker(engine, lambda: now[0])
    await caretaker.sweep()
    assert len(await read_all(storage, task.id, 0)) == done.seq
    now[0] += 101
    await caretaker.sweep()
    with pytest.raises(CursorExpired):
        await read_all(storage, task.id, 0)
    assert await engine.get(task.id) == done
    assert await storage.states.list_versions(task.id) == [done.seq]
    now[0] += 1_000
    await caretaker.sweep()
    with pytest.raises(TaskNotFound):
        await engine.get(task.id)


def test_a_worker_of_this_machine_is_known_to_be_gone() -> None:
    """By its process; of any other machine only silence tells."""
    mine = worker_id(lambda prefix: f"{prefix}_1")
    assert not is_gone(mine)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert is_gone(mine.replace(f"@{os.getpid()}@", f"@{pid}@"))
    assert not is_gone(mine.replace(f"@{os.getpid()}@", f"@{pid}@") + "-elsewhere")
    assert not is_gone("worker_2")
    assert not is_gone("")
    assert not is_gone(mine.replace(f"@{os.getpid()}@", "@1@"))


def test_limits_can_be_changed_one_by_one() -> None:
    """They are values."""
    assert replace(Limits(), max_threads=1).max_threads == 1


async def test_agents_that_share_a_store_are_kept_apart(start: StartEngine, say: Say) -> None:
    """A server shows, answers and cancels the tasks of its own agents alone."""
    desk, other = Agent("desk"), Agent("other")

    @desk.skill("book")
    async def book(turn: Turn) -> str:
        return await turn.ask("Day?")

    other.skill("x")(lambda _turn: "x")
    here, there = await start(desk), await start(other)
    task = await here.submit(say(desk, "book"))
    await here.settled(task.id, WAIT)
    with pytest.raises(TaskNotFound):
        await there.get(task.id)
    with pytest.raises(TaskNotFound):
        await there.submit(say(other, "monday", task_id=task.id))
    with pytest.raises(TaskNotFound):
        await there.cancel(task.id)
    with pytest.raises(TaskNotFound):
        await there.submit(say(other, "x", task_id=task.id, may_create=True))
    assert (await here.get(task.id)).state is TaskState.INPUT_REQUIRED
