"""What every generation says alike: times, counts of history, and what its states cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from palaver.model.content import Message
from palaver.model.events import CallActionRequested, StatusChanged
from palaver.model.task import Task

__all__ = ["call_action", "merged", "progress", "recent", "timestamp"]


def timestamp(at: float) -> str:
    """Return ``at`` as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def recent(history: tuple[Message, ...], length: int | None) -> tuple[Message, ...]:
    """Return the last ``length`` messages; all of them for ``None``."""
    if length is None:
        return history
    return history[max(0, len(history) - length) :]


def progress(fact: StatusChanged | Task) -> dict[str, Any]:
    """Return what is known beside the state, for metadata. A first attempt needs no word."""
    known: dict[str, Any] = {}
    if fact.reason is not None:
        known["reason"] = fact.reason
    if fact.percent is not None:
        known["percent"] = fact.percent
    if fact.attempt is not None and fact.attempt > 1:
        known["attempt"] = fact.attempt
    return known


def call_action(event: CallActionRequested) -> dict[str, Any]:
    """Return what is to be done to the call, for metadata."""
    action: dict[str, str] = {"action": event.action}
    if event.target is not None:
        action["target"] = event.target
    return {"callAction": action}


def merged(metadata: Mapping[str, Any] | None, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that the peer attached together with what is known here."""
    return {**(metadata or {}), **known}
