"""A client and a server of ASP, joined in memory by sockets that drop when and how a test says.

::

    pair = AspPair()
    call = pair.open(SessionRequest(session_id="call-1"))
    call.send_audio(bytes(320), pair.now)
    pair.pump()                              # until nothing is in flight
    pair.drop(to_server=1)                   # one message still arrives, the rest is lost
    pair.reconnect()                         # and go on with every session that can
    pair.pump()

Both ends are live ones; only the sockets and the clock are not. ``events`` holds what each side
was told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Final, TypeAlias, TypeVar

from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioEncoding, Framing, ProtocolCapabilities
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.events import Close, Event, Output
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Configure, apply_as_negotiated
from palaver.protocols.asp.sessions import Sessions
from palaver.protocols.asp.states import LinkState, SessionState

__all__ = ["EVERYTHING", "AspPair", "MemorySocket", "Tamper", "stamp"]

EVERYTHING: Final = ProtocolCapabilities(
    supported_sample_rates=(8_000, 16_000, 24_000, 48_000),
    supported_encodings=tuple(AudioEncoding),
    supported_framings=tuple(Framing),
    features=tuple(Feature),
)
"""The capabilities of a server that takes all there is."""

Tamper: TypeAlias = Callable[[Side, str | bytes], Iterable[str | bytes]]
"""Who sent a message, and the message → what arrives in its place: nothing, one, or several."""

_MAX_DELIVERIES: Final = 100_000
"""Messages after which two ends that still talk are taken to talk for ever."""

_EventT = TypeVar("_EventT")


def stamp(now: float) -> str:
    """Return a time as ``timestamp`` spells it, where time begins in 1970."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_it_is(_sender: Side, message: str | bytes) -> Iterable[str | bytes]:
    return (message,)


