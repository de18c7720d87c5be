"""Writes the log of ASP on the client's side; each line has ``role="client"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import structlog

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.config import Adjustment
from palaver.protocols.asp.report import adjustment_lines, lines, message_values

__all__ = ["log", "log_event", "log_fitted", "log_message"]

_DEBUG: Final = 10
_plain_log = structlog.get_logger("palaver.client")


def log() -> Any:
    """Return the log that lines of the client go to."""
    return _plain_log.bind(role="client")


def log_message(name: str, data: str | bytes) -> None:
    """Write the type of a message that went over the socket, at level debug."""
    if isinstance(data, str) and _plain_log.is_enabled_for(_DEBUG):
        log().debug(name, **message_values(data))


def log_event(event: happened.Event, *, legacy_mode: bool) -> None:
    """Write the lines of an event of a session."""
    for line in lines(event):
        getattr(log(), line.level)(line.name, **{"legacy_mode": legacy_mode, **line.values})


def log_fitted(session_id: str, adjustments: Iterable[Adjustment]) -> None:
    """Write a line for each value that was changed before it was asked for."""
    for line in adjustment_lines(session_id, adjustments, "asp_config_fitted"):
        log().warning(line.name, **line.values)
