"""The server's end of an ASAP socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from palaver.model.ids import IdSource
from palaver.protocols.asap import codec
from palaver.protocols.asap.codec import RequestId
from palaver.protocols.asap.connection import Connection, unheard
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import AsapError, InvalidRequest, MessageRateExceeded
from palaver.protocols.asap.events import (
    AckReceived,
    Close,
    FrameRejected,
    PeerStale,
    PongReceived,
    ServerEvent,
)
from palaver.protocols.asap.in_flight import Caller, InFlight
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope
from palaver.protocols.asap.pace import Pace
from palaver.protocols.asap.states import LinkState, Side, Step

__all__ = ["SERVER_STOPS", "ServerConnection"]

SERVER_STOPS: Final = Close(1001, "Server shutting down")
"""How a socket ends in a shutdown (spec §7)."""


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
        deliveries = deliveries or Deliveries(limits.max_kept_replies, limits.max_kept_bytes)
        self._requests: Final = InFlight(limits, self, caller or Caller(), deliveries)
        self._pace = Pace(limits.max_rate, limits.max_burst)
        self._heard_at = now
        self._ping_at = now + limits.ping_interval

    # --- how it stands ----------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether this socket is owed no answer."""
        return self._requests.idle

    @property
    def in_flight(self) -> int:
        """How many requests are worked on."""
        return len(self._requests)

    @property
    def wants_more(self) -> bool:
        """Whether to read on: there is room, and the client takes what it is sent."""
        return self.state is not LinkState.CLOSED and not self.congested and not self._requests.full

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
        frame: codec.Request | codec.Ack | codec.Ping | codec.Pong | AsapError
        try:
            frame = codec.parse_client_frame(text, now=now, new_id=self._new_envelope_id)
        except AsapError as error:
            frame = error.with_traceback(None)  # that one leads back here, and holds the text
        if isinstance(frame, codec.Pong):
            return [PongReceived()]  # of no weight for the rate: it was asked for (spec §7)
        if not self._pace.take(now):
            return self._refuse_rate(frame, now)
        return self._receive(frame, len(text), now)

    def receive_binary(self, data: bytes, now: float) -> list[ServerEvent]:
        """Take a binary frame: there are none in ASAP."""
        if self.state is LinkState.CLOSED:
            return []
        self._heard_at = now
        detail = f"a binary frame of {len(data)} bytes; JSON in a text frame is taken here"
        error = InvalidRequest(detail)
        if not self._pace.take(now):
            return self._refuse_rate(error, now)
        return self._refuse(error, None)

    def closed(self, _now: float) -> list[ServerEvent]:
        """Take note that the socket is gone. What is worked on is still owed its answer."""
        self._go(Step.LOST)
        self._output.clear()
        self._requests.forget_waiting()
        return []

    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` is due, if nothing comes before."""
        return None if self.state is LinkState.CLOSED else min(self._ping_at, self._stale_at)

    def handle_timeout(self, now: float) -> list[ServerEvent]:
        """Do what is due: ask whether the client is there, or find that it is not."""
        if self.state is LinkState.CLOSED:
            return []
        if not self.wants_more:
            self._heard_at = max(self._heard_at, now)  # it is not listened to
        if now >= self._stale_at:
            silence = now - self._heard_at
            self.close(Close(1001, f"Nothing was received for {silence:.0f} s"))
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
        self._go(Step.ANSWER)
        self._requests.answer(request_id, envelope)
        return self._go_on(now)

    def fail(self, request_id: RequestId, error: AsapError, now: float) -> list[ServerEvent]:
        """Answer a request with an error; it may be sent again, and is a new one then.

        Raises:
            Misuse: no such request is owed an answer.

        """
        self._go(Step.ANSWER)
        self._requests.fail(request_id, error, now)
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
        """Close the socket now, whatever it is owed; one that is closed stays as it is."""
        if self._may(Step.CLOSE):
            self._go(Step.CLOSE)
            self._put(close)
            self._requests.forget_waiting()

    def tell_reply(self, request_id: RequestId, envelope: Envelope) -> int:
        """Send a reply to a request of this socket; return how many characters it has."""
        text = codec.encode(codec.Reply(request_id, envelope)).decode()
        if self.state is not LinkState.CLOSED:
            self._put(text)
            self._close_when_idle()
        return len(text)

    def tell_failure(self, request_id: RequestId, error: AsapError) -> None:
        """Send an error to a request of this socket."""
        if self.state is not LinkState.CLOSED:
            self._say(codec.Failure(request_id, error))
            self._close_when_idle()

    # --- requests ---------------------------------------------------------------------------

    def _receive(
        self, frame: codec.Request | codec.Ack | codec.Ping | AsapError, size: int, now: float
    ) -> list[ServerEvent]:
        match frame:
            case codec.Request():
                return self._receive_request(frame, size, now)
            case codec.Ack(ack=ack):
                return [AckReceived(ack.original_envelope_id, ack.status, ack.error)]
            case AsapError():
                return self._refuse(frame, frame.request_id)
            case _:
                self._say(codec.Pong())
                return []

    def _receive_request(self, request: codec.Request, size: int, now: float) -> list[ServerEvent]:
        try:
            new = self._may(Step.REQUEST)
            return [*self._requests.receive(request, size, now, new=new)]
        except AsapError as error:
            events = self._refuse(error, request.id)
            self.rejected(request.envelope, error.message, now)
            return events

    def _go_on(self, now: float) -> list[ServerEvent]:
        """Begin with what waited for room."""
        if not self.wants_more:
            self._heard_at = max(self._heard_at, now)  # from now on it is listened to
        return [*self._requests.go_on()]

    # --- refusing and closing ---------------------------------------------------------------

    def _refuse(self, error: AsapError, request_id: RequestId | None) -> list[ServerEvent]:
        self._say(codec.Failure(request_id, error))
        return [FrameRejected(error, request_id)]

    def _refuse_rate(self, frame: codec.Frame | AsapError, now: float) -> list[ServerEvent]:
        limits = self.limits
        detail = f"at most {limits.max_rate:g} a second and {limits.max_burst} at once are taken"
        wait = max(0.0, (self.resume_at or now) - now)
        error = MessageRateExceeded(detail, details={"max_rate": limits.max_rate}, retry_after=wait)
        if isinstance(frame, codec.Request):
            self.rejected(frame.envelope, error.message, now)
            return self._refuse(error, frame.id)
        return self._refuse(error, frame.request_id if isinstance(frame, AsapError) else None)

    @property
    def _stale_at(self) -> float:
        heard = max(self._heard_at, self.resume_at or self._heard_at)
        return heard + self.limits.stale_after

    def _close_when_idle(self) -> None:
        if self.state is LinkState.DRAINING and self.idle:
            self.close(SERVER_STOPS)
