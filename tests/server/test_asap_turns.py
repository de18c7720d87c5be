"""A call that waits for a few turns of the event loop."""

from __future__ import annotations

import asyncio

import pytest

from palaver.server.asap_turns import AfterTurns


@pytest.mark.parametrize(
    ("asked", "turns"),
    [([0], 1), ([3], 4), ([3, 0], 1), ([0, 3], 1), ([3, 1, 2], 2)],
)
async def test_the_soonest_counts(asked: list[int], turns: int) -> None:
    """However often it is asked for, it is called once, when the soonest is due."""
    calls: list[None] = []
    later = AfterTurns(lambda: calls.append(None))
    for one in asked:
        later.ask(one)
    seen = []
    for _ in range(8):
        await asyncio.sleep(0)
        seen.append(len(calls))
    assert seen == [0] * (turns - 1) + [1] * (9 - turns)


async def test_it_is_called_again() -> None:
    """Once it was called, it can be asked for again."""
    calls: list[None] = []
    later = AfterTurns(lambda: calls.append(None))
    for expected in (1, 2):
        later.ask(0)
        await asyncio.sleep(0)
        assert len(calls) == expected
