"""``WS /asap/ws``: requests side by side, news, heartbeats, limits, and what is no request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from palaver.protocols.asap.messages import TaskUpdate
from tests.conftest import Server
from tests.server.asap_peers import (
    DESK,
    PEER,
    acks,
    ask,
    dialled,
    envelope,
    error_of,
    is_push,
    payload_of,
    task,
)
from tests.server.asp_host import hosting

# --- requests and answers --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/asap/ws", "/agents/desk/asap/ws"])
async def test_a_request_is_answered(server: Server, path: str) -> None:
    """The answer has the id of the request, be it a text or a number."""
    async with dialled(server.port, path) as peer:
        for request_id in ("a", 7):
            frame = await peer.ask(envelope(), request_id=request_id)
            assert frame["id"] == request_id
            assert payload_of(frame)["result"]["text"] == "hello"


async def test_a_slow_call_holds_up_no_other(server: Server) -> None:
    """Answers come when they are ready: the held one last, though it was asked first."""
    async with dialled(server.port) as peer:
        slow = await peer.say(envelope(payload=task("slow", "hold")))
        for number in range(20):
            frame = await peer.ask(envelope(payload=task(str(number))))
            assert payload_of(frame)["result"]["text"] == str(number)
        assert peer.told == []
        await peer.ask(envelope(payload=task("slow", "open")))
        assert payload_of(await peer.answer(slow))["status"] == "completed"


async def test_a_cancel_overtakes_its_task(server: Server) -> None:
    """With as many calls as may run, all of them held, a cancel is answered at once."""
    async with dialled(server.port) as peer:
        held = [await peer.say(envelope(payload=_told("stuck", str(n)))) for n in range(64)]
        waiting = await peer.say(envelope(payload=task("behind")))
        started: dict[str, str] = {}
        while len(started) < 64:
            frame = await peer.hear(is_push)
            started[payload_of(frame)["task_id"]] = frame["result"]["envelope"]["id"]
        for task_id in started:
            frame = await peer.ask(envelope("TaskCancel", {"task_id": task_id}))
            assert payload_of(frame)["status"] == "cancelled"
        for request_id in held:
            assert payload_of(await peer.answer(request_id))["status"] == "cancelled"
        assert payload_of(await peer.answer(waiting))["result"]["text"] == "behind"


def _told(gate: str, key: str) -> dict[str, Any]:
    return task(gate, "hold", config={"streaming": True, "idempotency_key": f"{gate}-{key}"})


async def test_a_request_that_wants_it_is_acknowledged(server: Server) -> None:
    """First ``received``, then ``processed`` and the answer; ``rejected`` before an error."""
    async with dialled(server.port) as peer:
        await peer.ask(envelope(id="good", requires_ack=True))
        assert acks(peer.told) == [("good", "received"), ("good", "processed")]
        peer.told.clear()
        lost = envelope(payload=task("x", "dance"), id="bad", requires_ack=True)
        assert error_of(await peer.ask(lost))[0] == -32021
        assert acks(peer.told) == [("bad", "received"), ("bad", "rejected")]
        peer.told.clear()
        old = envelope(id="old", requires_ack=True, timestamp="2020-01-01T00:00:00Z")
        assert error_of(await peer.ask(old)) == (-32602, "asap:protocol/invalid_timestamp")
        await peer.ask(envelope())  # what came behind the error has been heard by now
        assert acks(peer.told) == [("old", "rejected")]


async def test_http_is_never_acknowledged(server: Server) -> None:
    """The answer is the acknowledgement (spec §7)."""
    payload = await ask(server.port, envelope(requires_ack=True))
    assert payload["status"] == "completed"


# --- news ------------------------------------------------------------------------------------


async def test_news_of_a_task_come_before_its_answer(server: Server) -> None:
    """With ``config.streaming`` its sender is told what happens, in order, as it is asked."""
    async with dialled(server.port) as peer:
        asked = envelope("task.request", _told("news", "1"), id="env-news")
        request_id = await peer.say(asked)
        first = await peer.hear(is_push)
        await peer.ask(envelope(payload=task("news", "open")))
        answer = await peer.answer(request_id)
        news = [frame["result"]["envelope"] for frame in [first, *peer.told]]
    task_id = payload_of(answer)["task_id"]
    assert {one["payload"]["task_id"] for one in news} == {task_id}
    assert {(one["sender"], one["recipient"], one["correlation_id"]) for one in news} == {
        (DESK, PEER, "env-news")
    }
    told = [(one["payload_type"], one["payload"].get("update_type")) for one in news]
    assert told == [
        ("task.update", "status_change"),
        ("artifact.notify", None),
        ("task.update", "progress"),
        ("task.update", "status_change"),
    ]
    assert news[2]["payload"]["progress"] == {"percent": 50.0}
    assert news[3]["payload"]["status"] == "completed"


async def test_who_did_not_ask_is_told_nothing(server: Server) -> None:
    """Without ``config.streaming`` there is the answer alone."""
    async with dialled(server.port) as peer:
        await peer.ask(envelope())
        await peer.ask(envelope("StateQuery", {"task_id": "none"}))
        assert peer.told == []


async def test_news_go_on_after_an_answer_that_only_asks(server: Server) -> None:
    """A task that waits for input is followed until its end, whoever answers it."""
    async with dialled(server.port) as peer:
        config = {"streaming": True, "idempotency_key": "asked"}
        frame = await peer.ask(envelope(payload=task("now", "ask", config=config)))
        task_id = payload_of(frame)["task_id"]
        assert payload_of(frame)["status"] == "input_required"
        said = {
            "task_id": task_id,
            "message_id": "m-1",
            "sender": PEER,
            "role": "user",
            "parts": ["Monday"],
        }
        assert (await ask(server.port, envelope("MessageSend", said)))["status"] == "completed"
        await peer.hear(
            lambda frame: is_push(frame) and payload_of(frame).get("status") == "completed"
        )


async def test_all_peers_are_told_at_once() -> None:
    """A broadcast reaches everybody who has said who they are."""
    async with hosting() as host, dialled(host.port) as one, dialled(host.port) as two:
        async with dialled(host.port):
            update = TaskUpdate(task_id="t", update_type="status_change", status="working")
            for number, peer in enumerate((one, two)):
                await peer.ask(envelope(sender=f"urn:asap:agent:peer{number}"))
            told = await host.ask(lambda: host.app.peers.broadcast(update, sender="desk"))
        assert told == 2
        for number, peer in enumerate((one, two)):
            heard = (await peer.hear(is_push))["result"]["envelope"]
            assert heard["recipient"] == f"urn:asap:agent:peer{number}"
            assert heard["payload"]["task_id"] == "t"


# --- what is no request ----------------------------------------------------------------------

GARBAGE: list[tuple[str, str | bytes, int]] = [
    ("no JSON", "{", -32700),
    ("nothing", "", -32700),
    ("a number", "5", -32600),
    ("a text", '"asap"', -32600),
    ("null", "null", -32600),
    ("an array", "[]", -32600),
    ("a batch", json.dumps([{"jsonrpc": "2.0"}]), -32600),
    ("an object", "{}", -32600),
    ("bytes", b"\x00\xff", -32600),
    ("JSON in bytes", b"{}", -32600),
    ("a null id", json.dumps({"jsonrpc": "2.0", "method": "asap.send", "id": None}), -32600),
    ("a deep one", "[" * 100 + "]" * 100, -32600),
    ("too deep for any parser", "[" * 100_000, -32700),
    ("an answer", json.dumps({"jsonrpc": "2.0", "id": None, "result": {}}), -32600),
    ("an ack of nothing", json.dumps({"jsonrpc": "2.0", "method": "asap.ack"}), -32600),
]


async def test_garbage_is_answered_and_ends_nothing(server: Server) -> None:
    """Each kind has its error, to no id; then the same socket takes a request."""
    async with dialled(server.port) as peer:
        for what, sent, code in GARBAGE:
            await peer.socket.send(sent)
            frame = json.loads(await peer.socket.recv())
            assert (frame["id"], error_of(frame)[0]) == (None, code), what
        assert payload_of(await peer.ask(envelope()))["status"] == "completed"


async def test_an_id_in_use_is_refused(server: Server) -> None:
    """Two requests under one JSON-RPC id could not be told apart: the second is refused."""
    async with dialled(server.port) as peer:
        await peer.say(envelope(payload=task("one id", "hold")), request_id="x")
        frame = await peer.ask(envelope(payload=task("other")), request_id="x")
        assert error_of(frame)[0] == -32600
        await peer.ask(envelope(payload=task("one id", "open")))
        assert payload_of(await peer.answer("x"))["status"] == "completed"


async def test_a_page_of_elsewhere_may_not_connect(server: Server) -> None:
    """Browsers say where a page is from (RFC 6455 10.2); other clients say nothing."""
    with pytest.raises(InvalidStatus) as refused:
        async with dialled(server.port, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_an_agent_that_nobody_serves(server: Server) -> None:
    """Its path is refused before a WebSocket is opened."""
    with pytest.raises(InvalidStatus) as refused:
        async with dialled(server.port, "/agents/nobody/asap/ws"):
            pass
    assert refused.value.response.status_code == 404


async def test_as_many_sockets_as_may_be() -> None:
    """One more is refused with 503; where one has left, there is room again."""
    async with hosting(asap_max_sockets=1) as host:
        async with dialled(host.port) as peer:
            with pytest.raises(InvalidStatus) as refused:
                async with dialled(host.port):
                    pass
            assert refused.value.response.status_code == 503
            await peer.ask(envelope())
        async with asyncio.timeout(5):
            while await host.ask(lambda: host.app.peers._open):
                pass
        async with dialled(host.port) as peer:
            await peer.ask(envelope())


# --- heartbeats and rates --------------------------------------------------------------------


async def test_a_silent_peer_is_asked_and_then_left() -> None:
    """Pings come at their interval; without a word the socket closes with 1001."""
    async with hosting(asap_ping_interval=0.05, asap_stale_after=0.3) as host:
        async with dialled(host.port) as peer:
            assert (await peer.closed())[0] == 1001
        assert {"type": "ping"} in peer.told
        assert len(peer.told) >= 3


async def test_a_peer_that_answers_stays() -> None:
    """Whoever says pong, or anything else, is there: well beyond the time of silence."""
    times = {"asap_ping_interval": 0.05, "asap_stale_after": 0.3}
    async with hosting(**times) as host, dialled(host.port) as peer:
        for _ in range(15):
            assert await peer.hear(lambda frame: frame == {"type": "ping"})
            await peer.socket.send('{"type":"pong"}')
        assert payload_of(await peer.ask(envelope()))["status"] == "completed"


async def test_a_ping_of_the_peer_is_answered(server: Server) -> None:
    """A client may ask as well."""
    async with dialled(server.port) as peer:
        await peer.socket.send('{"type":"ping"}')
        assert await peer.hear(lambda frame: frame == {"type": "pong"})


async def test_who_sends_too_fast_is_slowed_and_not_cut() -> None:
    """At 100 a second, 50 beyond the burst take half a second, and each is answered."""
    rate = {"asap_max_rate": 100.0, "asap_max_burst": 10}
    async with hosting(**rate) as host, dialled(host.port) as peer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = [await peer.say(envelope("StateQuery", {"task_id": "none"})) for _ in range(60)]
        for request_id in asked:
            assert error_of(await peer.answer(request_id)) == (-32010, "asap:task/not_found")
        assert loop.time() - began >= 0.4


# --- compression -----------------------------------------------------------------------------


async def test_envelopes_are_compressed_for_who_offers_it(server: Server) -> None:
    """Large messages both ways; small ones go as they are, and all arrive."""
    offer = [ClientPerMessageDeflateFactory(compress_settings={"memLevel": 4})]
    async with dialled(server.port, compression=None, extensions=offer) as peer:
        assert peer.socket.response is not None
        accepted = peer.socket.response.headers["Sec-WebSocket-Extensions"]
        assert accepted.startswith("permessage-deflate")
        for text in ("short", "long " * 10_000, "é" * 3_000):
            frame = await peer.ask(envelope(payload=task(text.strip())))
            assert payload_of(frame)["result"]["text"] == text.strip()


async def test_what_inflates_to_too_much_is_not_taken(server: Server) -> None:
    """A message of 17 KB that holds 17 MB closes the socket with 1009 (RFC 6455 7.4.1)."""
    offer = [ClientPerMessageDeflateFactory()]
    async with dialled(server.port, extensions=offer) as peer:
        await peer.socket.send(" " * 17 * 1024 * 1024)
        assert (await peer.closed())[0] == 1009


async def test_calls_of_asp_are_not_compressed(server: Server) -> None:
    """Audio gets no smaller: the offer is left out there."""
    offer = [ClientPerMessageDeflateFactory()]
    async with dialled(server.port, "/asp", extensions=offer) as peer:
        assert peer.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in peer.socket.response.headers


# --- other servers ---------------------------------------------------------------------------


async def test_on_another_server_of_asgi() -> None:
    """Without our own listener it works the same, message by message."""
    async with hosting(plain=True) as host, dialled(host.port) as peer:
        slow = await peer.say(envelope(payload=_told("plain", "1")))
        await peer.hear(is_push)
        await peer.socket.send(b"garbage")
        assert error_of(await peer.hear(lambda frame: "error" in frame))[0] == -32600
        for _ in range(100):
            await peer.ask(envelope("StateQuery", {"task_id": "none"}))
        await peer.ask(envelope(payload=task("plain", "open")))
        assert payload_of(await peer.answer(slow))["status"] == "completed"
