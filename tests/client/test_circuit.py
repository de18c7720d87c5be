"""The circuit breaker: when it opens, lets one through, and closes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palaver.client.circuit import Circuit, Circuits, Passage


def opened(at: float = 0.0) -> Circuit:
    """Return a circuit that has just opened."""
    circuit = Circuit(max_failures=3, open_for=60.0)
    for _ in range(3):
        passage = circuit.admit(at)
        assert passage is not None
        circuit.failed(passage, at)
    return circuit


def test_failures_in_a_row_open_it() -> None:
    """As many failures as are too many open it; one success in between begins anew."""
    circuit = Circuit(max_failures=3, open_for=60.0)
    for failures in (2, 3):
        for _ in range(failures):
            assert circuit.state(0.0) == "closed"
            circuit.failed(Passage(), 0.0)
        if failures == 2:
            circuit.succeeded(Passage())
    assert circuit.state(59.9) == "open"
    assert circuit.admit(59.9) is None
    assert circuit.retry_in(20.0) == 40.0


def test_one_probe() -> None:
    """After its time one call may pass, and no other until that one has ended."""
    circuit = opened()
    assert circuit.state(60.0) == "half-open"
    probe = circuit.admit(60.0)
    assert probe == Passage(probe=True)
    assert circuit.admit(60.0) is None
    circuit.succeeded(probe)
    assert circuit.state(60.0) == "closed"
    assert circuit.retry_in(60.0) == 0.0


def test_a_probe_that_fails() -> None:
    """A probe that fails opens it for its whole time again."""
    circuit = opened()
    probe = circuit.admit(60.0)
    assert probe is not None
    circuit.failed(probe, 65.0)
    assert circuit.state(124.9) == "open"
    assert circuit.state(125.0) == "half-open"


def test_a_probe_that_nobody_waits_for() -> None:
    """A probe that is abandoned makes room for the next one."""
    circuit = opened()
    probe = circuit.admit(60.0)
    assert probe is not None
    circuit.abandoned(probe)
    assert circuit.admit(60.0) == Passage(probe=True)


def test_calls_that_end_late() -> None:
    """What passed before it opened keeps it open no longer, ends no probe, and may close it."""
    circuit = opened()
    circuit.failed(Passage(), 30.0)
    assert circuit.admit(60.0) == Passage(probe=True)
    circuit.abandoned(Passage())
    circuit.failed(Passage(), 60.0)
    assert circuit.admit(60.0) is None
    circuit.succeeded(Passage())
    assert circuit.state(60.0) == "closed"


@given(st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "abandoned"]), st.floats(0, 90))))
def test_it_never_stays_open(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, some call may pass again once its time is over."""
    circuit, now = Circuit(max_failures=2, open_for=60.0), 0.0
    for step, after in steps:
        now += after
        passage = circuit.admit(now)
        assert (passage is None) == (circuit.state(now) == "open")
        if passage is not None:
            if step == "failed":
                circuit.failed(passage, now)
            else:
                getattr(circuit, step)(passage)
    assert circuit.admit(now + 60.0) is not None


def test_circuits_are_shared_by_url() -> None:
    """Those who ask for one URL get one circuit; the one used least lately is let go."""
    circuits = Circuits(max_urls=2)
    first = circuits.of("http://a.test")
    circuits.of("http://b.test")
    assert circuits.of("http://a.test") is first
    circuits.of("http://c.test")
    assert len(circuits) == 2
    assert circuits.of("http://a.test") is first
