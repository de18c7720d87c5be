"""Clients of other houses against our server: the same visit, by each of them.

Each client is a program of its own that goes through all scenarios once and prints what it saw,
one JSON object a line; the tests look at that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Server
from tests.interop.conftest import HERE, OLDER_PEER

TIMEOUT = 40.0
JS = HERE / "js"

Shown = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """A foreign client: its program, the version that it speaks, where it looks for the agent."""

    name: str
    program: tuple[str, ...]
    version: str
    path: str = ""

    def missing(self) -> str | None:
        """Return why the program cannot run here."""
        if self.program[0] == "node":
            if shutil.which("node") is None:
                return "Node.js is not installed: install it, then `make peers`"
            if not (JS / "node_modules" / "@a2a-js" / "sdk").is_dir():
                return "@a2a-js/sdk is not installed: `make peers` does it"
        if "a2a_0_3" in self.program[1] and not OLDER_PEER.is_dir():
            return "a2a-sdk 0.3 is not installed: `make peers` does it"
        return None

    def visit(self, url: str) -> dict[str, Shown]:
        """Run the program against the agent; return what it saw, by scenario."""
        environment = dict(os.environ)
        if "a2a_0_3" in self.program[1]:
            environment["PYTHONPATH"] = str(OLDER_PEER)
        ended = subprocess.run(
            [*self.program, url + self.path, self.version],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        seen = [json.loads(line) for line in ended.stdout.splitlines()]
        return {item.pop("scenario"): item for item in seen}


NEWER = (sys.executable, str(HERE / "peers" / "a2a_1_3.py"))
OLDER = (sys.executable, str(HERE / "peers" / "a2a_0_3.py"))
JAVASCRIPT = ("node", str(JS / "client.mjs"))
PEERS = [
    Peer("a2a-sdk 1.3 at 1.0", NEWER, "1.0"),
    Peer("a2a-sdk 1.3 at 1.0, one agent of several", NEWER, "1.0", "/agents/uuid-do-agente"),
    Peer("a2a-sdk 1.3 at 0.3", NEWER, "0.3"),
    Peer("a2a-sdk 0.3", OLDER, "0.3"),
    Peer("a2a-js 1.3 at 1.0", JAVASCRIPT, "1.0"),
    Peer("a2a-js 1.3 at 0.3", JAVASCRIPT, "0.3"),
]


@pytest.fixture(scope="session", params=PEERS, ids=lambda peer: peer.name)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Return each client that can run here."""
    peer: Peer = request.param
    if (reason := peer.missing()) is not None:
        pytest.skip(reason)
    return peer


@pytest.fixture(scope="session")
def seen(peer: Peer, front_desk: Server) -> dict[str, Shown]:
    """Return what the client saw at our server, by scenario."""
    return peer.visit(front_desk.url)


def states(events: list[Shown]) -> list[str]:
    """Return the states that the events tell, in order."""
    return [event["state"] for event in events if "state" in event]


def answer(events: list[Shown]) -> list[Any]:
    """Return the parts of the answer, put together as ``append`` says; joined text is one part."""
    parts: list[Any] = []
    for event in events:
        if event["kind"] == "task":
            parts = [part for artifact in event["artifacts"] for part in artifact["parts"]]
        elif event["kind"] == "artifact":
            assert event["artifact"]["id"] == "response"
            parts = (parts if event["append"] else []) + event["artifact"]["parts"]
    if all(part[0] == "text" for part in parts) and parts:
        return [["text", "".join(part[1] for part in parts), "", ""]]
    return parts


def says(text: str) -> list[Any]:
    """Return an answer that is that text."""
    return [["text", text, "", ""]]


def ids(*shown: Shown) -> tuple[str, str]:
    """Return the id and the context of the one task that all this is about."""
    found = {(item["id"], item["context"]) for item in shown}
    assert len(found) == 1
    task_id, context = found.pop()
    assert task_id.startswith("task_")
    assert context.startswith("conv_")
    return task_id, context


