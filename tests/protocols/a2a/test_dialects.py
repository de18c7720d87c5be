"""What holds in every generation: rendered values are legal on the wire, and come back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart, text_of
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState
from palaver.protocols.a2a import messages as v10
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Cancel,
    Dialect,
    Generation,
    Get,
    Operation,
    Send,
    StatusReceived,
    Subscribe,
    TaskReceived,
)
from palaver.protocols.a2a.mapping import V01, V03, V10, dialect, wire_name
from palaver.protocols.a2a.v01 import messages as v01
from palaver.protocols.a2a.v03 import messages as v03

DIALECTS = [V10, V03, V01]
every_dialect = pytest.mark.parametrize("spoken", DIALECTS, ids=lambda d: str(d.generation))

ids = st.text("abc-/ é", min_size=1, max_size=12)
texts = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
metadata = st.none() | st.dictionaries(texts, json_values, min_size=1, max_size=3)
optional = st.none() | texts
base64s = st.sampled_from(["", "aGk=", "AAEC"])
parts = st.one_of(
    st.builds(TextPart, texts, optional, optional, metadata),
    st.builds(DataPart, json_values, optional, optional, metadata),
    st.builds(
        FilePart,
        base64=base64s,
        media_type=optional,
        filename=optional,
        metadata=metadata,
    ),
    st.builds(FilePart, uri=st.just("https://example.org/a"), metadata=metadata),
)
some_parts = st.lists(parts, max_size=4).map(tuple)
agent_messages = st.builds(Message, id=ids, role=st.just("agent"), parts=some_parts)
user_messages = st.builds(
    Message,
    id=ids,
    role=st.just("user"),
    parts=st.lists(parts, min_size=1, max_size=4).map(tuple),
    metadata=metadata,
    extensions=st.lists(st.just("https://example.org/x"), max_size=2).map(tuple),
    reference_task_ids=st.lists(ids, max_size=2).map(tuple),
)
times = st.floats(0, 4e9)
percents = st.none() | st.floats(0, 100)
attempts = st.none() | st.integers(1, 5)
reasons = st.none() | st.just("worker_lost")
artifacts = st.builds(
    Artifact,
    id=ids,
    parts=some_parts,
    name=optional,
    description=optional,
    metadata=metadata,
    extensions=st.lists(st.just("https://example.org/x"), max_size=1).map(tuple),
)
events = st.one_of(
    st.builds(
        TaskCreated,
        seq=st.just(1),
        at=times,
        conversation_id=st.just("c"),
        agent_id=ids,
        message=user_messages,
        principal=ids,
        wire=st.just("a2a-1.0"),
        metadata=metadata,
    ),
    st.builds(
        StatusChanged,
        seq=st.just(2),
        at=times,
        state=st.sampled_from(TaskState),
        message=st.none() | agent_messages,
        reason=reasons,
        percent=percents,
        attempt=attempts,
    ),
    st.builds(MessageReceived, seq=st.just(2), at=times, message=user_messages),
    st.builds(
        ArtifactUpdated,
        seq=st.just(2),
        at=times,
        artifact=artifacts,
        index=st.integers(0, 20),
        append=st.booleans(),
        last=st.booleans(),
    ),
    st.builds(
        CallActionRequested,
        seq=st.just(2),
        at=times,
        action=st.sampled_from(["hang_up", "transfer"]),
        target=optional,
    ),
)
tasks = st.builds(
    Task,
    id=st.just("t"),
    conversation_id=st.just("c"),
    agent_id=ids,
    principal=ids,
    wire=st.just("a2a-1.0"),
    seq=st.integers(1, 100),
    created_at=times,
    state=st.sampled_from(TaskState),
    state_at=times,
    history=st.lists(user_messages | agent_messages, max_size=3).map(tuple),
    artifacts=st.lists(artifacts, max_size=3).map(tuple),
    status_message=st.none() | agent_messages,
    reason=reasons,
    percent=percents,
    attempt=st.integers(0, 3),
    metadata=metadata,
)


def test_every_generation_has_its_dialect() -> None:
    """The table leads from a generation to the dialect that says it is that one."""
    for generation in Generation:
        assert dialect(generation).generation is generation
        assert wire_name(generation) == f"a2a-{generation.value}"


def legal(spoken: Dialect, result: Any) -> None:
    """Check a result of a stream against the models of its generation."""
    if spoken is V10:
        v10.StreamResponse.model_validate(result)
    elif spoken is V03:
        {
            "task": v03.Task,
            "status-update": v03.TaskStatusUpdateEvent,
            "artifact-update": v03.TaskArtifactUpdateEvent,
        }[result["kind"]].model_validate(result)
    elif "artifact" in result:
        v01.TaskArtifactUpdateEvent.model_validate(result)
    else:
        v01.TaskStatusUpdateEvent.model_validate(result)


def state_of(event: TaskEvent) -> TaskState:
    """Return the state that an event leads to."""
    if isinstance(event, StatusChanged):
        return event.state
    return TaskState.SUBMITTED if isinstance(event, TaskCreated) else TaskState.WORKING


@every_dialect
@given(event=events)
def test_an_event_is_legal_and_comes_back(spoken: Dialect, event: TaskEvent) -> None:
    """Section 5: what is rendered validates, and says the same to a client."""
    rendered = spoken.stream_event("t", "c", event)
    assert rendered is not None
    result = orjson.loads(rendered)
    legal(spoken, result)
    update = spoken.receive(result)
    if isinstance(event, ArtifactUpdated):
        assert isinstance(update, ArtifactReceived)
        assert (update.append, update.last) == (event.append, event.last)
        assert update.artifact.text == event.artifact.text
        assert update.artifact.name == event.artifact.name
        expected = str(event.index) if spoken is V01 else event.artifact.id
        assert update.artifact.id == expected
        return
    assert isinstance(update, StatusReceived | TaskReceived)
    assert (update.task_id, update.state) == ("t", state_of(event))
    if isinstance(update, StatusReceived):
        ending = state_of(event) in TERMINAL | INTERRUPTED
        assert update.final is (ending and spoken is not V10)
        said = event.message if isinstance(event, StatusChanged) else None
        assert (update.message is None) is (said is None)


@given(event=events)
def test_1_0_loses_nothing_of_content(event: TaskEvent) -> None:
    """Section 4: parts of 1.0 carry all that the model's parts carry."""
    rendered = V10.stream_event("t", "c", event)
    assert rendered is not None
    update = V10.receive(orjson.loads(rendered))
    if isinstance(event, ArtifactUpdated):
        assert isinstance(update, ArtifactReceived)
        assert update.artifact.parts == (event.artifact.parts or (TextPart(""),))
    elif isinstance(event, TaskCreated):
        assert isinstance(update, TaskReceived)
        assert update.history == (event.message,)


