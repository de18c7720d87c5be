"""The application called as ASGI says, in this process: no socket, and streams as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from palaver.app import App, create_app
from palaver.config import Settings
from palaver.engine.agent import Agent
from palaver.server.asap_calls import Extensions
from palaver.storage.interfaces import Storage
from tests.server.raw import Block, blocks

TIMEOUT = 10.0


@asynccontextmanager
async def serving(
    *agents: Agent,
    storage: Storage | None = None,
    extensions: Extensions | None = None,
    **settings: Any,
) -> AsyncIterator[App]:
    """Run the application of the agents from the start to the end of its lifespan."""
    given = {"store": "memory:", "drain_timeout": 0.05} | settings
    app = create_app(agents, Settings(**given), storage, extensions=extensions)
    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    try:
        await to_app.put({"type": "lifespan.startup"})
        async with asyncio.timeout(TIMEOUT):
            begun = await from_app.get()
        assert begun["type"] == "lifespan.startup.complete", begun
        yield app
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        async with asyncio.timeout(TIMEOUT):
            with suppress(Exception):
                await running


@dataclass(slots=True)
class Exchange:
    """One request to the application, and what has come back of its answer so far."""

    app: App
    scope: dict[str, Any]
    incoming: list[dict[str, Any]]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    stalled: bool = False
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _running: asyncio.Task[None] | None = None

    def start(self) -> Exchange:
        """Begin."""
        self._running = asyncio.create_task(self.app(self.scope, self._receive, self._send))
        return self

    async def answered(self) -> Exchange:
        """Return once the application has said all."""
        assert self._running is not None
        async with asyncio.timeout(TIMEOUT):
            await self._running
        return self

    async def said(self, text: bytes) -> None:
        """Return once the body holds ``text``."""
        async with asyncio.timeout(TIMEOUT), self._moved:
            await self._moved.wait_for(lambda: text in self.body)

    async def events(self, count: int) -> list[Block]:
        """Return the events of the stream once there are ``count``."""
        async with asyncio.timeout(TIMEOUT), self._moved:
            await self._moved.wait_for(lambda: self.body.count(b"\n\n") >= count)
        return self.blocks

    def leave(self) -> None:
        """Close the connection, as a client does that has enough."""
        self._left.set()

    @property
    def blocks(self) -> list[Block]:
        """The events of the stream so far."""
        return blocks(self.body)

    @property
    def json(self) -> Any:
        """The body, which says of itself that it is JSON, and is."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    async def _receive(self) -> dict[str, Any]:
        if self.incoming:
            return self.incoming.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self.stalled and message.get("body"):
            await asyncio.Event().wait()
        async with self._moved:
            if message["type"] == "http.response.start":
                assert self.status == 0, "two answers"
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message.get("body", b"")
                self.complete = not message.get("more_body", False)
            self._moved.notify_all()


def ask(
    app: App,
    body: bytes | Iterable[bytes] = b"",
    path: str = "/a2a",
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    query: str = "",
) -> Exchange:
    """Return a request that has begun; more than one piece of body comes as several messages."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    given = {"host": "palaver.test", "content-type": "application/json"}
    given |= {name.lower(): value for name, value in (headers or {}).items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "state": {},
        "extensions": {},
    }
    incoming = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    return Exchange(app, scope, incoming).start()
