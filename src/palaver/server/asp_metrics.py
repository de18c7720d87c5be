"""The metrics of ASP. No label names a session: each label has few values, whatever calls come.

Handshakes are timed from the capabilities to ``session.started``, for the first session of a
socket: later ones begin whenever the next call comes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from palaver.observability.metrics import Registry
from palaver.protocols.asp import events as happened
from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import ErrorCode

__all__ = ["AspMetrics"]

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STEPS: Final = MappingProxyType(
    {
        "silence_threshold_ms": 100,
        "min_speech_ms": 50,
        "threshold": 0.1,
        "speech_ratio": 0.1,
        "prefix_padding_ms": 50,
    }
)
"""Values are counted by the step that they are nearest to: nobody can make a million of them."""
_SERVER: Final = "server"
_CODES: Final = frozenset(ErrorCode)


class AspMetrics:
    """Counts what happens; ``take`` each event once."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["role", *labels], registry=registry)

        self._duration = Histogram(
            "asp_handshake_duration_seconds",
            "From the capabilities to session.started",
            ["role", "mode"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._success = counter("asp_handshake_success", "Sessions started", "mode", "status")
        self._failure = counter(
            "asp_handshake_failure", "Starts rejected, and sockets without a session", "code"
        )
        self._timeouts = counter(
            "asp_handshake_timeouts", "Sockets on which no session was started in time"
        )
        self._adjustments = counter("asp_negotiation_adjustments", "Values changed", "field")
        self._mismatches = counter(
            "asp_config_mismatches", "Sessions whose two sides ran different configurations"
        )
        self._resumed = counter("asp_sessions_resumed", "Sessions that went on, on a new socket")
        self._errors = counter("asp_errors", "Errors told", "direction", "code")
        self._config = Gauge(
            "asp_session_config",
            "Active sessions that run this value",
            ["config_key", "value"],
            registry=registry,
        )
        self._sessions = Gauge("asp_sessions", "Active sessions", ["mode"], registry=registry)
        self._running: dict[str, tuple[str, frozenset[tuple[str, str]]]] = {}

    def take(self, event: happened.Event) -> None:
        """Count one event."""
        match event:
            case happened.SessionOpened():
                self._open(event)
            case happened.SessionClosed():
                self._close(event.session_id)
            case happened.ConfigSwitched():
                self._switch(event.session_id, event.config)
                self._adjust(event.config)
            case happened.SessionRejected():
                for error in event.errors[:1]:
                    self._failure.labels(_SERVER, _code(error.code)).inc()
            case happened.HandshakeFailed() if event.error.code == ErrorCode.HANDSHAKE_TIMEOUT:
                self._timeouts.labels(_SERVER).inc()
                self._failure.labels(_SERVER, _code(event.error.code)).inc()
            case happened.ConfigMismatched():
                self._mismatches.labels(_SERVER).inc()
            case happened.SessionResumed():
                self._resumed.labels(_SERVER).inc()
            case happened.ErrorSent():
                self._errors.labels(_SERVER, "sent", _code(event.error.code)).inc(1 + event.quiet)
            case happened.ErrorReceived():
                self._errors.labels(_SERVER, "received", _code(event.error.code)).inc()
            case _:
                pass

    def _open(self, event: happened.SessionOpened) -> None:
        mode = "legacy" if event.legacy_mode else "asp"
        changed = bool(event.config.adjustments)
        status = "accepted_with_changes" if changed else "accepted"
        self._success.labels(_SERVER, mode, status).inc()
        if event.handshake_seconds is not None:
            self._duration.labels(_SERVER, mode).observe(event.handshake_seconds)
        self._adjust(event.config)
        self._sessions.labels(mode).inc()
        self._running[event.session_id] = (mode, frozenset())
        self._switch(event.session_id, event.config)

    def _close(self, session_id: str) -> None:
        mode, values = self._running.pop(session_id, (None, frozenset()))
        if mode is not None:
            self._sessions.labels(mode).dec()
            self._count(values, -1)

    def _switch(self, session_id: str, config: NegotiatedConfig) -> None:
        if session_id not in self._running:
            return
        mode, before = self._running[session_id]
        after = _values(config)
        self._running[session_id] = (mode, after)
        self._count(before, -1)
        self._count(after, 1)

    def _count(self, values: frozenset[tuple[str, str]], by: int) -> None:
        for key, value in values:
            self._config.labels(key, value).inc(by)

    def _adjust(self, config: NegotiatedConfig) -> None:
        for one in config.adjustments:
            self._adjustments.labels(_SERVER, one.field).inc()


def _values(config: NegotiatedConfig) -> frozenset[tuple[str, str]]:
    found = config.audio.model_dump(mode="json", exclude_none=True)
    found |= config.vad.model_dump(mode="json")
    for key, step in _STEPS.items():
        found[key] = f"{round(found[key] / step) * step:g}"
    return frozenset((key, str(value)) for key, value in found.items())


def _code(code: int) -> str:
    """Return a code as a label; what a peer made up is ``other``."""
    return str(code) if code in _CODES else "other"
