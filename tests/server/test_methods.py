"""Every method of every generation, and the exact shape of its answer (sections 2 to 4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from palaver.app import App
from tests.server.agents import agent, other
from tests.server.asgi import ask, serving
from tests.server.raw import call
from tests.server.spoken import GENERATIONS, V01, V03, V10, Spoken

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
QUESTION = "Which day?"
each_generation = pytest.mark.parametrize("spoken", GENERATIONS, ids=lambda spoken: spoken.name)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Serve two agents."""
    async with serving(agent, other) as app:
        yield app


def plain(value: Any, names: dict[str, str]) -> Any:
    """Return the value with its times and made-up ids under fixed names."""
    if isinstance(value, dict):
        return {key: plain(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, names) for inner in value]
    if isinstance(value, str):
        return names.get(value, "now" if TIME.fullmatch(value) else value)
    return value


async def test_a_send_of_1_0(app: App) -> None:
    """Section 4: the result of SendMessage holds the whole task."""
    answer = (await V10.ask(app, "SendMessage", V10.said("a b", "m1")).answered()).json
    task = answer["result"]["task"]
    assert plain(answer, {task["id"]: "T", task["contextId"]: "C"}) == {
        "jsonrpc": "2.0",
        "id": "r-1",
        "result": {
            "task": {
                "id": "T",
                "contextId": "C",
                "status": {"state": "TASK_STATE_COMPLETED", "timestamp": "now"},
                "artifacts": [{"artifactId": "response", "parts": [{"text": "a b"}]}],
                "history": [
                    {
                        "messageId": "m1",
                        "role": "ROLE_USER",
                        "parts": [{"text": "a b"}],
                        "taskId": "T",
                        "contextId": "C",
                    }
                ],
            }
        },
    }
    got = (await V10.ask(app, "GetTask", {"id": task["id"]}).answered()).json
    assert got["result"] == task


async def test_a_send_of_0_3(app: App) -> None:
    """Section 3: the result of message/send is a task, tagged by its kind."""
    answer = (await V03.ask(app, "message/send", V03.said("a b", "m1")).answered()).json
    task = answer["result"]
    assert plain(answer, {task["id"]: "T", task["contextId"]: "C"}) == {
        "jsonrpc": "2.0",
        "id": "r-1",
        "result": {
            "kind": "task",
            "id": "T",
            "contextId": "C",
            "status": {"state": "completed", "timestamp": "now"},
            "artifacts": [{"artifactId": "response", "parts": [{"kind": "text", "text": "a b"}]}],
            "history": [
                {
                    "kind": "message",
                    "messageId": "m1",
                    "role": "user",
                    "parts": [{"kind": "text", "text": "a b"}],
                    "taskId": "T",
                    "contextId": "C",
                }
            ],
        },
    }
    got = (await V03.ask(app, "tasks/get", {"id": task["id"]}).answered()).json
    assert got["result"] == task


async def test_a_send_of_0_1(app: App) -> None:
    """Section 2: the result of tasks/send is a task of the client's id, history on request."""
    answer = (await V01.ask(app, "tasks/send", V01.said("a b", "T", sessionId="S")).answered()).json
    assert plain(answer, {}) == {
        "jsonrpc": "2.0",
        "id": "r-1",
        "result": {
            "id": "T",
            "sessionId": "S",
            "status": {"state": "completed", "timestamp": "now"},
            "artifacts": [{"parts": [{"type": "text", "text": "a b"}], "index": 0}],
        },
    }
    got = (await V01.ask(app, "tasks/get", {"id": "T", "historyLength": 1}).answered()).json
    assert got["result"].pop("history") == [
        {"role": "user", "parts": [{"type": "text", "text": "a b"}]}
    ]
    assert got["result"] == answer["result"]


