"""``palaver doctor``: whether this machine can serve."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import Server


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_all_is_well(run: Run, tmp_path: Path) -> None:
    """Each check is a line; the exit code is 0."""
    port = free_port()
    ended = run("doctor", "--store", "d.db", "--port", str(port))
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok   palaver",
        "ok   Python",
        "ok   audio path",
        "ok   settings",
        "ok   SQLite",
        "ok   store",
        "ok   port",
        "ok   voice",
    ]
    assert lines[2] == "ok   audio path: interpreted"
    assert lines[5] == "ok   store: d.db: 0 tasks, 0 of them open"
    assert lines[6] == f"ok   port: 127.0.0.1 port {port} is free"
    assert lines[7] == "ok   voice: ready: silero, vocabulary, espeak"


def test_json(run: Run) -> None:
    """Programs read an array."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("doctor", "--store", "memory:", "--port", str(port), "--json")
    assert ended.code == 1
    checks = {check["what"]: check for check in json.loads(ended.out)}
    assert {name for name, check in checks.items() if not check["good"]} == {"port"}
    assert checks["port"]["detail"].startswith(f"cannot listen on 127.0.0.1 port {port}: ")


def test_a_port_that_palaver_has(run: Run, desk: Server) -> None:
    """A server that runs already is no reason for alarm."""
    port = desk.url.rpartition(":")[2]
    ended = run("doctor", "--store", "memory:", "--port", port)
    assert ended.code == 0
    assert f"ok   port: 127.0.0.1 port {port}: Palaver serves there\n" in ended.out


@pytest.mark.parametrize(
    ("args", "bad"),
    [
        (["--port", "70000"], "BAD  settings: --port: Input should be less than or equal to 65535"),
        (["--config", "nope.toml"], "BAD  settings: configuration file nope.toml: cannot be read"),
        (["--store", "nope:x", "--port", "0"], "BAD  store: store 'nope:x' is not understood; "),
        (["--store", "file/t.db", "--port", "0"], "BAD  store: "),
    ],
)
def test_what_is_wrong(run: Run, tmp_path: Path, args: list[str], bad: str) -> None:
    """What is wrong is a line that says why; the exit code is 1."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    ended = run("doctor", *args)
    assert ended.code == 1
    (line,) = [line for line in ended.out.splitlines() if line.startswith("BAD")]
    assert line.startswith(bad)


@pytest.mark.parametrize(
    ("setting", "detail"),
    [
        ("voice_speaks=openai", "BAD  voice: voice_openai_base_url: must be set for the engine"),
        ("voice_hears=whisper", "BAD  voice: voice_whisper_model: must be set for the engine"),
    ],
)
def test_a_voice_that_is_not_ready(
    run: Run, monkeypatch: pytest.MonkeyPatch, setting: str, detail: str
) -> None:
    """What calls lack is said before the first call comes."""
    name, _, value = setting.partition("=")
    monkeypatch.setenv(f"PALAVER_{name.upper()}", value)
    ended = run("doctor", "--store", "memory:", "--port", "0")
    assert ended.code == 1
    assert detail in ended.out
