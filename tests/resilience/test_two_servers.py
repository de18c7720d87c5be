"""Two processes over one SQLite file: any of them serves any task."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import apsw
import httpx2

from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import TaskReceived
from palaver.testing.fault_proxy import FaultProxy
from tests.conftest import Server
from tests.resilience.conftest import Gate, Start
from tests.resilience.following import (
    Clients,
    Followed,
    ended,
    follow,
    following,
    raw_message,
    raw_request,
    report,
    wanted,
)


async def test_followed_and_canceled_elsewhere(start: Start) -> None:
    """A task of A is followed live on B and canceled there; A's own reader sees it at once."""
    a, b = await asyncio.gather(start(), start())
    async with Clients() as clients:
        here, there = await clients.a2a(a.port), await clients.a2a(b.port)
        seen, reading = following(here.stream("count 300 100"))
        await seen.reached(20)
        other, other_reading = following(there.resume(seen.task_id, 0))
        await other.reached(100)
        began = time.perf_counter()
        answer = await there.cancel(seen.task_id)
        await asyncio.gather(reading, other_reading)
        took = time.perf_counter() - began
    assert isinstance(answer, TaskReceived)
    assert answer.state is TaskState.CANCELED
    assert seen.whole()
    assert other.numbers == seen.numbers
    assert other.text == seen.text
    assert seen.state is other.state is TaskState.CANCELED
    report(f"{len(seen.numbers)} events on both; both readers ended {took:.3f} s after the cancel")
    assert took < 2


async def test_answered_elsewhere(start: Start) -> None:
    """A task that asks on A takes its answer on B, and goes on where it runs."""
    a, b = await asyncio.gather(start(), start())
    async with Clients() as clients:
        here, there = await clients.a2a(a.port), await clients.a2a(b.port)
        asked = await here.send("ask")
        assert isinstance(asked, TaskReceived)
        assert asked.state is TaskState.INPUT_REQUIRED
        seen, reading = following(here.resume(asked.task_id, 0))
        await seen.reached(3)
        began = time.perf_counter()
        answered = await there.send("hello", task_id=asked.task_id)
        took = time.perf_counter() - began
        await reading
    assert isinstance(answered, TaskReceived)
    assert answered.state is TaskState.COMPLETED
    assert answered.artifacts[0].text == "You said hello."
    assert seen.whole()
    assert seen.state is TaskState.COMPLETED
    report(f"answered on the other process, completed {took:.3f} s later")


async def test_one_message_to_both_at_once(start: Start) -> None:
    """The same message id, sent 20 times to each of both at once, makes one task."""
    a, b = await asyncio.gather(start(), start())
    message = raw_message("echo once")
    head, _, body = raw_request("SendMessage", message).partition(b"\r\n\r\n")
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
    assert head.startswith(b"POST /a2a")
    async with httpx2.AsyncClient(timeout=20, trust_env=False) as http:
        answers = await asyncio.gather(
            *(
                http.post(f"{server.url}/a2a", content=body, headers=headers)
                for server in (a, b) * 20
            )
        )
    tasks = [answer.json()["result"]["task"] for answer in answers]
    assert len({task["id"] for task in tasks}) == 1
    assert {task["status"]["state"] for task in tasks} == {"TASK_STATE_COMPLETED"}
    report(f"{len(tasks)} sends of one message to two processes: 1 task")


