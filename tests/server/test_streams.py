"""Streams: a snapshot, then what happens, each event once, from wherever the client was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from palaver.app import App
from tests.server.agents import agent, gates
from tests.server.asgi import Exchange, ask, serving
from tests.server.spoken import GENERATIONS, V01, V03, V10, Spoken

each_generation = pytest.mark.parametrize("spoken", GENERATIONS, ids=lambda spoken: spoken.name)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Serve an agent whose tasks wait at gates, with quick heartbeats."""
    gates.clear()
    async with serving(agent, heartbeat_interval=0.02, retry_interval=0.25) as app:
        yield app


async def held(app: App, spoken: Spoken, gate: str = "g") -> tuple[Exchange, str]:
    """Return a stream that waits at the gate, and its task."""
    stream = spoken.ask(app, spoken.stream, spoken.said(f"hold {gate}", f"m-{gate}"))
    begun = await stream.events(3)
    return stream, spoken.task_id(begun[0].result)


def numbers(exchange: Exchange) -> list[int | None]:
    """Return the ids of the events."""
    return [block.id for block in exchange.blocks]


@each_generation
async def test_heartbeats(app: App, spoken: Spoken) -> None:
    """Section 1: a heartbeat is a comment line without a blank line, which ends no block."""
    stream, _ = await held(app, spoken)
    await stream.said(b": hb\n: hb\n")
    gates["g"].set()
    await stream.answered()
    assert b": hb\n\n" not in stream.body
    assert stream.body.count(b"\n\n") == len(stream.blocks)
    assert [block.retry for block in stream.blocks][:2] == [250, None]


@each_generation
async def test_a_second_reader(app: App, spoken: Spoken) -> None:
    """A late reader sees how the task stands, then each later event once, as the first one does."""
    first, task_id = await held(app, spoken)
    second = spoken.ask(app, spoken.subscribe, {"id": task_id})
    await second.events(1)
    gates["g"].set()
    await first.answered()
    await second.answered()
    assert numbers(first) == list(range(1, len(first.blocks) + 1))
    shown = [number for number in numbers(second) if number is not None]
    assert shown[0] == 3
    assert shown == list(range(3, len(first.blocks) + 1))
    live = {block.id: block.data["result"] for block in first.blocks}
    later = {block.id: block.data["result"] for block in second.blocks if (block.id or 0) > 3}
    assert later == {number: live[number] for number in later}


@each_generation
@pytest.mark.parametrize("where", ["header", "query"])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_task_at_work_is_resumed(app: App, spoken: Spoken, where: str, after: int) -> None:
    """Behind a cursor come the events after it, those that are stored and those to come."""
    first, task_id = await held(app, spoken)
    given: dict[str, Any] = {"query": f"after={after}"}
    if where == "header":
        given = {"last_event_id": str(after)}
    resumed = spoken.ask(app, spoken.subscribe, {"id": task_id}, **given)
    await resumed.events(3 - after)
    gates["g"].set()
    await first.answered()
    await resumed.answered()
    assert [block.data["result"] for block in resumed.blocks] == [
        block.data["result"] for block in first.blocks if (block.id or 0) > after
    ]
    assert numbers(resumed) == numbers(first)[after:]


@each_generation
@pytest.mark.parametrize("after", [0, 1, 3, 4])
async def test_a_finished_task_is_resumed(app: App, spoken: Spoken, after: int) -> None:
    """Behind a cursor before the end, a finished task tells the rest, and the stream closes."""
    whole = await spoken.ask(app, spoken.stream, spoken.said("a b", "m1")).answered()
    task_id = spoken.task_id(whole.blocks[0].result)
    again = spoken.ask(app, spoken.subscribe, {"id": task_id}, last_event_id=str(after))
    assert numbers(await again.answered()) == list(range(after + 1, 6))
    assert again.complete


@each_generation
@pytest.mark.parametrize("cursor", [None, "5"])
async def test_a_finished_task_is_followed(app: App, spoken: Spoken, cursor: str | None) -> None:
    """Section 4, rule 3: in 1.0 that is -32004; the older ones show how it ended, and close."""
    whole = await spoken.ask(app, spoken.stream, spoken.said("a b", "m1")).answered()
    task_id = spoken.task_id(whole.blocks[0].result)
    headers = {} if cursor is None else {"last_event_id": cursor}
    again = await spoken.ask(app, spoken.subscribe, {"id": task_id}, **headers).answered()
    if spoken is V10:
        assert again.json["error"]["code"] == -32004
        assert again.json["error"]["message"] == (
            "This operation is not supported: "
            f"task {task_id!r} is completed: there is nothing to follow"
        )
        return
    assert again.blocks[-1].id == 5
    assert again.blocks[-1].result["final"] is True
    assert spoken.state(again.blocks[-1].result) == "completed"


async def test_a_waiting_task_is_followed(app: App) -> None:
    """Section 4, rule 2: a subscriber of 1.0 stays while the task waits for input."""
    asked = await V10.ask(app, "SendStreamingMessage", V10.said("ask", "m1")).answered()
    task_id = V10.task_id(asked.blocks[0].result)
    follower = V10.ask(app, "SubscribeToTask", {"id": task_id})
    await follower.said(b": hb\n")
    await V10.task(app, "SendMessage", V10.said("Monday", "m2", task_id))
    await follower.answered()
    assert V10.state(follower.blocks[0].result) == "input-required"
    assert V10.state(follower.blocks[-1].result) == "completed"


