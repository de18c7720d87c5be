"""Frames of ASAP: JSON-RPC over HTTP and WebSocket, parsed once into values and written again.

What ASAP asks beyond JSON-RPC 2.0 (spec §6, §7):

- A request has an ``id``, a string or an integer; null and none are refused.
- A member of the request that JSON-RPC does not know is refused; one of ``params`` is ignored.
- ``jsonrpc`` may be missing.
- Versions of ASAP: the wire says ``0.1`` in all releases. What begins with a major number that is
  known here (0, 1, 2) is taken and answered with what was said; any other is a mismatch that names
  the versions which are known. (Other servers of ASAP do not look at it at all.)

Time and ids for envelopes that come without theirs are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson
from pydantic import ValidationError

from palaver.protocols.asap.errors import (
    AsapError,
    InvalidRequest,
    MalformedEnvelope,
    MethodNotFound,
    ParseError,
    PeerAnswered,
    VersionMismatch,
)
from palaver.protocols.asap.fields import write_time
from palaver.protocols.asap.messages import (
    ASAP_VERSION,
    Envelope,
    MessageAck,
    PayloadType,
    moment,
    read_payload,
)
from palaver.protocols.asap.violations import malformed
from palaver.protocols.jsonrpc import MAX_DEPTH, MAX_ID_LENGTH, MAX_METHOD_LENGTH, ErrorObject

__all__ = [
    "MAX_BATCH",
    "MAX_KEY_LENGTH",
    "Ack",
    "Body",
    "Failure",
    "Frame",
    "Ping",
    "Pong",
    "Push",
    "Reply",
    "Request",
    "RequestId",
    "encode",
    "encode_ack",
    "encode_batch",
    "failure",
    "parse_body",
    "parse_client_frame",
    "parse_request",
    "parse_server_frame",
    "read_envelope",
    "read_request",
]

MAX_BATCH: Final = 100
"""Requests in one body."""

MAX_KEY_LENGTH: Final = 256
"""Characters of an idempotency key."""

RequestId: TypeAlias = str | int
NewId: TypeAlias = Callable[[], str]
"""Makes the id of an envelope that came without one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call of ``asap.send``. ``idempotency_key`` is that of ``params``."""

    id: RequestId
    envelope: Envelope
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request."""

    id: RequestId
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was refused; ``id`` is ``None`` where it could not be read."""

    id: RequestId | None
    error: AsapError


@dataclass(frozen=True, slots=True)
class Ack:
    """``asap.ack``: what became of an envelope; ``ack`` is the payload of ``envelope``."""

    envelope: Envelope
    ack: MessageAck


@dataclass(frozen=True, slots=True)
class Push:
    """An envelope that nobody asked for."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask whether the other side is there."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Say so."""


Frame: TypeAlias = Request | Reply | Failure | Ack | Push | Ping | Pong


@dataclass(frozen=True, slots=True)
class Body:
    """What a body holds: requests to be read one by one, each answered for itself."""

    items: tuple[Any, ...]
    batch: bool = False


def failure(error: AsapError) -> Failure:
    """Return the frame that says ``error``."""
    return Failure(error.request_id, error)


# --- bytes → values --------------------------------------------------------------------------


def parse_body(data: bytes) -> Body:
    """Return what the body of a ``POST`` holds: one request, or a batch.

    Raises:
        ParseError: it is not JSON.
        InvalidRequest: it is neither an object nor a batch that is taken.

    """
    value = _json(data)
    if not isinstance(value, list):
        return Body((value,))
    if not value:
        raise InvalidRequest("a batch must hold at least one request")
    if len(value) > MAX_BATCH:
        raise InvalidRequest(f"a batch holds {len(value)} requests; at most {MAX_BATCH} are taken")
    return Body(tuple(value), batch=True)


def parse_request(data: bytes | str, *, now: float, new_id: NewId) -> Request:
    """Return the one request that ``data`` holds.

    Raises:
        AsapError: it holds none; ``request_id`` is the one to answer to.

    """
    return read_request(_json(data), now=now, new_id=new_id)


def parse_client_frame(
    data: bytes | str, *, now: float, new_id: NewId
) -> Request | Ack | Ping | Pong:
    """Return what a client sent over a WebSocket.

    Raises:
        AsapError: a client sends nothing like that; ``request_id`` is the one to answer to.

    """
    value = _json(data)
    beat = _heartbeat(value)
    if beat is not None:
        return beat
    if isinstance(value, dict) and value.get("method") == "asap.ack":
        return _read_ack(value, now, new_id)
    return read_request(value, now=now, new_id=new_id)


def parse_server_frame(data: bytes | str, *, now: float, new_id: NewId) -> Frame:
    """Return what a server sent over a WebSocket, or answered to a ``POST``.

    A push has the shape of a reply without an id, or of a request without one. Members that
    JSON-RPC does not know are no reason to lose an answer.

    Raises:
        AsapError: a server sends nothing like that.

    """
    value = _json(data)
    beat = _heartbeat(value)
    if beat is not None:
        return beat
    if not isinstance(value, dict):
        raise InvalidRequest("the frame must be an object")
    method = value.get("method")
    if method == "asap.ack":
        return _read_ack(value, now, new_id)
    if method is not None:
        if value.get("id") is not None:
            return read_request(value, now=now, new_id=new_id)
        return Push(_envelope_of(_params(value), now, new_id))
    request_id = _id_of(value)
    if value.get("error") is not None:
        return Failure(request_id, _error(value["error"], request_id))
    result = value.get("result")
    if not isinstance(result, dict):
        raise InvalidRequest("neither result nor error is there", request_id=request_id)
    try:
        envelope = _envelope_of(result, now, new_id, "result")
    except AsapError as error:
        error.request_id = request_id
        raise
    return Push(envelope) if request_id is None else Reply(request_id, envelope)


def read_request(value: Any, *, now: float, new_id: NewId) -> Request:
    """Return the request that ``value``, an item of a body, is.

    Raises:
        AsapError: it is none; ``request_id`` is the one to answer to.

    """
    if not isinstance(value, dict):
        said = "an object; a batch is none" if isinstance(value, list) else "an object"
        raise InvalidRequest(f"it must be {said}")
    request_id = _id_of(value)
    try:
        _check_shape(value)
        if request_id is None:
            raise InvalidRequest("id must be a string or an integer: each request is answered")
        params = _params(value)
        return Request(request_id, _envelope_of(params, now, new_id), _key(params))
    except AsapError as error:
        error.request_id = request_id
        raise


def read_envelope(value: Any, *, now: float, new_id: NewId) -> Envelope:
    """Return the envelope that ``value`` is; one without id or time is given them (spec §3).

    Raises:
        MalformedEnvelope: it is none.
        VersionMismatch: it is of a version that is not known here.

    """
    return _envelope_of({"envelope": value}, now, new_id)


def _json(data: bytes | str) -> Any:
    why = ""
    try:
        # Also refused here: invalid UTF-8, lone surrogates, NaN, and more than 1024 levels.
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        why = str(error)
    if why:  # raised here: as its context, the first error would hold what came
        raise ParseError(f"not JSON: {why}")
    # Counting brackets costs a tenth of parsing and is enough for nearly every body.
    raw = data.encode() if isinstance(data, str) else data
    opened = raw.count(b"{") + raw.count(b"[")
    if opened > MAX_DEPTH and _levels(value) > MAX_DEPTH:
        raise InvalidRequest(f"it nests deeper than {MAX_DEPTH} levels")
    return value


def _levels(value: Any) -> int:
    """Return how many objects and arrays are inside each other; no more than one too many."""
    levels = 0
    inside: list[Any] = [value]
    while inside and levels <= MAX_DEPTH:
        levels += 1
        held = [node.values() if isinstance(node, dict) else node for node in inside]
        inside = [one for some in held for one in some if isinstance(one, dict | list)]
    return levels


def _heartbeat(value: Any) -> Ping | Pong | None:
    if isinstance(value, dict) and "method" not in value:
        kind = value.get("type")
        if kind == "ping":
            return Ping()
        if kind == "pong":
            return Pong()
    return None


_MEMBERS: Final = frozenset({"jsonrpc", "method", "params", "id"})


def _check_shape(value: dict[str, Any]) -> None:
    """Check the request but for its id and what stands in its params."""
    if not value.keys() <= _MEMBERS:
        extra = min(key for key in value if key not in _MEMBERS)[:64]
        raise InvalidRequest(f"{extra!r} is no member of a request")
    if value.get("jsonrpc", "2.0") != "2.0":
        raise InvalidRequest('jsonrpc must be "2.0"')
    method = value.get("method")
    if not isinstance(method, str) or not method:
        raise InvalidRequest("method must be a non-empty string")
    if len(method) > MAX_METHOD_LENGTH:
        text = f"method has {len(method)} characters; at most {MAX_METHOD_LENGTH} are allowed"
        raise InvalidRequest(text)
    if not isinstance(value.get("params", {}), dict):
        raise InvalidRequest("params must be an object")


def _params(value: dict[str, Any]) -> dict[str, Any]:
    method = value["method"]
    if method != "asap.send":
        raise MethodNotFound(str(method))
    params = value.get("params")
    if not isinstance(params, dict):
        raise InvalidRequest("params must be an object")
    return params


def _id_of(value: dict[str, Any]) -> RequestId | None:
    request_id = value.get("id")
    if isinstance(request_id, str):
        if len(request_id) > MAX_ID_LENGTH:
            text = f"id has {len(request_id)} characters; at most {MAX_ID_LENGTH} are allowed"
            raise InvalidRequest(text)
        return request_id
    if request_id is None or type(request_id) is int:
        return request_id
    raise InvalidRequest("id must be a string or an integer")


def _key(params: dict[str, Any]) -> str | None:
    key = params.get("idempotency_key")
    if key is None:
        return None
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        raise _violation("idempotency_key", f"must be a string of 1 to {MAX_KEY_LENGTH} characters")
    return key


def _violation(member: str, text: str, kind: str = "value_error") -> MalformedEnvelope:
    wrong = {"pointer": f"/{member}", "loc": [member], "msg": text, "type": kind}
    return MalformedEnvelope(f"{member} {text}", violations=(wrong,))


def _envelope_of(holder: dict[str, Any], now: float, new_id: NewId, *within: str) -> Envelope:
    value = holder.get("envelope")
    if value is None:
        raise _violation("envelope", "is required", "missing")
    if not isinstance(value, dict):
        raise _violation("envelope", "must be an object", "dict_type")
    if value.get("id") is None or value.get("timestamp") is None:
        value = {
            **value,
            "id": new_id() if value.get("id") is None else value["id"],
            "timestamp": moment(now) if value.get("timestamp") is None else value["timestamp"],
        }
    try:
        envelope = Envelope.model_validate(value)
    except ValidationError as error:
        raise malformed(error, *within, "envelope") from None
    if not _VERSION.match(envelope.asap_version):
        text = f"asap_version {envelope.asap_version!r}; {ASAP_VERSION!r} is spoken here"
        raise VersionMismatch(text, details={"supported": [ASAP_VERSION]})
    return envelope


_VERSION: Final = re.compile(r"[012]\.\d{1,4}(\.\w{1,16})*\Z", re.ASCII)


def _read_ack(value: dict[str, Any], now: float, new_id: NewId) -> Ack:
    params = value.get("params")
    if not isinstance(params, dict):
        raise InvalidRequest("params must be an object")
    envelope = _envelope_of(params, now, new_id)
    if envelope.kind is not PayloadType.MESSAGE_ACK:
        raise _violation("envelope", f"must carry a MessageAck, not {envelope.payload_type!r}")
    payload = read_payload(envelope)
    assert isinstance(payload, MessageAck)  # noqa: S101 -- its type says so
    return Ack(envelope, payload)


def _error(error: Any, request_id: RequestId | None) -> PeerAnswered:
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        text = "error must be an object with an integer code"
        raise InvalidRequest(text, request_id=request_id)
    said = error.get("message")
    text = said if isinstance(said, str) else ""
    answer = ErrorObject(error["code"], text, error.get("data"))
    return PeerAnswered(answer, request_id=request_id)


# --- values → bytes --------------------------------------------------------------------------


def encode(frame: Frame) -> bytes:
    """Return the JSON of ``frame``: the body of a ``POST`` or its answer, or a text frame.

    A push has the shape that all clients take: a reply whose id is null.
    """
    return orjson.dumps(_object(frame))


def encode_ack(
    envelope: Envelope,
    status: Literal["received", "processed", "rejected"],
    *,
    id: str,  # noqa: A002 -- the word of the wire
    now: float,
    error: str | None = None,
) -> bytes:
    """Return the frame that tells the sender of ``envelope`` what became of it (spec §7).

    It is written from members that were checked as those of ``envelope``: made as an ``Ack`` of
    models first, each of the two that answer a request would cost as much as reading it.
    """
    payload = {"original_envelope_id": envelope.id, "status": status}
    if error is not None:
        payload["error"] = error
    ack: dict[str, Any] = {
        "id": id,
        "asap_version": envelope.asap_version,
        "timestamp": write_time(moment(now)),
        "sender": envelope.recipient,
        "recipient": envelope.sender,
        "payload_type": PayloadType.MESSAGE_ACK.value,
        "payload": payload,
    }
    if envelope.trace_id is not None:
        ack["trace_id"] = envelope.trace_id
    message = {"jsonrpc": "2.0", "method": "asap.ack", "params": {"envelope": ack}}
    return orjson.dumps(message)


def encode_batch(frames: Iterable[bytes]) -> bytes:
    """Return the JSON of a batch of frames, each of which was encoded."""
    return b"[%b]" % b",".join(frames)


def _object(frame: Frame) -> dict[str, Any]:
    if isinstance(frame, Ping | Pong):
        return {"type": type(frame).__name__.lower()}
    message: dict[str, Any] = {"jsonrpc": "2.0"}
    match frame:
        case Request():
            params: dict[str, Any] = {"envelope": frame.envelope.wire()}
            if frame.idempotency_key is not None:
                params["idempotency_key"] = frame.idempotency_key
            message |= {"method": "asap.send", "params": params, "id": frame.id}
        case Reply():
            message |= {"result": {"envelope": frame.envelope.wire()}, "id": frame.id}
        case Push():
            message |= {"result": {"envelope": frame.envelope.wire()}, "id": None}
        case Ack():
            message |= {"method": "asap.ack", "params": {"envelope": frame.envelope.wire()}}
        case _:
            message |= {"error": _spoken(frame.error), "id": frame.id}
    return message


def _spoken(error: AsapError) -> dict[str, Any]:
    said = error.object()
    members: dict[str, Any] = {"code": said.code, "message": said.message}
    if said.data is not None:
        members["data"] = said.data
    return members