async def test_a_stream_of_1_0(app: App) -> None:
    """Section 4: the task first, then its updates; each block has an id, the first the retry."""
    stream = await V10.ask(app, "SendStreamingMessage", V10.said("a b", "m1")).answered()
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.headers["cache-control"] == "no-store"
    blocks = stream.blocks
    assert [block.id for block in blocks] == [1, 2, 3, 4, 5]
    assert [block.retry for block in blocks] == [1_000, None, None, None, None]
    assert {(block.data["jsonrpc"], block.data["id"]) for block in blocks} == {("2.0", "r-1")}
    task = blocks[0].result["task"]
    named = {"taskId": "T", "contextId": "C"}
    shown = plain([b.result for b in blocks], {task["id"]: "T", task["contextId"]: "C"})
    message = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "a b"}], **named}
    assert shown == [
        {
            "task": {
                "id": "T",
                "contextId": "C",
                "status": {"state": "TASK_STATE_SUBMITTED", "timestamp": "now"},
                "history": [message],
            }
        },
        {
            "statusUpdate": {
                **named,
                "status": {"state": "TASK_STATE_WORKING", "timestamp": "now"},
            }
        },
        {
            "artifactUpdate": {
                **named,
                "artifact": {"artifactId": "response", "parts": [{"text": "a"}]},
            }
        },
        {
            "artifactUpdate": {
                **named,
                "artifact": {"artifactId": "response", "parts": [{"text": " b"}]},
                "append": True,
            }
        },
        {
            "statusUpdate": {
                **named,
                "status": {"state": "TASK_STATE_COMPLETED", "timestamp": "now"},
            }
        },
    ]


async def test_a_stream_of_0_3(app: App) -> None:
    """Section 3: each result says its kind; the last status is final."""
    stream = await V03.ask(app, "message/stream", V03.said("a b", "m1")).answered()
    results = [block.result for block in stream.blocks]
    task = results[0]
    named = {"taskId": "T", "contextId": "C"}
    shown = plain(results, {task["id"]: "T", task["contextId"]: "C"})
    assert shown[0]["kind"] == "task"
    assert shown[0]["status"]["state"] == "submitted"
    chunk = {"kind": "artifact-update", **named, "lastChunk": False}
    status = {"kind": "status-update", **named}
    assert shown[1:] == [
        {**status, "status": {"state": "working", "timestamp": "now"}, "final": False},
        {
            **chunk,
            "artifact": {"artifactId": "response", "parts": [{"kind": "text", "text": "a"}]},
            "append": False,
        },
        {
            **chunk,
            "artifact": {"artifactId": "response", "parts": [{"kind": "text", "text": " b"}]},
            "append": True,
        },
        {**status, "status": {"state": "completed", "timestamp": "now"}, "final": True},
    ]


@pytest.mark.parametrize(
    "path",
    ["/a2a", "/agents/desk/tasks/sendSubscribe", "/api/v1/agents/desk/tasks/sendSubscribe"],
)
async def test_a_stream_of_0_1(app: App, path: str) -> None:
    """Section 2: statuses and artifacts alone, under the client's id; the last status is final."""
    said = V01.said("a b", "T")
    stream = await V01.ask(app, "tasks/sendSubscribe", said, path).answered()
    assert plain([block.result for block in stream.blocks], {}) == [
        {"id": "T", "status": {"state": "submitted", "timestamp": "now"}, "final": False},
        {"id": "T", "status": {"state": "working", "timestamp": "now"}, "final": False},
        {
            "id": "T",
            "artifact": {
                "parts": [{"type": "text", "text": "a"}],
                "index": 0,
                "append": False,
                "lastChunk": False,
            },
        },
        {
            "id": "T",
            "artifact": {
                "parts": [{"type": "text", "text": " b"}],
                "index": 0,
                "append": True,
                "lastChunk": False,
            },
        },
        {"id": "T", "status": {"state": "completed", "timestamp": "now"}, "final": True},
    ]


@pytest.mark.parametrize("request_id", [0, -1, 2**53, "", "x" * 256, None])
async def test_the_id_comes_back(app: App, request_id: Any) -> None:
    """Section 1: the answer repeats the id as it came, also to one without."""
    body = call("tasks/get", {"id": "t"}, request_id)
    assert (await ask(app, body).answered()).json["id"] == request_id


@each_generation
@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        ("fail", {"0.1": "failed", "0.3": "failed", "1.0": "failed"}, "The agent failed."),
        ("reject", {"0.1": "failed", "0.3": "rejected", "1.0": "rejected"}, "not today"),
        ("ask", dict.fromkeys(("0.1", "0.3", "1.0"), "input-required"), QUESTION),
    ],
)
async def test_how_a_send_may_end(
    app: App, spoken: Spoken, text: str, state: dict[str, str], said: str
) -> None:
    """A send returns what failed, was rejected or waits, with a safe text; no error of JSON-RPC."""
    task = await spoken.task(app, spoken.send, spoken.said(text, "m1"))
    assert spoken.state(task) == state[spoken.name]
    assert task["status"]["message"]["parts"][0]["text"] == said
    assert "secret" not in str(task)


