"""Telling somebody later: what is owed to a subscriber because of an event."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Delivery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event owed to one subscriber. ``id`` stays the same over all attempts.

    ``due_at`` is in seconds since the epoch; ``body`` is what is sent, byte for byte.
    """

    id: str
    task_id: str
    seq: int
    subscriber: str
    body: bytes
    due_at: float
    attempts: int = 0
