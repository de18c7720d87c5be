"""JSON-RPC 2.0: requests and responses, parsed once and joined from ready bytes.

A request that is none raises ``JsonRpcError``, which knows the code to answer with and, where it
could be read, the id to answer to. Batches are refused: no wire of ours has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from palaver.errors import PalaverError

__all__ = [
    "INVALID_REQUEST",
    "MAX_DEPTH",
    "MAX_ID_LENGTH",
    "MAX_METHOD_LENGTH",
    "PARSE_ERROR",
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

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600

MAX_DEPTH: Final = 64
"""Objects and arrays inside each other. orjson writes at most 254 levels: what is taken in here
can always be written again, with room for the objects that it is wrapped in."""

MAX_ID_LENGTH: Final = 256
"""Characters of a request id."""

MAX_METHOD_LENGTH: Final = 128
"""Characters of a method name."""


class JsonRpcError(PalaverError):
    """What came is no request, or no response; ``code`` says which rule it broke."""

    def __init__(self, code: int, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Request:
    """A call. ``id`` is ``None`` where the caller sent null or none."""

    id: RequestId
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """Why a call was refused."""

    code: int
    message: str
    data: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a call: ``error`` where it was refused, else ``result``."""

    id: RequestId
    result: Any = None
    error: ErrorObject | None = None


def parse_request(body: bytes) -> Request:
    """Return the request in ``body``.

    Raises:
        JsonRpcError: -32700 where it is not JSON, -32600 where the JSON is no request.

    """
    value = _parse_object(body, "the request")
    request_id = _request_id(value)
    if value.get("jsonrpc") != "2.0":
        raise JsonRpcError(INVALID_REQUEST, 'jsonrpc must be "2.0"', request_id)
    method = value.get("method")
    if not isinstance(method, str) or not method:
        raise JsonRpcError(INVALID_REQUEST, "method must be a non-empty string", request_id)
    if len(method) > MAX_METHOD_LENGTH:
        message = f"method has {len(method)} characters; at most {MAX_METHOD_LENGTH} are allowed"
        raise JsonRpcError(INVALID_REQUEST, message, request_id)
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise JsonRpcError(INVALID_REQUEST, "params must be an object", request_id)
    return Request(request_id, method, params)


def parse_response(body: bytes) -> Response:
    """Return the response in ``body``.

    Peers are taken as they are: a missing ``id`` or ``jsonrpc``, or a null beside the one that
    counts, is no reason to lose an answer.

    Raises:
        JsonRpcError: it is not JSON (-32700), or the JSON is no response (-32600).

    """
    value = _parse_object(body, "the response")
    request_id = _request_id(value)
    if value.get("jsonrpc", "2.0") != "2.0":
        raise JsonRpcError(INVALID_REQUEST, 'jsonrpc must be "2.0"', request_id)
    error = value.get("error")
    if error is None:
        if "result" not in value:
            raise JsonRpcError(INVALID_REQUEST, "neither result nor error is there", request_id)
        return Response(request_id, value["result"])
    if value.get("result") is not None:
        raise JsonRpcError(INVALID_REQUEST, "both result and error are there", request_id)
    return Response(request_id, None, _error_object(error, request_id))


def encode_request(request_id: RequestId, method: str, params: dict[str, Any]) -> bytes:
    """Return the bytes of a request."""
    request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return orjson.dumps(request)


def response(request_id: RequestId, result: bytes) -> bytes:
    """Return the bytes of a response around ``result``, which is JSON already."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (orjson.dumps(request_id), result)


def error_response(request_id: RequestId, code: int, message: str, data: Any = None) -> bytes:
    """Return the bytes of a response that refuses; ``data`` is left out where it is ``None``."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})


def _parse_object(body: bytes, what: str) -> dict[str, Any]:
    try:
        # Also refused here: invalid UTF-8, lone surrogates, NaN, and more than 1024 levels.
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise JsonRpcError(PARSE_ERROR, f"{what} is not JSON: {error}") from None
    if isinstance(value, list):
        raise JsonRpcError(INVALID_REQUEST, f"{what} must be one object: batches are not taken")
    if not isinstance(value, dict):
        raise JsonRpcError(INVALID_REQUEST, f"{what} must be an object")
    # Counting brackets costs a tenth of parsing and is enough for nearly every body.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _too_deep(value):
        message = f"{what} nests deeper than {MAX_DEPTH} levels"
        raise JsonRpcError(INVALID_REQUEST, message)
    return value


def _too_deep(value: dict[str, Any]) -> bool:
    """Whether ``value`` has more than ``MAX_DEPTH`` levels; by level, so without recursion."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _request_id(value: dict[str, Any]) -> RequestId:
    request_id = value.get("id")
    if isinstance(request_id, str):
        if len(request_id) > MAX_ID_LENGTH:
            message = f"id has {len(request_id)} characters; at most {MAX_ID_LENGTH} are allowed"
            raise JsonRpcError(INVALID_REQUEST, message)
        return request_id
    if request_id is None or type(request_id) is int:
        return request_id
    raise JsonRpcError(INVALID_REQUEST, "id must be a string, an integer or null")


def _error_object(error: Any, request_id: RequestId) -> ErrorObject:
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        message = "error must be an object with an integer code"
        raise JsonRpcError(INVALID_REQUEST, message, request_id)
    text = error.get("message")
    return ErrorObject(error["code"], text if isinstance(text, str) else "", error.get("data"))
