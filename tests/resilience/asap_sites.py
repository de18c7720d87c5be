"""A place where one server after the other serves the same store at the same port."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from palaver.client.asap import AsapClient, AsapSettings, Transport
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.model.ids import IdSource
from palaver.storage.open import open_storage
from tests.conftest import Serve, Server
from tests.resilience.asap_agents import EFFECTS, EXECUTIONS

AGENTS: Final = Path(__file__).with_name("asap_agents.py")
WORKER: Final = "urn:asap:agent:worker"
PATIENCE: Final = Patience(connect_timeout=10, first_delay=0.05, max_delay=0.4, give_up_after=300)


@dataclass(slots=True)
class Site:
    """One server at a time, which may be replaced; what all of them did."""

    serve: Serve
    folder: Path
    server: Server | None = None
    stops: int = 0
    kills: int = 0
    logs: list[Path] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where all of them serve."""
        assert self.server is not None
        return self.server.port

    @property
    def url(self) -> str:
        """Where the agent is."""
        return f"http://127.0.0.1:{self.port}"

    async def open(self, *args: str) -> None:
        """Start the first server, or the next one at the same port."""
        (self.folder / EFFECTS).mkdir(exist_ok=True)
        port = [] if self.server is None else ["--port", str(self.port)]
        settings = ("lease_ttl=1", "retry_interval=0.02", "drain_timeout=5")
        options = [f"--set={setting}" for setting in settings]
        self.server = await asyncio.to_thread(
            self.serve,
            f"{AGENTS}:agent",
            "--store",
            str(self.folder / "tasks.db"),
            *options,
            *port,
            *args,
        )
        self.logs.append(self.server.log)

    async def replace(self, *, kill: bool) -> None:
        """End the server, asked or not, and start the next one."""
        await self.close(kill=kill)
        await self.open()

    async def close(self, *, kill: bool = False) -> None:
        """End the server: by SIGTERM, after which it has to end well; or by SIGKILL."""
        assert self.server is not None
        if kill:
            self.kills += 1
            await asyncio.to_thread(self.server.kill)
        else:
            self.stops += 1
            await asyncio.to_thread(self.server.stop)

    def client(
        self, transport: Transport = "websocket", *, ids: IdSource = new_id, patient: bool = True
    ) -> AsapClient:
        """Return a client of the agent; one that is patient asks until the server is back."""
        settings = AsapSettings(patience=PATIENCE, attempts=1_000 if patient else 3, ids=ids)
        return AsapClient(self.url, transport=transport, recipient=WORKER, settings=settings)

    def text(self, number: int, pause_ms: int) -> str:
        """Return what the agent is to be asked."""
        return f"{number} {pause_ms} {self.folder}"

    def executions(self) -> list[tuple[int, str]]:
        """Return the number and the task of each time that work began."""
        lines = (self.folder / EXECUTIONS).read_text(encoding="ascii").splitlines()
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    def effects(self) -> Counter[int]:
        """Return how often each number had its effect."""
        return Counter(
            int(path.name.partition("-")[0]) for path in (self.folder / EFFECTS).iterdir()
        )

    async def tasks(self) -> tuple[int, int]:
        """Return how many tasks the store has, and how many of them have not ended."""
        storage = open_storage(str(self.folder / "tasks.db"))
        await storage.open()
        try:
            stats = await storage.events.stats()
        finally:
            await storage.close()
        return stats.tasks, stats.open_tasks

    def troubles(self) -> list[str]:
        """Return what servers said of errors that nobody expected."""
        said = [log.read_text(encoding="utf-8") for log in self.logs]
        return [text for text in said if "Traceback" in text]
