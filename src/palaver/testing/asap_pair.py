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

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar

from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.events import (
    ClientEvent,
    Close,
    Output,
    RequestReceived,
    ServerEvent,
)
from palaver.protocols.asap.in_flight import Caller
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import ASAP_VERSION, Envelope, moment
from palaver.protocols.asap.server_connection import ServerConnection
from palaver.protocols.asap.states import LinkState, Side

__all__ = ["CLIENT", "SERVER", "AsapPair", "MemorySocket", "Owed", "Tamper"]

CLIENT: Final = "urn:asap:agent:client"
SERVER: Final = "urn:asap:agent:server"

Tamper: TypeAlias = Callable[[Side, str], Iterable[str]]
"""Who sent a frame, and the frame → what arrives in its place: nothing, one, or several."""

_MAX_DELIVERIES: Final = 100_000
"""Frames after which two ends that still talk are taken to talk for ever."""

_EventT = TypeVar("_EventT")


def _as_it_is(_sender: Side, text: str) -> Iterable[str]:
    return (text,)


@dataclass(frozen=True, slots=True)
class Owed:
    """A request that the server's application works on, and the socket that it came on."""

    server: ServerConnection
    request: RequestReceived


class MemorySocket:
    """One socket: what was sent and has not arrived yet stands in ``in_flight``, by receiver."""

    def __init__(self, pair: AsapPair, server: ServerConnection) -> None:
        self._pair = pair
        self.server = server
        self.in_flight: Final[dict[Side, deque[Output]]] = {side: deque() for side in Side}
        self._open = set(Side)

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight."""
        self.collect()
        return not any(self.in_flight.values())

    def is_open(self, side: Side) -> bool:
        """Tell whether one side has its socket still."""
        return side in self._open

    def collect(self) -> None:
        """Put on their way what the ends have to send."""
        if Side.CLIENT in self._open:
            self._send(Side.SERVER, self._pair.client.take_output())
        if Side.SERVER in self._open:
            self._send(Side.CLIENT, self.server.take_output())

    def deliver(self, to: Side, most: int | None = None) -> int:
        """Have frames arrive, as many as there are, or ``most``; return how many it were."""
        self.collect()
        flying = self.in_flight[to]
        arrived = 0
        while flying and (most is None or arrived < most):
            arrived += 1
            self._arrive(to, flying.popleft())
            self.collect()
        return arrived

    def end(self, side: Side) -> None:
        """Have one side notice that the socket is gone."""
        if side not in self._open:
            return
        self._open.remove(side)
        self.in_flight[side].clear()
        if side is Side.CLIENT:
            self._pair.record(side, self._pair.client.connection_lost(self._pair.now))
        else:
            self._pair.take(self.server, self.server.closed(self._pair.now))

    def _send(self, to: Side, outputs: Iterable[Output]) -> None:
        flying = self.in_flight[to]
        for output in outputs:
            if flying and isinstance(flying[-1], Close):
                raise AssertionError(f"{output!r} follows a Close")
            flying.append(output)

    def _arrive(self, to: Side, output: Output) -> None:
        pair = self._pair
        if isinstance(output, Close):
            for side in Side:
                self.end(side)
            return
        sender = Side.SERVER if to is Side.CLIENT else Side.CLIENT
        for text in pair.tamper(sender, output):
            if to is Side.CLIENT:
                pair.record(to, pair.client.receive_text(text, pair.now))
            else:
                pair.take(self.server, self.server.receive_text(text, pair.now))


class AsapPair:
    """The two sides, and the sockets between them; the last of ``sockets`` is in use.

    ``caller`` is what the server checks of the client's envelopes.
    """

    def __init__(self, limits: Limits | None = None, *, caller: Caller | None = None) -> None:
        self.now = 1_800_000_000.0
        self.limits: Final = limits or Limits()
        self.tamper: Tamper = _as_it_is
        self._numbers = count(1)
        self.client: Final = ClientConnection(self.limits, new_id=self.new_id)
        self.events: Final[dict[Side, list[ClientEvent | ServerEvent]]] = {s: [] for s in Side}
        self.owed: Final[dict[str, Owed]] = {}
        """What the server's application has not answered, by the envelope's id."""
        self.sockets: Final[list[MemorySocket]] = []
        self._caller = caller
        self._deliveries = self._new_deliveries()
        self.connect()

    # --- the two sides ----------------------------------------------------------------------

    def new_id(self, prefix: str) -> str:
        """Return the next id."""
        return f"{prefix}_{next(self._numbers)}"

    @property
    def socket(self) -> MemorySocket:
        """The socket in use."""
        return self.sockets[-1]

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

    def record(self, side: Side, events: Iterable[ClientEvent | ServerEvent]) -> None:
        """Keep what a side was told."""
        self.events[side] += events

    def take(self, server: ServerConnection, events: Iterable[ServerEvent]) -> None:
        """Keep what an end of the server was told, and what its application owes now."""
        self.record(Side.SERVER, events)
        for event in events:
            if isinstance(event, RequestReceived):
                if event.envelope.id in self.owed:
                    raise AssertionError(f"{event.envelope.id} is worked on twice")
                self.owed[event.envelope.id] = Owed(server, event)

    def told(self, side: Side, kind: type[_EventT]) -> list[_EventT]:
        """Return what a side was told of one kind."""
        return [event for event in self.events[side] if isinstance(event, kind)]

    # --- sockets ----------------------------------------------------------------------------

    def connect(self) -> MemorySocket:
        """Open one more socket, and use it from now on."""
        server = ServerConnection(
            self.limits,
            self.now,
            new_id=self.new_id,
            caller=self._caller,
            deliveries=self._deliveries,
        )
        self.sockets.append(MemorySocket(self, server))
        self.record(Side.CLIENT, self.client.connected(self.now))
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

    def restart(self) -> None:
        """Have the server lose its memory and its sockets; what it worked on is done by nobody."""
        for socket in self.sockets:
            for side in Side:
                socket.end(side)
        self.owed.clear()
        self._deliveries = self._new_deliveries()

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
        self.record(Side.CLIENT, self.client.handle_timeout(self.now))
        for socket in self.sockets:
            if socket.is_open(Side.SERVER):
                self.take(socket.server, socket.server.handle_timeout(self.now))

    def _deadlines(self) -> Iterable[float | None]:
        yield self.client.next_timeout()
        for socket in self.sockets:
            if socket.server.state is not LinkState.CLOSED:
                yield socket.server.next_timeout()

    def _new_deliveries(self) -> Deliveries:
        return Deliveries(self.limits.max_kept_replies, self.limits.max_kept_bytes)
