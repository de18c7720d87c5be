"""What every backend checks of its arguments, in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from palaver.errors import IllegalEvent, InvalidId
from palaver.model.delivery import Delivery
from palaver.model.events import StatusChanged, TaskEvent
from palaver.model.states import TERMINAL
from palaver.storage.interfaces import Claim

__all__ = ["MAX_VERSION", "canonical", "check_append", "check_text", "check_texts", "finish_time"]

MAX_VERSION: Final = 2**63 - 1
"""The highest number that a table can hold."""


def check_append(
    task_id: str, expected_seq: int, events: Sequence[TaskEvent], claim: Claim | None
) -> None:
    """Make sure that ``events`` are numbered from ``expected_seq`` on.

    Raises:
        IllegalEvent: they are not, there are none, or an append that creates no task claims a key.

    """
    if not events:
        message = f"task {task_id!r}: an append needs at least one event"
        raise IllegalEvent(message)
    first, last = events[0].seq, events[-1].seq
    if first != expected_seq + 1 or last != expected_seq + len(events):
        message = f"task {task_id!r}: events {first} to {last} cannot follow event {expected_seq}"
        raise IllegalEvent(message)
    if claim is not None and expected_seq:
        message = f"task {task_id!r}: only the append that creates a task may claim a key"
        raise IllegalEvent(message)


def check_text(value: str, what: str) -> None:
    """Make sure that ``value`` is Unicode, which no store can do without.

    Raises:
        InvalidId: it holds a lone surrogate.

    """
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            message = f"{what} holds a lone surrogate at position {error.start}"
            raise InvalidId(message) from None


def check_texts(
    task_id: str, claim: Claim | None, worker: str | None, deliveries: Sequence[Delivery]
) -> None:
    """Make sure that everything is Unicode which an append writes beside its events.

    Raises:
        InvalidId: something holds a lone surrogate.

    """
    check_text(task_id, "the task id")
    check_text(worker or "", "the worker")
    if claim is not None:
        check_text(claim.key, "the idempotency key")
        check_text(claim.digest, "the digest")
    for delivery in deliveries:
        check_text(delivery.id, "the id of the delivery")
        check_text(delivery.task_id, "the task id of the delivery")
        check_text(delivery.subscriber, "the subscriber")


def finish_time(events: Sequence[TaskEvent]) -> float | None:
    """Return when the task ended, if ``events`` end it: nothing follows a terminal status."""
    last = events[-1]
    return last.at if isinstance(last, StatusChanged) and last.state in TERMINAL else None


def canonical(version: int, data: dict[str, Any]) -> bytes:
    """Return a snapshot as JSON, equal for equal content.

    Raises:
        ValueError: ``version`` is negative, or no store can hold it.
        TypeError: ``data`` holds what JSON cannot say.

    """
    if not 0 <= version <= MAX_VERSION:
        message = f"version {version} of a state must lie between 0 and {MAX_VERSION}"
        raise ValueError(message)
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
