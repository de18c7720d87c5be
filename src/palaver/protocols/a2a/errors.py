"""The A2A errors, each with its code, its word for programs and the specification's text.

::

    A2aError
    ├── ParseError                    -32700
    ├── InvalidRequest                -32600
    ├── MethodNotFound                -32601
    ├── InvalidParams                 -32602
    ├── InternalError                 -32603
    ├── TaskNotFound                  -32001
    ├── TaskNotCancelable             -32002
    ├── PushNotificationNotSupported  -32003
    ├── UnsupportedOperation          -32004
    ├── ContentTypeNotSupported       -32005
    ├── InvalidAgentResponse          -32006
    ├── ExtendedCardNotConfigured     -32007
    ├── ExtensionSupportRequired      -32008
    ├── VersionNotSupported           -32009
    └── ServerBusy                    -32010, ours: the codes up to -32099 are free

A message is the specification's text, then what was wrong, where, and what is allowed. The texts
are the same in all generations; ``data`` is not: only 1.0 has a shape for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final

from palaver import errors
from palaver.protocols import jsonrpc
from palaver.protocols.a2a.commands import Generation, Operation

__all__ = [
    "A2aError",
    "ContentTypeNotSupported",
    "ExtendedCardNotConfigured",
    "ExtensionSupportRequired",
    "FieldViolation",
    "InternalError",
    "InvalidAgentResponse",
    "InvalidParams",
    "InvalidRequest",
    "MethodNotFound",
    "ParseError",
    "PushNotificationNotSupported",
    "ServerBusy",
    "TaskNotCancelable",
    "TaskNotFound",
    "UnsupportedOperation",
    "VersionNotSupported",
    "encode_error",
    "error_data",
    "from_jsonrpc_error",
    "from_task_error",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the params that is not as it must be."""

    field: str
    description: str


class A2aError(errors.PalaverError):
    """Base of what A2A answers instead of a result.

    ``message`` is what the peer reads. ``generation`` is the one to answer in, where the raiser
    knew it.
    """

    code: ClassVar[int]
    reason: ClassVar[str | None]
    text: ClassVar[str]
    domain: ClassVar[str] = "a2a-protocol.org"

    def __init__(
        self,
        detail: str | None = None,
        *,
        field_violations: tuple[FieldViolation, ...] = (),
        generation: Generation | None = None,
    ) -> None:
        self.detail = detail
        self.field_violations = field_violations
        self.generation = generation
        self.message = self.text if detail is None else f"{self.text}: {detail}"
        super().__init__(self.message)


class ParseError(A2aError):
    """The body is not JSON."""

    code = -32700
    reason = None  # the one error that the specification gives no word
    text = "Invalid JSON payload"


class InvalidRequest(A2aError):
    """The JSON is no JSON-RPC request."""

    code = -32600
    reason = "INVALID_REQUEST"
    text = "Request payload validation error"


class MethodNotFound(A2aError):
    """There is no such method, or not here."""

    code = -32601
    reason = "METHOD_NOT_FOUND"
    text = "Method not found"


class InvalidParams(A2aError):
    """The params are not what the method takes."""

    code = -32602
    reason = "INVALID_PARAMS"
    text = "Invalid parameters"


class InternalError(A2aError):
    """Something broke on this side."""

    code = -32603
    reason = "INTERNAL_ERROR"
    text = "Internal error"


class TaskNotFound(A2aError):
    """No such task for this caller."""

    code = -32001
    reason = "TASK_NOT_FOUND"
    text = "Task not found"


class TaskNotCancelable(A2aError):
    """The task has come to its end before."""

    code = -32002
    reason = "TASK_NOT_CANCELABLE"
    text = "Task cannot be canceled"


class PushNotificationNotSupported(A2aError):
    """This agent sends no push notifications."""

    code = -32003
    reason = "PUSH_NOTIFICATION_NOT_SUPPORTED"
    text = "Push Notification is not supported"


