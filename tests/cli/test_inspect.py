"""``palaver inspect``: what a peer says of itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.cli.conftest import Run
from tests.conftest import Server


def test_text(run: Run, desk: Server) -> None:
    """People read a summary and two tables."""
    ended = run("inspect", desk.url)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("desk 2.0.0: Says, holds, asks and breaks\n")
    for words in ("streaming: yes; readiness: ready", "A2A 1.0", "A2A 0.3", "Says the words again"):
        assert words in ended.out
    address = f"{desk.url.replace('http', 'ws')}/asp"
    for words in (
        "calls (ASP)",
        address,
        "8000, 16000",
        "pcm_s16le, mulaw, alaw",
        "session_resume",
    ):
        assert words in ended.out
    for words in ("agent to agent (ASAP)", "urn:asap:agent:desk", "/asap/ws", "healthy, up for"):
        assert words in ended.out


def test_json(run: Run, desk: Server) -> None:
    """Programs read one object."""
    shown = json.loads(run("inspect", desk.url, "--json").out)
    assert shown.pop("skills")[0] == {
        "id": "say",
        "name": "say",
        "description": "Says the words again",
    }
    calls = shown.pop("asp")
    assert calls["version"] == "1.1.0"
    assert calls["supported_sample_rates"] == [8000, 16000]
    asap = shown.pop("asap")
    assert asap["health"].pop("uptime_seconds") > 0
    assert asap["health"].pop("load").keys() == {"active_tasks", "queue_depth"}
    assert asap == {
        "id": "urn:asap:agent:desk",
        "version": "2.0.0",
        "asap_version": "0.1",
        "skills": ["say", "hold", "open", "ask", "fail", "reject"],
        "endpoints": {
            "asap": f"{desk.url}/asap",
            "events": f"{desk.url.replace('http', 'ws')}/asap/ws",
        },
        "auth": None,
        "health": {
            "healthy": True,
            "status": "healthy",
            "agent_id": "urn:asap:agent:desk",
            "version": "2.0.0",
        },
    }
    assert shown == {
        "name": "desk",
        "description": "Says, holds, asks and breaks",
        "version": "2.0.0",
        "streaming": True,
        "readiness": "ready",
        "interfaces": [
            {"url": f"{desk.url}/a2a", "protocol": "a2a", "version": "1.0"},
            {"url": f"{desk.url}/a2a", "protocol": "a2a", "version": "0.3"},
        ],
    }


_SAID = {
    "/.well-known/agent.json": (
        b'{"name":"[bold]old","url":"http://127.0.0.1:1/","capabilities":{},"skills":[]}'
    ),
    "/.well-known/asap/manifest.json": json.dumps(
        {
            "id": "urn:asap:agent:old",
            "name": "[bold]old",
            "version": "1",
            "description": "Speaks [red]one wire",
            "capabilities": {"streaming": True, "skills": [{"id": "echo"}]},
            "endpoints": {"asap": "http://127.0.0.1:1/asap"},
            "auth": {"schemes": ["bearer"]},
        }
    ).encode(),
}


class _Peer(BaseHTTPRequestHandler):
    readiness: int | None = None
    said = "/.well-known/agent.json"

    def do_GET(self) -> None:
        """Answer with a card of 0.1 or a manifest, and with the readiness of the day."""
        if self.path == self.said:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(_SAID[self.path])
        elif self.path == "/readyz" and self.readiness is None:
            self.connection.close()
        else:
            self.send_response(self.readiness or 404)
            self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def peer() -> Iterator[str]:
    """Serve a card of the oldest generation."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Peer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # its shutdown waits
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    ("status", "readiness"),
    [(200, "ready"), (503, "not ready"), (404, "unknown"), (500, "unknown"), (None, "unknown")],
)
def test_the_readiness_of_a_peer(
    run: Run, peer: str, monkeypatch: pytest.MonkeyPatch, status: int | None, readiness: str
) -> None:
    """A peer that has no readiness, or drops the question, is shown all the same."""
    monkeypatch.setattr(_Peer, "readiness", status)
    shown = json.loads(run("inspect", peer, "--json").out)
    assert shown["readiness"] == readiness
    assert shown["interfaces"] == [
        {"url": "http://127.0.0.1:1/", "protocol": "a2a", "version": "0.1"}
    ]
    assert (shown["asp"], shown["asap"]) == (None, None)
    text = run("inspect", peer).out
    assert "calls (ASP)" not in text
    assert "(ASAP)" not in text
    assert text.startswith("[bold]old : \nstreaming: no; ")


def test_an_agent_that_speaks_asap_alone(
    run: Run, peer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer without a card is shown by its manifest, at the address of any of its endpoints."""
    monkeypatch.setattr(_Peer, "readiness", 200)
    monkeypatch.setattr(_Peer, "said", "/.well-known/asap/manifest.json")
    endpoint = f"{peer.replace('http', 'ws')}/asap/ws"
    shown = json.loads(run("inspect", endpoint, "--json").out)
    assert (shown["name"], shown["version"], shown["streaming"]) == ("[bold]old", "1", True)
    assert shown["interfaces"] == []
    assert [skill["id"] for skill in shown["skills"]] == ["echo"]
    assert shown["asap"]["id"] == "urn:asap:agent:old"
    assert shown["asap"]["auth"] == {"schemes": ["bearer"], "oauth2": None}
    assert shown["asap"]["health"] is None
    text = run("inspect", peer).out
    assert text.startswith("[bold]old 1: Speaks [red]one wire\nstreaming: yes; readiness: ready\n")
    for words in ("urn:asap:agent:old", "echo", "bearer", "none", "unknown"):
        assert words in text
    assert "A2A" not in text
