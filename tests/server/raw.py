"""Requests byte by byte, and what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TIMEOUT = 15.0

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which says of itself that it is JSON, and is."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)


def post(
    body: bytes,
    path: str = "/a2a",
    headers: Headers | None = None,
    *,
    method: str = "POST",
    host: str = "127.0.0.1",
) -> bytes:
    """Return the bytes of a request after which the connection closes."""
    lines = {
        "Host": host,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **(headers or {}),
    }
    head = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in lines.items())]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def call(method: str, params: Any = None, request_id: Any = 1) -> bytes:
    """Return the bytes of a JSON-RPC request."""
    request = {"jsonrpc": "2.0", "id": request_id, "method": method}
    return json.dumps(request if params is None else request | {"params": params}).encode()


async def send(port: int, *pieces: bytes, half_close: bool = False) -> Answer:
    """Send the pieces on a connection of their own, and return the answer."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(ConnectionError):  # the server may have refused it by now
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                if half_close:
                    writer.write_eof()
            return await read_answer(reader)
        finally:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return the next answer on the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.strip().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status.split()[1]), headers, body)


@dataclass(frozen=True, slots=True)
class Block:
    """One event of a stream as it came: its id, its retry, and the JSON of its data."""

    id: int | None
    retry: int | None
    data: Any

    @property
    def result(self) -> Any:
        """The result that the data holds."""
        return self.data["result"]


def blocks(body: bytes) -> list[Block]:
    """Return the events of a stream; every block of it must hold data (httpx-sse parses all)."""
    *whole, rest = body.decode().split("\n\n")
    assert all(not line or line.startswith((":", "retry:")) for line in rest.split("\n")), rest
    return [_block(text) for text in whole]


def _block(text: str) -> Block:
    fields: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
    assert fields.keys() <= {"id", "retry", "data"}, text
    assert "data" in fields, text
    return Block(
        id=int(fields["id"][0]) if "id" in fields else None,
        retry=int(fields["retry"][0]) if "retry" in fields else None,
        data=json.loads("\n".join(fields["data"])),
    )


async def pieces(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks: a body whose length nobody knows."""
    for chunk in chunks:
        yield chunk
