"""One server for each file, and what it is asked with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Serve, Server

AGENTS = Path(__file__).with_name("agents.py")


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    """Serve the agent of these tests with small limits."""
    settings = {
        "max_body_bytes": 200_000,
        "body_timeout": 1.0,
        "heartbeat_interval": 0.05,
        "retry_interval": 0.25,
        "log_format": "json",
    }
    return serve(f"{AGENTS}:agent", *(f"--set={key}={value}" for key, value in settings.items()))
