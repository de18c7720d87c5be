"""Tasks from their beginning to their end, over each store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from palaver.auth.principal import Principal
from palaver.engine.agent import Agent
from palaver.engine.engine import Engine, Submission
from palaver.engine.limits import Limits
from palaver.engine.log import read_all
from palaver.engine.outputs import Output, Progress, Rejected
from palaver.engine.turn import Turn
from palaver.errors import (
    ConversationMismatch,
    MessageReused,
    Overloaded,
    Stopping,
    TaskBusy,
    TaskFinished,
    TaskNotFound,
    UnknownAgent,
)
from palaver.model.content import Artifact, DataPart, FilePart, Message, TextPart
from palaver.model.events import CallActionRequested
from palaver.model.task import Task, TaskState, fold
from palaver.storage.interfaces import Storage
from tests.engine.conftest import StartEngine, all_ended

Say = Callable[..., Submission]
WAIT = 10.0
"""Seconds that a test waits for what must come at once; never reached."""


async def run(engine: Engine, submission: Submission) -> Task:
    """Submit, and return the task once it settles."""
    task = await engine.submit(submission)
    return await engine.settled(task.id, WAIT)


def agent_of(handler: Callable[[Turn], Any], **options: Any) -> Agent:
    """Return an agent whose one skill is ``handler``."""
    agent = Agent("worker", **options)
    agent.skill("work", default=True)(handler)
    return agent


async def streams(turn: Turn) -> AsyncIterator[Output]:
    """Yield the words, as an async generator."""
    for word in turn.text.split():
        yield word


async def returns(turn: Turn) -> str:
    """Return the words joined, as a coroutine."""
    return "".join(turn.text.split())


def returned(turn: Turn) -> AsyncIterator[Output]:
    """Return an async generator, as a plain function."""
    return streams(turn)


def plain(turn: Turn) -> str:
    """Return the words joined, as a plain function."""
    return "".join(turn.text.split())


def generates(turn: Turn) -> Iterator[Output]:
    """Yield the words, as a generator."""
    yield from turn.text.split()


async def emits(turn: Turn) -> None:
    """Emit the words, as a coroutine that returns nothing."""
    for word in turn.text.split():
        await turn.emit(word)


class Callable_:  # noqa: N801 - the point is that it is no function
    """An object that can be called."""

    async def __call__(self, turn: Turn) -> str:
        """Return the words joined."""
        return "".join(turn.text.split())


@pytest.mark.parametrize(
    "handler",
    [streams, returns, plain, generates, emits, Callable_(), returned],
    ids=["async-generator", "coroutine", "function", "generator", "emit", "object", "returned"],
)
async def test_every_kind_of_handler_answers(
    start: StartEngine,
    say: Say,
    handler: Callable[[Turn], Any],
) -> None:
    """One text, one artifact, however the handler is written."""
    agent = agent_of(handler)
    task = await run(await start(agent), say(agent, "one two three"))
    assert task.state is TaskState.COMPLETED
    assert [artifact.text for artifact in task.artifacts] == ["onetwothree"]


async def test_the_log_is_numbered_from_one_and_folds_to_the_task(
    start: StartEngine,
    say: Say,
    storage: Storage,
) -> None:
    """What is stored is the truth: the fold of it is what ``get`` returns."""
    agent = agent_of(streams)
    engine = await start(agent)
    task = await run(engine, say(agent, "a b c"))
    events = await read_all(storage, task.id, 0)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert fold(task.id, events) == await engine.get(task.id) == task


async def test_everything_that_may_be_put_out(start: StartEngine, say: Say) -> None:
    """Text and parts gather in one artifact; whole artifacts stand beside it."""
    report = Artifact(id="report", parts=(TextPart("r"),), name="Report")

    async def mixed(_turn: Turn) -> AsyncIterator[Output]:
        yield "text "
        yield ""
        yield TextPart("more")
        yield {"n": 1}
        yield FilePart(uri="https://example.org/x", media_type="image/png")
        yield report
        yield Progress(50, "half")
        yield "\ud800 is no character"

    agent = agent_of(mixed)
    task = await run(await start(agent), say(agent, "go"))
    response, other = task.artifacts
    assert response.parts == (
        TextPart("text more"),
        DataPart({"n": 1}),
        FilePart(uri="https://example.org/x", media_type="image/png"),
        TextPart("? is no character"),
    )
    assert other == report
    assert task.percent == 50


@pytest.mark.parametrize("output", [3, b"bytes", [1], {"x": object()}, DataPart({1, 2})])
async def test_what_no_handler_may_put_out_fails_the_task(
    start: StartEngine,
    say: Say,
    output: Any,
) -> None:
    """The caller reads a safe text; the log has the reason."""

    async def wrong(_turn: Turn) -> AsyncIterator[Any]:
        yield output

    agent = agent_of(wrong)
    task = await run(await start(agent), say(agent, "go"))
    assert (task.state, task.reason) == (TaskState.FAILED, "agent_error")


async def test_a_failing_handler_keeps_its_secrets(start: StartEngine, say: Say) -> None:
    """What was put out before stays; the detail does not leave the process."""

    async def fails(_turn: Turn) -> AsyncIterator[Output]:
        yield "so far"
        message = "password is hunter2"
        raise RuntimeError(message)

    agent = agent_of(fails)
    task = await run(await start(agent), say(agent, "go"))
    assert task.state is TaskState.FAILED
    assert task.reason == "agent_error"
    assert task.artifacts[0].text == "so far"
    assert task.status_message is not None
    assert task.status_message.text == "The agent failed."


async def test_a_handler_may_reject(start: StartEngine, say: Say) -> None:
    """Its text is meant for the caller."""

    async def rejects(_turn: Turn) -> None:
        message = "not today"
        raise Rejected(message)

    agent = agent_of(rejects)
    task = await run(await start(agent), say(agent, "go"))
    assert task.state is TaskState.REJECTED
    assert task.status_message is not None
    assert task.status_message.text == "not today"


async def test_a_deadline_ends_a_task(start: StartEngine, say: Say) -> None:
    """The handler is cancelled, and the reason is told."""
    cancelled = asyncio.Event()

    async def sleeps(_turn: Turn) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    agent = agent_of(sleeps, timeout=0.05)
    task = await run(await start(agent), say(agent, "go"))
    assert (task.state, task.reason) == (TaskState.FAILED, "deadline")
    assert cancelled.is_set()


async def test_a_timeout_inside_of_the_handler_is_its_own_failure(
    start: StartEngine,
    say: Say,
) -> None:
    """Only the agent's deadline is called a deadline."""

    async def impatient(_turn: Turn) -> None:
        raise TimeoutError

    agent = agent_of(impatient)
    task = await run(await start(agent), say(agent, "go"))
    assert (task.state, task.reason) == (TaskState.FAILED, "agent_error")


