"""What ASAP and the task model mean to each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.states import TaskState
from palaver.model.task import Task
from palaver.protocols.asap.mapping import (
    WIRE,
    answer_message,
    reply_envelope,
    request_key,
    snapshot_of,
    snapshot_response,
    snapshot_version,
    state_of,
    status_of,
    task_response,
    task_submission,
    update_of,
)
from palaver.protocols.asap.messages import (
    ArtifactNotify,
    Envelope,
    MessageSend,
    PayloadType,
    Spelling,
    StateSnapshot,
    TaskRequest,
    TaskStatus,
    read_payload,
)
from palaver.protocols.asap.spelling import spelled
from tests.protocols.asap.samples import FULL, LEAST, NOW, OURS, PEER, envelope

ASKED = Message(id="m1", role="user", parts=(TextPart("hello"),))
TASK = Task(
    id="task_1",
    conversation_id="conv_1",
    agent_id="demo",
    principal="anonymous",
    wire=WIRE,
    seq=4,
    created_at=NOW,
    state=TaskState.WORKING,
    state_at=NOW + 1.25,
    history=(ASKED,),
    skill_id="echo",
)


def said(*parts: Part, role: Any = "agent") -> Message:
    """Return a message of the agent."""
    return Message(id="m2", role=role, parts=parts)


def made(*artifacts: tuple[Part, ...]) -> tuple[Artifact, ...]:
    """Return artifacts with those parts."""
    return tuple(Artifact(id=f"a{index}", parts=parts) for index, parts in enumerate(artifacts))


def request(**payload: Any) -> TaskRequest:
    """Return a request with ``payload`` in place of its own."""
    found = read_payload(envelope(payload=LEAST[PayloadType.TASK_REQUEST] | payload))
    assert isinstance(found, TaskRequest)
    return found


# --- states ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "peer", "ours"),
    [
        (TaskState.SUBMITTED, "submitted", "submitted"),
        (TaskState.WORKING, "working", "working"),
        (TaskState.INPUT_REQUIRED, "input_required", "input_required"),
        (TaskState.AUTH_REQUIRED, "input_required", "input_required"),
        (TaskState.COMPLETED, "completed", "completed"),
        (TaskState.FAILED, "failed", "failed"),
        (TaskState.CANCELED, "cancelled", "cancelled"),
        (TaskState.REJECTED, "failed", "rejected"),
    ],
)
def test_states_in_the_words_of_asap(state: TaskState, peer: str, ours: str) -> None:
    """A peer reads no word that it does not know (spec §8)."""
    assert status_of(state) == peer
    assert status_of(state, for_peer=False) == ours
    assert task_response(replace(TASK, state=state)).status == peer
    assert task_response(replace(TASK, state=state), for_peer=False).status == ours


@pytest.mark.parametrize("status", TaskStatus)
def test_words_of_asap_as_states(status: TaskStatus) -> None:
    """Each status means a state; a pause is work to whoever waits."""
    found = state_of(status)
    if status is TaskStatus.PAUSED:
        assert found is TaskState.WORKING
    else:
        assert status_of(found, for_peer=False) is status


# --- requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_input", "text"),
    [
        ({}, None),
        ({"n": 30}, None),
        ({"text": "hi"}, "hi"),
        ({"text": ""}, ""),
        ({"message": "hi", "n": 1}, "hi"),
        ({"query": "who"}, "who"),
        ({"query": "who", "text": "hi"}, "hi"),
        ({"text": 5, "query": "who"}, "who"),
        ({"text": ["hi"]}, None),
        ({"prompt": "hi"}, None),
    ],
)
def test_the_input_is_the_message(given_input: dict[str, Any], text: str | None) -> None:
    """The whole input is data, and marked as that; what it says in words is text before it."""
    found = task_submission(
        envelope(), request(input=given_input), agent_id="demo", principal="p", key="k"
    )
    *spoken, whole = found.message.parts
    assert whole == DataPart(given_input, metadata={"input": True})
    assert spoken == ([] if text is None else [TextPart(text)])
    assert found.message.role == "user"


def test_what_a_request_asks_for() -> None:
    """The skill, the conversation and the time are told; where it comes from is kept."""
    asked = request(**FULL[PayloadType.TASK_REQUEST])
    found = task_submission(
        envelope(trace_id="trace_1"), asked, agent_id="demo", principal="p", key="k"
    )
    assert (found.skill_id, found.conversation_id, found.timeout) == ("echo", "conv_1", 600.0)
    assert found.metadata == {
        "asap": {
            "sender": PEER,
            "envelope_id": "env_1",
            "parent_task_id": "task_0",
            "trace_id": "trace_1",
        }
    }
    least = task_submission(envelope(), request(), agent_id="demo", principal="p", key="k")
    assert least.timeout is None
    assert least.metadata == {"asap": {"sender": PEER, "envelope_id": "env_1"}}
    empty = task_submission(envelope(), request(config={}), agent_id="demo", principal="p", key="k")
    assert empty.timeout is None


@pytest.mark.parametrize(
    ("config", "given_key", "key"),
    [
        (None, None, "envelope:env_1"),
        (None, "k1", "key:k1"),
        ({}, "k1", "key:k1"),
        ({"idempotency_key": "k2"}, "k1", "key:k2"),
        ({"idempotency_key": "k2"}, None, "key:k2"),
    ],
)
def test_the_key_of_a_request(config: Any, given_key: str | None, key: str) -> None:
    """The application's own key counts most, the envelope's id least."""
    assert request_key(envelope(), request(config=config), given_key) == key


def test_the_same_request_has_the_same_id() -> None:
    """The id is made of who asks whom for what under which key, and of nothing else."""

    def made_of(
        sender: str = PEER,
        skill: str = "echo",
        agent: str = "demo",
        principal: str = "p",
        key: str = "k",
        **envelope_members: Any,
    ) -> str:
        found = task_submission(
            envelope(sender=sender, **envelope_members),
            request(skill_id=skill),
            agent_id=agent,
            principal=principal,
            key=key,
        )
        return found.message.id

    same = made_of()
    assert made_of(id="env_2", payload_type="task.request", trace_id="t") == same
    others = [
        made_of(sender=OURS),
        made_of(skill="count"),
        made_of(agent="demo2"),
        made_of(principal="q"),
        made_of(key="k2"),
    ]
    assert len({same, *others}) == 6
    assert same.startswith("asap_")
    assert len(same) == 45


# --- messages into a task ---------------------------------------------------------------------


def test_what_is_said_in_a_task() -> None:
    """A string is text; each object is the part that it says it is."""
    payload = MessageSend.model_validate(FULL[PayloadType.MESSAGE_SEND])
    found = answer_message(payload)
    assert found == Message(
        id="msg_1",
        role="user",
        parts=(
            TextPart("part_1"),
            TextPart("hello"),
            DataPart({"a": [1]}, metadata={"schema_uri": "https://s.example/a"}),
            FilePart(
                "SGk=",
                media_type="application/pdf",
                metadata={"uri": "asap://artifacts/task_1/a.pdf"},
            ),
            FilePart(uri="mcp://tools/x"),
            TextPart("1 b"),
        ),
        metadata={"asap": {"sender": PEER, "role": "user"}},
    )


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_whoever_sends_a_message_is_the_caller(role: str) -> None:
    """The role among others is kept; here the sender is who called. Nothing said is still text."""
    payload = MessageSend.model_validate(LEAST[PayloadType.MESSAGE_SEND] | {"role": role})
    found = answer_message(payload)
    assert (found.role, found.parts) == ("user", (TextPart(""),))
    assert found.metadata == {"asap": {"sender": PEER, "role": role}}


@pytest.mark.parametrize(
    ("part", "meant"),
    [
        ({"type": "data", "data": {}}, DataPart({})),
        (
            {"type": "file", "uri": "https://x/y", "mime_type": "a/b"},
            FilePart(uri="https://x/y", media_type="a/b"),
        ),
        (
            {"type": "template", "template": "{{a}}, {{ b }}, {{c}}", "variables": {}},
            TextPart("{{a}}, {{ b }}, {{c}}"),
        ),
        (
            {
                "type": "template",
                "template": "{{a}}, {{ b }}, {{c}} {x}",
                "variables": {"a": "{{b}}", "b": [1, None], "c": True},
            },
            TextPart("{{b}}, [1,null], true {x}"),
        ),
    ],
)
def test_parts_of_a_message(part: dict[str, Any], meant: Part) -> None:
    """Members that are not there are not there; variables are filled in once."""
    payload = MessageSend.model_validate(LEAST[PayloadType.MESSAGE_SEND] | {"parts": [part]})
    assert answer_message(payload).parts == (meant,)


# --- tasks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("artifacts", "result"),
    [
        ((), None),
        (made((TextPart("a "), TextPart("b"))), {"text": "a b"}),
        (made((TextPart("a"),), (TextPart("b"),), (TextPart(""),)), {"text": "a\nb"}),
        (made((DataPart({"echoed": {"n": 1}}),)), {"echoed": {"n": 1}}),
        (made((TextPart("hi"), DataPart({"echoed": None}))), {"text": "hi", "echoed": None}),
        (made((TextPart("hi"), DataPart({"text": "no"}))), {"text": "hi"}),
        (made((DataPart([1]), DataPart({"a": 1})), (DataPart("x"),)), {"data": [[1], "x"], "a": 1}),
        (
            made((FilePart("SGk=", media_type="text/plain", filename="a.txt"),)),
            {
                "files": [
                    {
                        "type": "file",
                        "mime_type": "text/plain",
                        "uri": "data:,",
                        "inline_data": "SGk=",
                        "name": "a.txt",
                    }
                ]
            },
        ),
        (
            made((FilePart(uri="https://x/y"),)),
            {
                "files": [
                    {
                        "type": "file",
                        "mime_type": "application/octet-stream",
                        "uri": "https://x/y",
                    }
                ]
            },
        ),
    ],
)
def test_what_a_task_made(artifacts: tuple[Artifact, ...], result: Any) -> None:
    """Texts are joined, data gives its members, files are listed."""
    found = task_response(replace(TASK, artifacts=artifacts))
    assert found.result == result
    assert found.metrics is None
    assert found.final_state is None


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"state": TaskState.COMPLETED}, {"text": ""}),
        ({"state": TaskState.COMPLETED, "status_message": said(TextPart("ok"))}, {"text": "ok"}),
        (
            {
                "state": TaskState.COMPLETED,
                "status_message": said(TextPart("ok")),
                "artifacts": made((TextPart("a"),)),
            },
            {"text": "a"},
        ),
        (
            {"state": TaskState.COMPLETED, "artifacts": made((DataPart({"a": 1}),))},
            {"a": 1},
        ),
        (
            {
                "state": TaskState.FAILED,
                "status_message": said(TextPart("The agent failed.")),
                "reason": "handler_error",
                "artifacts": made((TextPart("so far"),)),
            },
            {
                "text": "so far",
                "error": {
                    "code": "asap:execution/task_failed",
                    "message": "The agent failed.",
                    "reason": "handler_error",
                },
            },
        ),
        (
            {"state": TaskState.REJECTED},
            {"error": {"code": "asap:capability/input_validation", "message": "failed"}},
        ),
        ({"state": TaskState.CANCELED}, None),
        (
            {"state": TaskState.INPUT_REQUIRED, "status_message": said(TextPart("Which day?"))},
            {"input_request": {"prompt": "Which day?"}},
        ),
        (
            {"state": TaskState.AUTH_REQUIRED},
            {"input_request": {"prompt": "", "kind": "auth_required"}},
        ),
    ],
)
def test_how_a_task_stands(changes: dict[str, Any], result: Any) -> None:
    """An end says what came of it or why not, a question what is asked."""
    task = replace(TASK, **changes)
    found = task_response(task)
    assert found.task_id == "task_1"
    assert found.result == result
    assert found.metrics == ({"duration_ms": 1250} if task.terminal else None)


def test_a_clock_that_went_back() -> None:
    """A duration is never negative."""
    task = replace(TASK, state=TaskState.COMPLETED, state_at=NOW - 5)
    assert task_response(task).metrics == {"duration_ms": 0}


# --- events ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "update"),
    [
        (
            TaskCreated(
                seq=1,
                at=NOW,
                conversation_id="c",
                agent_id="demo",
                message=ASKED,
                principal="p",
                wire=WIRE,
            ),
            None,
        ),
        (CallActionRequested(seq=2, at=NOW, action="hang_up"), None),
        (
            StatusChanged(seq=2, at=NOW, state=TaskState.WORKING, attempt=1),
            {"update_type": "status_change", "status": "working"},
        ),
        (
            StatusChanged(
                seq=2,
                at=NOW,
                state=TaskState.WORKING,
                percent=40.0,
                message=said(TextPart("on it")),
            ),
            {
                "update_type": "progress",
                "status": "working",
                "progress": {"percent": 40.0, "message": "on it"},
            },
        ),
        (
            StatusChanged(
                seq=2, at=NOW, state=TaskState.INPUT_REQUIRED, message=said(TextPart("?"))
            ),
            {
                "update_type": "input_required",
                "status": "input_required",
                "input_request": {"prompt": "?"},
            },
        ),
        (
            StatusChanged(seq=2, at=NOW, state=TaskState.AUTH_REQUIRED),
            {
                "update_type": "input_required",
                "status": "input_required",
                "input_request": {"prompt": "", "kind": "auth_required"},
            },
        ),
        (
            StatusChanged(seq=2, at=NOW, state=TaskState.FAILED, reason="worker_lost"),
            {
                "update_type": "status_change",
                "status": "failed",
                "progress": {"reason": "worker_lost"},
            },
        ),
        (
            StatusChanged(seq=2, at=NOW, state=TaskState.COMPLETED),
            {"update_type": "status_change", "status": "completed"},
        ),
        (
            StatusChanged(seq=2, at=NOW, state=TaskState.REJECTED),
            {"update_type": "status_change", "status": "failed"},
        ),
        (
            MessageReceived(seq=2, at=NOW, message=ASKED),
            {"update_type": "status_change", "status": "working"},
        ),
        (
            ArtifactUpdated(seq=2, at=NOW, artifact=Artifact(id="a", parts=(), name="A"), index=0),
            {"artifact_id": "a", "name": "A"},
        ),
        (
            ArtifactUpdated(
                seq=2, at=NOW, artifact=Artifact(id="a", parts=()), index=0, append=True, last=True
            ),
            None,
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_what_is_told_of_events(event: TaskEvent, update: dict[str, Any] | None) -> None:
    """A change, a question, a progress and an artifact are told; growth and calls are not."""
    found = update_of(event, "task_1")
    if update is None:
        assert found is None
    else:
        assert found is not None
        assert found.wire() == {"task_id": "task_1"} | update
        assert isinstance(found, ArtifactNotify) == ("artifact_id" in update)


def test_events_for_peers_that_know_more() -> None:
    """A rejected task is told as one to those who know the word."""
    event = StatusChanged(seq=2, at=NOW, state=TaskState.REJECTED)
    found = update_of(event, "task_1", for_peer=False)
    assert found is not None
    assert found.wire()["status"] == "rejected"


# --- snapshots ------------------------------------------------------------------------------


def test_the_snapshot_of_a_task() -> None:
    """Its version is the number of the last event; an end is a checkpoint."""
    task = replace(TASK, artifacts=made((TextPart("a"),)), percent=50.0, attempt=2)
    found = snapshot_of(task)
    assert found.wire() == {
        "id": found.id,
        "task_id": "task_1",
        "version": 4,
        "data": {
            "conversation_id": "conv_1",
            "skill_id": "echo",
            "status": "working",
            "attempt": 2,
            "percent": 50.0,
            "result": {"text": "a"},
        },
        "checkpoint": False,
        "created_at": "2026-01-31T10:00:01.250000Z",
    }
    assert snapshot_of(replace(task, state=TaskState.COMPLETED)).checkpoint is True
    assert snapshot_of(replace(task, state=TaskState.REJECTED)).data["status"] == "rejected"


@pytest.mark.parametrize("for_peer", [True, False])
def test_the_answer_to_a_query(for_peer: bool) -> None:  # noqa: FBT001
    """The snapshot stands in ``final_state``, beside how the task stands now."""
    task = replace(TASK, state=TaskState.REJECTED)
    snapshot = snapshot_of(TASK)
    found = snapshot_response(task, snapshot, for_peer=for_peer)
    assert found.status == ("failed" if for_peer else "rejected")
    assert found.result is None
    assert StateSnapshot.model_validate(found.final_state) == snapshot


def test_which_version_a_snapshot_is() -> None:
    """The id of a snapshot names its task and version, and no other's."""
    found = snapshot_of(TASK)
    assert snapshot_version("task_1", found.id) == 4
    assert snapshot_version("task_2", found.id) is None
    for wrong in ("snap_1", "", f"{found.id}x", f"{found.id}_", found.id[:-1] + "04", "x_²"):
        assert snapshot_version("task_1", wrong) is None
    assert snapshot_version("task_1", f"{found.id[:-1]}{'9' * 16}") is None
    assert snapshot_version("task_1", f"{found.id[:-1]}{'9' * 15}") == 999_999_999_999_999


