"""What may follow: one table a side.

Rules of the tables:

* A key of the inner table is what happens at this end, whether it is sent, received or noticed.
* What is received and has no entry is refused where it is a request, else ignored; what our own
  side would do and has no entry raises ``Misuse``.
* The server's table is about one socket. The client's is about one client, whose sockets come
  and go: ``lost`` and ``connected`` do not change its state.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["LINK", "LinkState", "Side", "Step"]


class Side(StrEnum):
    """Who is who."""

    CLIENT = "client"
    SERVER = "server"


class LinkState(StrEnum):
    """Where an end stands."""

    OPEN = "open"
    DRAINING = "draining"
    """No new requests; those that are there are answered."""
    CLOSED = "closed"


class Step(StrEnum):
    """What happens at an end."""

    REQUEST = "request"
    REPEAT = "repeat"
    """A request that this server knows already."""
    ANSWER = "answer"
    """A reply, or an error in its place."""
    PUSH = "push"
    ACK = "ack"
    PING = "ping"
    PONG = "pong"
    CONNECTED = "connected"
    LOST = "lost"
    """The socket is gone."""
    SHUT_DOWN = "shut_down"
    CLOSE = "close"
    """This end closes the socket for good."""


_OPEN, _DRAINING, _CLOSED = LinkState


def _stay(state: LinkState, *steps: Step) -> dict[Step, LinkState]:
    return dict.fromkeys(steps, state)


_TALK: Final = (Step.ANSWER, Step.PUSH, Step.ACK, Step.PING, Step.PONG)

LINK: Final[Mapping[Side, Mapping[LinkState, Mapping[Step, LinkState]]]] = MappingProxyType(
    {
        Side.SERVER: {
            _OPEN: {
                **_stay(_OPEN, *_TALK, Step.REQUEST, Step.REPEAT),
                Step.SHUT_DOWN: _DRAINING,
                Step.CLOSE: _CLOSED,
                Step.LOST: _CLOSED,
            },
            _DRAINING: {
                # A request that was taken before is no new one: its repeat is answered with it.
                **_stay(_DRAINING, *_TALK, Step.REPEAT, Step.SHUT_DOWN),
                Step.CLOSE: _CLOSED,
                Step.LOST: _CLOSED,
            },
            # An answer that comes too late for the socket is kept for the next one.
            _CLOSED: _stay(_CLOSED, Step.ANSWER, Step.SHUT_DOWN, Step.LOST),
        },
        Side.CLIENT: {
            _OPEN: {
                **_stay(_OPEN, *_TALK, Step.REQUEST, Step.CONNECTED, Step.LOST),
                Step.SHUT_DOWN: _DRAINING,
            },
            _DRAINING: {
                **_stay(_DRAINING, *_TALK, Step.CONNECTED, Step.LOST, Step.SHUT_DOWN),
                Step.CLOSE: _CLOSED,
            },
            _CLOSED: _stay(_CLOSED, Step.SHUT_DOWN, Step.LOST),
        },
    }
)
"""Side → state → what happens → state."""