@every_dialect
@settings(max_examples=40)
@given(task=tasks, history_length=st.none() | st.integers(0, 4))
def test_a_task_is_legal_and_comes_back(
    spoken: Dialect, task: Task, history_length: int | None
) -> None:
    """Sections 2 to 4: results of send, get and cancel."""
    for rendered in (
        spoken.send_result(task, history_length),
        spoken.task_result(task, history_length),
    ):
        update = spoken.receive(orjson.loads(rendered))
        assert isinstance(update, TaskReceived)
        assert (update.task_id, update.conversation_id) == ("t", "c")
        assert update.state is task.state
        assert [artifact.text for artifact in update.artifacts] == [
            artifact.text for artifact in task.artifacts
        ]
        wanted = len(task.history) if history_length is None else history_length
        if spoken is V01:
            wanted = history_length or 0
        told = task.history[max(0, len(task.history) - wanted) :]
        assert [message.text for message in update.history] == [message.text for message in told]


@every_dialect
@settings(max_examples=40)
@given(task=tasks)
def test_a_task_on_a_stream(spoken: Dialect, task: Task) -> None:
    """Sections 2 to 4: one result in 1.0; the last one tells the state in each generation."""
    results = [orjson.loads(result) for result in spoken.stream_task(task)]
    for result in results:
        legal(spoken, result)
    updates = [spoken.receive(result) for result in results]
    last = updates[-1]
    assert isinstance(last, StatusReceived | TaskReceived)
    assert last.state is task.state
    if spoken is V10:
        assert len(results) == 1
    elif spoken is V03:
        assert len(results) == (2 if task.settled else 1)
    else:
        assert len(results) == len(task.artifacts) + 1
    if isinstance(last, StatusReceived):
        assert last.final is task.settled


