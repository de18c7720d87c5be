"""ASP audio: what a frame costs the server, and how late its echo comes.

Each message is 20 ms of audio (320 bytes of 8 kHz PCM) in `asp16` framing. Three loads: `live`,
many callers with a socket each and 50 messages a second, every one of which comes back at once;
`heard`, the same with nothing coming back; `flood`, a few callers as fast as it goes, each with a
window of messages in flight. Compared in interleaved rounds: ASP with all features of 1.1 (an agent
that says each message again), the WebSocket below it (a plain ASGI application; and one that takes
the short way without a task), and servers of websockets and picows that echo bytes. Callers are
picows clients in the benchmark's own process; those of ASP acknowledge what came, as the protocol
asks.

`asp_frames.py --serve NAME --port P` is one of the servers.
"""

import argparse
import asyncio
import gc
import importlib.metadata
import itertools
import json
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import picows
import uvloop
from load import run_client
from picows import WSFrame, WSListener, WSMsgType, WSTransport
from report import Metric, Options, Report, parse_options, percentile
from servers import RunningServer, Server, pin_client, running, server_core
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from palaver.observability.logging import configure_logging
from palaver.protocols.asp.call import Call, Silence
from palaver.protocols.asp.config import Framing, ProtocolCapabilities
from palaver.protocols.asp.events import AudioReceived, Event, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature
from palaver.server.admission import Admission
from palaver.server.asp import AspEndpoint
from palaver.server.drain import Drain
from palaver.server.listener import Listener, bind
from palaver.server.websocket import WEBSOCKET, ClientSocket

ASP = "palaver asp"
BASELINE = "websockets"
READY, ECHO, HEAR = "/ready", "/echo", "/hear"

AUDIO_BYTES = 320
SAMPLES = 160
MESSAGES_PER_SECOND = 50
ACK_INTERVAL = 100
FLOOD_CALLERS = 4
FLOOD_WINDOW = 32
WARM_UP_SECONDS = 0.5
TIMEOUT = 60.0

# The header of asp16, then in place of the first samples when it was said, and its number.
HEAD = struct.Struct("<BBHIIBBHQI")
MARK = struct.Struct("<QI")
HEADER_BYTES = HEAD.size - MARK.size
REST = (bytes(range(256)) * 2)[: AUDIO_BYTES - MARK.size]

METRICS = (
    Metric("messages/s", "1/s"),
    Metric("server CPU", "µs/message", digits=1, with_range=True),
    Metric("to websockets", "x", digits=2, with_range=True),
    Metric("server busy", "%"),
    Metric("echo p50", "ms", digits=2),
    Metric("echo p99", "ms", digits=2, with_range=True),
    Metric("client busy", "%"),
)


# --- the servers ----------------------------------------------------------------------------


class LiveEcho:
    """Says each audio message again as soon as it was heard."""

    def __init__(self, call: Call) -> None:
        self._call = call
        call.session.start_response(call.now())

    def heard(self, event: Event) -> None:
        """Say it again."""
        if isinstance(event, AudioReceived):
            self._call.session.send_audio(event.payload, self._call.now())

    def closed(self, event: SessionClosed) -> None:
        """Let go."""


def asp_endpoints() -> tuple[AspEndpoint, AspEndpoint]:
    """Return the endpoint that echoes, and the one that only hears."""
    capabilities = ProtocolCapabilities(supported_framings=tuple(Framing), features=tuple(Feature))
    limits = Limits(max_sessions=10_000, max_audio_lead=1e9)  # a flood is ahead of the clock
    admission = Admission(Drain(), max_sockets=10_000)
    return (
        AspEndpoint(capabilities, limits, admission, answer=LiveEcho),
        AspEndpoint(capabilities, limits, admission, answer=Silence),
    )


