"""Structured logs: one line an event, secrets removed last of all."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TypeAlias

import orjson
import structlog

__all__ = ["LogFormat", "configure_logging", "redact"]

LogFormat: TypeAlias = Literal["console", "json"]

_SECRET_WORDS: Final = ("password", "token", "secret", "api_key", "authorization", "credential")
_HIDDEN: Final = "***"


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the values of keys that name a secret, at any depth of mappings."""
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = _HIDDEN
        elif isinstance(value, dict):
            event[key] = redact(_logger, _method, dict(value))
    return event


def configure_logging(level: str = "info", style: LogFormat = "console") -> None:
    """Send structured logs of ``level`` and above to standard error, in that style."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: list[Any]
    if style == "json":
        renderer = [
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
            ),
        ]
    else:
        # Plain tracebacks: a fancy one would print local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
        renderer = [redact, console]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
