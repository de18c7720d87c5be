"""The requests of one socket of a server: worked on, waiting, known already, or one too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from palaver.protocols.asap.codec import Request, RequestId
from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.deliveries import (
    Asker,
    Deliveries,
    Delivery,
    DeliveryKey,
    fingerprint,
)
from palaver.protocols.asap.errors import AsapError, InvalidRequest, KeyReused, ServerBusy
from palaver.protocols.asap.events import DuplicateReceived, RequestReceived
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, PayloadType
from palaver.protocols.asap.waiting import Waiting, WaitingLine

__all__ = ["SHUTTING_DOWN", "Caller", "Check", "InFlight", "Socket", "shutting_down"]

Check: TypeAlias = Callable[[Envelope, float], None]
"""Raises ``AsapError`` where an envelope, received now, is not to be taken."""

SHUTTING_DOWN: Final = "shutting_down"
"""``details.reason`` of the error of a server that stops: ask again on another socket."""

_RETRY_AFTER: Final = 1.0


def _take_all(_envelope: Envelope, _now: float) -> None:
    """Take whatever comes."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end, and what its envelopes must pass.

    ``name`` is who was authenticated: nobody is answered with what another one was. ``identity``
    (who sends, to whom, in which version) is checked of every copy of an envelope, ``freshness``
    (its age, its nonce) of the first one only: what is sent again is old, and has its old nonce.
    """

    name: str = ""
    identity: Check = _take_all
    freshness: Check = _take_all


class Socket(Asker, Protocol):
    """The socket that the requests come on."""

    def received(self, envelope: Envelope, now: float) -> None:
        """Acknowledge that an envelope is taken, where its sender wants to know."""
        ...

    def rejected(self, envelope: Envelope, error: str, now: float) -> None:
        """Acknowledge that it was refused, where its sender wants to know."""
        ...


@dataclass(frozen=True, slots=True)
class _Work:
    """A request that is worked on."""

    delivery: Delivery
    envelope: Envelope


class InFlight:
    """What one socket is owed. The answers go through ``deliveries``, to all who asked."""

    def __init__(
        self, limits: Limits, socket: Socket, caller: Caller, deliveries: Deliveries
    ) -> None:
        self._limits: Final = limits
        self._socket: Final = socket
        self._caller: Final = caller
        self._deliveries: Final = deliveries
        self._work: dict[RequestId, _Work] = {}
        self._waiting: Final = WaitingLine(limits)
        self._asked = 0

    def __len__(self) -> int:
        """Return how many are worked on."""
        return len(self._work)

    @property
    def idle(self) -> bool:
        """Whether this socket is owed nothing, by its own requests or by those it joined."""
        return not self._asked and not self._waiting

    @property
    def full(self) -> bool:
        """Whether nothing more may be read."""
        return self._waiting.full

    # --- in ---------------------------------------------------------------------------------

    def receive(
        self, request: Request, size: int, now: float, *, new: bool
    ) -> list[RequestReceived | DuplicateReceived]:
        """Take a request whose frame has ``size`` characters; return what to tell of it.

        ``new``: whether one may be taken that is not known yet.

        Raises:
            AsapError: it is not taken.

        """
        envelope = request.envelope
        self._caller.identity(envelope, now)
        key = DeliveryKey(self._caller.name, envelope.sender, envelope.id)
        mark = fingerprint(envelope)
        known = self._deliveries.find(key) or self._waiting.find(key)
        if known is not None:
            if known.mark != mark:
                detail = "it came before with other content: give each new request its own id"
                raise KeyReused(detail, details={"envelope_id": envelope.id})
            return [self._receive_again(request, known, now)]
        if not new:
            raise shutting_down()
        starts = self._may_start(envelope)
        self._admit(request, starts=starts)
        self._caller.freshness(envelope, now)
        self._socket.received(envelope, now)
        waiting = Waiting(request, mark, size)
        if starts:
            return [self._start(key, waiting)]
        self._waiting.add(key, waiting)
        return []

    def go_on(self) -> list[RequestReceived | DuplicateReceived]:
        """Begin with what waited for room, if it did not come on another socket meanwhile."""
        events: list[RequestReceived | DuplicateReceived] = []
        while self._waiting and len(self._work) < self._limits.max_in_flight:
            key, waiting = self._waiting.take()
            known = self._deliveries.find(key)
            if known is None:
                events.append(self._start(key, waiting))
            else:
                events.append(self._join(known, waiting.request, waiting.ids))
        return events

    def forget_waiting(self) -> None:
        """Let go of what nobody works on: the socket is gone."""
        self._waiting.clear()

    # --- out --------------------------------------------------------------------------------

    def answer(self, request_id: RequestId, reply: Envelope) -> None:
        """Answer a request.

        Raises:
            Misuse: no such request is worked on.

        """
        self._deliveries.answer(self._finish(request_id).delivery, reply)

    def fail(self, request_id: RequestId, error: AsapError, now: float) -> None:
        """Answer a request with an error.

        Raises:
            Misuse: no such request is worked on.

        """
        work = self._finish(request_id)
        # First the acknowledgement: the answer may be the last of the socket.
        self._socket.rejected(work.envelope, error.message, now)
        self._deliveries.fail(work.delivery, error)

    def tell_reply(self, request_id: RequestId, envelope: Envelope) -> int:
        """Send a reply that was waited for; return how many characters it has."""
        self._asked -= 1
        return self._socket.tell_reply(request_id, envelope)

    def tell_failure(self, request_id: RequestId, error: AsapError) -> None:
        """Send an error that was waited for."""
        self._asked -= 1
        self._socket.tell_failure(request_id, error)

    # --- inside -----------------------------------------------------------------------------

    def _receive_again(
        self, request: Request, known: Delivery | Waiting, now: float
    ) -> DuplicateReceived:
        copies = len(known.copies) if isinstance(known, Waiting) else len(known.askers) - 1
        most = self._limits.max_repeats
        if copies >= most:
            detail = f"it came {copies} times more while it is worked on; {most} are allowed"
            raise ServerBusy(detail, details={"max_repeats": most}, retry_after=_RETRY_AFTER)
        self._socket.received(request.envelope, now)
        if isinstance(known, Delivery):
            return self._join(known, request, (request.id,))
        if request.id not in known.ids:
            known.copies.append(request.id)
        return DuplicateReceived(request.id, request.envelope, answered=False)

    def _join(
        self, known: Delivery, request: Request, ids: tuple[RequestId, ...]
    ) -> DuplicateReceived:
        """Have those ids answered as the first copy is, or was."""
        for request_id in ids:
            if known.reply is None:
                self._asked += known.join(self, request_id)
            else:
                self._socket.tell_reply(request_id, known.reply)
        return DuplicateReceived(request.id, request.envelope, known.reply is not None)

    def _admit(self, request: Request, *, starts: bool) -> None:
        """Refuse a new request that cannot be taken."""
        if request.id in self._work or self._waiting.holds(request.id):
            detail = f"id {request.id!r} is that of a request which is not answered yet"
            raise InvalidRequest(detail)
        if self._waiting.full and not starts:
            limits = self._limits
            detail = (
                f"{len(self._work)} requests of this connection are worked on and "
                f"{len(self._waiting)} wait, of at most {limits.max_waiting} and "
                f"{limits.max_waiting_bytes} characters: send it again after an answer"
            )
            details = {"max_in_flight": limits.max_in_flight, "max_waiting": limits.max_waiting}
            raise ServerBusy(detail, details=details, retry_after=_RETRY_AFTER)

    def _may_start(self, envelope: Envelope) -> bool:
        """Tell whether it can be worked on now; a cancellation overtakes what waits."""
        if envelope.kind is PayloadType.TASK_CANCEL:
            return len(self._work) < self._limits.max_in_flight + self._limits.max_urgent
        return len(self._work) < self._limits.max_in_flight

    def _start(self, key: DeliveryKey, waiting: Waiting) -> RequestReceived:
        request = waiting.request
        delivery = self._deliveries.begin(key, waiting.mark)
        for request_id in waiting.ids:
            self._asked += delivery.join(self, request_id)
        self._work[request.id] = _Work(delivery, request.envelope)
        return RequestReceived(request.id, request.envelope, request.idempotency_key)

    def _finish(self, request_id: RequestId) -> _Work:
        work = self._work.pop(request_id, None)
        if work is None:
            raise Misuse(f"no request {request_id!r} is owed an answer")
        return work


def shutting_down() -> ServerBusy:
    """Return the error of a server that stops; our client asks again on its next socket."""
    detail = "it is shutting down: connect again, and send the request again"
    return ServerBusy(detail, details={"reason": SHUTTING_DOWN}, retry_after=_RETRY_AFTER)
