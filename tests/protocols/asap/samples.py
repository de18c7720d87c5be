"""Envelopes and payloads as peers send them: each type once, and with all of its members."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.protocols.asap.codec import Request, parse_request, read_envelope
from palaver.protocols.asap.messages import Envelope, PayloadType

__all__ = ["FULL", "LEAST", "NOW", "OURS", "PEER", "body", "envelope", "ids", "read", "sent"]

NOW: Final = 1_769_853_600.0
"""2026-01-31T10:00:00Z."""
PEER: Final = "urn:asap:agent:peer"
OURS: Final = "urn:asap:agent:demo"

LEAST: Final[Mapping[PayloadType, dict[str, Any]]] = MappingProxyType(
    {
        PayloadType.TASK_REQUEST: {"conversation_id": "conv_1", "skill_id": "echo", "input": {}},
        PayloadType.TASK_RESPONSE: {"task_id": "task_1", "status": "completed"},
        PayloadType.TASK_UPDATE: {
            "task_id": "task_1",
            "update_type": "status_change",
            "status": "working",
        },
        PayloadType.TASK_CANCEL: {"task_id": "task_1"},
        PayloadType.MESSAGE_SEND: {
            "task_id": "task_1",
            "message_id": "msg_1",
            "sender": PEER,
            "role": "user",
            "parts": [],
        },
        PayloadType.STATE_QUERY: {"task_id": "task_1"},
        PayloadType.STATE_RESTORE: {"task_id": "task_1", "snapshot_id": "snap_1"},
        PayloadType.ARTIFACT_NOTIFY: {"artifact_id": "art_1", "task_id": "task_1"},
        PayloadType.MCP_TOOL_CALL: {"request_id": "req_1", "tool_name": "find", "arguments": {}},
        PayloadType.MCP_TOOL_RESULT: {"request_id": "req_1", "success": True, "result": {}},
        PayloadType.MCP_RESOURCE_FETCH: {"resource_uri": "mcp://tools/x"},
        PayloadType.MCP_RESOURCE_DATA: {"resource_uri": "mcp://tools/x", "content": {}},
        PayloadType.MESSAGE_ACK: {"original_envelope_id": "env_1", "status": "received"},
    }
)
"""What must be there, and nothing else."""

FULL: Final[Mapping[PayloadType, dict[str, Any]]] = MappingProxyType(
    {
        PayloadType.TASK_REQUEST: {
            **LEAST[PayloadType.TASK_REQUEST],
            "input": {"query": "who", "limit": None},
            "parent_task_id": "task_0",
            "config": {
                "timeout_seconds": 600,
                "priority": "normal",
                "idempotency_key": "key-1",
                "streaming": True,
                "persist_state": True,
                "stream_endpoint": "wss://peer.example/asap/stream",
                "state_mode": "event-sourced",
                "event_retention_hours": 72,
                "callback_url": "https://peer.example/hook",
                "callback_events": ["status_change", "artifact_ready"],
                "callback_secret": "whsec_1",
                "broker": {"type": "nats", "subject_prefix": "asap", "reply_subject": "r"},
                "model": "small",
                "temperature": 0.5,
                "of_ours": {"kept": [1]},
            },
        },
        PayloadType.TASK_RESPONSE: {
            **LEAST[PayloadType.TASK_RESPONSE],
            "result": {"summary": "done", "artifacts": ["art_1"], "none": None},
            "final_state": {"version": 3},
            "metrics": {"duration_ms": 45_000, "tokens_used": 12_500, "more": 1},
        },
        PayloadType.TASK_UPDATE: {
            **LEAST[PayloadType.TASK_UPDATE],
            "update_type": "progress",
            "progress": {"percent": 65.5, "message": "on it", "estimated_remaining_seconds": 9},
            "input_request": {
                "prompt": "Which?",
                "options": [{"id": "a", "label": "A"}],
                "schema": {"type": "string"},
            },
        },
        PayloadType.TASK_CANCEL: {**LEAST[PayloadType.TASK_CANCEL], "reason": "no need"},
        PayloadType.MESSAGE_SEND: {
            **LEAST[PayloadType.MESSAGE_SEND],
            "parts": [
                "part_1",
                {"type": "text", "content": "hello"},
                {"type": "data", "data": {"a": [1]}, "schema_uri": "https://s.example/a"},
                {
                    "type": "file",
                    "uri": "asap://artifacts/task_1/a.pdf",
                    "mime_type": "application/pdf",
                    "inline_data": "SGk=",
                },
                {"type": "resource", "resource_uri": "mcp://tools/x"},
                {"type": "template", "template": "{{a}} b", "variables": {"a": 1}},
            ],
        },
        PayloadType.STATE_QUERY: {**LEAST[PayloadType.STATE_QUERY], "version": 5},
        PayloadType.STATE_RESTORE: LEAST[PayloadType.STATE_RESTORE],
        PayloadType.ARTIFACT_NOTIFY: {**LEAST[PayloadType.ARTIFACT_NOTIFY], "name": "Report"},
        PayloadType.MCP_TOOL_CALL: {
            **LEAST[PayloadType.MCP_TOOL_CALL],
            "arguments": {"q": "x"},
            "mcp_context": {"server": "mcp://tools"},
        },
        PayloadType.MCP_TOOL_RESULT: {"request_id": "req_1", "success": False, "error": "timeout"},
        PayloadType.MCP_RESOURCE_FETCH: LEAST[PayloadType.MCP_RESOURCE_FETCH],
        PayloadType.MCP_RESOURCE_DATA: LEAST[PayloadType.MCP_RESOURCE_DATA],
        PayloadType.MESSAGE_ACK: {
            "original_envelope_id": "env_1",
            "status": "rejected",
            "error": "no such skill",
        },
    }
)
"""Everything that may be there."""


def ids() -> Any:
    """Return a source of ids that counts."""
    numbers = count(1)
    return lambda: f"env_new_{next(numbers)}"


def sent(kind: PayloadType = PayloadType.TASK_REQUEST, **members: Any) -> dict[str, Any]:
    """Return an envelope as it travels, with what must be there, and ``members``."""
    said = {
        "asap_version": "0.1",
        "sender": PEER,
        "recipient": OURS,
        "payload_type": kind.value,
        "payload": LEAST[kind],
    }
    if kind in {"TaskResponse", "McpToolResult", "McpResourceData"}:
        said["correlation_id"] = "env_0"
    return said | members


def envelope(kind: PayloadType = PayloadType.TASK_REQUEST, **members: Any) -> Envelope:
    """Return the same as it is read, with the id ``env_1`` and the time ``NOW``."""
    return read_envelope(sent(kind, **members), now=NOW, new_id=lambda: "env_1")


def body(value: Any = None, **members: Any) -> bytes:
    """Return a request with ``members`` in place of its own, or around the envelope ``value``."""
    params = {"envelope": sent() if value is None else value}
    request = {"jsonrpc": "2.0", "method": "asap.send", "params": params, "id": "req-1"} | members
    return orjson.dumps({key: said for key, said in request.items() if said is not ...})


def read(data: bytes) -> Request:
    """Return the request of ``data``."""
    return parse_request(data, now=NOW, new_id=ids())
