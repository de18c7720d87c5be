"""Frames: what is taken, what is refused with which number, and what is written (spec §6, §7)."""

from __future__ import annotations

from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asap.codec import (
    MAX_BATCH,
    Ack,
    Failure,
    Frame,
    Ping,
    Pong,
    Push,
    Reply,
    Request,
    encode,
    encode_ack,
    encode_batch,
    failure,
    parse_body,
    parse_client_frame,
    parse_request,
    parse_server_frame,
    read_envelope,
    read_request,
)
from palaver.protocols.asap.errors import (
    AsapError,
    InvalidRequest,
    MessageRateExceeded,
    ParseError,
    PeerAnswered,
    TaskNotFound,
    VersionMismatch,
)
from palaver.protocols.asap.messages import MessageAck, PayloadType, moment
from palaver.protocols.jsonrpc import ErrorObject
from tests.protocols.asap.samples import LEAST, NOW, OURS, PEER, body, envelope, ids, read, sent


def to_server(data: bytes | str) -> Frame:
    """Return what the server makes of a frame."""
    return parse_client_frame(data, now=NOW, new_id=ids())


def to_client(data: bytes | str) -> Frame:
    """Return what the client makes of a frame."""
    return parse_server_frame(data, now=NOW, new_id=ids())


ACK = Ack(
    envelope(PayloadType.MESSAGE_ACK, id="env_9"),
    MessageAck.model_validate(LEAST[PayloadType.MESSAGE_ACK]),
)
RESPONSE = envelope(PayloadType.TASK_RESPONSE)


# --- requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "request_id", "key"),
    [
        ({}, "req-1", None),
        ({"id": 7}, 7, None),
        ({"id": 0}, 0, None),
        ({"id": ""}, "", None),
        ({"jsonrpc": ...}, "req-1", None),
        ({"params": {"envelope": sent(), "idempotency_key": "k"}}, "req-1", "k"),
        ({"params": {"envelope": sent(), "idempotency_key": None, "more": [1]}}, "req-1", None),
    ],
)
def test_requests_that_are_taken(
    members: dict[str, Any], request_id: str | int, key: str | None
) -> None:
    """A request needs an id; its version may be missing, and its params may hold more."""
    found = read(body(**members))
    expected = read_envelope(sent(), now=NOW, new_id=ids())
    assert found == Request(request_id, expected, key)
    assert to_server(body(**members)) == found


