"""Agents that misbehave hurt their own task, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from palaver.engine.agent import Agent
from palaver.engine.engine import Submission
from palaver.engine.limits import Limits
from palaver.engine.log import read_all
from palaver.engine.outputs import Failed
from palaver.engine.recovery import Caretaker
from palaver.engine.turn import Turn
from palaver.model.content import Artifact, DataPart, TextPart
from palaver.model.task import TaskState
from palaver.storage.interfaces import Storage
from tests.engine.conftest import StartEngine, all_ended

Say = Callable[..., Submission]
WAIT = 10.0


def nested(depth: int) -> dict[str, Any]:
    """Return objects inside each other."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


async def leaves(_turn: Turn) -> str:
    """End the process, if it could."""
    raise SystemExit(3)


def leaves_in_a_thread(_turn: Turn) -> str:
    """End the process from a thread."""
    raise SystemExit(3)


async def interrupts(_turn: Turn) -> str:
    """Do as Ctrl-C does."""
    raise KeyboardInterrupt


async def cancels_itself(_turn: Turn) -> str:
    """Wait for something that was cancelled."""
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone
    return "never"


async def asks_nonsense(turn: Turn) -> str:
    """Ask what no JSON can say."""
    return await turn.ask(DataPart({1, 2}))


async def asks_twice(turn: Turn) -> str:
    """Ask two things at once."""
    answers = await asyncio.gather(turn.ask("a?"), turn.ask("b?"))
    return "".join(answers)


@pytest.mark.parametrize(
    "handler",
    [leaves, leaves_in_a_thread, interrupts, cancels_itself, asks_nonsense, asks_twice],
)
async def test_it_fails_alone(start: StartEngine, say: Say, handler: Callable[[Turn], Any]) -> None:
    """With the reason ``agent_error``; the engine goes on."""
    agent = Agent("bad")
    agent.skill("bad")(handler)
    agent.skill("good")(lambda _turn: "fine")
    engine = await start(agent)
    task = await engine.submit(say(agent, "bad"))
    failed = await engine.settled(task.id, WAIT)
    while not failed.terminal:
        with engine.subscribe(task.id, failed.seq) as subscription:
            await subscription.next(WAIT)
        failed = await engine.get(task.id)
    assert (failed.state, failed.reason) == (TaskState.FAILED, "agent_error")
    good = await engine.submit(say(agent, "good"))
    assert (await engine.settled(good.id, WAIT)).state is TaskState.COMPLETED
    await all_ended(engine)


async def test_a_handler_says_why_it_failed(start: StartEngine, say: Say) -> None:
    """The caller reads the text of ``Failed``; its cause stays in the log."""

    async def fails(_turn: Turn) -> str:
        raise Failed("The model cannot be reached.") from OSError("secret")

    agent = Agent("bad")
    agent.skill("bad")(fails)
    engine = await start(agent)
    failed = await engine.settled((await engine.submit(say(agent, "bad"))).id, WAIT)
    assert (failed.state, failed.reason) == (TaskState.FAILED, "failed")
    assert failed.status_message is not None
    assert failed.status_message.text == "The model cannot be reached."


@pytest.mark.parametrize(
    "output",
    [
        TextPart(42),  # type: ignore[arg-type]
        Artifact(id=123, parts=()),  # type: ignore[arg-type]
        Artifact(id="a", parts=("x",)),  # type: ignore[arg-type]
        nested(230),
        nested(300),
    ],
    ids=["text", "artifact id", "artifact parts", "deep", "deeper"],
)
async def test_what_could_not_be_read_again_is_not_stored(
    start: StartEngine, say: Say, storage: Storage, output: Any
) -> None:
    """It fails the task before it comes into the log, which stays readable."""

    async def bad(_turn: Turn) -> AsyncIterator[Any]:
        yield output

    agent = Agent("bad")
    agent.skill("bad")(bad)
    engine = await start(agent)
    task = await engine.submit(say(agent, "bad"))
    assert (await engine.settled(task.id, WAIT)).reason == "agent_error"
    assert len(await read_all(storage, task.id, 0)) == 3


