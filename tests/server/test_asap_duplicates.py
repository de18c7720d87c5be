"""A request that comes again: at once, over the other binding, or after a restart, it runs once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from palaver import Agent, Turn
from tests.conftest import Serve, Server
from tests.server.asap_peers import (
    ask,
    dialled,
    envelope,
    error_of,
    payload_of,
    post_json,
    rpc,
    task,
)
from tests.server.asp_host import hosting

COPIES = 20


class Counting:
    """An agent that counts its runs, and holds them until it is told."""

    def __init__(self) -> None:
        self.runs = 0
        self.go_on = asyncio.Event()
        self.agent = Agent("desk", description="Counts", version="1.0.0")

        @self.agent.skill("say", default=True)
        async def say(turn: Turn) -> str:
            """Say it again, with the number of the run."""
            self.runs += 1
            await self.go_on.wait()
            return f"{turn.text} {self.runs}"


async def test_copies_in_parallel_over_both_bindings() -> None:
    """Twenty copies of a keyed request, half of them over HTTP: one run, one answer for all."""
    counting = Counting()
    keyed = envelope(payload=task(config={"idempotency_key": "parallel"}))
    async with (
        hosting(agents=(counting.agent,)) as host,
        dialled(host.port) as one,
        dialled(host.port) as two,
    ):
        posts = [asyncio.create_task(ask(host.port, keyed)) for _ in range(COPIES // 2)]
        said = [(peer, await peer.say(keyed)) for peer in (one, two) for _ in range(COPIES // 4)]
        while await host.ask(lambda: host.app.peers._calls.calls) < COPIES:
            pass
        await host.ask(counting.go_on.set)
        answers = await asyncio.gather(*posts)
        answers += [payload_of(await peer.answer(request_id)) for peer, request_id in said]
    assert counting.runs == 1
    assert len(answers) == COPIES
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["result"]["text"] == "hello 1"


async def test_an_envelope_is_known_by_its_id_on_any_socket() -> None:
    """Without a key it is the same envelope that runs once: on this socket, the next, and HTTP."""
    counting = Counting()
    same = envelope(id="env-same")
    async with hosting(agents=(counting.agent,)) as host:
        async with dialled(host.port) as lost:
            await lost.say(same)
            while not counting.runs:
                await host.ask(lambda: None)
        async with dialled(host.port) as peer:  # the first socket has gone without its answer
            again = [await peer.say(same) for _ in range(2)]
            await host.ask(counting.go_on.set)
            frames = [await peer.answer(request_id) for request_id in again]
            frames.append(await peer.ask(same))
        frames.append((await post_json(host.port, rpc(same))).json)
    assert counting.runs == 1
    assert {payload_of(frame)["result"]["text"] for frame in frames} == {"hello 1"}
    envelopes = [frame["result"]["envelope"]["id"] for frame in frames]
    assert len(set(envelopes[:3])) == 1  # the very answer that was kept


async def test_an_id_with_other_content_is_refused(server: Server) -> None:
    """It is told apart from a copy, on the socket and behind it."""
    async with dialled(server.port) as peer:
        await peer.ask(envelope(id="reused"))
        frame = await peer.ask(envelope(payload=task("other"), id="reused"))
        assert error_of(frame) == (-32602, "asap:protocol/idempotency_conflict")
    body = rpc(envelope(payload=task("another"), id="reused"))
    assert error_of((await post_json(server.port, body)).json)[0] == -32602


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_forgets_no_request(
    serve: Serve, tmp_path: Path, how: signal.Signals
) -> None:
    """What was answered before is answered the same after, over either binding."""
    store = str(tmp_path / "tasks.db")
    agents = f"{Path(__file__).with_name('agents.py')}:agent"
    server = await asyncio.to_thread(serve, agents, "--store", store)
    by_id = envelope(payload=task("by id"), id="env-restart")
    by_key = envelope(payload=task("by key"))
    before = [await ask(server.port, by_id), await ask(server.port, by_key, idempotency_key="k")]
    asked = await ask(server.port, envelope(payload=task("now", "ask"), id="env-asked"))
    server.process.send_signal(how)
    await asyncio.to_thread(server.process.communicate)
    server = await asyncio.to_thread(serve, agents, "--store", store)
    async with dialled(server.port) as peer:
        after = [payload_of(await peer.ask(by_id))]
    after.append(await ask(server.port, by_key, idempotency_key="k"))
    assert after == before
    again = await ask(server.port, envelope(payload=task("now", "ask"), id="env-asked"))
    assert again["task_id"] == asked["task_id"]
    query = {"task_id": before[0]["task_id"]}
    assert (await ask(server.port, envelope("StateQuery", query)))["status"] == "completed"
