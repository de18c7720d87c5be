"""The exact shapes of each generation (spec §2, §3, §4), and what is refused of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from palaver.model.content import Artifact, DataPart, FilePart, Message, Metadata, Part, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.ids import check_id
from palaver.model.states import TaskState
from palaver.model.task import fold
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    Dialect,
    MessageReplied,
    Operation,
    Send,
    StatusReceived,
    TaskReceived,
)
from palaver.protocols.a2a.errors import FieldViolation, InvalidAgentResponse, InvalidParams
from palaver.protocols.a2a.mapping import V01, V03, V10
from palaver.protocols.a2a.v01.messages import JSONRPCRequest

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

V10_MESSAGE = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}
V03_MESSAGE = {
    "kind": "message",
    "messageId": "m1",
    "role": "user",
    "parts": [{"kind": "text", "text": "x"}],
}
V01_MESSAGE = {"role": "user", "parts": [{"type": "text", "text": "oi"}], "metadata": {}}


def said(message_id: str, text: str, **more: Any) -> Message:
    """Return a message of the user."""
    return Message(id=message_id, role="user", parts=(TextPart(text),), **more)


@pytest.mark.parametrize(
    ("spoken", "params", "send"),
    [
        (V10, {"message": V10_MESSAGE}, Send(message=said("m", "x"))),
        (
            V10,
            {
                "tenant": "demo",
                "message": {**V10_MESSAGE, "taskId": "t", "contextId": "c", "unknown": 1},
                "configuration": {
                    "acceptedOutputModes": ["text/plain"],
                    "historyLength": 0,
                    "returnImmediately": True,
                    "taskPushNotificationConfig": {"url": "https://example.org"},
                },
                "metadata": {"k": 1},
            },
            Send(
                message=said("m", "x"),
                task_id="t",
                conversation_id="c",
                blocking=False,
                history_length=0,
                accepted_output_modes=("text/plain",),
                metadata={"k": 1},
                tenant="demo",
            ),
        ),
        (
            V10,
            {
                "message": {
                    "message_id": "m",
                    "role": "ROLE_USER",
                    "parts": [{"text": "x"}],
                    "context_id": "c",
                    "task_id": "",
                    "reference_task_ids": None,
                    "extensions": None,
                },
                "configuration": None,
                "tenant": "",
            },
            Send(message=said("m", "x"), conversation_id="c"),
        ),
        (
            V03,
            {"message": V03_MESSAGE, "metadata": {}},
            Send(message=said("m1", "x"), metadata={}),
        ),
        (
            V03,
            {
                "message": {
                    **V03_MESSAGE,
                    "taskId": "t",
                    "contextId": "c",
                    "referenceTaskIds": ["r"],
                    "extensions": ["https://example.org/x"],
                    "metadata": {"a": 1},
                },
                "configuration": {
                    "acceptedOutputModes": ["text/plain"],
                    "historyLength": 3,
                    "blocking": False,
                    "pushNotificationConfig": {"url": "https://example.org", "token": "s"},
                },
            },
            Send(
                message=said(
                    "m1",
                    "x",
                    metadata={"a": 1},
                    extensions=("https://example.org/x",),
                    reference_task_ids=("r",),
                ),
                task_id="t",
                conversation_id="c",
                blocking=False,
                history_length=3,
                accepted_output_modes=("text/plain",),
            ),
        ),
        (
            V01,
            {"id": "t", "message": V01_MESSAGE},
            Send(
                message=said("", "oi", metadata={}), task_id="t", may_create=True, history_length=0
            ),
        ),
        (
            V01,
            {
                "id": "t",
                "sessionId": "s1",
                "message": {**V01_MESSAGE, "metadata": None},
                "acceptedOutputModes": ["text", "image/png"],
                "pushNotification": None,
                "historyLength": 10,
                "metadata": {},
            },
            Send(
                message=said("", "oi"),
                task_id="t",
                conversation_id="s1",
                may_create=True,
                history_length=10,
                accepted_output_modes=("text/plain", "image/png"),
                metadata={},
            ),
        ),
        (
            V01,
            {
                "id": "t",
                "sessionId": None,
                "message": V01_MESSAGE,
                "acceptedOutputModes": None,
                "historyLength": None,
                "metadata": None,
            },
            Send(
                message=said("", "oi", metadata={}), task_id="t", may_create=True, history_length=0
            ),
        ),
    ],
)
def test_a_send_is_understood(spoken: Dialect, params: dict[str, Any], send: Send) -> None:
    """Sections 2 to 4: params of the sends; what is unknown is ignored, nulls are as absent."""
    parsed = spoken.parse(Operation.SEND, params)
    assert parsed == spoken.parse(Operation.STREAM, params)
    assert isinstance(parsed, Send)
    if spoken is V01:  # its messages have no ids
        parsed = replace(parsed, message=replace(parsed.message, id=""))
    assert parsed == send


def test_a_message_without_an_id_gets_one_that_is_legal_elsewhere() -> None:
    """Section 0: 0.1 has no message ids, but its tasks are shown in 1.0 as well."""
    first = V01.parse(Operation.SEND, {"id": "t", "message": V01_MESSAGE})
    again = V01.parse(Operation.SEND, {"id": "u", "message": V01_MESSAGE})
    other = V01.parse(Operation.SEND, with_(V01_MESSAGE, parts=[{"type": "text", "text": "x"}]))
    assert isinstance(first, Send)
    assert isinstance(again, Send)
    assert isinstance(other, Send)
    assert check_id(first.message.id) == again.message.id != other.message.id


def kinds(tag: str) -> list[tuple[dict[str, Any], Part]]:
    """Return the parts of the older generations."""
    about: Metadata = {"m": 1}
    return [
        ({tag: "text", "text": ""}, TextPart("")),
        (
            {tag: "data", "data": {"a": 1}, "metadata": {"m": 1}},
            DataPart({"a": 1}, None, None, about),
        ),
        (
            {tag: "file", "file": {"name": "f", "mimeType": "a/b", "bytes": "aGk="}},
            FilePart("aGk=", None, "a/b", "f"),
        ),
        ({tag: "file", "file": {"uri": "https://x.example"}}, FilePart(None, "https://x.example")),
    ]


@pytest.mark.parametrize(
    ("spoken", "wire", "part"),
    [
        (V10, {"text": "", "metadata": {}}, TextPart("", metadata={})),
        (V10, {"text": "a", "data": None}, TextPart("a")),
        (V10, {"raw": "aGk=", "filename": "f"}, FilePart("aGk=", filename="f")),
        (V10, {"raw": "-_8"}, FilePart("+/8=")),
        (
            V10,
            {"url": "https://x.example", "mediaType": "a/b"},
            FilePart(None, "https://x.example", "a/b"),
        ),
        (V10, {"data": [1, None]}, DataPart([1, None])),
        (V10, {"data": None}, DataPart(None)),
        *((V03, *row) for row in kinds("kind")),
        *((V01, *row) for row in kinds("type")),
        (V01, {"type": "data", "data": [1], "text": None, "file": None}, DataPart([1])),
    ],
)
def test_a_part_is_understood(spoken: Dialect, wire: dict[str, Any], part: Part) -> None:
    """Section 0, Type map: text, file and data."""
    message = {V10: V10_MESSAGE, V03: V03_MESSAGE, V01: V01_MESSAGE}[spoken]
    params = {"id": "t", "message": {**message, "parts": [wire]}}
    send = spoken.parse(Operation.SEND, params)
    assert isinstance(send, Send)
    assert send.message.parts == (part,)


def with_(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the params of a send with a changed message."""
    return {"id": "t", "message": {**message, **changes}}


