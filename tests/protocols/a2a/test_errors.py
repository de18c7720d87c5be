"""The errors (spec §4: Errors; §2 and §3 for the older generations)."""

from __future__ import annotations

import json

import pytest

from palaver import errors as model_errors
from palaver.protocols.a2a import errors
from palaver.protocols.a2a.commands import Generation, Operation
from palaver.protocols.a2a.errors import A2aError, FieldViolation
from palaver.protocols.jsonrpc import JsonRpcError

TABLE = [
    (errors.ParseError, -32700, "Invalid JSON payload", None),
    (errors.InvalidRequest, -32600, "Request payload validation error", "INVALID_REQUEST"),
    (errors.MethodNotFound, -32601, "Method not found", "METHOD_NOT_FOUND"),
    (errors.InvalidParams, -32602, "Invalid parameters", "INVALID_PARAMS"),
    (errors.InternalError, -32603, "Internal error", "INTERNAL_ERROR"),
    (errors.TaskNotFound, -32001, "Task not found", "TASK_NOT_FOUND"),
    (errors.TaskNotCancelable, -32002, "Task cannot be canceled", "TASK_NOT_CANCELABLE"),
    (
        errors.PushNotificationNotSupported,
        -32003,
        "Push Notification is not supported",
        "PUSH_NOTIFICATION_NOT_SUPPORTED",
    ),
    (
        errors.UnsupportedOperation,
        -32004,
        "This operation is not supported",
        "UNSUPPORTED_OPERATION",
    ),
    (
        errors.ContentTypeNotSupported,
        -32005,
        "Incompatible content types",
        "CONTENT_TYPE_NOT_SUPPORTED",
    ),
    (errors.InvalidAgentResponse, -32006, "Invalid agent response", "INVALID_AGENT_RESPONSE"),
    (
        errors.ExtendedCardNotConfigured,
        -32007,
        "Extended agent card is not configured",
        "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    ),
    (
        errors.ExtensionSupportRequired,
        -32008,
        "Extension support is required",
        "EXTENSION_SUPPORT_REQUIRED",
    ),
    (
        errors.VersionNotSupported,
        -32009,
        "Protocol version is not supported",
        "VERSION_NOT_SUPPORTED",
    ),
    (errors.ServerBusy, -32010, "Server is busy", "SERVER_BUSY"),
]


@pytest.mark.parametrize(("error", "code", "text", "reason"), TABLE)
def test_the_table_of_errors(
    error: type[A2aError], code: int, text: str, reason: str | None
) -> None:
    """Section 4, Errors: code, text, word for programs."""
    assert (error.code, error.text, error.reason) == (code, text, reason)
    assert str(error()) == error().message == text
    assert error("what, where").message == f"{text}: what, where"


def test_the_table_is_whole() -> None:
    """Each class of the tree stands in the table, and no code stands there twice."""
    assert {row[0] for row in TABLE} == set(A2aError.__subclasses__())
    assert len({row[1] for row in TABLE}) == len(TABLE)


def test_data_of_1_0_is_an_array_of_details() -> None:
    """Section 4: first ErrorInfo, its metadata values strings; then BadRequest."""
    violation = FieldViolation("message.parts", "must hold at least one part")
    error = errors.InvalidParams("message.parts …", field_violations=(violation,))
    assert errors.error_data(error, Generation.V10) == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INVALID_PARAMS",
            "domain": "a2a-protocol.org",
            "metadata": {},
        },
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [
                {"field": "message.parts", "description": "must hold at least one part"}
            ],
        },
    ]


def test_a_busy_server_says_when_to_come_back() -> None:
    """Section 4: rate limits are told by google.rpc.RetryInfo."""
    error = errors.ServerBusy("100 tasks", retry_after=2.5)
    assert errors.error_data(error, Generation.V10) == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVER_BUSY",
            "domain": "palaver",
            "metadata": {},
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.500s"},
    ]


@pytest.mark.parametrize("generation", [Generation.V01, Generation.V03])
def test_older_generations_have_no_data(generation: Generation) -> None:
    """Sections 2 and 3: data is null, which is left out."""
    assert errors.error_data(errors.TaskNotFound(), generation) is None
    assert json.loads(errors.encode_error(1, errors.TaskNotFound("'x'"), generation)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32001, "message": "Task not found: 'x'"},
    }


