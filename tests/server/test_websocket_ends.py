"""How WebSockets end: by the client, the application, its errors, silence, or the drain."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected

from palaver.server.drain import Drain
from tests.server.sockets import (
    BINARY,
    CLOSE,
    LOOPS,
    PING,
    PONG,
    TEXT,
    Running,
    close,
    direct,
    frame,
    handshake,
    listening,
)

pytestmark = pytest.mark.parametrize("loop", LOOPS)


async def listens(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept, and tell all that is received."""
    told = scope["told"]
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        told.put(message.get("text", message.get("bytes")))
    told.put((message["code"], message["reason"]))
    assert await receive() == message  # and again, for whoever asks once more
    with pytest.raises(ClientDisconnected):
        await send({"type": "websocket.send", "text": "too late"})
    await send({"type": "websocket.close"})


# --- by the client -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "told"),
    [(close(3456, "enough"), (3456, "enough")), (frame(CLOSE), (1005, ""))],
    ids=["with a code", "without"],
)
async def test_a_client_that_closes(loop: str, sent: bytes, told: tuple[int, str]) -> None:
    """Its Close frame comes back; what it sent before is received, and nothing after."""
    async with listening(listens, loop) as running, running.opened() as client:
        await client.send(frame(TEXT, b"last words"), sent, frame(TEXT, b"ghost"))
        assert await client.frame() == (CLOSE, sent[6:] and _unmasked(sent))
        assert await client.reader.read() == b""
        assert await running.hear() == "last words"
        assert await running.hear() == told
    assert running.log == []


def _unmasked(sent: bytes) -> bytes:
    return bytes(byte ^ sent[2 + at % 4] for at, byte in enumerate(sent[6:]))


@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
@pytest.mark.parametrize("behind", [b"", frame(BINARY, bytes(500))[:-1]], ids=["", "mid-frame"])
async def test_a_client_that_just_leaves(loop: str, how: str, behind: bytes) -> None:
    """Without a Close frame the code is 1006, wherever the client broke off."""
    async with listening(listens, loop) as running, running.opened() as client:
        await client.send(frame(TEXT, b"last words"), behind)
        assert await running.hear() == "last words"
        if how == "half-closed":
            client.writer.write_eof()
            assert await client.reader.read() == b""
        elif how == "closed":
            client.writer.close()
        else:
            client.reset()
        assert await running.hear() == (1006, "")
        while await running.sockets():
            pass
    assert running.log == []


async def test_the_loss_is_told(loop: str) -> None:
    """Who asks for it is told of the loss of the connection; soon, if it is lost already."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client = direct(scope)
        await receive()
        await send({"type": "websocket.accept"})
        client.on_lost = lost.set
        assert client.on_lost == lost.set
        running.told.put("open")
        await lost.wait()
        client.on_lost = lambda: running.told.put("lost before")
        running.told.put("lost")
        client.abort()  # to no effect any more

    lost = asyncio.Event()
    async with listening(app, loop) as running, running.opened() as client:
        assert await running.hear() == "open"
        client.reset()
        assert await running.hear() == "lost"
        assert await running.hear() == "lost before"


# --- by the application ------------------------------------------------------------------------


async def test_an_application_that_closes(loop: str) -> None:
    """It says why; what the client still sends is dropped; the client's Close ends it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert await receive() == {"type": "websocket.receive", "text": "bye"}
        await send({"type": "websocket.close", "code": 4000, "reason": "done"})
        assert not direct(scope).send_now("too late")
        message = await receive()
        running.told.put((message["type"], message["code"], message["reason"]))
        await hold.wait()

    hold = asyncio.Event()
    async with listening(app, loop) as running, running.opened() as client:
        await client.send(frame(TEXT, b"bye"))
        assert await client.frame() == (CLOSE, (4000).to_bytes(2) + b"done")
        assert await running.hear() == ("websocket.disconnect", 4000, "done")
        await client.send(frame(BINARY, bytes(200_000)) * 5, frame(PING, b"a"))
        assert await client.frame() == (PONG, b"a")
        await client.send(close(4000))
        assert await client.reader.read() == b""
        running.loop.call_soon_threadsafe(hold.set)
    assert running.log == []


