"""The time that a handler has: it runs, stands still, and is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from palaver.engine.deadline import Deadline

_SOON = 0.01
_NEVER = 60.0


async def _run(work: Callable[[Deadline], Awaitable[None]], seconds: float) -> asyncio.Task[None]:
    """Do some work under a deadline, in a task of its own; return the task once it is done."""

    async def under_a_deadline() -> None:
        task = asyncio.current_task()
        assert task is not None
        with Deadline(task, seconds) as deadline:
            await work(deadline)

    task = asyncio.create_task(under_a_deadline())
    await asyncio.wait({task}, timeout=_NEVER)
    return task


async def _for_ever(_deadline: Deadline) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("seconds", [0.0, _SOON])
async def test_time_runs_out(seconds: float) -> None:
    """What takes too long ends in a timeout, and the task is not a cancelled one."""
    task = await _run(_for_ever, seconds)
    assert isinstance(task.exception(), TimeoutError)
    assert task.cancelling() == 0


async def test_work_that_is_done_in_time() -> None:
    """What is done in time ends as it ends."""

    async def at_once(deadline: Deadline) -> None:
        assert not deadline.expired

    assert (await _run(at_once, _NEVER)).exception() is None


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    """Only its own cancellation becomes a timeout."""

    async def cancelled(deadline: Deadline) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await _for_ever(deadline)

    assert (await _run(cancelled, _NEVER)).cancelled()


async def test_both_at_once_are_a_cancellation() -> None:
    """Who is cancelled while the time runs out, is cancelled."""

    async def both(deadline: Deadline) -> None:
        try:
            await _for_ever(deadline)
        finally:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    assert (await _run(both, _SOON)).cancelled()


async def test_the_clock_stands_still() -> None:
    """Time that passes while the clock is stopped does not count; then it goes on."""
    seen: list[bool] = []

    async def paused(deadline: Deadline) -> None:
        deadline.pause()
        late = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(3 * _SOON, late.set_result, None)
        await late
        seen.append(deadline.expired)
        deadline.go_on()
        await _for_ever(deadline)

    assert isinstance((await _run(paused, _SOON)).exception(), TimeoutError)
    assert seen == [False]


async def test_a_clock_that_ran_out_cannot_be_stopped() -> None:
    """Work that does not end with its time cannot have more of it."""

    async def stubborn(deadline: Deadline) -> None:
        try:
            await _for_ever(deadline)
        except asyncio.CancelledError:
            assert deadline.expired
            deadline.pause()

    task = await _run(stubborn, _SOON)
    assert isinstance(task.exception(), RuntimeError)
