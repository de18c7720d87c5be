"""The dense port byte by byte: what RFC 6455 leaves to whoever uses picows, and how it ends."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from palaver import app as composition
from palaver.app import create_app
from palaver.config import Settings
from palaver.errors import ConfigError
from palaver.observability.logging import configure_logging
from palaver.protocols.asp.call import Call
from palaver.protocols.asp.events import Event, SessionClosed
from palaver.server.asp_echo import EchoTest
from palaver.server.listener import bind
from tests.conftest import Serve
from tests.server.agents import agent
from tests.server.asp_host import DENSE, ECHO, Host, dense, hosting, looking_away
from tests.server.asp_peers import dialled, numbers, opened, utterance
from tests.server.sockets import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Client,
    close,
    frame,
    handshake,
)

START = json.dumps({"type": "session.start", "session_id": "s", "version": "1.1.0"}).encode()
QUICK = {"websocket_ping_interval": 0.2, "websocket_pong_timeout": 0.2}


@asynccontextmanager
async def raw(port: int, request: bytes) -> AsyncIterator[Client]:
    """Connect, and ask."""
    async with asyncio.timeout(15):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Client(reader, writer)
        await client.send(request)
        try:
            yield client
        finally:
            writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """Have a WebSocket that was told the capabilities."""
    async with raw(port, handshake("/asp")) as client:
        await client.accepted()
        assert json.loads(await client.message())["type"] == "protocol.capabilities"
        yield client


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """Serve the echo test; nothing may be left of the WebSockets of a test."""
    settings = {"websocket_max_message_bytes": 100_000, "body_timeout": 0.4}
    async with hosting(EchoTest, dense=True, **settings) as serving:
        before = await serving.left()
        yield serving
        assert await serving.emptied(before) == before


SPLIT = [
    [frame(TEXT, START)],
    [frame(TEXT, START[:7], fin=False), frame(CONT, START[7:])],
    [frame(TEXT, START[:7], fin=False), frame(PING, b"?"), frame(CONT, START[7:])],
    [frame(TEXT, b"", fin=False), *[frame(CONT, b"", fin=False)] * 500, frame(CONT, START)],
]


@pytest.mark.parametrize("frames", SPLIT, ids=["whole", "two", "with a ping", "many empty"])
@pytest.mark.parametrize("piece", [1, 5, 1_000_000])
async def test_messages_in_fragments(host: Host, frames: list[bytes], piece: int) -> None:
    """A message is what its fragments make, however its bytes come (RFC 6455 5.4)."""
    data = b"".join(frames)
    async with connected(host.port) as client:
        for start in range(0, len(data), piece):
            await client.send(data[start : start + piece])
        opcode, payload = await client.frame()
        if opcode == PONG:
            assert payload == b"?"
            opcode, payload = await client.frame()
        assert json.loads(payload)["type"] == "session.started"
        await client.send(close(1000))
        assert await client.closed() == (1000, "")


async def test_audio_in_fragments(host: Host) -> None:
    """Binary messages have fragments as well; a junk one is answered, and others follow it."""
    async with connected(host.port) as client:
        await client.send(frame(BINARY, b"ju", fin=False), frame(CONT, b"nk"), frame(TEXT, START))
        kinds = [json.loads(await client.message())["type"] for _ in range(2)]
        assert kinds == ["protocol.error", "session.started"]


BROKEN = [
    (frame(CONT, b"x"), 1002),
    (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    (b"\xc2" + frame(BINARY, b"x")[1:], 1002),
    (b"\xa2" + frame(BINARY, b"x")[1:], 1002),
    (frame(0x3, b"x"), 1002),
    (frame(BINARY, b"x", masked=False), 1002),
    (frame(PING, b"x" * 126), 1002),
    (frame(PING, b"x", fin=False), 1002),
    (frame(TEXT, b"\xff\xfe"), 1007),
    (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"("), 1007),
    (frame(BINARY, b"x" * 100_001), 1009),
    (frame(TEXT, b"x" * 60_000, fin=False) + frame(CONT, b"x" * 60_000), 1009),
    (close(999), 1002),
    (close(1006), 1002),
    (frame(CLOSE, b"x"), 1002),
]


@pytest.mark.parametrize(("data", "code"), BROKEN)
async def test_what_is_no_message(host: Host, data: bytes, code: int) -> None:
    """It ends the WebSocket with the code of RFC 6455 7.4.1, and that of nobody else."""
    async with dialled(host.port) as beside:
        call = await beside.start("beside")
        async with connected(host.port) as client:
            await client.send(data)
            opcode, payload = await client.frame()
            assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, code)
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
        await call.hang_up()


@pytest.mark.parametrize(
    ("data", "answer"),
    [(close(1000, "bye"), 1000), (close(4321), 4321), (frame(CLOSE), 1000)],
)
async def test_a_client_that_closes(host: Host, data: bytes, answer: int) -> None:
    """Its Close frame is answered, and the server closes first (RFC 6455 7.1.1)."""
    async with connected(host.port) as client:
        await client.send(data)
        assert await client.closed() == (answer, "")


async def test_a_connection_that_is_lost(host: Host) -> None:
    """What it had is free: with a reset, with half a frame, with half a connection."""
    async with connected(host.port) as client:
        client.reset()
    async with connected(host.port) as client:
        await client.send(frame(TEXT, START)[:20])
    async with connected(host.port) as client:
        client.writer.write_eof()
        await client.rest()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"what?\r\n\r\n", 400),
        (handshake("/asp", {"Upgrade": None}), 400),
        (handshake("/asp", {"Sec-WebSocket-Key": None}), 400),
        (handshake("/asp", {"Sec-WebSocket-Version": "12"}), 400),
        (handshake("/nowhere"), 404),
        (handshake("/agents/nobody/asp"), 404),
        (handshake("/asp", {"Origin": "https://evil.example"}), 403),
    ],
)
async def test_what_is_no_handshake(host: Host, request_bytes: bytes, status: int) -> None:
    """It is answered with a status and a reason, and the connection closes."""
    async with raw(host.port, request_bytes) as client:
        answer = await client.answer()
        assert answer.status == status
        assert answer.body
        assert await client.reader.read() == b""


@pytest.mark.parametrize("said", [b"", b"GET /asp HTTP/1.1\r\nHost: x\r\n", b"x" * 20_000])
async def test_a_handshake_that_does_not_come(host: Host, said: bytes) -> None:
    """A client that asks for nothing, or for ever, is let go."""
    async with raw(host.port, said) as client:
        assert await client.reader.read() == b""


async def test_a_query_and_an_escaped_path(host: Host) -> None:
    """They lead where they lead at the main port."""
    for path in ("/asp?token=x", "/agents/d%65sk/asp", "/%61sp"):
        async with raw(host.port, handshake(path)) as client:
            await client.accepted()


# --- signs of life ----------------------------------------------------------------------------


async def test_a_client_without_a_sign_of_life() -> None:
    """It is asked for one, and closed with 1011 where none comes in time."""
    async with (
        hosting(dense=True, asp_handshake_timeout=10, **QUICK) as host,
        connected(host.port) as client,
    ):
        assert await client.frame() == (PING, b"")
        await client.send(frame(PONG))
        assert await client.frame() == (PING, b"")
        opcode, payload = await client.frame()
        assert (opcode, payload) == (CLOSE, struct.pack("!H", 1011) + b"no pong came in time")


async def test_a_client_that_does_not_answer_the_close() -> None:
    """Its connection is dropped in the end, with 1002 said before."""
    async with (
        hosting(dense=True, asp_handshake_timeout=0.5) as host,
        impatient(host),
        connected(host.port) as client,
    ):
        assert json.loads(await client.message())["error"]["code"] == 1002
        opcode, payload = await client.frame()
        assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, 4002)
        async with asyncio.timeout(10):
            while (await host.left())["dense sockets"]:
                pass
        assert (await host.left())["open sockets"] == 0


@asynccontextmanager
async def impatient(host: Host) -> AsyncIterator[None]:
    """Let the server wait no longer than 0.2 s for the answer to a Close frame."""
    assert host.app._dense is not None
    host.app._dense._limits = replace(host.app._dense._limits, close_timeout=0.2)
    yield


class Broken:
    """Fails at everything that it is told."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def heard(self, event: Event) -> None:
        """Fail."""
        raise RuntimeError(str(event))

    def closed(self, event: SessionClosed) -> None:
        """Let go."""


