"""Peers that speak ASAP to a server under test, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.server.raw import Answer, post, send

TIMEOUT = 15.0
PEER = "urn:asap:agent:peer"
DESK = "urn:asap:agent:desk"


def envelope(
    kind: str = "TaskRequest", payload: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Return an envelope; the server gives it an id and a time, where ``more`` does not."""
    given = {
        "asap_version": "0.1",
        "sender": PEER,
        "recipient": DESK,
        "payload_type": kind,
        "payload": task() if payload is None else payload,
    }
    return given | more


def task(text: str = "hello", skill: str = "say", **more: Any) -> dict[str, Any]:
    """Return the payload of a TaskRequest."""
    return {"conversation_id": "c", "skill_id": skill, "input": {"text": text}, **more}


def rpc(envelope: dict[str, Any], request_id: Any = 1, **params: Any) -> dict[str, Any]:
    """Return a call of ``asap.send``."""
    params = {"envelope": envelope, **params}
    return {"jsonrpc": "2.0", "method": "asap.send", "params": params, "id": request_id}


async def post_json(
    port: int, value: Any, path: str = "/asap", headers: dict[str, str] | None = None
) -> Answer:
    """Post JSON, or bytes as they are; return the answer."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return await send(port, post(body, path, headers))


async def ask(port: int, envelope: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Post an envelope, which is answered by another: return its payload."""
    answer = await post_json(port, rpc(envelope, **params))
    assert answer.status == 200, answer
    return payload_of(answer.json)


def payload_of(frame: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of the envelope in an answer, or in a push."""
    assert "result" in frame, frame
    payload: dict[str, Any] = frame["result"]["envelope"]["payload"]
    return payload


def error_of(frame: dict[str, Any]) -> tuple[int, str]:
    """Return the number and the word of an error."""
    assert "error" in frame, frame
    return frame["error"]["code"], frame["error"]["data"]["code"]


@dataclass(slots=True)
class Peer:
    """A client of ``/asap/ws``, which keeps what it was told besides what it waits for."""

    socket: ClientConnection
    told: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))

    async def say(self, envelope: dict[str, Any], request_id: Any = None, **params: Any) -> Any:
        """Send a request; return its id."""
        request_id = f"req-{next(self._numbers)}" if request_id is None else request_id
        await self.socket.send(json.dumps(rpc(envelope, request_id, **params)))
        return request_id

    async def ask(self, envelope: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Send a request and return the frame that answers it."""
        return await self.answer(await self.say(envelope, **params))

    async def answer(self, request_id: Any) -> dict[str, Any]:
        """Return the frame that answers that request."""
        return await self.hear(
            lambda frame: frame.get("id") == request_id and "method" not in frame
        )

    async def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next frame of that kind, heard already or still to come."""
        for index, frame in enumerate(self.told):
            if wanted(frame):
                return self.told.pop(index)
        async with asyncio.timeout(TIMEOUT):
            while True:
                frame = json.loads(await self.socket.recv())
                if wanted(frame):
                    return frame
                self.told.append(frame)

    async def closed(self) -> tuple[int | None, str | None]:
        """Return how the server closes; what comes before is kept."""
        async with asyncio.timeout(TIMEOUT):
            with suppress(ConnectionClosed):
                while True:
                    self.told.append(json.loads(await self.socket.recv()))
        return self.socket.close_code, self.socket.close_reason


@asynccontextmanager
async def dialled(port: int, path: str = "/asap/ws", **options: Any) -> AsyncIterator[Peer]:
    """Open a WebSocket for the block."""
    given: dict[str, Any] = {
        "compression": None,
        "max_size": None,
        "max_queue": None,
        "ping_interval": None,
        "proxy": None,
        "close_timeout": 2,
    } | options
    async with connect(f"ws://127.0.0.1:{port}{path}", **given) as socket:
        yield Peer(socket)


def is_push(frame: dict[str, Any]) -> bool:
    """Tell whether a frame is news that answers nothing."""
    return "result" in frame and frame["id"] is None


def acks(frames: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what was acknowledged, and how."""
    found = [frame["params"]["envelope"] for frame in frames if frame.get("method") == "asap.ack"]
    return [(one["payload"]["original_envelope_id"], one["payload"]["status"]) for one in found]
