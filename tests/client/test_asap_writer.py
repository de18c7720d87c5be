"""Writing to a server of ASAP that takes nothing for a while, or for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection as Socket

from palaver.client.asap_writer import SocketWriter
from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.codec import Push, encode
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, moment
from tests.client.asp_server import listening, until

PUSHES = 20_000


def push(number: int) -> str:
    """Return a frame that wants to be acknowledged."""
    envelope = Envelope(
        id=f"{number:0>250}",
        asap_version="0.1",
        timestamp=moment(0.0),
        sender="urn:asap:agent:a",
        recipient="urn:asap:agent:b",
        payload_type="ArtifactNotify",
        payload={"artifact_id": "a", "task_id": "t"},
        requires_ack=True,
    )
    return encode(Push(envelope)).decode()


def core_of(wake: asyncio.Event) -> ClientConnection:
    """Return a client that has a socket."""
    numbers = count()
    core = ClientConnection(
        Limits(), new_id=lambda prefix: f"{prefix}_{next(numbers)}", on_output=wake.set
    )
    core.connected(0.0)
    return core


@asynccontextmanager
async def narrow(read: asyncio.Event, seen: list[object]) -> AsyncIterator[WebSocket]:
    """Open a WebSocket into which little fits, to a server that reads once it is told to."""

    async def answer(one: Socket) -> None:
        one.transport.pause_reading()
        await read.wait()
        one.transport.resume_reading()
        async for data in one:
            seen.append(data)  # noqa: PERF401 -- looked at while they come

    async with (
        asyncio.timeout(20),
        listening(answer) as port,
        connect(f"ws://127.0.0.1:{port}", compression=None, close_timeout=0.1) as websocket,
    ):
        wire = websocket.transport.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield websocket


async def test_what_a_server_makes_us_answer() -> None:
    """While too much is to be sent there is no room for more; nothing of it is lost."""
    wake, read = asyncio.Event(), asyncio.Event()
    seen: list[object] = []
    core = core_of(wake)
    async with narrow(read, seen) as websocket:
        writer = SocketWriter(websocket, core, wake, 10.0)
        pushed = 0
        room = asyncio.create_task(writer.room())
        while pushed < PUSHES:
            await asyncio.wait({room}, timeout=0.05)
            if not room.done():
                break
            for _ in range(200):
                core.receive_text(push(pushed), 0.0)
                pushed += 1
            room = asyncio.create_task(writer.room())
        assert pushed < PUSHES
        read.set()
        await room
        await until(lambda: len(seen) == pushed)
        await writer.close()


async def test_a_server_that_takes_nothing() -> None:
    """A frame that cannot be sent in time ends the socket, and whoever waits for room goes on."""
    wake, read = asyncio.Event(), asyncio.Event()
    core = core_of(wake)
    async with narrow(read, []) as websocket:
        writer = SocketWriter(websocket, core, wake, 0.1)
        for number in range(PUSHES):
            core.receive_text(push(number), 0.0)
        await writer.room()
        await websocket.wait_closed()
        read.set()
        await writer.close()
