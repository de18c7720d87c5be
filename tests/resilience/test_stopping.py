"""SIGTERM: what is in flight is answered, streams end well, and the process leaves in time."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import httpx2
import pytest

from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import Generation, TaskReceived
from palaver.testing.fault_proxy import FaultProxy
from tests.conftest import Serve, Server
from tests.resilience.conftest import Gate, Start
from tests.resilience.following import (
    Clients,
    ended,
    following,
    raw_message,
    raw_request,
    report,
)

IN_FLIGHT = 20
INTERRUPTED = Path(__file__).with_name("interrupted_agent.py")


async def begin_to_stop(server: Server) -> None:
    """Send SIGTERM; return once the server has stopped accepting, as an idle connection tells."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await reader.readline()
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()


async def raw_stream(port: int, text: str) -> str:
    """Return the body of a stream; an end that is not proper raises."""
    async with (
        httpx2.AsyncClient(timeout=20, trust_env=False) as http,
        http.stream(
            "POST",
            f"http://127.0.0.1:{port}/a2a",
            content=raw_request("SendStreamingMessage", raw_message(text)).partition(b"\r\n\r\n")[
                2
            ],
            headers={"Content-Type": "application/json", "A2A-Version": "1.0"},
        ) as response,
    ):
        return (await response.aread()).decode()


async def test_all_that_is_in_flight_is_answered(start: Start, gate: Gate) -> None:
    """20 open streams and 20 blocking sends: each gets its completed task; exit code 0."""
    server = await start()
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        streams = [
            asyncio.create_task(raw_stream(server.port, f"wait {gate.port}"))
            for _ in range(IN_FLIGHT)
        ]
        sends = [
            asyncio.create_task(client.send(f"wait-once {gate.port}")) for _ in range(IN_FLIGHT)
        ]
        await gate.waiting(2 * IN_FLIGHT)
        await begin_to_stop(server)
        with pytest.raises(ConnectionRefusedError):  # the place of the 503: nothing is accepted
            await asyncio.open_connection("127.0.0.1", server.port)
        opened = time.perf_counter()
        gate.open()
        bodies = await asyncio.gather(*streams)
        answers = await asyncio.gather(*sends)
        code = await ended(server, 5)
        took = time.perf_counter() - opened
    assert code == 0
    completed = [body for body in bodies if body.count("TASK_STATE_COMPLETED") == 1]
    assert len(completed) == IN_FLIGHT
    assert all("done" in body for body in bodies)
    assert {answer.state for answer in answers if isinstance(answer, TaskReceived)} == {
        TaskState.COMPLETED
    }
    assert len({answer.task_id for answer in answers if isinstance(answer, TaskReceived)}) == 20
    report(f"{len(completed)} streams and {len(answers)} sends answered; exit 0 after {took:.2f} s")
    assert took < 2


async def test_a_request_that_comes_during_the_drain(start: Start, gate: Gate) -> None:
    """A connection that is in use when the drain begins closes after its answer."""
    server = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(raw_request("SendMessage", raw_message(f"wait {gate.port}")))
    await gate.waiting(1)
    await begin_to_stop(server)
    gate.open()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert b"TASK_STATE_COMPLETED" in body
    assert await ended(server, 5) == 0


@pytest.mark.parametrize("generation", list(Generation))
async def test_a_task_that_outlasts_the_drain_goes_on(
    start: Start, gate: Gate, generation: Generation
) -> None:
    """Its stream ends with the retry hint; the next server finishes it; no event is lost."""
    server = await start(drain_timeout=0.3)
    async with FaultProxy(server.port) as proxy, Clients() as clients:
        client = await clients.a2a(proxy.port, generation)
        seen, reading = following(client.stream(f"wait {gate.port}"))
        body = asyncio.create_task(raw_stream(server.port, f"wait {gate.port}"))
        await gate.waiting(2)
        began = time.perf_counter()
        assert await asyncio.to_thread(_stopped, server) == 0
        took = time.perf_counter() - began
        assert (await body).endswith("retry: 20\n")
        gate.open()  # lets go of what the first server left behind
        other = await start()
        proxy.upstream_port = other.port
        await gate.waiting(2)
        gate.open()
        await reading
    assert seen.whole()
    assert seen.text == "begun done"
    assert seen.state is TaskState.COMPLETED
    report(
        f"A2A {generation}: handed over, {len(seen.numbers)} events once; exit after {took:.2f} s"
    )
    assert took < 2


async def test_a_send_that_outlasts_the_drain_is_answered(start: Start, gate: Gate) -> None:
    """A blocking send whose task goes on elsewhere gets the task as it stands."""
    server = await start(drain_timeout=0.3)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        sending = asyncio.create_task(client.send(f"wait {gate.port}"))
        await gate.waiting(1)
        began = time.perf_counter()
        assert await asyncio.to_thread(_stopped, server) == 0
        took = time.perf_counter() - began
        answer = await sending
    assert isinstance(answer, TaskReceived)
    assert answer.state is TaskState.WORKING
    report(f"answered as it stands; exit after {took:.2f} s")
    assert took < 2


