"""Readers that stall, lag, leave, or come in hundreds."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import orjson
import pytest

from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import TaskReceived
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.conftest import Server
from tests.resilience.conftest import Gate, Start
from tests.resilience.following import (
    Clients,
    Followed,
    follow,
    following,
    raw_message,
    raw_request,
    report,
    wanted,
)

STALLED = 30
HUGE = 16_000_000
PROC = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def resident(server: Server) -> float:
    """Return the memory of the server, in MB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1_024


def sockets(server: Server) -> int:
    """Return how many TCP connections the server holds."""
    files = Path(f"/proc/{server.process.pid}/fd")
    held = 0
    for link in files.iterdir():
        with suppress(FileNotFoundError):  # closed in between
            held += str(link.readlink()).startswith("socket:")
    return held


def deaf(port: int, request: bytes) -> socket.socket:
    """Return a connection that asks for a stream and takes as little of it as it can."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request)
    return connection


def hung_up(connections: list[socket.socket], timeout: float) -> int:
    """Return how many of the connections the server drops in that time, without reading them."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, 0)  # errors and hang-ups are always told
    left = len(connections)
    give_up_at = time.monotonic() + timeout
    while left and (wait := give_up_at - time.monotonic()) > 0:
        for number, _ in poll.poll(wait * 1_000):
            poll.unregister(number)
            left -= 1
    return len(connections) - left


