"""What a send says (spec §2, §3, §4), and what becomes of what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from palaver.model.content import DataPart, FilePart, Metadata, Part, TextPart
from palaver.model.ids import check_id
from palaver.protocols.a2a.commands import (
    Dialect,
    Operation,
    Send,
)
from palaver.protocols.a2a.mapping import V01, V03, V10
from tests.protocols.a2a.samples import V01_MESSAGE, V03_MESSAGE, V10_MESSAGE, said, with_


@pytest.mark.parametrize(
    ("spoken", "params", "send"),
    [
        (V10, {"message": V10_MESSAGE}, Send(message=said("m", "x"))),
        (
            V10,
            {
                "tenant": "demo",
                "message": {**V10_MESSAGE, "taskId": "t", "contextId": "c", "unknown": 1},
                "configuration": {
                    "acceptedOutputModes": ["text/plain"],
                    "historyLength": 0,
                    "returnImmediately": True,
                    "taskPushNotificationConfig": {"url": "https://example.org"},
                },
                "metadata": {"k": 1},
            },
            Send(
                message=said("m", "x"),
                task_id="t",
                conversation_id="c",
                blocking=False,
                history_length=0,
                accepted_output_modes=("text/plain",),
                metadata={"k": 1},
                tenant="demo",
            ),
        ),
        (
            V10,
            {
                "message": {
                    "message_id": "m",
                    "role": "ROLE_USER",
                    "parts": [{"text": "x"}],
                    "context_id": "c",
                    "task_id": "",
                    "reference_task_ids": None,
                    "extensions": None,
                },
                "configuration": None,
                "tenant": "",
            },
            Send(message=said("m", "x"), conversation_id="c"),
        ),
        (
            V03,
            {"message": V03_MESSAGE, "metadata": {}},
            Send(message=said("m1", "x"), metadata={}),
        ),
        (
            V03,
            {
                "message": {
                    **V03_MESSAGE,
                    "taskId": "t",
                    "contextId": "c",
                    "referenceTaskIds": ["r"],
                    "extensions": ["https://example.org/x"],
                    "metadata": {"a": 1},
                },
                "configuration": {
                    "acceptedOutputModes": ["text/plain"],
                    "historyLength": 3,
                    "blocking": False,
                    "pushNotificationConfig": {"url": "https://example.org", "token": "s"},
                },
            },
            Send(
                message=said(
                    "m1",
                    "x",
                    metadata={"a": 1},
                    extensions=("https://example.org/x",),
                    reference_task_ids=("r",),
                ),
                task_id="t",
                conversation_id="c",
                blocking=False,
                history_length=3,
                accepted_output_modes=("text/plain",),
            ),
        ),
        (
            V01,
            {"id": "t", "message": V01_MESSAGE},
            Send(
                message=said("", "oi", metadata={}), task_id="t", may_create=True, history_length=0
            ),
        ),
        (
            V01,
            {
                "id": "t",
                "sessionId": "s1",
                "message": {**V01_MESSAGE, "metadata": None},
                "acceptedOutputModes": ["text", "image/png"],
                "pushNotification": None,
                "historyLength": 10,
                "metadata": {},
            },
            Send(
                message=said("", "oi"),
                task_id="t",
                conversation_id="s1",
                may_create=True,
                history_length=10,
                accepted_output_modes=("text/plain", "image/png"),
                metadata={},
            ),
        ),
        (
            V01,
            {
                "id": "t",
                "sessionId": None,
                "message": V01_MESSAGE,
                "acceptedOutputModes": None,
                "historyLength": None,
                "metadata": None,
            },
            Send(
                message=said("", "oi", metadata={}), task_id="t", may_create=True, history_length=0
            ),
        ),
    ],
)
def test_a_send_is_understood(spoken: Dialect, params: dict[str, Any], send: Send) -> None:
    """Sections 2 to 4: params of the sends; what is unknown is ignored, nulls are as absent."""
    parsed = spoken.parse(Operation.SEND, params)
    assert parsed == spoken.parse(Operation.STREAM, params)
    assert isinstance(parsed, Send)
    if spoken is V01:  # its messages have no ids
        parsed = replace(parsed, message=replace(parsed.message, id=""))
    assert parsed == send


def test_a_message_without_an_id_gets_one_that_is_legal_elsewhere() -> None:
    """Section 0: 0.1 has no message ids, but its tasks are shown in 1.0 as well."""
    first = V01.parse(Operation.SEND, {"id": "t", "message": V01_MESSAGE})
    again = V01.parse(Operation.SEND, {"id": "u", "message": V01_MESSAGE})
    other = V01.parse(Operation.SEND, with_(V01_MESSAGE, parts=[{"type": "text", "text": "x"}]))
    assert isinstance(first, Send)
    assert isinstance(again, Send)
    assert isinstance(other, Send)
    assert check_id(first.message.id) == again.message.id != other.message.id


def kinds(tag: str) -> list[tuple[dict[str, Any], Part]]:
    """Return the parts of the older generations."""
    about: Metadata = {"m": 1}
    return [
        ({tag: "text", "text": ""}, TextPart("")),
        (
            {tag: "data", "data": {"a": 1}, "metadata": {"m": 1}},
            DataPart({"a": 1}, None, None, about),
        ),
        (
            {tag: "file", "file": {"name": "f", "mimeType": "a/b", "bytes": "aGk="}},
            FilePart("aGk=", None, "a/b", "f"),
        ),
        ({tag: "file", "file": {"uri": "https://x.example"}}, FilePart(None, "https://x.example")),
    ]


@pytest.mark.parametrize(
    ("spoken", "wire", "part"),
    [
        (V10, {"text": "", "metadata": {}}, TextPart("", metadata={})),
        (V10, {"text": "a", "data": None}, TextPart("a")),
        (V10, {"raw": "aGk=", "filename": "f"}, FilePart("aGk=", filename="f")),
        (V10, {"raw": "-_8"}, FilePart("+/8=")),
        (
            V10,
            {"url": "https://x.example", "mediaType": "a/b"},
            FilePart(None, "https://x.example", "a/b"),
        ),
        (V10, {"data": [1, None]}, DataPart([1, None])),
        (V10, {"data": None}, DataPart(None)),
        *((V03, *row) for row in kinds("kind")),
        *((V01, *row) for row in kinds("type")),
        (V01, {"type": "data", "data": [1], "text": None, "file": None}, DataPart([1])),
        (V01, {"type": "data", "data": [1], "file": {"uri": "https://x.example"}}, DataPart([1])),
    ],
)
def test_a_part_is_understood(spoken: Dialect, wire: dict[str, Any], part: Part) -> None:
    """Section 0, Type map: text, file and data."""
    message = {V10: V10_MESSAGE, V03: V03_MESSAGE, V01: V01_MESSAGE}[spoken]
    params = {"id": "t", "message": {**message, "parts": [wire]}}
    send = spoken.parse(Operation.SEND, params)
    assert isinstance(send, Send)
    assert send.message.parts == (part,)
