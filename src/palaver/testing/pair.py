"""Two live ends of a protocol, joined in memory by sockets that drop when and how a test says.

What every pair can do stands here; ``asp_pair`` and ``asap_pair`` say what their ends are. Only the
sockets and the clock are not real.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

__all__ = ["MemorySocket", "Pair", "SocketEnd"]

_MAX_DELIVERIES: Final = 100_000
"""Messages after which two ends that still talk are taken to talk for ever."""

_SideT = TypeVar("_SideT", bound=StrEnum)
_MessageT = TypeVar("_MessageT", bound=str | bytes)
_EventT = TypeVar("_EventT")
_KindT = TypeVar("_KindT")


class SocketEnd(Protocol):
    """What an end says last: the code and the reason that its socket closes with."""

    @property
    def code(self) -> int:
        """Return the code."""
        ...

    @property
    def reason(self) -> str:
        """Return the reason."""
        ...


class MemorySocket(ABC, Generic[_SideT, _MessageT]):
    """One socket: what was sent and has not arrived yet stands in ``in_flight``, by receiver.

    ``sides`` are two: the client, then the server.
    """

    def __init__(self, sides: type[_SideT]) -> None:
        self._client, self._server = sides
        self._open = set(sides)
        self.in_flight: Final[dict[_SideT, deque[_MessageT | SocketEnd]]] = {
            side: deque() for side in sides
        }

    # --- its two ends -----------------------------------------------------------------------

    @abstractmethod
    def take_output(self, sender: _SideT) -> Iterable[_MessageT | SocketEnd]:
        """Return what an end has to send, in order; it forgets it."""

    @abstractmethod
    def receive(self, to: _SideT, message: _MessageT) -> None:
        """Hand an end what has arrived."""

    @abstractmethod
    def lose(self, side: _SideT) -> None:
        """Tell an end that the socket is gone."""

    # --- what becomes of it -----------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight."""
        self.collect()
        return not any(self.in_flight.values())

    def is_open(self, side: _SideT) -> bool:
        """Tell whether one side has its socket still."""
        return side in self._open

    def other(self, side: _SideT) -> _SideT:
        """Return who is at the other end."""
        return self._server if side is self._client else self._client

    def collect(self) -> None:
        """Put on their way what the ends have to send."""
        for sender in (self._server, self._client):
            if sender not in self._open:
                continue
            flying = self.in_flight[self.other(sender)]
            for output in self.take_output(sender):
                if flying and not isinstance(flying[-1], str | bytes):
                    raise AssertionError(f"{output!r} follows a Close")
                flying.append(output)

    def deliver(self, to: _SideT, most: int | None = None) -> int:
        """Have messages arrive, as many as there are, or ``most``; return how many it were."""
        self.collect()
        flying = self.in_flight[to]
        arrived = 0
        while flying and (most is None or arrived < most):
            arrived += 1
            message = flying.popleft()
            if isinstance(message, str | bytes):
                self.receive(to, message)
            else:
                self.end(self._client)
                self.end(self._server)
            self.collect()
        return arrived

    def pump(self) -> None:
        """Have everything arrive, until the socket is quiet."""
        arrived = 0
        while not self.quiet:
            arrived += self.deliver(self._client, 1) + self.deliver(self._server, 1)
            if arrived > _MAX_DELIVERIES:
                raise AssertionError("the two ends never come to rest")

    def drop(self, to_server: int, to_client: int, *, half_dead: bool) -> None:
        """Lose the socket, as ``Pair.drop`` says."""
        self.deliver(self._server, to_server)
        self.deliver(self._client, to_client)
        self.end(self._client)
        if not half_dead:
            self.end(self._server)

    def end(self, side: _SideT) -> None:
        """Have one side notice that the socket is gone."""
        if side in self._open:
            self._open.remove(side)
            self.in_flight[side].clear()
            self.lose(side)


_SocketT = TypeVar("_SocketT", bound=MemorySocket[Any, Any])


class Pair(ABC, Generic[_SideT, _EventT, _SocketT]):
    """The two sides, and the sockets between them; the last of ``sockets`` is in use.

    ``events`` holds what each side was told. ``now`` (s) goes on only with ``wait``.
    """

    def __init__(self, sides: type[_SideT], now: float) -> None:
        self.now = now
        self.events: Final[dict[_SideT, list[_EventT]]] = {side: [] for side in sides}
        self.sockets: Final[list[_SocketT]] = []

    # --- events -----------------------------------------------------------------------------

    def record(self, side: _SideT, events: Iterable[_EventT]) -> None:
        """Keep what a side was told."""
        self.events[side] += events

    def told(self, side: _SideT, kind: type[_KindT]) -> list[_KindT]:
        """Return what a side was told of one kind."""
        return [event for event in self.events[side] if isinstance(event, kind)]

    # --- sockets ----------------------------------------------------------------------------

    @property
    def socket(self) -> _SocketT:
        """The socket in use."""
        return self.sockets[-1]

    def pump(self) -> None:
        """Have everything arrive on the socket in use, until it is quiet."""
        self.socket.pump()

    def drop(self, to_server: int = 0, to_client: int = 0, *, half_dead: bool = False) -> None:
        """Lose the socket; of what is in flight, so much still arrives, each way.

        ``half_dead``: the server does not notice. What is left on its way to it may arrive later
        (``deliver``), and so may the end (``end``).
        """
        self.socket.drop(to_server, to_client, half_dead=half_dead)

    # --- time -------------------------------------------------------------------------------

    @abstractmethod
    def deadlines(self) -> Iterable[float | None]:
        """Return when each end has something to do, if nothing comes before."""

    @abstractmethod
    def handle_timeouts(self) -> None:
        """Have each side do what is due now."""

    def wait(self, seconds: float) -> None:
        """Let time go by, and have each side do what is due then; nothing arrives meanwhile."""
        until = self.now + seconds
        while True:
            due = min((one for one in self.deadlines() if one is not None), default=None)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.handle_timeouts()
            left = [one for one in self.deadlines() if one is not None and one <= due]
            if left:
                raise AssertionError(f"at {self.now} something is due at {min(left)} still")
        self.now = until