async def test_too_many_events_end_a_task(start: StartEngine, say: Say) -> None:
    """A handler that never stops fills no store."""

    async def endless(_turn: Turn) -> AsyncIterator[Output]:
        while True:
            yield "x"

    agent = agent_of(endless)
    engine = await start(agent, limits=Limits(max_task_events=500))
    task = await run(engine, say(agent, "go"))
    assert (task.state, task.reason, task.seq) == (TaskState.FAILED, "too_many_events", 501)


# --- asking ---


async def asks(turn: Turn) -> str:
    """Ask twice."""
    first = await turn.ask("Day?")
    second = await turn.ask("Hour?")
    return f"{turn.text} {first} {second} ({len(turn.history)})"


async def test_a_task_asks_and_goes_on(start: StartEngine, say: Say) -> None:
    """Questions and answers stand in the history, in order."""
    agent = agent_of(asks)
    engine = await start(agent)
    task = await run(engine, say(agent, "book"))
    assert task.state is TaskState.INPUT_REQUIRED
    assert task.status_message is not None
    assert task.status_message.text == "Day?"
    going_on = await engine.submit(say(agent, "monday", task_id=task.id))
    assert going_on.state is TaskState.WORKING
    assert (await engine.settled(task.id, WAIT)).state is TaskState.INPUT_REQUIRED
    done = await run(engine, say(agent, "noon", task_id=task.id))
    assert done.artifacts[0].text == "book monday noon (3)"
    assert [message.text for message in done.history] == ["book", "Day?", "monday", "Hour?", "noon"]


async def test_nobody_answers(start: StartEngine, say: Say) -> None:
    """Waiting has an end, too."""
    agent = agent_of(asks)
    engine = await start(agent, limits=Limits(input_timeout=0.05))
    submitted = await engine.submit(say(agent, "book"))
    with engine.subscribe(submitted.id, 0) as subscription:
        states = []
        while TaskState.FAILED not in states:
            states += [getattr(e, "state", None) for e in await subscription.next(WAIT)]
    task = await engine.get(submitted.id)
    assert (task.state, task.reason) == (TaskState.FAILED, "input_timeout")