async def test_what_was_put_out_does_not_change(start: StartEngine, say: Say) -> None:
    """A handler may go on with the object that it put out."""

    async def mutates(_turn: Turn) -> AsyncIterator[dict[str, int]]:
        value = {"n": 0}
        for number in range(3):
            value["n"] = number
            yield value

    agent = Agent("mutates")
    agent.skill("x")(mutates)
    engine = await start(agent)
    task = await engine.submit(say(agent, "x"))
    done = await engine.settled(task.id, WAIT)
    assert done.artifacts[0].parts == tuple(DataPart({"n": number}) for number in range(3))


async def test_a_handler_that_never_waits_stops_nobody(start: StartEngine, say: Say) -> None:
    """Others have their turn, and its own deadline holds."""

    async def spins(_turn: Turn) -> AsyncIterator[str]:
        while True:
            yield ""

    bad, good = Agent("spins", timeout=0.3), Agent("good")
    bad.skill("x")(spins)
    good.skill("x")(lambda _turn: "fine")
    engine = await start(bad, good)
    spinning = await engine.submit(say(bad, "x"))
    fine = await engine.submit(say(good, "x"))
    assert (await engine.settled(fine.id, WAIT)).state is TaskState.COMPLETED
    assert (await engine.settled(spinning.id, WAIT)).reason == "deadline"


async def test_a_question_that_is_given_up(start: StartEngine, say: Say) -> None:
    """The handler goes on without an answer, with its place and its deadline."""

    async def impatient(turn: Turn) -> str:
        try:
            return await asyncio.wait_for(turn.ask("Day?"), 0.05)
        except TimeoutError:
            return "no answer"

    agent = Agent("desk", timeout=WAIT)
    agent.skill("x")(impatient)
    engine = await start(agent, limits=Limits(max_running_tasks=1))
    task = await engine.submit(say(agent, "x"))
    with engine.subscribe(task.id, 0) as subscription:
        while (done := await engine.get(task.id)).state is not TaskState.COMPLETED:
            assert await subscription.next(WAIT)
    assert done.artifacts[0].text == "no answer"


async def test_retention_takes_every_page(start: StartEngine, say: Say, storage: Storage) -> None:
    """One sweep puts away all that is old, not a page of it."""
    agent = Agent("quick")
    agent.skill("x")(lambda _turn: "x")
    now = [1_000.0]
    limits = Limits(retention=10, task_retention=1_000, sweep_interval=3_600)
    engine = await start(agent, limits=limits, clock=lambda: now[0])
    for _ in range(300):
        task = await engine.submit(say(agent, "x"))
        await engine.settled(task.id, WAIT)
    now[0] += 11
    caretaker = Caretaker(engine, lambda: now[0])
    await caretaker.sweep()
    assert await storage.events.finished(now[0]) == []
    now[0] += 1_000
    await caretaker.sweep()
    assert (await storage.events.stats()).tasks == 0


async def test_a_clock_that_jumps_loses_no_task(start: StartEngine, say: Say) -> None:
    """Every heartbeat looks old at once: others get the time of a lease to beat again."""
    gate = asyncio.Event()
    agent = Agent("waits")

    @agent.skill("x")
    async def waits(_turn: Turn) -> str:
        await gate.wait()
        return "done"

    now = [1_000.0]
    limits = Limits(lease_ttl=30)
    here = await start(agent, limits=limits, clock=lambda: now[0])
    task = await here.submit(say(agent, "x"))
    there = await start(agent, limits=limits, clock=lambda: now[0])
    caretaker = Caretaker(there, lambda: now[0])
    await caretaker.take_in()
    now[0] += 3_600
    await caretaker.take_in()
    assert not there.runs_here(task.id)
    gate.set()
    assert (await here.settled(task.id, WAIT)).state is TaskState.COMPLETED
