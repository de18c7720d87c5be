"""The agent that these tests serve; the gates of ``hold`` are in their hands."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from palaver import Agent, Output, Progress, Rejected, Turn

agent = Agent("desk", description="Says, holds, asks and breaks", version="2.0.0")
other = Agent("other", description="Another one", version="1.0.0")
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@agent.skill("say", description="Says the words again", tags=("text",), default=True)
async def say(turn: Turn) -> AsyncIterator[Output]:
    """Stream the words back, then the other parts."""
    for index, word in enumerate(turn.text.split()):
        yield f" {word}" if index else word
    for part in turn.parts:
        if part.kind != "text":
            yield part


@agent.skill("hold")
async def hold(turn: Turn) -> AsyncIterator[Output]:
    """Begin, and go on when the gate of that name opens."""
    yield "held"
    await gates[turn.text].wait()
    yield Progress(percent=50.0)
    yield " on"


@agent.skill("open")
async def release(turn: Turn) -> str:
    """Open a gate."""
    gates[turn.text].set()
    return "open"


@agent.skill("ask")
async def ask(turn: Turn) -> str:
    """Ask, then say what was answered."""
    return f"You said {await turn.ask('Which day?')}."


@agent.skill("fail")
async def fail(_turn: Turn) -> str:
    """Fail with what nobody outside should read."""
    message = "the secret reason"
    raise RuntimeError(message)


@agent.skill("reject")
async def reject(_turn: Turn) -> str:
    """Reject what is asked."""
    message = "not today"
    raise Rejected(message)


@other.skill("name", default=True)
async def name(_turn: Turn) -> str:
    """Say who it is."""
    return "other"
