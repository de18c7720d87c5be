"""The line of requests that were read from a socket, and wait for room to be worked on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from palaver.protocols.asap.codec import Request, RequestId
from palaver.protocols.asap.deliveries import DeliveryKey
from palaver.protocols.asap.limits import Limits

__all__ = ["Waiting", "WaitingLine"]


@dataclass(slots=True)
class Waiting:
    """A request that is not worked on yet, and the copies of it that came."""

    request: Request
    mark: bytes
    size: int
    """Characters of its frame."""
    copies: list[RequestId] = field(default_factory=list)

    @property
    def ids(self) -> tuple[RequestId, ...]:
        """The JSON-RPC ids that are to be answered."""
        return (self.request.id, *self.copies)


class WaitingLine:
    """First come, first served."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._line: dict[DeliveryKey, Waiting] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._line)

    @property
    def full(self) -> bool:
        """Whether nothing more may be read."""
        many = len(self._line) >= self._limits.max_waiting
        return many or self._size >= self._limits.max_waiting_bytes

    def find(self, key: DeliveryKey) -> Waiting | None:
        """Return the request of that envelope, if it waits."""
        return self._line.get(key)

    def holds(self, request_id: RequestId) -> bool:
        """Tell whether a request of that id waits."""
        return any(one.request.id == request_id for one in self._line.values())

    def add(self, key: DeliveryKey, waiting: Waiting) -> None:
        """Have one more wait."""
        self._line[key] = waiting
        self._size += waiting.size

    def take(self) -> tuple[DeliveryKey, Waiting]:
        """Return the first, and let it go."""
        key = next(iter(self._line))
        waiting = self._line.pop(key)
        self._size -= waiting.size
        return key, waiting

    def clear(self) -> None:
        """Let all go."""
        self._line.clear()
        self._size = 0
