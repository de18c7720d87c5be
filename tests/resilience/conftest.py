"""Servers that are put under stress, and the gate that holds their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol, Self

import pytest
import structlog

from palaver.observability.logging import configure_logging
from tests.conftest import Serve, Server

AGENTS = Path(__file__).with_name("agents.py")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave what the tests measured to be read: a client logs each drop."""
    before = structlog.get_config()
    configure_logging("warning")
    yield
    structlog.configure(**before)


class Start(Protocol):
    """Starts a server of the agents over the test's SQLite file."""

    async def __call__(self, *args: str, **settings: float) -> Server:
        """Return it once it serves."""
        ...


@pytest.fixture
async def start(serve: Serve, tmp_path: Path) -> AsyncIterator[Start]:
    """Start servers whose leases are short; they are gone when the test ends."""
    servers: list[Server] = []

    async def start_server(*args: str, **settings: float) -> Server:
        known = {"lease_ttl": 1.0, "retry_interval": 0.02, "drain_timeout": 5.0} | settings
        options = [f"--set={name}={value}" for name, value in known.items()]
        store = [] if "--store" in args else ["--store", str(tmp_path / "tasks.db")]
        server = await asyncio.to_thread(serve, f"{AGENTS}:agent", *store, *options, *args)
        servers.append(server)
        return server

    yield start_server
    for server in servers:
        if server.process.returncode is None:
            server.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()
    for server in servers:
        said = server.log.read_text(encoding="utf-8")
        assert "Traceback" not in said, said


class Gate:
    """Where tasks wait until the test lets them go on."""

    def __init__(self) -> None:
        self.port = 0
        self._waiting: list[asyncio.StreamWriter] = []
        self._came = asyncio.Condition()
        self._server: asyncio.Server | None = None

    async def waiting(self, count: int) -> None:
        """Return once so many tasks have come since the gate was opened last."""
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(lambda: len(self._waiting) >= count)

    def open(self) -> None:
        """Let those that wait go on."""
        for writer in self._waiting:
            writer.close()
        self._waiting.clear()

    async def _take(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._came:
            self._waiting.append(writer)
            self._came.notify_all()

    async def __aenter__(self) -> Self:
        """Build it."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take it down."""
        self.open()
        assert self._server is not None
        self._server.close()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Build a gate for the tasks of the skills ``wait``, ``wait-once`` and ``ask``."""
    async with Gate() as built:
        yield built
