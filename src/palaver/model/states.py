"""The task lifecycle: one table says what may follow.

submitted → working → (input_required ⇄ working) → completed | failed | canceled | rejected.
``auth_required`` stands beside ``input_required``. A terminal state is left never.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["INTERRUPTED", "TERMINAL", "TRANSITIONS", "TaskState"]


class TaskState(StrEnum):
    """Where a task stands."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    AUTH_REQUIRED = "auth_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"


TERMINAL: Final = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED}
)
"""Frozen: nothing follows."""

INTERRUPTED: Final = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})
"""Waiting for somebody outside; a blocking caller gets its answer here."""

_LIVE: Final = frozenset({TaskState.WORKING}) | INTERRUPTED | TERMINAL

TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = MappingProxyType(
    {
        TaskState.SUBMITTED: _LIVE,
        TaskState.WORKING: _LIVE,
        TaskState.INPUT_REQUIRED: frozenset({TaskState.WORKING}) | INTERRUPTED | TERMINAL,
        TaskState.AUTH_REQUIRED: frozenset({TaskState.WORKING}) | INTERRUPTED | TERMINAL,
        TaskState.COMPLETED: frozenset(),
        TaskState.FAILED: frozenset(),
        TaskState.CANCELED: frozenset(),
        TaskState.REJECTED: frozenset(),
    }
)
"""state → the states that a status event may lead to (a state that leads to itself reports
progress, or asks another question)."""