def test_json_that_is_none_has_no_word() -> None:
    """Section 4: the table gives -32700 no reason, so there is no ErrorInfo."""
    error = errors.from_jsonrpc_error(JsonRpcError(-32700, "the request is not JSON: …"))
    assert type(error) is errors.ParseError
    assert error.message == "Invalid JSON payload: the request is not JSON: …"
    assert errors.error_data(error, Generation.V10) is None


def test_json_that_is_no_request() -> None:
    """Section 1: shape → -32600."""
    error = errors.from_jsonrpc_error(JsonRpcError(-32600, 'jsonrpc must be "2.0"'))
    assert type(error) is errors.InvalidRequest
    assert error.message == 'Request payload validation error: jsonrpc must be "2.0"'


@pytest.mark.parametrize(
    ("error", "operation", "expected", "message"),
    [
        (
            model_errors.TaskNotFound("t"),
            Operation.GET,
            errors.TaskNotFound,
            "Task not found: there is no task 't'",
        ),
        (
            model_errors.TaskFinished("t", "completed"),
            Operation.SEND,
            errors.UnsupportedOperation,
            "This operation is not supported: task 't' is completed: a terminal task never changes",
        ),
        (
            model_errors.TaskFinished("t", "failed"),
            Operation.CANCEL,
            errors.TaskNotCancelable,
            "Task cannot be canceled: task 't' is failed: a terminal task never changes",
        ),
        (
            model_errors.TaskBusy("t", "working"),
            Operation.SEND,
            errors.UnsupportedOperation,
            (
                "This operation is not supported: task 't' is working and did not ask for input: "
                "wait until it does, or cancel it"
            ),
        ),
        (
            model_errors.ConversationMismatch("t", "c"),
            Operation.SEND,
            errors.InvalidParams,
            "Invalid parameters: task 't' does not belong to conversation 'c'",
        ),
        (
            model_errors.MessageReused("m"),
            Operation.SEND,
            errors.InvalidParams,
            (
                "Invalid parameters: message id 'm' was used before with other content: "
                "give each new message an id of its own"
            ),
        ),
        (
            model_errors.UnknownAgent("a"),
            Operation.SEND,
            errors.InvalidParams,
            "Invalid parameters: no agent 'a' is served here",
        ),
        (
            model_errors.UnknownSkill("a", "s", ("echo",)),
            Operation.SEND,
            errors.InvalidParams,
            "Invalid parameters: agent 'a' has no skill 's'; it has: echo",
        ),
        (
            model_errors.InvalidId("id must not be empty"),
            Operation.SEND,
            errors.InvalidParams,
            "Invalid parameters: id must not be empty",
        ),
        (
            model_errors.Overloaded(100, 2.5),
            Operation.SEND,
            errors.ServerBusy,
            "Server is busy: 100 tasks are open here, which is the limit; try again in 2.5 s",
        ),
        (
            model_errors.Stopping(1.0),
            Operation.SEND,
            errors.ServerBusy,
            "Server is busy: this server is stopping; try again in 1 s",
        ),
        (
            model_errors.IllegalEvent("task 't': event 4 cannot follow event 2"),
            Operation.SEND,
            errors.InternalError,
            "Internal error",
        ),
    ],
)
def test_what_the_engine_refused(
    error: model_errors.TaskError | model_errors.ModelError,
    operation: Operation,
    expected: type[A2aError],
    message: str,
) -> None:
    """Section 4, Multi-turn and Errors: each refusal of the engine has its code."""
    answer = errors.from_task_error(error, operation)
    assert type(answer) is expected
    assert answer.message == message


@pytest.mark.parametrize("error", [model_errors.Overloaded(1, 7.0), model_errors.Stopping(7.0)])
def test_the_wait_of_a_busy_server_is_kept(error: model_errors.TaskError) -> None:
    """The seconds that the engine names are the seconds that the peer reads."""
    answer = errors.from_task_error(error)
    assert isinstance(answer, errors.ServerBusy)
    assert answer.retry_after == 7.0
