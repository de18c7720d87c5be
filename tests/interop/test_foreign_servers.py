"""Our client, and ``palaver call``, against servers of other houses."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from palaver.client.a2a import A2aClient
from palaver.client.discovery import choose_interface, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.engine.clock import new_id
from palaver.errors import PeerRefused
from palaver.model.content import DataPart, Part, text_of
from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Generation,
    MessageReplied,
    StatusReceived,
    TaskReceived,
    Update,
)
from palaver.protocols.a2a.stream import Received
from palaver.testing.fault_proxy import FaultProxy
from tests.interop.conftest import HERE, OLDER_PEER
from tests.interop.relay import TIMEOUT, Relay

PATIENCE = Patience(first_delay=0.01, max_delay=0.05, give_up_after=TIMEOUT)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A server of another house: its program, the path of its endpoint, what we speak to it."""

    name: str
    program: str
    path: str
    generation: Generation


SERVERS = [
    Foreign("a2a-sdk 1.3 at 1.0", "server_1_3.py", "/rpc", Generation.V10),
    Foreign("a2a-sdk 1.3 at 0.3", "server_1_3.py", "/rpc", Generation.V03),
    Foreign("a2a-sdk 0.3", "server_0_3.py", "/", Generation.V03),
]


@pytest.fixture(scope="module", params=SERVERS, ids=lambda foreign: foreign.name)
def foreign(request: pytest.FixtureRequest) -> Foreign:
    """Return each server that can run here."""
    foreign: Foreign = request.param
    if foreign.program == "server_0_3.py" and not OLDER_PEER.is_dir():
        pytest.skip("a2a-sdk 0.3 is not installed: `make peers` does it")
    return foreign


