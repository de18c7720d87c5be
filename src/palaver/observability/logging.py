"""Structured logs: one line an event, secrets removed last of all."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from functools import lru_cache
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
    """Replace the values of keys that name a secret, however deep they are."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


@lru_cache(maxsize=1_024)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)


def _redacted(key: object, value: Any) -> Any:
    if _is_secret(str(key)):
        return _HIDDEN
    if isinstance(value, dict):
        return {inner: _redacted(inner, found) for inner, found in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", found) for found in value]
    return value


def _as_json(event: MutableMapping[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        # Half a character, a huge number: a line of the log must not break what it tells of.
        return json.dumps(event, default=str, skipkeys=True)


def configure_logging(level: str = "info", style: LogFormat = "console") -> None:
    """Send structured logs of ``level`` and above to standard error, in that style.

    Warnings of libraries that log with the standard library come out in the same style.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: list[Any]
    if style == "json":
        renderer = [
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(serializer=_as_json),
        ]
    else:
        # Plain tracebacks: a fancy one would print local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        colors = sys.stderr.isatty()
        console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)
        renderer = [redact, console]
    prelude: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    _take_over_libraries(max(threshold, logging.WARNING), prelude, renderer)
    structlog.configure(
        processors=[*prelude, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


class _LibraryLog(logging.StreamHandler[Any]):
    """The handler of the standard library's root logger that is ours."""


def _take_over_libraries(level: int, prelude: list[Any], renderer: list[Any]) -> None:
    handler = _LibraryLog(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=prelude,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one, _LibraryLog)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