@every_dialect
@settings(max_examples=40)
@given(
    message=user_messages,
    task_id=ids,
    conversation_id=st.none() | ids,
    history_length=st.none() | st.integers(0, 9),
    blocking=st.booleans(),
    modes=st.sampled_from([(), ("text/plain",), ("text/plain", "application/json")]),
    about=metadata,
)
def test_a_send_comes_back(
    spoken: Dialect,
    message: Message,
    task_id: str,
    conversation_id: str | None,
    history_length: int | None,
    blocking: bool,  # noqa: FBT001
    modes: tuple[str, ...],
    about: dict[str, Any] | None,
) -> None:
    """What a client asks is what the server of the same generation understands."""
    send = Send(
        message=message,
        task_id=task_id,
        conversation_id=conversation_id,
        history_length=history_length,
        blocking=blocking,
        accepted_output_modes=modes,
        metadata=about,
    )
    _, params = spoken.request(Operation.SEND, send)
    parsed = spoken.parse(Operation.SEND, orjson.loads(orjson.dumps(params)))
    assert isinstance(parsed, Send)
    assert (parsed.task_id, parsed.conversation_id) == (task_id, conversation_id)
    assert (parsed.accepted_output_modes, parsed.metadata) == (modes, about)
    assert parsed.message.text == message.text
    assert parsed.message.metadata == message.metadata
    if spoken is V01:
        assert (parsed.may_create, parsed.blocking) == (True, True)
        assert parsed.history_length == (history_length or 0)
    else:
        assert (parsed.may_create, parsed.blocking) == (False, blocking)
        assert parsed.history_length == history_length
        assert parsed.message.id == message.id
    if spoken is V10:
        assert parsed.message == message


@every_dialect
def test_the_smallest_send_comes_back(spoken: Dialect) -> None:
    """Nothing is sent for what is not set."""
    message = Message(id="m", role="user", parts=(TextPart("hi"),))
    send = Send(message=message, task_id="t" if spoken is V01 else None)
    method, params = spoken.request(Operation.STREAM, send)
    expected: dict[Generation, tuple[str, dict[str, Any]]] = {
        Generation.V10: (
            "SendStreamingMessage",
            {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}},
        ),
        Generation.V03: (
            "message/stream",
            {
                "message": {
                    "kind": "message",
                    "messageId": "m",
                    "role": "user",
                    "parts": [{"kind": "text", "text": "hi"}],
                },
                "configuration": {"blocking": True},
            },
        ),
        Generation.V01: (
            "tasks/sendSubscribe",
            {"id": "t", "message": {"role": "user", "parts": [{"type": "text", "text": "hi"}]}},
        ),
    }
    assert (method, params) == expected[spoken.generation]


@every_dialect
def test_commands_about_a_task_come_back(spoken: Dialect) -> None:
    """Get, cancel and subscribe name the task; history and tenant go where there is a field."""
    default = 0 if spoken is V01 else None
    tenant = "agent" if spoken is V10 else None
    get = Get(task_id="t", history_length=3, tenant=tenant)
    for operation, command, expected in (
        (Operation.GET, get, get),
        (
            Operation.GET,
            Get(task_id="t", tenant=tenant),
            Get(task_id="t", history_length=default, tenant=tenant),
        ),
        (Operation.CANCEL, Cancel(task_id="t"), Cancel(task_id="t")),
        (
            Operation.SUBSCRIBE,
            Subscribe(task_id="t"),
            Subscribe(task_id="t", history_length=default),
        ),
    ):
        _, params = spoken.request(operation, command)
        assert spoken.parse(operation, params) == expected


@every_dialect
@pytest.mark.parametrize("operation", [Operation.LIST, Operation.PUSH, Operation.EXTENDED_CARD])
def test_what_no_command_means(spoken: Dialect, operation: Operation) -> None:
    """Operations that the routing refuses are our own mistake here."""
    with pytest.raises(ValueError, match="no command means"):
        spoken.parse(operation, {})


@pytest.mark.parametrize("spoken", [V03, V01], ids=["0.3", "0.1"])
def test_what_older_parts_have_no_field_for(spoken: Dialect) -> None:
    """Section 0, Type map: data is an object (0.1: or an array); the rest goes into metadata."""
    some: tuple[Part, ...] = (
        TextPart("a", media_type="text/markdown", filename="a.md"),
        DataPart(7),
        DataPart([1]),
        FilePart(uri="https://example.org/f"),
    )
    event = ArtifactUpdated(seq=2, at=0.0, artifact=Artifact(id="a", parts=some), index=0)
    rendered = spoken.stream_event("t", "c", event)
    assert rendered is not None
    tag = "kind" if spoken is V03 else "type"
    assert orjson.loads(rendered)["artifact"]["parts"] == [
        {
            tag: "text",
            "text": "a",
            "metadata": {"mediaType": "text/markdown", "filename": "a.md"},
        },
        {tag: "data", "data": {"value": 7}},
        {tag: "data", "data": {"value": [1]} if spoken is V03 else [1]},
        {tag: "file", "file": {"uri": "https://example.org/f"}},
    ]
    assert text_of(some) == "a"
