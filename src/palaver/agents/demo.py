"""The demo agent: shows every flow, needs no network, speaks English and Brazilian Portuguese.

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
agent.expect(
    "en",
    "{today|tomorrow}",
    "{monday|tuesday|wednesday|thursday|friday|saturday|sunday}",
    "{two|three|four|five|six} people",
)
agent.expect(
    "pt-BR",
    "{hoje|amanhã}",
    "{segunda-feira|terça-feira|quarta-feira|quinta-feira|sexta-feira|sábado|domingo}",
    "{duas|três|quatro|cinco|seis} pessoas",
)


@agent.skill(
    "echo",
    description="Streams the words back, one by one",
    tags=("text",),
    examples=("echo one two three",),
    default=True,
    phrases={
        "en": ("{hello|good morning|good afternoon|good evening|thank you}",),
        "pt-BR": ("{olá|bom dia|boa tarde|boa noite|muito obrigado}",),
    },
)
async def echo(turn: Turn) -> AsyncIterator[Output]:
    """Stream the words of the text back, with the spaces between them; then the other parts.

    Data that is the whole input of a request comes back as what was ``echoed``.
    """
    for index, word in enumerate(turn.text.split()):
        if index:
            await asyncio.sleep(_WORD_INTERVAL)
        yield f" {word}" if index else word
    for part in turn.parts:
        if part.kind == "data" and (part.metadata or {}).get("input") is True:
            yield {"echoed": part.data}
        elif part.kind != "text":
            yield part


@agent.skill(
    "clock",
    description="Tells the time, in UTC",
    examples=("clock",),
    phrases={
        "en": ("what time is it", "tell me the time"),
        "pt-BR": ("que horas são", "me diga as horas"),
    },
)
def clock(turn: Turn) -> str:
    """Tell the time: a plain function is enough. Who asks in words hears no seconds."""
    now = datetime.now(UTC)
    if _is_portuguese(turn):
        return f"{_hours(now.hour)} e {_minutes(now.minute)}, UTC."
    return f"It is {now:%H:%M} UTC." if turn.language else f"It is {now:%H:%M:%S} UTC."


def _hours(hour: int) -> str:
    return f"É {hour} hora" if hour == 1 else f"São {hour} horas"


def _minutes(minute: int) -> str:
    return f"{minute} minuto" if minute == 1 else f"{minute} minutos"


@agent.skill(
    "count",
    description="Counts to N (at most 10000), with progress; goes on where a lost worker stopped",
    tags=("long",),
    examples=("count 30",),
    restartable=True,
    phrases={"en": ("count to {5|10|20|30}",), "pt-BR": ("conte até {5|10|20|30}",)},
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


@agent.skill(
    "book",
    description="Books a table: asks for what it needs",
    examples=("book",),
    phrases={"en": ("book a table",), "pt-BR": ("reserve uma mesa",)},
)
async def book(turn: Turn) -> str:
    """Ask twice, then book."""
    if _is_portuguese(turn):
        day = await turn.ask("Para que dia?")
        people = await turn.ask("Para quantas pessoas?")
        return f"Reservado: {day.strip()}, {_party(people, 'pessoas')}."
    day = await turn.ask("For which day?")
    people = await turn.ask("For how many people?")
    return f"Booked: {day.strip()}, {_party(people, 'people')}."


def _party(answer: str, people: str) -> str:
    """Return "4 people" for "4", and for "four people" what was said."""
    said = answer.strip().rstrip(".!")
    return said if said.casefold().endswith(people) else f"{said} {people}"


@agent.skill("fail", description="Fails, to show what that looks like")
async def fail(_turn: Turn) -> str:
    """Fail: the caller reads a safe text, the log has the reason."""
    message = "asked to fail"
    raise RuntimeError(message)


@agent.skill(
    "transfer",
    description="Hands the call to somebody",
    examples=("transfer 100",),
    phrases={
        "en": ("transfer me to {reception|sales}",),
        "pt-BR": ("me transfira para {recepção|vendas}",),
    },
)
async def transfer(turn: Turn) -> str:
    """Transfer the call to the target in the text."""
    if _is_portuguese(turn):
        target = turn.text.strip() or "recepção"
        turn.transfer(target)
        return f"Estou transferindo a ligação para {target}."
    target = turn.text.strip() or "reception"
    turn.transfer(target)
    return f"I am putting you through to {target}."


@agent.skill(
    "bye",
    description="Says goodbye and hangs up",
    phrases={"en": ("goodbye",), "pt-BR": ("tchau",)},
)
async def bye(turn: Turn) -> str:
    """Hang up."""
    turn.hang_up()
    return "Tchau." if _is_portuguese(turn) else "Goodbye."


@agent.skill(
    "help",
    description="Says what it can do",
    phrases={"en": ("what can you do",), "pt-BR": ("o que você sabe fazer", "ajuda")},
)
async def show_help(turn: Turn) -> str:
    """Say what to ask for."""
    if _is_portuguese(turn):
        return "Diga: que horas são, conte até dez, reserve uma mesa, ou tchau."
    return "Say: what time is it, count to ten, book a table, or goodbye."


def _is_portuguese(turn: Turn) -> bool:
    return (turn.language or "").lower().startswith("pt")