async def test_waiting_for_input_takes_no_place_and_no_time(start: StartEngine, say: Say) -> None:
    """With one place for running tasks, another task runs while the first waits."""
    agent = agent_of(asks, timeout=0.5)
    other = Agent("other")
    other.skill("x")(lambda _turn: "done")
    engine = await start(agent, other, limits=Limits(max_running_tasks=1))
    waiting = await run(engine, say(agent, "book"))
    assert (await run(engine, say(other, "x"))).state is TaskState.COMPLETED
    with engine.subscribe(waiting.id, waiting.seq) as subscription:
        assert await subscription.next(0.6) == []  # longer than the agent's time
    await run(engine, say(agent, "monday", task_id=waiting.id))
    assert (await run(engine, say(agent, "noon", task_id=waiting.id))).state is TaskState.COMPLETED


async def test_an_empty_question_is_a_mistake(start: StartEngine, say: Say) -> None:
    """Nobody could answer it."""

    async def mumbles(turn: Turn) -> str:
        return await turn.ask("  ")

    agent = agent_of(mumbles)
    assert (await run(await start(agent), say(agent, "x"))).reason == "agent_error"


# --- going on, repeating ---


async def test_a_message_to_a_task_that_did_not_ask(start: StartEngine, say: Say) -> None:
    """A working task and a finished one take none, and say why."""
    gate = asyncio.Event()

    async def waits(_turn: Turn) -> str:
        await gate.wait()
        return "done"

    agent = agent_of(waits)
    engine = await start(agent)
    task = await engine.submit(say(agent, "go"))
    with pytest.raises(TaskBusy, match="did not ask for input"):
        await engine.submit(say(agent, "more", task_id=task.id))
    gate.set()
    await engine.settled(task.id, WAIT)
    with pytest.raises(TaskFinished, match="never changes"):
        await engine.submit(say(agent, "more", task_id=task.id))


async def test_what_does_not_exist_is_said_to_be_missing(start: StartEngine, say: Say) -> None:
    """Agents, tasks, conversations, and the tasks of others."""
    agent = agent_of(asks)
    engine = await start(agent)
    with pytest.raises(UnknownAgent):
        await engine.submit(say(Agent("nobody"), "x"))
    with pytest.raises(TaskNotFound):
        await engine.submit(say(agent, "x", task_id="unknown"))
    with pytest.raises(TaskNotFound):
        await engine.cancel("unknown")
    mine = await run(engine, say(agent, "x", principal=Principal("me")))
    with pytest.raises(TaskNotFound):
        await engine.get(mine.id, Principal("you"))
    with pytest.raises(ConversationMismatch):
        await engine.submit(
            say(agent, "x", task_id=mine.id, conversation_id="other", principal=Principal("me")),
        )


async def test_a_repeated_message_finds_its_task(start: StartEngine, say: Say) -> None:
    """Creation is idempotent by the id of the message, and an answer is taken once."""
    agent = agent_of(asks)
    engine = await start(agent)
    task = await run(engine, say(agent, "book", message_id="m"))
    assert (await engine.submit(say(agent, "book", message_id="m"))).id == task.id
    with pytest.raises(MessageReused, match="other content"):
        await engine.submit(say(agent, "cook", message_id="m"))
    await run(engine, say(agent, "monday", message_id="a", task_id=task.id))
    again = await engine.submit(say(agent, "monday", message_id="a", task_id=task.id))
    assert [message.text for message in again.history].count("monday") == 1
    with pytest.raises(MessageReused):
        await engine.submit(say(agent, "tuesday", message_id="a", task_id=task.id))


async def test_an_earlier_message_can_be_looked_for(start: StartEngine, say: Say) -> None:
    """Whoever resumes begins nothing: the message is known, or it is not."""
    agent = agent_of(asks)
    engine = await start(agent)
    task = await run(engine, say(agent, "book", message_id="m"))
    assert (await engine.find(say(agent, "book", message_id="m"))).id == task.id
    assert (await engine.find(say(agent, "monday", task_id=task.id))).id == task.id
    with pytest.raises(TaskNotFound, match="no task of message 'never'"):
        await engine.find(say(agent, "book", message_id="never"))
    assert engine.open_tasks == 1


async def test_many_at_once_begin_one_task(start: StartEngine, say: Say) -> None:
    """The same message from twenty connections runs the agent once."""
    runs = 0

    async def counts(_turn: Turn) -> str:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return "done"

    agent = agent_of(counts)
    engine = await start(agent)
    tasks = await asyncio.gather(
        *(engine.submit(say(agent, "x", message_id="same")) for _ in range(20)),
    )
    assert len({task.id for task in tasks}) == 1
    await engine.settled(tasks[0].id, WAIT)
    assert runs == 1


