"""Messages of a send, one for each generation, and what a user said."""

from __future__ import annotations

from typing import Any

from palaver.model.content import Message, TextPart

V10_MESSAGE = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}
V03_MESSAGE = {
    "kind": "message",
    "messageId": "m1",
    "role": "user",
    "parts": [{"kind": "text", "text": "x"}],
}
V01_MESSAGE = {"role": "user", "parts": [{"type": "text", "text": "oi"}], "metadata": {}}


def with_(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the params of a send with a changed message."""
    return {"id": "t", "message": {**message, **changes}}


def said(message_id: str, text: str, **more: Any) -> Message:
    """Return a message of the user."""
    return Message(id=message_id, role="user", parts=(TextPart(text),), **more)
