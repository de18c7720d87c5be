"""The ASAP client on WebSockets that drop, and with servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
import structlog
from websockets.asyncio.server import ServerConnection as Socket

from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.asap_socket import SocketLink
from palaver.client.transport import Patience
from palaver.observability.logging import configure_logging
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, TaskStatus, moment
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.client.asap_server import (
    AGENT,
    HASTY,
    AsapServer,
    asap_server,
    client_of,
    reply_frame,
)
from tests.client.asp_server import listening, until


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what the client logs of each drop."""
    before = structlog.get_config()
    configure_logging("critical")
    yield
    structlog.configure(**before)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AsapServer]:
    """Serve ASAP."""
    async with asap_server() as server:
        yield server


def request() -> Envelope:
    """Return some request."""
    return Envelope(
        id="e",
        asap_version="0.1",
        timestamp=moment(0.0),
        sender=AGENT,
        recipient=AGENT,
        payload_type="StateQuery",
        payload={"task_id": "t"},
    )


def socket_of(proxy: FaultProxy) -> str:
    """Return where WebSockets go by way of a proxy."""
    return f"ws://127.0.0.1:{proxy.port}"


def link_of(client: Any) -> SocketLink:
    """Return the link of a client that is connected."""
    link = client._socket
    assert isinstance(link, SocketLink)
    return link


def said(envelope: Envelope) -> str:
    """Return what a push says."""
    return str(envelope.payload["progress"]["message"])


# --- asking ---


async def test_an_answer(server: AsapServer) -> None:
    """A request is answered, and was acknowledged; another one goes over the same socket."""
    async with client_of(server.url) as client:
        for number in range(3):
            answer = await client.request_task("say", {"number": number})
            assert answer.status is TaskStatus.COMPLETED
            assert answer.result == {"number": number}
    assert len(server.sockets) == 1
    assert all(event.envelope.requires_ack for event in server.received)
    assert server.sockets[0].close_code == 1000


async def test_many_at_once(server: AsapServer) -> None:
    """Each of many concurrent requests gets its own answer, on one socket."""
    async with client_of(server.url) as client:
        asking = (client.request_task("say", {"number": number}) for number in range(200))
        answers = await asyncio.gather(*asking)
    assert [answer.result for answer in answers] == [{"number": number} for number in range(200)]
    assert len(server.sockets) == 1
    assert set(server.effects.values()) == {1}


async def test_a_slow_one_holds_up_nobody(server: AsapServer) -> None:
    """Answers come in whatever order the work is done."""
    async with client_of(server.url) as client:
        slow = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        assert (await client.request_task("say", {"fast": 1})).result == {"fast": 1}
        assert not slow.done()
        server.gates["a"].set()
        assert (await slow).result == {"gate": "a"}


async def test_a_refusal(server: AsapServer) -> None:
    """What the server refuses has its code, its number and its words; the next one goes on."""
    async with client_of(server.url) as client:
        with pytest.raises(AsapRefused, match="there is no skill 'none'") as caught:
            await client.request_task("none", {})
        assert (caught.value.code, caught.value.uri) == (-32021, "asap:capability/skill_not_found")
        assert caught.value.data["details"] == {"skill_id": "none"}
        assert (await client.request_task("say", {})).status is TaskStatus.COMPLETED


async def test_a_cancelled_send_is_forgotten(server: AsapServer) -> None:
    """Whoever stops waiting leaves nothing behind, and the late answer goes to nobody."""
    async with client_of(server.url) as client:
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        assert link_of(client).pending == 1
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert link_of(client).pending == 0
        server.gates["a"].set()
        assert (await client.request_task("say", {"next": 1})).result == {"next": 1}


async def test_no_answer_in_time(server: AsapServer) -> None:
    """A request that is not answered in time ends, and its late answer goes to nobody."""
    async with client_of(server.url) as client:
        with pytest.raises(AsapUnreachable, match=r"did not answer within 0\.05 s") as caught:
            await client.request_task("say", {"gate": "a"}, timeout=0.05)
        assert caught.value.uri == "asap:execution/task_timeout"
        assert link_of(client).pending == 0
        server.gates["a"].set()
        assert (await client.request_task("say", {"next": 1})).result == {"next": 1}


