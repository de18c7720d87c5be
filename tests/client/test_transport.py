"""How long a client waits before it tries again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palaver.client.transport import Patience, http_client

SECONDS = st.floats(0.001, 100)
PATIENCE = st.builds(Patience, first_delay=SECONDS, max_delay=SECONDS)
CHANCE = st.floats(0, 1)
ATTEMPTS = st.integers(1, 10_000)
HINTS = st.none() | st.floats(0, 1e9)


@given(patience=PATIENCE, attempt=ATTEMPTS, hint=HINTS, chance=CHANCE)
def test_a_delay_has_bounds(
    patience: Patience, attempt: int, hint: float | None, chance: float
) -> None:
    """No delay is negative, or longer than the longest, whatever the server asks for."""
    assert 0 <= patience.delay(attempt, hint, lambda: chance) <= patience.max_delay


@given(patience=PATIENCE, attempt=ATTEMPTS, hint=HINTS)
def test_delays_grow(patience: Patience, attempt: int, hint: float | None) -> None:
    """The next try never waits for a shorter time than this one, chance left aside."""
    now, later = (patience.delay(attempt + more, hint, lambda: 1.0) for more in (0, 1))
    assert now <= later


@given(patience=PATIENCE, attempt=ATTEMPTS, chance=CHANCE)
def test_half_of_a_delay_is_chance(patience: Patience, attempt: int, chance: float) -> None:
    """Between half and the whole is left to chance, so that clients do not come back as one."""
    longest = patience.delay(attempt, None, lambda: 1.0)
    assert longest / 2 <= patience.delay(attempt, None, lambda: chance) <= longest
    assert patience.delay(attempt, None, lambda: 0.0) == longest / 2


@given(patience=PATIENCE, hint=st.floats(0, 1e9))
def test_a_hint_is_the_first_delay(patience: Patience, hint: float) -> None:
    """What the server asks for takes the place of the first delay."""
    assert patience.delay(1, hint, lambda: 1.0) == min(hint, patience.max_delay)


async def test_the_http_client_keeps_to_its_patience() -> None:
    """It waits as long as it was told, follows no redirects and reads no proxy."""
    async with http_client(Patience(connect_timeout=1.0, silence_timeout=2.0)) as http:
        assert (http.timeout.connect, http.timeout.read, http.timeout.pool) == (1.0, 2.0, 2.0)
        assert not http.follow_redirects
        assert not http.trust_env