@pytest.mark.parametrize(
    ("data", "code", "text", "request_id"),
    [
        (b"", -32700, "Parse error: not JSON: ", None),
        (b'{"id":1', -32700, "Parse error: not JSON: ", None),
        (b'{"id":"\xff"}', -32700, "Parse error: not JSON: ", None),
        (b'{"id":NaN}', -32700, "Parse error: not JSON: ", None),
        (b"[" * 2000, -32700, "Parse error: not JSON: ", None),
        (b"[" * 65 + b"]" * 65, -32600, "it nests deeper than 64 levels", None),
        (b'{"a":' * 65 + b"1" + b"}" * 65, -32600, "it nests deeper than 64 levels", None),
        (b"7", -32600, "it must be an object", None),
        (b"null", -32600, "it must be an object", None),
        (b'"asap.send"', -32600, "it must be an object", None),
        (b"[{}]", -32600, "it must be an object; a batch is none", None),
        (body(id=None), -32600, "id must be a string or an integer: each request is ", None),
        (body(id=...), -32600, "id must be a string or an integer: each request is ", None),
        (body(id=1.5), -32600, "id must be a string or an integer", None),
        (body(id=True), -32600, "id must be a string or an integer", None),
        (body(id=[]), -32600, "id must be a string or an integer", None),
        (body(id="x" * 257), -32600, "id has 257 characters; at most 256 are allowed", None),
        (body(jsonrpc="1.0"), -32600, 'jsonrpc must be "2.0"', "req-1"),
        (body(jsonrpc=None), -32600, 'jsonrpc must be "2.0"', "req-1"),
        (body(more=1, zebra=2), -32600, "'more' is no member of a request", "req-1"),
        (body(method=...), -32600, "method must be a non-empty string", "req-1"),
        (body(method=""), -32600, "method must be a non-empty string", "req-1"),
        (body(method=5), -32600, "method must be a non-empty string", "req-1"),
        (body(method="m" * 129), -32600, "method has 129 characters; at most 128 are a", "req-1"),
        (body(params=...), -32600, "params must be an object", "req-1"),
        (body(params=[]), -32600, "params must be an object", "req-1"),
        (body(params=None), -32600, "params must be an object", "req-1"),
        (body(method="asap.dance"), -32601, "Method not found: 'asap.dance'; asap.send", "req-1"),
        (body(method="asap.dance", params=...), -32601, "Method not found: 'asap.dance'", "req-1"),
        (body(params={}), -32602, "envelope is required", "req-1"),
        (body(params={"envelope": None}), -32602, "envelope is required", "req-1"),
        (body(params={"envelope": []}), -32602, "envelope must be an object", "req-1"),
        (body(sent(sender="peer")), -32602, "envelope.sender must match ^urn:asap:", "req-1"),
        (body(sent(sender="x", id=5)), -32602, "envelope.id must be a string (and 1 mo", "req-1"),
        (body(sent(span_id="x")), -32602, "envelope.span_id is not a member that is", "req-1"),
        (
            body(params={"envelope": sent(), "idempotency_key": 5}),
            -32602,
            "idempotency_key must be a string of 1 to 256 characters",
            "req-1",
        ),
        (
            body(params={"envelope": sent(), "idempotency_key": ""}),
            -32602,
            "idempotency_key must be a string of 1 to 256 characters",
            "req-1",
        ),
        (body(sent(asap_version="9.9")), -32000, "asap_version '9.9'; '0.1' is spoken", "req-1"),
    ],
)
def test_requests_that_are_refused(
    data: bytes, code: int, text: str, request_id: str | int | None
) -> None:
    """Each is refused with its number, its reason, and the id to answer to."""
    for parse in (read, to_server):
        with pytest.raises(AsapError) as refused:
            parse(data)
        assert refused.value.code == code
        assert text in str(refused.value)
        assert refused.value.request_id == request_id


@pytest.mark.parametrize(
    ("data", "violations"),
    [
        (body(params={}), [("/envelope", ["envelope"], "is required", "missing")]),
        (
            body(sent(recipient="x/y")),
            [
                (
                    "/envelope/recipient",
                    ["envelope", "recipient"],
                    "must match ^urn:asap:agent:[a-z0-9-]+(?::[a-z0-9-]+)?$",
                    "string_pattern_mismatch",
                )
            ],
        ),
        (
            body(sent(**{"a/b~c": 1})),
            [
                (
                    "/envelope/a~1b~0c",
                    ["envelope", "a/b~c"],
                    "is not a member that is known here",
                    "extra_forbidden",
                )
            ],
        ),
    ],
)
def test_what_is_wrong_with_an_envelope(data: bytes, violations: list[Any]) -> None:
    """``data.validation_errors`` names each field by pointer and by steps, and what is wrong."""
    with pytest.raises(AsapError) as refused:
        read(data)
    told = [
        {"pointer": pointer, "loc": loc, "msg": text, "type": kind}
        for pointer, loc, text, kind in violations
    ]
    assert refused.value.data()["validation_errors"] == told


def test_no_more_than_twenty_fields_are_named() -> None:
    """An envelope in which everything is wrong makes no long error."""
    with pytest.raises(AsapError) as refused:
        read(body(sent(**{f"x{number}": 1 for number in range(100)})))
    assert len(refused.value.data()["validation_errors"]) == 20


