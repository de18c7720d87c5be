"""Fuzz the parsers of ASAP, and what is made of the envelopes that pass.

With atheris installed: ``python fuzz/asap_envelope.py [libFuzzer options]``. Without it, or with
``--runs N``: that many random texts, mutated from good ones.
"""

from __future__ import annotations

import re
import sys

import orjson
import target

from palaver.protocols.asap.codec import (
    Failure,
    Request,
    encode,
    failure,
    parse_body,
    parse_client_frame,
    parse_server_frame,
)
from palaver.protocols.asap.errors import AsapError, InternalError
from palaver.protocols.asap.manifest import parse_manifest
from palaver.protocols.asap.mapping import (
    answer_message,
    reply_envelope,
    request_key,
    snapshot_version,
    task_submission,
)
from palaver.protocols.asap.messages import (
    Envelope,
    MessageSend,
    StateRestore,
    TaskRequest,
    TaskResponse,
    TaskStatus,
    acknowledge,
    read_payload,
)
from palaver.protocols.asap.replay import ReplayGuard, ReplayLimits

OURS = "urn:asap:agent:demo"
NOW = 1_769_853_600.0
_HEAD = (
    b'{"id":"env_1","asap_version":"0.1","timestamp":"2026-01-31T10:00:00.5+01:00","sender":'
    b'"urn:asap:agent:peer:two","recipient":"urn:asap:agent:demo","payload_type":'
)
SEEDS = [
    (
        b'{"jsonrpc":"2.0","method":"asap.send","params":{"envelope":' + _HEAD + b'"task.request",'
        b'"payload":{"conversation_id":"c","skill_id":"echo","input":{"text":"hi","n":[null,1.5]},'
        b'"config":{"timeout_seconds":600,"idempotency_key":"k","callback_events":["a"],"x":{}}},'
        b'"requires_ack":true,"extensions":{"nonce":"n1"}},"idempotency_key":"k"},"id":1}'
    ),
    (
        b'{"jsonrpc":"2.0","method":"asap.send","params":{"envelope":' + _HEAD + b'"MessageSend",'
        b'"payload":{"task_id":"t","message_id":"m","sender":"urn:asap:agent:peer","role":"user",'
        b'"parts":["a",{"type":"TextPart","content":"b"},{"type":"file","uri":"asap://x",'
        b'"mime_type":"a/b","inline_data":"SGk="},{"type":"template","template":"{{a}} {{b}}",'
        b'"variables":{"a":[1]}}]}}},"id":"ws-req-1"}'
    ),
    (
        b'{"method":"asap.ack","params":{"envelope":' + _HEAD + b'"MessageAck",'
        b'"payload":{"original_envelope_id":"e","status":"rejected","error":"no"}}}}'
    ),
    (
        b'{"jsonrpc":"2.0","id":null,"result":{"envelope":' + _HEAD + b'"task_response",'
        b'"payload":{"task_id":"t","status":"canceled","metrics":{"duration_ms":1}},'
        b'"correlation_id":"env_0","trace_id":null}}}'
    ),
    (
        b'[{"jsonrpc":"2.0","method":"asap.send","params":{"envelope":' + _HEAD + b'"StateRestore",'
        b'"payload":{"task_id":"t","snapshot_id":"snap_0_1"}}},"id":7},{"id":2}]'
    ),
    b'{"jsonrpc":"2.0","error":{"code":-32602,"message":"no","data":{"retry_after":1}},"id":"a"}',
    b'{"type":"ping"}',
    (
        b'{"id":"urn:asap:agent:peer","name":"P","version":"1","capabilities":{"skills":[{"id":"a"}'
        b']},"endpoints":{"asap":"https://p/asap"},"ttl_seconds":9,"auth":{"schemes":["bearer"]}}'
    ),
]
CODES = {-32700, -32600, -32601, -32602, -32000}


def check(data: bytes) -> None:
    """Hold that what is taken can be written, answered and mapped, and the rest has a number."""
    for parse in (parse_client_frame, parse_server_frame):
        try:
            frame = parse(data, now=NOW, new_id=lambda: "env_new")
        except AsapError as error:
            _refused(error)
            continue
        written = encode(frame)
        again = parse_server_frame(written, now=NOW, new_id=lambda: "env_new")
        assert isinstance(again, Failure) or again == frame
        if isinstance(frame, Request):
            _taken(frame.envelope)
    try:
        assert parse_body(data).items
    except AsapError as error:
        _refused(error)
    try:
        assert parse_manifest(data).ttl_seconds
    except AsapError as error:
        _refused(error)


def _refused(error: AsapError) -> None:
    assert error.code in CODES
    assert re.fullmatch(r"asap:[a-z]+/[a-z_]+", error.uri)
    answer = encode(failure(error))
    assert isinstance(parse_server_frame(answer, now=NOW, new_id=lambda: ""), Failure)


def _taken(envelope: Envelope) -> None:
    for ack in (
        acknowledge(envelope, "received", id="env_2", now=NOW),
        acknowledge(envelope, "rejected", id="env_2", now=NOW, error=InternalError().message),
    ):
        read_payload(ack)
    try:
        ReplayGuard(ReplayLimits(require_nonce=True)).check(envelope, NOW)
        payload = read_payload(envelope)
    except AsapError as error:
        _refused(error)
        return
    assert type(payload).model_validate(payload.wire()) == payload
    if isinstance(payload, TaskRequest):
        key = request_key(envelope, payload)
        new = task_submission(envelope, payload, agent_id="demo", principal="p", key=key)
        assert orjson.dumps(new.message.parts)
    elif isinstance(payload, MessageSend):
        assert orjson.dumps(answer_message(payload).parts)
    elif isinstance(payload, StateRestore):
        snapshot_version(payload.task_id, payload.snapshot_id)
    response = TaskResponse(task_id="t", status=TaskStatus.WORKING)
    reply = reply_envelope(envelope, response, id="env_3", now=NOW, sender=OURS)
    assert read_payload(reply) == response


if __name__ == "__main__":
    sys.exit(target.run(check, SEEDS))
