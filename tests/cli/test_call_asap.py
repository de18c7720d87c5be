"""``palaver call`` over ASAP: what it prints, on which channel, and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from palaver.cli.asap_transcript import AsapJson, AsapText
from palaver.cli.call_asap import Saying, converse, routed
from palaver.cli.exits import Exit
from palaver.client.asap_errors import AsapUnreachable
from palaver.errors import PeerError
from palaver.protocols.asap.manifest import parse_manifest
from palaver.protocols.asap.messages import Envelope, TaskResponse, moment
from tests.cli.conftest import Ended, Run
from tests.client.asap_server import reply_frame
from tests.client.peers import Visit, drop, peer
from tests.conftest import Serve, Server

WIRES = ["asap", "asap-ws"]


class Kept:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.answers: list[TaskResponse] = []

    def push(self, envelope: Envelope) -> None:
        """Keep nothing."""

    def answer(self, response: TaskResponse) -> None:
        """Keep the answer."""
        self.answers.append(response)


async def manifest_of_one(visit: Visit) -> None:
    """Say that there is one skill."""
    said = {
        "id": "urn:asap:agent:a",
        "name": "a",
        "version": "1",
        "capabilities": {"skills": [{"id": "echo"}]},
        "endpoints": {"asap": "http://localhost/asap"},
    }
    await visit.answer(json.dumps(said).encode())


async def working(visit: Visit) -> None:
    """Say that the task goes on."""
    await visit.answer(reply_frame(json.dumps(visit.request), status="working").encode())


async def done(visit: Visit) -> None:
    """Tell the state of a task that is done."""
    state = {"data": {"result": {"text": "made"}}}
    frame = reply_frame(json.dumps(visit.request), status="completed", final_state=state)
    await visit.answer(frame.encode())


def socket_of(desk: Server) -> str:
    """Return the address of its WebSocket."""
    return f"{desk.url.replace('http', 'ws')}/asap/ws"


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer(run: Run, desk: Server, wire: str) -> None:
    """What the agent says goes to standard output, over either binding."""
    said = run("call", desk.url, "say one two three", "--wire", wire)
    assert said == Ended(0, "one two three\n", "")


def test_addresses_of_endpoints(run: Run, desk: Server) -> None:
    """The address of a WebSocket says the wire by itself, also with the wire named."""
    assert run("call", socket_of(desk), "hi").out == "hi\n"
    assert run("call", socket_of(desk), "hi", "--wire", "asap").out == "hi\n"
    assert run("call", f"{desk.url}/asap", "hi", "--wire", "asap").out == "hi\n"
    assert run("call", f"{desk.url}/agents/desk", "hi", "--wire", "asap-ws").out == "hi\n"


def test_json_over_http(run: Run, desk: Server) -> None:
    """With ``--json`` the answer is one line, with the task's id."""
    ended = run("call", desk.url, "say a b", "--wire", "asap", "--json")
    (line,) = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (0, "")
    assert (line["type"], line["status"]) == ("TaskResponse", "completed")
    assert line["result"]["text"] == "a b"
    assert line["task_id"].startswith("task_")


def test_json_over_a_websocket(run: Run, desk: Server) -> None:
    """On a WebSocket the news of the task come before the answer, a line each."""
    run("call", desk.url, "open json-gate")
    ended = run("call", desk.url, "hold json-gate", "--wire", "asap-ws", "--json")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["type"] for line in lines] == [
        "TaskUpdate",
        "ArtifactNotify",
        "TaskUpdate",
        "TaskUpdate",
        "TaskResponse",
    ]
    assert lines[2]["progress"] == {"percent": 50.0}
    assert lines[-1]["result"] == {"text": "held on"}
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
    task_id = hint.removeprefix("(answer with --task ").removesuffix(" --wire asap)")
    answered = run("call", desk.url, "Monday", "--task", task_id, "--wire", wire)
    assert answered == Ended(0, "You said Monday.\n", "")


