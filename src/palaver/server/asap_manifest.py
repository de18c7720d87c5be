"""What an agent says of itself over ASAP: its manifest, and how it is."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from palaver.engine.agent import Agent
from palaver.engine.engine import Engine
from palaver.errors import StoreUnavailable
from palaver.protocols.asap.manifest import DEFAULT_TTL, agent_urn, encode_manifest, manifest_of
from palaver.protocols.asap.messages import ASAP_VERSION
from palaver.server.drain import Drain
from palaver.server.http import header, send_json, send_problem
from palaver.server.wellknown import base_url, etag_matches

__all__ = ["HealthEndpoint", "ManifestEndpoint"]

_PING_TIMEOUT: Final = 2.0


class ManifestEndpoint:
    """``GET /.well-known/asap/manifest.json``, with ETag and Cache-Control."""

    def __init__(self, engine: Engine, default_agent: str, public_url: str | None) -> None:
        self._engine = engine
        self._default_agent = default_agent
        self._public_url = public_url

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 200 with the manifest, 304 where the client has it, 404 for an unknown agent."""
        named = scope.get("path_params", {}).get("agent_id")
        agent = self._engine.agents.get(named or self._default_agent)
        if agent is None:
            await send_problem(send, 404, f"no agent {named!r} is served here")
            return
        base = self._public_url or base_url(scope)
        if named is not None:
            base = f"{base}/agents/{named}"
        body, etag = encode_manifest(manifest_of(agent.profile, base))
        headers = [
            (b"etag", etag.encode()),
            (b"cache-control", b"public, max-age=%d" % DEFAULT_TTL),
            (b"vary", b"Host"),
        ]
        known = header(scope, b"if-none-match")
        if known is not None and etag_matches(known, etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_json(send, body, headers=headers)


class HealthEndpoint:
    """``GET /.well-known/asap/health``: 200 while requests are taken, else 503."""

    def __init__(self, engine: Engine, default_agent: str, drain: Drain) -> None:
        self._engine = engine
        self._default_agent = default_agent
        self._drain = drain
        self._began = time.monotonic()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer; 404 for an unknown agent."""
        named = scope.get("path_params", {}).get("agent_id")
        agent = self._engine.agents.get(named or self._default_agent)
        if agent is None:
            await send_problem(send, 404, f"no agent {named!r} is served here")
            return
        healthy = not self._drain.begun and await self._store_answers()
        body = orjson.dumps(self._told(agent, healthy=healthy))
        headers = [(b"cache-control", b"no-store")]
        await send_json(send, body, status=200 if healthy else 503, headers=headers)

    def _told(self, agent: Agent, *, healthy: bool) -> dict[str, object]:
        tasks, at_once = self._engine.open_tasks, self._engine.limits.max_running_tasks
        return {
            "status": "healthy" if healthy else "unhealthy",
            "agent_id": agent_urn(agent.id),
            "version": agent.version,
            "asap_version": ASAP_VERSION,
            "uptime_seconds": round(time.monotonic() - self._began, 3),
            # Those that wait for input have no turn to wait for, and are counted with the others.
            "load": {
                "active_tasks": min(tasks, at_once),
                "queue_depth": max(0, tasks - at_once),
            },
        }

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(_PING_TIMEOUT):
                await self._engine.storage.ping()
        except (StoreUnavailable, TimeoutError):
            return False
        return True
