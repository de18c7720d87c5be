"""The agent whose work outlives its servers: it notes each time that it begins, and leaves effects.

The effect of a task is a file that is named after it: a second attempt finds what the first one
did. That is what a skill has to do that may run again, so that it is done once in effect.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from palaver.engine.agent import Agent
from palaver.engine.turn import Turn

EXECUTIONS, EFFECTS = "executions.txt", "effects"

agent = Agent("worker", description="Does each thing once, whatever happens to its servers")


def _note(folder: str, line: str) -> None:
    with Path(folder, EXECUTIONS).open("a", encoding="ascii") as executions:
        executions.write(line)


def _have_effect(folder: str, name: str) -> None:
    with suppress(FileExistsError):
        Path(folder, EFFECTS, name).touch(exist_ok=False)  # all of it, or nothing


async def _work(turn: Turn) -> str:
    number, pause_ms, folder = turn.text.split(maxsplit=2)
    pause = int(pause_ms) / 2_000
    _note(folder, f"{number} {turn.task_id} {turn.attempt}\n")
    await asyncio.sleep(pause)
    _have_effect(folder, f"{number}-{turn.task_id}")
    await asyncio.sleep(pause)  # time for a server to die between the effect and the answer
    return f"{number} by {turn.task_id}"


@agent.skill("work", default=True, restartable=True)
async def work(turn: Turn) -> str:
    """Do what is asked for; once more where a worker was lost."""
    return await _work(turn)


@agent.skill("once")
async def once(turn: Turn) -> str:
    """Do it, but never again where a worker was lost."""
    return await _work(turn)