def test_a_conversation(run: Run, desk: Server) -> None:
    """``--conversation`` names the conversation of the task."""
    named = ("--conversation", "asap-7")
    ended = run("call", desk.url, "hi", "--json", "--wire", "asap", *named)
    task_id = json.loads(ended.out)["task_id"]
    followed = run("call", desk.url, "--task", task_id, "--json")
    assert json.loads(followed.out.splitlines()[0])["conversation_id"] == "asap-7"


@pytest.mark.parametrize("wire", WIRES)
def test_a_task_that_is_not_there(run: Run, desk: Server, wire: str) -> None:
    """What the peer refuses is exit code 4, with its words."""
    ended = run("call", desk.url, "hi", "--task", "nowhere", "--wire", wire)
    text = "palaver: Task not found: there is no task 'nowhere' (code -32010)\n"
    assert ended == Ended(4, "", text)


@pytest.mark.parametrize(
    ("url", "wire", "code"),
    [
        ("http://127.0.0.1:1", "asap", 3),
        ("http://127.0.0.1:1", "asap-ws", 3),
        ("ws://127.0.0.1:1", None, 3),
        ("ftp://x", "asap", 3),
        ("URL/nowhere", "asap", 4),
        ("URL/nowhere", "asap-ws", 4),
    ],
)
def test_nobody_there(run: Run, desk: Server, url: str, wire: str | None, code: int) -> None:
    """An address at which nobody is, or no agent, ends at once, in one line."""
    chosen = () if wire is None else ("--wire", wire)
    ended = run("call", url.replace("URL", desk.url), "hi", *chosen)
    assert (ended.code, ended.out) == (code, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("palaver: ")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/asp", "calls are taken there: palaver talk WS/asp FILE.wav; leave /asp out for text"),
        ("/nowhere", "write http://HOST:PORT, or ws://HOST:PORT/asap/ws"),
    ],
)
def test_another_address_is_named(run: Run, desk: Server, path: str, hint: str) -> None:
    """Where there is no ASAP, the line says what to write."""
    address = desk.url.replace("http", "ws")
    ended = run("call", f"{address}{path}", "hi")
    assert ended.code == 4
    assert ended.err.endswith(f"; {hint.replace('WS', address)}\n")


@pytest.fixture(scope="module")
def hasty(serve: Serve) -> Server:
    """Serve the demo agent, which tells soon of a task that it goes on."""
    return serve("--set=asap_send_timeout=0.1")


@pytest.mark.parametrize("wire", WIRES)
def test_a_long_task(run: Run, hasty: Server, wire: str) -> None:
    """A task that goes on after its request was answered is followed to its end."""
    ended = run("call", hasty.url, "count 9", "--wire", wire)
    assert ended == Ended(0, "1 2 3 4 5 6 7 8 9\n", "")
    lines = run("call", hasty.url, "count 9", "--wire", wire, "--json").out.splitlines()
    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds.count("TaskResponse") == 1
    assert json.loads(lines[-1])["result"] == {"text": "1 2 3 4 5 6 7 8 9"}
    assert ("TaskUpdate" in kinds) == (wire == "asap-ws")


