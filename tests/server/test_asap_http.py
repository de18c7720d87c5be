"""``POST /asap``: what each envelope is answered with, and what is refused, and how."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest

from tests.conftest import Server
from tests.server.asap_peers import (
    DESK,
    PEER,
    ask,
    envelope,
    error_of,
    payload_of,
    post_json,
    rpc,
    task,
)
from tests.server.raw import post, send

JSON = "application/json"


# --- what is answered ------------------------------------------------------------------------


async def test_a_request_is_answered_by_its_task(server: Server) -> None:
    """The answer is an envelope to the sender, which names the request and what was made."""
    request = envelope(id="env-1", trace_id="trace-1", extensions={"org.example.any": 1})
    answer = await post_json(server.port, rpc(request, "seven"))
    assert answer.status == 200
    assert answer.json["id"] == "seven"
    reply = answer.json["result"]["envelope"]
    assert (reply["sender"], reply["recipient"]) == (DESK, PEER)
    assert (reply["correlation_id"], reply["trace_id"]) == ("env-1", "trace-1")
    assert reply["payload_type"] == "TaskResponse"
    assert reply["payload"]["status"] == "completed"
    assert reply["payload"]["result"]["text"] == "hello"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("TaskRequest", "TaskResponse"),
        ("task.request", "task.response"),
        ("task_request", "task_response"),
        ("task-request", "task-response"),
        ("TASK.REQUEST", "task.response"),
    ],
)
async def test_types_are_spelled_as_they_were(server: Server, asked: str, answered: str) -> None:
    """Each family of spellings is answered in kind."""
    answer = await post_json(server.port, rpc(envelope(asked)))
    assert answer.json["result"]["envelope"]["payload_type"] == answered


@pytest.mark.parametrize(
    ("skill", "status", "result"),
    [
        ("fail", "failed", {"error"}),
        ("reject", "failed", {"error"}),
        ("ask", "input_required", {"input_request"}),
    ],
)
async def test_how_a_task_can_end(
    server: Server, skill: str, status: str, result: set[str]
) -> None:
    """Failed and rejected tasks are failed to a peer; one that asks waits for its answer."""
    payload = await ask(server.port, envelope(payload=task("now", skill)))
    assert payload["status"] == status
    assert payload["result"].keys() == result
    assert "secret" not in json.dumps(payload)


async def test_a_message_answers_what_a_task_asked(server: Server) -> None:
    """MessageSend goes on with the task, and is answered with it; a second copy changes nothing."""
    asked = await ask(server.port, envelope(payload=task("now", "ask")))
    said = {
        "task_id": asked["task_id"],
        "message_id": "m-1",
        "sender": PEER,
        "role": "user",
        "parts": [{"type": "text", "content": "Monday"}],
    }
    for _ in range(2):
        payload = await ask(server.port, envelope("MessageSend", said))
        assert payload["status"] == "completed"
        assert payload["result"]["text"] == "You said Monday."


async def test_a_wait_has_its_deadline(server: Server) -> None:
    """After ``config.timeout_seconds`` the task is said to go on; the same request asks again."""
    held = task("deadline", "hold", config={"timeout_seconds": 1, "idempotency_key": "dead"})
    payload = await ask(server.port, envelope(payload=held))
    assert payload["status"] == "working"
    await ask(server.port, envelope(payload=task("deadline", "open")))
    again = await ask(server.port, envelope(payload=held))
    assert again["task_id"] == payload["task_id"]
    assert again["status"] == "completed"


async def test_a_running_task_is_cancelled(server: Server) -> None:
    """TaskCancel stops it: both requests are answered, and a second cancel as the first."""
    held = task("never", "hold", config={"idempotency_key": "never"})
    running = asyncio.create_task(ask(server.port, envelope(payload=held)))
    probe = task("never", "hold", config={"idempotency_key": "never", "timeout_seconds": 1})
    task_id = (await ask(server.port, envelope(payload=probe)))["task_id"]
    for _ in range(2):
        stop = {"task_id": task_id, "reason": "enough"}
        payload = await ask(server.port, envelope("TaskCancel", stop))
        assert (payload["task_id"], payload["status"]) == (task_id, "cancelled")
    assert (await running)["status"] == "cancelled"


async def test_the_state_of_a_task_is_told(server: Server) -> None:
    """StateQuery gives the latest snapshot, or any before; StateRestore the one that is named."""
    task_id = (await ask(server.port, envelope(payload=task("a b c"))))["task_id"]
    latest = (await ask(server.port, envelope("StateQuery", {"task_id": task_id})))["final_state"]
    assert latest["task_id"] == task_id
    assert latest["data"]["status"] == "completed"
    assert latest["checkpoint"] is True
    first = await ask(server.port, envelope("state.query", {"task_id": task_id, "version": 1}))
    assert first["final_state"]["data"]["status"] == "submitted"
    assert first["status"] == "completed"  # that is how the task stands
    named = {"task_id": task_id, "snapshot_id": first["final_state"]["id"]}
    restored = await ask(server.port, envelope("StateRestore", named))
    assert restored["final_state"] == first["final_state"]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (
            "TaskUpdate",
            {"task_id": "theirs", "update_type": "progress", "status": "working"},
        ),
        ("ArtifactNotify", {"task_id": "theirs", "artifact_id": "a"}),
        ("MessageAck", {"original_envelope_id": "e", "status": "received"}),
    ],
)
async def test_news_of_a_peer_are_taken(server: Server, kind: str, payload: dict[str, Any]) -> None:
    """What a peer tells of its own tasks is acknowledged, and a line in the log."""
    answer = await post_json(server.port, rpc(envelope(kind, payload, id="news")))
    reply = answer.json["result"]["envelope"]
    assert reply["payload_type"] == "MessageAck"
    assert reply["payload"] == {"original_envelope_id": "news", "status": "received"}


async def test_an_agent_may_be_named_in_the_path(server: Server) -> None:
    """The path says who is asked; a name that nobody has is an error that names it."""
    own = await post_json(
        server.port, rpc(envelope(recipient="urn:asap:agent:x")), "/agents/desk/asap"
    )
    assert payload_of(own.json)["status"] == "completed"
    nobody = await post_json(server.port, rpc(envelope()), "/agents/nobody/asap")
    assert error_of(nobody.json) == (-32013, "asap:routing/agent_not_found")
    assert "'nobody'" in nobody.json["error"]["message"]


# --- what is refused -------------------------------------------------------------------------

ERRORS: list[tuple[str, Any, int, str]] = [
    ("no JSON", b"{", -32700, "asap:protocol/malformed_envelope"),
    ("nothing", b"", -32700, "asap:protocol/malformed_envelope"),
    ("a number", b"5", -32600, "asap:protocol/malformed_envelope"),
    ("a text", b'"asap"', -32600, "asap:protocol/malformed_envelope"),
    ("null", b"null", -32600, "asap:protocol/malformed_envelope"),
    ("an empty batch", b"[]", -32600, "asap:protocol/malformed_envelope"),
    ("a batch too long", [1] * 101, -32600, "asap:protocol/malformed_envelope"),
    ("no id", rpc(envelope(), None), -32600, "asap:protocol/malformed_envelope"),
    ("an id of another kind", rpc(envelope(), 1.5), -32600, "asap:protocol/malformed_envelope"),
    (
        "another version",
        rpc(envelope()) | {"jsonrpc": "1.0"},
        -32600,
        "asap:protocol/malformed_envelope",
    ),
    ("an extra member", rpc(envelope()) | {"more": 1}, -32600, "asap:protocol/malformed_envelope"),
    (
        "another method",
        rpc(envelope()) | {"method": "asap.get"},
        -32601,
        "asap:protocol/method_not_found",
    ),
    ("an unknown type", rpc(envelope("Dance")), -32601, "asap:transport/handler_not_found"),
    (
        "a tool that nobody has",
        rpc(envelope("McpToolCall", {"request_id": "r", "tool_name": "t", "arguments": {}})),
        -32601,
        "asap:transport/handler_not_found",
    ),
    (
        "a resource that nobody has",
        rpc(envelope("mcp.resource.fetch", {"resource_uri": "x:y"})),
        -32601,
        "asap:transport/handler_not_found",
    ),
    ("no envelope", rpc({}), -32602, "asap:protocol/malformed_envelope"),
    ("no URN", rpc(envelope(sender="me")), -32602, "asap:protocol/malformed_envelope"),
    ("a member too many", rpc(envelope(span_id="x")), -32602, "asap:protocol/malformed_envelope"),
    (
        "a payload of another type",
        rpc(envelope(payload={"a": 1})),
        -32602,
        "asap:protocol/malformed_envelope",
    ),
    (
        "an answer to nothing",
        rpc(envelope("task.response", {"task_id": "t", "status": "working"})),
        -32602,
        "asap:protocol/malformed_envelope",
    ),
    (
        "an old envelope",
        rpc(envelope(timestamp="2020-01-01T00:00:00Z")),
        -32602,
        "asap:protocol/invalid_timestamp",
    ),
    (
        "one of the future",
        rpc(envelope(timestamp="2099-01-01T00:00:00Z")),
        -32602,
        "asap:protocol/invalid_timestamp",
    ),
    (
        "an unknown skill",
        rpc(envelope(payload=task("x", "dance"))),
        -32021,
        "asap:capability/skill_not_found",
    ),
    (
        "an unknown task",
        rpc(envelope("TaskCancel", {"task_id": "t"})),
        -32010,
        "asap:task/not_found",
    ),
    (
        "a state of none",
        rpc(envelope("StateQuery", {"task_id": "t"})),
        -32010,
        "asap:task/not_found",
    ),
    (
        "a version of old",
        rpc(envelope(asap_version="9.9")),
        -32000,
        "asap:protocol/version_mismatch",
    ),
    (
        "two keys",
        rpc(envelope(), idempotency_key="one"),
        -32600,
        "asap:protocol/malformed_envelope",
    ),
]


@pytest.mark.parametrize(
    ("value", "code", "word"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
async def test_what_is_wrong_is_told_as_json_rpc(
    server: Server, value: Any, code: int, word: str
) -> None:
    """Each error has its number and its word; HTTP says 200, as JSON-RPC has it."""
    headers = {"X-Idempotency-Key": "two"} if "idempotency_key" in str(value) else {}
    answer = await post_json(server.port, value, headers=headers)
    assert answer.status == 200
    assert error_of(answer.json) == (code, word)
    known = value.get("id") if isinstance(value, dict) and type(value.get("id")) is int else None
    assert answer.json["id"] == known


async def test_a_task_that_has_ended_is_not_cancelled(server: Server) -> None:
    """It keeps its end, and the error says which that is."""
    task_id = (await ask(server.port, envelope()))["task_id"]
    answer = await post_json(server.port, rpc(envelope("TaskCancel", {"task_id": task_id})))
    assert error_of(answer.json) == (-32030, "asap:task/already_completed")
    assert answer.json["error"]["data"]["details"]["from_state"] == "completed"


@pytest.mark.parametrize("version", [0, 2**40])
async def test_a_version_that_no_task_has(server: Server, version: int) -> None:
    """Versions go from 1 to that of the latest event."""
    task_id = (await ask(server.port, envelope()))["task_id"]
    query = {"task_id": task_id, "version": version}
    answer = await post_json(server.port, rpc(envelope("StateQuery", query)))
    assert error_of(answer.json) == (-32010, "asap:task/not_found")
    strange = {"task_id": task_id, "snapshot_id": "snap_of_another"}
    answer = await post_json(server.port, rpc(envelope("StateRestore", strange)))
    assert error_of(answer.json) == (-32010, "asap:task/not_found")


# --- keys ------------------------------------------------------------------------------------

KEYS: list[tuple[str, dict[str, str], dict[str, Any], dict[str, Any]]] = [
    ("header", {"X-Idempotency-Key": "k-header"}, {}, {}),
    ("params", {}, {"idempotency_key": "k-params"}, {}),
    ("config", {}, {}, {"idempotency_key": "k-config"}),
    ("both the same", {"X-Idempotency-Key": "k-b"}, {"idempotency_key": "k-b"}, {}),
    ("config beside a new one", {}, {}, {"idempotency_key": "k-config-2"}),
]


@pytest.mark.parametrize(
    ("headers", "params", "config"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS]
)
async def test_a_key_lets_a_request_run_once(
    server: Server, headers: dict[str, str], params: dict[str, Any], config: dict[str, Any]
) -> None:
    """Wherever the key stands, envelopes with ids of their own are one request by it."""
    payload = task("once", config=config) if config else task("once")
    ids = set()
    for number in range(3):
        given = dict(headers)
        if config.get("idempotency_key") == "k-config-2":
            given["X-Idempotency-Key"] = (
                f"new-{number}"  # as clients do that make one for each send
            )
        body = rpc(envelope(payload=payload), **params)
        ids.add(payload_of((await post_json(server.port, body, headers=given)).json)["task_id"])
    assert len(ids) == 1


async def test_a_key_is_for_one_request_alone(server: Server) -> None:
    """With other content it is refused; another skill, or another sender, has its own."""
    first = rpc(envelope(), idempotency_key="mine")
    assert (await post_json(server.port, first)).json["result"]
    other = rpc(envelope(payload=task("other words")), idempotency_key="mine")
    answer = await post_json(server.port, other)
    assert error_of(answer.json) == (-32602, "asap:protocol/idempotency_conflict")
    foreign = rpc(envelope(sender="urn:asap:agent:other"), idempotency_key="mine")
    skill = rpc(envelope(payload=task("gate", "open")), idempotency_key="mine")
    for body in (foreign, skill):
        assert (await post_json(server.port, body)).json["result"]


@pytest.mark.parametrize("key", ["", "k" * 257])
async def test_a_key_has_its_length(server: Server, key: str) -> None:
    """A header that holds none, or too much, is told by its name."""
    answer = await post_json(server.port, rpc(envelope()), headers={"X-Idempotency-Key": key})
    assert error_of(answer.json)[0] == -32600
    assert "X-Idempotency-Key" in answer.json["error"]["message"]


# --- batches ---------------------------------------------------------------------------------


async def test_each_item_of_a_batch_is_answered_for_itself(server: Server) -> None:
    """The answers stand in the order of the items, whatever becomes of each."""
    batch = [rpc(envelope(payload=task(str(n))), n) for n in range(20)]
    batch[3], batch[7], batch[9] = 5, [], rpc(envelope("Dance"), "nine")  # type: ignore[call-overload]
    answer = await post_json(server.port, batch)
    assert answer.status == 200
    for number, frame in enumerate(answer.json):
        if number in {3, 7}:
            assert (frame["id"], error_of(frame)[0]) == (None, -32600)
        elif number == 9:
            assert (frame["id"], error_of(frame)[0]) == ("nine", -32601)
        else:
            assert frame["id"] == number
            assert payload_of(frame)["result"]["text"] == str(number)


async def test_a_slow_item_holds_up_no_other(server: Server) -> None:
    """The items of a batch go on side by side: one opens the gate of another."""
    batch = [rpc(envelope(payload=task("side", skill)), skill) for skill in ("hold", "open")]
    frames = (await post_json(server.port, batch)).json
    assert [payload_of(frame)["status"] for frame in frames] == ["completed"] * 2


async def test_the_key_of_a_batch_is_for_each_of_its_items(server: Server) -> None:
    """A batch that is sent again with the same header is answered as it was."""
    batch = [rpc(envelope(payload=task(str(n))), n) for n in range(3)]
    ids = []
    for _ in range(2):
        answer = await post_json(server.port, batch, headers={"X-Idempotency-Key": "batch"})
        ids.append([payload_of(frame)["task_id"] for frame in answer.json])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


# --- bodies ----------------------------------------------------------------------------------

Pack = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        (
            "GZIP",
            lambda data: gzip.compress(data[:20], mtime=0) + gzip.compress(data[20:], mtime=0),
        ),
        ("br", brotli.compress),
        ("identity", bytes),
    ],
    ids=["gzip", "x-gzip", "two members", "br", "identity"],
)
async def test_bodies_may_be_compressed(server: Server, encoding: str, pack: Pack) -> None:
    """What was compressed is answered as if it was not."""
    body = pack(json.dumps(rpc(envelope(payload=task("a " * 5_000)))).encode())
    answer = await post_json(server.port, body, headers={"Content-Encoding": encoding})
    assert payload_of(answer.json)["status"] == "completed"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("deflate", zlib.compress(b"{}"), 415),
        ("zstd", b"", 415),
        ("gzip, gzip", b"", 415),
        ("gzip", b"{}", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b"a" * 90_000, mtime=0)[:-12], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"behind", 400),
        ("br", b"\xff{}", 400),
        ("br", brotli.compress(b"abc" * 9_000)[:-4], 400),
        ("gzip", gzip.compress(b" " * 200_001, mtime=0), 413),
        ("br", brotli.compress(b" " * 200_001), 413),
        ("identity", b" " * 200_001, 413),
    ],
)
async def test_bodies_that_are_not_taken(
    server: Server, encoding: str, body: bytes, status: int
) -> None:
    """Outside of JSON-RPC, the status says what is wrong, and ``detail`` why."""
    answer = await post_json(server.port, body, headers={"Content-Encoding": encoding})
    assert answer.status == status
    assert answer.json.keys() == {"detail"}
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip, br, identity"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"{}", "/asap", {"Content-Type": "text/plain"}), 415),
        (post(b"", "/asap", method="GET"), 405),
        (post(b"", "/asap", method="PUT"), 405),
        (post(b"{", "/asap", {"Content-Length": "10"}), 408),
    ],
    ids=["no JSON", "GET", "PUT", "a body that does not come"],
)
async def test_requests_that_are_not_taken(
    server: Server, request_bytes: bytes, status: int
) -> None:
    """What is no ``POST`` of JSON, or does not arrive, is refused in the same shape."""
    answer = await send(server.port, request_bytes)
    assert answer.status == status
    assert answer.json.keys() == {"detail"}


async def test_sixty_four_megabytes_out_of_sixty_three_kilobytes(server: Server) -> None:
    """A bomb is not inflated beyond the limit: the memory of the server stays as it is."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
    assert len(bomb) < 70_000
    before = _peak_kb(server)
    answers = await asyncio.gather(
        *(post_json(server.port, bomb, headers={"Content-Encoding": "gzip"}) for _ in range(10))
    )
    assert {answer.status for answer in answers} == {413}
    assert _peak_kb(server) - before < 20_000


