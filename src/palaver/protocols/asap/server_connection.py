"""The server's end of an ASAP socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias

from palaver.model.ids import IdSource
from palaver.protocols.asap import codec
from palaver.protocols.asap.codec import RequestId
from palaver.protocols.asap.connection import Connection, Misuse, unheard
from palaver.protocols.asap.deliveries import Deliveries, Delivery, DeliveryKey, fingerprint
from palaver.protocols.asap.errors import (
    AsapError,
    InvalidRequest,
    KeyReused,
    MessageRateExceeded,
    ServerBusy,
)
from palaver.protocols.asap.events import (
    AckReceived,
    Close,
    DuplicateReceived,
    FrameRejected,
    PeerStale,
    PongReceived,
    RequestReceived,
    ServerEvent,
)
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope, PayloadType
from palaver.protocols.asap.pace import Pace
from palaver.protocols.asap.states import LinkState, Side, Step
from palaver.protocols.asap.waiting import Waiting, WaitingLine

__all__ = ["SHUTTING_DOWN", "Caller", "Check", "ServerConnection"]

Check: TypeAlias = Callable[[Envelope, float], None]
"""Raises ``AsapError`` where an envelope, received now, is not to be taken."""

SHUTTING_DOWN: Final = Close(1001, "Server shutting down")
"""How a socket ends in a shutdown (spec §7)."""

_STALE: Final = "Nothing was received"
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


@dataclass(frozen=True, slots=True)
class _Work:
    """A request that is worked on."""

    delivery: Delivery
    envelope: Envelope


class ServerConnection(Connection):
    """One socket of a client.

    Each ``RequestReceived`` is owed one ``respond`` or ``fail``, in any order, also after the
    socket was lost: a client that comes back on another socket waits for it, where both have the
    same ``deliveries``. Read on while ``wants_more`` is true, and not before ``resume_at``.
    """

    side: ClassVar[Side] = Side.SERVER

    def __init__(
        self,
        limits: Limits,
        now: float,
        *,
        new_id: IdSource,
        caller: Caller | None = None,
        deliveries: Deliveries | None = None,
        on_output: Callable[[], None] = unheard,
    ) -> None:
        super().__init__(limits, new_id, on_output)
        self.congested = False
        """Whether the client has not taken yet what it was sent; the shell says so."""
        self._caller = caller or Caller()
        self._deliveries = deliveries or Deliveries(limits.max_kept_replies, limits.max_kept_bytes)
        self._pace = Pace(limits.max_rate, limits.max_burst)
        self._work: dict[RequestId, _Work] = {}
        self._waiting = WaitingLine(limits)
        self._heard_at = now
        self._ping_at = now + limits.ping_interval

    # --- how it stands ----------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no request of this socket is owed an answer."""
        return not self._work and not self._waiting

    @property
    def in_flight(self) -> int:
        """How many requests are worked on."""
        return len(self._work)

    @property
    def wants_more(self) -> bool:
        """Whether to read on: there is room, and the client takes what it is sent."""
        return self.state is not LinkState.CLOSED and not self.congested and not self._waiting.full

    @property
    def resume_at(self) -> float | None:
        """When to read on, where the client sends too fast; ``None``, or in the past: now."""
        return self._pace.resume_at

    # --- in ---------------------------------------------------------------------------------

    def receive_text(self, text: str, now: float) -> list[ServerEvent]:
        """Take a text frame."""
        if self.state is LinkState.CLOSED:
            return []
        self._heard_at = now
        frame: codec.Frame | AsapError
        try:
            frame = codec.parse_client_frame(text, now=now, new_id=self._new_envelope_id)
        except AsapError as error:
            frame = error
        if isinstance(frame, codec.Pong):
            return [PongReceived()]  # of no weight for the rate: it was asked for (spec §7)
        if not self._pace.take(now):
            return self._refuse_rate(frame)
        return self._receive(frame, len(text), now)

    def receive_binary(self, data: bytes, now: float) -> list[ServerEvent]:
        """Take a binary frame: there are none in ASAP."""
        if self.state is LinkState.CLOSED:
            return []
        self._heard_at = now
        detail = f"a binary frame of {len(data)} bytes; JSON in a text frame is taken here"
        error = InvalidRequest(detail)
        if not self._pace.take(now):
            return self._refuse_rate(error)
        return self._refuse(error, None)

    def closed(self, _now: float) -> list[ServerEvent]:
        """Take note that the socket is gone. What is worked on is still owed its answer."""
        self._go(Step.LOST)
        self._output.clear()
        self._waiting.clear()
        return []

    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` is due, if nothing comes before."""
        if self.state is LinkState.CLOSED:
            return None
        return self._ping_at if self._waiting.full else min(self._ping_at, self._stale_at)

    def handle_timeout(self, now: float) -> list[ServerEvent]:
        """Do what is due: ask whether the client is there, or find that it is not."""
        if self.state is LinkState.CLOSED:
            return []
        # While nothing is read, silence says nothing.
        if not self._waiting.full and now >= self._stale_at:
            silence = now - self._heard_at
            self._close(Close(1001, f"{_STALE} for {silence:.0f} s"))
            return [PeerStale(silence)]
        if now >= self._ping_at:
            self._ping_at = now + self.limits.ping_interval
            if not self.congested:
                self._say(codec.Ping())
        return []

    # --- out --------------------------------------------------------------------------------

    def respond(self, request_id: RequestId, envelope: Envelope, now: float) -> list[ServerEvent]:
        """Answer a request; the next one that waits comes back as an event.

        Raises:
            Misuse: no such request is owed an answer.

        """
        work = self._finish(request_id)
        self._deliveries.answer(work.delivery, envelope)
        return self._go_on(now)

    def fail(self, request_id: RequestId, error: AsapError, now: float) -> list[ServerEvent]:
        """Answer a request with an error; it may be sent again, and is a new one then.

        Raises:
            Misuse: no such request is owed an answer.

        """
        work = self._finish(request_id)
        self._deliveries.fail(work.delivery, error)
        self._acknowledge(work.envelope, "rejected", error.message, now)
        return self._go_on(now)

    def push(self, envelope: Envelope, _now: float) -> None:
        """Send an envelope that is no answer. Hold back while ``congested``.

        Raises:
            Misuse: the socket is closed.

        """
        self._go(Step.PUSH)
        self._say(codec.Push(envelope))

    def shut_down(self, _now: float) -> None:
        """Take no new requests, and close after the last answer (1001)."""
        self._go(Step.SHUT_DOWN)
        self._close_when_idle()

    def close(self, close: Close) -> None:
        """Close the socket now, whatever is owed an answer; a closed one stays as it is."""
        if self._may(Step.CLOSE):
            self._close(close)

    def tell_reply(self, request_id: RequestId, envelope: Envelope) -> int:
        """Send a reply to a request of this socket; return how many characters it has."""
        text = codec.encode(codec.Reply(request_id, envelope)).decode()
        if self.state is not LinkState.CLOSED:
            self._put(text)
        return len(text)

    def tell_failure(self, request_id: RequestId, error: AsapError) -> None:
        """Send an error to a request of this socket."""
        if self.state is not LinkState.CLOSED:
            self._say(codec.Failure(request_id, error))

    # --- requests ---------------------------------------------------------------------------

    def _receive(self, frame: codec.Frame | AsapError, size: int, now: float) -> list[ServerEvent]:
        match frame:
            case codec.Request():
                return self._receive_request(frame, size, now)
            case codec.Ack(ack=ack):
                return [AckReceived(ack.original_envelope_id, ack.status, ack.error)]
            case codec.Ping():
                self._say(codec.Pong())
            case AsapError():
                return self._refuse(frame, frame.request_id)
        return []

    def _receive_request(self, request: codec.Request, size: int, now: float) -> list[ServerEvent]:
        try:
            return self._take_request(request, size, now)
        except AsapError as error:
            events = self._refuse(error, request.id)
            self._acknowledge(request.envelope, "rejected", error.message, now)
            return events

    def _take_request(self, request: codec.Request, size: int, now: float) -> list[ServerEvent]:
        """Take a request.

        Raises:
            AsapError: it is not taken.

        """
        envelope = request.envelope
        self._caller.identity(envelope, now)
        key = DeliveryKey(self._caller.name, envelope.sender, envelope.id)
        mark = fingerprint(envelope)
        known = self._deliveries.find(key) or self._waiting.find(key)
        if known is not None:
            return self._receive_again(request, known, mark, now)
        self._admit(request)
        self._caller.freshness(envelope, now)
        self._acknowledge(envelope, "received", None, now)
        waiting = Waiting(request, mark, size)
        if self._room_for(envelope):
            return self._start(key, waiting)
        self._waiting.add(key, waiting)
        return []

    def _receive_again(
        self, request: codec.Request, known: Delivery | Waiting, mark: bytes, now: float
    ) -> list[ServerEvent]:
        if known.mark != mark:
            detail = "it came before with other content: give each new request its own id"
            raise KeyReused(detail, details={"envelope_id": request.envelope.id})
        answered = isinstance(known, Delivery) and known.reply is not None
        if isinstance(known, Waiting):
            self._bound_copies(len(known.copies))
            if request.id not in known.ids:
                known.copies.append(request.id)
        elif known.reply is None:
            self._bound_copies(len(known.askers) - 1)
            known.join(self, request.id)
        else:
            self.tell_reply(request.id, known.reply)
        self._acknowledge(request.envelope, "received", None, now)
        return [DuplicateReceived(request.id, request.envelope, answered)]

    def _bound_copies(self, copies: int) -> None:
        most = self.limits.max_repeats
        if copies >= most:
            detail = f"it came {copies} times more while it is worked on; {most} are allowed"
            raise ServerBusy(detail, details={"max_repeats": most}, retry_after=_RETRY_AFTER)

    def _admit(self, request: codec.Request) -> None:
        """Refuse a new request that cannot be taken now."""
        if not self._may(Step.REQUEST):
            detail = "it is shutting down: connect again, and send the request again"
            details = {"reason": "shutting_down"}
            raise ServerBusy(detail, details=details, retry_after=_RETRY_AFTER)
        if request.id in self._work or self._waiting.holds(request.id):
            detail = f"id {request.id!r} is that of a request which is not answered yet"
            raise InvalidRequest(detail)
        if self._waiting.full:
            limits = self.limits
            detail = (
                f"{limits.max_in_flight} requests of this connection are worked on and "
                f"{len(self._waiting)} wait, of at most {limits.max_waiting} and "
                f"{limits.max_waiting_bytes} characters: send again after an answer"
            )
            raise ServerBusy(detail, retry_after=_RETRY_AFTER)

    def _room_for(self, envelope: Envelope) -> bool:
        """Tell whether it can be worked on now; a cancellation overtakes what waits."""
        if envelope.kind is PayloadType.TASK_CANCEL:
            return len(self._work) < self.limits.max_in_flight + self.limits.max_urgent
        return not self._waiting and self._has_room

    @property
    def _has_room(self) -> bool:
        return len(self._work) < self.limits.max_in_flight

    def _start(self, key: DeliveryKey, waiting: Waiting) -> list[ServerEvent]:
        request = waiting.request
        delivery = self._deliveries.begin(key, waiting.mark)
        for request_id in waiting.ids:
            delivery.join(self, request_id)
        self._work[request.id] = _Work(delivery, request.envelope)
        return [RequestReceived(request.id, request.envelope, request.idempotency_key)]

    def _finish(self, request_id: RequestId) -> _Work:
        self._go(Step.ANSWER)
        work = self._work.pop(request_id, None)
        if work is None:
            raise Misuse(f"no request {request_id!r} is owed an answer")
        return work

    def _go_on(self, now: float) -> list[ServerEvent]:
        """Begin with what waited for room."""
        events: list[ServerEvent] = []
        if self._waiting.full:
            self._heard_at = now  # it is listened to again from now on
        while self._waiting and self._has_room:
            events += self._begin(*self._waiting.take())
        self._close_when_idle()
        return events

    def _begin(self, key: DeliveryKey, waiting: Waiting) -> list[ServerEvent]:
        """Begin with a request, if it did not come on another socket meanwhile."""
        known = self._deliveries.find(key)
        if known is None:
            return self._start(key, waiting)
        for request_id in waiting.ids:
            if known.reply is None:
                known.join(self, request_id)
            else:
                self.tell_reply(request_id, known.reply)
        answered = known.reply is not None
        return [DuplicateReceived(waiting.request.id, waiting.request.envelope, answered)]

    # --- refusing and closing ---------------------------------------------------------------

    def _refuse(self, error: AsapError, request_id: RequestId | None) -> list[ServerEvent]:
        self._say(codec.Failure(request_id, error))
        return [FrameRejected(error, request_id)]

    def _refuse_rate(self, frame: object) -> list[ServerEvent]:
        limits = self.limits
        detail = f"at most {limits.max_rate:g} a second and {limits.max_burst} at once are taken"
        resume = max(0.0, (self.resume_at or 0.0) - self._heard_at)
        request_id = getattr(frame, "id", None) or getattr(frame, "request_id", None)
        return self._refuse(MessageRateExceeded(detail, retry_after=resume), request_id)

    @property
    def _stale_at(self) -> float:
        heard = max(self._heard_at, self.resume_at or self._heard_at)
        return heard + self.limits.stale_after

    def _close_when_idle(self) -> None:
        if self.state is LinkState.DRAINING and self.idle:
            self._close(SHUTTING_DOWN)

    def _close(self, close: Close) -> None:
        self._go(Step.CLOSE)
        self._put(close)
        self._waiting.clear()
