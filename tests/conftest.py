"""What tests of every kind share: servers that run as processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import structlog
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the property.
settings.register_profile("palaver", deadline=None)
settings.load_profile("palaver")

# As the server logs: a fancy traceback of a deep value takes ten seconds to draw.
_PLAIN = structlog.dev.ConsoleRenderer(
    colors=False, exception_formatter=structlog.dev.plain_traceback
)
structlog.configure(processors=[structlog.processors.add_log_level, _PLAIN])

STOP_TIMEOUT = 20.0
_SERVES = re.compile(r"Palaver \S+ serves .* at (http://\S+)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its part of what takes longest: nobody waits for it at the end.

    What takes long has a time limit of its own. Workers get neighbours, in shares that are as
    large as ``--dist worksteal`` makes them.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if item.get_closest_marker("timeout")]
    short = [item for item in items if not item.get_closest_marker("timeout")]
    left = len(items)
    items.clear()
    for worker in range(workers):
        mine = long[worker::workers]
        room = max(left // (workers - worker) - len(mine), 0)
        items += [*mine, *short[:room]]
        del short[:room]
        left -= len(mine) + room


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``palaver serve``: where it is, and what it said on standard error."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def port(self) -> int:
        """The port that it took."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it without a chance to do anything about it."""
        self.process.kill()
        self.process.communicate(timeout=STOP_TIMEOUT)

    def stop(self) -> None:
        """Ask it to end, and see that it ends well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, _ = self.process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        assert self.process.returncode == 0, self.log.read_text(encoding="utf-8")


class Serve(Protocol):
    """Starts servers; those that still run at the end are stopped."""

    def __call__(self, *args: str, cwd: Path | None = None) -> Server:
        """Return it once it serves."""
        ...


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start ``palaver serve`` as the arguments say; by default on a free port, keeping nothing."""
    servers: list[Server] = []

    def start(*args: str, cwd: Path | None = None) -> Server:
        folder = tmp_path_factory.mktemp("serve")
        log = folder / "stderr.txt"
        command = [sys.executable, "-m", "palaver", "serve", *args]
        if "--port" not in args:
            command += ["--port", "0"]
        if "--store" not in args:
            command += ["--store", "memory:"]
        with log.open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                command,
                cwd=cwd or folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = _SERVES.match(line)
        if found is None:
            process.kill()
            process.communicate()
            pytest.fail(f"no server: {line!r} {log.read_text(encoding='utf-8')}")
        servers.append(Server(found[1], process, log))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.returncode is None:
            server.stop()
        if server.process.stdout is not None:
            server.process.stdout.close()
