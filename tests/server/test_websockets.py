"""Messages through WebSockets: whole and in parts, too large, too many, or no messages at all."""

from __future__ import annotations

import asyncio
import os
import struct

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect

from tests.server.sockets import (
    BINARY,
    CLOSE,
    CONT,
    LOOPS,
    PING,
    PONG,
    TEXT,
    close,
    direct,
    echo,
    frame,
    handshake,
    listening,
)

MIB = 1024 * 1024
pytestmark = pytest.mark.parametrize("loop", LOOPS)


async def test_an_echo_with_a_client_of_another_house(loop: str) -> None:
    """Texts and bytes of every length come back as they were, also 10 MB."""
    messages = ["", "a", "é" * 60_000, b"", *(os.urandom(n) for n in (1, 125, 126, 332, 65_535))]
    messages += [os.urandom(65_536), os.urandom(10_000_000)]
    async with (
        listening(echo, loop) as running,
        connect(f"ws://127.0.0.1:{running.port}/", max_size=None, proxy=None) as client,
    ):
        for message in messages:
            await client.send(message)
            assert await client.recv() == message
        await client.send([b"in ", b"", b"parts"])
        assert await client.recv() == b"in parts"
        await (await client.ping())
    assert [entry["event"] for entry in running.log] == []


async def test_messages_in_the_segment_of_the_handshake(loop: str) -> None:
    """What comes right behind the handshake is kept until it is answered, and in order."""
    behind = (frame(TEXT, b"one"), frame(PING, b"two"), frame(BINARY, b"three"), frame(TEXT)[:3])
    async with listening(echo, loop) as running, running.connected() as client:
        await client.send(handshake(), *behind)
        await client.accepted()
        answers = [await client.frame() for _ in range(3)]
        assert sorted(answers) == [(TEXT, b"one"), (BINARY, b"three"), (PONG, b"two")]
        await client.send(frame(TEXT)[3:])
        assert await client.message() == ""


async def test_two_clients_at_once(loop: str) -> None:
    """Each client gets its own messages."""
    async with (
        listening(echo, loop) as running,
        running.opened() as one,
        running.opened() as other,
    ):
        for number in range(20):
            await one.send(frame(TEXT, b"one %d" % number))
            await other.send(frame(TEXT, b"other %d" % number))
        for number in range(20):
            assert await other.message() == f"other {number}"
            assert await one.message() == f"one {number}"


async def test_a_message_in_fragments(loop: str) -> None:
    """Fragments make one message: cut in a character, byte by byte, with a ping in between."""
    text = "fünf".encode()
    parts = [frame(TEXT, text[:2], fin=False), frame(PING, b"now")]
    parts += [frame(CONT, text[2:3], fin=False), frame(CONT, text[3:]), frame(TEXT, b"next")]
    async with listening(echo, loop) as running, running.opened() as client:
        for byte in b"".join(parts):
            await client.send(bytes((byte,)))
        assert await client.frame() == (PONG, b"now")
        assert await client.message() == "fünf"
        assert await client.message() == "next"


async def test_fragments_without_number(loop: str) -> None:
    """Thousands of fragments, empty ones too, take no more room than what is in them."""
    async with listening(echo, loop) as running, running.opened() as client:
        await client.send(frame(BINARY, b"a", fin=False), frame(CONT, fin=False) * 30_000)
        await client.send(frame(CONT, b"b", fin=False) * 10_000, frame(PING))
        assert await client.frame() == (PONG, b"")
        (connection,) = await running.sockets()
        assert connection._unread._partial == b"a" + b"b" * 10_000
        assert len(connection._unread) == 0
        assert connection.frames == []
        await client.send(frame(CONT, b"c"))
        assert await client.message() == b"a" + b"b" * 10_000 + b"c"


@pytest.mark.parametrize(
    "sent",
    [
        frame(BINARY, bytes(100_001)),
        frame(BINARY, bytes(100_001))[:14],
        frame(BINARY, bytes(60_000), fin=False) + frame(CONT, bytes(40_001)),
        frame(TEXT, bytes(1_000), fin=False) + frame(CONT, bytes(990), fin=False) * 101,
    ],
    ids=["whole", "only its head", "in two parts", "in many parts"],
)
async def test_a_message_that_is_too_large(loop: str, sent: bytes) -> None:
    """It is refused with 1009, as soon as it is known to be too large; the largest one passes."""
    async with (
        listening(echo, loop, max_message_bytes=100_000) as running,
        running.opened() as client,
    ):
        await client.send(frame(BINARY, bytes(100_000)))
        assert len(await client.message()) == 100_000
        await client.send(frame(BINARY, bytes(60_000), fin=False), frame(CONT, bytes(40_000)))
        assert len(await client.message()) == 100_000
        await client.send(sent)
        assert await client.closed() == (1009, "a message has more than 100000 bytes")
    assert running.log == []