async def test_an_agent_that_breaks() -> None:
    """Its call ends with 1006; the WebSocket stays for others."""
    async with hosting(Broken, dense=True) as host, connected(host.port) as client:
        await client.send(frame(TEXT, START))
        kinds = [json.loads(await client.message())["type"] for _ in range(3)]
        assert sorted(kinds) == ["protocol.error", "session.ended", "session.started"]
        await client.send(frame(TEXT, b"{}"))
        assert json.loads(await client.message())["type"] == "protocol.error"


async def test_what_breaks_behind_the_socket() -> None:
    """It is told in the log once, and the WebSocket closed with 1011."""
    async with hosting(dense=True) as host:

        async def broken(*_: object) -> None:
            raise RuntimeError("nothing works")

        assert host.app._dense is not None
        host.app._dense._endpoint = _Endpoint(host, broken)  # type: ignore[assignment]
        configure_logging("error")
        with capture_logs() as logs:
            async with raw(host.port, handshake("/asp")) as client:
                await client.accepted()
                assert await client.frame() == (CLOSE, struct.pack("!H", 1011))
        assert [line["event"] for line in logs] == ["websocket_failed"]


class _Endpoint:
    """Lets everybody in, and breaks."""

    def __init__(self, host: Host, call: object) -> None:
        self.refusal = host.endpoint.refusal
        self._call = call

    def __call__(self, *arguments: object) -> object:
        """Break."""
        return self._call(*arguments)  # type: ignore[operator]