@pytest.fixture(scope="module")
def url(foreign: Foreign) -> Iterator[str]:
    """Start the server and return its address."""
    environment = dict(os.environ)
    if foreign.program == "server_0_3.py":
        environment["PYTHONPATH"] = str(OLDER_PEER)
    process = subprocess.Popen(
        [sys.executable, str(HERE / "peers" / foreign.program)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT)


@pytest.fixture
async def client(foreign: Foreign, url: str) -> AsyncIterator[A2aClient]:
    """Return our client of that server."""
    async with client_at(url, foreign) as client:
        yield client


def client_at(url: str, foreign: Foreign) -> A2aClient:
    """Return a client of the server at ``url``."""
    return A2aClient(url + foreign.path, foreign.generation, ids=new_id, patience=PATIENCE)


def task_id(update: Update) -> str:
    """Return the id of the task that the update is about."""
    assert not isinstance(update, MessageReplied)
    return update.task_id


def states(updates: Sequence[Update]) -> list[TaskState]:
    """Return the states that the updates tell, in order."""
    return [item.state for item in updates if isinstance(item, TaskReceived | StatusReceived)]


def artifacts(updates: Sequence[Update]) -> dict[str, str]:
    """Return the text of each artifact, put together."""
    texts: dict[str, str] = {}
    for item in updates:
        if isinstance(item, TaskReceived):
            texts = {artifact.id: artifact.text for artifact in item.artifacts}
        elif isinstance(item, ArtifactReceived):
            known = texts.get(item.artifact.id, "") if item.append else ""
            texts[item.artifact.id] = known + item.artifact.text
    return texts


def facts(updates: Sequence[Update]) -> list[Part]:
    """Return the parts of the artifact ``facts``."""
    parts: list[Part] = []
    for item in updates:
        if isinstance(item, TaskReceived):
            parts = [
                part for whole in item.artifacts if whole.id == "facts" for part in whole.parts
            ]
        elif isinstance(item, ArtifactReceived) and item.artifact.id == "facts":
            parts = [*(parts if item.append else []), *item.artifact.parts]
    return parts


def port_of(url: str) -> int:
    """Return the port in the URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


async def test_the_card_leads_to_the_endpoint(foreign: Foreign, url: str) -> None:
    """The card is read, whoever wrote it, and names the endpoint for each generation."""
    async with http_client(PATIENCE) as http:
        card = await fetch_card(http, url)
    assert (card.name, card.description, card.version) == (
        "Foreign",
        "An agent of another house",
        "3.2.1",
    )
    assert [skill.id for skill in card.skills] == ["say"]
    assert card.streaming
    endpoint = url + foreign.path
    assert choose_interface(card, foreign.generation) == (endpoint, foreign.generation)
    newest = Generation.V10 if foreign.program == "server_1_3.py" else Generation.V03
    assert choose_interface(card) == (endpoint, newest)


async def test_a_stream(client: A2aClient) -> None:
    """Every event arrives in order, and the stream ends with the task."""
    updates = [received.update async for received in client.stream("one two three")]
    assert states(updates) == [TaskState.SUBMITTED, TaskState.WORKING, TaskState.COMPLETED]
    assert len({task_id(update) for update in updates}) == 1
    chunks = [item for item in updates if isinstance(item, ArtifactReceived)]
    assert [(chunk.artifact.text, chunk.append) for chunk in chunks] == [
        ("one", False),
        (" two", True),
        (" three", True),
    ]


async def test_a_send_and_a_look(client: A2aClient) -> None:
    """A send returns the finished task, and a look later the same."""
    sent = await client.send("one two three")
    assert isinstance(sent, TaskReceived)
    assert (sent.state, artifacts([sent])) == (TaskState.COMPLETED, {"answer": "one two three"})
    got = await client.get(sent.task_id)
    assert isinstance(got, TaskReceived)
    assert (got.task_id, got.state, got.artifacts) == (sent.task_id, sent.state, sent.artifacts)


async def test_an_answer_without_a_task(client: A2aClient) -> None:
    """An agent may answer with a message alone."""
    updates = [received.update async for received in client.stream("hello")]
    for update in (*updates, await client.send("hello")):
        assert isinstance(update, MessageReplied)
        assert text_of(update.message.parts) == "Hello, without a task"
    assert len(updates) == 1


async def test_a_question(client: A2aClient) -> None:
    """The stream ends with the question; the answer goes on with the task."""
    updates = [received.update async for received in client.stream("ask")]
    last = updates[-1]
    assert isinstance(last, StatusReceived)
    assert last.state is TaskState.INPUT_REQUIRED
    assert last.message is not None
    assert text_of(last.message.parts) == "Which day?"
    answered = client.stream("on friday", task_id=last.task_id)
    rest = [received.update async for received in answered]
    assert {task_id(update) for update in rest} == {last.task_id}
    assert states(rest)[-1] is TaskState.COMPLETED
    assert artifacts(rest) == {"answer": "on friday"}


async def test_a_failure(client: A2aClient) -> None:
    """A failed task ends the stream with what the agent says of it."""
    updates = [received.update async for received in client.stream("fail")]
    last = updates[-1]
    assert isinstance(last, StatusReceived)
    assert last.state is TaskState.FAILED
    assert last.message is not None
    assert text_of(last.message.parts) == "It broke"


async def test_a_cancel(foreign: Foreign, client: A2aClient) -> None:
    """A task is canceled while it streams, and the stream ends with that."""
    stream = client.stream(f"hold {uuid.uuid4()}")
    updates = await until_held(stream)
    canceled = await client.cancel(task_id(updates[-1]))
    assert states([canceled]) == [TaskState.CANCELED]
    assert artifacts([canceled]) == {"answer": "held"}
    if foreign.program == "server_0_3.py":
        await stream.aclose()  # that server tells its streams nothing of it, and keeps them open
        return
    updates += await rest(stream)
    assert states(updates)[-1] is TaskState.CANCELED
    assert artifacts(updates) == {"answer": "held"}


async def test_errors(client: A2aClient) -> None:
    """What the server refuses is raised with its code."""
    done = task_id(await client.send("one"))
    with pytest.raises(PeerRefused) as unknown:
        await client.get("nobody")
    with pytest.raises(PeerRefused) as finished:
        await client.cancel(done)
    with pytest.raises(PeerRefused) as unknown_in_stream:
        _ = [received async for received in client.stream("one", task_id="nobody")]
    assert [error.value.code for error in (unknown, finished, unknown_in_stream)] == [
        -32001,
        -32002,
        -32001,
    ]


async def test_a_second_stream(foreign: Foreign, url: str, client: A2aClient) -> None:
    """Who follows a running task hears how it goes on, and its end."""
    word = str(uuid.uuid4())
    first = client.stream(f"hold {word}")
    updates = await until_held(first)
    async with Relay(url) as relay, client_at(relay.url, foreign) as other:
        second = other.resume(task_id(updates[-1]))
        following = asyncio.ensure_future(rest(second))
        await relay.heard(b"text/event-stream")
        await client.send(f"release {word}")
        updates += await rest(first)
        followed = await asyncio.wait_for(following, TIMEOUT)
    assert len({task_id(update) for update in (*updates, *followed)}) == 1
    assert states(updates)[-1] is states(followed)[-1] is TaskState.COMPLETED
    assert facts(updates) == facts(followed) == [DataPart({"n": 7})]
    assert artifacts(updates)["answer"] == "held and released"
    assert artifacts(followed)["answer"].endswith(" and released")


async def test_a_stream_that_breaks(foreign: Foreign, url: str) -> None:
    """The client comes back to a task whose connection was reset, and has all of it in the end."""
    word = str(uuid.uuid4())
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay(url))
        proxy = await stack.enter_async_context(FaultProxy(port_of(relay.url)))
        client = await stack.enter_async_context(client_at(proxy.url, foreign))
        other = await stack.enter_async_context(client_at(url, foreign))
        stream = client.stream(f"hold {word}")
        updates = await until_held(stream)
        proxy.reset_all()
        going_on = asyncio.ensure_future(rest(stream))
        await relay.heard(b"text/event-stream", times=2)
        await other.send(f"release {word}")
        updates += await going_on
        assert proxy.resets == 1
    check_whole(updates)


async def test_a_task_that_ends_while_the_line_is_cut(foreign: Foreign, url: str) -> None:
    """Coming back to a task that has ended, the client learns how, whatever the refusal says."""
    word = str(uuid.uuid4())
    nowhere = 1  # a port that refuses whoever asks
    async with FaultProxy(port_of(url)) as proxy, client_at(proxy.url, foreign) as client:
        stream = client.stream(f"hold {word}")
        updates = await until_held(stream)
        proxy.upstream_port = nowhere
        proxy.reset_all()
        going_on = asyncio.ensure_future(rest(stream))
        async with client_at(url, foreign) as other:
            await other.send(f"release {word}")
            held = task_id(updates[-1])
            async with asyncio.timeout(TIMEOUT):
                while states([await other.get(held)]) != [TaskState.COMPLETED]:
                    pass  # each look is a round trip
        proxy.upstream_port = port_of(url)
        updates += await going_on
    check_whole(updates)


def check_whole(updates: Sequence[Update]) -> None:
    """See that the updates bring all that a held task puts out, and its end."""
    assert len({task_id(update) for update in updates}) == 1
    assert artifacts(updates) == {"answer": "held and released", "facts": ""}
    assert facts(updates) == [DataPart({"n": 7})]
    assert states(updates)[-1] is TaskState.COMPLETED


async def until_held(stream: AsyncIterator[Received]) -> list[Update]:
    """Return what the stream brings up to its first artifact."""
    updates: list[Update] = []
    while not updates or not isinstance(updates[-1], ArtifactReceived):
        updates.append((await asyncio.wait_for(anext(stream), TIMEOUT)).update)
    return updates


async def rest(stream: AsyncIterator[Received]) -> list[Update]:
    """Return the rest of what the stream brings."""
    async with asyncio.timeout(TIMEOUT):
        return [received.update async for received in stream]


def call(url: str, foreign: Foreign, *args: str) -> subprocess.CompletedProcess[str]:
    """Run ``palaver call`` against the server."""
    wire = f"a2a-{foreign.generation}"
    return subprocess.run(
        [sys.executable, "-m", "palaver", "call", url, *args, "--wire", wire],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )


def test_a_call(foreign: Foreign, url: str) -> None:
    """The answer goes to standard output, and nothing else does."""
    ended = call(url, foreign, "one two three")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "one two three\n", "")


def test_a_call_with_a_question(foreign: Foreign, url: str) -> None:
    """A question ends the call with an exit code of its own, and says how to answer."""
    asked = call(url, foreign, "ask")
    assert (asked.returncode, asked.stdout) == (5, "")
    question, hint = asked.stderr.splitlines()
    assert question == "Which day?"
    task = hint.removeprefix("(answer with --task ").removesuffix(")")
    answered = call(url, foreign, "on friday", "--task", task)
    assert (answered.returncode, answered.stdout) == (0, "on friday\n")


def test_a_call_that_fails(foreign: Foreign, url: str) -> None:
    """A failed task is the failure of the call, with the agent's words."""
    ended = call(url, foreign, "fail")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "It broke\n")


def test_a_call_as_json(foreign: Foreign, url: str) -> None:
    """With --json each event is a line that a program can read."""
    ended = call(url, foreign, "one two", "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds == ["task", "status", "artifact", "artifact", "status"]
    texts = [event["artifact"]["parts"][0]["text"] for event in events[2:4]]
    assert (texts, events[-1]["state"]) == (["one", " two"], "completed")
    assert len({event["task_id"] for event in events}) == 1


def test_a_call_that_is_refused(foreign: Foreign, url: str) -> None:
    """A refusal is one line, and an exit code of its own."""
    ended = call(url, foreign, "one", "--task", "nobody")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert ended.stderr.startswith("palaver: ")
    assert len(ended.stderr.splitlines()) == 1
