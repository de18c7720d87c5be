"""What is refused, and in which words; what a client makes of results (spec §2 to §4)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.model.content import Artifact, Message, TextPart
from palaver.model.states import TaskState
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
from tests.protocols.a2a.samples import V01_MESSAGE, V03_MESSAGE, V10_MESSAGE, said, with_

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