async def test_a_killed_process_is_replaced(start: Start) -> None:
    """A is killed: B takes its restartable task over, and fails the one that is not."""
    a, b = await asyncio.gather(start(), start())
    async with FaultProxy(a.port) as proxy, Clients() as clients:
        client = await clients.a2a(proxy.port)
        there = await clients.a2a(b.port)
        seen, reading = following(client.stream("count 300 150"))
        lost, losing = following(client.stream("once 300 150"))
        await asyncio.gather(seen.reached(200), lost.reached(200))
        watching = asyncio.create_task(follow(there.resume(seen.task_id, 0)))
        began = time.perf_counter()
        a.kill()
        proxy.upstream_port = b.port
        await losing
        noticed = time.perf_counter() - began
        await reading
        other = await watching
    assert seen.whole()
    assert seen.text == other.text == wanted(300)
    assert seen.numbers == other.numbers
    assert lost.whole()
    assert (lost.state, lost.metadata[-1]["reason"]) == (TaskState.FAILED, "worker_lost")
    report(f"taken over {noticed:.2f} s after the kill; {len(seen.numbers)} events once")
    assert noticed < 2


async def stop_between_writes(server: Server, store: Path) -> None:
    """Let the process stand still at a moment when it does not hold the lock of the file.

    Within a write it would keep everybody from writing until it goes on: so is SQLite.
    """
    connection = apsw.Connection(str(store))
    connection.set_busy_timeout(0)
    try:
        async with asyncio.timeout(20):
            while True:
                server.process.send_signal(signal.SIGSTOP)
                try:
                    connection.execute("BEGIN IMMEDIATE; ROLLBACK")
                except apsw.BusyError:
                    server.process.send_signal(signal.SIGCONT)
                    await asyncio.sleep(0)
                else:
                    return
    finally:
        connection.close()


async def test_a_process_that_was_away(start: Start, tmp_path: Path) -> None:
    """A stands still for longer than its lease: B takes over, and A adds nothing afterwards."""
    a, b = await asyncio.gather(start(lease_ttl=0.6), start(lease_ttl=0.6))
    async with Clients() as clients:
        here, there = await clients.a2a(a.port), await clients.a2a(b.port)
        seen = await follow(here.stream("count 300"), most=100)
        await stop_between_writes(a, tmp_path / "tasks.db")
        try:
            other = Followed()
            watching = asyncio.create_task(follow(there.resume(seen.task_id, 0), other))
            async with asyncio.timeout(10):
                while not any(known.get("attempt") == 2 for known in other.metadata):
                    await other.reached(len(other.numbers) + 1)
        finally:
            a.process.send_signal(signal.SIGCONT)
        await watching
        again = await follow(here.resume(seen.task_id, 0))
    assert other.whole()
    assert other.text == wanted(300)
    assert again.numbers == other.numbers
    assert other.state is TaskState.COMPLETED
    assert a.stop() is None


async def test_a_follower_that_stops(start: Start) -> None:
    """B stops while it follows a busy task of A: its stream ends well and at once."""
    a, b = await asyncio.gather(start(), start())
    async with FaultProxy(b.port) as proxy, Clients() as clients:
        here, there = await clients.a2a(a.port), await clients.a2a(proxy.port)
        seen, reading = following(here.stream("count 600"))
        await seen.reached(5)
        other, other_reading = following(there.resume(seen.task_id, 0))
        await other.reached(50)
        began = time.perf_counter()
        proxy.upstream_port = a.port
        b.process.send_signal(signal.SIGTERM)
        code = await ended(b, 15)
        took = time.perf_counter() - began
        await asyncio.gather(reading, other_reading)
    assert code == 0
    assert other.whole()
    assert other.numbers == seen.numbers
    report(f"a follower stopped in {took:.2f} s; its reader lost nothing")
    assert took < 1.5


async def test_a_question_outlives_its_process(start: Start, gate: Gate) -> None:
    """A waits for an answer and is killed: the task that cannot run again fails on B, once."""
    a, b = await asyncio.gather(start(), start())
    async with Clients() as clients:
        here, there = await clients.a2a(a.port), await clients.a2a(b.port)
        asked = await here.send("ask")
        assert isinstance(asked, TaskReceived)
        _, reading = following(there.resume(asked.task_id, 0))
        a.kill()
        seen = await reading
    assert seen.whole()
    assert seen.states.count(TaskState.FAILED) == 1
    assert seen.metadata[-1]["reason"] == "worker_lost"
