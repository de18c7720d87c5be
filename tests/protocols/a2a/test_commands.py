"""What a client asks in any generation: a server of the same one understands it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.model.content import Message, TextPart
from palaver.protocols.a2a.commands import (
    Cancel,
    Dialect,
    Generation,
    Get,
    Operation,
    Send,
    Subscribe,
)
from palaver.protocols.a2a.mapping import V01, V10
from tests.protocols.a2a.strategies import every_dialect, ids, metadata, user_messages


@every_dialect
@settings(max_examples=40)
@given(
    message=user_messages,
    task_id=ids,
    conversation_id=st.none() | ids,
    history_length=st.none() | st.integers(0, 9),
    blocking=st.booleans(),
    modes=st.sampled_from([(), ("text/plain",), ("text/plain", "application/json")]),
    about=metadata,
)
def test_a_send_comes_back(
    spoken: Dialect,
    message: Message,
    task_id: str,
    conversation_id: str | None,
    history_length: int | None,
    blocking: bool,  # noqa: FBT001
    modes: tuple[str, ...],
    about: dict[str, Any] | None,
) -> None:
    """What a client asks is what the server of the same generation understands."""
    send = Send(
        message=message,
        task_id=task_id,
        conversation_id=conversation_id,
        history_length=history_length,
        blocking=blocking,
        accepted_output_modes=modes,
        metadata=about,
    )
    _, params = spoken.request(Operation.SEND, send)
    parsed = spoken.parse(Operation.SEND, orjson.loads(orjson.dumps(params)))
    assert isinstance(parsed, Send)
    assert (parsed.task_id, parsed.conversation_id) == (task_id, conversation_id)
    assert (parsed.accepted_output_modes, parsed.metadata) == (modes, about)
    assert parsed.message.text == message.text
    assert parsed.message.metadata == message.metadata
    if spoken is V01:
        assert (parsed.may_create, parsed.blocking) == (True, True)
        assert parsed.history_length == (history_length or 0)
    else:
        assert (parsed.may_create, parsed.blocking) == (False, blocking)
        assert parsed.history_length == history_length
        assert parsed.message.id == message.id
    if spoken is V10:
        assert parsed.message == message


@every_dialect
def test_the_smallest_send_comes_back(spoken: Dialect) -> None:
    """Nothing is sent for what is not set."""
    message = Message(id="m", role="user", parts=(TextPart("hi"),))
    send = Send(message=message, task_id="t" if spoken is V01 else None)
    method, params = spoken.request(Operation.STREAM, send)
    expected: dict[Generation, tuple[str, dict[str, Any]]] = {
        Generation.V10: (
            "SendStreamingMessage",
            {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}},
        ),
        Generation.V03: (
            "message/stream",
            {
                "message": {
                    "kind": "message",
                    "messageId": "m",
                    "role": "user",
                    "parts": [{"kind": "text", "text": "hi"}],
                },
                "configuration": {"blocking": True},
            },
        ),
        Generation.V01: (
            "tasks/sendSubscribe",
            {"id": "t", "message": {"role": "user", "parts": [{"type": "text", "text": "hi"}]}},
        ),
    }
    assert (method, params) == expected[spoken.generation]


@every_dialect
def test_commands_about_a_task_come_back(spoken: Dialect) -> None:
    """Get, cancel and subscribe name the task; history and tenant go where there is a field."""
    default = 0 if spoken is V01 else None
    tenant = "agent" if spoken is V10 else None
    get = Get(task_id="t", history_length=3, tenant=tenant)
    for operation, command, expected in (
        (Operation.GET, get, get),
        (
            Operation.GET,
            Get(task_id="t", tenant=tenant),
            Get(task_id="t", history_length=default, tenant=tenant),
        ),
        (Operation.CANCEL, Cancel(task_id="t"), Cancel(task_id="t")),
        (
            Operation.SUBSCRIBE,
            Subscribe(task_id="t"),
            Subscribe(task_id="t", history_length=default),
        ),
    ):
        _, params = spoken.request(operation, command)
        assert spoken.parse(operation, params) == expected


@every_dialect
@pytest.mark.parametrize("operation", [Operation.LIST, Operation.PUSH, Operation.EXTENDED_CARD])
def test_what_no_command_means(spoken: Dialect, operation: Operation) -> None:
    """Operations that the routing refuses are our own mistake here."""
    with pytest.raises(ValueError, match="no command means"):
        spoken.parse(operation, {})