class UnsupportedOperation(A2aError):
    """The operation is known, but not done here, or not with this task as it stands."""

    code = -32004
    reason = "UNSUPPORTED_OPERATION"
    text = "This operation is not supported"


class ContentTypeNotSupported(A2aError):
    """The agent takes, or makes, none of the content types that were named."""

    code = -32005
    reason = "CONTENT_TYPE_NOT_SUPPORTED"
    text = "Incompatible content types"


class InvalidAgentResponse(A2aError):
    """The peer answered with something that its generation does not know."""

    code = -32006
    reason = "INVALID_AGENT_RESPONSE"
    text = "Invalid agent response"


class ExtendedCardNotConfigured(A2aError):
    """The extended card is declared, but there is none."""

    code = -32007
    reason = "EXTENDED_AGENT_CARD_NOT_CONFIGURED"
    text = "Extended agent card is not configured"


class ExtensionSupportRequired(A2aError):
    """The agent requires an extension that the client did not declare."""

    code = -32008
    reason = "EXTENSION_SUPPORT_REQUIRED"
    text = "Extension support is required"


class VersionNotSupported(A2aError):
    """The version asked for is not served, or has no such method."""

    code = -32009
    reason = "VERSION_NOT_SUPPORTED"
    text = "Protocol version is not supported"


class ServerBusy(A2aError):
    """The server holds all that it may, or stops; try again after ``retry_after`` seconds."""

    code = -32010
    reason = "SERVER_BUSY"
    text = "Server is busy"
    domain = "palaver"  # the reason is ours, and a domain answers for its reasons

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: float = 1.0,
        generation: Generation | None = None,
    ) -> None:
        super().__init__(detail, generation=generation)
        self.retry_after = retry_after


def error_data(error: A2aError, generation: Generation) -> list[dict[str, Any]] | None:
    """Return ``error.data``: in 1.0 an array of google.rpc details, before it nothing."""
    if generation is not Generation.V10 or error.reason is None:
        return None
    # Values of the metadata are strings (google.rpc.ErrorInfo).
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": error.reason,
            "domain": error.domain,
            "metadata": {},
        }
    ]
    if error.field_violations:
        violations = [
            {"field": violation.field, "description": violation.description}
            for violation in error.field_violations
        ]
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            }
        )
    if isinstance(error, ServerBusy):
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{error.retry_after:.3f}s",
            }
        )
    return details


def encode_error(request_id: jsonrpc.RequestId, error: A2aError, generation: Generation) -> bytes:
    """Return the JSON-RPC response that says ``error`` in ``generation``."""
    data = error_data(error, generation)
    return jsonrpc.error_response(request_id, error.code, error.message, data)


def from_jsonrpc_error(error: jsonrpc.JsonRpcError) -> A2aError:
    """Return the A2A error for a request that was none."""
    if error.code == jsonrpc.PARSE_ERROR:
        return ParseError(error.message)
    return InvalidRequest(error.message)


_TASK_ERRORS: Final[Mapping[type[errors.PalaverError], type[A2aError]]] = MappingProxyType(
    {
        errors.TaskNotFound: TaskNotFound,
        errors.TaskFinished: UnsupportedOperation,
        errors.TaskBusy: UnsupportedOperation,
        errors.ConversationMismatch: InvalidParams,
        errors.MessageReused: InvalidParams,
        errors.UnknownAgent: InvalidParams,
        errors.UnknownSkill: InvalidParams,
        errors.InvalidId: InvalidParams,
    }
)


def from_task_error(
    error: errors.TaskError | errors.ModelError, operation: Operation = Operation.SEND
) -> A2aError:
    """Return the A2A error for what the engine refused to do for ``operation``.

    What no peer can cause by what it sends is an internal error, whose detail stays here.
    """
    if isinstance(error, errors.Overloaded | errors.Stopping):
        return ServerBusy(str(error), retry_after=error.retry_after)
    if isinstance(error, errors.TaskFinished) and operation is Operation.CANCEL:
        return TaskNotCancelable(str(error))
    known = _TASK_ERRORS.get(type(error))
    return InternalError() if known is None else known(str(error))
