"""Manifests: what ours says, and what is read in those of others (spec §5)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import pytest

from palaver.model.profile import AgentProfile, SkillProfile
from palaver.protocols.asap.errors import MalformedEnvelope
from palaver.protocols.asap.manifest import (
    Manifest,
    ManifestAuth,
    OAuth2,
    agent_id_of,
    agent_urn,
    encode_manifest,
    manifest_of,
    parse_manifest,
)

PROFILE = AgentProfile(
    id="front-desk",
    name="Front desk",
    description="Answers",
    version="1.2.0",
    skills=(
        SkillProfile(id="echo", name="echo", description="Repeats"),
        SkillProfile(id="bare", name="bare", description=""),
    ),
)
LEAST: dict[str, Any] = {
    "id": "urn:asap:agent:peer",
    "name": "Peer",
    "version": "1.0.0",
    "description": "A peer",
    "capabilities": {"asap_version": "0.1", "skills": []},
    "endpoints": {"asap": "https://peer.example/asap"},
}


def test_what_ours_says() -> None:
    """It has the members of ASAP 1.1, all of them, and no others."""
    auth = ManifestAuth(
        schemes=("bearer",),
        oauth2=OAuth2(token_url="https://id.example/token", scopes=("asap:read",)),
    )
    body, _ = encode_manifest(manifest_of(PROFILE, "https://a.example/", auth=auth))
    assert orjson.loads(body) == {
        "id": "urn:asap:agent:front-desk",
        "name": "Front desk",
        "version": "1.2.0",
        "description": "Answers",
        "capabilities": {
            "asap_version": "0.1",
            "skills": [
                {
                    "id": "echo",
                    "description": "Repeats",
                    "input_schema": None,
                    "output_schema": None,
                },
                {"id": "bare", "description": "bare", "input_schema": None, "output_schema": None},
            ],
            "state_persistence": True,
            "streaming": False,
            "mcp_tools": [],
        },
        "endpoints": {"asap": "https://a.example/asap", "events": "wss://a.example/asap/ws"},
        "auth": {
            "schemes": ["bearer"],
            "oauth2": {
                "authorization_url": None,
                "token_url": "https://id.example/token",
                "scopes": ["asap:read"],
            },
        },
        "signature": None,
        "ttl_seconds": 300,
    }


@pytest.mark.parametrize(
    ("base", "asap", "events"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/asap", "ws://127.0.0.1:8080/asap/ws"),
        ("https://h/agents/x", "https://h/agents/x/asap", "wss://h/agents/x/asap/ws"),
        ("https://[::1]:8443", "https://[::1]:8443/asap", "wss://[::1]:8443/asap/ws"),
    ],
)
def test_endpoints(base: str, asap: str, events: str) -> None:
    """The WebSocket is beside the POST, as safe as that."""
    endpoints = manifest_of(PROFILE, base).endpoints
    assert (endpoints.asap, endpoints.events) == (asap, events)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("1.0.0", "1.0.0"),
        ("2.0.0rc1", "2.0.0rc1"),
        ("1.0.dev3+local.1", "1.0.dev3+local.1"),
        ("1!2.0.post1", "1!2.0.post1"),
        ("2026-03 (blue)", "0+2026-03-blue"),
        ("latest", "0+latest"),
        ("", "0"),
        ("版", "0"),
    ],
)
def test_versions_that_clients_can_read(version: str, told: str) -> None:
    """Clients of ASAP refuse a manifest whose version is none of Python's: it is made one."""
    assert manifest_of(replace(PROFILE, version=version), "http://h").version == told


def test_the_tag_changes_with_the_manifest() -> None:
    """The ETag is the digest of what is sent."""
    body, tag = encode_manifest(manifest_of(PROFILE, "http://h"))
    assert tag == f'"{sha256(body).hexdigest()}"'
    assert encode_manifest(manifest_of(PROFILE, "http://h")) == (body, tag)
    assert encode_manifest(manifest_of(PROFILE, "http://other"))[1] != tag


def test_ours_is_read_again() -> None:
    """What is served is what a client gets."""
    manifest = manifest_of(PROFILE, "http://h")
    assert parse_manifest(encode_manifest(manifest)[0]) == manifest


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"auth": None, "signature": None},
        {"auth": {"schemes": ["oauth2"], "oauth2": {"token_url": "https://x", "more": 1}}},
        {"supported_versions": ["2.1", "2.2"], "sla": {"availability": "99%"}},
        {"verification": {"status": "pending"}, "ttl_seconds": 60},
        {"capabilities": {"skills": [{"id": "a", "tags": []}], "hardware": None, "inference": {}}},
        {"endpoints": {"asap": "https://peer.example/asap", "events": None, "stream": "x"}},
    ],
)
def test_what_others_say(more: dict[str, Any]) -> None:
    """Members of later releases are no reason not to talk."""
    found = parse_manifest(LEAST | more)
    assert found.endpoints.asap == "https://peer.example/asap"
    assert found.ttl_seconds == more.get("ttl_seconds", 300)
    assert isinstance(found, Manifest)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{", r"the manifest is not JSON: .*"),
        (b"[]", r"manifest must be an object"),
        (orjson.dumps(LEAST | {"id": "peer"}), r"manifest\.id must match \^urn:asap.*"),
        (orjson.dumps(LEAST | {"endpoints": {}}), r"manifest\.endpoints\.asap is required"),
        (orjson.dumps(LEAST | {"ttl_seconds": 0}), r"manifest\.ttl_seconds must be at least 1"),
    ],
)
def test_what_is_no_manifest(data: bytes, text: str) -> None:
    """The error names the first field that is wrong."""
    with pytest.raises(MalformedEnvelope, match=f"Invalid params: {text}"):
        parse_manifest(data)


@pytest.mark.parametrize(
    ("urn", "agent_id"),
    [
        ("urn:asap:agent:demo", "demo"),
        ("urn:asap:agent:demo:two", None),
        ("urn:other:demo", None),
    ],
)
def test_urns_of_agents(urn: str, agent_id: str | None) -> None:
    """An agent's id and its URN lead to each other."""
    assert agent_id_of(urn) == agent_id
    assert agent_id is None or agent_urn(agent_id) == urn