@pytest.mark.parametrize("spoken", [V01, V03], ids=lambda spoken: spoken.name)
async def test_a_waiting_task_is_shown(app: App, spoken: Spoken) -> None:
    """Before 1.0 a status that asks for input is final, so the stream closes behind it."""
    asked = await spoken.ask(app, spoken.stream, spoken.said("ask", "m1")).answered()
    task_id = spoken.task_id(asked.blocks[0].result)
    follower = await spoken.ask(app, spoken.subscribe, {"id": task_id}).answered()
    assert follower.blocks[-1].result["final"] is True
    assert spoken.state(follower.blocks[-1].result) == "input-required"


async def test_a_message_that_is_sent_again_with_a_cursor(app: App) -> None:
    """A client whose first stream broke repeats its message with its cursor and misses nothing."""
    first, task_id = await held(app, V10)
    first.leave()
    await first.answered()
    said = V10.said("hold g", "m-g")
    again = V10.ask(app, "SendStreamingMessage", said, last_event_id="2")
    named = V10.said("hold g", "m-g", task_id)
    by_task = V10.ask(app, "SendStreamingMessage", named, last_event_id="2")
    await again.events(1)
    await by_task.events(1)
    gates["g"].set()
    await again.answered()
    await by_task.answered()
    assert numbers(again) == numbers(by_task)
    assert numbers(again)[0] == 3
    assert V10.state(again.blocks[-1].result) == "completed"


async def test_a_reader_that_leaves(app: App) -> None:
    """One reader that leaves takes nothing from the task nor from the others."""
    first, task_id = await held(app, V10)
    second = V10.ask(app, "SubscribeToTask", {"id": task_id})
    await second.events(1)
    first.leave()
    await first.answered()
    assert not first.complete
    gates["g"].set()
    await second.answered()
    assert V10.state(second.blocks[-1].result) == "completed"


async def test_a_reader_that_takes_nothing() -> None:
    """A reader that takes nothing for its time is dropped; the task goes on."""
    gates.clear()
    async with serving(agent, stream_silence_timeout=0.05, heartbeat_interval=0.02) as app:
        stream, task_id = await held(app, V10)
        stream.stalled = True
        await stream.answered()
        assert not stream.complete
        gates["g"].set()
        settled = await app.engine.settled(task_id, 5.0)
        assert settled.terminal


async def test_a_stream_without_events_ends(app: App) -> None:
    """With ``stream_idle_timeout`` a quiet stream ends, and says when to come back."""
    async with serving(agent, stream_idle_timeout=0.05, heartbeat_interval=0.02) as idle:
        stream, _ = await held(idle, V10, "quiet")
        await stream.answered()
        assert stream.complete
        assert stream.body.endswith(b"retry: 1000\n")
        gates["quiet"].set()


async def test_a_drain_ends_streams_whose_tasks_are_passed_on() -> None:
    """When the server stops, a stream whose task goes on elsewhere ends with a hint."""
    async with serving(agent, heartbeat_interval=5.0) as app:
        asked = await V10.ask(app, "SendStreamingMessage", V10.said("ask", "m1")).answered()
        task_id = V10.task_id(asked.blocks[0].result)
        follower = V10.ask(app, "SubscribeToTask", {"id": task_id})
        await follower.events(1)
        await app.drain()
        await follower.answered()
        assert follower.complete
        assert V10.state(follower.blocks[0].result) == "input-required"


async def test_a_store_that_goes_while_it_streams(app: App) -> None:
    """A stream whose store is gone ends with an error in its last block."""
    stream, _ = await held(app, V10)
    await app.storage.close()
    await stream.answered()
    assert stream.blocks[-1].data["error"]["code"] == -32010
    assert stream.blocks[-1].id is None
    await app.storage.open()


async def test_a_cursor_whose_events_are_no_longer_kept(tmp_path: Path) -> None:
    """Behind an expired cursor comes a full snapshot, and what follows it."""
    kept = {"store": str(tmp_path / "t.db"), "retention": 0.01, "sweep_interval": 0.02}
    async with serving(agent, **kept) as app:
        whole = await V03.ask(app, "message/stream", V03.said("a b", "m1")).answered()
        task_id = V03.task_id(whole.blocks[0].result)
        async with asyncio.timeout(10):
            while True:
                again = V03.ask(app, "tasks/resubscribe", {"id": task_id}, last_event_id="2")
                await again.answered()
                if again.blocks[0].result["kind"] == "task":
                    break
        assert V03.state(again.blocks[0].result) == "completed"
        assert again.blocks[-1].id == 5
        assert again.blocks[-1].result["final"] is True


@pytest.mark.parametrize("length", [0, 1])
async def test_history_on_a_stream(app: App, length: int) -> None:
    """``historyLength`` holds for the task that opens a stream, too."""
    said = V10.said("x", "m1", historyLength=length)
    stream = await V10.ask(app, "SendStreamingMessage", said).answered()
    assert len(stream.blocks[0].result["task"].get("history", [])) == length


async def test_a_client_that_leaves_half_a_body(app: App) -> None:
    """A request whose client left before its body was whole gets no answer."""
    exchange = ask(app, [b"{", b""], "/a2a")
    exchange.incoming[-1]["more_body"] = True
    exchange.leave()
    await exchange.answered()
    assert exchange.status == 0
