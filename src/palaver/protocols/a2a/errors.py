"""The A2A errors (stubs: see the signatures)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from palaver.errors import ModelError, PalaverError, TaskError
from palaver.protocols.a2a.commands import Generation, Operation
from palaver.protocols.jsonrpc import JsonRpcError, RequestId


@dataclass(frozen=True, slots=True)
class FieldViolation:
    field: str
    description: str


class A2aError(PalaverError):
    code: ClassVar[int] = -32603
    reason: ClassVar[str | None] = "INTERNAL_ERROR"
    text: ClassVar[str] = "Internal error"

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
    code = -32700


class InvalidRequest(A2aError):
    code = -32600


class MethodNotFound(A2aError):
    code = -32601


class InvalidParams(A2aError):
    code = -32602


class InternalError(A2aError):
    code = -32603


class TaskNotFound(A2aError):
    code = -32001


class TaskNotCancelable(A2aError):
    code = -32002


class PushNotificationNotSupported(A2aError):
    code = -32003


class UnsupportedOperation(A2aError):
    code = -32004


class ContentTypeNotSupported(A2aError):
    code = -32005


class InvalidAgentResponse(A2aError):
    code = -32006


class ExtendedCardNotConfigured(A2aError):
    code = -32007


class ExtensionSupportRequired(A2aError):
    code = -32008


class VersionNotSupported(A2aError):
    code = -32009


class ServerBusy(A2aError):
    code = -32010

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
    raise NotImplementedError


def encode_error(request_id: RequestId, error: A2aError, generation: Generation) -> bytes:
    """Return the JSON-RPC error response."""
    raise NotImplementedError


def from_task_error(
    error: TaskError | ModelError, operation: Operation = Operation.SEND
) -> A2aError:
    raise NotImplementedError


def from_jsonrpc_error(error: JsonRpcError) -> A2aError:
    raise NotImplementedError