async def test_an_application_that_returns(loop: str) -> None:
    """One that ends before its WebSocket has closed well."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    async with listening(app, loop) as running, running.opened() as client:
        assert await client.frame() == (CLOSE, (1000).to_bytes(2))
        await client.send(close(1000))
        assert await client.reader.read() == b""
    assert running.log == []


@pytest.mark.parametrize("how", ["reads", "reads nothing"])
async def test_a_client_that_does_not_close(loop: str, how: str) -> None:
    """It has some time to answer a Close frame; then the connection is dropped."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client = direct(scope)
        client.close_timeout = 0.2
        client.on_lost = lambda: running.told.put("lost")
        await receive()
        await send({"type": "websocket.accept"})
        while how != "reads" and client.send_now(bytes(10_000)):
            pass
        await send({"type": "websocket.close", "code": 1001})
        running.told.put((await receive())["code"])

    async with (
        listening(app, loop, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        assert await running.hear() == 1001
        if how == "reads":
            assert await client.frame() == (CLOSE, (1001).to_bytes(2))
        assert await running.hear() == "lost"
        with pytest.raises(ConnectionError):
            await client.rest()
    assert running.log == []


async def test_a_client_that_takes_its_last_message_slowly(loop: str) -> None:
    """As long as it takes something, a Close frame that waits behind it may wait longer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        direct(scope).close_timeout = 0.4
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(2_000_000)})
        await send({"type": "websocket.close"})

    async with (
        listening(app, loop, send_buffer=16_384) as running,
        running.opened(receive_buffer=4_096) as client,
    ):
        (connection,) = await running.sockets()
        await running.until(lambda: connection.close_timer is not None)
        for _ in range(3):  # the time for the end is over so often
            due = (await running.ask(lambda: connection.close_timer)).when()
            await client.reader.readexactly(100_000)
            await running.until(lambda due=due: connection.close_timer.when() > due)
        await client.reader.readexactly(10 + 2_000_000 - 300_000)
        assert await client.frame() == (CLOSE, (1000).to_bytes(2))
        await client.send(close(1000))
        assert await client.reader.read() == b""


@pytest.mark.parametrize("where", ["in ASGI", "in on_messages"])
async def test_an_application_that_breaks(loop: str, where: str) -> None:
    """The client is told with 1011, and the log once, with the traceback."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if where == "in ASGI":
            await receive()
            breaks()
        direct(scope).on_messages = breaks
        assert (await receive())["type"] == "websocket.receive"  # what nobody has taken
        running.told.put((await receive())["code"])

    def breaks() -> None:
        raise ValueError("broken")

    async with listening(app, loop) as running, running.opened("/x") as client:
        await client.send(frame(TEXT, b"a"))
        assert await client.frame() == (CLOSE, (1011).to_bytes(2))
        await client.send(close(1011))
        assert await client.reader.read() == b""
        if where != "in ASGI":
            assert await running.hear() == 1011
    (entry,) = running.log
    assert (entry["event"], entry["path"], entry["log_level"]) == (
        "websocket_failed",
        "/x",
        "error",
    )
    assert repr(entry["exc_info"]) == "ValueError('broken')"


async def test_an_application_that_forgets_that_clients_leave(loop: str) -> None:
    """What frameworks raise when a client has gone is no error of the application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        try:
            await socket.receive_text()
        finally:
            running.told.put("left")

    async with listening(app, loop) as running:
        async with running.opened():
            pass
        assert await running.hear() == "left"
    assert running.log == []


MISUSE: dict[str, tuple[dict[str, Any], str]] = {
    "accepting twice": (
        {"type": "websocket.accept"},
        "websocket.accept cannot follow websocket.accept",
    ),
    "a code that means nothing": (
        {"type": "websocket.close", "code": 1006},
        "invalid status code",
    ),
    "a reason that is too long": (
        {"type": "websocket.close", "reason": "a" * 124},
        "control frame too long",
    ),
}


@pytest.mark.parametrize(("message", "text"), MISUSE.values(), ids=MISUSE)
async def test_an_application_that_says_nonsense(
    loop: str, message: dict[str, Any], text: str
) -> None:
    """It is told what was wrong, and the client that something was."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send(message)

    async with listening(app, loop) as running, running.opened() as client:
        assert await client.frame() == (CLOSE, (1011).to_bytes(2))
    (entry,) = running.log
    assert text in str(entry["exc_info"])


async def test_two_tasks_that_receive(loop: str) -> None:
    """A message cannot go to two tasks: the second one is told so, the first goes on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        first = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks cannot receive from one WebSocket"):
            await receive()
        await send({"type": "websocket.send", "text": "go on"})
        running.told.put((await first)["text"])

    async with listening(app, loop) as running, running.opened() as client:
        assert await client.message() == "go on"
        await client.send(frame(TEXT, b"a"))
        assert await running.hear() == "a"
    assert running.log == []


# --- by silence --------------------------------------------------------------------------------


async def test_a_client_that_gives_no_sign_of_life(loop: str) -> None:
    """Each ping wants its pong in time; without it the socket closes with 1011."""
    async with (
        listening(listens, loop, ping_interval=0.05, pong_timeout=0.2) as running,
        running.opened() as client,
    ):
        for _ in range(3):
            opcode, payload = await client.frame()
            assert opcode == PING
            await client.send(frame(PONG, b"another"), frame(PONG, payload))
        assert (await client.frame())[0] == PING
        await client.send(frame(TEXT, b"no pong"), frame(PONG, b"another"))
        assert await client.closed() == (1011, "no pong came in time")
        assert await running.hear() == "no pong"
        assert await running.hear() == (1011, "no pong came in time")
    assert running.log == []


async def test_an_application_that_takes_its_time(loop: str) -> None:
    """A client is not to blame for a pong that lies behind what the application does not take."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "end":
                await send({"type": "websocket.send", "text": "all"})

    go_on = asyncio.Event()
    async with (
        listening(app, loop, ping_interval=0.05, pong_timeout=0.1) as running,
        running.opened() as client,
    ):
        opcode, payload = await client.frame()
        assert opcode == PING
        late = [frame(BINARY, bytes(1_000)) * 2_000, frame(PONG, payload), frame(TEXT, b"end")]
        sending = asyncio.create_task(client.send(*late))
        (connection,) = await running.sockets()
        for _ in range(4):  # the time for the pong is over so often
            due = (await running.ask(lambda: connection.pong_timer)).when()
            await running.until(lambda due=due: connection.pong_timer.when() > due)
        running.loop.call_soon_threadsafe(go_on.set)
        while (answer := await client.frame())[0] == PING:
            await client.send(frame(PONG, answer[1]))
        assert answer == (TEXT, b"all")
        await sending


# --- by the drain ------------------------------------------------------------------------------


def stop(running: Running) -> None:
    """Send what SIGTERM sends."""
    running.listener.handle_exit(signal.SIGTERM, None)


async def test_a_drain_with_an_application_that_closes(loop: str) -> None:
    """Its sockets close with the code that it chooses, once it is done, and not before."""
    drain, done = Drain(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        going = asyncio.Event()
        drain.listen(going.set)
        await receive()
        await send({"type": "websocket.accept"})
        await going.wait()
        await send({"type": "websocket.send", "text": "going"})
        assert (await receive())["text"] == "one more"
        await send({"type": "websocket.close", "code": 1001})
        done.set()

    async def begin() -> None:
        drain.begin()
        await done.wait()

    async with listening(app, loop, drain=begin) as running, running.opened() as client:
        stop(running)
        assert await client.message() == "going"
        await client.send(frame(TEXT, b"one more"))
        assert await client.frame() == (CLOSE, (1001).to_bytes(2))
        await client.send(close(1001))
        assert await client.reader.read() == b""
    assert [entry["event"] for entry in running.log] == ["stopping"]


async def test_a_drain_with_an_application_that_does_not(loop: str) -> None:
    """What is open at the end of the time for last writes is dropped; nothing is logged."""
    async with listening(listens, loop) as running, running.opened() as client:
        stop(running)
        assert await client.reader.read() == b""
    assert [entry["event"] for entry in running.log] == ["stopping"]


async def test_a_drain_with_a_handshake_that_is_open(loop: str) -> None:
    """It is answered 503; who accepts it later is told that it is over."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running.told.put("asked")
        running.told.put((await receive())["code"])
        await send({"type": "websocket.accept"})

    async with listening(app, loop) as running, running.connected(handshake()) as client:
        assert await running.hear() == "asked"
        stop(running)
        answer = await client.answer()
        assert answer.status == 503
        assert answer.json == {"error": "the server is stopping"}
        assert await client.reader.read() == b""
        assert await running.hear() == 1006
    assert [entry["event"] for entry in running.log] == ["stopping"]


async def test_an_answer_that_has_begun_when_the_drain_does(loop: str) -> None:
    """It is finished."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 418})
        running.told.put("begun")
        await go_on.wait()
        await send({"type": "websocket.http.response.body", "body": b"tea"})

    go_on = asyncio.Event()

    async def drained() -> None:
        running.told.put("draining")
        await go_on.wait()

    async with (
        listening(app, loop, drain=drained) as running,
        running.connected(handshake()) as client,
    ):
        assert await running.hear() == "begun"
        stop(running)
        assert await running.hear() == "draining"
        running.loop.call_soon_threadsafe(go_on.set)
        answer = await client.answer()
        assert (answer.status, answer.body) == (418, b"tea")


async def test_a_client_that_says_nothing_after_a_refusal(loop: str) -> None:
    """Who is told what was wrong, and does not close, is dropped in time."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        direct(scope).close_timeout = 0.2
        direct(scope).on_lost = lambda: running.told.put("lost")
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with listening(app, loop) as running, running.opened() as client:
        await client.send(frame(TEXT, b"\xff"))
        assert (await client.closed())[0] == 1007
        await client.send(frame(TEXT, b"deaf"))
        assert await running.hear() == "lost"
