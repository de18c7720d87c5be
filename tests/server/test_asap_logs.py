"""What a server writes down of its peers: who did what, and nothing that they say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.conftest import Serve
from tests.server.asap_peers import ask, dialled, envelope, post_json, rpc, task
from tests.server.asp_host import eventually

AGENTS = f"{Path(__file__).with_name('agents.py')}:agent"
SAID = "whisper-7731"


async def test_nothing_that_peers_say_is_logged(serve: Serve) -> None:
    """Not at the level of ``debug`` either: no text, no secret, no nonce, no reason, no input."""
    options = ("--set=log_level=debug", "--set=log_format=json", "--set=asap_check_nonce=true")
    server = await asyncio.to_thread(serve, AGENTS, *options)
    config = {"callback_secret": f"whsec_{SAID}", "callback_url": f"https://a.example/?{SAID}"}
    secret = envelope(payload=task(SAID, config=config), extensions={"nonce": SAID})
    broken = envelope(payload=task(SAID, config={"temperature": SAID}))
    async with dialled(server.port) as peer:
        await peer.ask(secret | {"id": "over-ws"})
        await peer.ask(broken)
        await peer.socket.send(json.dumps({SAID: SAID}))
        asked = {"task_id": "none", "reason": SAID}
        await peer.ask(envelope("TaskCancel", asked))
    await post_json(server.port, rpc(secret | {"id": "over-http"}))  # its nonce was used
    await post_json(server.port, rpc(broken), headers={"Authorization": f"Bearer {SAID}"})
    held = task(SAID, "hold", config={"timeout_seconds": 1})
    task_id = (await ask(server.port, envelope(payload=held)))["task_id"]
    await ask(server.port, envelope("TaskCancel", {"task_id": task_id, "reason": SAID}))

    def cancelled() -> str:
        text = server.log.read_text(encoding="utf-8")
        return text if "asap_task_cancelled" in text else ""

    log = await eventually(cancelled)
    assert SAID not in log
    assert task_id in log
    assert "asap_refused" in log


async def test_news_of_a_peer_are_a_line(serve: Serve) -> None:
    """Who told of which task, and how: what it said is left out."""
    server = await asyncio.to_thread(serve, AGENTS, "--set=log_format=json")
    progress = {"message": SAID}
    update = {"task_id": "t-9", "update_type": "progress", "status": "working"}
    await ask(server.port, envelope("task.update", update | {"progress": progress}, id="news-1"))

    def told() -> list[dict[str, object]]:
        lines = map(json.loads, server.log.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line["event"] == "asap_informed"]

    (line,) = await eventually(told)
    assert (line["task_id"], line["envelope_id"], line["payload_type"]) == (
        "t-9",
        "news-1",
        "TaskUpdate",
    )
    assert SAID not in json.dumps(line)
