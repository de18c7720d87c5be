"""Peers of ASAP that mean harm: they cost little, get an answer, and nobody else waits for them."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from tests.server.asap_peers import PEER, ask, envelope, error_of, post_json, rpc, task
from tests.server.asp_host import hosting

PATIENCE = 1.5
"""Seconds in which a request of the greatest size is refused, with much room for slow machines."""


@pytest.mark.parametrize(("members", "status"), [(1_000, 200), (500_000, 400)])
async def test_gzip_in_many_members(members: int, status: int) -> None:
    """Empty members, one behind the other, are taken up to a number, and refused without effort."""
    body = json.dumps(rpc(envelope())).encode()
    data = gzip.compress(body) + gzip.compress(b"") * (members - 1)
    async with hosting() as host:
        began = time.monotonic()
        answer = await post_json(host.port, data, headers={"Content-Encoding": "gzip"})
        assert time.monotonic() - began < PATIENCE
    assert answer.status == status


STRANGE = {f"a{index:x}": 1 for index in range(700_000)}


@pytest.mark.parametrize(
    "asked",
    [
        envelope(**STRANGE),
        envelope("StateQuery", {"task_id": "t", "version": 1, "more": STRANGE}),
        envelope("MessageSend", {"parts": [{"type": "text", "content": "", **STRANGE}]}),
        envelope("MessageSend", {"parts": [{"type": "odd"}] * 500_000}),
        envelope(payload=task(config={"callback_events": [1] * 2_000_000})),
        envelope(payload=task(config=STRANGE)),
    ],
    ids=["envelope", "payload", "part", "parts", "events", "config"],
)
async def test_a_million_mistakes(asked: dict[str, object]) -> None:
    """They are one mistake: nobody looks at each of them."""
    body = json.dumps(rpc(asked)).encode()
    async with hosting() as host:
        began = time.monotonic()
        answer = await post_json(host.port, body)
        assert time.monotonic() - began < PATIENCE
    assert error_of(answer.json) == (-32602, "asap:protocol/malformed_envelope")
    assert len(answer.body) < 10_000


@pytest.mark.parametrize("value", ["x" * 50_000, ["x" * 50_000]])
async def test_a_template_that_would_fill_the_memory(value: object) -> None:
    """What a short text with a long value makes is bounded; the task goes on waiting."""
    async with hosting() as host:
        asked = await ask(host.port, envelope(payload=task("now", "ask")))
        said = {"task_id": asked["task_id"], "message_id": "m", "sender": PEER, "role": "user"}
        bomb = {"type": "template", "template": "{{a}}" * 150, "variables": {"a": value}}
        body = rpc(envelope("MessageSend", {**said, "parts": [bomb, bomb]}))
        answer = await post_json(host.port, body)
        assert error_of(answer.json) == (-32602, "asap:capability/input_validation")
        bomb["template"] = "{{a}}" * 1_000_000
        answer = await post_json(host.port, rpc(envelope("MessageSend", {**said, "parts": [bomb]})))
        assert error_of(answer.json) == (-32602, "asap:capability/input_validation")
        small = {"type": "template", "template": "{{a}} {{b}}", "variables": {"a": "Friday"}}
        answer = await ask(host.port, envelope("MessageSend", {**said, "parts": [small]}))
        assert answer["result"]["text"] == "You said Friday {{b}}."