async def test_as_many_as_may_wait(server: AsapServer) -> None:
    """One request too many is refused here; nothing was sent of it."""
    async with client_of(server.url, limits=Limits(max_pending=1)) as client:
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        with pytest.raises(AsapUnreachable, match="as many as may") as caught:
            await client.request_task("say", {})
        assert caught.value.local
        server.gates["a"].set()
        await waiting
    assert len(server.received) == 1


# --- sockets that drop ---


@pytest.mark.parametrize("seed", range(4))
async def test_sockets_that_are_reset(server: AsapServer, seed: int) -> None:
    """However often the connection breaks, each request is done once, and answered."""

    def fault(number: int) -> Fault:
        return Fault() if number > 6 else Fault(reset_after=400 + 377 * (number + seed))

    async with (
        FaultProxy(server.port, fault) as proxy,
        client_of(socket_of(proxy)) as client,
    ):
        asking = (client.request_task("say", {"number": number}) for number in range(40))
        answers = await asyncio.gather(*asking)
        assert [answer.result for answer in answers] == [{"number": one} for one in range(40)]
        assert proxy.connections > 3
    assert len(server.effects) == 40
    assert set(server.effects.values()) == {1}


async def test_an_answer_that_was_lost(server: AsapServer) -> None:
    """A request whose socket dropped while it was worked on is answered on the next one."""
    async with (
        FaultProxy(server.port) as proxy,
        client_of(socket_of(proxy)) as client,
    ):
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        proxy.reset_all()
        await until(lambda: len(server.links) == 2)
        server.gates["a"].set()
        assert (await waiting).result == {"gate": "a"}
    assert set(server.effects.values()) == {1}


async def test_a_server_that_stops_in_good_order(server: AsapServer) -> None:
    """A server that drains answers what it has; what it does not take goes to the next socket."""
    async with client_of(server.url) as client:
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        server.links[0].shut_down(0.0)
        refused = asyncio.create_task(client.request_task("say", {"new": 1}))
        await asyncio.sleep(0)
        server.gates["a"].set()
        assert (await waiting).result == {"gate": "a"}
        assert (await refused).result == {"new": 1}
    assert [socket.close_code for socket in server.sockets] == [1001, 1000]
    assert set(server.effects.values()) == {1}


async def test_a_server_that_starts_again() -> None:
    """What is asked while the server is away is answered by the one that comes after it."""
    stack = AsyncExitStack()
    first = await stack.enter_async_context(asap_server())
    async with client_of(first.url) as client:
        await client.request_task("say", {"before": 1})
        held = asyncio.create_task(client.request_task("say", {"held": 1, "gate": "a"}))
        await until(lambda: len(first.received) == 2)
        await stack.aclose()
        await until(lambda: not link_of(client).attached)
        later = [asyncio.create_task(client.request_task("say", {"n": n})) for n in range(5)]
        async with asap_server(port=first.port) as second:
            second.gates["a"].set()
            assert (await held).result == {"held": 1, "gate": "a"}
            answers = await asyncio.gather(*later)
            assert [answer.result for answer in answers] == [{"n": n} for n in range(5)]
            assert len(second.received) == 6
            assert set(second.effects.values()) == {1}
            await client.close()


async def test_a_socket_that_nobody_needs(server: AsapServer) -> None:
    """A client that waits for nothing sleeps once its socket is lost, and wakes when asked."""
    async with client_of(server.url) as client:
        await client.request_task("say", {})
        server.sockets[0].transport.abort()
        await until(lambda: link_of(client)._run_task is None)
        assert not client.usable
        assert (await client.request_task("say", {"again": 1})).result == {"again": 1}
    assert len(server.sockets) == 2


async def test_a_listener_comes_back_by_itself(server: AsapServer) -> None:
    """A client that listens opens the next socket though it asked for nothing."""
    heard: list[str] = []
    async with client_of(server.url, on_message=lambda one: heard.append(said(one))):
        await until(lambda: len(server.links) == 1)
        server.sockets[0].transport.abort()
        await until(lambda: len(server.links) == 2)
        server.push("news")
        await until(lambda: heard == ["news"])


