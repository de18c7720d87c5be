"""An engine over each store, with agents whose steps the tests hold in their hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from palaver.engine.agent import Agent
from palaver.engine.engine import Engine, Submission
from palaver.engine.limits import Limits
from palaver.model.content import Message, Part, TextPart
from palaver.storage.interfaces import Storage
from palaver.storage.open import open_storage


class StartEngine(Protocol):
    """Starts an engine over the test's store."""

    async def __call__(self, *agents: Agent, **options: Any) -> Engine:
        """Start it."""
        ...


async def all_ended(engine: Engine) -> None:
    """Return once nothing runs in the engine any more."""
    runs = [run.done for run in engine._runs.values()]
    await asyncio.gather(*runs, return_exceptions=True)
    await asyncio.sleep(0)
    assert engine.open_tasks == 0


@pytest.fixture(params=["memory:", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Each store that this version has, open."""
    url = request.param if request.param == "memory:" else str(tmp_path / "tasks.db")
    opened = open_storage(url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def start(storage: Storage) -> AsyncIterator[StartEngine]:
    """Start engines; they stop with the test."""
    async with AsyncExitStack() as stack:

        async def start_engine(*agents: Agent, **options: Any) -> Engine:
            engine = Engine(storage, agents, **{"limits": Limits(lease_ttl=0.6), **options})
            await engine.start()
            stack.push_async_callback(engine.stop)
            return engine

        yield start_engine


@pytest.fixture
def say() -> Callable[..., Submission]:
    """Make submissions; each has a message id of its own unless one is given."""
    count = 0

    def submission(
        agent: Agent,
        text: str,
        *parts: Part,
        message_id: str = "",
        **more: Any,
    ) -> Submission:
        nonlocal count
        count += 1
        message = Message(id=message_id or f"m{count}", role="user", parts=(TextPart(text), *parts))
        return Submission(agent_id=agent.id, message=message, wire="test", **more)

    return submission