async def test_a_client_that_makes_the_ids(start: StartEngine, say: Say) -> None:
    """0.1: an unknown id begins a task, a repeated request finds it, an answer goes on with it."""
    agent = agent_of(asks)
    engine = await start(agent)
    mine = {"task_id": "mine/1", "may_create": True}
    both = await asyncio.gather(*(engine.submit(say(agent, "book", **mine)) for _ in range(2)))
    assert {task.id for task in both} == {"mine/1"}
    await engine.settled("mine/1", WAIT)
    await run(engine, say(agent, "book", **mine))
    done = await run(engine, say(agent, "noon", **mine))
    assert done.artifacts[0].text == "book book noon (3)"
    assert (await engine.submit(say(agent, "noon", **mine))).state is TaskState.COMPLETED
    with pytest.raises(TaskFinished):
        await engine.submit(say(agent, "other", **mine))


# --- stopping ---


async def test_cancelling_stops_the_handler(start: StartEngine, say: Say) -> None:
    """The task is canceled when ``cancel`` returns; what was put out stays."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def long(_turn: Turn) -> AsyncIterator[Output]:
        yield "first"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            yield "never stored"

    agent = agent_of(long)
    engine = await start(agent)
    task = await engine.submit(say(agent, "go"))
    await begun.wait()
    canceled = await engine.cancel(task.id)
    assert canceled.state is TaskState.CANCELED
    await cancelled.wait()
    assert canceled.artifacts[0].text == "first"
    assert await engine.get(task.id) == canceled
    with pytest.raises(TaskFinished):
        await engine.cancel(task.id)


async def test_cancelling_a_task_that_waits(start: StartEngine, say: Say) -> None:
    """For input, or for its turn to run."""
    gate = asyncio.Event()

    async def waits(_turn: Turn) -> None:
        await gate.wait()

    agent = agent_of(asks)
    slow = Agent("slow")
    slow.skill("x")(waits)
    engine = await start(agent, slow, limits=Limits(max_running_tasks=1))
    asking = await run(engine, say(agent, "book"))
    assert (await engine.cancel(asking.id)).state is TaskState.CANCELED
    running = await engine.submit(say(slow, "x"))
    queued = await engine.submit(say(slow, "x"))
    assert (await engine.cancel(queued.id)).state is TaskState.CANCELED
    gate.set()
    assert (await engine.settled(running.id, WAIT)).state is TaskState.COMPLETED


async def test_a_stubborn_handler_changes_nothing(start: StartEngine, say: Say) -> None:
    """It may swallow the cancellation: the task is canceled all the same."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def stubborn(_turn: Turn) -> AsyncIterator[Output]:
        begun.set()
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            await let_go.wait()
        yield "too late"

    agent = agent_of(stubborn)
    engine = await start(agent)
    task = await engine.submit(say(agent, "go"))
    await begun.wait()
    assert (await engine.cancel(task.id)).state is TaskState.CANCELED
    let_go.set()
    await all_ended(engine)
    assert (await engine.get(task.id)).artifacts == ()


async def test_a_plain_function_can_see_that_it_should_stop(start: StartEngine, say: Say) -> None:
    """A thread cannot be cancelled: it can look."""
    loop = asyncio.get_running_loop()
    begun, seen = asyncio.Event(), asyncio.Event()

    def looks(turn: Turn) -> None:
        loop.call_soon_threadsafe(begun.set)
        while not turn.stopped:
            pass
        loop.call_soon_threadsafe(seen.set)

    agent = agent_of(looks)
    engine = await start(agent)
    task = await engine.submit(say(agent, "go"))
    await begun.wait()
    await engine.cancel(task.id)
    await asyncio.wait_for(seen.wait(), WAIT)


# --- bounds ---


async def test_places_are_bounded(start: StartEngine, say: Say) -> None:
    """Tasks beyond the places wait as submitted; beyond all bounds they are refused."""
    gate, both = asyncio.Event(), asyncio.Event()
    running = most = 0

    async def waits(_turn: Turn) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            both.set()
        await gate.wait()
        running -= 1

    agent = agent_of(waits)
    engine = await start(agent, limits=Limits(max_running_tasks=2, max_open_tasks=5))
    tasks = [await engine.submit(say(agent, "x")) for _ in range(5)]
    with pytest.raises(Overloaded, match="5 tasks are open"):
        await engine.submit(say(agent, "x"))
    assert (await engine.get(tasks[4].id)).state is TaskState.SUBMITTED
    await both.wait()
    gate.set()
    for task in tasks:
        assert (await engine.settled(task.id, WAIT)).state is TaskState.COMPLETED
    assert most == 2


