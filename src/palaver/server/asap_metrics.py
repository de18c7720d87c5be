"""The metrics of ASAP, by the names that its other servers have.

No label holds what a peer made up: a payload type that ASAP does not know is ``other``.
"""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from palaver.observability.metrics import Registry
from palaver.protocols.asap import errors
from palaver.protocols.asap.messages import PayloadType

__all__ = ["AsapMetrics"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_OTHER: Final = "other"


class AsapMetrics:
    """Counts requests and what they are refused for, over HTTP and WebSocket alike."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"asap_{name}", text, labels, registry=registry)

        self._requests = counter("requests", "Requests answered", "payload_type", "status")
        self._success = counter("requests_success", "Requests that were done", "payload_type")
        self._errors = counter(
            "requests_error", "Requests that were refused", "payload_type", "error_type"
        )
        self._duration = Histogram(
            "asap_request_duration_seconds",
            "From a request to its answer, the task's own time included",
            ["payload_type", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._parse_errors = counter("parse_errors", "Bodies and frames that are no JSON")
        self._invalid = counter(
            "validation_errors", "Requests and envelopes that are not as they must be", "reason"
        )
        self._of_class: dict[type[errors.AsapError], Counter] = {
            errors.InvalidTimestamp: counter(
                "invalid_timestamp", "Envelopes refused for their age"
            ),
            errors.InvalidNonce: counter("invalid_nonce", "Envelopes refused for their nonce"),
            errors.SenderMismatch: counter("sender_mismatch", "Envelopes of another sender"),
            errors.AuthRequired: counter("auth_failures", "Requests of callers who are unknown"),
            errors.ServerBusy: counter("thread_pool_exhausted", "Requests that found no room"),
            errors.ParseError: self._parse_errors,
        }
        self._of_class[errors.AuthInvalid] = self._of_class[errors.AuthRequired]
        self._pushes = counter("pushes", "Envelopes sent that nobody had to ask for")
        self._duplicates = counter(
            "duplicate_requests", "Requests that came again on WebSockets, and were not begun again"
        )
        self._sockets = Gauge("asap_websockets", "Open WebSockets", registry=registry)
        self._done: dict[PayloadType | None, tuple[Counter, Counter, Histogram]] = {}
        began = time.monotonic()
        Gauge(
            "asap_process_uptime_seconds", "Since this server was made", registry=registry
        ).set_function(lambda: time.monotonic() - began)

    def answered(self, kind: PayloadType | None, seconds: float) -> None:
        """Count a request that was answered by an envelope."""
        done = self._done.get(kind)
        if done is None:  # looked up once: by its labels it takes as long as parsing a request
            name = _named(kind)
            done = self._done[kind] = (
                self._requests.labels(name, "success"),
                self._success.labels(name),
                self._duration.labels(name, "success"),
            )
        requests, success, duration = done
        requests.inc()
        success.inc()
        duration.observe(seconds)

    def refused(
        self, kind: PayloadType | None, error: errors.AsapError, seconds: float = 0.0
    ) -> None:
        """Count a request that was answered by an error; ``kind`` as far as it was read."""
        name = _named(kind)
        self._requests.labels(name, "error").inc()
        self._errors.labels(name, error.uri.removeprefix("asap:")).inc()
        self._duration.labels(name, "error").observe(seconds)
        counted = self._of_class.get(type(error))
        if counted is not None:
            counted.inc()
        elif error.code in {-32600, -32602}:
            self._invalid.labels(error.uri.rpartition("/")[2]).inc()

    def pushed(self) -> None:
        """Count an envelope that was pushed."""
        self._pushes.inc()

    def repeated(self) -> None:
        """Count a request that came again."""
        self._duplicates.inc()

    def sockets(self, by: int) -> None:
        """Count sockets that opened, or closed."""
        self._sockets.inc(by)


def _named(kind: PayloadType | None) -> str:
    return _OTHER if kind is None else kind.value