def check_final(peer: Peer, events: list[Shown]) -> None:
    """See that where there is a ``final``, it is on the last event, and nowhere else."""
    told = [event["final"] for event in events if "final" in event]
    if peer.program is OLDER:
        assert told
        assert "final" in events[-1]
        assert told == [False] * (len(told) - 1) + [True]
    else:
        assert told == []


def test_the_card(peer: Peer, front_desk: Server, seen: dict[str, Shown]) -> None:
    """The card says who the agent is, what it can do, and where each generation reaches it."""
    card = seen["card"]
    assert (card["name"], card["description"]) == ("Recepção", "Atende na recepção")
    assert (card["version"], card["streaming"]) == ("1.2.3", True)
    names = [name for name, _ in card["skills"]]
    assert names == ["say", "hold", "release", "book", "show", "fail", "refuse"]
    assert card["skills"][0] == ["say", "Says the words again"]
    url = f"{front_desk.url}{peer.path}/a2a"
    both = [[url, "JSONRPC", "1.0"], [url, "JSONRPC", "0.3"]]
    assert card["interfaces"] == ([[url, "JSONRPC", "0.3.0"]] if peer.program is OLDER else both)


def test_a_stream(peer: Peer, seen: dict[str, Shown]) -> None:
    """The task comes first, then each chunk of the answer as its own event, then the end."""
    events = seen["stream"]["events"]
    ids(*events)
    assert states(events) == ["submitted", "working", "completed"]
    assert [event["kind"] for event in events] == [
        "task",
        "status",
        *["artifact"] * 5,
        "status",
    ]
    assert [event["append"] for event in events[2:-1]] == [False, True, True, True, True]
    assert answer(events) == says("Olá, como posso ajudar? 🙂")
    assert events[0]["history"] == [["user", "Olá, como posso ajudar? 🙂"]]
    assert events[0]["artifacts"] == []
    check_final(peer, events)


def test_a_failure(peer: Peer, seen: dict[str, Shown]) -> None:
    """A task that fails says so, and keeps the reason to itself."""
    events = seen["failure"]["events"]
    ids(*events)
    assert states(events) == ["submitted", "working", "failed"]
    assert events[-1]["said"] == "The agent failed."
    assert "secret" not in json.dumps(events)
    check_final(peer, events)


def test_a_refusal(peer: Peer, seen: dict[str, Shown]) -> None:
    """A task that the agent will not do is rejected, for the reason that it gives."""
    events = seen["refusal"]["events"]
    ids(*events)
    assert states(events) == ["submitted", "working", "rejected"]
    assert events[-1]["said"] == "A recepção está fechada"
    check_final(peer, events)


def test_a_send_and_a_look(seen: dict[str, Shown]) -> None:
    """A send waits for the end; the task is there to be asked for, with and without history."""
    sent, got, short = (seen["send"][name] for name in ("sent", "got", "short"))
    ids(sent, got, short)
    assert sent["state"] == "completed"
    assert answer([sent]) == says("um dois três")
    assert sent["history"] == [["user", "um dois três"]]
    assert got == sent
    assert short == sent | {"history": []}


def test_parts_of_each_kind(seen: dict[str, Shown]) -> None:
    """Data, bytes and a link come back as they went, with their names and types."""
    task = seen["parts"]["task"]
    assert task["state"] == "completed"
    assert answer([task]) == [
        ["data", {"mesa": 7, "nomes": ["Ana", None], "ok": True}, "", ""],
        ["raw", "AP9ieXRlcw==", "a.bin", "application/octet-stream"],
        ["url", "https://example.com/b.png", "b.png", "image/png"],
    ]


def test_a_cancel(peer: Peer, seen: dict[str, Shown]) -> None:
    """A task is canceled at once; its stream says so and ends; it cannot be canceled again."""
    events, canceled = seen["cancel"]["events"], seen["cancel"]["canceled"]
    ids(*events, canceled)
    assert states(events) == ["submitted", "working", "canceled"]
    assert answer(events) == answer([canceled]) == says("held")
    assert canceled["state"] == "canceled"
    assert seen["cancel"]["again"] == -32002
    check_final(peer, events)


