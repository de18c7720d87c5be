"""Endpoints for those who operate the server: liveness, readiness, metrics."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.errors import StoreUnavailable
from palaver.observability.metrics import Registry, exposed
from palaver.server.drain import Drain
from palaver.server.http import send_json

__all__ = ["Liveness", "Metrics", "Readiness"]

_PING_TIMEOUT: Final = 2.0


class Liveness:
    """``GET /healthz``: 200 while the process answers at all."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        await send_json(send, b'{"status":"ok"}')


class Metrics:
    """``GET /metrics``: what is counted, for Prometheus."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        body, content_type = exposed(self._registry)
        await Response(body, headers={"content-type": content_type})(scope, receive, send)


class Readiness:
    """``GET /readyz``: 200 while the store answers and the server is not draining, else 503."""

    def __init__(self, engine: Engine, drain: Drain) -> None:
        self._engine = engine
        self._drain = drain

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        trouble = await self._trouble()
        answer = {"status": "ready" if trouble is None else "not ready"}
        if trouble is not None:
            answer["reason"] = trouble
        await send_json(send, orjson.dumps(answer), status=200 if trouble is None else 503)

    async def _trouble(self) -> str | None:
        if self._drain.begun:
            return "draining"
        try:
            async with asyncio.timeout(_PING_TIMEOUT):
                await self._engine.storage.ping()
        except (StoreUnavailable, TimeoutError):
            return "the store does not answer"
        return None
