"""What is asked of the tables and done to them, appends excepted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw
import orjson
from pydantic import ValidationError

from palaver.errors import CursorExpired, DamagedEvent, NotFound, VersionConflict
from palaver.model.delivery import Delivery
from palaver.model.encoding import decode_events
from palaver.model.events import TaskEvent
from palaver.storage.checks import MAX_VERSION
from palaver.storage.interfaces import LogStats
from palaver.storage.sqlite.appends import HEAD

__all__ = [
    "beat",
    "claimed",
    "credential",
    "delete_states",
    "due",
    "finished",
    "forget",
    "head",
    "heads",
    "leases_of",
    "list_versions",
    "load_state",
    "prune",
    "read",
    "retry",
    "save_state",
    "stats",
    "take",
    "workers",
]

_TASK: Final = f"SELECT key, {HEAD} FROM tasks WHERE task_id = ?"  # noqa: S608 - constants
_STATS: Final = f"""
SELECT count(*), count(*) - count(finished_at), total(CASE WHEN pruned THEN 0 ELSE {HEAD} END)
FROM tasks
"""  # noqa: S608 - constants
_PRUNABLE: Final = f"""
SELECT key, task_id, {HEAD} FROM tasks
WHERE finished_at < ? AND NOT pruned
    AND {HEAD} = (SELECT max(version) FROM snapshots WHERE snapshots.task_id = tasks.task_id)
ORDER BY finished_at, task_id LIMIT ?
"""  # noqa: S608 - constants
_FINISHED: Final = """
SELECT task_id FROM tasks WHERE finished_at < ? AND NOT pruned
ORDER BY finished_at, task_id LIMIT ?
"""
_FORGETTABLE: Final = """
SELECT key, task_id FROM tasks WHERE finished_at < ? ORDER BY finished_at, task_id LIMIT ?
"""
_DUE: Final = """
SELECT id, task_id, seq, subscriber, body, due_at, attempts FROM deliveries
WHERE due_at <= ? ORDER BY due_at, number LIMIT ?
"""


def _row(connection: apsw.Connection, sql: str, values: tuple[Any, ...]) -> Any:
    """Return the only row; none for a text or number that SQLite cannot hold: it never did."""
    try:
        rows = _all(connection, sql, values)
    except (UnicodeEncodeError, OverflowError):
        return None
    return rows[0] if rows else None


def _all(connection: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
    """Return all rows; what their columns hold stands in the schema.

    A statement that is not read to its end would keep its view of the file, and with it the next
    transaction from beginning.
    """
    return connection.execute(sql, values).fetchall()


def _task(connection: apsw.Connection, task_id: str) -> tuple[int, int]:
    found = _row(connection, _TASK, (task_id,))
    if found is None:
        message = f"there is no task {task_id!r}"
        raise NotFound(message)
    key, last = found
    return key, last


# --- the log --------------------------------------------------------------------------------


def read(connection: apsw.Connection, task_id: str, after: int, limit: int) -> list[TaskEvent]:
    """Return up to ``limit`` events behind ``after``.

    Raises:
        DamagedEvent: what is stored there cannot be read.

    """
    with connection:  # one view of the file for both questions
        key, last = _task(connection, task_id)
        events: list[TaskEvent] = []
        if after < last:
            segments = connection.execute(
                "SELECT first_seq, body FROM segments "
                "WHERE task = ? AND last_seq > ? ORDER BY last_seq",
                (key, after),
            )
            try:
                for first, body in segments:
                    decoded = _decode(task_id, first, body)
                    events += decoded[max(0, after - first + 1) :]
                    if len(events) >= limit:
                        break
            finally:
                segments.close()  # or this view of the file would stay, and be the past
    if after < last and (not events or events[0].seq != after + 1):
        raise CursorExpired(task_id, after, last)
    return events[:limit]


def _decode(task_id: str, first: int, body: bytes) -> list[TaskEvent]:
    try:
        events = decode_events(body)
    except ValidationError as error:
        where = error.errors(include_input=False, include_context=False, include_url=False)[0][
            "loc"
        ]
        position = where[0] if where and isinstance(where[0], int) else 0
        raise DamagedEvent(task_id, first + position) from error
    if not events or events[0].seq != first:
        raise DamagedEvent(task_id, first)
    return events


def head(connection: apsw.Connection, task_id: str) -> int:
    """Return the number of the task's last event."""
    return _task(connection, task_id)[1]


def heads(connection: apsw.Connection, task_ids: Iterable[str]) -> dict[str, int]:
    """Return the heads of those of the tasks that exist."""
    found = {task_id: _row(connection, _TASK, (task_id,)) for task_id in task_ids}
    return {task_id: row[1] for task_id, row in found.items() if row is not None}


def claimed(connection: apsw.Connection, key: str, now: float) -> tuple[str, str] | None:
    """Return the task that a live claim made, and the claim's digest."""
    found: tuple[str, str] | None = _row(
        connection,
        "SELECT task_id, digest FROM claims WHERE key = ? AND expires_at > ?",
        (key, now),
    )
    return found


def finished(connection: apsw.Connection, before: float, limit: int) -> list[str]:
    """Return tasks that were terminal before that time and keep their events."""
    return [task_id for (task_id,) in _all(connection, _FINISHED, (before, limit))]


def prune(connection: apsw.Connection, finished_before: float, limit: int) -> list[str]:
    """Drop the events of finished tasks whose snapshot stands at their head."""
    rows = _all(connection, _PRUNABLE, (finished_before, limit))
    for key, _, last in rows:
        connection.execute("UPDATE tasks SET head = ?, pruned = 1 WHERE key = ?", (last, key))
        connection.execute("DELETE FROM segments WHERE task = ?", (key,))
    connection.execute("DELETE FROM claims WHERE expires_at < ?", (finished_before,))
    return [task_id for _, task_id, _ in rows]


