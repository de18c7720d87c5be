"""Agent cards under ``/.well-known/``: one agent, as each generation reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.model.profile import AgentProfile
from palaver.protocols.a2a.card import card_v01, card_v03, card_v10, encode_card
from palaver.server.http import header, send_json, send_problem

__all__ = ["CardEndpoint", "base_url", "etag_matches"]

_MAX_AGE: Final = b"public, max-age=300"
_Card = Callable[[AgentProfile, str], dict[str, Any]]


class CardEndpoint:
    """``GET`` of an agent's card, with ETag and Cache-Control.

    ``legacy`` is ``/.well-known/agent.json``, which 0.1 and 0.2 read. Otherwise the card is that
    of 1.0, or of 0.3 where the header ``A2A-Version`` asks for 0.x.
    """

    def __init__(
        self, engine: Engine, default_agent: str, public_url: str | None, *, legacy: bool
    ) -> None:
        self._engine = engine
        self._default_agent = default_agent
        self._public_url = public_url
        self._legacy = legacy

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 200 with the card, 304 where the client has it, 404 for an unknown agent."""
        named = scope.get("path_params", {}).get("agent_id")
        agent = self._engine.agents.get(named or self._default_agent)
        if agent is None:
            await send_problem(send, 404, f"no agent {named!r} is served here")
            return
        base = self._public_url or base_url(scope)
        if named is not None:
            base = f"{base}/agents/{named}"
        body, etag = encode_card(self._choose(scope)(agent.profile, base))
        headers = [
            (b"etag", etag.encode()),
            (b"cache-control", _MAX_AGE),
            (b"vary", b"A2A-Version, Host"),
        ]
        known = header(scope, b"if-none-match")
        if known is not None and etag_matches(known, etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_json(send, body, headers=headers)

    def _choose(self, scope: Scope) -> _Card:
        if self._legacy:
            return card_v01
        version = header(scope, b"a2a-version") or ""
        return card_v03 if version.startswith("0.") else card_v10


def etag_matches(header_value: str, etag: str) -> bool:
    """Tell whether an ``If-None-Match`` names that ETag."""
    tags = (tag.strip().removeprefix("W/") for tag in header_value.split(","))
    return any(tag in {etag, "*"} for tag in tags)


def base_url(scope: Scope) -> str:
    """Return the URL under which the client reached us; a strange Host is not repeated."""
    host = header(scope, b"host") or ""
    root = scope.get("root_path", "").rstrip("/")
    if not host or any(not (c.isalnum() or c in ".-:[]_") for c in host):
        name, port = scope.get("server") or ("127.0.0.1", 80)
        host = f"{name}:{port}"
    return f"{scope.get('scheme', 'http')}://{host}{root}"
