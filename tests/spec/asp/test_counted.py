"""Handshakes that fail are counted, by what went wrong."""

from __future__ import annotations

from palaver.observability.metrics import Registry
from palaver.server.asp_metrics import AspMetrics
from tests.protocols.asp.ends import RawClient


def test_handshakes_that_time_out_are_counted() -> None:
    """A socket without a session in time counts as a timeout, and as a failure of code 1002."""
    registry = Registry()
    metrics = AspMetrics(registry)
    in_time, silent = RawClient(), RawClient()
    in_time.start()
    for peer in (in_time, silent):
        peer.wait(31.0)
        for event in peer.events:
            metrics.take(event)
    role = {"role": "server"}
    assert registry.get_sample_value("asp_handshake_timeouts_total", role) == 1
    failures = role | {"code": "1002"}
    assert registry.get_sample_value("asp_handshake_failure_total", failures) == 1
    successes = role | {"mode": "asp", "status": "accepted"}
    assert registry.get_sample_value("asp_handshake_success_total", successes) == 1
