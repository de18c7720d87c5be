"""The command line, run in this process as its entry point runs it."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import structlog

from palaver.cli import main
from tests.conftest import Serve, Server

AGENTS = Path(__file__).parents[1] / "server" / "agents.py"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs ``palaver`` with arguments."""

    def __call__(self, *args: str) -> Ended:
        """Return how it ended."""
        ...


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    """Run ``palaver`` in an empty folder, with nothing set."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    path, modules, collecting = sys.path[:], set(sys.modules), gc.get_threshold()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run_main(*args: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["palaver", *args])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return Ended(int(str(code or 0)) if not isinstance(code, int) else int(code), *said)

    yield run_main
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    sys.path[:] = path
    gc.unfreeze()
    gc.set_threshold(*collecting)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def desk(serve: Serve) -> Server:
    """Serve the agent of the tests of the server."""
    return serve(f"{AGENTS}:agent", "--set=drain_timeout=0.2")
