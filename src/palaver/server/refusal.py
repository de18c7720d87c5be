"""Refusing a WebSocket with an HTTP answer that says why."""

from __future__ import annotations

import orjson
from starlette.types import Scope, Send

__all__ = ["refuse"]

_CAN_ANSWER = "websocket.http.response"


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Answer the handshake with that status and ``{"error": text}``.

    A server that cannot answer a handshake with anything but 403 does that.
    """
    if _CAN_ANSWER not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = orjson.dumps({"error": text})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