REFUSED: list[tuple[Dialect, dict[str, Any], str]] = [
    (V10, {}, "message is required"),
    (V10, {"message": []}, "message must be an object"),
    (V10, {"message": None}, "message must be an object"),
    (V10, with_(V10_MESSAGE, parts=[]), "message.parts must hold at least one part"),
    (V10, with_(V10_MESSAGE, parts={}), "message.parts must be an array"),
    (
        V10,
        with_(V10_MESSAGE, parts=[{"text": "a"}] * 10001),
        "message.parts must hold at most 10000 parts",
    ),
    (
        V10,
        with_(V10_MESSAGE, parts=[{}]),
        "message.parts[0] must hold exactly one of text, raw, url and data",
    ),
    (
        V10,
        with_(V10_MESSAGE, parts=[{"text": "a"}, {"text": "a", "url": "b"}]),
        "message.parts[1] must hold exactly one of text, raw, url and data",
    ),
    (V10, with_(V10_MESSAGE, parts=[{"text": 5}]), "message.parts[0].text must be a string"),
    (V10, with_(V10_MESSAGE, parts=[{"raw": "?"}]), "message.parts[0].raw must be base64"),
    (V10, with_(V10_MESSAGE, parts=[{"raw": "A"}]), "message.parts[0].raw must be base64"),
    (V10, with_(V10_MESSAGE, parts=[{"url": ""}]), "message.parts[0].url must not be empty"),
    (
        V10,
        with_(V10_MESSAGE, parts=[{"text": "a", "metadata": []}]),
        "message.parts[0].metadata must be an object",
    ),
    (V10, with_(V10_MESSAGE, messageId=""), "message.messageId must not be empty"),
    (
        V10,
        with_(V10_MESSAGE, messageId="x" * 257),
        "message.messageId has 257 characters; at most 256 are allowed",
    ),
    (
        V10,
        with_(V10_MESSAGE, messageId="a\0"),
        "message.messageId holds the character U+0000 at position 1",
    ),
    (V10, with_(V10_MESSAGE, messageId=5), "message.messageId must be a string"),
    (V10, with_(V10_MESSAGE, role="user"), "message.role must be 'ROLE_USER' or 'ROLE_AGENT'"),
    (
        V10,
        with_(V10_MESSAGE, role="ROLE_AGENT"),
        "message.role must be ROLE_USER: the caller is the user",
    ),
    (
        V10,
        with_(V10_MESSAGE, extensions=["x" * 8193]),
        "message.extensions[0] must have at most 8192 characters",
    ),
    (
        V10,
        with_(V10_MESSAGE, referenceTaskIds=["r"] * 101),
        "message.referenceTaskIds must hold at most 100 items",
    ),
    (
        V10,
        {"message": V10_MESSAGE, "configuration": {"historyLength": -1}},
        "configuration.historyLength must be at least 0",
    ),
    (
        V10,
        {"message": V10_MESSAGE, "configuration": {"historyLength": 2**31}},
        "configuration.historyLength must be at most 2147483647",
    ),
    (
        V10,
        {"message": V10_MESSAGE, "configuration": {"historyLength": True}},
        "configuration.historyLength must be an integer",
    ),
    (
        V10,
        {"message": V10_MESSAGE, "configuration": {"returnImmediately": "yes"}},
        "configuration.returnImmediately must be true or false",
    ),
    (
        V10,
        {"message": {"role": 1}},
        "message.messageId is required (and 2 more)",
    ),
    (V03, {}, "message is required"),
    (V03, with_(V03_MESSAGE, parts=[]), "message.parts must hold at least one part"),
    (V03, with_(V03_MESSAGE, kind="task"), "message.kind must be 'message'"),
    (V03, with_(V03_MESSAGE, role="agent"), "message.role must be 'user': the caller is the user"),
    (V03, with_(V03_MESSAGE, taskId=""), "message.taskId must not be empty"),
    (
        V03,
        with_(V03_MESSAGE, parts=[{"kind": "audio"}]),
        "message.parts[0].kind must be 'text', 'file' or 'data'",
    ),
    (V03, with_(V03_MESSAGE, parts=[{"text": "x"}]), "message.parts[0].kind is required"),
    (
        V03,
        with_(V03_MESSAGE, parts=[{"kind": "text", "data": {}}]),
        "message.parts[0] must hold text, as its kind says",
    ),
    (
        V03,
        with_(V03_MESSAGE, parts=[{"kind": "data", "data": [1]}]),
        "message.parts[0].data must be an object",
    ),
    (
        V03,
        with_(V03_MESSAGE, parts=[{"kind": "file", "file": {"name": "f"}}]),
        "message.parts[0].file must hold exactly one of bytes and uri",
    ),
    (V01, {}, "id is required (and 1 more)"),
    (V01, {"id": 5, "message": V01_MESSAGE}, "id must be a string"),
    (V01, {"id": "", "message": V01_MESSAGE}, "id must not be empty"),
    (V01, with_(V01_MESSAGE, parts=[]), "message.parts must hold at least one part"),
    (V01, with_(V01_MESSAGE, role="agent"), "message.role must be 'user': the caller is the user"),
    (
        V01,
        with_(V01_MESSAGE, parts=[{"kind": "text", "text": "x"}]),
        "message.parts[0].type is required",
    ),
    (
        V01,
        with_(V01_MESSAGE, parts=[{"type": "text", "text": None}]),
        "message.parts[0] must hold text, as its type says",
    ),
    (
        V01,
        with_(V01_MESSAGE, parts=[{"type": "data", "data": "x"}]),
        "message.parts[0] must hold an object or an array in data",
    ),
    (
        V01,
        with_(V01_MESSAGE, parts=[{"type": "file", "file": {"bytes": "aGk=", "uri": "x"}}]),
        "message.parts[0].file must hold exactly one of bytes and uri",
    ),
]


