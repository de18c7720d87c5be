"""What a log says of ASP: a line for each decision. The shells of both sides write these.

Never a token, never what a message says beyond its type and its session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from palaver.protocols.asp import events as happened
from palaver.protocols.asp.config import Adjustment
from palaver.protocols.asp.errors import Rejection
from palaver.protocols.asp.text_frames import read_object, session_id_of

__all__ = ["LogLine", "adjustment_lines", "lines", "message_values"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

_MAX_TYPE: Final = 64
_MAX_REASON: Final = 512
"""Characters of what a peer says."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: how much it matters, its name, and what it tells."""

    level: Level
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


def lines(event: happened.Event) -> Iterator[LogLine]:
    """Return the lines of an event; most have one, audio has none."""
    spell = _LINES.get(type(event))
    return iter(()) if spell is None else spell(event)


def adjustment_lines(
    session_id: str, adjustments: Iterable[Adjustment], name: str = "asp_config_adjusted"
) -> Iterator[LogLine]:
    """Return a line for each value that is not as it was wanted."""
    for one in adjustments:
        values = {
            "session_id": session_id,
            "field": one.field,
            "requested": one.requested,
            "applied": one.applied,
            "reason": one.reason,
        }
        yield LogLine("warning", name, values)


def message_values(text: str) -> dict[str, Any]:
    """Return what a line may tell of a text message: its type and session, or its length."""
    try:
        found = read_object(text)
    except Rejection:
        return {"type": None, "characters": len(text)}
    return {"type": found["type"][:_MAX_TYPE], "session_id": session_id_of(found)}


_Spell: TypeAlias = Callable[[Any], Iterator[LogLine]]


def _opened(event: happened.SessionOpened) -> Iterator[LogLine]:
    values = {
        "session_id": event.session_id,
        "legacy_mode": event.legacy_mode,
        "audio": event.config.audio.model_dump(mode="json", exclude_none=True),
        "vad": event.config.vad.model_dump(mode="json"),
    }
    yield LogLine("info", "asp_session_opened", values)
    yield from adjustment_lines(event.session_id, event.config.adjustments)


def _switched(event: happened.ConfigSwitched) -> Iterator[LogLine]:
    values = {
        "session_id": event.session_id,
        "cause": event.cause,
        "seq": event.seq,
        "samples": event.samples,
        "vad": event.config.vad.model_dump(mode="json"),
    }
    yield LogLine("info", "asp_config_switched", values)
    yield from adjustment_lines(event.session_id, event.config.adjustments)


def _refused(name: str) -> _Spell:
    def spell(event: happened.SessionRejected | happened.UpdateRejected) -> Iterator[LogLine]:
        for error in event.errors:
            reason = error.message[:_MAX_REASON]
            values = {"session_id": event.session_id, "code": error.code, "reason": reason}
            yield LogLine("warning", name, values)

    return spell


def _wrong(name: str) -> _Spell:
    def spell(event: Any) -> Iterator[LogLine]:
        values = {
            "session_id": getattr(event, "session_id", None),
            "code": event.error.code,
            "reason": event.error.message[:_MAX_REASON],
            "quiet": getattr(event, "quiet", 0),
        }
        yield LogLine("warning", name, values)

    return spell


def _closed(event: happened.SessionClosed) -> Iterator[LogLine]:
    values = {
        "session_id": event.session_id,
        "reason": event.reason,
        "duration": event.duration_seconds,
        **({} if event.statistics is None else event.statistics.model_dump()),
    }
    yield LogLine("info", "asp_session_closed", values)


def _told(level: Level, name: str, *members: str) -> _Spell:
    def spell(event: Any) -> Iterator[LogLine]:
        yield LogLine(level, name, {member: getattr(event, member) for member in members})

    return spell


_LINES: Final[Mapping[type, _Spell]] = MappingProxyType(
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
        happened.LegacySuspected: _told("info", "asp_legacy_suspected"),
    }
)
