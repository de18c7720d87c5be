"""What the log says of ASP on the client's side: each decision, with the session it is about.

Of a message only its type and its session are told: no token, no text, no key that was pressed.
Each line has ``role="client"``; the server of the same process writes lines of the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import orjson
import structlog

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.config import Adjustment

__all__ = ["log", "log_adjustments", "log_event", "log_message"]

_DEBUG: Final = 10
_plain_log = structlog.get_logger("palaver.client")
_Line: TypeAlias = Callable[[Any, bool], None]


def log() -> Any:
    """Return the log that lines of the client go to."""
    return _plain_log.bind(role="client")


def log_message(name: str, data: str | bytes) -> None:
    """Write the type of a message that went over the socket, at level debug."""
    if isinstance(data, bytes) or not _plain_log.is_enabled_for(_DEBUG):
        return
    try:
        found = orjson.loads(data)
        kind, session_id = found["type"], found.get("session_id")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        log().debug(name, type=None, characters=len(data))
    else:
        log().debug(name, type=kind, session_id=session_id)


def log_event(event: happened.Event, *, legacy_mode: bool) -> None:
    """Write the line of an event of a session, if it has one."""
    write = _LINES.get(type(event))
    if write is not None:
        write(event, legacy_mode)


def _opened(event: Any, legacy_mode: bool) -> None:  # noqa: FBT001 # one signature for all lines
    log().info(
        "asp_session_opened",
        session_id=event.session_id,
        legacy_mode=legacy_mode,
        audio=event.config.audio.model_dump(mode="json", exclude_none=True),
        vad=event.config.vad.model_dump(mode="json"),
    )
    log_adjustments(event.session_id, event.config.adjustments)


def log_adjustments(
    session_id: str, adjustments: Iterable[Adjustment], *, before: bool = False
) -> None:
    """Write a line for each value that is not as it was wanted; ``before``: it was asked for."""
    for one in adjustments:
        log().warning(
            "asp_config_fitted" if before else "asp_config_adjusted",
            session_id=session_id,
            field=one.field,
            requested=one.requested,
            applied=one.applied,
            reason=one.reason,
        )


def _switched(event: Any, _legacy_mode: bool) -> None:  # noqa: FBT001
    log().info(
        "asp_config_switched",
        session_id=event.session_id,
        cause=event.cause,
        seq=event.seq,
        samples=event.samples,
        vad=event.config.vad.model_dump(mode="json"),
    )
    log_adjustments(event.session_id, event.config.adjustments)


def _refused(name: str) -> _Line:
    def write(event: Any, legacy_mode: bool) -> None:  # noqa: FBT001
        for error in event.errors:
            log().warning(
                name,
                session_id=event.session_id,
                legacy_mode=legacy_mode,
                code=error.code,
                reason=error.message,
            )

    return write


def _wrong(name: str) -> _Line:
    def write(event: Any, legacy_mode: bool) -> None:  # noqa: FBT001
        log().warning(
            name,
            session_id=getattr(event, "session_id", None),
            legacy_mode=legacy_mode,
            code=event.error.code,
            reason=event.error.message,
        )

    return write


def _closed(event: Any, legacy_mode: bool) -> None:  # noqa: FBT001
    log().info(
        "asp_session_closed",
        session_id=event.session_id,
        legacy_mode=legacy_mode,
        reason=event.reason,
        duration=event.duration_seconds,
    )


def _told(level: str, name: str, *members: str) -> _Line:
    def write(event: Any, legacy_mode: bool) -> None:  # noqa: FBT001
        told = {member: getattr(event, member) for member in members}
        getattr(log(), level)(name, legacy_mode=legacy_mode, **told)

    return write


_LINES: Final[Mapping[type, _Line]] = MappingProxyType(
    {
        happened.SessionOpened: _opened,
        happened.SessionRejected: _refused("asp_session_rejected"),
        happened.UpdateRejected: _refused("asp_update_rejected"),
        happened.ConfigSwitched: _switched,
        happened.ConfigMismatched: _told(
            "error", "asp_config_mismatched", "session_id", "ours", "theirs"
        ),
        happened.SessionDetached: _told("info", "asp_session_detached", "session_id"),
        happened.SessionResumed: _told("info", "asp_session_resumed", "session_id", "replayed"),
        happened.SessionClosed: _closed,
        happened.MessagesLost: _told("warning", "asp_messages_lost", "session_id", "count"),
        happened.AudioMissing: _told("warning", "asp_audio_missing", "session_id", "seq", "count"),
        happened.RequestTimedOut: _told(
            "warning", "asp_request_timed_out", "session_id", "message_type"
        ),
        happened.ErrorSent: _wrong("asp_error_sent"),
        happened.ErrorReceived: _wrong("asp_error_received"),
        happened.HandshakeFailed: _wrong("asp_handshake_failed"),
    }
)
