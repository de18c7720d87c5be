"""The composition root: what it refuses, and how its life goes."""

from __future__ import annotations

import pytest

from palaver import Agent
from palaver.app import create_app
from palaver.config import Settings
from palaver.errors import ConfigError, StoreUnavailable
from palaver.storage.memory import MemoryStorage
from palaver.storage.open import open_storage
from tests.server.agents import agent, other
from tests.server.asgi import ask, serving
from tests.server.raw import call


def test_no_agent() -> None:
    """A server needs an agent."""
    with pytest.raises(ConfigError, match=r"^there is no agent to serve$"):
        create_app([], Settings(store="memory:"))


def test_two_agents_of_one_id() -> None:
    """Agents are told apart by their ids."""
    twin = Agent("Desk")
    with pytest.raises(ConfigError) as error:
        create_app([agent, other, twin], Settings(store="memory:"))
    assert str(error.value) == "two agents have the id 'desk': give one of them another (id=…)"


def test_a_store_that_is_none() -> None:
    """The store's URL is looked at before anything begins."""
    with pytest.raises(ConfigError, match="is not understood"):
        create_app([agent], Settings(store="nope:x"))


async def test_the_store_that_it_is_given() -> None:
    """A store that is handed in is used instead of the one in the settings."""
    storage = MemoryStorage()
    async with serving(agent, storage=storage) as app:
        assert app.storage is storage


async def test_a_drain_is_done_once() -> None:
    """A second drain does nothing, and the end of the lifespan needs none."""
    async with serving(agent) as app:
        await app.drain()
        await app.drain()
        assert (await ask(app, path="/healthz", method="GET").answered()).status == 200
    with pytest.raises(StoreUnavailable):
        await app.storage.ping()


async def test_what_breaks_in_a_route() -> None:
    """What breaks outside of a protocol is 500 in JSON, without the reason."""
    async with serving(agent) as app:
        card = agent.profile
        exchange = ask(app, path="/.well-known/agent-card.json", method="GET")
        exchange.scope["headers"] = None
        with pytest.raises(TypeError):
            await exchange.answered()
    assert exchange.status == 500
    assert exchange.json == {"error": "internal error"}
    assert card.name == "desk"


async def test_other_methods_and_paths() -> None:
    """What is not there is 404, what is not taken 405, in JSON."""
    async with serving(agent) as app:
        missing = await ask(app, path="/nothing").answered()
        assert (missing.status, missing.json) == (404, {"error": "there is nothing at /nothing"})
        posted = await ask(app, path="/healthz").answered()
        assert (posted.status, posted.json) == (405, {"error": "POST is not taken here"})


async def test_one_store_for_two_servers() -> None:
    """Two applications over one store see the same tasks."""
    storage = open_storage("memory:")
    async with serving(agent, storage=storage) as first:
        said = {"message": {"messageId": "m", "role": "user", "parts": [PART]}}
        made = (await ask(first, call("message/send", said)).answered()).json["result"]
    async with serving(agent, storage=storage) as second:
        got = (await ask(second, call("tasks/get", {"id": made["id"]})).answered()).json
    assert got["result"] == made


PART = {"kind": "text", "text": "hi"}
