"""What an envelope means here: whom it is for, nonces, snapshots of old, and what others add."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from palaver.app import App
from palaver.protocols.asap.errors import InputInvalid
from palaver.protocols.asap.messages import (
    Envelope,
    McpResourceData,
    McpResourceFetch,
    McpToolCall,
    McpToolResult,
)
from palaver.server.asap_calls import Extensions
from palaver.storage.memory import MemoryStorage
from tests.server.agents import agent, other
from tests.server.asap_peers import PEER, envelope, error_of, payload_of, rpc, task
from tests.server.asgi import ask, serving


async def posted(app: App, envelope: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Post an envelope, and return the frame that answers."""
    exchange = ask(app, json.dumps(rpc(envelope, **params)).encode(), "/asap")
    frame: dict[str, Any] = (await exchange.answered()).json
    return frame


# --- whom it is for --------------------------------------------------------------------------


async def test_a_lone_agent_takes_what_comes() -> None:
    """Other servers do not look at the recipient: with one agent, neither do we."""
    async with serving(agent) as app:
        frame = await posted(app, envelope(recipient="urn:asap:agent:somebody:else"))
        assert payload_of(frame)["status"] == "completed"
        assert frame["result"]["envelope"]["sender"] == "urn:asap:agent:desk"


async def test_the_recipient_tells_two_agents_apart() -> None:
    """Each gets its own; for nobody's URN there is an error that names those that are served."""
    async with serving(agent, other) as app:
        for name in ("desk", "other"):
            asked = envelope(payload=task("x", "name" if name == "other" else "say"))
            frame = await posted(app, asked | {"recipient": f"urn:asap:agent:{name}"})
            assert frame["result"]["envelope"]["sender"] == f"urn:asap:agent:{name}"
        frame = await posted(app, envelope(recipient="urn:asap:agent:third"))
        assert error_of(frame) == (-32013, "asap:routing/agent_not_found")
        assert "urn:asap:agent:desk, urn:asap:agent:other" in frame["error"]["message"]


# --- replay ----------------------------------------------------------------------------------


def _noncy(nonce: Any, **more: Any) -> dict[str, Any]:
    return envelope(extensions={"nonce": nonce}, **more)


async def test_a_nonce_is_good_for_one_envelope_and_its_copies() -> None:
    """A copy is answered as the first was; another envelope with that nonce is refused."""
    async with serving(agent, asap_check_nonce=True) as app:
        first = await posted(app, _noncy("n-1", id="one"))
        again = await posted(app, _noncy("n-1", id="one"))
        assert payload_of(again) == payload_of(first)
        for replayed in (_noncy("n-1", id="two"), _noncy("n-1", payload=task("x"), id="three")):
            error = await posted(app, replayed)
            assert error_of(error) == (-32602, "asap:protocol/invalid_nonce")
        theirs = _noncy("n-1", id="one", sender="urn:asap:agent:other-peer")
        assert payload_of(await posted(app, theirs))["status"] == "completed"
        assert payload_of(await posted(app, envelope()))["status"] == "completed"


@pytest.mark.parametrize("given", [None, "", 5, "n" * 257])
async def test_a_nonce_may_be_required(given: Any) -> None:
    """Then an envelope without one, or with what is none, is refused."""
    async with serving(agent, asap_require_nonce=True) as app:
        asked = envelope() if given is None else _noncy(given)
        assert error_of(await posted(app, asked)) == (-32602, "asap:protocol/invalid_nonce")
        assert payload_of(await posted(app, _noncy("good")))["status"] == "completed"


@pytest.mark.parametrize(
    ("offset", "taken"), [(-290, True), (-310, False), (25, True), (40, False)]
)
async def test_an_envelope_has_its_age(offset: int, taken: bool) -> None:  # noqa: FBT001
    """Five minutes back and half a minute ahead are taken, and no more."""
    stamp = (datetime.now(UTC) + timedelta(seconds=offset)).isoformat()
    async with serving(agent) as app:
        frame = await posted(app, envelope(timestamp=stamp))
        if taken:
            assert payload_of(frame)["status"] == "completed"
        else:
            assert error_of(frame) == (-32602, "asap:protocol/invalid_timestamp")


# --- states ----------------------------------------------------------------------------------


