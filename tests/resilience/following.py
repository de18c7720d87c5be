"""What the tests see of a stream, and the clients that they see it with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from palaver.client.a2a import A2aClient
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import ArtifactReceived, Generation, TaskReceived
from palaver.protocols.a2a.stream import Received
from palaver.protocols.jsonrpc import encode_request
from palaver.testing.fault_proxy import Fault
from tests.conftest import Server

PATIENCE = Patience(first_delay=0.01, max_delay=0.2, give_up_after=20.0)


def report(line: str) -> None:
    """Say what was measured (shown by ``pytest -rP``)."""
    sys.stdout.write(line + "\n")


def wanted(last: int) -> str:
    """Return what ``count`` says in the end."""
    return " ".join(str(number) for number in range(1, last + 1))


@dataclass(slots=True)
class Followed:
    """What a stream has said so far."""

    numbers: list[int | None] = field(default_factory=list)
    states: list[TaskState] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    task_id: str = ""
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, count: int) -> None:
        """Return once so many events have come."""
        async with asyncio.timeout(20):
            while len(self.numbers) < count:
                self._grew.clear()
                await self._grew.wait()

    def add(self, received: Received) -> None:
        """Take one event."""
        update = received.update
        self.numbers.append(received.seq)
        self._grew.set()
        self.task_id = getattr(update, "task_id", self.task_id)
        if isinstance(update, ArtifactReceived):
            if not update.append:
                self.pieces.clear()
            self.pieces.append(update.artifact.text)
            return
        if isinstance(update, TaskReceived):
            self.pieces = [artifact.text for artifact in update.artifacts]
        self.states.append(update.state)  # type: ignore[union-attr]
        self.metadata.append(dict(update.metadata or {}))  # type: ignore[union-attr]

    @property
    def text(self) -> str:
        """What the agent has put out."""
        return "".join(self.pieces)

    @property
    def state(self) -> TaskState | None:
        """The last state."""
        return self.states[-1] if self.states else None

    def whole(self, first: int = 1) -> bool:
        """Whether every number came once and in order, with none missing."""
        return self.numbers == list(range(first, first + len(self.numbers)))


async def follow(
    news: AsyncGenerator[Received, None],
    into: Followed | None = None,
    most: int | None = None,
) -> Followed:
    """Read the stream to its end, or ``most`` events of it."""
    seen = Followed() if into is None else into
    async with asyncio.timeout(40), aclosing(news):
        async for received in news:
            seen.add(received)
            if len(seen.numbers) == most:
                break
    return seen


def following(news: AsyncGenerator[Received, None]) -> tuple[Followed, asyncio.Task[Followed]]:
    """Read the stream in the background; return what was seen so far, and the reading."""
    seen = Followed()
    return seen, asyncio.create_task(follow(news, seen))


class Clients(AsyncExitStack):
    """Makes clients of a port, and closes them."""

    async def a2a(
        self, port: int, generation: Generation = Generation.V10, silence_timeout: float = 20.0
    ) -> A2aClient:
        """Return a client that speaks ``generation`` there."""
        http = await self.enter_async_context(
            httpx2.AsyncClient(
                timeout=silence_timeout, limits=httpx2.Limits(max_connections=None), trust_env=False
            )
        )
        url = f"http://127.0.0.1:{port}/a2a"
        return A2aClient(url, generation, ids=new_id, patience=PATIENCE, http=http)


def cuts(seed: int, count: int, longest: int) -> Callable[[int], Fault]:
    """Return faults that reset the first ``count`` connections, each after random many bytes.

    The very first one gets as far as the first event, so that every number can be asked for.
    """
    chance = Random(seed)
    places = [chance.randrange(longest) for _ in range(count)]
    places[0] = 1_500 + places[0]
    return lambda number: Fault(reset_after=places[number]) if number < count else Fault()


def raw_request(method: str, params: dict[str, Any], **headers: str) -> bytes:
    """Return the bytes of a request of A2A 1.0."""
    body = encode_request("r-1", method, params)
    lines = [
        "POST /a2a HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "A2A-Version: 1.0",
        f"Content-Length: {len(body)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def raw_message(text: str) -> dict[str, Any]:
    """Return the params of a message of A2A 1.0."""
    message = {"messageId": new_id("msg"), "role": "ROLE_USER", "parts": [{"text": text}]}
    return {"message": message}


async def ended(server: Server, timeout: float) -> int:  # noqa: ASYNC109
    """Return the exit code of a server once it has ended."""
    return await asyncio.to_thread(server.process.wait, timeout)
