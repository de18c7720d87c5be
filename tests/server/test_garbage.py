"""What a refused request leaves behind: nothing that waits for the collector."""

from __future__ import annotations

import gc
import json

import pytest

from palaver.app import App
from tests.server.agents import agent
from tests.server.asgi import ask, serving
from tests.server.raw import call

LETTER = {"message": {"messageId": "m", "role": "user", "parts": []}}


async def refuse(app: App, body: bytes) -> None:
    """Have the request refused."""
    exchange = await ask(app, body).answered()
    assert "error" in json.loads(exchange.body)
    exchange._running = None  # it and its exchange would be a cycle of ours


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        call("nope"),
        call("SendMessage"),
        call("message/send", LETTER),
        call("tasks/get", {"id": "t"}),
        call("tasks/cancel", {"id": "t"}),
        call("tasks/resubscribe", {"id": "t"}),
    ],
)
async def test_a_refusal_is_no_cycle(body: bytes) -> None:
    """An error that knew its own frame would hold the body of the request until a collection."""
    async with serving(agent) as app:
        await refuse(app, body)
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await refuse(app, body)
            assert gc.collect() == 0
        finally:
            gc.enable()
