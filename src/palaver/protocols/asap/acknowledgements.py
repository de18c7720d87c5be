"""A client's requests until they are answered: when each is sent again, and when it is given up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope

__all__ = ["Due", "GiveUp", "Pending", "PendingRequests"]

GiveUp: TypeAlias = Literal["unacknowledged", "unanswered", "rejected"]
"""Why a request is given up."""

Due: TypeAlias = Literal["retransmit"] | GiveUp
"""What is to be done with a request: send it again, or give it up."""


@dataclass(slots=True, eq=False)
class Pending:
    """A request without an answer."""

    request_id: str
    envelope: Envelope
    idempotency_key: str | None
    asked_at: float
    deadline: float | None
    """When it is given up."""
    sent: bool = False
    """Whether it was ever sent."""
    retransmit_at: float | None = None
    """When it is sent again on the same socket, or given up for want of an acknowledgement."""
    wire_ids: list[str] = field(default_factory=list)
    """The JSON-RPC ids that it has had on this socket; none where it is not sent yet."""
    rejection: str | None = None
    """What the server said when it acknowledged that it refuses."""
    rejected_until: float | None = None
    """When the error that belongs to the rejection is waited for no longer."""

    def refresh(self, timestamp: datetime) -> None:
        """Set the time of its envelope anew."""
        self.envelope = self.envelope.model_copy(update={"timestamp": timestamp})

    @property
    def due_at(self) -> float | None:
        """When the next thing is to be done with it."""
        times = (self.deadline, self.retransmit_at, self.rejected_until)
        return min((one for one in times if one is not None), default=None)


class PendingRequests:
    """All of them, found by what an answer says: its JSON-RPC id, or the envelope's id."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._requests: dict[str, Pending] = {}
        self._held: dict[str, Pending] = {}
        self._by_wire_id: dict[str, Pending] = {}
        self._by_envelope: dict[str, Pending] = {}
        self._next_due: float | None = None

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Pending]:
        """Go through them, the oldest first."""
        return iter(list(self._requests.values()))

    # --- come and go ------------------------------------------------------------------------

    def add(self, pending: Pending) -> None:
        """Wait for one more, which is not sent yet."""
        self._requests[pending.request_id] = pending
        self._by_envelope[pending.envelope.id] = pending
        self._held[pending.request_id] = pending
        self._watch(pending)

    def remove(self, pending: Pending) -> None:
        """Wait for it no longer."""
        del self._requests[pending.request_id]
        del self._by_envelope[pending.envelope.id]
        self._held.pop(pending.request_id, None)
        self._forget_wire_ids(pending)

    def get(self, request_id: str) -> Pending | None:
        """Return the request of that id."""
        return self._requests.get(request_id)

    def by_wire_id(self, wire_id: object) -> Pending | None:
        """Return the request that was sent under that JSON-RPC id."""
        return self._by_wire_id.get(wire_id) if isinstance(wire_id, str) else None

    def by_envelope(self, envelope_id: str | None) -> Pending | None:
        """Return the request whose envelope has that id."""
        return None if envelope_id is None else self._by_envelope.get(envelope_id)

    # --- what happens to them ---------------------------------------------------------------

    def next_to_send(self) -> Pending | None:
        """Return the oldest that is not sent, if there is room for it to be."""
        outstanding = len(self._requests) - len(self._held)
        if not self._held or outstanding >= self._limits.max_outstanding:
            return None
        return next(iter(self._held.values()))

    def sent(self, pending: Pending, wire_id: str, now: float) -> None:
        """Note that it was sent, under that id."""
        self._held.pop(pending.request_id, None)
        self._by_wire_id[wire_id] = pending
        if pending.envelope.requires_ack:
            delays = (self._limits.ack_timeout, *self._limits.retransmit_delays)
            pending.retransmit_at = now + delays[len(pending.wire_ids)]
        pending.sent = True
        pending.wire_ids.append(wire_id)
        self._watch(pending)

    def refused(self, pending: Pending) -> None:
        """Note that it is to be sent on the next socket: nothing was done with it on this one."""
        self._forget_wire_ids(pending)
        pending.retransmit_at = pending.rejected_until = pending.rejection = None
        self._hold_all()

    def lost(self) -> None:
        """Note that the socket is gone: all but what was rejected is to be sent on the next."""
        for pending in self._requests.values():
            self._forget_wire_ids(pending)
            pending.retransmit_at = None
        self._hold_all()

    def acknowledged(self, pending: Pending) -> None:
        """Note that the server has it."""
        pending.retransmit_at = None

    def rejected(self, pending: Pending, why: str, now: float) -> None:
        """Note that the server refuses it; the error itself is to follow soon."""
        pending.retransmit_at = None
        pending.rejection = why
        pending.rejected_until = now + self._limits.rejected_grace
        self._watch(pending)

    # --- time -------------------------------------------------------------------------------

    @property
    def next_due(self) -> float | None:
        """When to look at them again; never too late, at times too early."""
        return self._next_due if self._requests else None

    def due(self, now: float) -> list[tuple[Pending, Due]]:
        """Return what is to be done now."""
        if self._next_due is None or now < self._next_due:
            return []
        found = [
            (pending, self._due(pending, now))
            for pending in self
            if pending.due_at is not None and pending.due_at <= now
        ]
        late = [one.due_at for one in self._requests.values() if one.due_at is not None]
        self._next_due = min((one for one in late if one > now), default=None)
        return found

    def _due(self, pending: Pending, now: float) -> Due:
        if pending.rejected_until is not None and pending.rejected_until <= now:
            return "rejected"
        if pending.deadline is not None and pending.deadline <= now:
            return "unanswered"
        if len(pending.wire_ids) > len(self._limits.retransmit_delays):
            return "unacknowledged"
        return "retransmit"

    def _watch(self, pending: Pending) -> None:
        due = pending.due_at
        if due is not None and (self._next_due is None or due < self._next_due):
            self._next_due = due

    def _forget_wire_ids(self, pending: Pending) -> None:
        for wire_id in pending.wire_ids:
            del self._by_wire_id[wire_id]
        pending.wire_ids.clear()

    def _hold_all(self) -> None:
        """Hold what has no id on this socket, the oldest first."""
        self._held = {
            request_id: pending
            for request_id, pending in self._requests.items()
            if not pending.wire_ids and pending.rejection is None
        }