@pytest.mark.parametrize("missing", [{}, {"id": None, "timestamp": None}])
def test_an_envelope_without_id_or_time(missing: dict[str, Any]) -> None:
    """It is given those that are handed in."""
    found = read(body(sent(**missing))).envelope
    assert (found.id, found.timestamp) == ("env_new_1", moment(NOW))
    found = read(body(sent(id="env_5"))).envelope
    assert (found.id, found.timestamp) == ("env_5", moment(NOW))
    found = read(body(sent(timestamp="2026-01-31T10:00:01Z"))).envelope
    assert (found.id, found.timestamp) == ("env_new_1", moment(NOW + 1))


@pytest.mark.parametrize("version", ["0.1", "0.2", "1.0", "1.1.0", "2.5.4", "1.2026.01", "2.0.rc1"])
def test_versions_that_are_known(version: str) -> None:
    """What begins with 0, 1 or 2 is taken, and kept as it was said."""
    assert envelope(asap_version=version).asap_version == version


@pytest.mark.parametrize("version", ["3.0", "9.9", "10.1", "0", "0.", "v0.1", "banana", "0.1\n"])
def test_versions_that_are_not(version: str) -> None:
    """Any other is told which are."""
    with pytest.raises(VersionMismatch) as refused:
        envelope(asap_version=version)
    assert refused.value.code == -32000
    assert refused.value.data()["supported"] == ["0.1"]


# --- bodies ---------------------------------------------------------------------------------


def test_a_body_of_one() -> None:
    """One request is no batch."""
    found = parse_body(body())
    assert found.batch is False
    assert [read_request(item, now=NOW, new_id=ids()) for item in found.items] == [read(body())]


def test_a_batch() -> None:
    """Each item of a batch is read for itself, good and bad."""
    found = parse_body(b"[" + body(id=1) + b',5,{"id":3},' + body(id=4) + b"]")
    assert found.batch is True
    answers: list[Frame] = []
    for item in found.items:
        try:
            request = read_request(item, now=NOW, new_id=ids())
        except AsapError as error:
            answers.append(failure(error))
        else:
            answers.append(Reply(request.id, RESPONSE))
    written = orjson.loads(encode_batch(map(encode, answers)))
    assert [answer["id"] for answer in written] == [1, None, 3, 4]
    assert [answer.get("error", {}).get("code") for answer in written] == [
        None,
        -32600,
        -32600,
        None,
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"[]", "Invalid request: a batch must hold at least one request"),
        (
            b"[" + b"1," * MAX_BATCH + b"1]",
            "Invalid request: a batch holds 101 requests; at most 100 are taken",
        ),
    ],
)
def test_batches_that_are_refused(data: bytes, text: str) -> None:
    """A batch is neither empty nor long."""
    with pytest.raises(InvalidRequest) as refused:
        parse_body(data)
    assert str(refused.value) == text
    assert refused.value.request_id is None


def test_a_body_that_is_not_json() -> None:
    """It is a parse error."""
    with pytest.raises(ParseError):
        parse_body(b"{")


def test_a_level_that_is_allowed() -> None:
    """64 levels are taken; brackets in texts count for nothing."""
    nested: dict[str, Any] = {}
    for _ in range(59):
        nested = {"a": nested}
    payload = LEAST[PayloadType.TASK_REQUEST] | {"input": nested}
    assert read(body(sent(payload=payload))).envelope.payload == payload
    payload = LEAST[PayloadType.TASK_REQUEST] | {"input": {"text": "[" * 1000}}
    assert read(body(sent(payload=payload))).envelope.payload == payload
    deeper = LEAST[PayloadType.TASK_REQUEST] | {"input": {"a": [nested]}}
    with pytest.raises(InvalidRequest):
        read(body(sent(payload=deeper)))


# --- WebSocket frames -------------------------------------------------------------------------

FRAMES: list[Frame] = [
    Request("ws-req-1", envelope(), "key"),
    Request(5, envelope(requires_ack=True, extensions={"nonce": "n"})),
    ACK,
    Ping(),
    Pong(),
]
ANSWERS: list[Frame] = [Reply("ws-req-1", RESPONSE), Reply(0, RESPONSE), Push(RESPONSE)]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_what_either_side_sends(frame: Frame) -> None:
    """What is written is read again, by both sides, as text and as bytes."""
    for receive in (to_server, to_client):
        assert receive(encode(frame)) == frame
        assert receive(encode(frame).decode()) == frame


