"""What an agent says of itself over ASAP: its manifest, and how it is."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import orjson
from starlette.types import Scope, Send

from palaver.engine.agent import Agent
from palaver.engine.engine import Engine
from palaver.errors import StoreUnavailable
from palaver.model.profile import AgentProfile
from palaver.protocols.asap.manifest import DEFAULT_TTL, agent_urn, encode_manifest, manifest_of
from palaver.protocols.asap.messages import ASAP_VERSION
from palaver.server.drain import Drain
from palaver.server.http import send_json
from palaver.server.wellknown import AgentEndpoint, DescriptionEndpoint

__all__ = ["HealthEndpoint", "ManifestEndpoint"]

_PING_TIMEOUT: Final = 2.0


class ManifestEndpoint(DescriptionEndpoint):
    """``GET /.well-known/asap/manifest.json``."""

    max_age = DEFAULT_TTL
    vary = b"Host"

    def encode(self, profile: AgentProfile, base: str, _scope: Scope) -> tuple[bytes, str]:
        """Return the manifest."""
        return encode_manifest(manifest_of(profile, base))


class HealthEndpoint(AgentEndpoint):
    """``GET /.well-known/asap/health``: 200 while requests are taken, else 503."""

    def __init__(self, engine: Engine, default_agent: str, drain: Drain) -> None:
        super().__init__(engine, default_agent)
        self._drain = drain
        self._began = time.monotonic()

    async def answer(self, agent: Agent, _scope: Scope, send: Send) -> None:
        """Answer how the server is."""
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
