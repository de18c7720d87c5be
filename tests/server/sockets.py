"""A listener in a thread of its own, and WebSocket clients byte by byte."""

from __future__ import annotations

import asyncio
import base64
import logging
import queue
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from palaver.observability.logging import configure_logging
from palaver.server.listener import Listener, bind
from palaver.server.websocket import WEBSOCKET, WebSocketConnection
from tests.server.raw import Answer, read_answer

TIMEOUT = 15.0
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
RESET = struct.pack("ii", 1, 0)

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = base64.b64encode(b"sixteen bytes---").decode()
MASK = b"\x11\x22\x33\x44"


def handshake(path: str = "/", changed: dict[str, str | None] | None = None) -> bytes:
    """Return the bytes of a request for a WebSocket; None takes a header out."""
    headers: dict[str, str | None] = {
        "Host": "palaver.test",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **(changed or {}),
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """Return the bytes of a frame (RFC 6455 5.2)."""
    first, mark = (0x80 if fin else 0) | opcode, 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, mark | len(payload)))
    elif len(payload) < 65_536:
        head = struct.pack("!BBH", first, mark | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mark | 127, len(payload))
    if not masked:
        return head + payload
    key = int.from_bytes((MASK * (len(payload) // 4 + 1))[: len(payload)])
    mixed = (int.from_bytes(payload) ^ key).to_bytes(len(payload))
    return head + MASK + mixed


def close(code: int, reason: str = "") -> bytes:
    """Return the bytes of a Close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


@dataclass(slots=True)
class Client:
    """The client's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *data: bytes) -> None:
        """Send the bytes in one piece."""
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Return the answer to an HTTP request."""
        return await read_answer(self.reader)

    async def accepted(self) -> Answer:
        """Return the answer to a handshake that was accepted."""
        answer = await self.answer()
        assert answer.status == 101, answer
        return answer

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame: servers send whole messages, and no masks."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2))
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8))
        assert first & 0x80
        assert not first & 0x70
        return first & 0x0F, await self.reader.readexactly(length)

    async def message(self) -> str | bytes:
        """Return the next message."""
        opcode, payload = await self.frame()
        assert opcode in {TEXT, BINARY}, (opcode, payload)
        return payload.decode() if opcode == TEXT else payload

    async def closed(self) -> tuple[int, str]:
        """Return what the server closes with: nothing else comes before or after it."""
        opcode, payload = await self.frame()
        assert opcode == CLOSE, (opcode, payload)
        assert await self.reader.read() == b""
        return int.from_bytes(payload[:2]), payload[2:].decode()

    async def rest(self) -> None:
        """Read all that still comes."""
        while await self.reader.read(1_000_000):
            pass

    def pause(self) -> None:
        """Take nothing any more."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def go_on(self) -> None:
        """Take what comes."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Leave without a word."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


class LibraryLog(logging.Handler):
    """What is logged by others than us."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(self.format(record))


@dataclass(slots=True)
class Running:
    """A listener that runs, what is logged, and what its application has told the test."""

    app: ASGIApp
    log: list[Any]
    listener: Listener = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)
    port: int = 0
    told: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    async def hear(self) -> Any:
        """Return what the application tells next."""
        return await asyncio.to_thread(self.told.get, timeout=TIMEOUT)

    async def ask(self, question: Callable[[], Any]) -> Any:
        """Return the answer to a question that is asked in the thread of the listener."""

        async def answer() -> Any:
            return question()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), self.loop))

    async def until(self, question: Callable[[], Any]) -> None:
        """Ask until the answer is yes."""
        while not await self.ask(question):
            pass

    async def sockets(self) -> list[WebSocketConnection]:
        """Return the WebSockets that the listener has."""
        found = await self.ask(lambda: list(self.listener.server_state.connections))
        return [one for one in found if isinstance(one, WebSocketConnection)]

    @asynccontextmanager
    async def connected(
        self, request: bytes | None = None, *, receive_buffer: int = 0
    ) -> AsyncIterator[Client]:
        """Connect, and send the bytes of a request; at the end, leave."""
        raw = socket.socket()
        raw.setblocking(False)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", self.port))
        client = Client(*await asyncio.open_connection(sock=raw))
        try:
            async with asyncio.timeout(TIMEOUT):
                if request is not None:
                    await client.send(request)
                yield client
        finally:
            client.writer.transport.abort()

    @asynccontextmanager
    async def opened(self, path: str = "/", **more: Any) -> AsyncIterator[Client]:
        """Open a WebSocket."""
        async with self.connected(handshake(path), **more) as client:
            await client.accepted()
            yield client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as ASGI says."""
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            body = orjson.dumps({"path": scope["path"]})
            if scope["path"] == "/large":
                body = bytes(1_000_000)
            headers = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self.app({**scope, "told": self.told}, receive, send)


@contextmanager
def logged() -> Iterator[list[Any]]:
    """Keep what we log; libraries may log nothing."""
    configure_logging("info")
    theirs = LibraryLog()
    logging.getLogger().addHandler(theirs)
    try:
        with capture_logs() as ours:
            yield ours  # type: ignore[misc]
    finally:
        logging.getLogger().removeHandler(theirs)
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)  # silenced by the listener
    assert theirs.lines == []


@asynccontextmanager
async def listening(
    app: ASGIApp,
    loop: str = "uvloop",
    *,
    drain: Callable[[], Awaitable[None]] | None = None,
    compress: bool = False,
    send_buffer: int = 0,
    **limits: float,
) -> AsyncIterator[Running]:
    """Serve the application of WebSockets in a thread of its own, until the end of the block."""
    with logged() as log:
        running = Running(app, log)
        ready = threading.Event()
        given: dict[str, Any] = {"head_timeout": TIMEOUT, **limits}
        running.listener = Listener(running, drain or _nothing, announce=ready.set, **given)
        running.listener.config.ws_per_message_deflate = compress
        listening_socket = bind("127.0.0.1", 0)
        if send_buffer:
            listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        running.port = listening_socket.getsockname()[1]
        serving = (running, listening_socket, LOOPS[loop])
        thread = threading.Thread(target=_serve, args=serving, daemon=True)
        thread.start()
        try:
            await asyncio.to_thread(ready.wait, TIMEOUT)
            yield running
        finally:
            running.listener.should_exit = True
            await asyncio.to_thread(thread.join, TIMEOUT)
            assert not thread.is_alive()


def _serve(
    running: Running,
    listening_socket: socket.socket,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        running.loop = runner.get_loop()
        runner.run(running.listener.serve(sockets=[listening_socket]))


async def _nothing() -> None:
    return


def direct(scope: Scope) -> WebSocketConnection:
    """Return what our listener offers beyond ASGI."""
    found = scope["extensions"][WEBSOCKET]
    assert isinstance(found, WebSocketConnection)
    return found


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and send back every message until the client has gone."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
