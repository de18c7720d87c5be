"""SIGTERM with requests of peers in flight: each is answered, and then the sockets close."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

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
from tests.server.raw import post, send

AGENTS = f"{Path(__file__).with_name('agents.py')}:agent"
CALLS = 10


async def start(serve: Serve, **settings: float) -> Server:
    """Return a server of its own, which may be stopped."""
    given = [f"--set={name}={value}" for name, value in settings.items()]
    return await asyncio.to_thread(serve, AGENTS, *given)


async def ended(server: Server) -> None:
    """Return once the process has left."""
    await asyncio.to_thread(server.process.communicate, None, 15)


async def begun(server: Server, *, calls: int) -> None:
    """Return once so many calls are held."""
    path = "/.well-known/asap/health"
    async with asyncio.timeout(15):
        while True:
            answer = await send(server.port, post(b"", path, method="GET"))
            if answer.json["load"]["active_tasks"] >= calls:
                return


async def test_what_is_in_flight_is_answered(serve: Serve) -> None:
    """Ten calls over each binding: all get their completed tasks, then 1001; exit code 0."""
    server = await start(serve, drain_timeout=10)
    async with dialled(server.port) as peer, dialled(server.port) as idle:
        said = [await peer.say(envelope(payload=_held(f"ws-{n}"))) for n in range(CALLS)]
        posts = [
            asyncio.create_task(ask(server.port, envelope(payload=_held(f"http-{n}"))))
            for n in range(CALLS)
        ]
        await begun(server, calls=2 * CALLS)
        opener = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps(rpc(envelope(payload=task("stop", "open")))).encode()
        opener[1].write(post(body, "/asap")[:-1])  # in flight as well: all but its last byte
        server.process.send_signal(signal.SIGTERM)
        assert await idle.closed() == (1001, "Server shutting down")
        late = await peer.ask(envelope(payload=task("late")))
        assert error_of(late) == (-32031, "asap:transport/thread_pool_exhausted")
        assert late["error"]["data"]["details"]["reason"] == "shutting_down"
        opener[1].write(b"}")
        assert b" 200 " in await opener[0].readline()
        opener[1].close()
        for request_id in said:
            assert payload_of(await peer.answer(request_id))["status"] == "completed"
        assert {one["status"] for one in await asyncio.gather(*posts)} == {"completed"}
        assert await peer.closed() == (1001, "Server shutting down")
    await ended(server)
    assert server.process.returncode == 0


def _held(key: str) -> dict[str, object]:
    return task("stop", "hold", config={"idempotency_key": key})


async def test_what_does_not_end_in_time_is_said_to_have_failed(serve: Serve) -> None:
    """Beyond the time that is set, a task that cannot run elsewhere fails: its peer is told."""
    server = await start(serve, drain_timeout=0.2)
    async with dialled(server.port) as peer:
        request_id = await peer.say(envelope(payload=task("never", "hold")))
        await begun(server, calls=1)
        server.process.send_signal(signal.SIGTERM)
        payload = payload_of(await peer.answer(request_id))
        assert payload["status"] == "failed"
        assert payload["result"]["error"]["reason"] == "worker_lost"
        assert (await peer.closed())[0] == 1001
    await ended(server)


async def test_a_task_that_goes_on_elsewhere_is_to_be_asked_for_again(
    serve: Serve, tmp_path: Path
) -> None:
    """A restartable task outlives the server: ask again, and the next server ends it."""
    agents = tmp_path / "counter.py"
    agents.write_text(COUNTER, encoding="utf-8")
    options = ("--store", str(tmp_path / "tasks.db"), "--set", "drain_timeout=0.2")
    options += ("--set", "lease_ttl=1")
    server = await asyncio.to_thread(serve, f"{agents}:agent", *options)
    wait = envelope(payload=task(str(tmp_path / "go"), "wait"), id="env-long")
    async with dialled(server.port) as peer:
        over_ws = await peer.say(wait)
        over_http = asyncio.create_task(post_json(server.port, rpc(wait)))
        await begun(server, calls=1)
        server.process.send_signal(signal.SIGTERM)
        frame = await peer.answer(over_ws)
        assert frame["error"]["data"]["details"]["reason"] == "shutting_down"
        answer = await over_http
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
    await ended(server)
    (tmp_path / "go").touch()
    server = await asyncio.to_thread(serve, f"{agents}:agent", *options)
    async with dialled(server.port) as peer:
        assert payload_of(await peer.ask(wait))["result"]["text"] == "went"


COUNTER = '''
import asyncio
from pathlib import Path
from palaver import Agent, Turn

agent = Agent("desk", description="Waits", version="1", restartable=True)

@agent.skill("wait", default=True)
async def wait(turn: Turn) -> str:
    """Wait for a file."""
    while not Path(turn.text).exists():
        await asyncio.sleep(0.02)
    return "went"
'''


async def test_a_second_signal_ends_at_once(serve: Serve) -> None:
    """While the last calls end, no new socket is taken; told twice, the server waits no more."""
    server = await start(serve, drain_timeout=10)
    async with dialled(server.port) as peer, dialled(server.port) as idle:
        await peer.say(envelope(payload=task("last", "hold")))
        await begun(server, calls=1)
        server.process.send_signal(signal.SIGTERM)
        await idle.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        server.process.send_signal(signal.SIGTERM)
        await ended(server)
