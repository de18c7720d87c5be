"""What stands under ``/.well-known/``: one agent, as each wire and generation reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from starlette.types import Receive, Scope, Send

from palaver.engine.agent import Agent
from palaver.engine.engine import Engine
from palaver.model.profile import AgentProfile
from palaver.protocols.a2a.card import card_v01, card_v03, card_v10, encode_card
from palaver.server.http import header, send_json, send_problem

__all__ = ["AgentEndpoint", "CardEndpoint", "DescriptionEndpoint"]

_Card = Callable[[AgentProfile, str], dict[str, Any]]


class AgentEndpoint(ABC):
    """``GET`` of something about one agent: that which the path names, or the default one."""

    def __init__(self, engine: Engine, default_agent: str) -> None:
        self._engine = engine
        self._default_agent = default_agent

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer; 404 for an unknown agent."""
        named = _named(scope)
        agent = self._engine.agents.get(named or self._default_agent)
        if agent is None:
            await send_problem(send, 404, f"no agent {named!r} is served here")
            return
        await self.answer(agent, scope, send)

    @abstractmethod
    async def answer(self, agent: Agent, scope: Scope, send: Send) -> None:
        """Answer for that agent."""


class DescriptionEndpoint(AgentEndpoint):
    """``GET`` of what an agent says of itself, with ETag and Cache-Control."""

    max_age: ClassVar[int]
    """Seconds for which a client may keep it."""
    vary: ClassVar[bytes]
    """The headers of a request that it depends on."""

    def __init__(self, engine: Engine, default_agent: str, public_url: str | None) -> None:
        super().__init__(engine, default_agent)
        self._public_url = public_url

    @abstractmethod
    def encode(self, profile: AgentProfile, base: str, scope: Scope) -> tuple[bytes, str]:
        """Return the JSON and its ETag, where ``base`` is the URL of the agent."""

    async def answer(self, agent: Agent, scope: Scope, send: Send) -> None:
        """Answer 200 with the description, or 304 where the client has it."""
        base = self._public_url or _base_url(scope)
        named = _named(scope)
        if named is not None:
            base = f"{base}/agents/{named}"
        body, etag = self.encode(agent.profile, base, scope)
        headers = [
            (b"etag", etag.encode()),
            (b"cache-control", b"public, max-age=%d" % self.max_age),
            (b"vary", self.vary),
        ]
        known = header(scope, b"if-none-match")
        if known is not None and _etag_matches(known, etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_json(send, body, headers=headers)


class CardEndpoint(DescriptionEndpoint):
    """``GET`` of an agent's card.

    ``legacy`` is ``/.well-known/agent.json``, which 0.1 and 0.2 read. Otherwise the card is that
    of 1.0, or of 0.3 where the header ``A2A-Version`` asks for 0.x.
    """

    max_age = 300
    vary = b"A2A-Version, Host"

    def __init__(
        self, engine: Engine, default_agent: str, public_url: str | None, *, legacy: bool
    ) -> None:
        super().__init__(engine, default_agent, public_url)
        self._legacy = legacy

    def encode(self, profile: AgentProfile, base: str, scope: Scope) -> tuple[bytes, str]:
        """Return the card that this request reads."""
        return encode_card(self._choose(scope)(profile, base))

    def _choose(self, scope: Scope) -> _Card:
        if self._legacy:
            return card_v01
        version = header(scope, b"a2a-version") or ""
        return card_v03 if version.startswith("0.") else card_v10


def _named(scope: Scope) -> str | None:
    """Return the id of the agent that the path names."""
    named: str | None = scope.get("path_params", {}).get("agent_id")
    return named


def _etag_matches(header_value: str, etag: str) -> bool:
    """Tell whether an ``If-None-Match`` names that ETag."""
    tags = (tag.strip().removeprefix("W/") for tag in header_value.split(","))
    return any(tag in {etag, "*"} for tag in tags)


def _base_url(scope: Scope) -> str:
    """Return the URL under which the client reached us; a strange Host is not repeated."""
    host = header(scope, b"host") or ""
    root = scope.get("root_path", "").rstrip("/")
    if not host or any(not (c.isalnum() or c in ".-:[]_") for c in host):
        name, port = scope.get("server") or ("127.0.0.1", 80)
        host = f"{name}:{port}"
    return f"{scope.get('scheme', 'http')}://{host}{root}"