def _peak_kb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0])


# --- what is told of the agent ---------------------------------------------------------------


async def test_the_manifest_says_where_the_agent_is(server: Server) -> None:
    """It has the members of ASAP 1.1 and no others, and names both endpoints."""
    answer = await send(server.port, post(b"", "/.well-known/asap/manifest.json", method="GET"))
    manifest = answer.json
    assert manifest["id"] == DESK
    assert manifest.keys() <= {
        "id", "name", "version", "description", "capabilities", "endpoints", "auth",
        "signature", "ttl_seconds",
    }  # fmt: skip
    assert manifest["endpoints"] == {
        "asap": "http://127.0.0.1/asap",
        "events": "ws://127.0.0.1/asap/ws",
    }
    assert "say" in [skill["id"] for skill in manifest["capabilities"]["skills"]]
    named = await send(
        server.port, post(b"", "/agents/desk/.well-known/asap/manifest.json", method="GET")
    )
    assert named.json["endpoints"]["asap"] == "http://127.0.0.1/agents/desk/asap"


async def test_the_manifest_is_fetched_once(server: Server) -> None:
    """Who has it is told 304, with the same headers, also where several tags are named."""
    path = "/.well-known/asap/manifest.json"
    first = await send(server.port, post(b"", path, method="GET"))
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "public, max-age=300"
    for known in (etag, f'"other", {etag}', "*"):
        again = await send(server.port, post(b"", path, {"If-None-Match": known}, method="GET"))
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "public, max-age=300"
    other = await send(server.port, post(b"", path, {"If-None-Match": '"x"'}, method="GET"))
    assert other.status == 200