@each_generation
async def test_a_question_and_its_answer(app: App, spoken: Spoken) -> None:
    """Section 4, Multi-turn: an answer goes to the task that asked, which then goes on."""
    asked = await spoken.task(app, spoken.send, spoken.said("ask", "m1"))
    answered = await spoken.task(app, spoken.send, spoken.said("Monday", "m2", asked["id"]))
    assert answered["id"] == asked["id"]
    assert spoken.state(answered) == "completed"
    assert answered["artifacts"][0]["parts"][0]["text"] == "You said Monday."


@each_generation
async def test_a_question_on_a_stream(app: App, spoken: Spoken) -> None:
    """The stream of a sender ends with the question; the answer opens the next one."""
    asked = (await spoken.ask(app, spoken.stream, spoken.said("ask", "m1")).answered()).blocks
    assert spoken.state(asked[-1].result) == "input-required"
    assert asked[-1].result.get("final", True)
    task_id = spoken.task_id(asked[0].result)
    answer = spoken.said("Monday", "m2", task_id)
    rest = (await spoken.ask(app, spoken.stream, answer).answered()).blocks
    assert {spoken.task_id(block.result) for block in rest} == {task_id}
    assert spoken.state(rest[-1].result) == "completed"
    numbers = [block.id for block in rest if block.id is not None]
    assert numbers == sorted(numbers)
    assert numbers[0] > (asked[-1].id or 0)


@each_generation
async def test_a_message_again(app: App, spoken: Spoken) -> None:
    """The same message again is answered with the same task, and runs nothing."""
    first = await spoken.task(app, spoken.send, spoken.said("once", "m1"))
    again = await spoken.task(app, spoken.send, spoken.said("once", "m1"))
    assert again == first


@each_generation
async def test_a_finished_task_takes_no_message(app: App, spoken: Spoken) -> None:
    """Section 4, Multi-turn: a message to a terminal task is -32004."""
    task = await spoken.task(app, spoken.send, spoken.said("once", "m1"))
    more = spoken.said("more", "m2", task["id"])
    answer = (await spoken.ask(app, spoken.send, more).answered()).json
    assert answer["error"]["code"] == -32004


@each_generation
async def test_a_task_is_canceled_once(app: App, spoken: Spoken) -> None:
    """Section 4, States: cancel returns the canceled task; the second time it is -32002."""
    task = await spoken.task(app, spoken.send, spoken.said("ask", "m1"))
    canceled = await spoken.task(app, spoken.cancel, {"id": task["id"]})
    assert canceled["status"]["state"] in {"canceled", "TASK_STATE_CANCELED"}
    again = (await spoken.ask(app, spoken.cancel, {"id": task["id"]}).answered()).json
    assert again["error"]["code"] == -32002


@pytest.mark.parametrize("spoken", [V03, V10], ids=lambda spoken: spoken.name)
async def test_a_send_that_does_not_wait(app: App, spoken: Spoken) -> None:
    """``blocking: false`` and ``returnImmediately`` return while the task goes on."""
    name = f"quick-{spoken.name}"
    option = {"0.3": {"blocking": False}, "1.0": {"returnImmediately": True}}[spoken.name]
    task = await spoken.task(app, spoken.send, spoken.said(f"hold {name}", "m1", **option))
    assert spoken.state(task) in {"submitted", "working"}
    await spoken.task(app, spoken.send, spoken.said(f"open {name}", "m2"))
    subscribed = spoken.ask(app, spoken.subscribe, {"id": task["id"]}, query="after=0")
    assert spoken.state((await subscribed.answered()).blocks[-1].result) == "completed"


async def test_a_send_waits_for_a_time() -> None:
    """A blocking send answers as things stand once ``send_timeout`` is over."""
    async with serving(agent, send_timeout=0.05) as app:
        task = await V10.task(app, "SendMessage", V10.said("hold never", "m1"))
        assert V10.state(task) == "working"
        assert task["artifacts"][0]["parts"] == [{"text": "held"}]


@pytest.mark.parametrize("spoken", [V03, V10], ids=lambda spoken: spoken.name)
@pytest.mark.parametrize("length", [0, 1, 2, 50])
async def test_how_much_history_is_shown(app: App, spoken: Spoken, length: int) -> None:
    """Section 4, historyLength: 0 omits it, n shows the last n, unset shows all."""
    asked = await spoken.task(app, spoken.send, spoken.said("ask", "m1"))
    said = spoken.said("Monday", "m2", asked["id"], historyLength=length)
    told = await spoken.task(app, spoken.send, said)
    some = await spoken.task(app, spoken.get, {"id": asked["id"], "historyLength": length})
    whole = await spoken.task(app, spoken.get, {"id": asked["id"]})
    wanted = whole["history"][-length:] if length else []
    assert [message["messageId"] for message in whole["history"]][::2] == ["m1", "m2"]
    assert told.get("history", []) == some.get("history", []) == wanted