@pytest.mark.parametrize("frame", ANSWERS, ids=lambda frame: type(frame).__name__)
def test_what_a_server_sends(frame: Frame) -> None:
    """A client reads answers and pushes; a server refuses them."""
    assert to_client(encode(frame)) == frame
    with pytest.raises(InvalidRequest, match="'result' is no member of a request"):
        to_server(encode(frame))


def test_how_frames_look() -> None:
    """The shapes of the specification, member by member."""
    wire = envelope().wire()
    shapes: list[tuple[Frame, dict[str, Any]]] = [
        (
            Request("1", envelope(), "k"),
            {
                "jsonrpc": "2.0",
                "method": "asap.send",
                "params": {"envelope": wire, "idempotency_key": "k"},
                "id": "1",
            },
        ),
        (Reply(1, envelope()), {"jsonrpc": "2.0", "result": {"envelope": wire}, "id": 1}),
        (Push(envelope()), {"jsonrpc": "2.0", "result": {"envelope": wire}, "id": None}),
        (
            ACK,
            {
                "jsonrpc": "2.0",
                "method": "asap.ack",
                "params": {"envelope": ACK.envelope.wire()},
            },
        ),
        (Ping(), {"type": "ping"}),
        (Pong(), {"type": "pong"}),
    ]
    for frame, shape in shapes:
        assert orjson.loads(encode(frame)) == shape


@pytest.mark.parametrize(
    "data",
    [
        {"jsonrpc": "2.0", "id": None, "result": {"envelope": RESPONSE.wire()}},
        {"result": {"envelope": RESPONSE.wire()}},
        {"jsonrpc": "2.0", "method": "asap.send", "params": {"envelope": RESPONSE.wire()}},
        {"id": None, "method": "asap.send", "params": {"envelope": RESPONSE.wire(), "more": 1}},
    ],
)
def test_pushes_in_all_their_shapes(data: dict[str, Any]) -> None:
    """A push is a reply to nobody, or a request that wants no answer."""
    assert to_client(orjson.dumps(data)) == Push(RESPONSE)


def test_an_error_comes_across() -> None:
    """A client reads the number, the text and the data of the server's error."""
    error = TaskNotFound("there is no task 't'", details={"task_id": "t"}, request_id="ws-req-1")
    found = to_client(encode(failure(error)))
    assert isinstance(found, Failure)
    assert found.id == "ws-req-1"
    assert isinstance(found.error, PeerAnswered)
    assert found.error.answer == error.object()
    assert found.error.uri == "asap:task/not_found"


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        ({"code": 1}, ErrorObject(1, "")),
        ({"code": 1, "message": 5, "data": []}, ErrorObject(1, "", [])),
        ({"code": -1, "message": "no", "more": 1}, ErrorObject(-1, "no")),
    ],
)
def test_errors_of_others(error: dict[str, Any], answer: ErrorObject) -> None:
    """What else an error has, or has not, loses nothing."""
    found = to_client(orjson.dumps({"error": error, "result": None, "more": 1}))
    assert isinstance(found, Failure)
    assert isinstance(found.error, PeerAnswered)
    assert (found.id, found.error.answer) == (None, answer)
    assert orjson.loads(encode(found))["error"].items() >= {"code": answer.code}.items()


