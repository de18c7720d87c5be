"""Requests that are none: each gets the right code, in JSON, and leaves the server as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import Server
from tests.server.raw import call, pieces, post, send

OLDEST = "/agents/desk/tasks/sendSubscribe"
JSON_ERROR = "Invalid JSON payload: the request is not JSON: "
SHAPE_ERROR = "Request payload validation error: "
V10 = {"A2A-Version": "1.0"}


def said(text: str = "x", **more: Any) -> dict[str, Any]:
    """Return the params of a message of 1.0, with other members than the right ones."""
    message = {"messageId": "bad-1", "role": "ROLE_USER", "parts": [{"text": text}], **more}
    return {"message": message}


def said_v03(**more: Any) -> dict[str, Any]:
    """Return the params of a message of 0.3, with other members than the right ones."""
    parts = [{"kind": "text", "text": "x"}]
    return {"message": {"messageId": "bad-2", "role": "user", "parts": parts, **more}}


def said_v01(**more: Any) -> dict[str, Any]:
    """Return the params of a message of 0.1, with other members than the right ones."""
    return {"id": "t", "message": {"role": "user", "parts": [{"type": "text", "text": "x"}]}} | more


FRAMES: list[tuple[str, bytes, int, str]] = [
    ("nothing", b"", -32700, JSON_ERROR),
    ("half an object", b'{"jsonrpc":', -32700, JSON_ERROR),
    ("a word", b"hello", -32700, JSON_ERROR),
    ("HTML", b"<html></html>", -32700, JSON_ERROR),
    ("NaN", b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":NaN}', -32700, JSON_ERROR),
    ("infinity", b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":1e999}}', -32700, JSON_ERROR),
    ("half a character", b'{"jsonrpc":"2.0","id":"\\ud800","method":"x"}', -32700, JSON_ERROR),
    ("invalid UTF-8", b'{"jsonrpc":"2.0","id":"\xff","method":"x"}', -32700, JSON_ERROR),
    ("a byte order mark", b'\xef\xbb\xbf{"jsonrpc":"2.0"}', -32700, JSON_ERROR),
    ("two objects", b"{}{}", -32700, JSON_ERROR),
    ("10,000 levels", b"[" * 10_000 + b"]" * 10_000, -32700, JSON_ERROR),
    (
        "10,000 levels inside",
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b'{"a":' * 9_999 + b"1" + b"}" * 10_000,
        -32700,
        JSON_ERROR,
    ),
    (
        "100 levels inside",
        call("SendMessage", json.loads('{"a":' * 100 + "1" + "}" * 100)),
        -32600,
        f"{SHAPE_ERROR}the request nests deeper than 64 levels",
    ),
    ("a batch", b"[" + call("GetTask") + b"]", -32600, f"{SHAPE_ERROR}the request must be one"),
    ("an empty batch", b"[]", -32600, f"{SHAPE_ERROR}the request must be one object: batches are"),
    ("a number", b"1", -32600, f"{SHAPE_ERROR}the request must be an object"),
    ("null", b"null", -32600, f"{SHAPE_ERROR}the request must be an object"),
    ("an empty object", b"{}", -32600, f'{SHAPE_ERROR}jsonrpc must be "2.0"'),
    ("the old version", b'{"jsonrpc":"1.0"}', -32600, f'{SHAPE_ERROR}jsonrpc must be "2.0"'),
    ("a number as version", b'{"jsonrpc":2.0}', -32600, f'{SHAPE_ERROR}jsonrpc must be "2.0"'),
    ("no method", b'{"jsonrpc":"2.0"}', -32600, f"{SHAPE_ERROR}method must be a non-empty string"),
    ("an empty method", call(""), -32600, f"{SHAPE_ERROR}method must be a non-empty string"),
    (
        "a method of 129 characters",
        call("m" * 129),
        -32600,
        f"{SHAPE_ERROR}method has 129 characters; at most 128 are allowed",
    ),
    (
        "params in an array",
        call("GetTask", ["t"]),
        -32600,
        f"{SHAPE_ERROR}params must be an object",
    ),
    (
        "null as params",
        b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":null}',
        -32600,
        f"{SHAPE_ERROR}params must be an object",
    ),
    (
        "an id in an object",
        call("GetTask", {}, {}),
        -32600,
        f"{SHAPE_ERROR}id must be a string, an integer or null",
    ),
    (
        "an id with a fraction",
        call("GetTask", {}, 1.5),
        -32600,
        f"{SHAPE_ERROR}id must be a string, an integer or null",
    ),
    (
        "an id of 257 characters",
        call("GetTask", {}, "i" * 257),
        -32600,
        f"{SHAPE_ERROR}id has 257 characters; at most 256 are allowed",
    ),
]


@pytest.mark.parametrize("path", ["/a2a", "/agents/desk/a2a", OLDEST, f"/api/v1{OLDEST}"])
@pytest.mark.parametrize(
    ("body", "code", "message"), [row[1:] for row in FRAMES], ids=[row[0] for row in FRAMES]
)
async def test_frames_that_are_none(
    server: Server, path: str, body: bytes, code: int, message: str
) -> None:
    """Section 1: -32700 or -32600 with the reason; the routes of 0.1 answer HTTP 400 to it."""
    answer = await send(server.port, post(body, path))
    assert answer.status == (400 if "sendSubscribe" in path else 200)
    assert answer.json["jsonrpc"] == "2.0"
    error = answer.json["error"]
    assert error["code"] == code
    assert error["message"].startswith(message)
    assert "data" not in error


async def test_details_of_1_0_in_refusals_of_the_frame(server: Server) -> None:
    """Section 4, Errors: who asks for 1.0 reads the reason of -32600 as data, too."""
    answer = await send(server.port, post(b"[]", headers=V10))
    (detail,) = answer.json["error"]["data"]
    assert detail["reason"] == "INVALID_REQUEST"


METHODS: list[tuple[str, dict[str, str], str, int, str]] = [
    ("/a2a", {}, "nope", -32601, "Method not found: 'nope'"),
    ("/a2a", V10, "nope", -32601, "Method not found: 'nope'"),
    ("/a2a", V10, "sendmessage", -32601, "Method not found: 'sendmessage'"),
    ("/a2a", V10, "message/send", -32601, "Method not found: 'message/send' is no method of 1.0;"),
    ("/a2a", {}, "SendMessage", -32009, "Protocol version is not supported: SendMessage is a"),
    ("/a2a", {"A2A-Version": "0.3"}, "GetTask", -32009, "Protocol version is not supported: Get"),
    ("/a2a", {"A2A-Version": "2.0"}, "GetTask", -32009, "Protocol version is not supported: A2A-V"),
    ("/a2a", {"A2A-Version": "one"}, "GetTask", -32009, "Protocol version is not supported: A2A-V"),
    ("/a2a?A2A-Version=7.1", {}, "GetTask", -32009, "Protocol version is not supported: A2A-Versi"),
    ("/a2a", V10, "ListTasks", -32004, "This operation is not supported: ListTasks: this agent"),
    ("/a2a", V10, "GetExtendedAgentCard", -32004, "This operation is not supported: GetExtendedA"),
    ("/a2a", V10, "CreateTaskPushNotificationConfig", -32003, "Push Notification is not supported"),
    ("/a2a", {}, "tasks/pushNotificationConfig/set", -32003, "Push Notification is not supported"),
    ("/a2a", {}, "tasks/pushNotification/get", -32003, "Push Notification is not supported: task"),
    (
        OLDEST,
        {},
        "tasks/send",
        -32601,
        "Method not found: 'tasks/send' is not served at this path; it takes 'tasks/sendSubscribe'",
    ),
    ("/agents/desk/tasks/send", V10, "tasks/get", -32601, "Method not found: 'tasks/get' is not"),
    ("/agents/nobody/a2a", V10, "GetTask", -32602, "Invalid parameters: no agent 'nobody' is ser"),
    (
        "/agents/nobody/tasks/sendSubscribe",
        {},
        "tasks/sendSubscribe",
        -32602,
        "Invalid parameters: no agent 'nobody' is served here",
    ),
    ("/agents/%2e%2e/a2a", {}, "message/send", -32602, "Invalid parameters: no agent '..' is serv"),
    ("/agents/a%00b/a2a", {}, "message/send", -32602, "Invalid parameters: no agent 'a\\x00b' is"),
    ("/a2a?" + "a=1&" * 200, {}, "message/send", -32602, "Invalid parameters: the query of the UR"),
]


@pytest.mark.parametrize(("path", "headers", "method", "code", "message"), METHODS)
async def test_methods_versions_and_agents_that_are_not_served(
    server: Server, path: str, headers: dict[str, str], method: str, code: int, message: str
) -> None:
    """Section 6: what is not served is refused for what it is."""
    answer = await send(server.port, post(call(method, {"id": "t"}), path, headers))
    assert answer.status == (400 if code == -32601 and "/tasks/" in path else 200)
    assert answer.json["id"] == 1
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"].startswith(message)


A2A_10 = ("/a2a", V10)
A2A_03: tuple[str, dict[str, str]] = ("/a2a", {})
A2A_01: tuple[str, dict[str, str]] = (OLDEST, {})
LONG = "t" * 150_000
PARAMS: list[tuple[tuple[str, dict[str, str]], str, Any, int, str]] = [
    (A2A_10, "SendMessage", {}, -32602, "message is required"),
    (A2A_10, "SendMessage", {"message": "hi"}, -32602, "message must be an object"),
    (A2A_10, "SendMessage", {"message": None}, -32602, "message must be an object"),
    (A2A_10, "SendMessage", said(messageId=""), -32602, "message.messageId must not be empty"),
    (A2A_10, "SendMessage", said(messageId=1), -32602, "message.messageId must be a string"),
    (A2A_10, "SendMessage", said(role="ROLE_KING"), -32602, "message.role must be"),
    (A2A_10, "SendMessage", said(parts=[]), -32602, "message.parts must hold at least one part"),
    (A2A_10, "SendMessage", said(parts=None), -32602, "message.parts must"),
    (A2A_10, "SendMessage", said(parts=[{}]), -32602, "message.parts[0]"),
    (A2A_10, "SendMessage", said(parts=["x"]), -32602, "message.parts[0] must be an object"),
    (A2A_10, "SendMessage", said(parts=[{"text": 1}]), -32602, "message.parts[0].text must be a s"),
    (A2A_10, "SendMessage", said(parts=[{"raw": "?"}]), -32602, "message.parts[0].raw must be bas"),
    (A2A_10, "SendMessage", said(parts=[{"text": "a", "url": "b"}]), -32602, "message.parts[0]"),
    (A2A_10, "SendMessage", said(taskId="nowhere"), -32001, "there is no task 'nowhere'"),
    (A2A_10, "SendMessage", said(taskId="a\0b"), -32602, "message.taskId holds the character U+00"),
    (A2A_10, "SendMessage", said() | {"tenant": "x"}, -32602, "no agent 'x' is served here"),
    (
        A2A_10,
        "SendMessage",
        said() | {"configuration": {"historyLength": -1}},
        -32602,
        "configuration.historyLength must be at least 0",
    ),
    (
        A2A_10,
        "SendMessage",
        said() | {"configuration": {"returnImmediately": "yes"}},
        -32602,
        "configuration.returnImmediately must be true or false",
    ),
    (A2A_10, "SendStreamingMessage", {}, -32602, "message is required"),
    (A2A_10, "GetTask", {}, -32602, "id is required"),
    (A2A_10, "GetTask", {"id": 1}, -32602, "id must be a string"),
    (A2A_10, "GetTask", {"id": ""}, -32602, "id must not be empty"),
    (A2A_10, "GetTask", {"id": "a/b/../c"}, -32001, "there is no task 'a/b/../c'"),
    (A2A_10, "GetTask", {"id": "a\0b"}, -32602, "id holds the character U+0000 at position 1"),
    (A2A_10, "GetTask", {"id": "a\u0085"}, -32602, "id holds the character U+0085 at position 1"),
    (A2A_10, "GetTask", {"id": "t" * 256}, -32001, "there is no task 't"),
    (A2A_10, "GetTask", {"id": "t" * 257}, -32602, "id has 257 characters; at most 256 are allow"),
    (A2A_10, "GetTask", {"id": LONG}, -32602, "id has 150000 characters; at most 256 are allo"),
    (
        A2A_10,
        "GetTask",
        {"id": "t", "historyLength": 1.5},
        -32602,
        "historyLength must be an integ",
    ),
    (A2A_10, "GetTask", {"id": "t", "historyLength": "1"}, -32602, "historyLength must be an inte"),
    (A2A_10, "CancelTask", {"id": "nowhere"}, -32001, "there is no task 'nowhere'"),
    (A2A_10, "SubscribeToTask", {"id": "nowhere"}, -32001, "there is no task 'nowhere'"),
    (A2A_03, "message/send", {}, -32602, "message is required"),
    (A2A_03, "message/send", said_v03(messageId=None), -32602, "message.messageId must be a strin"),
    (A2A_03, "message/send", said_v03(parts=[{"kind": "text"}]), -32602, "message.parts[0] must h"),
    (
        A2A_03,
        "message/send",
        said_v03(parts=[{"text": "x"}]),
        -32602,
        "message.parts[0].kind is re",
    ),
    (
        A2A_03,
        "message/send",
        said_v03(parts=[{"kind": "tune"}]),
        -32602,
        "message.parts[0].kind mu",
    ),
    (A2A_03, "message/send", said_v03(parts=[{"kind": "file"}]), -32602, "message.parts[0] must h"),
    (A2A_03, "message/send", said_v03(parts=[]), -32602, "message.parts must hold at least one"),
    (A2A_03, "message/send", said_v03(taskId="nowhere"), -32001, "there is no task 'nowhere'"),
    (A2A_03, "message/stream", {"message": []}, -32602, "message must be an object"),
    (A2A_03, "tasks/get", {}, -32602, "id is required"),
    (A2A_03, "tasks/get", {"id": "a\0b"}, -32602, "id holds the character U+0000 at position 1"),
    (A2A_03, "tasks/get", {"id": LONG}, -32602, "id has 150000 characters; at most 256 are al"),
    (A2A_03, "tasks/cancel", {"id": "nowhere"}, -32001, "there is no task 'nowhere'"),
    (A2A_03, "tasks/resubscribe", {"id": "a/b"}, -32001, "there is no task 'a/b'"),
    (A2A_03, "tasks/send", {"id": "t"}, -32602, "message is required"),
    (A2A_03, "tasks/send", said_v01(id="a\0b"), -32602, "id holds the character U+0000 at positio"),
    (A2A_01, "tasks/sendSubscribe", {}, -32602, "id is required (and 1 more)"),
    (A2A_01, "tasks/sendSubscribe", said_v01(id="t" * 257), -32602, "id has 257 characters; at m"),
    (A2A_01, "tasks/sendSubscribe", said_v01(id=7), -32602, "id must be a string"),
    (A2A_01, "tasks/sendSubscribe", said_v01(message={}), -32602, "message.role is required"),
    (
        A2A_01,
        "tasks/sendSubscribe",
        said_v01(message={"role": "user", "parts": []}),
        -32602,
        "message.parts must hold at least one part",
    ),
    (
        A2A_01,
        "tasks/sendSubscribe",
        said_v01(message={"role": "user", "parts": [{"type": "text"}]}),
        -32602,
        "message.parts[0] must hold text, as its type says",
    ),
]
TEXTS = {-32602: "Invalid parameters: ", -32001: "Task not found: "}


@pytest.mark.parametrize(
    ("where", "method", "params", "code", "detail"),
    PARAMS,
    ids=[f"{row[1]}: {row[4]}" for row in PARAMS],
)
async def test_params_that_are_refused(
    server: Server,
    where: tuple[str, dict[str, str]],
    method: str,
    params: Any,
    code: int,
    detail: str,
) -> None:
    """Sections 2 to 4: the error names the field and what is allowed there, outside of a stream."""
    path, headers = where
    answer = await send(server.port, post(call(method, params, "r-1"), path, headers))
    assert answer.status == 200
    assert answer.json["id"] == "r-1"
    error = answer.json["error"]
    assert error["code"] == code, error
    assert error["message"].startswith(TEXTS[code] + detail)
    assert ("data" in error) is (headers == V10)
    assert len(answer.body) < 2_000


CURSORS = [
    ("abc", "Last-Event-ID must be the number of an event, not 'abc'"),
    ("-1", "Last-Event-ID must be the number of an event, not '-1'"),
    ("1.5", "Last-Event-ID must be the number of an event, not '1.5'"),
    ("9" * 16, "Last-Event-ID must be the number of an event, not '9999999999999999'"),
    ("\xb2", "Last-Event-ID must be the number of an event, not '\xb2'"),
    ("999", "the cursor 999 is beyond the last event of the task"),
]


@pytest.mark.parametrize(("given", "detail"), CURSORS)
async def test_cursors_that_are_none(server: Server, given: str, detail: str) -> None:
    """A ``Last-Event-ID`` that is no number, or beyond the end, is -32602 before any stream."""
    params = said("cursors", messageId="cursors")
    made = await send(server.port, post(call("SendMessage", params), headers=V10))
    followed = call("SubscribeToTask", {"id": made.json["result"]["task"]["id"]})
    headers = {"Last-Event-ID": given, **V10}
    answer = await send(server.port, post(followed, headers=headers))
    assert answer.json["error"]["code"] == -32602
    assert answer.json["error"]["message"].startswith(f"Invalid parameters: {detail}")


@pytest.mark.parametrize("after", ["x", "-2", "1e3", "999"])
async def test_cursors_in_the_query_that_are_none(server: Server, after: str) -> None:
    """``?after=`` is looked at as ``Last-Event-ID`` is."""
    params = said("cursors", messageId="cursors")
    made = await send(server.port, post(call("SendMessage", params), headers=V10))
    followed = call("SubscribeToTask", {"id": made.json["result"]["task"]["id"]})
    answer = await send(server.port, post(followed, f"/a2a?after={after}", V10))
    assert answer.json["error"]["code"] == -32602
    where = "cursor 999" if after == "999" else "after must be the number"
    assert where in answer.json["error"]["message"]


async def test_one_message_id_for_two_messages(server: Server) -> None:
    """The same message again is the same task; another message of that id is refused."""
    first = await send(
        server.port, post(call("SendMessage", said("a", messageId="twice")), headers=V10)
    )
    again = await send(
        server.port, post(call("SendMessage", said("a", messageId="twice")), headers=V10)
    )
    other = await send(
        server.port, post(call("SendMessage", said("b", messageId="twice")), headers=V10)
    )
    assert again.json["result"]["task"]["id"] == first.json["result"]["task"]["id"]
    assert other.json["error"]["code"] == -32602
    assert other.json["error"]["message"] == (
        "Invalid parameters: message id 'twice' was used before with other content: "
        "give each new message an id of its own"
    )


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_media_types_that_are_not_taken(server: Server, media_type: str) -> None:
    """Anything but JSON is 415: a browser sends other types across origins without asking."""
    request = post(call("GetTask", {"id": "t"}), headers={"Content-Type": media_type})
    answer = await send(server.port, request)
    assert answer.status == 415
    assert answer.json == {"error": "send Content-Type: application/json"}


@pytest.mark.parametrize("media_type", ["application/a2a+json", "Application/JSON; charset=utf-8"])
async def test_media_types_that_are_taken(server: Server, media_type: str) -> None:
    """Section 4, REST: JSON is taken under its other names, too."""
    request = post(call("tasks/get", {"id": "t"}), headers={"Content-Type": media_type})
    assert (await send(server.port, request)).json["error"]["code"] == -32001


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/a2a", OLDEST, "/agents/desk/a2a"])
async def test_http_methods_that_are_not_taken(server: Server, path: str, method: str) -> None:
    """Anything but POST is 405, which says what is allowed."""
    answer = await send(server.port, post(b"", path, method=method))
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json == {"error": "use POST here"}


async def test_a_body_that_announces_too_much(server: Server) -> None:
    """Too long a Content-Length is 413 before the body is sent; the connection closes."""
    answer = await send(server.port, post(b"", headers={"Content-Length": "200001"}))
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert answer.json == {"error": "the body has more than 200000 bytes, which is the limit"}


async def test_a_large_body_that_is_sent_all_the_same(server: Server) -> None:
    """A client that sends first and reads then finds the 413, too."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Content-Type": "application/json"}
        body = b"x" * 20_000_000
        answer = await http.post(f"{server.url}/a2a", content=body, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("chunk", [1_000, 50_000, 300_000])
async def test_a_body_that_says_nothing_of_its_length(server: Server, chunk: int) -> None:
    """A chunked body is counted as it comes: 413."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Content-Type": "application/json"}
        chunks = [b"x" * chunk] * (400_000 // chunk)
        answer = await http.post(f"{server.url}/a2a", content=pieces(chunks), headers=headers)
    assert answer.status_code == 413
    assert answer.json() == {"error": "the body has more than 200000 bytes, which is the limit"}


async def test_a_body_that_never_arrives(server: Server) -> None:
    """Half a body and then silence is 408 once ``body_timeout`` has passed."""
    answer = await send(server.port, post(b"{", headers={"Content-Length": "100"}))
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert answer.json == {"error": "the body of the request did not arrive in time"}


def resident_kilobytes(server: Server) -> int:
    """Return the memory that the process holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_bad_requests_leave_nothing_behind(server: Server) -> None:
    """2,000 bad requests later the process is no larger, has logged no traceback, and answers."""
    bad = [row[1] for row in FRAMES] + [call(row[1], row[2]) for row in PARAMS if row[0] == A2A_10]
    headers = {"Content-Type": "application/json", **V10}
    async with httpx2.AsyncClient(trust_env=False, headers=headers, base_url=server.url) as http:

        async def ask(count: int) -> None:
            for number in range(count):
                answer = await http.post("/a2a", content=bad[number % len(bad)])
                assert answer.status_code in {200, 413}
                assert answer.status_code == 413 or "error" in answer.json()

        await ask(2_000)  # until the cyclic collector has had its turns, and the heap its size
        before = resident_kilobytes(server)
        await ask(2_000)
        assert resident_kilobytes(server) - before < 4_000
        fine = await http.post("/a2a", content=call("SendMessage", said("ok", messageId="fine")))
        assert fine.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    log = server.log.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert "request_failed" not in log
