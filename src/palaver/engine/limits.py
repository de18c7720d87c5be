"""What one process takes on: sizes, counts and times, each with a default and a name."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the engine. Times are in seconds."""

    max_running_tasks: int = 1_000
    """Handlers that run at once; further tasks wait as *submitted*."""

    max_open_tasks: int = 10_000
    """Tasks that this process holds at once, waiting ones included; more are refused."""

    max_task_events: int = 100_000
    """Events of one task; a task that wants more fails with the reason ``too_many_events``."""

    max_pending_events: int = 256
    """Events of one task that may wait to be stored before its handler has to wait."""

    max_attempts: int = 10
    """Runs of one restartable task; one that keeps losing its workers may well be why."""

    max_threads: int = 32
    """Threads for handlers that are plain functions."""

    input_timeout: float = 3_600.0
    """How long a task waits for an answer; then it fails with the reason ``input_timeout``."""

    store_timeout: float = 30.0
    """How long a run goes on trying to store events when the store does not answer."""

    lease_ttl: float = 10.0
    """How long the tasks of a silent worker stay its own."""

    retention: float = 86_400.0
    """How long the events of a finished task are kept; its snapshot stays after that."""

    task_retention: float = 30 * 86_400.0
    """How long a finished task is kept at all."""

    claim_ttl: float = 86_400.0
    """How long a message id is remembered, so that a repeated request finds its task."""

    sweep_interval: float = 60.0
    """How often finished tasks are looked through for what retention says."""
