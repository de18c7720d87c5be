"""Writes the log of ASP on the server's side; each line has ``role="server"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import structlog

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.report import lines, message_values
from palaver.protocols.asp.sessions import Sessions

__all__ = ["log_event", "log_received", "log_sent"]

_log = structlog.get_logger("palaver.asp", role="server")
_DEBUG: Final = 10


def log_event(event: happened.Event, sessions: Sessions) -> None:
    """Write the lines of an event; of a session that opens, who it is, too."""
    more = _who(event.session_id, sessions) if isinstance(event, happened.SessionOpened) else {}
    for line in lines(event):
        getattr(_log, line.level)(line.name, **line.values, **more)
        more = {}
    if isinstance(event, happened.SessionOpened) and event.legacy_mode:
        _log.warning("asp_legacy_client", session_id=event.session_id)


def log_sent(output: Iterable[happened.Output]) -> None:
    """Write the type of each message that is sent, at level debug; audio has no line."""
    # To ask whether a level is enabled costs a fifth of an audio message.
    told = [one for one in output if not isinstance(one, bytes)]
    if not told or not _log.is_enabled_for(_DEBUG):
        return
    for one in told:
        if isinstance(one, str):
            _log.debug("asp_sent", **message_values(one))
        else:
            _log.debug("asp_closing", code=one.code, reason=one.reason)


def log_received(text: str) -> None:
    """Write the type of a message that came, at level debug."""
    if _log.is_enabled_for(_DEBUG):
        _log.debug("asp_received", **message_values(text))


def _who(session_id: str, sessions: Sessions) -> dict[str, Any]:
    session = sessions.get(session_id)
    if session is None:
        return {}
    return {
        "call_id": session.call_id,
        "peer_version": session.peer_version,
        "features": sorted(one.value for one in session.features),
    }