@pytest.mark.parametrize(("spoken", "params", "detail"), REFUSED)
def test_a_send_is_refused(spoken: Dialect, params: dict[str, Any], detail: str) -> None:
    """Section 4, Errors: -32602 names the field and what is allowed there."""
    with pytest.raises(InvalidParams) as caught:
        spoken.parse(Operation.SEND, params)
    error = caught.value
    assert error.message == f"Invalid parameters: {detail}"
    assert error.generation is spoken.generation
    assert error.field_violations
    first = error.field_violations[0]
    assert detail.startswith(f"{first.field} {first.description}")


def test_all_violations_are_told() -> None:
    """Section 4: BadRequest.fieldViolations holds each of them, up to a bound."""
    with pytest.raises(InvalidParams) as caught:
        V10.parse(Operation.SEND, {"message": {"role": 1}})
    assert caught.value.field_violations == (
        FieldViolation("message.messageId", "is required"),
        FieldViolation("message.role", "must be 'ROLE_USER' or 'ROLE_AGENT'"),
        FieldViolation("message.parts", "is required"),
    )
    with pytest.raises(InvalidParams) as caught:
        V10.parse(Operation.SEND, with_(V10_MESSAGE, parts=[{}] * 100))
    assert len(caught.value.field_violations) == 20


