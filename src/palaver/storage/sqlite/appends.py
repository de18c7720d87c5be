"""The appends of one transaction: checked one by one, written together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from palaver.errors import AlreadyClaimed, StaleWriter
from palaver.storage.interfaces import Claim
from palaver.storage.sqlite.jobs import Append

__all__ = ["HEAD", "AppendBatch"]

HEAD: Final = (
    "max(tasks.head, ifnull((SELECT max(last_seq) FROM segments WHERE task = tasks.key), 0))"
)
"""The head of a task: its segments know better than its row, as long as there are any."""

_FIND_TASK: Final = f"SELECT key, {HEAD}, finished_at, worker FROM tasks WHERE task_id = ?"  # noqa: S608 - constants
_FIND_CLAIM: Final = "SELECT task_id, digest FROM claims WHERE key = ? AND expires_at > ?"
_PUT_TASK: Final = """
INSERT INTO tasks (key, task_id, head, finished_at, worker) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET head = excluded.head, finished_at = excluded.finished_at,
    worker = excluded.worker, pruned = 0
"""
_PUT_SEGMENT: Final = "INSERT INTO segments (task, last_seq, first_seq, body) VALUES (?, ?, ?, ?)"
_PUT_CLAIM: Final = (
    "INSERT OR REPLACE INTO claims (key, task_id, digest, expires_at) VALUES (?, ?, ?, ?)"
)
_PUT_DELIVERY: Final = """
INSERT INTO deliveries (id, task_id, seq, subscriber, body, due_at, attempts)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_MAX_ROWS: Final = 50_000


@dataclass(slots=True)
class _Row:
    key: int
    task_id: str
    head: int
    finished_at: float | None
    worker: str | None


class AppendBatch:
    """Collects what the appends of a transaction write, and writes it in as few steps as can be.

    Each step of SQLite gives Python's lock away and asks for it again, which costs more than the
    step where the event loop is busy. So the rows of tasks are remembered between transactions:
    ``PRAGMA data_version`` says when another process wrote, and only then are they read again.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._cursor = connection.cursor()
        self._rows: dict[str, _Row] = {}
        self._next_key: int | None = None
        self._data_version: int | None = None
        self._changed: dict[int, _Row] = {}
        self._segments: list[tuple[int, int, int, bytes]] = []
        self._claims: dict[str, tuple[str, Claim]] = {}
        self._deliveries: list[tuple[str, str, int, str, bytes, float, int]] = []

    def begin(self) -> None:
        """Start: the transaction has begun, and nobody else can write."""
        version = self._cursor.execute("PRAGMA data_version").get
        if version != self._data_version or len(self._rows) > _MAX_ROWS:
            self.forget()
            self._data_version = version

    def forget(self) -> None:
        """Remember nothing: the transaction is rolled back, or the rows changed elsewhere."""
        self._rows.clear()
        self._next_key = None
        self._changed.clear()
        self._segments.clear()
        self._claims.clear()
        self._deliveries.clear()

    def add(self, append: Append) -> None:
        """Take one append.

        Raises:
            AlreadyClaimed, StaleWriter: it is refused and leaves no trace.

        """
        row = self._rows.get(append.task_id) or self._find(append.task_id)
        if append.claim is not None:
            self._check_claim(append.claim, append.events[0].at)
        actual = 0 if row is None else row.head
        if actual != append.expected_seq:
            raise StaleWriter(append.task_id, append.expected_seq, actual)
        if row is None:
            row = self._new_row(append.task_id)
        first = row.head + 1
        row.head = append.head
        self._segments.append((row.key, row.head, first, append.body))
        if append.finished_at is not None:
            row.finished_at = append.finished_at
            row.worker = None
            self._changed[row.key] = row
        elif append.worker is not None and row.worker != append.worker:
            row.worker = append.worker
            self._changed[row.key] = row
        elif row.finished_at is not None:
            self._changed[row.key] = row
        if append.claim is not None:
            self._claims[append.claim.key] = (append.task_id, append.claim)
        for owed in append.deliveries:
            self._deliveries.append(
                (
                    owed.id,
                    owed.task_id,
                    owed.seq,
                    owed.subscriber,
                    owed.body,
                    owed.due_at,
                    owed.attempts,
                )
            )

    def flush(self) -> None:
        """Write what was taken since the last time."""
        if self._changed:
            rows = [
                (row.key, row.task_id, row.head, row.finished_at, row.worker)
                for row in self._changed.values()
            ]
            self._changed.clear()
            self._cursor.executemany(_PUT_TASK, rows)
        if self._segments:
            self._cursor.executemany(_PUT_SEGMENT, self._segments)
            self._segments.clear()
        if self._claims:
            claims = [
                (key, task_id, claim.digest, claim.expires_at)
                for key, (task_id, claim) in self._claims.items()
            ]
            self._claims.clear()
            self._cursor.executemany(_PUT_CLAIM, claims)
        if self._deliveries:
            self._cursor.executemany(_PUT_DELIVERY, self._deliveries)
            self._deliveries.clear()

    def _find(self, task_id: str) -> _Row | None:
        found = self._first(_FIND_TASK, task_id)
        if found is None:
            return None
        key, head, finished_at, worker = found
        row = self._rows[task_id] = _Row(key, task_id, head, finished_at, worker)
        return row

    def _first(self, sql: str, *values: Any) -> Any:
        """Return the only row; read to its end, or it would outlive the transaction."""
        rows = self._cursor.execute(sql, values).fetchall()
        return rows[0] if rows else None

    def _new_row(self, task_id: str) -> _Row:
        if self._next_key is None:
            self._next_key = self._cursor.execute("SELECT ifnull(max(key), 0) + 1 FROM tasks").get
        row = self._rows[task_id] = _Row(self._next_key, task_id, 0, None, None)
        self._next_key += 1
        self._changed[row.key] = row
        return row

    def _check_claim(self, claim: Claim, now: float) -> None:
        pending = self._claims.get(claim.key)
        if pending is not None:
            task_id, known = pending
            if known.expires_at > now:
                raise AlreadyClaimed(claim.key, task_id, known.digest)
            return
        found = self._first(_FIND_CLAIM, claim.key, now)
        if found is not None:
            raise AlreadyClaimed(claim.key, *found)