async def test_reconnects_that_are_enough(server: AsapServer) -> None:
    """With a bound on sockets that fail in a row, what waits ends in an error."""
    async with (
        FaultProxy(server.port) as proxy,
        client_of(socket_of(proxy), max_reconnects=2) as client,
    ):
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        proxy.upstream_port = 1
        proxy.reset_all()
        with pytest.raises(AsapUnreachable, match="is lost"):
            await waiting
        proxy.upstream_port = server.port
        assert (await client.request_task("say", {"again": 1})).result == {"again": 1}


async def test_a_black_hole(server: AsapServer) -> None:
    """A connection that carries nothing any more is found out, and the next one is used."""
    patience = Patience(first_delay=0.01, max_delay=0.02, connect_timeout=2.0, silence_timeout=0.2)

    def fault(number: int) -> Fault:
        return Fault(silent_after=400) if number == 0 else Fault()

    async with (
        FaultProxy(server.port, fault) as proxy,
        client_of(socket_of(proxy), patience=patience) as client,
    ):
        assert (await client.request_task("say", {"x": "y" * 300})).result == {"x": "y" * 300}
        assert proxy.connections == 2
    assert set(server.effects.values()) == {1}


async def test_nobody_there() -> None:
    """The first connection is not tried again: whoever asks is told at once."""
    for _ in range(2):
        with pytest.raises(
            AsapUnreachable, match=r"nobody answers at ws://127\.0\.0\.1:1/asap/ws: "
        ):
            async with client_of("ws://127.0.0.1:1"):
                pass


