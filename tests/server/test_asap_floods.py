"""Peers that send as fast as the socket takes: all are answered, and memory stays bounded."""

from __future__ import annotations

import asyncio
import json

import pytest

from palaver import Agent, Turn
from tests.conftest import Serve, Server
from tests.server.agents import agent, gates
from tests.server.asap_peers import (
    dialled,
    envelope,
    error_of,
    payload_of,
    post_json,
    rpc,
    task,
)
from tests.server.asp_host import Host, hosting, resident
from tests.server.test_asap_stopping import AGENTS

REQUESTS = 10_000


@pytest.fixture(scope="module")
def fast(serve: Serve) -> Server:
    """Serve without a bound on the rate."""
    return serve(AGENTS, "--set=asap_max_rate=1000000", "--set=asap_max_burst=1000000")


async def test_ten_thousand_requests_as_fast_as_they_go(fast: Server) -> None:
    """Sent without waiting for an answer: every one is answered, and little is held meanwhile."""
    async with dialled(fast.port) as peer:
        await peer.ask(envelope())
        before = resident(fast)
        frames = [
            json.dumps(rpc(envelope("StateQuery", {"task_id": "none"}), n)) for n in range(REQUESTS)
        ]

        async def send_all() -> None:
            for frame in frames:
                await peer.socket.send(frame)

        sending = asyncio.create_task(send_all())
        answered = set()
        async with asyncio.timeout(50):
            while len(answered) < REQUESTS:
                answer = json.loads(await peer.socket.recv())
                assert error_of(answer)[0] == -32010
                answered.add(answer["id"])
        await sending
        grown = resident(fast) - before
    assert answered == set(range(REQUESTS))
    assert grown < 40, f"{grown:.0f} MB"


async def test_a_client_that_reads_nothing_is_not_read_on(fast: Server) -> None:
    """Its answers wait in the kernel and in a little memory; its requests wait in the kernel."""
    text = json.dumps(rpc(envelope(payload=task("x" * 50_000)), 1))
    async with dialled(fast.port, max_queue=1) as peer:
        before = resident(fast)
        peer.socket.transport.pause_reading()
        sent = 0
        try:
            async with asyncio.timeout(3):
                while True:
                    await peer.socket.send(text.replace('"id": 1', f'"id": {sent}'))
                    sent += 1
        except TimeoutError:
            pass  # the server takes nothing more
        assert resident(fast) - before < 80
        peer.socket.transport.resume_reading()
        async with asyncio.timeout(20):
            for _ in range(sent):
                assert "result" in json.loads(await peer.socket.recv())


async def test_a_client_that_takes_no_answers_is_dropped() -> None:
    """Once it took nothing for a while, the socket ends; the answers are to be had on the next."""
    large = Agent("desk", version="1.0.0")

    @large.skill("say", default=True)
    async def say(_turn: Turn) -> str:
        """Say a megabyte."""
        return "x" * 1_000_000

    async with hosting(agents=(large,), send_timeout=0.5) as host:
        async with dialled(host.port) as deaf:
            deaf.socket.transport.pause_reading()
            for number in range(64):
                await deaf.say(envelope(id=f"large-{number}"))
            async with asyncio.timeout(20):
                while await host.ask(lambda: bool(host.app.peers._sockets)):
                    pass
            deaf.socket.transport.abort()
        async with dialled(host.port) as peer:
            for number in (0, 63):
                answer = payload_of(await peer.ask(envelope(id=f"large-{number}")))
                assert len(answer["result"]["text"]) == 1_000_000
        assert host.app.engine.open_tasks == 0


async def test_more_calls_than_may_wait_are_refused() -> None:
    """Beyond ``asap_max_calls`` the answer is 503, at once, with the time to come back."""
    async with hosting(agents=(agent,), asap_max_calls=1) as host, dialled(host.port) as peer:
        held = await peer.say(envelope(payload=task("one call", "hold")))
        async with asyncio.timeout(10):
            while not await host.ask(lambda: host.app.peers._calls.calls):
                pass
        answer = await post_json(host.port, rpc(envelope()))
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert error_of(answer.json) == (-32031, "asap:transport/thread_pool_exhausted")
        stop = asyncio.create_task(peer.closed())
        await host.ask(lambda: next(iter(host.app.peers._sockets)).shut_down())
        await host.ask(gates["one call"].set)
        assert (await stop)[0] == 1001
        assert payload_of(next(one for one in peer.told if one.get("id") == held))


async def test_an_address_may_send_so_many_a_minute() -> None:
    """One more is 429, in the shape of JSON-RPC; each item of a batch counts."""
    async with hosting(asap_max_requests_per_minute=5) as host:
        batch = [rpc(envelope(), n) for n in range(3)]
        assert (await post_json(host.port, batch)).status == 200
        assert (await post_json(host.port, batch)).status == 429
        assert (await post_json(host.port, rpc(envelope()))).status == 200
        answer = await post_json(host.port, rpc(envelope(), "six"))
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json["error"]["code"] == 429
        data = answer.json["error"]["data"]
        assert data["limit"] == "5/minute"
        assert data["retry_after"] == int(answer.headers["retry-after"])


async def test_nothing_is_left_of_those_who_have_gone() -> None:
    """Sockets that drop in the middle of a streamed call leave no task and no timer behind."""
    async with hosting() as host:
        async with dialled(host.port) as peer:
            await peer.ask(envelope())
        before = await _settled(host)
        for number in range(10):
            async with dialled(host.port) as peer:
                config = {"streaming": True, "idempotency_key": f"gone-{number}"}
                await peer.say(envelope(payload=task("gone", "hold", config=config)))
                await peer.hear(lambda frame: "result" in frame)
                peer.socket.transport.abort()
        await host.ask(gates["gone"].set)
        assert await _settled(host) <= before


async def _settled(host: Host) -> int:
    """Return how many tasks of asyncio are left once no socket is, and no call."""
    peers = host.app.peers
    async with asyncio.timeout(10):
        while await host.ask(lambda: bool(peers._sockets or peers._works)):
            pass
        while (left := await host.left())["connections"]:
            pass
    return left["tasks"]
