"""Palaver agents for the benchmarks; they say what the peers' agents say.

Served as `palaver serve bench_agents:streaming` and so on.
"""

import asyncio
from collections.abc import AsyncIterator

from workload import ANSWER_TEXT, CHUNK_TEXTS

from palaver import Agent, Turn

streaming = Agent("streaming", description="Streams short texts", version="1.0.0")
yielding = Agent("yielding", description="Streams, giving way each time", version="1.0.0")
answering = Agent("answering", description="Answers shortly", version="1.0.0")
waiting = Agent("waiting", description="Says one text and waits", version="1.0.0")


@streaming.skill("answer", description="Streams short texts")
async def stream_texts(_: Turn) -> AsyncIterator[str]:
    """Yield the texts as fast as they are taken."""
    for text in CHUNK_TEXTS:
        yield text


@yielding.skill("answer", description="Streams short texts, giving way after each")
async def stream_texts_giving_way(_: Turn) -> AsyncIterator[str]:
    """Yield the texts with a turn of the event loop between them, as a model's stream would."""
    for text in CHUNK_TEXTS:
        yield text
        await asyncio.sleep(0)


@answering.skill("answer", description="Answers shortly")
async def answer(_: Turn) -> AsyncIterator[str]:
    """Yield one short text."""
    yield ANSWER_TEXT


@waiting.skill("answer", description="Says one text and waits")
async def say_and_wait(_: Turn) -> AsyncIterator[str]:
    """Yield one text and wait until cancelled."""
    yield CHUNK_TEXTS[0]
    await asyncio.Event().wait()
