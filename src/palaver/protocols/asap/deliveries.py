"""What a server received: each request once, however often it comes.

A client sends a request again when it was not acknowledged, and on the next socket when the one
before was lost. The book is shared by all sockets of a server, so that a request which comes
again on another one meets its first copy: it is joined while that is worked on, and answered
from here afterwards. What has been forgotten, or was received before a restart, is a new request
to this book; the task log knows it then, by the same id.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple, Protocol

import orjson

from palaver.protocols.asap.codec import RequestId
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.messages import Envelope

__all__ = ["Asker", "Deliveries", "Delivery", "DeliveryKey", "fingerprint"]


class DeliveryKey(NamedTuple):
    """What makes two envelopes the same: who was authenticated, who sends, and the id."""

    caller: str
    sender: str
    envelope_id: str


class Asker(Protocol):
    """A socket on which a request was asked."""

    def tell_reply(self, request_id: RequestId, envelope: Envelope) -> int:
        """Send the reply; return how many characters it has."""
        ...

    def tell_failure(self, request_id: RequestId, error: AsapError) -> None:
        """Send the error."""
        ...


@dataclass(slots=True)
class Delivery:
    """One request: who waits for its answer, and the answer."""

    key: DeliveryKey
    mark: bytes
    """The ``fingerprint`` of its first copy."""
    askers: list[tuple[Asker, RequestId]] = field(default_factory=list)
    reply: Envelope | None = None
    size: int = 0

    def join(self, asker: Asker, request_id: RequestId) -> bool:
        """Have one more wait for the answer; tell whether it did not wait before."""
        if (asker, request_id) in self.askers:
            return False
        self.askers.append((asker, request_id))
        return True


class Deliveries:
    """A bounded book of deliveries.

    Those without a reply are bounded by whoever begins them. Of the others, the oldest are
    forgotten where there are too many, or they are too large.
    """

    def __init__(self, max_kept_replies: int, max_kept_bytes: int) -> None:
        self._open: dict[DeliveryKey, Delivery] = {}
        self._answered: OrderedDict[DeliveryKey, Delivery] = OrderedDict()
        self._max_kept_replies = max_kept_replies
        self._max_kept_bytes = max_kept_bytes
        self._bytes = 0

    def find(self, key: DeliveryKey) -> Delivery | None:
        """Return the delivery of that envelope, if it is known."""
        return self._open.get(key) or self._answered.get(key)

    def begin(self, key: DeliveryKey, mark: bytes) -> Delivery:
        """Enter a request that is worked on from now on."""
        delivery = self._open[key] = Delivery(key, mark)
        return delivery

    def answer(self, delivery: Delivery, reply: Envelope) -> None:
        """Tell the reply to all who wait, and keep it."""
        delivery.reply = reply
        del self._open[delivery.key]
        self._answered[delivery.key] = delivery
        for asker, request_id in _let_go(delivery):
            delivery.size = asker.tell_reply(request_id, reply)
        self._bytes += delivery.size
        while len(self._answered) > self._max_kept_replies or self._bytes > self._max_kept_bytes:
            _, oldest = self._answered.popitem(last=False)
            self._bytes -= oldest.size

    def fail(self, delivery: Delivery, error: AsapError) -> None:
        """Tell the error to all who wait, and forget the request: it may be tried again."""
        del self._open[delivery.key]
        for asker, request_id in _let_go(delivery):
            asker.tell_failure(request_id, error)

    @property
    def kept(self) -> int:
        """How many replies are kept."""
        return len(self._answered)


def _let_go(delivery: Delivery) -> list[tuple[Asker, RequestId]]:
    """Return who waits, and have nobody wait any more."""
    askers, delivery.askers = delivery.askers, []
    return askers


def fingerprint(envelope: Envelope) -> bytes:
    """Return what two copies of an envelope have in common, in 16 bytes.

    The time may differ: it is left out where a client has none, and set anew where it sends again
    after a long break.
    """
    said = [envelope.recipient, envelope.payload_type, envelope.correlation_id, envelope.payload]
    return blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
