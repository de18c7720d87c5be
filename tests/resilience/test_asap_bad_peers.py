"""Peers of ASAP that mean harm: they cost little, get an answer, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
import tracemalloc

import pytest

from palaver.client.asap import AsapClient, AsapSettings
from palaver.client.asap_errors import AsapInvalid
from palaver.client.asap_http import retry_after
from palaver.protocols.asap.codec import MAX_BATCH, encode, failure, parse_request
from palaver.protocols.asap.errors import MalformedEnvelope
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import read_payload
from palaver.protocols.asap.server_connection import ServerConnection
from tests.conftest import Serve
from tests.server.asap_peers import (
    PEER,
    ask,
    dialled,
    envelope,
    error_of,
    is_push,
    payload_of,
    post_json,
    rpc,
    task,
)
from tests.server.asp_host import hosting, resident
from tests.server.test_asap_stopping import AGENTS

PATIENCE = 5.0
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


BOMB = gzip.compress(bytes(100_000_000), 1)
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
def test_a_million_mistakes(asked: dict[str, object]) -> None:
    """They are one mistake, beside what is missing: nobody looks at each of them."""
    body = json.dumps(rpc(asked)).encode()
    with pytest.raises(MalformedEnvelope) as refused:
        read_payload(parse_request(body, now=0.0, new_id=lambda: "env-1").envelope)
    told = refused.value.data()["validation_errors"]
    assert len([one for one in told if one["type"] != "missing"]) == 1
    assert len(encode(failure(refused.value))) < 10_000


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


async def test_a_batch_of_questions_with_long_answers() -> None:
    """The answers are bounded together; those that are left out say that they may be had alone."""
    async with hosting() as host:
        asked = await ask(host.port, envelope(payload=task("x" * 2_000_000)))
        query = envelope("StateQuery", {"task_id": asked["task_id"]})
        batch = [rpc(query, number) for number in range(MAX_BATCH)]
        answer = await post_json(host.port, batch)
    assert answer.status == 200
    assert len(answer.body) < 34_000_000
    assert [frame["id"] for frame in answer.json] == list(range(MAX_BATCH))
    refused = [frame for frame in answer.json if "error" in frame]
    assert {error_of(frame)[0] for frame in refused} == {-32031}
    assert 10 < len(refused) < MAX_BATCH - 4


async def test_long_answers_reach_who_takes_them() -> None:
    """Sixty-four at once are more than may wait for a socket: they come as it takes them."""
    async with hosting() as host, dialled(host.port) as peer:
        payload = task("x" * 1_000_000, config={"idempotency_key": "long"})
        asked = await ask(host.port, envelope(payload=payload))
        query = envelope("StateQuery", {"task_id": asked["task_id"]})
        said = [await peer.say(query) for _ in range(64)]
        for request_id in said:
            assert payload_of(await peer.answer(request_id))["task_id"] == asked["task_id"]


async def test_long_answers_wait_while_nobody_takes_them(serve: Serve) -> None:
    """They take little memory meanwhile, and go when the client reads on."""
    server = await asyncio.to_thread(serve, AGENTS)
    asked = await ask(server.port, envelope(payload=task("x" * 4_000_000)))
    query = envelope("StateQuery", {"task_id": asked["task_id"]})
    async with dialled(server.port, max_queue=1) as peer:
        await peer.ask(query)
        before = resident(server)
        peer.socket.transport.pause_reading()
        said = [await peer.say(query) for _ in range(48)]
        for _ in range(20):  # whatever it does meanwhile, it goes on serving others
            await ask(server.port, envelope("StateQuery", {"task_id": asked["task_id"]}))
        assert resident(server) - before < 120
        peer.socket.transport.resume_reading()
        for request_id in said:
            payload_of(await peer.answer(request_id))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_flood_that_is_read_slowly(loop: str) -> None:
    """A socket that is over its rate again and again stays open, whatever the loop's timers are."""
    frames = 3_000
    async with (
        hosting(loop=loop, asap_max_rate=20_000, asap_max_burst=1) as host,
        dialled(host.port) as peer,
    ):
        for _ in range(frames):
            await peer.socket.send(b"binary")
        for _ in range(frames):
            assert error_of(json.loads(await peer.socket.recv()))[0] in {-32600, -32001}
        assert payload_of(await peer.ask(envelope()))["status"] == "completed"


@pytest.mark.parametrize("text", ["[" * 4_000_000, '{"a": ' + "x" * 4_000_000])
def test_what_is_refused_is_not_kept(text: str) -> None:
    """A large frame that cannot be read is gone at once, not when garbage is looked for."""
    connection = ServerConnection(Limits(), 0.0, new_id=lambda kind: f"{kind}-1")
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(10):
            connection.receive_text(text + str(number), 0.0)
            connection.take_output()
        assert tracemalloc.get_traced_memory()[0] < 2 * len(text)
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Wed, 21 Oct 2326007928:00 GMT +9999",
        "Mon, 31 Dec 2026 25:61:61 GMT",
        "-1",
        "1e9",
        "",
    ],
)
def test_a_retry_after_that_means_nothing(value: str) -> None:
    """It is as if it were not there."""
    assert retry_after(value, 0.0) is None


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("gzip", BOMB, "more than"),
        ("gzip, gzip", gzip.compress(BOMB), "not asked for"),
        ("br", b"whatever", "not asked for"),
        ("gzip", b"{}", "damaged"),
    ],
    ids=["once", "twice", "brotli", "damaged"],
)
async def test_an_answer_that_would_fill_the_memory(encoding: str, body: bytes, said: str) -> None:
    """A client inflates what it asked for, and no more of it than it takes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = AsapSettings(attempts=1)
        async with AsapClient(url, transport="http", settings=settings) as client:
            tracemalloc.start()
            try:
                with pytest.raises(AsapInvalid, match=said):
                    await client.manifest()
                assert tracemalloc.get_traced_memory()[1] < 20_000_000
            finally:
                tracemalloc.stop()


async def test_who_holds_all_calls_can_be_cancelled() -> None:
    """Where no more may wait, a cancellation is still taken: it makes room."""
    async with hosting(asap_max_calls=1) as host, dialled(host.port) as peer:
        config = {"streaming": True}
        held = await peer.say(envelope(payload=task("all calls", "hold", config=config)))
        task_id = payload_of(await peer.hear(is_push))["task_id"]
        assert (await post_json(host.port, rpc(envelope()))).status == 503
        answer = await ask(host.port, envelope("TaskCancel", {"task_id": task_id}))
        assert answer["status"] == "cancelled"
        assert payload_of(await peer.answer(held))["status"] == "cancelled"
        assert (await post_json(host.port, rpc(envelope()))).status == 200
