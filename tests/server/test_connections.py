"""What a connection does with clients that leave, break off or never end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from palaver.server.a2a_stream import CONNECTION
from palaver.server.connection import Connection
from tests.server.raw import TIMEOUT, read_answer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(app: ASGIApp, *, head_timeout: float = TIMEOUT) -> AsyncIterator[Pair]:
    """Serve the application, and connect to it."""
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, proxy_headers=False, timeout_keep_alive=1
    )
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(config, state, {}, head_timeout=head_timeout), "127.0.0.1", 0
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                yield reader, writer
            finally:
                writer.close()
                for connection in list(state.connections):
                    connection.transport.abort()
                for task in state.tasks:
                    task.cancel()
                await asyncio.gather(*state.tasks, return_exceptions=True)
    finally:
        server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave without a word."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def test_a_client_that_is_lost_before_anybody_listens() -> None:
    """Who asks to be told of the loss of a connection is told, if it is lost already."""
    began, told = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        connection = scope["extensions"][CONNECTION]
        connection.on_lost = told.set
        assert not told.is_set()

    async with connected(app) as (_, writer):
        writer.write(GET)
        await began.wait()
        reset(writer)
        await told.wait()


async def at_once(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def after_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer when the body has come."""
    while (await receive()).get("more_body"):
        pass
    await at_once(scope, receive, send)


@pytest.mark.parametrize("trailers", [b"X-A: 12345678\r\n" * 500, b"x" * 8_000])
async def test_trailers_without_end(trailers: bytes) -> None:
    """Headers behind the body are bounded as those before it are."""
    async with connected(after_the_body) as (reader, writer):
        writer.write(CHUNKED + b"1\r\na\r\n0\r\n")
        with suppress(ConnectionError):
            for _ in range(100):
                writer.write(trailers)
                await writer.drain()
        assert (await read_answer(reader)).status == 431


async def test_trailers_are_left_out() -> None:
    """Headers behind the body are no headers of the request."""
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await after_the_body(scope, receive, send)
        seen.extend(name for name, _ in scope["headers"])

    async with connected(app) as (reader, writer):
        writer.write(CHUNKED + b"0\r\nX-A: b\r\n\r\n")
        assert (await read_answer(reader)).body == b"ok"
        writer.write(GET)
        assert (await read_answer(reader)).body == b"ok"
    assert seen[:2] == [b"host", b"transfer-encoding"]
    assert b"x-a" not in seen


async def test_garbage_while_an_answer_is_under_way() -> None:
    """Nothing is written into an answer whose request breaks off: it ends."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"b"})

    async with connected(app) as (reader, writer):
        writer.write(CHUNKED)
        await reader.readuntil(b"a\r\n")
        writer.write(b"garbage\r\n")
        assert await reader.read() == b""


async def test_garbage_after_a_whole_request() -> None:
    """What came before the garbage is answered; then the connection closes."""
    async with connected(after_the_body) as (reader, writer):
        writer.write(GET + GET + CHUNKED + b"zz\r\n")
        assert (await read_answer(reader)).body == b"ok"
        assert (await read_answer(reader)).headers["connection"] == "close"
        assert await reader.read() == b""


@pytest.mark.parametrize("sent", [GET, CHUNKED], ids=["whole", "half"])
async def test_bytes_that_begin_no_request(sent: bytes) -> None:
    """A line end, or a part of a body that nobody wants, does not keep a connection."""
    async with connected(at_once) as (reader, writer):
        writer.write(sent)
        assert (await read_answer(reader)).body == b"ok"
        writer.write(b"\r\n" if sent is GET else b"1")
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_many_requests_at_once() -> None:
    """Only so many requests wait on one connection; it closes behind them."""
    upgrade = GET.removesuffix(b"\r\n") + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with connected(at_once) as (reader, writer):
        writer.write(upgrade * 100)
        count = (await reader.read()).count(b"HTTP/1.1 200")
    assert count == 17