@pytest.mark.parametrize("generation", list(Generation))
async def test_a_task_that_outlasts_the_drain_and_cannot_run_again(
    start: Start, gate: Gate, generation: Generation
) -> None:
    """It fails with ``worker_lost``, and its readers hear so before the connection closes."""
    server = await start(drain_timeout=0.3)
    async with Clients() as clients:
        client = await clients.a2a(server.port, generation)
        seen, reading = following(client.stream(f"wait-once {gate.port}"))
        sending = asyncio.create_task(client.send(f"wait-once {gate.port}"))
        await gate.waiting(2)
        assert await asyncio.to_thread(_stopped, server) == 0
        await reading
        answer = await sending
    assert seen.whole()
    assert seen.states.count(TaskState.FAILED) == 1
    assert seen.metadata[-1]["reason"] == "worker_lost"
    assert isinstance(answer, TaskReceived)
    assert answer.state is TaskState.FAILED


async def test_a_task_that_asks_during_the_drain(start: Start, gate: Gate) -> None:
    """A task that stops to ask does not hold the drain up; its question is delivered."""
    server = await start(drain_timeout=10)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        seen, reading = following(client.stream(f"ask {gate.port}"))
        sending = asyncio.create_task(client.send(f"ask {gate.port}"))
        await gate.waiting(2)
        await begin_to_stop(server)
        began = time.perf_counter()
        gate.open()
        await reading
        answer = await sending
        assert await ended(server, 15) == 0
        took = time.perf_counter() - began
    assert seen.state is TaskState.INPUT_REQUIRED
    assert isinstance(answer, TaskReceived)
    assert answer.state is TaskState.INPUT_REQUIRED
    report(f"exit {took:.2f} s after the question")
    assert took < 2


async def test_a_handler_that_does_not_let_go(start: Start, gate: Gate) -> None:
    """A handler that swallows its cancellation keeps neither its caller nor the process."""
    server = await start(drain_timeout=0.3)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        sending = asyncio.create_task(client.send(f"cling {gate.port}"))
        await gate.waiting(1)
        began = time.perf_counter()
        code = await asyncio.to_thread(_stopped, server)
        took = time.perf_counter() - began
        answer = await sending
    assert isinstance(answer, TaskReceived)
    assert answer.state is TaskState.FAILED
    report(f"exit {code} after {took:.2f} s with a handler that does not let go")
    assert code == 0
    assert took < 3


async def test_a_second_signal_ends_at_once(start: Start, gate: Gate) -> None:
    """SIGTERM twice: the process does not wait for the task."""
    server = await start(drain_timeout=30)
    async with Clients() as clients:
        client = await clients.a2a(server.port)
        _, reading = following(client.stream(f"wait {gate.port}"))
        await gate.waiting(1)
        await begin_to_stop(server)
        assert server.process.poll() is None
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        await ended(server, 5)
        took = time.perf_counter() - began
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    report(f"ended {took:.2f} s after the second signal")
    assert took < 1.5


async def test_idle_connections_hold_nothing_up(start: Start) -> None:
    """50 idle keep-alive connections, one with half a request: a quick exit."""
    server = await start()
    idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
    for reader, writer in idle:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}")
    idle[0][1].write(b"POST /a2a HT")
    began = time.perf_counter()
    code = await asyncio.to_thread(_stopped, server)
    took = time.perf_counter() - began
    for _, writer in idle:
        writer.close()
    report(f"exit {code} after {took:.2f} s with {len(idle)} idle connections")
    assert code == 0
    assert took < 1.5


async def test_a_signal_in_the_middle_of_a_line_of_the_log(serve: Serve) -> None:
    """Whoever logs holds a lock then; the process stops nevertheless, and answers before."""
    server = await asyncio.to_thread(serve, f"{INTERRUPTED}:agent")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(raw_request("SendMessage", raw_message("hello")))
    async with asyncio.timeout(10):
        assert b"hello" in await reader.read()
    writer.close()
    assert await ended(server, 10) == 0
    assert "interrupt me" in server.log.read_text(encoding="utf-8")


async def test_a_client_that_reads_nothing(start: Start) -> None:
    """A client that takes nothing does not keep the process."""
    server = await start(drain_timeout=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
    writer.write(raw_request("SendStreamingMessage", raw_message("flood 3000 16384")))
    await reader.readuntil(b"\r")
    began = time.perf_counter()
    code = await asyncio.to_thread(_stopped, server)
    took = time.perf_counter() - began
    writer.transport.abort()
    report(f"exit {code} after {took:.2f} s with a client that reads nothing")
    assert code == 0
    assert took < 0.3 + 5 + 2


def _stopped(server: Server) -> int:
    """Stop the server; return its exit code."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(20)
