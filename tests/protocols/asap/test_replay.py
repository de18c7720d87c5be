"""Envelopes that are too old, too early, or come again (spec §10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asap.errors import InvalidNonce, InvalidTimestamp
from palaver.protocols.asap.messages import Envelope
from palaver.protocols.asap.replay import ReplayGuard, ReplayLimits
from tests.protocols.asap.samples import NOW, PEER, envelope


def of(age: float = 0.0, nonce: Any = None, sender: str = PEER) -> Envelope:
    """Return an envelope of that age at ``NOW``."""
    at = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    extensions = None if nonce is None else {"nonce": nonce}
    return envelope(timestamp=at, extensions=extensions, sender=sender)


@pytest.mark.parametrize("age", [0, 300, -30, 299.5])
def test_times_that_are_taken(age: float) -> None:
    """Up to 300 s of age and 30 s of future are taken."""
    ReplayGuard().check(of(age), NOW)


@pytest.mark.parametrize(
    ("age", "text", "details"),
    [
        (
            301,
            "Invalid timestamp: the envelope is 301 s old; at most 300 s are allowed",
            {"age_seconds": 301.0, "max_age_seconds": 300.0},
        ),
        (
            -31,
            "Invalid timestamp: the envelope is 31 s ahead; at most 30 s are allowed",
            {"future_offset_seconds": 31.0, "max_future_tolerance_seconds": 30.0},
        ),
    ],
)
def test_times_that_are_refused(age: float, text: str, details: dict[str, float]) -> None:
    """The error tells by how much, and what is allowed."""
    with pytest.raises(InvalidTimestamp) as refused:
        ReplayGuard().check(of(age), NOW)
    assert str(refused.value) == text
    assert refused.value.details == details
    assert refused.value.code == -32602


def test_nonces_are_left_alone_unless_they_are_asked_for() -> None:
    """Without the setting a nonce says nothing."""
    guard = ReplayGuard()
    for _ in range(2):
        guard.check(of(nonce="n1"), NOW)
        guard.check(of(nonce=5), NOW)
    assert len(guard) == 0


def test_a_nonce_is_taken_once() -> None:
    """The same nonce of the same sender is refused until its time is over."""
    guard = ReplayGuard(ReplayLimits(check_nonce=True, max_age=10_000))
    guard.check(of(nonce="n1-very-long-nonce"), NOW)
    guard.check(of(nonce="n1-very-long-nonce", sender="urn:asap:agent:other"), NOW)
    guard.check(of(nonce="n2"), NOW + 300)
    with pytest.raises(InvalidNonce) as refused:
        guard.check(of(nonce="n1-very-long-nonce"), NOW + 599)
    assert str(refused.value) == "Invalid nonce: 'n1-very-'… was used before"
    assert len(guard) == 3
    guard.check(of(nonce="n1-very-long-nonce"), NOW + 600)
    assert len(guard) == 2
    guard.check(of(), NOW + 10_000)


def test_an_envelope_that_is_known_may_come_again() -> None:
    """Who sends an envelope once more, with its nonce in it, gets the answer once more."""
    guard = ReplayGuard(ReplayLimits(check_nonce=True))
    guard.check(of(nonce="n1"), NOW)
    guard.check(of(nonce="n1"), NOW, repeated=True)
    with pytest.raises(InvalidTimestamp):
        guard.check(of(301, nonce="n1"), NOW, repeated=True)


@pytest.mark.parametrize("nonce", ["", 5, [], {}, True, "x" * 257])
def test_what_is_no_nonce(nonce: Any) -> None:
    """A nonce is a string that is not empty."""
    guard = ReplayGuard(ReplayLimits(check_nonce=True))
    with pytest.raises(InvalidNonce, match=r"must be a string of 1 to 256 characters"):
        guard.check(of(nonce=nonce), NOW)


def test_a_nonce_that_is_required() -> None:
    """An envelope without one is refused where one is required."""
    guard = ReplayGuard(ReplayLimits(require_nonce=True))
    with pytest.raises(InvalidNonce, match=r"Invalid nonce: extensions\.nonce is required"):
        guard.check(of(), NOW)
    guard.check(of(nonce="n1"), NOW)


def test_the_book_is_bounded() -> None:
    """Nothing is forgotten before its time: what would not fit is refused, sender by sender."""
    limits = ReplayLimits(check_nonce=True, max_sender_nonces=2, max_nonces=3)
    guard = ReplayGuard(limits)
    other = "urn:asap:agent:other"
    guard.check(of(nonce="n1"), NOW)
    guard.check(of(nonce="n2"), NOW)
    text = r"more nonces within 600 s than are remembered"
    with pytest.raises(InvalidNonce, match=text):
        guard.check(of(nonce="n3"), NOW)
    guard.check(of(nonce="n1", sender=other), NOW)
    with pytest.raises(InvalidNonce, match=text):
        guard.check(of(nonce="n2", sender=other), NOW)
    for again in ("n1", "n2"):
        with pytest.raises(InvalidNonce, match="was used before"):
            guard.check(of(nonce=again), NOW)


steps = st.tuples(
    st.sampled_from(["urn:asap:agent:a", "urn:asap:agent:b"]),
    st.sampled_from(["n1", "n2", "n3"]),
    st.floats(0, 700),
)


@given(st.lists(steps, max_size=30))
def test_no_nonce_twice_within_its_time(said: list[tuple[str, str, float]]) -> None:
    """Whatever comes when: taken is what was not taken within the last 600 s."""
    guard = ReplayGuard(ReplayLimits(check_nonce=True, max_age=1e9))
    taken: dict[tuple[str, str], float] = {}
    now = NOW
    for sender, nonce, passed in said:
        now += passed
        fresh = now - taken.get((sender, nonce), 0.0) >= 600
        try:
            guard.check(of(nonce=nonce, sender=sender), now)
        except InvalidNonce:
            assert not fresh
        else:
            assert fresh
            taken[sender, nonce] = now
    assert len(guard) <= len(taken)
