"""Random requests: whatever comes in, nothing breaks inside."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.protocols.a2a.methods import METHODS
from tests.server.agents import agent
from tests.server.asgi import Exchange, ask, serving

MEMBERS = [
    *("id", "taskId", "contextId", "sessionId", "message", "messageId", "role", "parts", "kind"),
    *("type", "text", "raw", "url", "data", "file", "bytes", "uri", "mimeType", "filename"),
    *("configuration", "historyLength", "blocking", "returnImmediately", "metadata", "tenant"),
    *("acceptedOutputModes", "referenceTaskIds", "extensions", "pushNotification", "state"),
]
WORDS = ["user", "agent", "ROLE_USER", "text", "message", "data", "file", "t", "1", "desk", "fail"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=8,
)
VALID_PARTS = {"parts": [{"kind": "text", "type": "text", "text": "fail"}]}
SOME = st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=3)
MESSAGES = st.builds(
    lambda some, name, role, parts: some | {"messageId": name, "role": role} | parts,
    SOME,
    SCALARS,
    st.sampled_from(["user", "ROLE_USER", "agent"]),
    st.sampled_from([{}, VALID_PARTS, VALID_PARTS]),
)
NEAR_MISSES = st.builds(
    lambda some, name, message: some | {"id": name, "message": message},
    SOME,
    st.sampled_from(["t", "u", "a/b"]),
    MESSAGES,
)
REQUESTS = st.tuples(
    st.sampled_from(sorted(METHODS)),
    VALUES | NEAR_MISSES,
    st.sampled_from([None, "1.0", "0.3", "0.1", "2.0"]),
    st.sampled_from([None, "0", "1", "999", "x"]),
)
BUDGET = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refused_or_done(exchange: Exchange) -> None:
    """See that the answer is one, and no sign of something broken."""
    assert exchange.status in {200, 400, 503}, exchange
    if exchange.headers["content-type"] == "text/event-stream":
        for block in exchange.blocks:
            assert block.data.get("error", {}).get("code") != -32603, exchange.body
        return
    assert exchange.json.get("error", {}).get("code") != -32603, exchange.body


@given(batch=st.lists(REQUESTS, min_size=30, max_size=40))
@BUDGET
@pytest.mark.asyncio
async def test_random_params(batch: list[tuple[str, Any, str | None, str | None]]) -> None:
    """No params of any method, in any version, at any cursor, are an internal error."""
    async with serving(agent) as app:
        for method, params, version, cursor in batch:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            headers = {"a2a-version": version, "last-event-id": cursor}
            given = {name: value for name, value in headers.items() if value is not None}
            exchange = ask(app, body.encode(), headers=given)
            refused_or_done(await exchange.answered())


@given(bodies=st.lists(st.binary(max_size=60) | VALUES.map(json.dumps).map(str.encode), max_size=8))
@BUDGET
@pytest.mark.asyncio
async def test_random_bodies(bodies: list[bytes]) -> None:
    """No body is an internal error, on any endpoint."""
    paths = ["/a2a", "/agents/desk/tasks/send", "/api/v1/agents/desk/tasks/sendSubscribe"]
    async with serving(agent) as app:
        for number, body in enumerate(bodies):
            exchange = ask(app, body, paths[number % len(paths)])
            refused_or_done(await exchange.answered())


@given(
    requests=st.lists(
        st.tuples(
            st.text("abz/%.~", max_size=12),
            st.dictionaries(
                st.sampled_from(["a2a-version", "last-event-id", "host", "if-none-match"]),
                st.text(string.printable.strip() + " ", max_size=20),
            ),
            st.text("after=&19%A2-Version.;", max_size=30),
            st.sampled_from(["GET", "POST", "HEAD"]),
        ),
        max_size=8,
    )
)
@BUDGET
@pytest.mark.asyncio
async def test_random_paths_and_headers(
    requests: list[tuple[str, dict[str, str], str, str]],
) -> None:
    """No path, header or query breaks the application."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "t"}})
    async with serving(agent) as app:
        for number, (tail, headers, query, method) in enumerate(requests):
            path = ["/a2a", "/.well-known/agent-card.json", "/agents/", "/"][number % 4] + (
                tail if number % 4 > 1 else ""
            )
            exchange = ask(app, body.encode(), path, headers, method=method, query=query)
            await exchange.answered()
            assert exchange.status in {200, 304, 400, 404, 405}, exchange
            if exchange.status != 304:
                assert exchange.json.get("error", {}) != "internal error"
