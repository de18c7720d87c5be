"""What ``palaver asp debug`` has seen of a handshake: its steps with their times, each message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from palaver.client.asp import CallSession, Observed
from palaver.errors import PalaverError
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import NegotiatedConfig, ProtocolCapabilities, config_digest
from palaver.protocols.asp.events import ConfigSwitched, SessionClosed
from palaver.protocols.asp.messages import Feature

__all__ = ["Findings", "Step", "Trace"]

_ASKED: Final = frozenset({"session.start", "session.confirm", "session.update", "session.end"})
_ANSWERED: Final = frozenset(
    {"protocol.capabilities", "session.started", "session.updated", "session.ended"}
)
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how long it took, and when it was done (ms since the beginning)."""

    name: str
    ms: float
    at_ms: float


@dataclass(slots=True)
class Trace:
    """Steps and messages in their order. Audio is counted, not kept."""

    began: float
    steps: list[Step] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    _last: float | None = None

    def observe(self, seen: Observed) -> None:
        """Take what could be seen at the socket."""
        if seen.what == "connected":
            self.step("connected (TCP and WebSocket)", seen.at)
        elif isinstance(seen.data, str):
            self._message(seen.what, seen.data, seen.at)

    def step(self, name: str, at: float) -> None:
        """Note that a step is done."""
        last = self.began if self._last is None else self._last
        self.steps.append(Step(name, _ms(at - last), _ms(at - self.began)))
        self._last = at

    def last(self, kind: str) -> dict[str, Any] | None:
        """Return the last message of a type that came or went."""
        found = [one["message"] for one in self.messages if one["type"] == kind]
        return found[-1] if found else None

    def _message(self, direction: str, text: str, at: float) -> None:
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            found = None
        kind = found.get("type") if isinstance(found, dict) else None
        if isinstance(found, dict) and "resume_token" in found:
            found["resume_token"] = _HIDDEN
        self.messages.append(
            {
                "at_ms": _ms(at - self.began),
                "direction": direction,
                "type": kind,
                "message": text if found is None else found,
            }
        )
        if kind in (_ASKED if direction == "sent" else _ANSWERED):
            self.step(f"{kind} {direction}", at)


@dataclass(slots=True)
class Findings:
    """All that was found out, as far as it came."""

    url: str
    request: SessionRequest
    trace: Trace
    capabilities: ProtocolCapabilities | None = None
    server_id: str | None = None
    legacy_mode: bool = False
    session_id: str | None = None
    config: NegotiatedConfig | None = None
    """What was negotiated when the session started."""
    features: frozenset[Feature] = frozenset()
    switched: ConfigSwitched | None = None
    audio: dict[str, Any] | None = None
    ended: SessionClosed | None = None
    error: PalaverError | None = None

    def started(self, session: CallSession) -> None:
        """Take note of a session."""
        self.session_id, self.config = session.id, session.config
        self.features, self.legacy_mode = session.features, session.legacy_mode

    @property
    def final(self) -> NegotiatedConfig | None:
        """What holds at the end: what was started with, and the update over it."""
        if self.config is None or self.switched is None:
            return self.config
        after = self.switched.config
        again = {one.field for one in after.adjustments}
        values = after.model_dump(mode="json")
        still = [
            one
            for one in self.config.adjustments
            if one.field not in again and _value(values, one.field) == one.applied
        ]
        return after.model_copy(update={"adjustments": (*still, *after.adjustments)})

    @property
    def digests(self) -> dict[str, Any] | None:
        """What each side says that it runs, where the two compare it."""
        config = self.final
        if config is None or Feature.CONFIG_DIGEST not in self.features:
            return None
        # An update that was rejected leaves what was started with.
        kind = "session.started" if self.switched is None else "session.updated"
        answer = self.trace.last(kind) or {}
        ours, theirs = config_digest(config.audio, config.vad), answer.get("config_digest")
        return {"ours": ours, "theirs": theirs, "same": ours == theirs}


def _value(values: dict[str, Any], field: str) -> Any:
    group, _, name = field.partition(".")
    return values.get(group, {}).get(name)


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 3)
