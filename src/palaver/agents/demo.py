"""The demo agent: shows every flow, needs no network.

``echo`` streams words back, ``clock`` tells the time, ``count N`` is a long task with progress,
``book`` asks for input, ``fail`` fails, ``transfer`` and ``bye`` act on a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from palaver.engine.agent import Agent
from palaver.engine.outputs import Output, Progress, Rejected
from palaver.engine.turn import Turn

__all__ = ["agent"]

_WORD_INTERVAL: Final = 0.02
"""Seconds between two words, so that a stream is seen to stream."""
_COUNT_INTERVAL: Final = 0.05
_MAX_COUNT: Final = 10_000

agent = Agent(
    "demo",
    description="Echoes, counts, tells the time and books: every flow of a task, offline",
    version="1.0.0",
)


@agent.skill(
    "echo",
    description="Streams the words back, one by one",
    tags=("text",),
    examples=("echo one two three",),
    default=True,
)
async def echo(turn: Turn) -> AsyncIterator[Output]:
    """Stream the words of the text back, with the spaces between them."""
    for index, word in enumerate(turn.text.split()):
        if index:
            await asyncio.sleep(_WORD_INTERVAL)
        yield f" {word}" if index else word
    for part in turn.parts:
        if part.kind != "text":
            yield part


@agent.skill("clock", description="Tells the time, in UTC", examples=("clock",))
def clock(_turn: Turn) -> str:
    """Tell the time: a plain function is enough."""
    return f"It is {datetime.now(UTC):%H:%M:%S} UTC."


@agent.skill(
    "count",
    description="Counts to N (at most 10000), with progress; goes on where a lost worker stopped",
    tags=("long",),
    examples=("count 30",),
    restartable=True,
)
async def count(turn: Turn) -> AsyncIterator[Output]:
    """Count to the number in the text, or to ``n`` of a data part."""
    last = _wanted(turn)
    done = len(turn.carry_on().split())
    for number in range(done + 1, last + 1):
        yield f"{number} " if number < last else str(number)
        yield Progress(percent=100.0 * number / last)
        await asyncio.sleep(_COUNT_INTERVAL)


def _wanted(turn: Turn) -> int:
    given = turn.text.strip() or "10"
    for part in turn.parts:
        if part.kind == "data" and isinstance(part.data, dict):
            given = str(part.data.get("n", given))
    if not given.isdecimal() or not 1 <= int(given) <= _MAX_COUNT:
        message = f"count needs a number from 1 to {_MAX_COUNT}, not {given[:40]!r}"
        raise Rejected(message)
    return int(given)


@agent.skill("book", description="Books a table: asks for what it needs", examples=("book",))
async def book(turn: Turn) -> str:
    """Ask twice, then book."""
    day = await turn.ask("For which day?")
    people = await turn.ask("For how many people?")
    return f"Booked: {day.strip()}, {people.strip()} people."


@agent.skill("fail", description="Fails, to show what that looks like")
async def fail(_turn: Turn) -> str:
    """Fail: the caller reads a safe text, the log has the reason."""
    message = "asked to fail"
    raise RuntimeError(message)


@agent.skill("transfer", description="Hands the call to somebody", examples=("transfer 100",))
async def transfer(turn: Turn) -> str:
    """Transfer the call to the target in the text."""
    target = turn.text.strip() or "reception"
    turn.transfer(target)
    return f"I am putting you through to {target}."


@agent.skill("bye", description="Says goodbye and hangs up")
async def bye(turn: Turn) -> str:
    """Hang up."""
    turn.hang_up()
    return "Goodbye."
