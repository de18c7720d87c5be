"""A client and a server of ASAP, joined in memory by sockets that drop when and how a test says.

::

    pair = AsapPair()
    request_id = pair.client.send(pair.envelope("TaskRequest", {…}), pair.now)
    pair.pump()                              # until nothing is in flight
    pair.respond(request_id)                 # the server's application answers
    pair.drop(to_server=1)                   # one frame still arrives, the rest is lost
    pair.connect()                           # what has no answer is sent again
    pair.pump()

Both ends are live ones; only the sockets and the clock are not. ``events`` holds what each side
was told, ``owed`` what the server's application has not answered yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias

from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.events import (
    ClientEvent,
    Output,
    RequestReceived,
    ServerEvent,
)
from palaver.protocols.asap.in_flight import Caller
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import ASAP_VERSION, Envelope, moment
from palaver.protocols.asap.server_connection import ServerConnection
from palaver.protocols.asap.states import LinkState, Side
from palaver.testing.pair import MemorySocket, Pair

__all__ = ["CLIENT", "SERVER", "AsapMemorySocket", "AsapPair", "Owed", "Tamper"]

CLIENT: Final = "urn:asap:agent:client"
SERVER: Final = "urn:asap:agent:server"

Tamper: TypeAlias = Callable[[Side, str], Iterable[str]]
"""Who sent a frame, and the frame → what arrives in its place: nothing, one, or several."""


def _as_it_is(_sender: Side, text: str) -> Iterable[str]:
    return (text,)


@dataclass(frozen=True, slots=True)
class Owed:
    """A request that the server's application works on, and the socket that it came on."""

    server: ServerConnection
    request: RequestReceived


class AsapMemorySocket(MemorySocket[Side, str]):
    """One socket between a client of ASAP, which keeps what has no answer, and a server."""

    def __init__(self, pair: AsapPair, server: ServerConnection) -> None:
        super().__init__(Side)
        self._pair = pair
        self.server: Final = server

    def take_output(self, sender: Side) -> Iterable[Output]:
        """Return what an end has to send, in order; it forgets it."""
        end = self._pair.client if sender is Side.CLIENT else self.server
        return end.take_output()

    def receive(self, to: Side, message: str) -> None:
        """Hand an end what has arrived, or what has become of it."""
        pair = self._pair
        for text in pair.tamper(self.other(to), message):
            if to is Side.CLIENT:
                pair.record(to, pair.client.receive_text(text, pair.now))
            else:
                pair.take(self.server, self.server.receive_text(text, pair.now))

    def lose(self, side: Side) -> None:
        """Tell an end that the socket is gone."""
        pair = self._pair
        if side is Side.CLIENT:
            pair.record(side, pair.client.connection_lost(pair.now))
        else:
            pair.take(self.server, self.server.closed(pair.now))


class AsapPair(Pair[Side, ClientEvent | ServerEvent, AsapMemorySocket]):
    """A client and a server of ASAP, and the sockets between them.

    ``caller`` is what the server checks of the client's envelopes.
    """

    def __init__(self, limits: Limits | None = None, *, caller: Caller | None = None) -> None:
        super().__init__(Side, now=1_800_000_000.0)
        self.limits: Final = limits or Limits()
        self.tamper: Tamper = _as_it_is
        self._numbers = count(1)
        self.client: Final = ClientConnection(self.limits, new_id=self.new_id)
        self.owed: Final[dict[str, Owed]] = {}
        """What the server's application has not answered, by the envelope's id."""
        self._caller = caller
        self._deliveries = self._new_deliveries()
        self.connect()

    # --- the two sides ----------------------------------------------------------------------

    def new_id(self, prefix: str) -> str:
        """Return the next id."""
        return f"{prefix}_{next(self._numbers)}"

    @property
    def server(self) -> ServerConnection:
        """The server's end of it."""
        return self.socket.server

    def envelope(self, payload_type: str, payload: dict[str, Any], **members: Any) -> Envelope:
        """Return an envelope of the client to the server, of now."""
        return Envelope(
            id=self.new_id("env"),
            asap_version=ASAP_VERSION,
            timestamp=moment(self.now),
            payload_type=payload_type,
            payload=payload,
            **{"sender": CLIENT, "recipient": SERVER, **members},
        )

    def reply_to(self, request: Envelope, **payload: Any) -> Envelope:
        """Return a ``TaskResponse`` to an envelope of the client."""
        return self.envelope(
            "TaskResponse",
            {"task_id": "task_1", "status": "completed", **payload},
            correlation_id=request.id,
            sender=request.recipient,
            recipient=request.sender,
        )

    def respond(self, envelope_id: str, **result: Any) -> None:
        """Have the server's application answer a request that it works on."""
        owed = self.owed.pop(envelope_id)
        reply = self.reply_to(owed.request.envelope, result=result)
        events = owed.server.respond(owed.request.request_id, reply, self.now)
        self.take(owed.server, events)

    def fail(self, envelope_id: str, error: AsapError) -> None:
        """Have it answer with an error."""
        owed = self.owed.pop(envelope_id)
        self.take(owed.server, owed.server.fail(owed.request.request_id, error, self.now))

    # --- events -----------------------------------------------------------------------------

    def take(self, server: ServerConnection, events: Iterable[ServerEvent]) -> None:
        """Keep what an end of the server was told, and what its application owes now."""
        self.record(Side.SERVER, events)
        for event in events:
            if isinstance(event, RequestReceived):
                if event.envelope.id in self.owed:
                    raise AssertionError(f"{event.envelope.id} is worked on twice")
                self.owed[event.envelope.id] = Owed(server, event)

    # --- sockets ----------------------------------------------------------------------------

    def connect(self) -> AsapMemorySocket:
        """Open one more socket, and use it from now on."""
        server = ServerConnection(
            self.limits,
            self.now,
            new_id=self.new_id,
            caller=self._caller,
            deliveries=self._deliveries,
        )
        self.sockets.append(AsapMemorySocket(self, server))
        self.record(Side.CLIENT, self.client.connected(self.now))
        return self.socket

    def restart(self) -> None:
        """Have the server lose its memory and its sockets; what it worked on is done by nobody."""
        for socket in self.sockets:
            for side in Side:
                socket.end(side)
        self.owed.clear()
        self._deliveries = self._new_deliveries()

    # --- time -------------------------------------------------------------------------------

    def handle_timeouts(self) -> None:
        """Have each side do what is due now."""
        self.record(Side.CLIENT, self.client.handle_timeout(self.now))
        for socket in self.sockets:
            if socket.is_open(Side.SERVER):
                self.take(socket.server, socket.server.handle_timeout(self.now))

    def deadlines(self) -> Iterable[float | None]:
        """Return when each end has something to do, if nothing comes before."""
        yield self.client.next_timeout()
        for socket in self.sockets:
            if socket.server.state is not LinkState.CLOSED:
                yield socket.server.next_timeout()

    def _new_deliveries(self) -> Deliveries:
        return Deliveries(self.limits.max_kept_replies, self.limits.max_kept_bytes)
