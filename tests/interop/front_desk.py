"""The agent that the foreign clients talk to; the tests hold its steps in their hands."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from palaver import Agent, Progress, Rejected, Turn
from palaver.engine.outputs import Output

agent = Agent(
    "Recepção",
    id="uuid-do-agente",
    description="Atende na recepção",
    version="1.2.3",
)
slow = Agent("Recepção sem pressa", id="uuid-do-agente", description="Pensa antes de responder")
_gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@agent.skill("say", description="Says the words again", default=True)
async def say(turn: Turn) -> AsyncIterator[Output]:
    """Stream the words back, one a chunk, with the spaces between them."""
    for index, word in enumerate(turn.text.split()):
        yield f" {word}" if index else word


@agent.skill("hold", description="Begins, and goes on once it is released")
async def hold(turn: Turn) -> AsyncIterator[Output]:
    """Begin; go on when somebody says ``release`` with the same word."""
    yield "held"
    await _gates[turn.text].wait()
    yield Progress(percent=50.0)
    yield " and released"


@agent.skill("release", description="Lets what is held go on")
async def release(turn: Turn) -> str:
    """Let those go on that hold that word."""
    _gates[turn.text].set()
    return f"released {turn.text}"


slow.skill("release", description="Lets the next answer go on")(release)


@slow.skill("say", description="Says a word, and the others once it is released", default=True)
async def say_slowly(turn: Turn) -> AsyncIterator[Output]:
    """Say the first word; say the others when somebody has said ``release``."""
    first, *others = turn.text.split()
    yield first
    await _gates[""].wait()
    _gates[""].clear()
    for word in others:
        yield f" {word}"


@agent.skill("book", description="Asks twice, then books")
async def book(turn: Turn) -> str:
    """Ask twice, then book."""
    day = await turn.ask("Que dia?")
    people = await turn.ask("Quantas pessoas?")
    return f"Reservado: {day}, {people} pessoas"


@agent.skill("show", description="Gives back what it was given")
async def show(turn: Turn) -> AsyncIterator[Output]:
    """Put out each part of the message as it came, but for the text."""
    for part in turn.parts:
        if part.kind != "text":
            yield part


@agent.skill("fail", description="Fails")
async def fail(_turn: Turn) -> str:
    """Fail with what nobody outside should read."""
    message = "the secret reason"
    raise RuntimeError(message)


@agent.skill("refuse", description="Refuses")
async def refuse(_turn: Turn) -> str:
    """Refuse, and say why."""
    message = "A recepção está fechada"
    raise Rejected(message)