@pytest.mark.parametrize("prefix", ["", "/agents/desk"])
async def test_health_is_told(server: Server, prefix: str) -> None:
    """A server that takes requests is healthy, and says what it holds."""
    path = f"{prefix}/.well-known/asap/health"
    answer = await send(server.port, post(b"", path, method="GET"))
    assert answer.status == 200
    health = answer.json
    assert health["status"] == "healthy"
    assert health["agent_id"] == DESK
    assert health["asap_version"] == "0.1"
    assert health["load"].keys() == {"active_tasks", "queue_depth"}


@pytest.mark.parametrize("name", ["manifest.json", "health"])
async def test_nobody_has_no_manifest(server: Server, name: str) -> None:
    """An agent that is not served is a 404."""
    path = f"/agents/nobody/.well-known/asap/{name}"
    assert (await send(server.port, post(b"", path, method="GET"))).status == 404


async def test_what_is_counted(server: Server) -> None:
    """Types that a peer makes up are one type in the metrics, and no label grows with them."""
    for number in range(3):
        await post_json(server.port, rpc(envelope(f"Dance{number}")))
    await ask(server.port, envelope())
    text = (await send(server.port, post(b"", "/metrics", method="GET"))).body.decode()
    assert "Dance" not in text
    assert (
        'asap_requests_error_total{error_type="transport/handler_not_found",payload_type="other"}'
        in text
    )
    assert 'asap_requests_total{payload_type="TaskRequest",status="success"}' in text
    assert "asap_request_duration_seconds_bucket" in text
