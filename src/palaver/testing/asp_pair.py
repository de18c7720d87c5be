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

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Final, TypeAlias

from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioEncoding, Framing, ProtocolCapabilities
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.events import Event, Output
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Configure, apply_as_negotiated
from palaver.protocols.asp.sessions import Sessions
from palaver.protocols.asp.states import SessionState
from palaver.testing.pair import MemorySocket, Pair

__all__ = ["EVERYTHING", "AspMemorySocket", "AspPair", "Tamper", "stamp"]

EVERYTHING: Final = ProtocolCapabilities(
    supported_sample_rates=(8_000, 16_000, 24_000, 48_000),
    supported_encodings=tuple(AudioEncoding),
    supported_framings=tuple(Framing),
    features=tuple(Feature),
)
"""The capabilities of a server that takes all there is."""

Tamper: TypeAlias = Callable[[Side, str | bytes], Iterable[str | bytes]]
"""Who sent a message, and the message → what arrives in its place: nothing, one, or several."""


def stamp(now: float) -> str:
    """Return a time as ``timestamp`` spells it, where time begins in 1970."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_it_is(_sender: Side, message: str | bytes) -> Iterable[str | bytes]:
    return (message,)


class AspMemorySocket(MemorySocket[Side, str | bytes]):
    """One socket between a client and a server of ASP."""

    def __init__(self, pair: AspPair, client: ClientConnection, server: ServerConnection) -> None:
        super().__init__(Side)
        self._pair = pair
        self.client: Final = client
        self.server: Final = server

    def take_output(self, sender: Side) -> Iterable[Output]:
        """Return what an end has to send, in order; it forgets it."""
        return self._end(sender).take_output()

    def receive(self, to: Side, message: str | bytes) -> None:
        """Hand an end what has arrived, or what has become of it."""
        end, now = self._end(to), self._pair.now
        for one in self._pair.tamper(self.other(to), message):
            if isinstance(one, str):
                self._pair.record(to, end.receive_text(one, now))
            else:
                self._pair.record(to, end.receive_bytes(one, now))

    def lose(self, side: Side) -> None:
        """Tell an end that the socket is gone."""
        self._pair.record(side, self._end(side).closed(self._pair.now))

    def _end(self, side: Side) -> Connection[ClientSession] | Connection[ServerSession]:
        return self.client if side is Side.CLIENT else self.server


class AspPair(Pair[Side, Event, AspMemorySocket]):
    """A client and a server of ASP, and the sockets between them.

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
        super().__init__(Side, now=0.0)
        tokens = count(1)
        self.limits: Final = limits or Limits()
        self.tamper: Tamper = _as_it_is
        self.registry: Final = Sessions(
            capabilities,
            self.limits,
            new_token=lambda: f"token-{next(tokens)}",
            stamp=stamp,
            configure=server_configure,
        )
        self.calls: Final[dict[str, ClientSession]] = {}
        """The client's sessions, those that wait for a socket among them."""
        self._subprotocol = subprotocol
        self._client_configure = client_configure
        self.connect()

    # --- the two sides ----------------------------------------------------------------------

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

    # --- sockets ----------------------------------------------------------------------------

    def connect(self) -> AspMemorySocket:
        """Open one more socket, and use it from now on; nothing has arrived on it."""
        client = ClientConnection(
            self.now,
            self.limits,
            stamp=stamp,
            subprotocol=self._subprotocol,
            configure=self._client_configure,
        )
        self.sockets.append(
            AspMemorySocket(self, client, ServerConnection(self.registry, self.now))
        )
        return self.socket

    def reconnect(self) -> None:
        """Open a socket, and have the client ask to go on with each session that it has there."""
        self.connect()
        self.socket.deliver(Side.CLIENT, 1)
        for session in self.calls.values():
            if session.token is not None and session.state is not SessionState.CLOSED:
                self.client.resume(session, self.now)

    # --- time -------------------------------------------------------------------------------

    def handle_timeouts(self) -> None:
        """Have each side do what is due now."""
        for socket in self.sockets:
            self.record(Side.CLIENT, socket.client.handle_timeout(self.now))
            self.record(Side.SERVER, socket.server.handle_timeout(self.now))
        self.record(Side.SERVER, self.registry.handle_timeout(self.now))

    def deadlines(self) -> Iterable[float | None]:
        """Return when each end has something to do, if nothing comes before."""
        for socket in self.sockets:
            yield socket.client.next_timeout()
            yield socket.server.next_timeout()
        yield self.registry.next_timeout()