async def test_every_version_of_a_state_can_be_had() -> None:
    """Each is what the task was after that event; its snapshot can be named again."""
    async with serving(agent) as app:
        task_id = payload_of(await posted(app, envelope(payload=task("a b"))))["task_id"]
        query = {"task_id": task_id}
        latest = payload_of(await posted(app, envelope("StateQuery", query)))["final_state"]
        states = []
        for version in range(1, latest["version"] + 1):
            frame = await posted(app, envelope("StateQuery", query | {"version": version}))
            snapshot = payload_of(frame)["final_state"]
            assert snapshot["version"] == version
            named = {"task_id": task_id, "snapshot_id": snapshot["id"]}
            frame = await posted(app, envelope("StateRestore", named))
            assert payload_of(frame)["final_state"] == snapshot
            states.append(snapshot["data"]["status"])
        assert snapshot == latest
    assert states[0] == "submitted"
    assert states[-1] == "completed"
    assert "working" in states


async def test_the_snapshot_outlives_the_events() -> None:
    """Once its events are put away, the latest state is still told, and no other."""
    storage = MemoryStorage()
    async with serving(agent, storage=storage, retention=0.01, sweep_interval=0.01) as app:
        task_id = payload_of(await posted(app, envelope()))["task_id"]
        async with asyncio.timeout(10):
            while (await storage.events.stats()).events:  # noqa: ASYNC110 # nobody tells of it
                await asyncio.sleep(0.005)
        query = {"task_id": task_id}
        frame = await posted(app, envelope("StateQuery", query))
        assert payload_of(frame)["final_state"]["data"]["result"]["text"] == "hello"
        frame = await posted(app, envelope("StateQuery", query | {"version": 1}))
        assert error_of(frame) == (-32010, "asap:task/not_found")


# --- extensions ------------------------------------------------------------------------------

CALL = {"request_id": "r-1", "tool_name": "add", "arguments": {"a": 1, "b": 2}}


async def _add(envelope: Envelope, call: McpToolCall) -> McpToolResult:
    """Add, or do as the arguments say."""
    assert envelope.sender == PEER
    given = call.arguments
    if "refuse" in given:
        raise InputInvalid("a and b are required")
    if "break" in given:
        message = "the secret reason"
        raise RuntimeError(message)
    if "hang" in given:
        await asyncio.Event().wait()
    if "else" in given:
        return McpResourceData(resource_uri="x:y", content={})  # type: ignore[return-value]
    return McpToolResult(
        request_id=call.request_id, success=True, result={"sum": given["a"] + given["b"]}
    )


async def _fetch(_envelope: Envelope, asked: McpResourceFetch) -> McpResourceData:
    """Return where it is."""
    return McpResourceData(resource_uri=asked.resource_uri, content={"at": asked.resource_uri})


EXTENSIONS: Extensions = {McpToolCall: _add, McpResourceFetch: _fetch}


async def test_tools_and_resources_may_be_added() -> None:
    """An application answers calls of MCP by functions of its own."""
    async with serving(agent, extensions=EXTENSIONS) as app:
        frame = await posted(app, envelope("mcp.tool.call", CALL, id="call"))
        reply = frame["result"]["envelope"]
        assert (reply["payload_type"], reply["correlation_id"]) == ("mcp.tool.result", "call")
        assert reply["payload"] == {"request_id": "r-1", "success": True, "result": {"sum": 3}}
        frame = await posted(app, envelope("McpResourceFetch", {"resource_uri": "file:x"}))
        assert payload_of(frame) == {"resource_uri": "file:x", "content": {"at": "file:x"}}


@pytest.mark.parametrize(
    ("argument", "code", "word"),
    [
        ("refuse", -32602, "asap:capability/input_validation"),
        ("break", -32603, "asap:execution/internal_error"),
        ("else", -32603, "asap:execution/internal_error"),
        ("hang", -32033, "asap:execution/task_timeout"),
    ],
)
async def test_what_an_extension_does_wrong(argument: str, code: int, word: str) -> None:
    """It may refuse in the words of ASAP; what breaks in it is not told, and nothing hangs."""
    async with serving(agent, extensions=EXTENSIONS, asap_send_timeout=0.1) as app:
        call = CALL | {"arguments": {argument: True}}
        frame = await posted(app, envelope("McpToolCall", call))
        assert error_of(frame) == (code, word)
        assert "secret" not in json.dumps(frame)


# --- trouble ---------------------------------------------------------------------------------


async def test_a_store_that_is_gone_is_told_as_busy() -> None:
    """503: the peer may send it again, and nothing is said of the store."""
    storage = MemoryStorage()
    async with serving(agent, storage=storage) as app:
        await storage.close()
        exchange = ask(app, json.dumps(rpc(envelope())).encode(), "/asap")
        await exchange.answered()
        assert exchange.status == 503
        assert error_of(exchange.json) == (-32031, "asap:transport/thread_pool_exhausted")
        health = ask(app, b"", "/.well-known/asap/health", method="GET")
        await health.answered()
        assert (health.status, health.json["status"]) == (503, "unhealthy")
