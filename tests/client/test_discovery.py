"""Finding the card of a peer, and the endpoint in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from palaver.client.discovery import base_url, choose_interface, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.a2a.card import parse_card
from palaver.protocols.a2a.commands import Generation
from tests.client.peers import Step, Visit, drop, peer

V01, V03, V10 = Generation.V01, Generation.V03, Generation.V10
OLD = {"name": "old", "url": "http://old.test/", "capabilities": {}, "skills": []}
NEWER = {"name": "newer", "url": "http://n.test/a2a", "protocolVersion": "0.3.0", "skills": []}
NEWEST = {
    "name": "newest",
    "skills": [],
    "supportedInterfaces": [
        {"url": "http://three.test", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        {"url": "http://one.test", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        {"url": "http://grpc.test", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
    ],
}


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://a.test", "http://a.test"),
        ("http://a.test/", "http://a.test"),
        ("http://a.test:80/a2a/", "http://a.test:80"),
        ("https://a.test/agents/x/a2a?y=1#z", "https://a.test/agents/x"),
        ("a.test:81", "http://a.test:81"),
        ("[::1]:81/x", "http://[::1]:81/x"),
    ],
)
def test_addresses(given: str, base: str) -> None:
    """An address may lack its scheme, or be that of an endpoint."""
    assert base_url(given) == base


@pytest.mark.parametrize("given", ["", "http://", "ftp://a", "http://[::1", "http://a:x", "a:0"])
def test_addresses_that_are_none(given: str) -> None:
    """What cannot be an address is refused with an example of one."""
    with pytest.raises(PeerUnreachable, match="is no address of an agent: write http://HOST:PORT"):
        base_url(given)


@pytest.mark.parametrize(
    ("card", "wanted", "chosen"),
    [
        (OLD, None, ("http://old.test/", V01)),
        (OLD, V01, ("http://old.test/", V01)),
        (NEWER, None, ("http://n.test/a2a", V03)),
        (NEWER, V01, ("http://n.test/a2a", V01)),
        (NEWEST, None, ("http://one.test", V10)),
        (NEWEST, V10, ("http://one.test", V10)),
        (NEWEST, V03, ("http://three.test", V03)),
    ],
)
def test_the_endpoint_of_a_card(
    card: dict[str, Any], wanted: Generation | None, chosen: tuple[str, Generation]
) -> None:
    """The newest generation is chosen, or the one that is wanted; 0.1 reads any card's url."""
    assert choose_interface(parse_card(json.dumps(card).encode()), wanted) == chosen


@pytest.mark.parametrize(
    ("card", "wanted", "text"),
    [
        (OLD, V10, "'old' does not offer A2A 1.0; it offers: 0.1"),
        (OLD, V03, "'old' does not offer A2A 0.3; it offers: 0.1"),
        (OLD | {"url": None}, None, "'old' does not offer JSON-RPC; it offers: nothing known"),
        (OLD | {"url": "a2a"}, None, "the card of 'old' names an endpoint that is no URL: 'a2a'"),
        (OLD | {"url": "file:///x"}, None, "the card of 'old' names an endpoint that is no URL: "),
        (OLD | {"url": "http://[x"}, None, "the card of 'old' names an endpoint that is no URL: "),
    ],
)
def test_cards_without_an_endpoint(
    card: dict[str, Any], wanted: Generation | None, text: str
) -> None:
    """A card that offers nothing that can be spoken is told for what it offers."""
    with pytest.raises(PeerError) as error:
        choose_interface(parse_card(json.dumps(card).encode()), wanted)
    assert str(error.value).startswith(text)


def answers(body: bytes, status: str = "200 OK") -> Step:
    """Answer with the body."""

    async def step(visit: Visit) -> None:
        await visit.answer(body, status)

    return step


@pytest.mark.parametrize(
    ("first", "then", "name"),
    [
        (answers(json.dumps(NEWEST).encode()), drop, "newest"),
        (answers(b"", "404 No"), answers(json.dumps(OLD).encode()), "old"),
        (answers(b"<html>"), answers(json.dumps(OLD).encode()), "old"),
        (answers(b"x" * 2_000_000), answers(json.dumps(OLD).encode()), "old"),
    ],
)
async def test_where_a_card_is(first: Step, then: Step, name: str) -> None:
    """The place of 1.0 and 0.3 comes first, then that of 0.1 and 0.2."""
    async with peer(first, then) as met, http_client(Patience()) as http:
        assert (await fetch_card(http, met.url)).name == name
    paths = ["/.well-known/agent-card.json", "/.well-known/agent.json"]
    assert met.methods == paths[: len(met.visits)]


async def test_where_0_1_looks() -> None:
    """Who wants 0.1 looks where 0.1 does."""
    async with peer(answers(json.dumps(OLD).encode())) as met, http_client(Patience()) as http:
        assert (await fetch_card(http, met.url, V01)).name == "old"
    assert met.methods == ["/.well-known/agent.json"]


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (answers(b"", "404 No"), "/.well-known/agent.json answered 404"),
        (answers(b"{}"), "/.well-known/agent.json: Invalid agent response: name is required"),
        (answers(b"[]"), "/.well-known/agent.json: Invalid agent response"),
        (answers(b"<html>"), "/.well-known/agent.json: Invalid agent response: the card is not"),
        (answers(b"x" * 2_000_000), "/.well-known/agent.json has more than 1048576 bytes"),
    ],
)
async def test_no_card(step: Step, text: str) -> None:
    """Where no card is found, the reason of the last place is told."""
    async with peer(step) as met, http_client(Patience()) as http:
        with pytest.raises(PeerError) as error:
            await fetch_card(http, met.url)
    assert str(error.value).startswith(f"there is no agent card at {met.url}: {text}")


async def test_nobody_there() -> None:
    """A peer that drops the question cannot be reached."""
    async with peer(drop) as met, http_client(Patience()) as http:
        with pytest.raises(PeerUnreachable, match=f"^nobody answers at {met.url}: "):
            await fetch_card(http, met.url)
