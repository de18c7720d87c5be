"""Every wait of an ASP client is bounded, whatever the server and the application do or omit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection as Socket

from palaver.client.asp import AspClient, CallSession, SessionOver
from palaver.client.transport import Patience
from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.asp.config import AudioConfig, Framing
from palaver.protocols.asp.events import AudioReceived, SessionClosed, SessionDetached
from palaver.protocols.asp.limits import Limits
from tests.client.asp_server import asp_server, listening, until

CAPABILITIES: dict[str, Any] = {
    "type": "protocol.capabilities",
    "version": "1.1.0",
    "capabilities": {"version": "1.1.0", "features": ["session_resume"]},
}
STARTED: dict[str, Any] = {
    "type": "session.started",
    "status": "accepted",
    "version": "1.1.0",
    "features": ["session_resume"],
    "resume_token": "t",
    "resume_window_ms": 100,
    "negotiated": {"audio": {}, "vad": {}},
}


def starts(then: Callable[[Socket], Awaitable[None]]) -> Callable[[Socket], Awaitable[None]]:
    """Return what starts a session, and then does something else."""

    async def answer(socket: Socket) -> None:
        await socket.send(json.dumps(CAPABILITIES))
        session_id = json.loads(await socket.recv())["session_id"]
        await socket.send(json.dumps(STARTED | {"session_id": session_id}))
        await then(socket)

    return answer


async def read_all(socket: Socket) -> None:
    """Read whatever comes, and say nothing."""
    async for _ in socket:
        pass


async def stop_reading(socket: Socket) -> None:
    """Take nothing any more."""
    socket.transport.pause_reading()
    await socket.wait_closed()


async def speak(session: CallSession) -> None:
    """Say something for ever."""
    while True:
        await session.send_audio(bytes(3_200))


async def test_a_server_that_acknowledges_nothing() -> None:
    """A server that agreed on resumption and does not say what it has is waited for once."""
    loop = asyncio.get_running_loop()
    async with (
        listening(starts(read_all)) as port,
        AspClient(
            f"ws://127.0.0.1:{port}", limits=Limits(max_kept_messages=20, end_timeout=0.05)
        ) as client,
    ):
        session = await client.start_session()
        began = loop.time()
        for number in range(200):
            assert await session.send_audio(bytes(320)) == number
        assert 1.5 < loop.time() - began < 20


async def test_a_server_that_does_not_say_goodbye() -> None:
    """A server that does not answer the end of the socket is left."""
    async with (
        asyncio.timeout(10),
        listening(starts(stop_reading)) as port,
        AspClient(f"ws://127.0.0.1:{port}", limits=Limits(end_timeout=0.05)) as client,
    ):
        await client.start_session()


async def test_nobody_reads_on_either_side() -> None:
    """An application that reads nothing learns all the same that its server takes nothing."""

    async def flood(socket: Socket) -> None:
        socket.transport.pause_reading()
        audio = b"\x01\x01" + bytes.fromhex("03c7c0ace395d801") + b"\0\0" + bytes(3_200)
        for _ in range(400):
            await socket.send(audio)
        await socket.wait_closed()

    patience = Patience(silence_timeout=0.4, give_up_after=0.1)
    async with (
        asyncio.timeout(20),
        listening(starts(flood)) as port,
        AspClient(f"ws://127.0.0.1:{port}", patience=patience) as client,
    ):
        session = await client.start_session(session_id="s")
        await until(lambda: not session._line.inbox.room.is_set())
        with pytest.raises(SessionOver):
            await speak(session)


async def test_an_application_that_pauses() -> None:
    """Whoever does not read for longer than a server may be silent has not lost the server."""
    patience = Patience(silence_timeout=0.2)
    async with asp_server() as server, AspClient(server.url, patience=patience) as client:
        session = await client.start_session(session_id="s")
        theirs, loop = server.session("s"), asyncio.get_running_loop()
        theirs.start_response(server.now())
        for _ in range(1_500):
            theirs.send_audio(bytes(320), server.now())
        await until(lambda: not session._line.inbox.room.is_set())
        pause = loop.create_future()
        loop.call_later(0.8, pause.set_result, None)
        await pause
        heard = 0
        async for event in session:
            assert not isinstance(event, SessionDetached)
            heard += isinstance(event, AudioReceived)
            if heard == 1_500:
                break
        assert len(server.links) == 1


async def test_secrecy_where_there_is_none() -> None:
    """A server without TLS at a wss URL is an error, at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerUnreachable, match="no secure connection"):
            await AspClient(f"wss://127.0.0.1:{port}").connect()


async def test_another_subprotocol() -> None:
    """A server that selects what was not offered is no server for us."""

    def impose(_: Socket, __: object, response: Any) -> None:
        response.headers["Sec-WebSocket-Protocol"] = "mqtt"

    async with listening(read_all, process_response=impose) as port:
        with pytest.raises(PeerError, match=r"does not speak WebSocket: .*mqtt"):
            await AspClient(f"ws://127.0.0.1:{port}").connect()


async def test_a_socket_of_its_own_that_nobody_waits_for() -> None:
    """A socket that was opened for a session alone is closed where the start is cancelled."""
    opened, closed = asyncio.Event(), asyncio.Event()

    async def show_once(socket: Socket) -> None:
        if not opened.is_set():
            opened.set()
            await socket.send(json.dumps(CAPABILITIES))
            await socket.wait_closed()
        else:
            await socket.wait_closed()
            closed.set()

    async with listening(show_once) as port, AspClient(f"ws://127.0.0.1:{port}") as client:
        starting = asyncio.create_task(
            client.start_session(audio=AudioConfig(framing=Framing.SEQ14))
        )
        await until(lambda: len(client._sockets._open) == 2)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_client_without_calls() -> None:
    """A client may be closed before it was connected, and more than once."""
    client = AspClient("ws://127.0.0.1:1")
    await client.close()
    await client.close()
    async with asp_server() as server:
        async with AspClient(server.url) as client:
            session = await client.start_session()
            await client.close()
            assert isinstance(session.closed, SessionClosed)
        with pytest.raises(PeerUnreachable, match="the client is closed"):
            await client.start_session()