@pytest.mark.parametrize("spoken", [V10, V03, V01])
@pytest.mark.parametrize("operation", [Operation.GET, Operation.CANCEL, Operation.SUBSCRIBE])
def test_a_task_must_be_named(spoken: Dialect, operation: Operation) -> None:
    """Sections 2 to 4: id* in the params of get, cancel and subscribe."""
    with pytest.raises(InvalidParams, match=r"^Invalid parameters: id is required$"):
        spoken.parse(operation, {"taskId": "t"})


@pytest.mark.parametrize(
    ("spoken", "result"),
    [
        (V10, None),
        (V10, []),
        (V10, {}),
        (V10, {"task": None}),
        (V10, {"task": {"id": "t"}}),
        (V10, {"message": V10_MESSAGE, "task": {"id": "t", "status": {}}}),
        (V10, {"status_update": {"task_id": "t"}}),
        (V10, {"id": "t", "status": {"state": "completed"}}),
        (V10, {"id": "t", "status": {"timestamp": "yesterday"}}),
        (V03, None),
        (V03, {"kind": "status-update", "taskId": "t"}),
        (V03, {"kind": "poem"}),
        (V03, {}),
        (V03, {"kind": "task", "id": "t", "contextId": "c", "status": {"state": "WORKING"}}),
        (V01, None),
        (V01, {}),
        (V01, {"id": "t", "artifact": {"parts": []}}),
        (V01, {"id": "t", "final": True}),
        (V01, {"id": "t", "artifact": {"parts": [{"type": "text", "text": ""}], "index": -1}}),
    ],
)
def test_what_is_no_result(spoken: Dialect, result: Any) -> None:
    """A client tells what its generation does not know."""
    with pytest.raises(InvalidAgentResponse) as caught:
        spoken.receive(result)
    assert caught.value.generation is spoken.generation
    assert caught.value.detail