async def test_a_refusal_while_much_is_still_being_sent(loop: str) -> None:
    """A client that sends without end gets to read why it is refused."""
    async with listening(echo, loop) as running, running.opened() as client:
        sending = asyncio.create_task(client.send(frame(BINARY, bytes(40 * MIB))))
        assert await client.closed() == (1009, f"a message has more than {16 * MIB} bytes")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


ILLEGAL = {
    "no mask": frame(TEXT, b"a", masked=False),
    "an opcode that means nothing": frame(0x3, b"a")[:-1],
    "a bit that is reserved": b"\xc1" + frame(TEXT, b"a")[1:],
    "a continuation of nothing": frame(CONT, b"a"),
    "a message within another": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "a ping in fragments": frame(PING, b"a", fin=False),
    "a ping that is too long": frame(PING, bytes(126)),
    "a pong that is far too long": frame(PONG, bytes(70_000))[:20],
    "a Close frame of one byte": frame(CLOSE, b"a"),
    "a code that means nothing": close(1005),
    "a Close frame within a message": frame(TEXT, b"a", fin=False) + close(1000),
}


@pytest.mark.parametrize("sent", ILLEGAL.values(), ids=ILLEGAL)
async def test_what_the_protocol_forbids(loop: str, sent: bytes) -> None:
    """It is told with 1002; the application hears so, and the log says nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            running.told.put(message["text"])
        running.told.put(message["code"])

    async with listening(app, loop) as running, running.opened() as client:
        await client.send(frame(TEXT, b"before"), sent)
        assert (await client.closed())[0] == 1002
        assert await running.hear() == "before"
        assert await running.hear() == 1002
    assert running.log == []


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"a"),
        frame(CLOSE, b"\x03\xe8\xff"),
    ],
    ids=["whole", "in fragments", "as a reason"],
)
async def test_a_text_that_is_none(loop: str, sent: bytes) -> None:
    """What is not UTF-8 is told with 1007, and no traceback is in the log."""
    async with listening(echo, loop) as running, running.opened() as client:
        await client.send(sent)
        assert (await client.closed())[0] == 1007
    assert running.log == []


async def test_compression_is_left_out(loop: str) -> None:
    """A client that offers to compress is not taken at its word; it can be, by one setting."""
    offer = handshake("/", {"Sec-WebSocket-Extensions": "permessage-deflate"})
    async with listening(echo, loop) as running, running.connected(offer) as client:
        assert "sec-websocket-extensions" not in (await client.accepted()).headers
    async with (
        listening(echo, loop, compress=True) as running,
        connect(f"ws://127.0.0.1:{running.port}/", proxy=None) as client,
    ):
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" in client.response.headers
        for message in ("a" * 10_000, b"b" * 10_000):
            await client.send(message)
            assert await client.recv() == message


async def test_several_compressed_messages_at_once(loop: str) -> None:
    """Where a client compresses, so do we, in one piece or in several."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert direct(scope).send_now("a" * 2_000, b"b" * 2_000)
        await receive()

    async with (
        listening(app, loop, compress=True) as running,
        connect(f"ws://127.0.0.1:{running.port}/", proxy=None) as client,
    ):
        assert await client.recv() == "a" * 2_000
        assert await client.recv() == b"b" * 2_000


# --- bounds ------------------------------------------------------------------------------------


async def test_more_messages_than_the_application_takes(loop: str) -> None:
    """Only so many wait for it, also if thousands come in one piece; none is lost."""
    count, go_on = 50_000, asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        for number in range(count):
            message = await receive()
            assert message["text"] == str(number)
        await send({"type": "websocket.send", "text": "all"})
        await receive()

    async with listening(app, loop) as running, running.opened() as client:
        sent = b"".join(frame(TEXT, b"%d" % number) for number in range(count))
        sending = asyncio.create_task(client.send(sent))
        (connection,) = await running.sockets()
        await running.until(lambda: connection.read_paused)
        waiting, unread = await running.ask(
            lambda: (len(connection._inbox._waiting), len(connection._unread))
        )
        assert waiting == 256
        assert unread <= 256 * 1024
        running.loop.call_soon_threadsafe(go_on.set)
        assert await client.message() == "all"
        await sending