class AsgiEcho:
    """Echoes, or only hears, as any ASGI application would."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if scope["path"] == ECHO:
                await send({"type": "websocket.send", "bytes": message["bytes"]})


class DirectEcho:
    """Echoes, or only hears, where the messages are read: what lies under ASP."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        await receive()
        await send({"type": "websocket.accept"})
        client: ClientSocket = scope["extensions"][WEBSOCKET]

        def answer() -> None:
            messages = client.take_messages()
            if scope["path"] == ECHO and not client.send_now(*messages):
                raise RuntimeError("the client does not take its echo")

        client.on_messages = answer
        while (await receive())["type"] != "websocket.disconnect":
            pass


async def serve_palaver(name: str, port: int) -> None:
    """Serve ASP, or an ASGI application, with Palaver's listener."""
    echo, hear = asp_endpoints()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        echo.start()
        hear.start()
        yield

    async def ready(_: object) -> PlainTextResponse:
        return PlainTextResponse("ready")

    async def drain() -> None:
        pass

    plain = {"palaver asgi": AsgiEcho(), "palaver direct": DirectEcho()}.get(name)
    routes = [
        Route(READY, ready),
        WebSocketRoute(ECHO, plain or echo),
        WebSocketRoute(HEAR, plain or hear),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    listener = Listener(app, drain, head_timeout=TIMEOUT, announce=lambda: None)
    with bind("127.0.0.1", port) as listening:
        await listener.serve(sockets=[listening])


async def serve_websockets(_: str, port: int) -> None:
    """Serve with websockets, without compression."""

    async def echo(connection: ServerConnection) -> None:
        request = connection.request
        hears_only = request is not None and request.path == HEAR
        async for message in connection:
            if not hears_only:
                await connection.send(message)

    def answer_ready(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(200, "ready\n") if request.path == READY else None

    async with serve(
        echo, "127.0.0.1", port, compression=None, process_request=answer_ready
    ) as server:
        await server.serve_forever()


class PicowsEcho(WSListener):
    """Echoes, or only hears."""

    def __init__(self, *, hears_only: bool) -> None:
        super().__init__()
        self._hears_only = hears_only

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer in the same turn."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif not self._hears_only:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


async def serve_picows(_: str, port: int) -> None:
    """Serve with picows."""

    def listener(request: picows.WSUpgradeRequest) -> object:
        if request.path == READY.encode():
            ready = picows.WSUpgradeResponse.create_ok_response(b"ready")
            return picows.WSUpgradeResponseWithListener(ready, None)
        return PicowsEcho(hears_only=request.path == HEAR.encode())

    server = await picows.ws_create_server(listener, "127.0.0.1", port)
    await server.serve_forever()


SERVERS = {
    ASP: serve_palaver,
    "palaver asgi": serve_palaver,
    "palaver direct": serve_palaver,
    BASELINE: serve_websockets,
    "picows": serve_picows,
}


def run_server(name: str, port: int) -> None:
    """Serve until the process is told to stop."""
    configure_logging("warning")
    gc.collect()  # as `palaver serve` does, for all of them
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(SERVERS[name](name, port))


def contestants() -> list[Server]:
    """Return the servers, Palaver first."""
    return [
        Server(name, (str(Path(__file__)), "--serve", name, "--port", "{port}"), READY)
        for name in SERVERS
    ]


# --- the callers ----------------------------------------------------------------------------


class WrongEcho(Exception):
    """What came is not what was said."""


class Caller(WSListener):
    """Says messages, and sees that each comes back whole and in order."""

    ids = itertools.count(time.time_ns())

    def __init__(self, *, speaks_asp: bool) -> None:
        super().__init__()
        self.transport: WSTransport
        self.said = 0
        self.came_back = 0
        self.refills = False
        self.delays: list[int] = []
        self.problem: str | None = None
        self._session_id = f"call-{next(self.ids)}" if speaks_asp else ""
        self._stream = 0
        self._received = 0
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def say(self) -> None:
        """Say the next message."""
        number = self.said
        self.said = number + 1
        head = HEAD.pack(
            *(0xA5, 0x11, self._stream, number, number * SAMPLES & 0xFFFF_FFFF, 0, 0, 0),
            time.perf_counter_ns(),
            number,
        )
        self.transport.send(WSMsgType.BINARY, head + REST)

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        """Check what came; with `refills`, say another one for it."""
        if frame.msg_type != WSMsgType.BINARY:
            if frame.msg_type == WSMsgType.TEXT:
                self._take_text(frame.get_payload_as_utf8_text())
            return
        data = frame.get_payload_as_bytes()
        said_at, number = MARK.unpack_from(data, HEADER_BYTES)
        if number != self.came_back or len(data) != HEADER_BYTES + AUDIO_BYTES:
            self.problem = f"message {number} of {len(data)} bytes in place of {self.came_back}"
        elif not data.endswith(REST):
            self.problem = f"message {number} has changed"
        self.came_back = number + 1
        self.delays.append(time.perf_counter_ns() - said_at)
        if self._session_id:
            self._count()
        if self.refills:
            self.say()

    async def start(self) -> None:
        """Start a session, where the server speaks ASP."""
        if not self._session_id:
            return
        await self._answer("protocol.capabilities")
        self._send(
            type="session.start",
            version="1.1.0",
            features=[str(feature) for feature in Feature],
            audio={"sample_rate": 8_000, "frame_duration_ms": 20, "framing": "asp16"},
        )
        self._stream = (await self._answer("session.started"))["stream"]

    async def end(self) -> None:
        """End the session, and leave."""
        if self._session_id:
            self._send(type="session.end")
            await self._answer("session.ended")
        self.transport.disconnect()
        await self.transport.wait_disconnected()

    def _take_text(self, text: str) -> None:
        if '"session.ack"' in text:
            return
        if '"protocol.error"' in text:
            self.problem = text
        elif '"response.' in text:
            self._count()
        else:
            self._texts.put_nowait(text)

    def _count(self) -> None:
        self._received += 1
        if self._received % ACK_INTERVAL == 0:
            self._send(type="session.ack", received=self._received)

    def _send(self, **members: object) -> None:
        text = json.dumps(members | {"session_id": self._session_id})
        self.transport.send(WSMsgType.TEXT, text.encode())

    async def _answer(self, kind: str) -> dict[str, int]:
        async with asyncio.timeout(TIMEOUT):
            found = json.loads(await self._texts.get())
        if found["type"] != kind or found.get("status") == "rejected":
            raise WrongEcho(f"{found} in place of {kind}")
        return found  # type: ignore[no-any-return]


@asynccontextmanager
async def calls(
    server: RunningServer, name: str, path: str, count: int
) -> AsyncIterator[list[Caller]]:
    """Have `count` callers connected, one after the other."""
    callers: list[Caller] = []
    for _ in range(count):
        _, caller = await picows.ws_connect(
            lambda: Caller(speaks_asp=name == ASP), f"ws://127.0.0.1:{server.port}{path}"
        )
        assert isinstance(caller, Caller)
        await caller.start()
        callers.append(caller)
    yield callers
    for caller in callers:
        await caller.end()


# --- the loads ------------------------------------------------------------------------------


async def say_live(callers: Sequence[Caller], seconds: float) -> None:
    """Let each caller say its messages in time, spread evenly over each 20 ms."""
    ticks = 1_000 // MESSAGES_PER_SECOND
    groups = [callers[tick::ticks] for tick in range(ticks)]
    loop = asyncio.get_running_loop()
    started = loop.time()
    for tick in range(round(seconds * 1_000)):
        # Once late, it catches up: a slow server gets no fewer messages.
        await asyncio.sleep(max(0.0, started + tick / 1_000 - loop.time()))
        for caller in groups[tick % ticks]:
            caller.say()


async def flood(callers: Sequence[Caller], seconds: float) -> None:
    """Keep a window of messages in flight for each caller."""
    for caller in callers:
        caller.refills = True
        for _ in range(FLOOD_WINDOW):
            caller.say()
    await asyncio.sleep(seconds)
    for caller in callers:
        caller.refills = False


async def settle(callers: Sequence[Caller], path: str) -> None:
    """Wait until the server has taken, and where it echoes said, all."""
    async with asyncio.timeout(TIMEOUT):
        for caller in callers:
            await caller.transport.measure_roundtrip_time(1)  # its pong comes behind all
            # No event tells of it: to set one for each message would cost the callers more.
            while path == ECHO and caller.came_back < caller.said and not caller.problem:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    problems = [caller.problem for caller in callers if caller.problem]
    if problems:
        raise WrongEcho(problems[0])


async def measure(
    server: RunningServer, name: str, load: str, count: int, seconds: float
) -> dict[str, float]:
    """Run one load against one server; figures by metric name."""
    path = HEAR if load.startswith("heard") else ECHO
    say = flood if load.startswith("flood") else say_live
    async with calls(server, name, path, count) as callers:
        await say(callers, min(seconds, WARM_UP_SECONDS))
        await settle(callers, path)
        for caller in callers:
            caller.delays.clear()
        before = sum(caller.said for caller in callers)
        gc.collect()
        gc.disable()
        cpu, own, started = server.cpu_seconds(), time.process_time(), time.monotonic()
        try:
            await say(callers, seconds)
            await settle(callers, path)
        finally:
            gc.enable()
        elapsed = time.monotonic() - started
        cpu, own = server.cpu_seconds() - cpu, time.process_time() - own
        messages = sum(caller.said for caller in callers) - before
    delays = [delay / 1e6 for caller in callers for delay in caller.delays]
    figures = {
        "messages/s": messages / elapsed,
        "server CPU": cpu / messages * 1e6,
        "server busy": cpu / elapsed * 100,
        "client busy": own / elapsed * 100,
    }
    if delays:
        figures |= {"echo p50": percentile(delays, 50), "echo p99": percentile(delays, 99)}
    return figures


def _loads(options: Options, wanted: str) -> list[tuple[str, int, float]]:
    """Return name, callers and seconds of each load."""
    callers = 50 if options.quick else 400
    live, heard, flooded = (0.5, 0.3, 0.3) if options.quick else (15.0, 5.0, 3.0)
    found = {
        "live": (f"live, {callers} callers", callers, live),
        "heard": (f"heard, {callers} callers", callers, heard),
        "flood": (f"flood, {FLOOD_CALLERS} callers", FLOOD_CALLERS, flooded),
    }
    return [found[name.strip()] for name in wanted.split(",")]


def _measure_rounds(options: Options, loads: str, report: Report) -> None:
    wanted = options.wanted(list(SERVERS))
    with ExitStack() as stack:
        servers = {
            server.name: stack.enter_context(running(server))
            for server in contestants()
            if server.name in wanted
        }
        for _ in range(options.rounds):
            for load, count, seconds in _loads(options, loads):
                figures = {
                    name: run_client(measure(server, name, load, count, seconds))
                    for name, server in servers.items()
                }
                base = figures.get(BASELINE, {}).get("server CPU", float("nan"))
                for name, seen in figures.items():
                    report.add(load, name, seen | {"to websockets": seen["server CPU"] / base})


def main() -> None:
    """Measure and report; or be one of the servers."""

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--loads", default="live,heard,flood", help="which of the three")
        parser.add_argument("--serve", choices=list(SERVERS), help=argparse.SUPPRESS)
        parser.add_argument("--port", type=int, help=argparse.SUPPRESS)

    options, given = parse_options(__doc__, rounds=3, extend=extend)
    if given.serve:
        run_server(given.serve, given.port)
        return
    report = Report("ASP audio messages of 20 ms", METRICS)
    report.settings |= {
        "rounds": options.rounds,
        "bytes_per_message": HEADER_BYTES + AUDIO_BYTES,
        "flood_window": FLOOD_WINDOW,
        "client_core": pin_client(),
        "server_core": server_core(),
    } | {package: importlib.metadata.version(package) for package in ("websockets", "picows")}
    _measure_rounds(options, given.loads, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
