"""An ASP server for tests: the core of the protocol behind the WebSockets of another house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection as Socket
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from palaver.protocols.asp.config import AudioEncoding, ProtocolCapabilities
from palaver.protocols.asp.events import AudioReceived, Close, Event, SessionOpened
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Configure, apply_as_negotiated
from palaver.protocols.asp.sessions import Sessions

CAPABILITIES = ProtocolCapabilities(
    supported_encodings=tuple(AudioEncoding),
    supported_framings=("hash12", "seq14", "asp16"),
    features=tuple(Feature),
)
EventT = TypeVar("EventT")


async def until(true: Callable[[], bool]) -> None:
    """Let others work until something is true, for ten seconds at most."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 # what is looked at tells nobody when it changes
            await asyncio.sleep(0)


def _stamp(now: float) -> str:
    return f"2026-01-01T00:00:{now % 60:06.3f}Z"


@dataclass(slots=True)
class AspServer:
    """What a test sees of the server: its sessions, and all that has happened there, in order."""

    sessions: Sessions
    echoes: bool = True
    """Whether it says again what it hears."""
    port: int = 0
    subprotocol: bool = True
    events: list[Event] = field(default_factory=list)
    links: list[ServerConnection] = field(default_factory=list)
    starts_to_drop: int = 0
    """How many sockets to reset once a session was started there, before it is told."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"ws://127.0.0.1:{self.port}"

    def now(self) -> float:
        """Return its time."""
        return asyncio.get_running_loop().time()

    def session(self, session_id: str) -> ServerSession:
        """Return the session of that id, which is there."""
        session = self.sessions.get(session_id)
        assert session is not None
        return session

    def take(self, events: list[Event]) -> None:
        """Keep what has happened; say again what was heard."""
        self.events += events
        for event in events:
            if self.echoes and isinstance(event, AudioReceived):
                session = self.session(event.session_id)
                if session.response is None:
                    session.start_response(self.now())
                session.send_audio(event.payload, self.now())
        self._news.set()

    def all(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of that kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[EventT], number: int = 1) -> list[EventT]:
        """Wait until that many events of a kind have happened, for ten seconds at most."""
        async with asyncio.timeout(10):
            while len(self.all(kind)) < number:
                self._news.clear()
                await self._news.wait()
        return self.all(kind)

    async def serve_socket(self, socket: Socket) -> None:
        """Speak ASP on a WebSocket until it is closed."""
        wake = asyncio.Event()
        link = ServerConnection(self.sessions, self.now(), server_id="tests", on_output=wake.set)
        self.links.append(link)
        writer = asyncio.create_task(_write(link, socket, wake))
        try:
            async for data in socket:
                if isinstance(data, bytes):
                    self.take(link.receive_bytes(data, self.now()))
                else:
                    events = link.receive_text(data, self.now())
                    self.take(events)
                    if self.starts_to_drop and isinstance((events or [None])[0], SessionOpened):
                        self.starts_to_drop -= 1
                        socket.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self.take(link.closed(self.now()))


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
async def asp_server(
    *,
    capabilities: ProtocolCapabilities = CAPABILITIES,
    limits: Limits | None = None,
    configure: Configure = apply_as_negotiated,
    echoes: bool = True,
    subprotocol: bool = True,
    port: int = 0,
) -> AsyncIterator[AspServer]:
    """Serve ASP on a free port."""
    tokens = count(1)
    sessions = Sessions(
        capabilities,
        limits or Limits(max_audio_lead=1e6),
        new_token=lambda: f"token-{next(tokens)}",
        stamp=_stamp,
        configure=configure,
    )
    server = AspServer(sessions, echoes)
    async with listening(server.serve_socket, subprotocol=subprotocol, port=port) as server.port:
        yield server


@asynccontextmanager
async def listening(
    answer: Callable[[Socket], Awaitable[None]],
    *,
    subprotocol: bool = False,
    port: int = 0,
    **options: Any,
) -> AsyncIterator[int]:
    """Take WebSockets on a port, and have each one answered; yield the port."""
    offered = [Subprotocol("asp.v1")] if subprotocol else None

    def choose(_: Socket, theirs: Any) -> Subprotocol | None:
        return offered[0] if offered and offered[0] in theirs else None

    async with serve(
        answer,
        "127.0.0.1",
        port,
        compression=None,
        max_size=None,
        close_timeout=1,
        ping_interval=None,
        subprotocols=offered,
        select_subprotocol=choose if offered else None,
        **options,
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]