@pytest.mark.parametrize(
    ("spoken", "result", "update"),
    [
        (
            V10,
            {"message": {**V10_MESSAGE, "role": "ROLE_AGENT", "contextId": "c"}},
            MessageReplied(
                message=Message(id="m", role="agent", parts=(TextPart("x"),)), conversation_id="c"
            ),
        ),
        (
            V10,
            {"status_update": {"task_id": "t", "context_id": "c", "status": {}}},
            StatusReceived(task_id="t", conversation_id="c", state=TaskState.FAILED),
        ),
        (
            V03,
            {**V03_MESSAGE, "role": "agent", "contextId": "c"},
            MessageReplied(
                message=Message(id="m1", role="agent", parts=(TextPart("x"),)), conversation_id="c"
            ),
        ),
        (
            V03,
            {"id": "t", "contextId": "c", "status": {"state": "unknown"}},
            TaskReceived(task_id="t", conversation_id="c", state=TaskState.FAILED),
        ),
        (
            V01,
            {"id": "t", "status": {"state": "unknown", "message": None}, "artifacts": None},
            TaskReceived(task_id="t", conversation_id=None, state=TaskState.FAILED),
        ),
        (
            V01,
            {"id": "t", "status": {"state": "failed"}, "final": None, "metadata": {"state": "x"}},
            StatusReceived(
                task_id="t",
                conversation_id=None,
                state=TaskState.FAILED,
                metadata={"state": "x"},
            ),
        ),
        (
            V01,
            {"id": "t", "artifact": {"parts": [{"type": "text", "text": "a"}]}},
            ArtifactReceived(
                task_id="t",
                conversation_id=None,
                artifact=Artifact(id="0", parts=(TextPart("a"),)),
            ),
        ),
    ],
)
def test_a_result_is_understood(spoken: Dialect, result: Any, update: object) -> None:
    """Sections 2 to 4: replies with a message, and what peers leave out."""
    assert spoken.receive(result) == update


def test_in_0_1_the_client_makes_the_ids() -> None:
    """Section 2: a send without a task id is our own mistake."""
    with pytest.raises(ValueError, match="set task_id"):
        V01.request(Operation.SEND, Send(message=said("m", "x")))


def test_the_request_of_the_legacy_plan() -> None:
    """The payload of the plan, word for word, is one of 0.1."""
    request = JSONRPCRequest.model_validate(
        {
            "jsonrpc": "2.0",
            "id": "r",
            "method": "tasks/sendSubscribe",
            "params": {
                "id": "t",
                "sessionId": "s",
                "message": {"role": "user", "parts": [{"type": "text", "text": "Olá"}]},
            },
        }
    )
    assert request.params.message.parts[0].text == "Olá"
    assert request.method == "tasks/sendSubscribe"
