"""One server for each file, and what it is asked with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from palaver.observability.logging import configure_logging
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


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave out what the application logs in this process."""
    before = structlog.get_config()
    configure_logging("critical")
    yield
    structlog.configure(**before)
