"""``palaver call``: what it prints, on which channel, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Run
from tests.conftest import Server

WIRES = ["a2a", "a2a-1.0", "a2a-0.3", "a2a-0.1"]


@pytest.mark.parametrize("wire", [None, *WIRES])
def test_an_answer(run: Run, desk: Server, wire: str | None) -> None:
    """What the agent says goes to standard output, in whatever generation."""
    chosen = [] if wire is None else ["--wire", wire]
    assert run("call", desk.url, "say one two three", *chosen) == Ended(0, "one two three\n", "")


def test_the_address_of_an_endpoint(run: Run, desk: Server) -> None:
    """The address may be that of an endpoint, or lack its scheme."""
    assert run("call", f"{desk.url}/a2a/", "hi").out == "hi\n"
    assert run("call", desk.url.removeprefix("http://"), "hi").out == "hi\n"
    assert run("call", f"{desk.url}/agents/desk", "hi").out == "hi\n"


@pytest.mark.parametrize("wire", WIRES)
def test_json_lines(run: Run, desk: Server, wire: str) -> None:
    """With ``--json`` each event is one line, with its number and its type."""
    ended = run("call", desk.url, "say a b", "--json", "--wire", wire)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (0, "")
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    first = "status" if wire == "a2a-0.1" else "task"
    assert [line["type"] for line in lines] == [first, "status", "artifact", "artifact", "status"]
    assert lines[-1]["state"] == "completed"
    assert [line["artifact"]["parts"][0]["text"] for line in lines[2:4]] == ["a", " b"]
    assert len({line["task_id"] for line in lines}) == 1


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("text", "said"), [("fail", "The agent failed.\n"), ("reject", "not today\n")]
)
def test_a_task_that_fails(run: Run, desk: Server, wire: str, text: str, said: str) -> None:
    """A task that fails or is rejected is exit code 1, with its reason on standard error."""
    assert run("call", desk.url, text, "--wire", wire) == Ended(1, "", said)


@pytest.mark.parametrize("wire", WIRES)
def test_a_question(run: Run, desk: Server, wire: str) -> None:
    """A question ends with exit code 5 and says how to answer; the answer goes on."""
    asked = run("call", desk.url, "ask", "--wire", wire)
    assert (asked.code, asked.out) == (5, "")
    question, hint = asked.err.splitlines()
    assert question == "Which day?"
    task_id = hint.removeprefix("(answer with --task ").removesuffix(")")
    answered = run("call", desk.url, "Monday", "--task", task_id, "--wire", wire)
    assert answered.code == 0
    assert answered.out.endswith("You said Monday.\n")


@pytest.mark.parametrize("wire", ["a2a-0.3", "a2a-0.1", "a2a-1.0"])
def test_an_earlier_task(run: Run, desk: Server, wire: str) -> None:
    """``--task`` with ``--after`` tells what came behind that event."""
    said = run("call", desk.url, "say a b", "--json", "--wire", wire).out.splitlines()
    task_id = json.loads(said[0])["task_id"]
    rest = run("call", desk.url, "--task", task_id, "--after", "2", "--json", "--wire", wire)
    assert rest.out.splitlines() == said[2:]
    assert rest.code == 0
    text = run("call", desk.url, "--task", task_id, "--after", "2", "--wire", wire)
    assert text == Ended(0, "a b\n", "")


def test_a_finished_task_from_the_start(run: Run, desk: Server) -> None:
    """Without ``--after`` a finished task is shown as it is, by every generation."""
    said = run("call", desk.url, "say a b", "--json", "--wire", "a2a-0.3").out.splitlines()
    task_id = json.loads(said[0])["task_id"]
    shown = run("call", desk.url, "--task", task_id, "--wire", "a2a-0.3")
    assert shown == Ended(0, "a b\n", "")
    assert run("call", desk.url, "--task", task_id) == shown


def test_a_conversation(run: Run, desk: Server) -> None:
    """``--conversation`` names the conversation of the task."""
    ended = run("call", desk.url, "hi", "--json", "--conversation", "c-7")
    assert json.loads(ended.out.splitlines()[0])["conversation_id"] == "c-7"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["URL"], "say something (TEXT), or name a task to follow (--task)"),
        (["URL", "hi", "--after", "1"], "--after goes with --task, and without TEXT"),
        (["URL", "hi", "--task", "t", "--after", "1"], "--after goes with --task, and without"),
        (["URL", "hi", "--wire", "a3a"], "--wire a3a: choose one of a2a, a2a-1.0, a2a-0.3, a2a"),
        (["URL", "--task", "t", "--wire", "asap"], "--wire asap goes with TEXT: an earlier task"),
        (["ws://localhost", "--task", "t"], "--wire asap-ws goes with TEXT"),
    ],
)
def test_wrong_usage(run: Run, desk: Server, args: list[str], line: str) -> None:
    """What does not go together is exit code 2."""
    ended = run("call", *[desk.url if arg == "URL" else arg for arg in args])
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"palaver: {line}")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://[::1",
        "http://127.0.0.1:99999",
        "ftp://x",
        "http://",
        "a b",
        "",
    ],
)
@pytest.mark.parametrize("command", [["call", "URL", "hi"], ["inspect", "URL"]])
def test_nobody_there(run: Run, url: str, command: list[str]) -> None:
    """An address at which nobody can be is exit code 3, in one line."""
    ended = run(*[url if arg == "URL" else arg for arg in command])
    assert (ended.code, ended.out) == (3, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(("palaver: nobody answers at", f"palaver: {url!r} is no address"))


def test_a_task_that_is_not_there(run: Run, desk: Server) -> None:
    """What the peer refuses is exit code 4, with its words."""
    ended = run("call", desk.url, "hi", "--task", "nowhere")
    assert ended == Ended(
        4, "", "palaver: Task not found: there is no task 'nowhere' (code -32001)\n"
    )


def test_an_agent_that_is_not_there(run: Run, desk: Server) -> None:
    """A peer without a card is exit code 4."""
    ended = run("call", f"{desk.url}/nowhere", "hi")
    assert ended.code == 4
    assert ended.err.startswith(f"palaver: there is no agent card at {desk.url}/nowhere: ")


def started(*args: str, **options: object) -> subprocess.Popen[str]:
    """Start ``palaver`` as a process of its own."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "palaver", *args],
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        **options,
    )


