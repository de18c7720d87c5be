"""The client's end of ASAP on WebSockets: one client, whose sockets come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from palaver.model.ids import IdSource
from palaver.protocols.asap import codec
from palaver.protocols.asap.acknowledgements import GiveUp, Pending, PendingRequests
from palaver.protocols.asap.connection import Connection, Misuse, unheard
from palaver.protocols.asap.errors import AsapError, PeerAnswered
from palaver.protocols.asap.events import (
    Acknowledged,
    ClientEvent,
    Close,
    ErrorReceived,
    FrameIgnored,
    GaveUp,
    Pushed,
    ReplyReceived,
    RequestFailed,
)
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import ANSWERS, Envelope, PayloadType, moment
from palaver.protocols.asap.settled import Settled
from palaver.protocols.asap.states import LinkState, Side, Step
from palaver.protocols.jsonrpc import ErrorObject

__all__ = ["CONFIRMED", "ClientConnection"]

CONFIRMED: Final = frozenset(
    {
        PayloadType.TASK_REQUEST,
        PayloadType.TASK_CANCEL,
        PayloadType.STATE_RESTORE,
        PayloadType.MESSAGE_SEND,
    }
)
"""The types that a client wants to have acknowledged (spec §7)."""

_DONE: Final = Close(1000, "")
_REJECTED: Final = -32603


class ClientConnection(Connection):
    """All that a client asks of one server, whatever socket it is on.

    Say when a socket is there (``connected``) and when it is gone (``connection_lost``): what has
    no answer yet is sent again on the next one. ``send`` may come at any time. Each request ends
    in one ``ReplyReceived``, ``RequestFailed`` or ``GaveUp``.
    """

    side: ClassVar[Side] = Side.CLIENT

    def __init__(
        self,
        limits: Limits,
        *,
        new_id: IdSource,
        on_output: Callable[[], None] = unheard,
    ) -> None:
        super().__init__(limits, new_id, on_output)
        self.attached = False
        """Whether there is a socket."""
        self._refused = False
        """Whether the server takes no more requests on this socket."""
        self._pending = PendingRequests(limits)
        self._settled = Settled(limits.max_settled)
        self._pushed = Settled(limits.max_settled)

    @property
    def idle(self) -> bool:
        """Whether nothing is waited for."""
        return not len(self._pending)

    @property
    def pending(self) -> int:
        """How many requests have no answer."""
        return len(self._pending)

    # --- requests ---------------------------------------------------------------------------

    def send(
        self,
        envelope: Envelope,
        now: float,
        *,
        idempotency_key: str | None = None,
        requires_ack: bool | None = None,
        timeout: float | None = None,
    ) -> str:
        """Ask something; return the id that its events have.

        Without a socket it waits for one. ``requires_ack``: by the type of the envelope, where
        nothing is said. ``timeout`` (s): until it is given up; the limits' ``reply_timeout``.

        Raises:
            Misuse: the client is shut down, has as many requests as it may, or one with that
                envelope's id.

        """
        self._go(Step.REQUEST)
        if len(self._pending) >= self.limits.max_pending:
            raise Misuse(f"{self.limits.max_pending} requests have no answer: as many as may")
        if self._pending.by_envelope(envelope.id) is not None:
            raise Misuse(f"a request with the envelope id {envelope.id!r} has no answer yet")
        wanted = envelope.kind in CONFIRMED if requires_ack is None else requires_ack
        if wanted != envelope.requires_ack:
            envelope = envelope.model_copy(update={"requires_ack": wanted})
        timeout = self.limits.reply_timeout if timeout is None else timeout
        deadline = None if timeout is None else now + timeout
        pending = Pending(self._new_id("req"), envelope, idempotency_key, now, deadline)
        self._pending.add(pending)
        if envelope.kind is PayloadType.TASK_CANCEL and self._may_transmit:
            self._transmit(pending, now)  # it overtakes what is held back
        self._send_held(now)
        return pending.request_id

    def forget(self, request_id: str, now: float) -> None:
        """Wait for a request no longer; nothing more is told of it. Unknown ids are ignored."""
        pending = self._pending.get(request_id)
        if pending is not None:
            self._settle(pending, now)

    # --- sockets ----------------------------------------------------------------------------

    def connected(self, now: float) -> list[ClientEvent]:
        """Take note that there is a socket: send on it what has no answer.

        The envelopes keep their ids, by which the server knows them. Their time is set anew:
        what waited for long would be refused for its age.
        """
        self._go(Step.CONNECTED)
        if self.attached:
            self.connection_lost(now)
        self.attached = True
        self._refused = False
        self._go_on(now)
        return []

    def connection_lost(self, _now: float) -> list[ClientEvent]:
        """Take note that the socket is gone, with whatever was not sent."""
        self._go(Step.LOST)
        self.attached = False
        self._output.clear()
        self._pending.lost()
        return []

    def shut_down(self, now: float) -> None:
        """Send no new requests, and close after the last answer (1000)."""
        self._go(Step.SHUT_DOWN)
        self._go_on(now)

    # --- in ---------------------------------------------------------------------------------

    def receive_text(self, text: str, now: float) -> list[ClientEvent]:
        """Take a text frame."""
        if not self.attached or self.state is LinkState.CLOSED:
            return []
        try:
            frame = codec.parse_server_frame(text, now=now, new_id=self._new_envelope_id)
        except AsapError as error:
            return self._receive_broken(error, now)
        return self._receive(frame, now)

    def receive_binary(self, data: bytes, _now: float) -> list[ClientEvent]:
        """Take a binary frame: there are none in ASAP."""
        return [FrameIgnored(f"a binary frame of {len(data)} bytes")]

    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` is due, if nothing comes before."""
        return self._pending.next_due

    def handle_timeout(self, now: float) -> list[ClientEvent]:
        """Do what is due: send again what was not acknowledged, give up what takes too long."""
        events: list[ClientEvent] = []
        for pending, due in self._pending.due(now):
            if due == "retransmit":
                self._transmit(pending, now)  # spec §7: the same envelope, under a new id
            else:
                self._forget(pending)
                events.append(_given_up(pending, due))
        self._go_on(now)
        return events

    # --- answers ----------------------------------------------------------------------------

    def _receive(self, frame: codec.Frame, now: float) -> list[ClientEvent]:
        match frame:
            case codec.Reply():
                return self._receive_reply(frame.id, frame.envelope, now)
            case codec.Push() | codec.Request():  # the other shape of a push (spec §7)
                return self._receive_reply(None, frame.envelope, now)
            case codec.Failure():
                return self._receive_failure(frame, now)
            case codec.Ack():
                return self._receive_ack(frame, now)
            case codec.Ping():
                self._say(codec.Pong())
        return []

    def _receive_reply(
        self, wire_id: codec.RequestId | None, envelope: Envelope, now: float
    ) -> list[ClientEvent]:
        """Take an envelope: an answer, by its id or by what it says it answers; or a push."""
        pending = self._pending.by_wire_id(wire_id)
        answers = envelope.correlation_id if envelope.kind in ANSWERS else None
        if pending is None:
            pending = self._pending.by_envelope(answers)
        if pending is not None:
            self._settle(pending, now)
            return [ReplyReceived(pending.request_id, envelope)]
        if wire_id in self._settled or answers in self._settled:
            return [FrameIgnored(f"a second answer to the request {wire_id!r}")]
        return self._receive_push(envelope, now)

    def _receive_push(self, envelope: Envelope, now: float) -> list[ClientEvent]:
        if not envelope.requires_ack:
            return [Pushed(envelope)]
        # A server that wants it acknowledged may send it again.
        self.received(envelope, now)
        if envelope.id in self._pushed:
            return [FrameIgnored(f"a second copy of the envelope {envelope.id!r}")]
        self._pushed.add(envelope.id)
        return [Pushed(envelope)]

    def _receive_failure(self, failure: codec.Failure, now: float) -> list[ClientEvent]:
        pending = self._pending.by_wire_id(failure.id)
        if pending is not None:
            if _shutting_down(failure.error):
                # Nothing was done with it: it goes to the next socket.
                self._refused = True
                self._pending.refused(pending)
                return []
            self._settle(pending, now)
            return [RequestFailed(pending.request_id, failure.error)]
        if failure.id in self._settled:
            return [FrameIgnored(f"a second answer to the request {failure.id!r}")]
        return [ErrorReceived(failure.error)]

    def _receive_broken(self, error: AsapError, now: float) -> list[ClientEvent]:
        """Take what is no frame: where it names a request, that one has its answer."""
        pending = self._pending.by_wire_id(error.request_id)
        if pending is None:
            return [FrameIgnored(error.message)]
        self._settle(pending, now)
        return [RequestFailed(pending.request_id, error)]

    def _receive_ack(self, frame: codec.Ack, now: float) -> list[ClientEvent]:
        ack = frame.ack
        pending = self._pending.by_envelope(ack.original_envelope_id)
        if pending is not None and pending.wire_ids:
            if ack.status == "rejected":
                self._pending.rejected(pending, ack.error or "the server gave no reason", now)
            else:
                self._pending.acknowledged(pending)
        return [Acknowledged(ack.original_envelope_id, ack.status, ack.error)]

    def _settle(self, pending: Pending, now: float) -> None:
        self._forget(pending)
        self._go_on(now)

    def _forget(self, pending: Pending) -> None:
        self._settled.add(*pending.wire_ids, pending.envelope.id)
        self._pending.remove(pending)

    # --- sending ----------------------------------------------------------------------------

    @property
    def _may_transmit(self) -> bool:
        return self.attached and not self._refused and self.state is not LinkState.CLOSED

    def _send_held(self, now: float) -> None:
        """Send what is held back, as far as there is room."""
        while self._may_transmit and (pending := self._pending.next_to_send()) is not None:
            self._transmit(pending, now)

    def _transmit(self, pending: Pending, now: float) -> None:
        """Send a request, under a JSON-RPC id that is new on this socket."""
        wire_id = self._new_id("req") if pending.sent else pending.request_id
        if not pending.wire_ids and now > pending.asked_at:
            pending.refresh(moment(now))
        self._pending.sent(pending, wire_id, now)
        self._say(codec.Request(wire_id, pending.envelope, pending.idempotency_key))

    def _go_on(self, now: float) -> None:
        """Send what there is room for now; close where nothing is left to wait for."""
        self._send_held(now)
        if self.state is LinkState.DRAINING and self.idle:
            self._go(Step.CLOSE)
            if self.attached:
                self._put(_DONE)


def _given_up(pending: Pending, due: GiveUp) -> RequestFailed | GaveUp:
    if due == "rejected":
        error = PeerAnswered(ErrorObject(_REJECTED, pending.rejection or ""))
        return RequestFailed(pending.request_id, error)
    return GaveUp(pending.request_id, due)


def _shutting_down(error: AsapError) -> bool:
    """Tell whether a server refuses because it shuts down."""
    return error.details.get("reason") == "shutting_down"
