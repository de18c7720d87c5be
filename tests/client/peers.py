"""Peers that misbehave: each connection is answered by the next step of a script."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Step = Callable[["Visit"], Awaitable[None]]

TASK = {"id": "T", "contextId": "C", "status": {"state": "TASK_STATE_SUBMITTED"}}
SUBMITTED = {"task": TASK}
COMPLETED = {
    "statusUpdate": {
        "taskId": "T",
        "contextId": "C",
        "status": {"state": "TASK_STATE_COMPLETED"},
    }
}


def chunk(text: str) -> dict[str, Any]:
    """Return a chunk of the answer."""
    artifact = {"artifactId": "a", "parts": [{"text": text}]}
    named = {"taskId": "T", "contextId": "C"}
    return {"artifactUpdate": {**named, "artifact": artifact, "append": True}}


@dataclass(slots=True)
class Visit:
    """One request that came in, and the way back."""

    headers: dict[str, str]
    request: Any
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Send the bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
        await self.writer.drain()

    async def answer(
        self, body: bytes, status: str = "200 OK", media_type: str = "application/json", **more: str
    ) -> None:
        """Send a whole answer."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(body)), **more}
        headers["Connection"] = "close"
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        await self.send(f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode(), body)

    async def stream(self, *blocks: bytes) -> None:
        """Begin a stream, and send blocks; the end of the connection ends it."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        await self.send(head, *blocks)

    async def silence(self) -> None:
        """Wait until the client leaves."""
        await self.writer.wait_closed()


@dataclass(slots=True)
class Peer:
    """A peer: its address, and what it was asked."""

    url: str = ""
    visits: list[Visit] = field(default_factory=list)

    @property
    def cursors(self) -> list[str | None]:
        """The ``Last-Event-ID`` of each request."""
        return [visit.headers.get("last-event-id") for visit in self.visits]

    @property
    def methods(self) -> list[str]:
        """The method of each request."""
        return [visit.request["method"] for visit in self.visits]


@asynccontextmanager
async def peer(*steps: Step) -> AsyncIterator[Peer]:
    """Serve one step for each request; the last one goes for all that follow."""
    met = Peer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            visit = Visit(
                headers, json.loads(body) if body else {"method": head.split()[1]}, writer
            )
            met.visits.append(visit)
            leaving = asyncio.ensure_future(reader.read())
            answering = asyncio.ensure_future(steps[min(len(met.visits), len(steps)) - 1](visit))
            await asyncio.wait([leaving, answering], return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            answering.cancel()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    met.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield met
    finally:
        server.close()


def block(result: Any, number: int | None = None, retry: int | None = None) -> bytes:
    """Return the block of one event."""
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    head = b"" if retry is None else b"retry: %d\n" % retry
    head += b"" if number is None else b"id: %d\n" % number
    return head + b"data: " + data + b"\n\n"


def error(code: int, message: str) -> bytes:
    """Return the JSON of an error."""
    refusal = {"code": code, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "error": refusal}).encode()


async def drop(visit: Visit) -> None:
    """Close the connection without a word."""


async def finish(visit: Visit) -> None:
    """Tell the rest of the task, behind event 2."""
    await visit.stream(block(chunk(" b"), 3), block(COMPLETED, 4))


async def whole(visit: Visit) -> None:
    """Tell all of a task."""
    await visit.stream(block(SUBMITTED, 1), block(chunk("a"), 2), block(chunk(" b"), 3))
    await visit.send(block(COMPLETED, 4))
