"""Requests for WebSockets: what is one, and what else may be answered to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from tests.conftest import Serve, Server
from tests.server.raw import TIMEOUT, Answer, read_answer
from tests.server.raw import send as ask
from tests.server.sockets import (
    KEY,
    LOOPS,
    TEXT,
    direct,
    echo,
    frame,
    handshake,
    listening,
)

GET = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
in_every_loop = pytest.mark.parametrize("loop", LOOPS)


NO_HANDSHAKE: dict[str, tuple[dict[str, str | None], int, str]] = {
    "an old version": (
        {"Sec-WebSocket-Version": "8"},
        400,
        "invalid Sec-WebSocket-Version header: 8",
    ),
    "no version": (
        {"Sec-WebSocket-Version": None},
        400,
        "missing Sec-WebSocket-Version header",
    ),
    "no key": ({"Sec-WebSocket-Key": None}, 400, "missing Sec-WebSocket-Key header"),
    "a key that is no base64": (
        {"Sec-WebSocket-Key": "?"},
        400,
        "invalid Sec-WebSocket-Key header: ?",
    ),
    "a key that is too short": (
        {"Sec-WebSocket-Key": "YWJj"},
        400,
        "invalid Sec-WebSocket-Key header: YWJj",
    ),
    "a second key": (
        {"sec-websocket-key": KEY},
        400,
        "invalid Sec-WebSocket-Key header: multiple values",
    ),
    "subprotocols that are none": (
        {"Sec-WebSocket-Protocol": '"'},
        400,
        'invalid Sec-WebSocket-Protocol header: expected token at 0 in "',
    ),
    "a long header": (
        {"X-A": "a" * 9_000},
        431,
        "read 9007 bytes, expected no more than 8192 bytes",
    ),
    "many headers": (
        {f"X-{number}": "a" for number in range(200)},
        431,
        "expected no more than 128 headers",
    ),
}


@in_every_loop
@pytest.mark.parametrize(("changed", "status", "text"), NO_HANDSHAKE.values(), ids=NO_HANDSHAKE)
async def test_what_is_no_handshake(
    loop: str, changed: dict[str, str | None], status: int, text: str
) -> None:
    """It is refused in JSON, with the version that we speak, and nothing is logged."""
    async with listening(echo, loop) as running, running.connected() as client:
        await client.send(handshake("/", changed), frame(TEXT, b"hasty"))
        answer = await client.answer()
        assert answer.status == status
        assert answer.json == {"error": f"this is no WebSocket handshake: {text}"}
        assert answer.headers["sec-websocket-version"] == "13"  # RFC 6455 4.4
        assert answer.headers["connection"] == "close"
        assert await client.reader.read() == b""
    assert running.log == []


BESIDE: dict[str, bytes] = {
    "a POST": handshake().replace(b"GET", b"POST"),
    "HTTP/1.0": handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "another protocol": handshake("/", {"Upgrade": "h2c"}),
    "two protocols": handshake("/", {"Upgrade": "websocket, h2c"}),
    "no word of it in Connection": handshake("/", {"Connection": "close"}),
    "a body": handshake("/", {"Content-Length": "3"}) + b"abc",
}


@in_every_loop
@pytest.mark.parametrize("sent", BESIDE.values(), ids=BESIDE)
async def test_what_asks_for_no_websocket(loop: str, sent: bytes) -> None:
    """It is answered as a plain request."""
    async with listening(echo, loop) as running, running.connected(sent) as client:
        answer = await client.answer()
        assert answer.status == 200
        assert answer.body == b'{"path":"/"}'
    assert running.log == []


@in_every_loop
async def test_a_websocket_behind_requests(loop: str) -> None:
    """A connection that has served requests can become a WebSocket, once they are answered."""
    async with listening(echo, loop) as running, running.connected() as client:
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).body == b'{"path":"/plain"}'
        await client.send(handshake(), frame(TEXT, b"a"))
        await client.accepted()
        assert await client.message() == "a"


@in_every_loop
async def test_a_websocket_behind_an_answer_that_is_not_taken(loop: str) -> None:
    """It opens when the client has taken the answer before it."""
    async with (
        listening(echo, loop, send_buffer=16_384) as running,
        running.connected(receive_buffer=4_096) as client,
    ):
        await client.send(GET.replace(b"/plain", b"/large"))
        await client.reader.readexactly(5)
        await client.send(handshake(), frame(TEXT, b"a"))
        while not (found := await running.sockets()):
            pass
        (connection,) = found
        assert not await running.ask(connection.writable.is_set)
        await client.reader.readuntil(b"\r\n\r\n")
        await client.reader.readexactly(1_000_000)
        await client.accepted()
        assert await client.message() == "a"


@in_every_loop
async def test_a_websocket_before_its_turn(loop: str) -> None:
    """Asked for before the request ahead of it is answered, it is a plain request."""
    async with listening(echo, loop) as running, running.connected() as client:
        await client.send(GET, handshake("/x"), GET)
        assert (await client.answer()).body == b'{"path":"/plain"}'
        assert (await client.answer()).body == b'{"path":"/x"}'
        assert (await client.answer()).body == b'{"path":"/plain"}'


@in_every_loop
async def test_what_the_application_is_asked(loop: str) -> None:
    """It learns what the client said, and may choose a subprotocol and headers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/a b"
        assert scope["raw_path"] == b"/a%20b"
        assert scope["query_string"] == b"c=d"
        assert scope["scheme"] == "ws"
        assert scope["subprotocols"] == ["one", "two", "three"]
        assert (b"origin", b"https://palaver.test") in scope["headers"]
        assert (b"x-name", "é".encode("latin-1")) in scope["headers"]
        assert await receive() == {"type": "websocket.connect"}
        headers = [(b"X-A", b"b")]
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": headers})
        await receive()

    headers: dict[str, str | None] = {
        "Origin": "https://palaver.test",
        "Sec-WebSocket-Protocol": "one, two,three",
        "X-Name": "é",
        "Upgrade": "WebSocket",
        "Content-Length": "0",
    }
    asked = handshake("/a%20b?c=d", headers)
    async with listening(app, loop) as running, running.connected(asked) as client:
        answer = await client.accepted()
        assert answer.headers["sec-websocket-protocol"] == "two"
        assert answer.headers["x-a"] == "b"
        assert "sec-websocket-extensions" not in answer.headers