@PROC
async def test_readers_that_never_read(start: Start) -> None:
    """Each is dropped after a second of silence, costs little, and delays nobody else."""
    server = await start(stream_silence_timeout=1.0)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        seen = await follow(client.stream(f"flood {HUGE // 16_000} 16000"))
        ask = raw_request("SubscribeToTask", {"id": seen.task_id}, Last_Event_ID="1")
        before = most = resident(server)
        began = time.perf_counter()
        stalled = [deaf(server.port, ask) for _ in range(STALLED)]
        dropping = asyncio.create_task(asyncio.to_thread(hung_up, stalled, 25.0))
        waits = []
        while not dropping.done():
            asked = time.perf_counter()
            answer = await client.send("echo still there")
            waits.append(time.perf_counter() - asked)
            most = max(most, resident(server))
            assert isinstance(answer, TaskReceived)
            assert answer.state is TaskState.COMPLETED
        took = time.perf_counter() - began
        for connection in stalled:
            connection.close()
    waits.sort()
    report(
        f"{await dropping} of {STALLED} readers stalled in {HUGE // 1_000_000} MB each dropped "
        f"after {took:.1f} s; memory {before:.0f} → {most:.0f} MB at most; {len(waits)} sends "
        f"meanwhile, median {1_000 * waits[len(waits) // 2]:.1f} ms, longest "
        f"{1_000 * waits[-1]:.0f} ms"
    )
    assert await dropping == STALLED
    assert took < 20
    assert most - before < STALLED * 4  # a quarter of HUGE for each
    assert waits[len(waits) // 2] < 0.1


async def test_a_reader_that_stalls_in_a_live_stream(start: Start) -> None:
    """It is dropped when the task is long over, too, and the task is whole for others."""
    server = await start(stream_silence_timeout=0.5)
    message = raw_message("flood 400 16000")
    connection = deaf(server.port, raw_request("SendStreamingMessage", message))
    dropped = await asyncio.to_thread(hung_up, [connection], 10.0)
    connection.close()
    assert dropped == 1
    async with httpx2.AsyncClient(timeout=10, trust_env=False) as http:
        body = raw_request("SendMessage", message).partition(b"\r\n\r\n")[2]
        headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
        answer = await http.post(f"{server.url}/a2a", content=body, headers=headers)
    task = answer.json()["result"]["task"]
    text = "".join(part["text"] for part in task["artifacts"][0]["parts"])
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert len(text) == 400 * 16_000


async def test_a_slow_reader_catches_up(start: Start) -> None:
    """A reader that takes a little at a time gets everything, once, long after the end."""
    server = await start(stream_silence_timeout=1.0)
    async with (
        FaultProxy(server.port, lambda _: Fault(latency=0.004, max_slice=2_048)) as proxy,
        Clients() as clients,
    ):
        slow = await clients.a2a(proxy.port)
        fast = await clients.a2a(server.port)
        seen, reading = following(slow.stream("flood 400 2000"))
        await seen.reached(2)
        first = await follow(fast.resume(seen.task_id, 0))
        behind = len(first.numbers) - len(seen.numbers)
        await reading
    report(f"the slow reader was {behind} events behind at the end, and got {len(seen.numbers)}")
    assert seen.whole()
    assert seen.numbers == first.numbers
    assert seen.text == first.text


async def test_a_steady_reader_of_huge_events_is_not_stalled(start: Start) -> None:
    """An event that takes longer than the silence that is allowed arrives, piece by piece."""
    server = await start(stream_silence_timeout=0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65_536)
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    writer.write(raw_request("SendStreamingMessage", raw_message("flood 2 12000000")))
    began = time.perf_counter()
    size, last = 0, b""
    async with asyncio.timeout(20):
        while piece := await reader.read(200_000):
            size += len(piece)
            last = (last + piece)[-400:]
            await asyncio.sleep(len(piece) / 9_000_000)  # the pace of this reader
            if last.endswith(b"0\r\n\r\n"):
                break
    writer.close()
    took = time.perf_counter() - began
    report(f"{size / 1e6:.0f} MB in two events over {took:.1f} s, 0.5 s of silence allowed")
    assert b"TASK_STATE_COMPLETED" in last
    assert took > 1


async def test_a_half_closed_socket(start: Start, gate: Gate) -> None:
    """A client that says that it will send no more is answered all the same."""
    server = await start()
    stream = raw_request("SendStreamingMessage", raw_message(f"wait {gate.port}"))
    send = raw_request("SendMessage", raw_message(f"wait {gate.port}"))
    ends = []
    for request in (stream, send):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        writer.write_eof()
        ends.append((reader, writer))
    await gate.waiting(2)
    gate.open()
    for reader, writer in ends:
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        assert answer.count(b"TASK_STATE_COMPLETED") == 1


@PROC
async def test_a_client_that_leaves(start: Start, gate: Gate) -> None:
    """Its task goes on, its connection is let go, and somebody else reads the end."""
    server = await start(heartbeat_interval=0.1)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        message = raw_message(f"wait {gate.port}")
        writer.write(raw_request("SendStreamingMessage", message))
        task = orjson.loads((await reader.readuntil(b"}\n")).rpartition(b"data: ")[2])
        task_id = task["result"]["task"]["id"]
        await gate.waiting(1)
        await client.get(task_id)
        held = sockets(server)
        writer.close()
        async with asyncio.timeout(5):
            while sockets(server) >= held:
                await client.get(task_id)
        gate.open()
        rest = await follow(client.resume(task_id, 1))
    assert rest.state is TaskState.COMPLETED
    assert rest.text == "begun done"
    assert rest.whole(first=2)


async def test_two_hundred_subscribers(start: Start) -> None:
    """All of them see the same events, live."""
    server = await start()
    count = 200
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        seen, reading = following(client.stream("count 100 50"))
        await seen.reached(10)
        began = time.perf_counter()
        subscribers: list[tuple[Followed, asyncio.Task[Followed]]] = [
            following(client.resume(seen.task_id, 0)) for _ in range(count)
        ]
        await asyncio.gather(*(other.reached(10) for other, _ in subscribers))
        await client.cancel(seen.task_id)
        await asyncio.gather(reading, *(reading for _, reading in subscribers))
        took = time.perf_counter() - began
    report(f"{count} subscribers, {len(seen.numbers)} events each, {took:.1f} s")
    assert seen.whole()
    assert seen.state is TaskState.CANCELED
    for other, _ in subscribers:
        assert other.numbers == seen.numbers
        assert other.text == seen.text
    assert seen.text.strip() == wanted(50)
