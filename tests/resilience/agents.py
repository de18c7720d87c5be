"""The agent that the servers of these tests serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from palaver.engine.agent import Agent
from palaver.engine.outputs import Output, Progress
from palaver.engine.turn import Turn

PACE = 0.002

agent = Agent("tried", description="Counts, waits, floods and asks, under stress")


@agent.skill("echo", default=True)
async def echo(turn: Turn) -> str:
    """Say the same."""
    return turn.text


async def _numbers(turn: Turn) -> AsyncIterator[Output]:
    last, *hold = (int(word) for word in turn.text.split())
    for number in range(len(turn.carry_on().split()) + 1, last + 1):
        yield f"{number} " if number < last else str(number)
        yield Progress(percent=100.0 * number / last)
        if turn.attempt == 1 and number in hold:
            await asyncio.Event().wait()
        await asyncio.sleep(PACE)


@agent.skill("count", restartable=True)
async def count(turn: Turn) -> AsyncIterator[Output]:
    """Count to the first number; the first attempt gets no further than the second."""
    async for item in _numbers(turn):
        yield item


@agent.skill("once")
async def once(turn: Turn) -> AsyncIterator[Output]:
    """Count, but never again where a worker was lost."""
    async for item in _numbers(turn):
        yield item


async def _wait(turn: Turn) -> AsyncIterator[Output]:
    if not turn.carry_on():
        yield "begun "
    gate, writer = await asyncio.open_connection("127.0.0.1", int(turn.text))
    try:
        await gate.read()
    finally:
        writer.close()
    yield "done"


@agent.skill("wait", restartable=True)
async def wait(turn: Turn) -> AsyncIterator[Output]:
    """Wait until the gate at that port opens."""
    async for item in _wait(turn):
        yield item


@agent.skill("wait-once")
async def wait_once(turn: Turn) -> AsyncIterator[Output]:
    """Wait, but never again where a worker was lost."""
    async for item in _wait(turn):
        yield item


@agent.skill("flood")
async def flood(turn: Turn) -> AsyncIterator[Output]:
    """Put out so many chunks of so many letters, as fast as they are taken."""
    chunks, size = (int(word) for word in turn.text.split())
    for number in range(chunks):
        yield f"{number:08d}".ljust(size, ".")


@agent.skill("ask")
async def ask(turn: Turn) -> str:
    """Wait at the gate, if one is named, then ask."""
    if turn.text:
        gate, writer = await asyncio.open_connection("127.0.0.1", int(turn.text))
        await gate.read()
        writer.close()
    return f"You said {await turn.ask('What do you say?')}."


@agent.skill("cling")
async def cling(turn: Turn) -> str:
    """Wait, whatever anybody wants."""
    gate, _ = await asyncio.open_connection("127.0.0.1", int(turn.text))
    while True:
        with suppress(asyncio.CancelledError):
            await gate.readexactly(1)
