"""An ASAP server for tests: the core of the protocol behind the WebSockets of another house."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection as Socket
from websockets.exceptions import ConnectionClosed

from palaver.client.asap import AsapClient, AsapSettings
from palaver.client.transport import Patience
from palaver.engine.clock import new_id, wall_clock
from palaver.protocols.asap import codec
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import SkillNotFound
from palaver.protocols.asap.events import AckReceived, Close, RequestReceived, ServerEvent
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, TaskResponse, TaskUpdate, moment
from palaver.protocols.asap.server_connection import ServerConnection
from tests.client.asp_server import listening

AGENT = "urn:asap:agent:tests"
HASTY = Patience(
    first_delay=0.01, max_delay=0.02, give_up_after=10.0, connect_timeout=2.0, silence_timeout=10.0
)


@dataclass(slots=True)
class AsapServer:
    """What a test sees of the server: what it was asked, and how often it did what.

    It answers a ``TaskRequest`` with its input; one whose input has ``gate`` waits until that is
    open; the skill ``none`` is not there.
    """

    limits: Limits = field(default_factory=Limits)
    port: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    """How often each envelope was worked on, by its id."""
    received: list[RequestReceived] = field(default_factory=list)
    acks: list[AckReceived] = field(default_factory=list)
    sockets: list[Socket] = field(default_factory=list)
    links: list[ServerConnection] = field(default_factory=list)
    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    deliveries: Deliveries = field(default_factory=lambda: Deliveries(1000, 1_000_000))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"ws://127.0.0.1:{self.port}/asap/ws"

    async def serve_socket(self, socket: Socket) -> None:
        """Speak ASAP on a WebSocket until it is closed."""
        wake = asyncio.Event()
        link = ServerConnection(
            self.limits,
            wall_clock(),
            new_id=new_id,
            deliveries=self.deliveries,
            on_output=wake.set,
        )
        self.sockets.append(socket)
        self.links.append(link)
        writer = asyncio.create_task(_write(link, socket, wake))
        try:
            async for data in socket:
                assert isinstance(data, str)
                self._take(link, link.receive_text(data, wall_clock()))
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            link.closed(wall_clock())

    def _take(self, link: ServerConnection, events: list[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.received.append(event)
                task = asyncio.create_task(self._work(link, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(event, AckReceived):
                self.acks.append(event)

    async def _work(self, link: ServerConnection, event: RequestReceived) -> None:
        envelope = event.envelope
        self.effects[envelope.id] += 1
        asked: dict[str, Any] = envelope.payload.get("input", {})
        if "gate" in asked:
            await self.gates[asked["gate"]].wait()
        if envelope.payload.get("skill_id") == "none":
            error = SkillNotFound("there is no skill 'none'", details={"skill_id": "none"})
            self._take(link, link.fail(event.request_id, error, wall_clock()))
        else:
            reply = reply_to(envelope, task_id=f"task-{envelope.id}", result=asked)
            self._take(link, link.respond(event.request_id, reply, wall_clock()))

    def push(self, message: str, *, requires_ack: bool = False, link: int = -1) -> Envelope:
        """Push the news of a task, on the last socket."""
        update = TaskUpdate(
            task_id="t", update_type="progress", status="working", progress={"message": message}
        )
        envelope = Envelope(
            id=new_id("env"),
            asap_version="0.1",
            timestamp=moment(wall_clock()),
            sender=AGENT,
            recipient="urn:asap:agent:palaver-client",
            payload_type="TaskUpdate",
            payload=update.wire(),
            requires_ack=requires_ack,
        )
        self.links[link].push(envelope, wall_clock())
        return envelope

    async def stop(self) -> None:
        """End what is worked on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def reply_to(envelope: Envelope, **payload: Any) -> Envelope:
    """Return the answer to a request."""
    response = TaskResponse(**{"task_id": "t", "status": "completed", **payload})
    return Envelope(
        id=new_id("env"),
        asap_version="0.1",
        timestamp=moment(wall_clock()),
        sender=AGENT,
        recipient=envelope.sender,
        payload_type="TaskResponse",
        payload=response.wire(),
        correlation_id=envelope.id,
    )


def reply_frame(request: str, **payload: Any) -> str:
    """Return the frame that answers a frame."""
    asked = codec.parse_request(request, now=wall_clock(), new_id=lambda: "env")
    return codec.encode(codec.Reply(asked.id, reply_to(asked.envelope, **payload))).decode()


async def _write(link: ServerConnection, socket: Socket, wake: asyncio.Event) -> None:
    with suppress(ConnectionClosed):
        while True:
            for output in link.take_output():
                if isinstance(output, Close):
                    await socket.close(output.code, output.reason)
                    return
                await socket.send(output)
            await wake.wait()
            wake.clear()


@asynccontextmanager
async def asap_server(*, limits: Limits | None = None, port: int = 0) -> AsyncIterator[AsapServer]:
    """Serve ASAP on a free port."""
    server = AsapServer(limits or Limits())
    try:
        async with listening(server.serve_socket, port=port) as server.port:
            yield server
    finally:
        await server.stop()


@asynccontextmanager
async def client_of(
    url: str, *, patience: Patience = HASTY, limits: Limits | None = None, **options: Any
) -> AsyncIterator[AsapClient]:
    """Connect a client that waits for little."""
    more = {name: options.pop(name) for name in ("max_reconnects", "attempts") if name in options}
    settings = AsapSettings(patience=patience, limits=limits or Limits(), **more)
    async with asyncio.timeout(20):
        async with AsapClient(url, recipient=AGENT, settings=settings, **options) as client:
            yield client