def forget(connection: apsw.Connection, finished_before: float, limit: int) -> list[str]:
    """Remove finished tasks with all that hangs on them."""
    rows = _all(connection, _FORGETTABLE, (finished_before, limit))
    for key, task_id in rows:
        connection.execute("DELETE FROM segments WHERE task = ?", (key,))
        connection.execute("DELETE FROM snapshots WHERE task_id = ?", (task_id,))
        connection.execute("DELETE FROM claims WHERE task_id = ?", (task_id,))
        connection.execute("DELETE FROM tasks WHERE key = ?", (key,))
    return [task_id for _, task_id in rows]


def stats(connection: apsw.Connection) -> LogStats:
    """Return the sizes of the log."""
    tasks, open_tasks, events = _all(connection, _STATS)[0]
    return LogStats(tasks=tasks, open_tasks=open_tasks, events=int(events))


# --- snapshots ------------------------------------------------------------------------------


def save_state(connection: apsw.Connection, task_id: str, version: int, content: bytes) -> None:
    """Write a version once."""
    known = _row(
        connection,
        "SELECT data FROM snapshots WHERE task_id = ? AND version = ?",
        (task_id, version),
    )
    if known is None:
        connection.execute("INSERT INTO snapshots VALUES (?, ?, ?)", (task_id, version, content))
    elif known[0] != content:
        message = f"version {version} of the state of task {task_id!r} has other content"
        raise VersionConflict(message)


def load_state(connection: apsw.Connection, task_id: str, version: int | None) -> dict[str, Any]:
    """Return that version, or the highest."""
    found = _row(
        connection,
        "SELECT data FROM snapshots WHERE task_id = ? AND version <= ? AND version >= ? "
        "ORDER BY version DESC LIMIT 1",
        (task_id, MAX_VERSION if version is None else version, version or 0),
    )
    if found is None:
        what = "state" if version is None else f"version {version} of the state"
        message = f"there is no {what} of task {task_id!r}"
        raise NotFound(message)
    data: dict[str, Any] = orjson.loads(found[0])
    return data


def list_versions(connection: apsw.Connection, task_id: str) -> list[int]:
    """Return the versions of the task, ascending."""
    found = _row(
        connection,
        "SELECT json_group_array(version ORDER BY version) FROM snapshots WHERE task_id = ?",
        (task_id,),
    )
    versions: list[int] = [] if found is None else orjson.loads(found[0])
    return versions


def delete_states(connection: apsw.Connection, task_id: str) -> None:
    """Remove all versions of the task."""
    try:
        connection.execute("DELETE FROM snapshots WHERE task_id = ?", (task_id,))
        removed = connection.changes()
    except UnicodeEncodeError:
        removed = 0
    if not removed:
        message = f"there is no state of task {task_id!r}"
        raise NotFound(message)


# --- leases ---------------------------------------------------------------------------------


def beat(connection: apsw.Connection, worker: str, now: float, alive_until: float) -> None:
    """Keep a worker alive, and forget those that are dead and hold nothing."""
    connection.execute("INSERT OR REPLACE INTO workers VALUES (?, ?)", (worker, alive_until))
    connection.execute(
        "DELETE FROM workers WHERE alive_until <= ? AND worker <> ? "
        "AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.worker = workers.worker)",
        (now, worker),
    )


def workers(connection: apsw.Connection) -> list[tuple[str, float | None]]:
    """Return who holds leases, and until when each is alive (``None``: no heartbeat at all)."""
    return _all(
        connection,
        "SELECT held.worker, workers.alive_until "
        "FROM (SELECT DISTINCT worker FROM tasks WHERE worker IS NOT NULL) AS held "
        "LEFT JOIN workers USING (worker)",
    )


def leases_of(connection: apsw.Connection, held_by: list[str], limit: int) -> list[tuple[str, str]]:
    """Return up to ``limit`` leases of those workers."""
    found: list[tuple[str, str]] = []
    for worker in held_by:
        found += _all(
            connection,
            "SELECT task_id, worker FROM tasks WHERE worker = ? ORDER BY key LIMIT ?",
            (worker, limit - len(found)),
        )
    return found


def take(connection: apsw.Connection, task_id: str, old_worker: str, new_worker: str) -> bool:
    """Move a lease."""
    connection.execute(
        "UPDATE tasks SET worker = ? WHERE task_id = ? AND worker = ?",
        (new_worker, task_id, old_worker),
    )
    return connection.changes() > 0


# --- deliveries and credentials -------------------------------------------------------------


def due(connection: apsw.Connection, now: float, limit: int) -> list[Delivery]:
    """Return the deliveries whose time has come."""
    return [
        Delivery(
            id=row[0],
            task_id=row[1],
            seq=row[2],
            subscriber=row[3],
            body=row[4],
            due_at=row[5],
            attempts=row[6],
        )
        for row in _all(connection, _DUE, (now, limit))
    ]


def retry(connection: apsw.Connection, delivery_id: str, due_at: float) -> None:
    """Count an attempt."""
    try:
        connection.execute(
            "UPDATE deliveries SET due_at = ?, attempts = attempts + 1 WHERE id = ?",
            (due_at, delivery_id),
        )
        known = connection.changes() > 0
    except UnicodeEncodeError:
        known = False
    if not known:
        message = f"there is no delivery {delivery_id!r}"
        raise NotFound(message)


def credential(connection: apsw.Connection, name: str) -> bytes:
    """Return what is stored under ``name``."""
    found = _row(connection, "SELECT value FROM credentials WHERE name = ?", (name,))
    if found is None:
        message = f"there is no credential {name!r}"
        raise NotFound(message)
    value: bytes = found[0]
    return value
