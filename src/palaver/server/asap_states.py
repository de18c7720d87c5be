"""A task as it was: after the event that a peer names by a version, or by a snapshot."""

from __future__ import annotations

from typing import Final

from palaver.errors import CursorExpired, NotFound
from palaver.model.encoding import task_from_data
from palaver.model.task import Fold, Task
from palaver.protocols.asap.errors import TaskNotFound
from palaver.protocols.asap.mapping import snapshot_version
from palaver.protocols.asap.messages import StateQuery, StateRestore
from palaver.storage.interfaces import Storage

__all__ = ["state_at"]

_PAGE: Final = 1_024


async def state_at(storage: Storage, task: Task, asked: StateQuery | StateRestore) -> Task:
    """Return ``task`` as it was after the event that is asked for; the latest by default.

    While its events are kept, that is any of them; afterwards the snapshots that are left.

    Raises:
        TaskNotFound: the task has no such version.
        StorageError: the store does not answer.

    """
    if isinstance(asked, StateRestore):
        version = snapshot_version(task.id, asked.snapshot_id)
    else:
        version = task.seq if asked.version is None else asked.version
    if version is None or not 1 <= version <= task.seq:
        raise _no_version(task, asked)
    if version == task.seq:
        return task
    try:
        return await _folded(storage, task.id, version)
    except CursorExpired:
        return await _kept(storage, task, asked, version)
    except NotFound:  # forgotten since it was looked up
        raise _no_version(task, asked) from None


async def _kept(
    storage: Storage, task: Task, asked: StateQuery | StateRestore, version: int
) -> Task:
    try:
        return task_from_data(await storage.states.load(task.id, version))
    except NotFound:
        raise _no_version(task, asked) from None


async def _folded(storage: Storage, task_id: str, version: int) -> Task:
    folding = Fold()
    at = 0
    while at < version:
        events = await storage.events.read(task_id, at, min(_PAGE, version - at))
        if not events:
            raise NotFound(f"task {task_id!r} has no event behind {at}")
        for event in events:
            folding.apply(task_id, event)
            at = event.seq
    return folding.task


def _no_version(task: Task, asked: StateQuery | StateRestore) -> TaskNotFound:
    named = f"version {asked.version}" if isinstance(asked, StateQuery) else asked.snapshot_id
    text = f"task {task.id!r} has no {named}; it stands at version {task.seq}"
    return TaskNotFound(text, details={"task_id": task.id, "version": task.seq})