# --- the port ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_drain(loop: str) -> None:
    """Clients are told, idle ones closed, nobody new comes in; what does not end is ended."""
    async with (
        hosting(EchoTest, dense=True, loop=loop, drain_timeout=0.5) as host,
        dialled(host.port) as peer,
        dialled(host.port) as idle,
    ):
        call = await peer.start("stays")
        draining = asyncio.run_coroutine_threadsafe(host.app.drain(), host.loop)
        assert (await peer.told("protocol.go_away"))["grace_ms"] == 500
        assert await idle.closed() == (1001, "shutdown")
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await opened(host.port)
        assert numbers(await call.echo(utterance(3))) == [0, 1, 2]
        assert (await call.take("session.ended"))["reason"] == "shutdown"
        assert await peer.closed() == (1001, "shutdown")
        await asyncio.wrap_future(draining)


async def test_a_reset_behind_words_that_were_not_read_yet(host: Host) -> None:
    """It is noticed long before a ping fails: the words are read, and the connection is dropped."""
    before = await host.left()
    async with connected(host.port) as client, looking_away(host):
        await client.send(frame(PONG, b"nobody answers"))
        client.reset()
        with suppress(ConnectionError):
            await client.writer.wait_closed()
    assert await host.emptied(before) == before


async def test_both_ports_share_their_room(serve: Serve) -> None:
    """Sockets and calls of one port are counted at the other; SIGTERM ends both."""
    main = serve(*ECHO, *DENSE, "--set", "asp_max_sockets=2")
    port = dense(main).port
    async with dialled(main.port) as first, dialled(port) as second:
        await first.start("one")
        await second.start("two")
        for full in (main.port, port):
            with pytest.raises(InvalidStatus) as refused:
                await opened(full)
            assert refused.value.response.status_code == 503
    main.stop()
    assert "Traceback" not in main.log.read_text(encoding="utf-8")


def test_a_port_that_is_taken() -> None:
    """It is told before anything begins, with the setting that helps."""
    with bind("127.0.0.1", 0) as other:
        app = create_app([agent], Settings(store="memory:", asp_port=other.getsockname()[1]))
        with pytest.raises(ConfigError, match="choose another with --asp-port"):
            app.bind()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets the port without picows is told what to install."""
    monkeypatch.setattr(composition, "_HAS_PICOWS", False)
    with pytest.raises(ConfigError, match=r"pip install 'palaver\[dense\]'"):
        create_app([agent], Settings(store="memory:", asp_port=0))


def test_without_the_port() -> None:
    """Where it is not set, there is none."""
    assert create_app([agent], Settings(store="memory:")).bind() is None
