"""The sample of the streaming plan, as it stands there, against our server."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from typing import Any

import httpx
import pytest

from tests.conftest import Server
from tests.interop.conftest import HERE
from tests.interop.relay import TIMEOUT, Relay

SAID = "Olá, como posso ajudar?"
Event = dict[str, Any]


async def sample(address: str) -> asyncio.subprocess.Process:
    """Start the sample against ``address``."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "plan_sample.py"),
        address,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NO_PROXY": "*", "PYTHONIOENCODING": "utf-8"},
    )


async def printed(process: asyncio.subprocess.Process) -> list[Event]:
    """Return the events that the sample prints until it ends."""
    output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert process.returncode == 0, errors.decode()
    lines = output.decode().splitlines()
    assert all(line.startswith("Evento recebido: {") for line in lines)
    return [ast.literal_eval(line.removeprefix("Evento recebido: ")) for line in lines]


def check(events: list[Event]) -> None:
    """See that the events are those of one task that was done, and its whole answer."""
    assert len({event["id"] for event in events}) == 1
    assert len({event["result"]["id"] for event in events}) == 1
    assert all(set(event) == {"jsonrpc", "id", "result"} for event in events)
    results = [event["result"] for event in events]
    states = [(r["status"]["state"], r["final"]) for r in results if "status" in r]
    assert states == [("submitted", False), ("working", False), ("completed", True)]
    assert ["artifact" in result for result in results] == [False, False, *[True] * 4, False]
    chunks = [result["artifact"] for result in results[2:-1]]
    assert [chunk["append"] for chunk in chunks] == [False, True, True, True]
    assert {chunk["index"] for chunk in chunks} == {0}
    parts = [chunk["parts"] for chunk in chunks]
    assert parts == [
        [{"type": "text", "text": text}] for text in ("Olá,", " como", " posso", " ajudar?")
    ]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_the_sample_of_the_plan(front_desk: Server, prefix: str) -> None:
    """It prints the working, artifact and final events, at both addresses."""
    check(await printed(await sample(front_desk.url + prefix)))


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_the_sample_amid_heartbeats(slow_desk: Server, prefix: str) -> None:
    """It takes every heartbeat for silence, though it parses the data of each event it is given."""
    async with Relay(slow_desk.url) as relay:
        process = await sample(relay.url + prefix)
        await relay.heard(b"\n: hb\n", times=5)
        assert "posso" not in relay.said.decode()
        await release(slow_desk.url + prefix)
        check(await printed(process))


async def release(url: str) -> None:
    """Let the slow answer go on, in the words of the plan's other method."""
    message = {"role": "user", "parts": [{"type": "text", "text": "release"}]}
    params = {"id": f"release-{url}", "message": message}
    request = {"jsonrpc": "2.0", "id": 7, "method": "tasks/send", "params": params}
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
        answer = await http.post(f"{url}/agents/uuid-do-agente/tasks/send", json=request)
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["result"]["id"]) == (7, f"release-{url}")
    assert answer.json()["result"]["status"]["state"] == "completed"


async def test_another_agent_is_refused(front_desk: Server) -> None:
    """At the address of an agent that is not here, an error comes, and no stream."""
    request = {"jsonrpc": "2.0", "id": "r", "method": "tasks/sendSubscribe", "params": {}}
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
        url = f"{front_desk.url}/agents/somebody/tasks/sendSubscribe"
        answer = await http.post(url, json=request)
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["id"], answer.json()["error"]["code"]) == ("r", -32602)
