"""Streams that are cut, over and over: every event comes once, in order."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import httpx2
import orjson
import pytest

from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import Generation, Operation, Subscribe
from palaver.protocols.a2a.mapping import dialect
from palaver.protocols.jsonrpc import encode_request
from palaver.storage.open import open_storage
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.resilience.conftest import Start
from tests.resilience.following import (
    Clients,
    Followed,
    cuts,
    follow,
    following,
    report,
    wanted,
)

LAST = 300
CUTS = 50
KILLED_AT = 200
LONGEST = {Generation.V10: 3_600, Generation.V03: 3_600, Generation.V01: 2_400}


@pytest.mark.parametrize("generation", list(Generation))
async def test_fifty_cuts_and_a_killed_server(start: Start, generation: Generation) -> None:
    """50 resets, and a SIGKILL in the middle: every event once, the text whole."""
    server = await start()
    began = time.perf_counter()
    faults = cuts(int(float(generation) * 10), CUTS, LONGEST[generation])
    async with FaultProxy(server.port, faults) as proxy, Clients() as clients:
        client = await clients.a2a(proxy.port, generation)
        seen, reading = following(client.stream(f"count {LAST} {2 * LAST // 3}"))
        await seen.reached(KILLED_AT)
        server.kill()
        killed_at = len(seen.numbers)
        await start("--port", str(server.port))
        await reading
        kept = await client.get(seen.task_id)
        report(
            f"A2A {generation}: {len(seen.numbers)} events once and in order; killed after "
            f"{killed_at}; {proxy.resets} resets, {proxy.connections} connections, "
            f"{time.perf_counter() - began:.1f} s"
        )
        assert proxy.resets == CUTS
    assert seen.whole()
    assert seen.text == wanted(LAST)
    assert seen.state is TaskState.COMPLETED
    assert [known["attempt"] for known in seen.metadata if "attempt" in known] == [2]
    assert kept.artifacts[0].text == wanted(LAST)  # type: ignore[union-attr]


async def test_the_command_line_under_cuts_and_a_kill(start: Start) -> None:
    """``palaver call --json`` prints every event once through 50 resets and a SIGKILL."""
    server = await start()
    began = time.perf_counter()
    # The first connection fetches the card.
    places = cuts(7, CUTS, LONGEST[Generation.V10])
    async with FaultProxy(server.port, lambda n: places(n - 1) if n else Fault()) as proxy:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "palaver", "call", "--json", proxy.url),
            f"count {LAST} {2 * LAST // 3}",
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(KILLED_AT)]
        server.kill()
        await start("--port", str(server.port))
        lines += (await process.stdout.read()).splitlines()
        code = await asyncio.wait_for(process.wait(), 20)
        resets = proxy.resets
    said = [orjson.loads(line) for line in lines]
    text = "".join(
        part["text"]
        for event in said
        if event["type"] == "artifact"
        for part in event["artifact"]["parts"]
    )
    report(
        f"palaver call: {len(said)} lines once and in order; {resets} resets, "
        f"{time.perf_counter() - began:.1f} s"
    )
    assert code == 0
    assert [event["seq"] for event in said] == list(range(1, len(said) + 1))
    assert text == wanted(LAST)
    assert resets == CUTS


@pytest.mark.parametrize("generation", list(Generation))
async def test_a_task_that_cannot_run_again(start: Start, generation: Generation) -> None:
    """A SIGKILL under a task that is not restartable: failed, ``worker_lost``, said once."""
    server = await start()
    async with FaultProxy(server.port) as proxy, Clients() as clients:
        client = await clients.a2a(proxy.port, generation)
        seen, reading = following(client.stream("once 300 100"))
        await seen.reached(150)
        server.kill()
        other = await start()
        proxy.upstream_port = other.port
        await reading
    assert seen.whole()
    assert seen.states.count(TaskState.FAILED) == 1
    assert seen.state is TaskState.FAILED
    assert [known["reason"] for known in seen.metadata if "reason" in known] == ["worker_lost"]
    report(f"A2A {generation}: failed once, worker_lost, as event {seen.numbers[-1]}")


@pytest.mark.parametrize("generation", list(Generation))
async def test_a_lost_answer_makes_no_second_task(
    start: Start, tmp_path: Path, generation: Generation
) -> None:
    """Connections that break before the first event: the message is repeated, its task is one."""
    server = await start()
    places = [0, 40, 130, 200, 0, 210]
    async with (
        FaultProxy(
            server.port, lambda n: Fault(reset_after=places[n]) if n < len(places) else Fault()
        ) as proxy,
        Clients() as clients,
    ):
        client = await clients.a2a(proxy.port, generation)
        seen = await follow(client.stream("count 30"))
        assert proxy.resets == len(places)
    server.stop()
    storage = open_storage(str(tmp_path / "tasks.db"))
    await storage.open()
    try:
        assert (await storage.events.stats()).tasks == 1
    finally:
        await storage.close()
    assert seen.text == wanted(30)
    assert seen.state is TaskState.COMPLETED


@pytest.mark.parametrize("generation", list(Generation))
async def test_a_cursor_at_the_end(start: Start, generation: Generation) -> None:
    """Who asks for what comes behind the last event of a finished task is not left waiting."""
    server = await start()
    async with Clients() as clients, httpx2.AsyncClient(timeout=5) as http:
        client = await clients.a2a(server.port, generation)
        seen = await follow(client.stream("count 3"))
        method, params = dialect(generation).request(
            Operation.SUBSCRIBE, Subscribe(task_id=seen.task_id)
        )
        headers = {"Content-Type": "application/json", "Last-Event-ID": str(seen.numbers[-1])}
        if generation is not Generation.V01:
            headers["A2A-Version"] = str(generation)
        body = encode_request("r-1", method, params)
        answer = await http.post(f"{server.url}/a2a", content=body, headers=headers)
    if generation is Generation.V10:  # 1.0 §3.1.6
        assert answer.json()["error"]["code"] == -32004
    else:
        last = answer.text.strip().rpartition("data: ")[2]
        assert orjson.loads(last)["result"]["final"] is True


async def test_a_server_that_went_silent(start: Start) -> None:
    """Connections that bring nothing any more are given up, and taken up where they stopped."""
    server = await start(heartbeat_interval=0.1)
    async with (
        FaultProxy(
            server.port, lambda n: Fault(silent_after=2_000 + 700 * n) if n < 4 else Fault()
        ) as proxy,
        Clients() as clients,
    ):
        client = await clients.a2a(proxy.port, silence_timeout=0.3)
        seen = await follow(client.stream("count 60"))
        assert proxy.connections == 5
    assert seen.whole()
    assert seen.text == wanted(60)


async def test_tiny_pieces(start: Start) -> None:
    """A stream that arrives seven bytes at a time says the same."""
    server = await start()
    async with (
        FaultProxy(server.port, lambda _: Fault(max_slice=7, latency=0.001)) as proxy,
        Clients() as clients,
    ):
        seen = await follow((await clients.a2a(proxy.port)).stream("count 50"))
    assert seen.whole()
    assert seen.text == wanted(50)


async def test_a_thousand_drops(start: Start) -> None:
    """1,000 forced drops over 20 streams of all generations: nothing lost, nothing doubled."""
    server = await start(retry_interval=0.005)
    streams, drops, last = 20, 50, 120
    began = time.perf_counter()
    async with Clients() as clients:

        async def one(number: int) -> tuple[Followed, int]:
            generation = list(Generation)[number % 3]
            longest = 1_300 if generation is not Generation.V01 else 800
            async with FaultProxy(server.port, cuts(number, drops, longest)) as proxy:
                client = await clients.a2a(proxy.port, generation)
                return await follow(client.stream(f"count {last}")), proxy.resets

        outcomes = await asyncio.gather(*(one(number) for number in range(streams)))
    dropped = sum(resets for _, resets in outcomes)
    numbers = [seen.numbers for seen, _ in outcomes]
    wanted_numbers = range(1, 2 * last + 4)
    lost = sum(len(set(wanted_numbers) - set(each)) for each in numbers)
    doubled = sum(len(each) - len(set(each)) for each in numbers)
    events = sum(map(len, numbers))
    report(
        f"{dropped} drops, {events} events: {lost} lost, {doubled} doubled, "
        f"{time.perf_counter() - began:.1f} s"
    )
    assert (dropped, lost, doubled) == (streams * drops, 0, 0)
    assert all(seen.whole() and seen.text == wanted(last) for seen, _ in outcomes)
