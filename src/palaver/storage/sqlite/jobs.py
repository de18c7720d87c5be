"""What callers ask of the writer thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import apsw

from palaver.model.delivery import Delivery
from palaver.model.events import TaskEvent
from palaver.storage.interfaces import Claim

__all__ = ["Append", "Job", "Operation"]


@dataclass(slots=True, eq=False)
class Append:
    """Events to add to a log, encoded as ``body``."""

    future: asyncio.Future[Any]
    task_id: str
    expected_seq: int
    events: Sequence[TaskEvent]
    body: bytes
    claim: Claim | None
    worker: str | None
    deliveries: Sequence[Delivery]
    finished_at: float | None
    error: Exception | None = None
    result: None = None

    @property
    def head(self) -> int:
        """The last event of the log afterwards."""
        return self.expected_seq + len(self.events)


@dataclass(slots=True, eq=False)
class Operation:
    """Anything else: ``run`` checks first and writes then, so that it fails without a trace."""

    future: asyncio.Future[Any]
    run: Callable[[apsw.Connection], Any]
    touches_logs: bool
    """Whether it reads or writes what appends write."""
    moved: Callable[[Any], Mapping[str, int]] | None = None
    """What to tell others of the result: task → head."""
    error: Exception | None = None
    result: Any = None


Job: TypeAlias = Append | Operation