@in_every_loop
async def test_an_application_that_refuses(loop: str) -> None:
    """A refusal is 403, or whatever the application answers; it hears of the end either way."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/no":
            await send({"type": "websocket.close"})
        else:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"keep-alive")]
            start = {"type": "websocket.http.response.start", "status": 429, "headers": headers}
            await send(start)
            await send({"type": "websocket.http.response.body", "body": b"la", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"ter"})
        await send({"type": "websocket.close"})  # once more, to no effect
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})
        running.told.put((await receive())["code"])

    async with listening(app, loop) as running:
        async with running.connected(handshake("/no")) as client:
            answer = await client.answer()
            assert answer.status == 403
            assert answer.json == {"error": "this WebSocket is refused"}
            assert await client.reader.read() == b""
            assert await running.hear() == 1006
        async with running.connected(handshake("/later")) as client:
            answer = await client.answer()
            assert (answer.status, answer.body) == (429, b"later")
            assert answer.headers["content-type"] == "text/plain"
            assert answer.headers["connection"] == "close"
            assert await client.reader.read() == b""
            assert await running.hear() == 1006
    assert running.log == []


MISUSE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a message before it accepts": (
        [{"type": "websocket.send", "text": "a"}],
        "websocket.send cannot be sent before websocket.accept",
    ),
    "an acceptance within an answer": (
        [
            {"type": "websocket.http.response.start", "status": 200},
            {"type": "websocket.accept"},
        ],
        "websocket.accept cannot follow websocket.http.response.start",
    ),
}


@in_every_loop
@pytest.mark.parametrize(("messages", "text"), MISUSE.values(), ids=MISUSE)
async def test_an_application_that_answers_nonsense(
    loop: str, messages: list[dict[str, Any]], text: str
) -> None:
    """It is told what was wrong; the client gets 500, and the log the error, once."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            await send(message)

    async with listening(app, loop) as running, running.connected(handshake("/x")) as client:
        answer = await client.answer()
        assert answer.status == 500
        assert answer.json == {"error": "internal error"}
        assert await client.reader.read() == b""
    (entry,) = running.log
    assert (entry["event"], entry["path"]) == ("websocket_failed", "/x")
    assert str(entry["exc_info"]) == text


@in_every_loop
async def test_an_application_that_does_not_answer(loop: str) -> None:
    """One that returns without an answer is a 500, and is told of in the log."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async with listening(app, loop) as running, running.connected(handshake("/x")) as client:
        assert (await client.answer()).status == 500
    assert running.log == [{"event": "websocket_unanswered", "path": "/x", "log_level": "error"}]


@in_every_loop
async def test_a_client_that_leaves_before_the_answer(loop: str) -> None:
    """The application hears of it; what it answers then goes nowhere."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.told.put("asked")
        running.told.put((await receive())["code"])
        await send({"type": "websocket.accept"})

    async with listening(app, loop) as running, running.connected(handshake()) as client:
        assert await running.hear() == "asked"
        client.writer.write_eof()
        assert await client.reader.read() == b""
        assert await running.hear() == 1006
    assert running.log == []


@in_every_loop
async def test_messages_that_come_too_early(loop: str) -> None:
    """What is sent before the answer is bounded; nothing of it is lost."""
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.told.put(direct(scope))
        await go_on.wait()
        await send({"type": "websocket.accept"})
        size = 0
        while size < 8 * 1024 * 1024:
            size += len((await receive())["bytes"])
        await send({"type": "websocket.send", "text": "all"})
        await receive()

    async with listening(app, loop) as running, running.connected(handshake()) as client:
        connection = await running.hear()
        sending = asyncio.create_task(client.send(frame(2, bytes(64 * 1024)) * 128))
        await running.until(lambda: connection.read_paused)
        assert await running.ask(lambda: len(connection._unread)) <= (64 + 256) * 1024
        running.loop.call_soon_threadsafe(go_on.set)
        await client.accepted()
        assert await client.message() == "all"
        await sending


# --- palaver serve -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nowhere", "/a2a", "/healthz"])
async def test_a_path_without_a_websocket(server: Server, path: str) -> None:
    """A WebSocket to such a path is 404 in JSON."""
    answer = await ask(server.port, handshake(path))
    assert answer.status == 404
    assert answer.json == {"error": f"there is no WebSocket at {path}"}


@pytest.mark.parametrize("style", ["json", "console"])
async def test_the_log_of_a_server(serve: Serve, style: str) -> None:
    """WebSockets that come and go, or do not, leave no line in the log."""
    server = serve("--set", f"log_format={style}")
    for path in ("/asp", "/nowhere"):
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(handshake(path) + frame(TEXT, b"\xff"))
            answer: Answer = await read_answer(reader)
            assert answer.status == (101 if path == "/asp" else 404)
            await reader.read()
            writer.close()
            await writer.wait_closed()
    server.stop()
    lines = server.log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "stopping" not in line] == []
