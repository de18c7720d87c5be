"""JSON-RPC 2.0 (spec §1: the frame of all generations)."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols import jsonrpc
from palaver.protocols.jsonrpc import ErrorObject, JsonRpcError, Request, Response


def nested(levels: int) -> bytes:
    """Return a request that nests ``levels`` deep, itself and its params included."""
    arrays = levels - 2
    return (
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":'
        + b"[" * arrays
        + b"]" * arrays
        + b"}}"
    )


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (
            b'{"jsonrpc":"2.0","id":"r1","method":"SendMessage","params":{"a":1}}',
            Request("r1", "SendMessage", {"a": 1}),
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"m"}', Request(1, "m", {})),
        (b'{"jsonrpc":"2.0","id":null,"method":"m","params":{}}', Request(None, "m", {})),
        (b'{"jsonrpc":"2.0","method":"m","more":true}', Request(None, "m", {})),
        (b'{"jsonrpc":"2.0","id":"","method":"m"}', Request("", "m", {})),
    ],
)
def test_a_request_is_parsed(body: bytes, request_: Request) -> None:
    """Section 1: id is a string, an integer or null; params may be missing."""
    assert jsonrpc.parse_request(body) == request_


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
        b"[" * 2000 + b"]" * 2000,
        b"\x00",
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    """Section 1: -32700, and no id, as none could be read."""
    with pytest.raises(JsonRpcError, match=r"^the request is not JSON: ") as caught:
        jsonrpc.parse_request(body)
    assert (caught.value.code, caught.value.request_id) == (-32700, None)


@pytest.mark.parametrize(
    ("body", "message", "request_id"),
    [
        ([], "the request must be one object: batches are not taken", None),
        ([{"jsonrpc": "2.0"}], "the request must be one object: batches are not taken", None),
        (1, "the request must be an object", None),
        (None, "the request must be an object", None),
        ({}, 'jsonrpc must be "2.0"', None),
        ({"jsonrpc": "1.0", "id": 1, "method": "m"}, 'jsonrpc must be "2.0"', 1),
        ({"jsonrpc": 2.0, "id": "a", "method": "m"}, 'jsonrpc must be "2.0"', "a"),
        ({"jsonrpc": "2.0", "id": 1.5}, "id must be a string, an integer or null", None),
        ({"jsonrpc": "2.0", "id": 2**80}, "id must be a string, an integer or null", None),
        ({"jsonrpc": "2.0", "id": True}, "id must be a string, an integer or null", None),
        ({"jsonrpc": "2.0", "id": {}}, "id must be a string, an integer or null", None),
        ({"jsonrpc": "2.0", "id": []}, "id must be a string, an integer or null", None),
        (
            {"jsonrpc": "2.0", "id": "x" * 257},
            "id has 257 characters; at most 256 are allowed",
            None,
        ),
        ({"jsonrpc": "2.0", "id": 4}, "method must be a non-empty string", 4),
        ({"jsonrpc": "2.0", "id": 4, "method": ""}, "method must be a non-empty string", 4),
        ({"jsonrpc": "2.0", "id": 4, "method": 9}, "method must be a non-empty string", 4),
        (
            {"jsonrpc": "2.0", "id": 4, "method": "m" * 129},
            "method has 129 characters; at most 128 are allowed",
            4,
        ),
        ({"jsonrpc": "2.0", "id": 4, "method": "m", "params": []}, "params must be an object", 4),
        ({"jsonrpc": "2.0", "id": 4, "method": "m", "params": None}, "params must be an object", 4),
        ({"jsonrpc": "2.0", "id": 4, "method": "m", "params": "x"}, "params must be an object", 4),
    ],
)
def test_what_is_no_request(body: Any, message: str, request_id: jsonrpc.RequestId) -> None:
    """Section 1: -32600, with the id where it could be read."""
    with pytest.raises(JsonRpcError) as caught:
        jsonrpc.parse_request(json.dumps(body).encode())
    error = caught.value
    assert (error.code, error.message, error.request_id) == (-32600, message, request_id)


def test_nesting_is_taken_to_the_limit() -> None:
    """What nests 64 levels deep is taken, and can be written again."""
    request = jsonrpc.parse_request(nested(64))
    assert orjson.dumps(request.params)


@pytest.mark.parametrize("levels", [65, 200, 1000])
def test_nesting_beyond_the_limit(levels: int) -> None:
    """What nests deeper is refused before anything recursive sees it."""
    with pytest.raises(JsonRpcError, match="nests deeper than 64 levels") as caught:
        jsonrpc.parse_request(nested(levels))
    assert caught.value.code == -32600


def test_many_shallow_containers_are_no_nesting() -> None:
    """A body with more brackets than levels allowed is looked at, and taken."""
    params = {"items": [{"a": []} for _ in range(100)]}
    body = jsonrpc.encode_request(1, "m", params)
    assert jsonrpc.parse_request(body).params == params


@pytest.mark.parametrize(
    ("body", "response"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}', Response(1, {"a": 1})),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', Response(1)),
        (b'{"result":1,"error":null}', Response(None, 1)),
        (
            b'{"jsonrpc":"2.0","error":{"code":-32001,"message":"Task not found"}}',
            Response(None, None, ErrorObject(-32001, "Task not found")),
        ),
        (
            b'{"id":"x","result":null,"error":{"code":5,"data":[1]}}',
            Response("x", None, ErrorObject(5, "", [1])),
        ),
    ],
)
def test_a_response_is_parsed(body: bytes, response: Response) -> None:
    """Section 1: id is dropped by some peers where it is null; nulls may stand beside."""
    assert jsonrpc.parse_response(body) == response


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"<html>", -32700, "the response is not JSON: "),
        (b"[]", -32600, "the response must be one object: batches are not taken"),
        (b'{"jsonrpc":"1.0","result":1}', -32600, 'jsonrpc must be "2.0"'),
        (b'{"jsonrpc":"2.0","id":1}', -32600, "neither result nor error is there"),
        (b'{"result":1,"error":{"code":1}}', -32600, "both result and error are there"),
        (b'{"error":"no"}', -32600, "error must be an object with an integer code"),
        (b'{"error":{"code":"1"}}', -32600, "error must be an object with an integer code"),
        (b'{"error":{"code":true}}', -32600, "error must be an object with an integer code"),
    ],
)
def test_what_is_no_response(body: bytes, code: int, message: str) -> None:
    """A client tells what came instead of a response."""
    with pytest.raises(JsonRpcError) as caught:
        jsonrpc.parse_response(body)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


def test_responses_are_joined_from_ready_bytes() -> None:
    """The exact bytes that leave."""
    assert jsonrpc.response('a"b', b'{"x":1}') == b'{"jsonrpc":"2.0","id":"a\\"b","result":{"x":1}}'
    assert (
        jsonrpc.error_response(None, -32700, "Invalid JSON payload")
        == b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Invalid JSON payload"}}'
    )
    assert (
        jsonrpc.error_response(1, -32600, "no", [])
        == b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no","data":[]}}'
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ids = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=256)


@given(ids, st.text(min_size=1, max_size=128), st.dictionaries(st.text(), json_values, max_size=5))
def test_requests_come_back_as_they_went(
    request_id: jsonrpc.RequestId, method: str, params: dict[str, Any]
) -> None:
    """Encoding and parsing a request are inverse."""
    body = jsonrpc.encode_request(request_id, method, params)
    assert jsonrpc.parse_request(body) == Request(request_id, method, params)


@given(ids, json_values)
def test_responses_come_back_as_they_went(request_id: jsonrpc.RequestId, result: Any) -> None:
    """Joining and parsing a response are inverse."""
    body = jsonrpc.response(request_id, orjson.dumps(result))
    assert jsonrpc.parse_response(body) == Response(request_id, result)


@given(st.binary(max_size=200) | json_values.map(orjson.dumps))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    """Whatever comes is a request or a ``JsonRpcError`` with one of two codes."""
    code = None
    try:
        jsonrpc.parse_request(body)
    except JsonRpcError as error:
        code = error.code
    assert code in {None, -32700, -32600}