def test_an_interrupt(desk: Server) -> None:
    """Ctrl-C is exit code 130, without a traceback."""
    pipe = subprocess.PIPE
    process = started("call", desk.url, "hold forever", stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stdout.read(4) == "held"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")


def test_output_that_nobody_reads(desk: Server) -> None:
    """When whoever reads the output has enough, the command ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    process = started("call", desk.url, "say a b c", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    _, errors = process.communicate(timeout=20)
    assert errors == ""
    assert process.returncode == 1


def test_a_conversation_on_a_terminal(desk: Server) -> None:
    """On a terminal the question is asked there, and the answer goes on with the task."""
    ours, theirs = pty.openpty()
    process = started("call", desk.url, "ask", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    with closing(os.fdopen(ours, "rb+", buffering=0)) as terminal:
        said = b""
        while b"?: " not in said.rpartition(b"Which day?")[2]:
            assert select.select([terminal], [], [], 20)[0], said
            said += terminal.read(1_000)
        terminal.write(b"Monday\n")
        while b"You said Monday." not in said:
            assert select.select([terminal], [], [], 20)[0], said
            said += terminal.read(1_000)
        assert process.wait(timeout=20) == 0


def test_the_store_is_left_alone(run: Run, desk: Server, tmp_path: Path) -> None:
    """A caller keeps nothing on this machine."""
    run("call", desk.url, "hi")
    assert list(tmp_path.iterdir()) == []