def test_a_second_stream(peer: Peer, seen: dict[str, Shown]) -> None:
    """Who joins a running task gets it as it stands, then what the first stream gets."""
    first, second = seen["subscribe"]["first"], seen["subscribe"]["second"]
    ids(*first, *second)
    # The agent reports progress in the middle, so it works twice.
    assert states(first) == ["submitted", "working", "working", "completed"]
    assert (second[0]["kind"], second[0]["state"]) == ("task", "working")
    assert second[0]["artifacts"] == [{"id": "response", "parts": says("held")}]
    assert second[1:] == first[3:]
    assert answer(first) == answer(second) == says("held and released")
    check_final(peer, first)
    check_final(peer, second)


def test_an_answer_at_once(peer: Peer, seen: dict[str, Shown]) -> None:
    """Who does not wait gets the task as it begins, and can follow it to its end."""
    begun, events = seen["immediate"]["begun"], seen["immediate"]["events"]
    ids(begun, *events)
    assert (begun["state"], begun["artifacts"]) == ("submitted", [])
    assert events[0]["kind"] == "task"
    assert states(events)[-1] == "completed"
    assert answer(events) == says("held and released")
    check_final(peer, events)


def test_questions_on_streams(peer: Peer, seen: dict[str, Shown]) -> None:
    """A stream ends with the agent's question; the answer goes on with the same task."""
    first, second, third = rounds = seen["turns"]["rounds"]
    ids(*first, *second, *third)
    assert states(first) == ["submitted", "working", "input_required"]
    assert states(second) == ["working", "input_required"]
    assert states(third) == ["working", "completed"]
    assert (first[-1]["said"], second[-1]["said"]) == ("Que dia?", "Quantas pessoas?")
    assert third[0]["history"] == [
        ["user", "book"],
        ["agent", "Que dia?"],
        ["user", "sexta"],
        ["agent", "Quantas pessoas?"],
        ["user", "quatro"],
    ]
    assert answer(third) == says("Reservado: sexta, quatro pessoas")
    for events in rounds:
        check_final(peer, events)


def test_questions_without_streams(seen: dict[str, Shown]) -> None:
    """A send returns when the agent asks, and the answer's send when it asks again or is done."""
    first, second, third = answers = seen["turns"]["answers"]
    ids(*answers)
    assert [task["state"] for task in answers] == ["input_required", "input_required", "completed"]
    assert [task["said"] for task in answers] == ["Que dia?", "Quantas pessoas?", ""]
    assert first["history"] == [["user", "book"]]
    assert second["history"][1:] == [["agent", "Que dia?"], ["user", "sábado"]]
    assert [role for role, _ in third["history"]] == ["user", "agent", "user", "agent", "user"]
    assert answer([third]) == says("Reservado: sábado, duas pessoas")


def test_errors(peer: Peer, seen: dict[str, Shown]) -> None:
    """What cannot be is refused with the code of the specification, which the client knows."""
    expected: dict[str, int | str] = {
        "get unknown": -32001,
        "cancel unknown": -32001,
        "cancel finished": -32002,
        "send to unknown": -32001,
        "send to finished": -32004,
        "stream to unknown": -32001,
        "subscribe to unknown": -32001,
        "push": -32003,
    }
    if peer.version == "1.0":
        expected |= {"list": -32004, "subscribe to finished": -32004}
    if peer.program is OLDER:
        # It reads nothing but event streams there, so the error that is none loses its code.
        expected |= {"stream to unknown": "HTTP 400", "subscribe to unknown": "HTTP 400"}
    if peer.program is JAVASCRIPT:
        # It has read in the card that there are none, and does not even ask.
        expected["push"] = "PushNotificationNotSupportedError: Push Notification is not supported"
    assert seen["errors"]["codes"] == expected


def test_a_look_back_before_1_0(peer: Peer, seen: dict[str, Shown]) -> None:
    """Before 1.0, who subscribes to a finished task is shown how it ended."""
    if peer.version == "1.0":
        assert "finished" not in seen["errors"]
        return
    events = seen["errors"]["finished"]
    ids(*events)
    assert [event["kind"] for event in events] == ["task", "status"]
    assert states(events) == ["completed", "completed"]
    assert answer(events) == says("pronto")
    check_final(peer, events)