def test_a_conversation_with_somebody(desk: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Where somebody can be asked, the question is answered, and the task goes on."""

    async def somebody() -> str:
        return "Monday"

    show, asked = AsapText(), Saying("ask")
    code = asyncio.run(converse(desk.url, "http", asked, 10.0, show, somebody))
    assert code is Exit.DONE
    said = capsys.readouterr()
    assert said.out == "You said Monday.\n"
    assert said.err.startswith("Which day?\n")


async def test_following_a_task_of_a_peer_that_drops() -> None:
    """Between the answers about a task the peer may be away for a while."""
    transcript = Kept()
    steps = (manifest_of_one, working, drop, working, drop, done)
    async with asyncio.timeout(20), peer(*steps) as met:
        code = await converse(met.url, "http", Saying("hi"), 10.0, transcript)
    assert code is Exit.DONE
    assert [answer.result for answer in transcript.answers] == [{"text": "made"}]
    asked = [visit.request["params"]["envelope"]["payload_type"] for visit in met.visits[1:]]
    assert asked == ["TaskRequest", *["StateQuery"] * 4]


async def test_following_a_task_of_a_peer_that_is_gone() -> None:
    """A peer that stays away for longer than it may is lost."""
    async with asyncio.timeout(20), peer(manifest_of_one, working, drop) as met:
        with pytest.raises(AsapUnreachable):
            await converse(met.url, "http", Saying("hi"), 0.3, Kept())


@pytest.mark.parametrize(
    ("response", "out", "err"),
    [
        (TaskResponse(task_id="t", status="completed"), "", ""),
        (TaskResponse(task_id="t", status="completed", result={"text": ""}), "", ""),
        (TaskResponse(task_id="t", status="completed", result={"n": 1}), '{"n":1}\n', ""),
        (TaskResponse(task_id="t", status="completed", result={"text": "a\n"}), "a\n", ""),
        (TaskResponse(task_id="t", status="cancelled"), "", "(cancelled)\n"),
        (TaskResponse(task_id="t", status="failed", result={"error": "no"}), "", "no\n"),
        (
            TaskResponse(task_id="t", status="input_required", result={"input_request": 7}),
            "",
            "(the agent asks for input)\n(answer with --task t --wire asap)\n",
        ),
    ],
)
def test_answers_of_other_peers(
    response: TaskResponse, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a peer leaves out or says in another way is shown as well as it can be."""
    AsapText().answer(response)
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize(
    ("kind", "payload", "err"),
    [
        ("TaskUpdate", {"progress": {"message": "half"}}, "half\n"),
        ("TaskUpdate", {"progress": {"message": 7}}, ""),
        ("TaskUpdate", {"update_type": "odd"}, ""),
        ("ArtifactNotify", {}, ""),
        ("Later", {}, ""),
    ],
)
def test_news_of_other_peers(
    kind: str, payload: dict[str, Any], err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is pushed is shown where it says how far the task is, and ends nothing."""
    told = {"task_id": "t", "update_type": "progress", "status": "working", **payload}
    envelope = Envelope(
        id="e",
        asap_version="0.1",
        timestamp=moment(0.0),
        sender="urn:asap:agent:a",
        recipient="urn:asap:agent:b",
        payload_type=kind,
        payload=told,
    )
    AsapText().push(envelope)
    assert capsys.readouterr() == ("", err)
    AsapJson().push(envelope)
    assert json.loads(capsys.readouterr().out) == {"type": kind, **told}


@pytest.mark.parametrize(
    ("text", "skill", "rest"),
    [
        ("echo hello there", "echo", "hello there"),
        ("  echo   hello", "echo", "hello"),
        ("clock", "clock", ""),
        ("hello echo", "say", "hello echo"),
        ("echoes", "say", "echoes"),
        ("", "say", ""),
    ],
)
def test_the_skill_of_a_text(text: str, skill: str, rest: str) -> None:
    """The first word may name the skill; else it is the agent's first one."""
    manifest = parse_manifest(
        {
            "id": "urn:asap:agent:a",
            "name": "a",
            "version": "1",
            "capabilities": {"skills": [{"id": one} for one in ("say", "echo", "clock")]},
            "endpoints": {"asap": "http://a.test/asap"},
        }
    )
    assert routed(manifest, text) == (skill, rest)


def test_an_agent_without_skills() -> None:
    """There is nothing to ask of an agent that has no skills."""
    endpoints = {"asap": "http://a.test/asap"}
    said = {"id": "urn:asap:agent:a", "name": "a", "version": "1", "endpoints": endpoints}
    with pytest.raises(PeerError, match="says of itself that it has no skills"):
        routed(parse_manifest(said), "hi")