class MemorySocket:
    """One socket: what was sent and has not arrived yet stands in ``in_flight``, by receiver."""

    def __init__(self, pair: AspPair, client: ClientConnection, server: ServerConnection) -> None:
        self._pair = pair
        self.client = client
        self.server = server
        self.in_flight: dict[Side, deque[Output]] = {side: deque() for side in Side}

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight."""
        self.collect()
        return not any(self.in_flight.values())

    def collect(self) -> None:
        """Put on their way what the ends have to send."""
        for side in Side:
            for output in self._end(_other(side)).take_output():
                flying = self.in_flight[side]
                if flying and isinstance(flying[-1], Close):
                    raise AssertionError(f"{output!r} follows a Close")
                flying.append(output)

    def deliver(self, to: Side, most: int | None = None) -> int:
        """Have messages arrive, as many as there are, or ``most``; return how many it were."""
        self.collect()
        flying = self.in_flight[to]
        arrived = 0
        while flying and (most is None or arrived < most):
            arrived += 1
            self._arrive(to, flying.popleft())
            self.collect()
        return arrived

    def end(self, to: Side) -> None:
        """Have one side notice that the socket is gone."""
        end = self._end(to)
        if end.state is LinkState.CLOSED:
            return
        self._pair.record(to, end.closed(self._pair.now))
        self.in_flight[to].clear()
        self.collect()

    def _arrive(self, to: Side, output: Output) -> None:
        end, now = self._end(to), self._pair.now
        if isinstance(output, Close):
            for side in Side:
                self.end(side)
            return
        for message in self._pair.tamper(_other(to), output):
            if isinstance(message, str):
                self._pair.record(to, end.receive_text(message, now))
            else:
                self._pair.record(to, end.receive_bytes(message, now))

    def _end(self, side: Side) -> Connection[ClientSession] | Connection[ServerSession]:
        return self.client if side is Side.CLIENT else self.server


class AspPair:
    """The two sides, and the sockets between them; the last of ``sockets`` is in use.

    ``configure`` is what each side's audio pipeline reports to run. ``capabilities`` are the
    server's, ``subprotocol`` says whether ``asp.v1`` was selected.
    """

    def __init__(
        self,
        capabilities: ProtocolCapabilities = EVERYTHING,
        limits: Limits | None = None,
        *,
        subprotocol: bool = True,
        client_configure: Configure = apply_as_negotiated,
        server_configure: Configure = apply_as_negotiated,
    ) -> None:
        tokens = count(1)
        self.now = 0.0
        self.limits: Final = limits or Limits()
        self.tamper: Tamper = _as_it_is
        self.events: Final[dict[Side, list[Event]]] = {side: [] for side in Side}
        self.registry: Final = Sessions(
            capabilities,
            self.limits,
            new_token=lambda: f"token-{next(tokens)}",
            stamp=stamp,
            configure=server_configure,
        )
        self.calls: Final[dict[str, ClientSession]] = {}
        """The client's sessions, those that wait for a socket among them."""
        self.sockets: Final[list[MemorySocket]] = []
        self._subprotocol = subprotocol
        self._client_configure = client_configure
        self.connect()

    # --- the two sides ----------------------------------------------------------------------

    @property
    def socket(self) -> MemorySocket:
        """The socket in use."""
        return self.sockets[-1]

    @property
    def client(self) -> ClientConnection:
        """The client's end of it."""
        return self.socket.client

    @property
    def server(self) -> ServerConnection:
        """The server's end of it."""
        return self.socket.server

    def agent(self, session_id: str) -> ServerSession:
        """Return a session as the server has it."""
        session = self.registry.get(session_id)
        if session is None:
            raise LookupError(f"the server has no session {session_id!r}")
        return session

    def request(self, request: SessionRequest) -> ClientSession:
        """Have the client ask for a session."""
        session = ClientSession(request, self.limits, stamp)
        self.client.start(session, self.now)
        self.calls[session.id] = session
        return session

    def open(self, request: SessionRequest) -> ClientSession:
        """Have the client ask for a session, and everything arrive."""
        self.pump()
        session = self.request(request)
        self.pump()
        return session

    # --- events -----------------------------------------------------------------------------

    def record(self, side: Side, events: list[Event]) -> None:
        """Keep what a side was told."""
        self.events[side] += events

    def told(self, side: Side, kind: type[_EventT]) -> list[_EventT]:
        """Return what a side was told of one kind."""
        return [event for event in self.events[side] if isinstance(event, kind)]

    # --- sockets ----------------------------------------------------------------------------

    def connect(self) -> MemorySocket:
        """Open one more socket, and use it from now on; nothing has arrived on it."""
        client = ClientConnection(
            self.now,
            self.limits,
            stamp=stamp,
            subprotocol=self._subprotocol,
            configure=self._client_configure,
        )
        self.sockets.append(MemorySocket(self, client, ServerConnection(self.registry, self.now)))
        return self.socket

    def pump(self) -> None:
        """Have everything arrive on the socket in use, until it is quiet."""
        socket, arrived = self.socket, 0
        while not socket.quiet:
            arrived += sum(socket.deliver(side, 1) for side in Side)
            if arrived > _MAX_DELIVERIES:
                raise AssertionError("the two ends never come to rest")

    def drop(self, to_server: int = 0, to_client: int = 0, *, half_dead: bool = False) -> None:
        """Lose the socket; of what is in flight, so much still arrives, each way.

        ``half_dead``: the server does not notice. What is left on its way to it may arrive later
        (``deliver``), and so may the end (``end``).
        """
        socket = self.socket
        socket.deliver(Side.SERVER, to_server)
        socket.deliver(Side.CLIENT, to_client)
        socket.end(Side.CLIENT)
        if not half_dead:
            socket.end(Side.SERVER)

    def reconnect(self) -> None:
        """Open a socket, and have the client ask to go on with each session that it has there."""
        self.connect()
        self.socket.deliver(Side.CLIENT, 1)
        for session in self.calls.values():
            if session.token is not None and session.state is not SessionState.CLOSED:
                self.client.resume(session, self.now)

    # --- time -------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let time go by, and have each side do what is due then; nothing arrives meanwhile."""
        until = self.now + seconds
        while True:
            due = min((one for one in self._deadlines() if one is not None), default=None)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.handle_timeouts()
            left = [one for one in self._deadlines() if one is not None and one <= due]
            if left:
                raise AssertionError(f"at {self.now} something is due at {min(left)} still")
        self.now = until

    def handle_timeouts(self) -> None:
        """Have each side do what is due now."""
        for socket in self.sockets:
            self.record(Side.CLIENT, socket.client.handle_timeout(self.now))
            self.record(Side.SERVER, socket.server.handle_timeout(self.now))
        self.record(Side.SERVER, self.registry.handle_timeout(self.now))

    def _deadlines(self) -> Iterable[float | None]:
        for socket in self.sockets:
            yield socket.client.next_timeout()
            yield socket.server.next_timeout()
        yield self.registry.next_timeout()


def _other(side: Side) -> Side:
    return Side.SERVER if side is Side.CLIENT else Side.CLIENT
