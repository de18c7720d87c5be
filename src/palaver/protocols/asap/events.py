"""What the two ends of an ASAP socket tell their applications, in the order in which it happened.

Everything in an event was checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from palaver.protocols.asap.codec import RequestId
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.messages import Envelope

__all__ = [
    "AckReceived",
    "Acknowledged",
    "ClientEvent",
    "Close",
    "DuplicateReceived",
    "ErrorReceived",
    "FrameIgnored",
    "FrameRejected",
    "GaveUp",
    "Output",
    "PeerStale",
    "PongReceived",
    "Pushed",
    "ReplyReceived",
    "RequestFailed",
    "RequestReceived",
    "ServerEvent",
]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket with this code, after everything before it was sent."""

    code: int
    reason: str


Output: TypeAlias = str | Close
"""A text frame, or the end of the socket."""


# --- server ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request to work on.

    It is owed exactly one ``respond`` or ``fail``, also when the socket is lost meanwhile.
    """

    request_id: RequestId
    envelope: Envelope
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class DuplicateReceived:
    """A request came again; there is nothing to do.

    Where it is ``answered``, the kept reply was sent again; else it gets the same answer as the
    first, when that is there.
    """

    request_id: RequestId
    envelope: Envelope
    answered: bool


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The client acknowledges an envelope that was pushed."""

    envelope_id: str
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The client is there."""


@dataclass(frozen=True, slots=True)
class PeerStale:
    """Nothing was received for ``silence`` seconds; the socket closes."""

    silence: float


@dataclass(frozen=True, slots=True)
class FrameRejected:
    """A frame was refused, and its sender was told; ``request_id`` where it could be read."""

    error: AsapError
    request_id: RequestId | None = None


ServerEvent: TypeAlias = (
    AckReceived | DuplicateReceived | FrameRejected | PeerStale | PongReceived | RequestReceived
)


# --- client ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """A request was answered; ``request_id`` is the one that ``send`` returned."""

    request_id: str
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request was answered with an error."""

    request_id: str
    error: AsapError


@dataclass(frozen=True, slots=True)
class Pushed:
    """The server sends something that is no answer: the progress of a task, an artifact."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The server has a request (``received``), is done with it, or refuses it (``rejected``)."""

    envelope_id: str
    status: str
    error: str | None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A request is not waited for any more; whether the server has done it is not known.

    ``unacknowledged``: it was sent again as often as it may be. ``unanswered``: its time is over.
    """

    request_id: str
    cause: Literal["unacknowledged", "unanswered"]


@dataclass(frozen=True, slots=True)
class FrameIgnored:
    """What came is of no use; ``reason`` says why. The connection goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """The server refused a frame that it could not name."""

    error: AsapError


ClientEvent: TypeAlias = (
    Acknowledged | ErrorReceived | FrameIgnored | GaveUp | Pushed | ReplyReceived | RequestFailed
)
