"""The cards of each generation (spec §2 and §4: cards; §0: type map) and what a client reads."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from palaver.model.profile import AgentProfile, SkillProfile
from palaver.protocols.a2a.card import (
    PeerCard,
    card_v01,
    card_v03,
    card_v10,
    encode_card,
    parse_card,
)
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import InvalidAgentResponse

V01, V03, V10 = Generation.V01, Generation.V03, Generation.V10
URL = "http://localhost:8080/a2a"

PROFILE = AgentProfile(
    id="concierge",
    name="Concierge",
    description="Answers at the front desk",
    version="1.2.0",
    skills=(
        SkillProfile(id="answer", name="Answer", description="Answers a question"),
        SkillProfile(
            id="book", name="Book", description="Books", tags=("time",), examples=("book a table",)
        ),
    ),
    documentation_url="https://example.org/docs",
)

COMMON: dict[str, Any] = {
    "name": "Concierge",
    "description": "Answers at the front desk",
    "version": "1.2.0",
    "documentationUrl": "https://example.org/docs",
    "defaultInputModes": ["text/plain", "application/json"],
    "defaultOutputModes": ["text/plain", "application/json"],
    "skills": [
        {"id": "answer", "name": "Answer", "description": "Answers a question", "tags": ["answer"]},
        {
            "id": "book",
            "name": "Book",
            "description": "Books",
            "tags": ["time"],
            "examples": ["book a table"],
        },
    ],
    "url": URL,
    "preferredTransport": "JSONRPC",
    "protocolVersion": "0.3.0",
}


@pytest.mark.parametrize("base_url", ["http://localhost:8080", "http://localhost:8080/"])
def test_the_card_of_1_0(base_url: str) -> None:
    """Section 4: one interface per version, plus the top-level fields that 0.3 clients accept."""
    assert card_v10(PROFILE, base_url) == {
        **COMMON,
        "supportedInterfaces": [
            {"url": URL, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": URL, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ],
        "capabilities": {"streaming": True, "pushNotifications": False},
    }


def test_the_cards_of_older_generations() -> None:
    """Sections 0 and 2: name, url, version, capabilities and skills stand where 0.1 looks."""
    expected = {
        **COMMON,
        "additionalInterfaces": [{"url": URL, "transport": "JSONRPC"}],
        "capabilities": {
            "streaming": True,
            "pushNotifications": False,
            "stateTransitionHistory": False,
        },
    }
    assert card_v03(PROFILE, "http://localhost:8080") == expected
    assert card_v01(PROFILE, "http://localhost:8080") == expected


def test_what_is_not_known_is_left_out() -> None:
    """Section 4: unset fields are omitted."""
    profile = AgentProfile(id="a", name="A", description="d", version="1", skills=())
    assert "documentationUrl" not in card_v10(profile, "http://x.example")


def test_a_card_has_a_strong_etag() -> None:
    """Section 4, Card caching: the same card has the same tag, another has another."""
    card = card_v10(PROFILE, "http://localhost:8080")
    body, etag = encode_card(card)
    assert orjson.loads(body) == card
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert encode_card(card) == (body, etag)
    assert encode_card(card_v03(PROFILE, "http://localhost:8080"))[1] != etag


@pytest.mark.parametrize(
    ("card", "interfaces"),
    [
        (card_v10(PROFILE, "http://localhost:8080"), ((URL, V10), (URL, V03))),
        (card_v03(PROFILE, "http://localhost:8080"), ((URL, V03),)),
        (card_v01(PROFILE, "http://localhost:8080"), ((URL, V03),)),
    ],
)
def test_a_client_reads_our_cards(
    card: dict[str, Any], interfaces: tuple[tuple[str, Generation], ...]
) -> None:
    """What is advertised is what is read."""
    expected = PeerCard(
        name="Concierge",
        description="Answers at the front desk",
        version="1.2.0",
        skills=(
            SkillProfile(
                id="answer", name="Answer", description="Answers a question", tags=("answer",)
            ),
            PROFILE.skills[1],
        ),
        interfaces=interfaces,
        streaming=True,
    )
    assert parse_card(card) == expected
    assert parse_card(encode_card(card)[0]) == expected


@pytest.mark.parametrize(
    ("fields", "interfaces"),
    [
        ({}, ()),
        ({"url": "u"}, (("u", V01),)),
        ({"url": "u", "authentication": {"schemes": ["apiKey"]}}, (("u", V01),)),
        ({"url": "u", "securitySchemes": {}}, (("u", V03),)),
        ({"url": "u", "capabilities": {"extensions": []}}, (("u", V03),)),
        ({"url": "u", "protocolVersion": "0.1.0"}, (("u", V01),)),
        ({"url": "u", "protocolVersion": "0.2.6"}, (("u", V03),)),
        ({"url": "u", "protocolVersion": "1.0"}, (("u", V10),)),
        ({"url": "u", "protocolVersion": "?"}, (("u", V03),)),
        (
            {
                "url": "g",
                "protocolVersion": "0.3.0",
                "preferredTransport": "GRPC",
                "additionalInterfaces": [
                    {"url": "g", "transport": "GRPC"},
                    {"url": "j", "transport": "JSONRPC"},
                ],
            },
            (("j", V03),),
        ),
        (
            {
                "supportedInterfaces": [
                    {"url": "g", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
                    {"url": "j", "protocolBinding": "JSONRPC", "protocolVersion": "1.1"},
                    {"url": "j", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
                    {"url": "k", "protocolBinding": "JSONRPC", "protocolVersion": "2.0"},
                    {"url": "l", "protocolBinding": "JSONRPC"},
                    {"url": "m", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
                ]
            },
            (("j", V10), ("m", V03)),
        ),
    ],
)
def test_where_a_peer_is_found(
    fields: dict[str, Any], interfaces: tuple[tuple[str, Generation], ...]
) -> None:
    """Section 0, card endpoint: each generation's way of saying where, JSON-RPC only."""
    assert parse_card({"name": "A", **fields}).interfaces == interfaces


def test_a_sparse_card() -> None:
    """Section 2: nearly everything is optional somewhere."""
    card = parse_card({"name": "A", "skills": [{"id": "s", "tags": None, "examples": None}]})
    skill = SkillProfile(id="s", name="s", description="")
    assert card == PeerCard(
        name="A", description="", version="", skills=(skill,), interfaces=(), streaming=False
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<html>", "the card is not JSON: "),
        (b"[]", "must be an object"),
        ({}, "name is required"),
        ({"name": "x" * 1025}, "name must have at most 1024 characters"),
        ({"name": "A", "skills": [{}]}, r"skills\[0\].id is required"),
        ({"name": "A", "skills": [{"id": "s"}] * 1001}, "skills must hold at most 1000 skills"),
    ],
)
def test_what_is_no_card(data: Any, text: str) -> None:
    """A client tells what it found instead of a card; bounded like all that a peer sends."""
    with pytest.raises(InvalidAgentResponse, match=text):
        parse_card(data)
