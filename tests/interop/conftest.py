"""Our server, as foreign clients meet it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Serve, Server

HERE = Path(__file__).parent
OLDER_PEER = Path(sys.prefix) / "peers" / "a2a-0.3"
# So often that every stream which waits for anything carries heartbeats.
HEARTBEATS = ("--set", "heartbeat_interval=0.05")


@pytest.fixture(scope="session")
def front_desk(serve: Serve) -> Server:
    """Serve the agent that answers at once."""
    return serve("front_desk:agent", *HEARTBEATS, cwd=HERE)


@pytest.fixture(scope="session")
def slow_desk(serve: Serve) -> Server:
    """Serve the agent that waits in the middle of its answer."""
    return serve("front_desk:slow", *HEARTBEATS, cwd=HERE)