async def test_a_server_that_says_nothing_at_first() -> None:
    """A handshake that takes too long ends with the request that it is for."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        link = SocketLink(f"ws://127.0.0.1:{port}", HASTY, Limits())
        with pytest.raises(AsapUnreachable, match=r"did not answer within 0\.05 s: it was never"):
            await link.exchange(request(), None, 0.05)
        await link.close()
        with pytest.raises(AsapUnreachable, match="the client is closed"):
            await link.connect()


async def test_a_server_that_takes_nothing() -> None:
    """A socket on which nothing can be sent is left; what was to be sent goes to the next one."""
    gate = asyncio.Event()
    sockets = 0
    patience = Patience(first_delay=0.01, max_delay=0.02, connect_timeout=2.0, silence_timeout=0.2)

    async def answer(socket: Socket) -> None:
        nonlocal sockets
        sockets += 1
        if sockets == 1:
            socket.transport.pause_reading()
            await gate.wait()
        async for data in socket:
            await socket.send(reply_frame(str(data)))

    large = {"x": "y" * 4_000_000}
    async with (
        listening(answer) as port,
        client_of(f"ws://127.0.0.1:{port}", patience=patience) as client,
    ):
        asking = (client.request_task("say", large) for _ in range(4))
        answers = await asyncio.gather(*asking)
        gate.set()
    assert {answer.status for answer in answers} == {TaskStatus.COMPLETED}
    assert sockets == 2


async def test_closing_with_requests_under_way(server: AsapServer) -> None:
    """Requests without an answer end when the client is closed, and nothing can be asked then."""
    async with client_of(server.url) as client:
        waiting = asyncio.create_task(client.request_task("say", {"gate": "a"}))
        await until(lambda: len(server.received) == 1)
        await client.close()
        for asking in (waiting, client.request_task("say", {})):
            with pytest.raises(AsapUnreachable, match="the client is closed"):
                await asking
    assert server.sockets[0].close_code == 1000


# --- acknowledgements ---


async def test_a_request_that_is_not_acknowledged() -> None:
    """It is sent again on the same socket under the same envelope id, and then given up."""
    frames: list[dict[str, Any]] = []

    async def deaf(socket: Socket) -> None:
        async for data in socket:
            frames.append(json.loads(data))  # noqa: PERF401 -- told while they come

    limits = Limits(ack_timeout=0.02, retransmit_delays=(0.02, 0.02, 0.02))
    async with listening(deaf) as port, client_of(f"ws://127.0.0.1:{port}", limits=limits) as one:
        with pytest.raises(AsapUnreachable, match="did not acknowledge the request"):
            await one.request_task("say", {})
        assert link_of(one).pending == 0
    assert len({frame["params"]["envelope"]["id"] for frame in frames}) == 1
    assert len({frame["id"] for frame in frames}) == len(frames) == 4


# --- servers that misbehave ---

Script = Callable[[Socket, str], Awaitable[None]]


async def junk_first(socket: Socket, request: str) -> None:
    """Send all that is none, then the answer."""
    for junk in (
        "{",
        "[]",
        "7",
        "null",
        '"x"',
        "{}",
        '{"jsonrpc":"2.0","id":5}',
        '{"jsonrpc":"2.0","id":null,"result":{"envelope":{"id":"x"}}}',
        '{"jsonrpc":"2.0","id":null,"result":{"envelope":7}}',
        '{"jsonrpc":"2.0","method":"asap.ack","params":{"envelope":{}}}',
        '{"jsonrpc":"2.0","method":"asap.other","params":{}}',
        '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',
        '{"jsonrpc":"2.0","id":"nobody","error":{"code":-32603,"message":"?"}}',
        '{"type":"ping"}',
        '{"type":"pong"}',
        "[" * 2000,
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    ):
        await socket.send(junk)
    await socket.send(b"\x00\xff")
    await socket.send(reply_frame(request))


async def twice(socket: Socket, request: str) -> None:
    """Answer twice."""
    await socket.send(reply_frame(request, result={"n": 1}))
    await socket.send(reply_frame(request, result={"n": 2}))


async def without_its_id(socket: Socket, request: str) -> None:
    """Answer under an id that nobody asked with: the envelope says what it answers."""
    frame = json.loads(reply_frame(request))
    await socket.send(json.dumps(frame | {"id": "server-7"}))


async def as_a_push(socket: Socket, request: str) -> None:
    """Answer as upstream pushes."""
    frame = json.loads(reply_frame(request))
    await socket.send(
        json.dumps({"jsonrpc": "2.0", "method": "asap.send", "params": frame["result"]})
    )


@pytest.mark.parametrize("script", [junk_first, twice, without_its_id, as_a_push])
async def test_odd_frames(script: Script) -> None:
    """No frame ends the loop, none is pushed that is none, and each request has one answer."""
    heard: list[Envelope] = []

    async def answer(socket: Socket) -> None:
        async for data in socket:
            if b"asap.send" in data.encode():  # type: ignore[union-attr]
                await script(socket, str(data))

    async with (
        listening(answer) as port,
        client_of(f"ws://127.0.0.1:{port}", on_message=heard.append) as client,
    ):
        first = await client.request_task("say", {})
        assert first.status is TaskStatus.COMPLETED
        assert first.result in (None, {"n": 1})
        assert (await client.request_task("say", {})).status is TaskStatus.COMPLETED
    assert heard == []


async def test_an_answer_that_is_none() -> None:
    """An answer that names the request but holds no envelope is an error of that request."""

    async def answer(socket: Socket) -> None:
        async for data in socket:
            request_id = json.loads(data)["id"]
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": {}}))

    async with listening(answer) as port, client_of(f"ws://127.0.0.1:{port}") as client:
        with pytest.raises(AsapInvalid, match="answered what is no ASAP"):
            await client.request_task("say", {})


@pytest.mark.parametrize(("code", "kind"), [(1009, AsapRefused), (4401, AsapRefused)])
async def test_a_server_that_closes_for_good(code: int, kind: type[Exception]) -> None:
    """What the next socket would not change ends the request: it is not tried for ever."""
    sockets = 0

    async def close(socket: Socket) -> None:
        nonlocal sockets
        sockets += 1
        await socket.recv()
        await socket.close(code, "no")

    async with listening(close) as port, client_of(f"ws://127.0.0.1:{port}") as client:
        with pytest.raises(kind, match=str(code)):
            await client.request_task("say", {})
    assert sockets == 1


async def test_a_server_that_is_not_who_it_should_be() -> None:
    """What is asked for by TLS is not said to a server that speaks none."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(AsapUnreachable, match="no secure connection"):
            async with client_of(f"wss://127.0.0.1:{port}"):
                pass


async def test_an_agent_without_a_manifest(server: AsapServer) -> None:
    """Where no manifest says where events are, they are at the usual path."""
    url = f"http://127.0.0.1:{server.port}"
    async with client_of(url, transport="websocket") as client:
        assert link_of(client).url == server.url
        assert (await client.request_task("say", {"n": 1})).result == {"n": 1}


