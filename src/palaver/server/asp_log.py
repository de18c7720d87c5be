"""What the log says of ASP: each decision, with the session that it is about.

Never a token, never what a message says beyond its type: those are in no line of any level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import orjson
import structlog

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import Rejection
from palaver.protocols.asp.messages import read_object, session_id_of
from palaver.protocols.asp.sessions import Sessions

__all__ = ["log_event", "log_received", "log_sent", "negotiated"]

_log = structlog.get_logger("palaver.asp")
_DEBUG: Final = 10
_MAX_TYPE: Final = 64
_MAX_REASON: Final = 512
"""Characters of what a peer says."""
_Line: TypeAlias = Callable[[Any, Sessions], None]


def negotiated(config: NegotiatedConfig) -> dict[str, Any]:
    """Return a configuration as the log shows it."""
    return {
        "audio": config.audio.model_dump(mode="json", exclude_none=True),
        "vad": config.vad.model_dump(mode="json"),
    }


def log_event(event: happened.Event, sessions: Sessions) -> None:
    """Write the line of an event, if it has one."""
    write = _LINES.get(type(event))
    if write is not None:
        write(event, sessions)


def log_sent(output: Iterable[happened.Output]) -> None:
    """Write the type of each message that is sent, at level debug."""
    if not _log.is_enabled_for(_DEBUG):
        return
    for one in output:
        if isinstance(one, str):
            found = orjson.loads(one)
            _log.debug("asp_sent", type=found["type"], session_id=found.get("session_id"))
        elif isinstance(one, happened.Close):
            _log.debug("asp_closing", code=one.code, reason=one.reason)


def log_received(data: str | bytes) -> None:
    """Write the type of a message that came, at level debug."""
    if isinstance(data, bytes) or not _log.is_enabled_for(_DEBUG):
        return
    try:
        found = read_object(data)
    except Rejection:
        _log.debug("asp_received", type=None, characters=len(data))
    else:
        kind, session_id = found["type"][:_MAX_TYPE], session_id_of(found)
        _log.debug("asp_received", type=kind, session_id=session_id)


def _opened(event: Any, sessions: Sessions) -> None:
    session = sessions.get(event.session_id)
    _log.info(
        "asp_session_opened",
        session_id=event.session_id,
        call_id=None if session is None else session.call_id,
        legacy_mode=event.legacy_mode,
        peer_version=None if session is None else session.peer_version,
        features=[] if session is None else sorted(session.features),
        **negotiated(event.config),
    )
    if event.legacy_mode:
        _log.warning("asp_legacy_client", session_id=event.session_id)
    _adjusted(event.session_id, event.config)


def _adjusted(session_id: str, config: NegotiatedConfig) -> None:
    for one in config.adjustments:
        _log.warning(
            "asp_config_adjusted",
            session_id=session_id,
            field=one.field,
            requested=one.requested,
            applied=one.applied,
            reason=one.reason,
        )


def _switched(event: Any, _sessions: Sessions) -> None:
    _log.info(
        "asp_config_switched",
        session_id=event.session_id,
        cause=event.cause,
        seq=event.seq,
        samples=event.samples,
        vad=event.config.vad.model_dump(mode="json"),
    )
    _adjusted(event.session_id, event.config)


def _refused(name: str) -> _Line:
    def write(event: Any, _sessions: Sessions) -> None:
        for error in event.errors:
            _log.warning(name, session_id=event.session_id, code=error.code, reason=error.message)

    return write


def _wrong(name: str) -> _Line:
    def write(event: Any, _sessions: Sessions) -> None:
        _log.warning(
            name,
            session_id=getattr(event, "session_id", None),
            code=event.error.code,
            reason=event.error.message[:_MAX_REASON],
            quiet=getattr(event, "quiet", 0),
        )

    return write


def _closed(event: Any, _sessions: Sessions) -> None:
    statistics = event.statistics
    _log.info(
        "asp_session_closed",
        session_id=event.session_id,
        reason=event.reason,
        duration=event.duration_seconds,
        **({} if statistics is None else statistics.model_dump()),
    )


def _plain(level: str, name: str, *members: str) -> _Line:
    def write(event: Any, _sessions: Sessions) -> None:
        getattr(_log, level)(name, **{member: getattr(event, member) for member in members})

    return write


_LINES: Final[Mapping[type, _Line]] = MappingProxyType(
    {
        happened.SessionOpened: _opened,
        happened.SessionRejected: _refused("asp_session_rejected"),
        happened.UpdateRejected: _refused("asp_update_rejected"),
        happened.ConfigSwitched: _switched,
        happened.ConfigMismatched: _plain(
            "error", "asp_config_mismatched", "session_id", "ours", "theirs"
        ),
        happened.SessionDetached: _plain("info", "asp_session_detached", "session_id"),
        happened.SessionResumed: _plain("info", "asp_session_resumed", "session_id", "replayed"),
        happened.SessionClosed: _closed,
        happened.MessagesLost: _plain("warning", "asp_messages_lost", "session_id", "count"),
        happened.AudioMissing: _plain("warning", "asp_audio_missing", "session_id", "seq", "count"),
        happened.ErrorSent: _wrong("asp_error_sent"),
        happened.ErrorReceived: _wrong("asp_error_received"),
        happened.HandshakeFailed: _wrong("asp_handshake_failed"),
        happened.LegacySuspected: _plain("info", "asp_legacy_suspected"),
    }
)