async def test_pings_of_a_client_that_reads_nothing(loop: str) -> None:
    """Answers are kept within bounds; the last ping is answered at last (RFC 6455 5.5.3)."""
    pings = b"".join(frame(PING, b"%0125d" % number) for number in range(500))
    async with (
        listening(echo, loop, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        (connection,) = await running.sockets()
        client.pause()
        for _ in range(40):
            await client.send(pings)
        await client.send(frame(PING, b"the last"))
        await running.until(lambda: connection._pong.endswith(b"the last"))
        size = await running.ask(connection.transport.get_write_buffer_size)
        assert size <= 64 * 1024 + 127
        client.go_on()
        while await client.frame() != (PONG, b"the last"):
            pass


@pytest.mark.parametrize("size", [1_000, MIB])
async def test_a_client_that_takes_nothing(loop: str, size: int) -> None:
    """It is dropped in time; whoever sends is told so, and what was sent stays bounded."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        transport, largest = direct(scope).transport, 0
        try:
            while True:
                await send({"type": "websocket.send", "bytes": bytes(size)})
                largest = max(largest, transport.get_write_buffer_size())
        except ClientDisconnected:
            running.told.put(largest)
            running.told.put((await receive())["code"])
            raise

    async with (
        listening(app, loop, send_timeout=0.2, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        client.pause()
        assert await running.hear() <= 64 * 1024 + size + 10
        assert await running.hear() == 1006
        client.go_on()
        with pytest.raises(ConnectionError):
            await client.rest()
    assert running.log == []


async def test_a_client_that_takes_slowly(loop: str) -> None:
    """One that goes on taking is not dropped, however long one message takes it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(2):
            await send({"type": "websocket.send", "bytes": bytes(2 * MIB)})
        await receive()

    async with (
        listening(app, loop, send_timeout=0.4, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        (connection,) = await running.sockets()
        assert await client.reader.readexactly(10) == struct.pack("!BBQ", 0x82, 127, 2 * MIB)
        for _ in range(3):  # the time of the client is over so often
            due = (await running.ask(lambda: connection._stall._timer)).when()
            await client.reader.readexactly(128 * 1024)
            await running.until(lambda due=due: connection._stall._timer.when() > due)
        await client.reader.readexactly(2 * MIB - 3 * 128 * 1024)
        assert len(await client.message()) == 2 * MIB
        assert not connection.disconnected


async def test_send_now(loop: str) -> None:
    """Several messages go out in one piece; none does, while the client takes nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client = direct(scope)
        await receive()
        assert not client.send_now("too early")
        await send({"type": "websocket.accept"})
        assert client.send_now("one", b"two", "three")
        assert client.send_now()
        await receive()
        count = 0
        while client.send_now(bytes(10_000)):
            count += 1
        running.told.put(count)
        await send({"type": "websocket.send", "text": "taken"})
        assert client.send_now("and on")
        await receive()
        assert not client.send_now("too late")
        running.told.put("end")

    async with (
        listening(app, loop, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        assert [await client.message() for _ in range(3)] == ["one", b"two", "three"]
        client.pause()
        await client.send(frame(TEXT, b"more"))
        count = await running.hear()
        client.go_on()
        assert [len(await client.message()) for _ in range(count)] == [10_000] * count
        assert [await client.message() for _ in range(2)] == ["taken", "and on"]
        await client.send(close(1000))
        assert await running.hear() == "end"


async def test_messages_without_a_task(loop: str) -> None:
    """Who asks to be called takes messages where they come; also those that came before."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client = direct(scope)
        await receive()
        await send({"type": "websocket.accept"})
        early = asyncio.Event()

        def on_messages() -> None:
            running.told.put(client.take_messages())
            early.set()

        client.on_messages = on_messages
        assert client.on_messages is on_messages
        await early.wait()
        running.told.put((await receive())["code"])
        assert client.take_messages() == []

    async with listening(app, loop) as running, running.connected() as client:
        await client.send(handshake(), frame(TEXT, b"early"), frame(BINARY, b"bird"))
        assert await running.hear() == ["early", b"bird"]
        await client.send(frame(TEXT, b"a"), frame(TEXT, b"b"), close(3000))
        assert await running.hear() == ["a", "b"]
        assert await running.hear() == 3000


async def test_messages_are_taken_in_turns(loop: str) -> None:
    """A flood of messages is handed over in parts, so that others have their turn."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client = direct(scope)
        await receive()
        await send({"type": "websocket.accept"})
        client.on_messages = lambda: running.told.put(client.take_messages())
        await receive()

    async with listening(app, loop) as running, running.opened() as client:
        await client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(5_000)))
        parts: list[list[str]] = []
        while sum(map(len, parts)) < 5_000:
            parts.append(await running.hear())
        assert [int(text) for part in parts for text in part] == list(range(5_000))
        assert max(map(len, parts)) <= 256