@pytest.mark.parametrize("status", [401, 403, 404, 426, 503])
async def test_a_handshake_that_is_refused(status: int) -> None:
    """A server that takes no WebSocket refuses with its status."""

    def refuse(socket: Socket, _: object) -> Any:
        return socket.respond(status, "no\n")

    async def never(_: Socket) -> None:
        raise AssertionError

    async with listening(never, process_request=refuse) as port:
        with pytest.raises(AsapRefused, match=f"answered HTTP {status}") as caught:
            async with client_of(f"ws://127.0.0.1:{port}"):
                pass
    assert caught.value.code == status


async def test_a_peer_that_speaks_no_websocket() -> None:
    """What answers something else is not taken for a server of ASAP."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(AsapInvalid, match="does not speak WebSocket"):
            async with client_of(f"ws://127.0.0.1:{port}"):
                pass


# --- pushes ---


async def test_pushes(server: AsapServer) -> None:
    """What is pushed is told in order, one after the other, and answers go on meanwhile."""
    heard: list[str] = []
    gate = asyncio.Event()

    async def listen(envelope: Envelope) -> None:
        heard.append(said(envelope))
        await gate.wait()

    async with client_of(server.url, on_message=listen) as client:
        await client.request_task("say", {})
        for number in range(3):
            server.push(str(number))
        await until(lambda: heard == ["0"])
        assert (await client.request_task("say", {"n": 1})).result == {"n": 1}
        assert heard == ["0"]
        gate.set()
        await until(lambda: heard == ["0", "1", "2"])


async def test_a_listener_that_asks(server: AsapServer) -> None:
    """Whoever is told something may ask the same server, and wait for the answer."""
    answers: list[Any] = []

    async def listen(envelope: Envelope) -> None:
        answers.append((await client.request_task("say", {"for": said(envelope)})).result)

    async with client_of(server.url, on_message=listen) as client:
        await client.request_task("say", {})
        server.push("a")
        server.push("b")
        await until(lambda: answers == [{"for": "a"}, {"for": "b"}])


async def test_a_listener_that_closes(server: AsapServer) -> None:
    """Whoever is told something may close the client; nothing more is told."""
    heard: list[str] = []

    async def listen(envelope: Envelope) -> None:
        heard.append(said(envelope))
        await client.close()

    async with client_of(server.url, on_message=listen) as client:
        await client.request_task("say", {})
        server.push("a")
        server.push("b")
        await until(lambda: server.sockets[0].close_code == 1000)
    assert heard == ["a"]


async def test_a_listener_that_fails(server: AsapServer) -> None:
    """What a listener raises ends nothing; a server that wants to know is told."""
    heard: list[str] = []

    def listen(envelope: Envelope) -> None:
        heard.append(said(envelope))
        if said(envelope) == "bad":
            raise RuntimeError

    async with client_of(server.url, on_message=listen) as client:
        await client.request_task("say", {})
        bad = server.push("bad", requires_ack=True)
        good = server.push("good", requires_ack=True)
        server.push("quiet")
        await until(lambda: heard == ["bad", "good", "quiet"])
        assert (await client.request_task("say", {"n": 1})).result == {"n": 1}
        await until(lambda: len(server.acks) == 4)
    told = [(ack.envelope_id, ack.status) for ack in server.acks]
    assert sorted(told) == sorted(
        [(bad.id, "received"), (good.id, "received"), (bad.id, "rejected"), (good.id, "processed")]
    )


async def test_pushes_that_nobody_listens_to(server: AsapServer) -> None:
    """Without a listener what is pushed is let go, and acknowledged where that is wanted."""
    async with client_of(server.url) as client:
        await client.request_task("say", {})
        server.push("x", requires_ack=True)
        await until(lambda: [ack.status for ack in server.acks] == ["received", "processed"])
        assert (await client.request_task("say", {"n": 1})).result == {"n": 1}


async def test_a_listener_that_is_slow(server: AsapServer) -> None:
    """More pushes than are kept wait in the socket; none is lost."""
    heard = 0
    gate = asyncio.Event()

    async def listen(_: Envelope) -> None:
        nonlocal heard
        await gate.wait()
        heard += 1

    async with client_of(server.url, on_message=listen) as client:
        await client.request_task("say", {})
        for number in range(1500):
            server.push(str(number))
        await until(lambda: len(link_of(client)._pushes._line) == 1024)
        gate.set()
        await until(lambda: heard == 1500)
