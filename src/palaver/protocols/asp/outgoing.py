"""The numbered messages of a session that its peer may not have received yet.

Both sides count every message of a session, binary ones too, in the order of the socket; the
numbers themselves do not travel. After a drop each side says how many it has, and the other sends
the rest again: no message is lost, none comes twice.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

__all__ = ["ACK_INTERVAL", "Outgoing"]

ACK_INTERVAL: Final = 100
"""Messages after which a side says how far it has got: two seconds of 20 ms frames."""

_Wire: TypeAlias = str | bytes


class Outgoing:
    """A bounded tail of what was sent; number 0 is the first message of the session."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._kept: deque[_Wire] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self.first = 0
        """Number of the oldest message that is kept."""
        self._held = False

    @property
    def following(self) -> int:
        """Number of the message that comes next."""
        return self.first + len(self._kept)

    @property
    def crowded(self) -> bool:
        """Whether half of the room is used: whoever can wait with the next one should."""
        many = 2 * len(self._kept) >= self._max_messages
        return many or 2 * self._bytes >= self._max_bytes

    def append(self, message: _Wire) -> None:
        """Keep one more; where there is no room, the oldest is let go."""
        self._kept.append(message)
        self._bytes += _size(message)
        self._make_room()

    def acknowledge(self, received: int) -> bool:
        """Let go of what the peer has; tell whether it can have that many."""
        if received > self.following:
            return False
        while self.first < received:
            self._forget()
        return True

    def since(self, number: int) -> list[_Wire]:
        """Return what is kept from that number on."""
        skipped = max(0, number - self.first)
        return list(self._kept)[skipped:]

    def hold(self) -> int:
        """Let nothing go for want of room from now on; return the number of the oldest message.

        The peer is told that number, and counts on all that follow it.
        """
        self._held = True
        return self.first

    def release(self) -> None:
        """Let go for want of room again."""
        self._held = False
        self._make_room()

    def _make_room(self) -> None:
        while not self._held and (
            len(self._kept) > self._max_messages or self._bytes > self._max_bytes
        ):
            self._forget()

    def _forget(self) -> None:
        self._bytes -= _size(self._kept.popleft())
        self.first += 1


def _size(message: _Wire) -> int:
    """Return the bytes that a message holds in memory: one rare character widens all of a text."""
    return len(message) if isinstance(message, bytes) or message.isascii() else 4 * len(message)