# --- replies --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", Spelling)
def test_a_reply_is_spelled_as_the_request(family: Spelling) -> None:
    """It goes back to the sender, names what it answers, and keeps version and trace."""
    asked = envelope(
        payload_type=spelled(PayloadType.TASK_REQUEST, family),
        trace_id="trace_1",
        asap_version="1.1",
        requires_ack=True,
    )
    payload = task_response(replace(TASK, state=TaskState.COMPLETED))
    found = reply_envelope(asked, payload, id="env_2", now=NOW + 2, sender=OURS)
    assert found.wire() == {
        "id": "env_2",
        "asap_version": "1.1",
        "timestamp": "2026-01-31T10:00:02Z",
        "sender": OURS,
        "recipient": PEER,
        "payload_type": spelled(PayloadType.TASK_RESPONSE, family),
        "payload": {
            "task_id": "task_1",
            "status": "completed",
            "result": {"text": ""},
            "metrics": {"duration_ms": 1250},
        },
        "correlation_id": "env_1",
        "trace_id": "trace_1",
    }
    assert Envelope.model_validate(found.model_dump()) == found
    assert read_payload(found) == payload


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
parts = st.one_of(
    st.builds(TextPart, st.text(max_size=6)),
    st.builds(DataPart, json_values),
    st.builds(lambda name: FilePart("SGk=", filename=name), st.none() | st.text(max_size=6)),
    st.builds(lambda path: FilePart(uri=f"https://x/{path}"), st.text("abc", max_size=3)),
)


@given(
    st.sampled_from(TaskState),
    st.lists(st.lists(parts, max_size=3).map(tuple), max_size=3),
    st.none() | st.text(max_size=6),
)
def test_any_task_can_be_told(
    state: TaskState, contents: list[tuple[Part, ...]], word: str | None
) -> None:
    """Whatever a task is and made, a peer reads what is told of it."""
    message = None if word is None else said(TextPart(word))
    task = replace(TASK, state=state, artifacts=made(*contents), status_message=message)
    for payload in (task_response(task), snapshot_response(task, snapshot_of(task))):
        reply = reply_envelope(envelope(), payload, id="env_2", now=NOW, sender=OURS)
        again = envelope(**orjson.loads(orjson.dumps(reply.wire())))
        assert again == reply
        assert read_payload(again) == payload
