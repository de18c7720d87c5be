"""What a connection does with clients that leave, break off or never end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from palaver.server.a2a_stream import CONNECTION
from palaver.server.connection import Connection
from tests.server.raw import TIMEOUT

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
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