@pytest.mark.parametrize("path", ["/agents/other/a2a", "/agents/other/tasks/send"])
async def test_one_agent_of_several(app: App, path: str) -> None:
    """Under ``/agents/{id}`` that agent answers; else the first one does."""
    answer = await V01.ask(app, "tasks/send", V01.said("x", "t1"), path).answered()
    assert answer.json["result"]["artifacts"][0]["parts"][0]["text"] == "other"


async def test_the_tenant_names_the_agent(app: App) -> None:
    """Section 4, Multi-tenancy: the tenant is the id of an agent."""
    said = V10.said("x", "m1") | {"tenant": "other"}
    task = await V10.task(app, "SendMessage", said)
    assert task["artifacts"][0]["parts"] == [{"text": "other"}]


async def test_parts_go_through(app: App) -> None:
    """Section 4, Part: data and files come back as they were sent."""
    said = V10.said("say", "m1")
    more = [
        {"data": {"n": [1, None, "x"]}, "metadata": {"k": 1}},
        {"raw": "aGk=", "filename": "hi.txt", "mediaType": "text/plain"},
        {"url": "https://example.test/a.png", "mediaType": "image/png"},
    ]
    said["message"]["parts"] += more
    task = await V10.task(app, "SendMessage", said)
    assert [a["parts"] for a in task["artifacts"]] == [[part] for part in more] or [
        part for artifact in task["artifacts"] for part in artifact["parts"]
    ] == more


async def test_the_version_in_the_query(app: App) -> None:
    """Section 4, Version negotiation: the query may say what the header says elsewhere."""
    body = call("GetTask", {"id": "t"})
    answer = await ask(app, body, query="x=1&A2A-Version=1.0").answered()
    assert answer.json["error"]["code"] == -32001


async def test_a_server_with_enough_to_do() -> None:
    """A server that holds as many tasks as it may is 503 with Retry-After and the details."""
    async with serving(agent, max_open_tasks=1) as app:
        await V10.task(app, "SendMessage", V10.said("ask", "m1"))
        answer = await V10.ask(app, "SendMessage", V10.said("ask", "m2")).answered()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json["error"]["code"] == -32010
        assert answer.json["error"]["data"][1]["retryDelay"] == "1.000s"


async def test_a_server_that_stops() -> None:
    """A server that stops takes no new task: 503, so that the client comes back elsewhere."""
    async with serving(agent) as app:
        await app.drain()
        answer = await V10.ask(app, "SendMessage", V10.said("x", "m1")).answered()
        assert answer.status == 503
        assert answer.json["error"]["message"].startswith("Server is busy: this server is stopping")
        ready = await ask(app, path="/readyz", method="GET").answered()
        assert ready.status == 503
        assert ready.json == {"status": "not ready", "reason": "draining"}


async def test_a_store_that_is_gone() -> None:
    """Where the store does not answer, requests are 503 and the server is not ready."""
    async with serving(agent) as app:
        await V01.task(app, "tasks/send", V01.said("x", "t1"))
        await app.storage.close()
        for spoken, method in ((V10, "GetTask"), (V03, "tasks/get")):
            answer = await spoken.ask(app, method, {"id": "t9"}).answered()
            assert answer.status == 503, answer
            assert answer.json["error"]["message"] == "Server is busy: the store does not answer"
        ready = await ask(app, path="/readyz", method="GET").answered()
        assert ready.json == {"status": "not ready", "reason": "the store does not answer"}
        await app.storage.open()


async def test_something_broken_inside() -> None:
    """What nobody expected is -32603 without a word of the reason."""
    async with serving(agent) as app:
        task = V10.ask(app, "GetTask", {"id": "t"})
        task.app.engine._runs = None  # type: ignore[assignment]
        answer = await task.answered()
        app.engine._runs = {}
        assert answer.json["error"]["code"] == -32603
        assert answer.json["error"]["message"] == "Internal error"


async def test_many_at_once(app: App) -> None:
    """A hundred requests at the same time are a hundred tasks."""
    tasks = await asyncio.gather(
        *(V10.task(app, "SendMessage", V10.said(f"n {n}", f"m{n}")) for n in range(100))
    )
    assert len({task["id"] for task in tasks}) == 100
