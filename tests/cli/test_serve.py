"""``palaver serve``: what is wrong is told in one line, with exit code 2, before anything runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import Serve

FREE = ("--port", "0", "--store", "memory:")


def refused(run: Run, *args: str) -> str:
    """Run ``palaver serve``, see that it ends with one line and code 2, and return the line."""
    ended = run("serve", *args)
    assert ended.code == 2, ended
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("palaver: ")
    return line.removeprefix("palaver: ")


def test_a_port_that_is_taken(run: Run) -> None:
    """A port that somebody listens on is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(run, "--port", str(port), "--store", "memory:")
    assert line == (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "choose another with --port (0 takes a free one) or --host"
    )


@pytest.mark.parametrize(
    ("source", "target", "line"),
    [
        ("", "nosuch:agent", "there is no module 'nosuch' here or among the installed packages"),
        ("", "nosuch.py", "there is no file nosuch.py"),
        ("", ":agent", "write MODULE:AGENT or FILE.py:AGENT"),
        ("", "../desk:agent", "write MODULE:AGENT or FILE.py:AGENT"),
        ("", "desk", "'desk' has no Agent named 'agent'"),
        ("agent = 1", "desk", "'desk' has no Agent named 'agent'"),
        (
            "from palaver import Agent\na = Agent('a')\nb = Agent('b')",
            "desk:c",
            "'desk' has no Agent named 'c'; it has: a, b",
        ),
        (
            "import nosuch_module",
            "desk",
            "importing 'desk' failed: No module named 'nosuch_module'",
        ),
        ("1 / 0", "desk.py:agent", "importing 'desk' failed: ZeroDivisionError: division by zero"),
        (
            "raise ValueError('one\\ntwo')",
            "desk",
            "importing 'desk' failed: ValueError: one two",
        ),
        ("from palaver import Agent\nAgent('')", "desk", "importing 'desk' failed: AgentError: "),
        (
            "def broken(:",
            "desk",
            "importing 'desk' failed: SyntaxError: invalid syntax (desk.py, l",
        ),
    ],
)
def test_agents_that_cannot_be_loaded(
    run: Run, tmp_path: Path, source: str, target: str, line: str
) -> None:
    """A target that leads to no agent is named, with the reason, and what was found instead."""
    (tmp_path / "desk.py").write_text(source, encoding="utf-8")
    assert refused(run, target, "--store", "memory:").startswith(f"{target}: {line}")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--port", "70000"], "--port: Input should be less than or equal to 65535, not 70000"),
        (["--set", "port=x"], "--port: Input should be a valid integer, unable to parse string"),
        (["--set", "retention=0"], "--set retention: Input should be greater than 0, not '0'"),
        (["--set", "retention=nan"], "--set retention: Input should be a finite number, not 'nan'"),
        (["--set", "nope=1"], "--set nope=1: write NAME=VALUE with a NAME from --print-config"),
        (["--set", "port"], "--set port: write NAME=VALUE with a NAME from --print-config"),
        (
            ["--set", "log-format=xml"],
            "--set log_format: Input should be 'console' or 'json', not 'xm",
        ),
        (["--set", "public_url=x"], "--set public_url: Input should be a valid URL"),
        (["--store", "redis://x"], "store 'redis://x': redis is not available in this version"),
        (["--store", "nope:x"], "store 'nope:x' is not understood"),
        (["--config", "nope.toml"], "configuration file nope.toml: cannot be read: "),
        (["--config", "."], "configuration file .: cannot be read: "),
        (["--host", "a..b", "--insecure"], ""),
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines, and nobody would be"),
        (["--host", "example.test"], "example.test can be reached from other machines"),
    ],
)
def test_settings_that_are_wrong(run: Run, args: list[str], line: str) -> None:
    """A setting that is wrong is named as it was given."""
    if "--insecure" in args:
        ended = run("serve", *args)
        assert ended.code == 2
        assert ended.out == "Warning: everybody who reaches a..b may use this agent.\n"
        assert ended.err.startswith("palaver: cannot listen on a..b port 8080: ")
        return
    assert refused(run, *args).startswith(line)


def test_a_store_that_cannot_be_opened(run: Run, tmp_path: Path) -> None:
    """A store that cannot be opened is told before anybody is told that the agent is served."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    store = tmp_path / "file" / "tasks.db"
    line = refused(run, "--store", str(store), "--port", "0")
    assert line.startswith(f"{store} cannot be made (")


def test_a_file_that_is_no_store(run: Run, tmp_path: Path) -> None:
    """A file that is something else is not written to."""
    store = tmp_path / "letter.txt"
    store.write_text("Dear Ana, " * 1_000, encoding="utf-8")
    assert str(store) in refused(run, "--store", str(store), "--port", "0")
    assert store.read_text(encoding="utf-8").startswith("Dear Ana")


def test_print_config(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--print-config`` shows each setting as it would be, and serves nothing."""
    (tmp_path / "p.toml").write_text("port = 1\nretention = 5\nlease_ttl = 7", encoding="utf-8")
    monkeypatch.setenv("PALAVER_PORT", "2")
    monkeypatch.setenv("PALAVER_RETENTION", "6")
    ended = run("serve", "--print-config", "--config", "p.toml", "--port", "3", "--set=host=::1")
    shown = json.loads(ended.out)
    assert (shown["port"], shown["retention"], shown["lease_ttl"]) == (3, 6.0, 7.0)
    assert shown["host"] == "::1"
    assert shown["store"] == str(tmp_path / "state" / "palaver" / "palaver.db")
    assert shown["public_url"] is None


def test_an_open_server_warns(serve: Serve) -> None:
    """With ``--insecure`` others are served, after a warning."""
    process = subprocess.Popen(
        [sys.executable, "-m", "palaver", "serve", "--host=0.0.0.0", "--insecure", *FREE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert said[0] == "Warning: everybody who reaches 0.0.0.0 may use this agent.\n"
    assert "serves 'demo' at http://0.0.0.0:" in said[1]
    assert said[2] == "Tasks are kept in memory, and lost at the end. Stop with Ctrl-C.\n"
    assert rest == ""


def test_an_address_of_six(serve: Serve) -> None:
    """An IPv6 address is served, and shown as a URL has it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert serve("--host", "::1").url.startswith("http://[::1]:")


def test_a_relative_target(serve: Serve, tmp_path: Path) -> None:
    """A module of the current folder is found by its name."""
    source = "from palaver import Agent\nmine = Agent('Mine')\nmine.skill('x')(lambda turn: 'x')"
    (tmp_path / "my_desk.py").write_text(source, encoding="utf-8")
    server = serve("my_desk:mine", "--store", str(tmp_path / "t.db"), cwd=tmp_path)
    assert server.process.poll() is None