@pytest.mark.parametrize(
    ("data", "text", "request_id"),
    [
        (b"[]", "the frame must be an object", None),
        (b"5", "the frame must be an object", None),
        (b"{}", "neither result nor error is there", None),
        (b'{"type":"hello"}', "neither result nor error is there", None),
        (b'{"id":"a"}', "neither result nor error is there", "a"),
        (b'{"id":"a","result":5}', "neither result nor error is there", "a"),
        (b'{"id":"a","result":{}}', "envelope is required", "a"),
        (b'{"id":"a","result":{"envelope":{}}}', "result.envelope.asap_version is required", "a"),
        (b'{"id":"a","error":5}', "error must be an object with an integer code", "a"),
        (b'{"id":"a","error":{"code":"1"}}', "error must be an object with an integer code", "a"),
        (b'{"id":1.5,"error":{"code":1}}', "id must be a string or an integer", None),
        (b'{"method":"asap.dance"}', "Method not found: 'asap.dance'", None),
        (b'{"method":"asap.send"}', "params must be an object", None),
        (b'{"method":5}', "Method not found: '5'", None),
        (b'{"method":"asap.ack"}', "params must be an object", None),
        (b'{"method":"asap.ack","params":{}}', "envelope is required", None),
        (b'{"id":1,"method":"asap.send","x":1}', "'x' is no member of a request", 1),
    ],
)
def test_frames_that_a_client_refuses(data: bytes, text: str, request_id: Any) -> None:
    """What a server never sends is refused, and the request named that it was about."""
    with pytest.raises(AsapError) as refused:
        to_client(data)
    assert text in str(refused.value)
    assert refused.value.request_id == request_id


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        (PayloadType.TASK_CANCEL, None, "envelope must carry a MessageAck, not 'TaskCancel'"),
        (
            PayloadType.MESSAGE_ACK,
            {"original_envelope_id": "e", "status": "seen"},
            "envelope.payload.status must be 'received', 'processed' or 'rejected'",
        ),
    ],
)
def test_acks_that_are_none(kind: PayloadType, payload: Any, text: str) -> None:
    """``asap.ack`` carries an acknowledgement."""
    value = sent(kind, payload=LEAST[kind] if payload is None else payload)
    data = orjson.dumps({"method": "asap.ack", "params": {"envelope": value}})
    for receive in (to_server, to_client):
        with pytest.raises(AsapError, match=text):
            receive(data)


@pytest.mark.parametrize("error", [None, "no such skill"])
@pytest.mark.parametrize("trace_id", [None, "trace_1"])
def test_acknowledging(error: str | None, trace_id: str | None) -> None:
    """An ack goes back to the sender, from whom the envelope was for (spec §7)."""
    asked = envelope(requires_ack=True, trace_id=trace_id, payload_type="task.request")
    status: Literal["received", "rejected"] = "received" if error is None else "rejected"
    data = encode_ack(asked, status, id="env_2", now=NOW + 1, error=error)
    frame = to_client(data)
    assert isinstance(frame, Ack)
    found = frame.envelope
    assert (found.id, found.sender, found.recipient) == ("env_2", OURS, PEER)
    assert found.payload_type == "MessageAck"
    assert found.correlation_id is None
    assert found.trace_id == trace_id
    assert found.requires_ack is False
    assert found.timestamp == moment(NOW + 1)
    assert frame.ack == MessageAck(original_envelope_id="env_1", status=status, error=error)
    assert encode(frame) == data, "it is written as any other frame is"


def test_a_failure_without_data() -> None:
    """An error without data has no such member."""
    error = PeerAnswered(ErrorObject(-1, "no"))
    assert orjson.loads(encode(failure(error)))["error"] == {"code": -1, "message": "no"}
    limit = orjson.loads(encode(failure(MessageRateExceeded(request_id=3))))
    assert (limit["id"], limit["error"]["code"]) == (3, -32001)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "method", "params", "envelope", "result", "error", "code", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    """Whatever JSON comes is a frame that can be written, or an error that can."""
    data = orjson.dumps(value)
    for receive in (to_server, to_client):
        try:
            frame = receive(data)
        except AsapError as error:
            frame = failure(error)
        assert isinstance(to_client(encode(frame)), type(frame))


@given(st.binary(max_size=40))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    """Whatever bytes come end in an error of ASAP."""
    with pytest.raises(AsapError):
        parse_request(data, now=NOW, new_id=ids())
