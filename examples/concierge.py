"""An agent at the front desk: it streams, reports progress, asks back, and declines.

palaver serve concierge:agent
"""

import asyncio

from palaver import Agent, Progress, Rejected, Turn

agent = Agent("concierge", description="Answers at the front desk", version="1.0.0")

ANSWERS = {
    "breakfast": "Breakfast is served from 7 to 10.",
    "pool": "The pool is on the roof.",
}


@agent.skill("ask", description="Answers questions about the house", default=True)
async def ask(turn: Turn):
    for topic, answer in ANSWERS.items():
        if topic in turn.text.lower():
            for word in answer.split(" "):
                yield word if word == answer.split(" ")[0] else f" {word}"
                await asyncio.sleep(0.01)  # as a model would: word by word
            return
    yield f"I know about {' and '.join(ANSWERS)}."


@agent.skill("book", description="Books a table for N guests: book N")
async def book(turn: Turn):
    if not turn.text.strip().isdecimal():
        raise Rejected("Say for how many: book 2")
    day = await turn.ask("For which day?")
    return f"Booked for {day.strip()}, {turn.text.strip()} guests."


@agent.skill("tour", description="Walks through the house, floor by floor", restartable=True)
async def tour(turn: Turn):
    seen = turn.carry_on().count("Floor")  # floors that an earlier attempt has shown
    for floor in range(seen + 1, 6):
        yield f"Floor {floor} "
        yield Progress(percent=20.0 * floor)
        await asyncio.sleep(0.02)
