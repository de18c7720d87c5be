"""A media server in JavaScript, on another house's WebSockets, against our server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Serve, Server

CLIENT = Path(__file__).parent / "js" / "asp.mjs"
NODE = ("node", "--experimental-websocket")


@pytest.fixture(scope="module")
def line(serve: Serve) -> Server:
    """Serve the echo test."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    asked = [*NODE, "--eval", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
    if subprocess.run(asked, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this Node.js has no WebSocket")
    return serve("--set", "asp_echo_test=true")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_a_call_from_node(line: Server, version: str) -> None:
    """It negotiates, hears its echo whole, hangs up and closes."""
    url = line.url.replace("http", "ws") + "/asp"
    done = subprocess.run(
        [*NODE, str(CLIENT), url, version], capture_output=True, text=True, timeout=30, check=True
    )
    found = json.loads(done.stdout)
    acks = [one for one in found["told"] if one == "session.ack"]
    kinds = [one for one in found["told"] if one != "session.ack"]
    assert kinds == [
        "protocol.capabilities",
        "session.started",
        "response.start",
        "response.end",
        "session.ended",
    ]
    assert len(acks) == (2 if version == "1.1.0" else 0)
    assert (found["protocol"], found["code"], found["whole"]) == ("asp.v1", 1000, True)
