"""The latest events of live tasks, so that their readers need not go to the disk nor decode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palaver.model.events import TaskEvent

__all__ = ["Limits", "Recent"]

_MAX_NOTICES: Final = 4096


@dataclass(slots=True)
class _Tail:
    """What is kept of one log: the events behind event ``start``, up to ``head``."""

    start: int
    events: list[TaskEvent]
    size: int
    known: int
    """The highest head that anybody spoke of."""
    confirmed_at: float
    """When the log was last seen to end at ``head``."""

    @property
    def head(self) -> int:
        return self.start + len(self.events)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept; ``size`` is the length of the events as JSON."""

    tasks: int = 4096
    events: int = 200_000
    size: int = 64 << 20
    events_per_task: int = 8192


class Recent:
    """A bounded cache of the ends of logs, those first dropped that were not written longest.

    What is kept never changes, as events do not; what may be old is only where a log *ends*,
    because other processes append too. They say so (``notice``), and whoever asks at the end of
    what is kept is sent to the store unless the end was confirmed within ``trust`` seconds: this
    holds for processes, too, whose word does not reach us.

    Used in the event loop only. ``now`` is any clock that does not jump.
    """

    def __init__(self, limits: Limits | None = None, trust: float = 1.0) -> None:
        self._limits = limits or Limits()
        self._trust = trust
        # Ordered, as both lose their oldest first: of a plain dict that is found ever more slowly.
        self._tails: OrderedDict[str, _Tail] = OrderedDict()
        self._noticed: OrderedDict[str, int] = OrderedDict()
        self._distrusted_at = float("-inf")
        self._events = 0
        self._size = 0

    def extend(
        self, task_id: str, after: int, events: Sequence[TaskEvent], size: int, now: float
    ) -> None:
        """Keep ``events``, which follow event ``after`` and ended the log a moment ago."""
        tail = self._tails.pop(task_id, None)
        known = self._noticed.pop(task_id, 0)
        if tail is not None and tail.head != after:
            known = max(known, tail.known)
            self._discount(tail)
            tail = None
        if tail is None:
            tail = _Tail(after, list(events), size, known, now)
        else:
            tail.events += events
            tail.size += size
            tail.confirmed_at = now
        tail.known = max(tail.known, known, tail.head)
        self._tails[task_id] = tail
        self._events += len(events)
        self._size += size
        if len(tail.events) > self._limits.events_per_task:
            self._shorten(tail)
        while self._over():
            oldest = next(iter(self._tails))
            self._discount(self._tails.pop(oldest))

    def read(self, task_id: str, after: int, limit: int, now: float) -> list[TaskEvent] | None:
        """Return ``limit`` events behind ``after``, or as many as there are.

        ``None``: ask the store.
        """
        tail = self._tails.get(task_id)
        if tail is None or after < tail.start:
            return None
        start = after - tail.start
        if start + limit <= len(tail.events) or self._ends(tail, now):
            return tail.events[start : start + limit]
        return None

    def head(self, task_id: str, now: float) -> int | None:
        """Return the head of the log, or ``None``: ask the store."""
        tail = self._tails.get(task_id)
        if tail is None or not self._ends(tail, now):
            return None
        return tail.head

    def notice(self, task_id: str, head: int) -> None:
        """Take note that another process wrote up to ``head``; 0: it removed the task's events."""
        if head == 0:
            self.drop(task_id)
            return
        tail = self._tails.get(task_id)
        if tail is not None:
            tail.known = max(tail.known, head)
            return
        # Kept: it may be about a log whose own append is just on its way back to us.
        self._noticed.pop(task_id, None)
        self._noticed[task_id] = head
        if len(self._noticed) > _MAX_NOTICES:
            del self._noticed[next(iter(self._noticed))]

    def distrust(self, now: float) -> None:
        """Trust no end that was confirmed before ``now``: something was missed."""
        self._distrusted_at = now

    def drop(self, task_id: str) -> None:
        """Keep nothing of the task."""
        self._noticed.pop(task_id, None)
        tail = self._tails.pop(task_id, None)
        if tail is not None:
            self._discount(tail)

    def _ends(self, tail: _Tail, now: float) -> bool:
        return (
            tail.known <= tail.head
            and now - tail.confirmed_at < self._trust
            and tail.confirmed_at > self._distrusted_at
        )

    def _over(self) -> bool:
        limits = self._limits
        return (
            len(self._tails) > limits.tasks
            or self._events > limits.events
            or self._size > limits.size
        )

    def _shorten(self, tail: _Tail) -> None:
        """Drop the older half, so that this happens once in many appends."""
        dropped = len(tail.events) // 2
        size = tail.size * dropped // len(tail.events)
        del tail.events[:dropped]
        tail.start += dropped
        tail.size -= size
        self._events -= dropped
        self._size -= size

    def _discount(self, tail: _Tail) -> None:
        self._events -= len(tail.events)
        self._size -= tail.size
