"""JSON-RPC 2.0: requests and responses, parsed once and joined from ready bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from palaver.errors import PalaverError

__all__ = [
    "MAX_DEPTH",
    "ErrorObject",
    "JsonRpcError",
    "Request",
    "RequestId",
    "Response",
    "encode_request",
    "error_response",
    "parse_request",
    "parse_response",
    "response",
]

RequestId: TypeAlias = str | int | None
MAX_DEPTH: Final = 64


class JsonRpcError(PalaverError):
    """What came is no request (or no response), with the code that says why."""

    def __init__(self, code: int, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Request:
    id: RequestId
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorObject:
    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    id: RequestId
    result: Any = None
    error: ErrorObject | None = None


def parse_request(body: bytes) -> Request:
    raise NotImplementedError


def parse_response(body: bytes) -> Response:
    raise NotImplementedError


def encode_request(request_id: RequestId, method: str, params: dict[str, Any]) -> bytes:
    raise NotImplementedError


def response(request_id: RequestId, result: bytes) -> bytes:
    raise NotImplementedError


def error_response(request_id: RequestId, code: int, message: str, data: Any = None) -> bytes:
    raise NotImplementedError
