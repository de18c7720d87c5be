"""Cards and the endpoints of those who operate the server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from palaver.app import App
from tests.server.agents import agent, other
from tests.server.asgi import Exchange, ask, serving

CARD = "/.well-known/agent-card.json"
OLD_CARD = "/.well-known/agent.json"


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Serve two agents."""
    async with serving(agent, other) as app:
        yield app


async def read(app: App, path: str, **headers: str) -> Exchange:
    """GET the path."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(app, path=path, headers=named, method="GET").answered()


async def test_the_card_of_1_0(app: App) -> None:
    """Section 4: the fields of 1.0, and those by which 0.3 finds its way, in one card."""
    card = (await read(app, CARD)).json
    assert card["name"] == "desk"
    assert card["version"] == "2.0.0"
    assert card["capabilities"] == {"streaming": True, "pushNotifications": False}
    url = "http://palaver.test/a2a"
    assert card["supportedInterfaces"] == [
        {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
    ]
    assert (card["url"], card["preferredTransport"]) == (url, "JSONRPC")
    assert card["protocolVersion"] == "0.3.0"
    assert card["skills"][0] == {
        "id": "say",
        "name": "say",
        "description": "Says the words again",
        "tags": ["text"],
    }


async def test_the_older_cards(app: App) -> None:
    """Section 4: at agent.json, and for who asks for 0.3, the card is that of 0.3."""
    asked = (await read(app, CARD, A2A_Version="0.3")).json
    assert asked == (await read(app, OLD_CARD)).json
    assert "supportedInterfaces" not in asked
    assert asked["additionalInterfaces"] == [
        {"url": "http://palaver.test/a2a", "transport": "JSONRPC"}
    ]
    assert asked["capabilities"]["stateTransitionHistory"] is False


@pytest.mark.parametrize("path", [CARD, OLD_CARD])
async def test_cards_are_cached(app: App, path: str) -> None:
    """Section 4, Card caching: an ETag, an age, and 304 for who has the card."""
    first = await read(app, path)
    assert first.headers["cache-control"] == "public, max-age=300"
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await read(app, path, If_None_Match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == etag
    assert (await read(app, path, If_None_Match='"other"')).status == 200
    elsewhere = await read(app, path, If_None_Match=etag, Host="elsewhere.test")
    assert elsewhere.status == 200


async def test_each_agent_has_its_card(app: App) -> None:
    """Below ``/agents/{id}`` the card is that agent's, with its own endpoint."""
    card = (await read(app, f"/agents/other{CARD}")).json
    assert (card["name"], card["url"]) == ("other", "http://palaver.test/agents/other/a2a")
    missing = await read(app, f"/agents/nobody{CARD}")
    assert missing.status == 404
    assert missing.json == {"error": "no agent 'nobody' is served here"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("a.test:81", "http://a.test:81/a2a"),
        ("[::1]:81", "http://[::1]:81/a2a"),
        ("a b", "http://127.0.0.1:8080/a2a"),
        ("<script>", "http://127.0.0.1:8080/a2a"),
        ("", "http://127.0.0.1:8080/a2a"),
    ],
)
async def test_the_host_of_a_card(app: App, host: str, url: str) -> None:
    """A card names the host that the client asked for, where that is one."""
    assert (await read(app, CARD, Host=host)).json["url"] == url


async def test_the_public_url() -> None:
    """With ``public_url`` cards name that, whatever the client asked for."""
    async with serving(agent, public_url="https://desk.example.test/palaver/") as app:
        card = (await read(app, f"/agents/desk{CARD}")).json
        assert card["url"] == "https://desk.example.test/palaver/agents/desk/a2a"


async def test_liveness_and_readiness(app: App) -> None:
    """A server that answers is alive; one whose store answers is ready."""
    assert (await read(app, "/healthz")).json == {"status": "ok"}
    assert (await read(app, "/readyz")).json == {"status": "ready"}
