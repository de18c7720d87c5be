"""Endpoints for those who operate the server: liveness and readiness."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from palaver.engine.engine import Engine
from palaver.errors import StoreUnavailable
from palaver.server.drain import Drain
from palaver.server.http import send_json

__all__ = ["Liveness", "Readiness"]

_PING_TIMEOUT: Final = 2.0


class Liveness:
    """``GET /healthz``: 200 while the process answers at all."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer."""
        await send_json(send, b'{"status":"ok"}')


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