async def test_a_blocking_caller_gets_the_task_as_it_stands(start: StartEngine, say: Say) -> None:
    """Waiting for a task that does not settle has an end."""
    agent = agent_of(lambda _turn: asyncio.Event().wait())
    engine = await start(agent)
    task = await engine.submit(say(agent, "x"))
    assert (await engine.settled(task.id, 0.05)).state is TaskState.WORKING


# --- acting on a call ---


@pytest.mark.parametrize("in_thread", [False, True])
async def test_actions_on_a_call_are_events(
    start: StartEngine,
    say: Say,
    storage: Storage,
    *,
    in_thread: bool,
) -> None:
    """From a coroutine, and from a thread."""

    def acts(turn: Turn) -> str:
        turn.transfer("100")
        turn.hang_up()
        return "bye"

    async def acts_too(turn: Turn) -> str:
        return acts(turn)

    agent = agent_of(acts if in_thread else acts_too)
    task = await run(await start(agent), say(agent, "x"))
    events = await read_all(storage, task.id, 0)
    assert [
        (event.action, event.target) for event in events if isinstance(event, CallActionRequested)
    ] == [("transfer", "100"), ("hang_up", None)]


# --- what a turn knows ---


async def test_a_turn_knows_what_was_said_before(start: StartEngine, say: Say) -> None:
    """The context of the submission, as it was; it is no part of the task's history."""
    before = tuple(
        Message(id=f"c{number}", role=role, parts=(TextPart(text),), language="pt-BR")
        for number, (role, text) in enumerate([("user", "oi"), ("agent", "olá")])
    )
    seen: list[tuple[Message, ...]] = []

    async def looks(turn: Turn) -> None:
        seen.extend([turn.context, turn.history])

    agent = agent_of(looks)
    task = await run(await start(agent), say(agent, "x", context=before))
    assert seen == [before, task.history]
    assert task.context == before


def test_context_is_bounded() -> None:
    """It is stored with each task."""
    message = Message(id="m", role="user", parts=())
    Submission(agent_id="a", message=message, wire="test", context=(message,) * 64)
    with pytest.raises(ValueError, match="context: at most 64 messages, not 65"):
        Submission(agent_id="a", message=message, wire="test", context=(message,) * 65)


@pytest.mark.parametrize(
    ("text", "given", "language"),
    [
        ("good day", None, "en"),
        ("Bom dia!", None, "pt-BR"),
        ("good day", "fr", "fr"),
        ("anything else", None, None),
    ],
)
async def test_a_turn_knows_its_language(
    start: StartEngine, say: Say, text: str, given: str | None, language: str | None
) -> None:
    """Of the message, else of the phrase that the text equals."""
    agent = Agent("polite")
    seen = []

    @agent.skill("greet", phrases={"en": ("good day",), "pt-BR": ("bom dia",)})
    async def greet(turn: Turn) -> None:
        seen.append(turn.language)

    said = say(agent, text)
    await run(await start(agent), replace(said, message=replace(said.message, language=given)))
    assert seen == [language]


# --- following ---


async def test_a_slow_reader_only_lags(start: StartEngine, say: Say) -> None:
    """A reader that comes late, or rests, reads each event once and in order."""

    async def many(_turn: Turn) -> AsyncIterator[Output]:
        for number in range(1_000):
            yield f"{number} "
            if number % 100 == 0:
                await asyncio.sleep(0)

    agent = agent_of(many)
    engine = await start(agent)
    task = await engine.submit(say(agent, "x"))
    seen: list[int] = []
    with engine.subscribe(task.id, 0) as subscription:
        await engine.settled(task.id, WAIT)
        while len(seen) < 1_003:
            seen += [event.seq for event in await subscription.next(WAIT)]
        assert await subscription.next(0.01) == []
    assert seen == list(range(1, 1_004))


async def test_wake_returns_without_events(start: StartEngine, say: Say) -> None:
    """Whoever holds the reader can make it look up, once for each call."""
    agent = agent_of(lambda _turn: asyncio.Event().wait())
    engine = await start(agent)
    task = await engine.submit(say(agent, "x"))
    with engine.subscribe(task.id, 0) as subscription:
        while subscription.cursor < 2:
            await subscription.next(WAIT)
        reading = asyncio.ensure_future(subscription.next())
        await asyncio.sleep(0)
        subscription.wake()
        assert await reading == []
        subscription.wake()
        assert await subscription.next() == []
        assert await subscription.next(0.01) == []


async def test_an_engine_that_stopped_takes_nothing(start: StartEngine, say: Say) -> None:
    """It says so, and when to come back."""
    agent = agent_of(plain)
    engine = await start(agent)
    await engine.stop()
    with pytest.raises(Stopping, match="try again"):
        await engine.submit(say(agent, "x"))
