"""The exact shapes of each generation (spec §2, §3, §4), and what is refused of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from palaver.model.content import Artifact, Message, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.states import TaskState
from palaver.model.task import fold
from palaver.protocols.a2a.mapping import V01, V03, V10

AT = 1738324800.25
TIME = "2025-01-31T12:00:00.250Z"

QUESTION = Message(id="q", role="agent", parts=(TextPart("Which date?"),))
CREATED = TaskCreated(
    seq=1,
    at=AT,
    conversation_id="c",
    agent_id="demo",
    message=Message(id="m", role="user", parts=(TextPart("hi"),)),
    principal="anyone",
    wire="a2a-1.0",
    metadata={"who": "me"},
)
WORKING = StatusChanged(seq=2, at=AT, state=TaskState.WORKING, attempt=1)
CHUNK = ArtifactUpdated(seq=3, at=AT, artifact=Artifact(id="a", parts=(TextPart("Hel"),)), index=0)
LAST = ArtifactUpdated(
    seq=4,
    at=AT,
    artifact=Artifact(id="a", parts=(TextPart("lo"),)),
    index=0,
    append=True,
    last=True,
)
ASKED = StatusChanged(seq=5, at=AT, state=TaskState.INPUT_REQUIRED, message=QUESTION)
ANSWERED = MessageReceived(
    seq=6, at=AT, message=Message(id="m2", role="user", parts=(TextPart("today"),))
)
HALF = StatusChanged(seq=7, at=AT, state=TaskState.WORKING, percent=40.0, attempt=2)
TRANSFER = CallActionRequested(seq=8, at=AT, action="transfer", target="sip:desk")
HANG_UP = CallActionRequested(seq=8, at=AT, action="hang_up")
LOST = StatusChanged(seq=9, at=AT, state=TaskState.FAILED, reason="worker_lost")
DONE = StatusChanged(seq=9, at=AT, state=TaskState.COMPLETED)
REJECTED = StatusChanged(seq=2, at=AT, state=TaskState.REJECTED)
AUTH = StatusChanged(seq=3, at=AT, state=TaskState.AUTH_REQUIRED)


def v10_status(state: str, **more: Any) -> dict[str, Any]:
    """Return a status update of 1.0."""
    status = {"state": f"TASK_STATE_{state}", "timestamp": TIME}
    if "message" in more:
        status["message"] = more.pop("message")
    return {"statusUpdate": {"taskId": "t", "contextId": "c", "status": status, **more}}


def v03_status(state: str, *, final: bool = False, **more: Any) -> dict[str, Any]:
    """Return a status update of 0.3."""
    status = {"state": state, "timestamp": TIME}
    if "message" in more:
        status["message"] = more.pop("message")
    ids = {"kind": "status-update", "taskId": "t", "contextId": "c"}
    return {**ids, "status": status, "final": final, **more}


def v01_status(state: str, *, final: bool = False, **more: Any) -> dict[str, Any]:
    """Return a status update of 0.1."""
    status = {"state": state, "timestamp": TIME}
    if "message" in more:
        status["message"] = more.pop("message")
    return {"id": "t", "status": status, "final": final, **more}


def v10_chunk(text: str, **more: Any) -> dict[str, Any]:
    """Return an artifact update of 1.0."""
    artifact = {"artifactId": "a", "parts": [{"text": text}]}
    return {"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact, **more}}


def v03_chunk(text: str, *, append: bool, last: bool) -> dict[str, Any]:
    """Return an artifact update of 0.3."""
    return {
        "kind": "artifact-update",
        "taskId": "t",
        "contextId": "c",
        "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": text}]},
        "append": append,
        "lastChunk": last,
    }


def v01_chunk(text: str, *, append: bool, last: bool) -> dict[str, Any]:
    """Return an artifact update of 0.1."""
    parts = [{"type": "text", "text": text}]
    return {
        "id": "t",
        "artifact": {"parts": parts, "index": 0, "append": append, "lastChunk": last},
    }


V10_TASK = {
    "id": "t",
    "contextId": "c",
    "status": {"state": "TASK_STATE_SUBMITTED", "timestamp": TIME},
    "history": [
        {
            "messageId": "m",
            "role": "ROLE_USER",
            "parts": [{"text": "hi"}],
            "taskId": "t",
            "contextId": "c",
        }
    ],
    "metadata": {"who": "me"},
}
V03_TASK = {
    "kind": "task",
    "id": "t",
    "contextId": "c",
    "status": {"state": "submitted", "timestamp": TIME},
    "history": [
        {
            "kind": "message",
            "messageId": "m",
            "role": "user",
            "parts": [{"kind": "text", "text": "hi"}],
            "taskId": "t",
            "contextId": "c",
        }
    ],
    "metadata": {"who": "me"},
}
V10_QUESTION = {
    "messageId": "q",
    "role": "ROLE_AGENT",
    "parts": [{"text": "Which date?"}],
    "taskId": "t",
    "contextId": "c",
}
V03_QUESTION = {
    "kind": "message",
    "messageId": "q",
    "role": "agent",
    "parts": [{"kind": "text", "text": "Which date?"}],
    "taskId": "t",
    "contextId": "c",
}
V01_QUESTION = {"role": "agent", "parts": [{"type": "text", "text": "Which date?"}]}
HALF_DONE: dict[str, Any] = {"metadata": {"percent": 40.0, "attempt": 2}}
TRANSFERRING: dict[str, Any] = {
    "metadata": {"callAction": {"action": "transfer", "target": "sip:desk"}}
}
HANGING_UP: dict[str, Any] = {"metadata": {"callAction": {"action": "hang_up"}}}
WORKER_LOST: dict[str, Any] = {"metadata": {"reason": "worker_lost"}}

# event → 1.0, 0.3, 0.1
SHAPES: list[tuple[TaskEvent, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (CREATED, {"task": V10_TASK}, V03_TASK, v01_status("submitted")),
    (WORKING, v10_status("WORKING"), v03_status("working"), v01_status("working")),
    (
        CHUNK,
        v10_chunk("Hel"),
        v03_chunk("Hel", append=False, last=False),
        v01_chunk("Hel", append=False, last=False),
    ),
    (
        LAST,
        v10_chunk("lo", append=True, lastChunk=True),
        v03_chunk("lo", append=True, last=True),
        v01_chunk("lo", append=True, last=True),
    ),
    (
        ASKED,
        v10_status("INPUT_REQUIRED", message=V10_QUESTION),
        v03_status("input-required", final=True, message=V03_QUESTION),
        v01_status("input-required", final=True, message=V01_QUESTION),
    ),
    (ANSWERED, v10_status("WORKING"), v03_status("working"), v01_status("working")),
    (
        HALF,
        v10_status("WORKING", **HALF_DONE),
        v03_status("working", **HALF_DONE),
        v01_status("working", **HALF_DONE),
    ),
    (
        TRANSFER,
        v10_status("WORKING", **TRANSFERRING),
        v03_status("working", **TRANSFERRING),
        v01_status("working", **TRANSFERRING),
    ),
    (
        HANG_UP,
        v10_status("WORKING", **HANGING_UP),
        v03_status("working", **HANGING_UP),
        v01_status("working", **HANGING_UP),
    ),
    (
        LOST,
        v10_status("FAILED", **WORKER_LOST),
        v03_status("failed", final=True, **WORKER_LOST),
        v01_status("failed", final=True, **WORKER_LOST),
    ),
    (
        DONE,
        v10_status("COMPLETED"),
        v03_status("completed", final=True),
        v01_status("completed", final=True),
    ),
    (
        REJECTED,
        v10_status("REJECTED"),
        v03_status("rejected", final=True),
        v01_status("failed", final=True, metadata={"state": "rejected"}),
    ),
    (
        AUTH,
        v10_status("AUTH_REQUIRED"),
        v03_status("auth-required", final=True),
        v01_status("input-required", final=True, metadata={"state": "auth-required"}),
    ),
]


@pytest.mark.parametrize(("event", "in_v10", "in_v03", "in_v01"), SHAPES)
def test_an_event_in_each_generation(
    event: TaskEvent, in_v10: dict[str, Any], in_v03: dict[str, Any], in_v01: dict[str, Any]
) -> None:
    """Section 5: the table of conversions, to the byte."""
    for spoken, shape in ((V10, in_v10), (V03, in_v03), (V01, in_v01)):
        rendered = spoken.stream_event("t", "c", event)
        assert rendered is not None
        assert orjson.loads(rendered) == shape


def test_a_finished_task_in_each_generation() -> None:
    """Sections 2 to 4: Task with artifacts and history; 0.1 shows history only if asked."""
    task = fold("t", (CREATED, WORKING, CHUNK, LAST, ASKED, ANSWERED, HALF, DONE_AFTER))
    metadata = {"who": "me", "percent": 40.0, "attempt": 2}
    result = orjson.loads(V10.send_result(task, 1))["task"]
    assert result == {
        "id": "t",
        "contextId": "c",
        "status": {"state": "TASK_STATE_COMPLETED", "timestamp": TIME},
        "artifacts": [{"artifactId": "a", "parts": [{"text": "Hello"}]}],
        "history": [
            {
                "messageId": "m2",
                "role": "ROLE_USER",
                "parts": [{"text": "today"}],
                "taskId": "t",
                "contextId": "c",
            }
        ],
        "metadata": metadata,
    }
    assert orjson.loads(V10.task_result(task, 1)) == result
    assert [message["messageId"] for message in orjson.loads(V10.task_result(task))["history"]] == [
        "m",
        "q",
        "m2",
    ]
    assert "history" not in orjson.loads(V10.task_result(task, 0))
    assert orjson.loads(V03.task_result(task, 0)) == {
        "kind": "task",
        "id": "t",
        "contextId": "c",
        "status": {"state": "completed", "timestamp": TIME},
        "artifacts": [{"artifactId": "a", "parts": [{"kind": "text", "text": "Hello"}]}],
        "metadata": metadata,
    }
    v01_task = {
        "id": "t",
        "sessionId": "c",
        "status": {"state": "completed", "timestamp": TIME},
        "artifacts": [{"parts": [{"type": "text", "text": "Hello"}], "index": 0}],
        "metadata": metadata,
    }
    assert orjson.loads(V01.send_result(task)) == v01_task
    assert orjson.loads(V01.task_result(task, 1)) == {
        **v01_task,
        "history": [{"role": "user", "parts": [{"type": "text", "text": "today"}]}],
    }
    assert [orjson.loads(shown) for shown in V01.stream_task(task)] == [
        {
            "id": "t",
            "artifact": {
                "parts": [{"type": "text", "text": "Hello"}],
                "index": 0,
                "append": False,
            },
        },
        v01_status("completed", final=True, **HALF_DONE),
    ]


DONE_AFTER = StatusChanged(seq=8, at=AT, state=TaskState.COMPLETED)
