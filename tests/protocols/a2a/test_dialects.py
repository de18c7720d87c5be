"""What holds in every generation: rendered values are legal on the wire, and come back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.model.content import Artifact, DataPart, FilePart, Part, TextPart, text_of
from palaver.model.events import (
    ArtifactUpdated,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState
from palaver.protocols.a2a import messages as v10
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Dialect,
    Generation,
    StatusReceived,
    TaskReceived,
)
from palaver.protocols.a2a.mapping import V01, V03, V10, dialect, wire_name
from palaver.protocols.a2a.v01 import messages as v01
from palaver.protocols.a2a.v03 import messages as v03
from tests.protocols.a2a.strategies import events, every_dialect, tasks


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
