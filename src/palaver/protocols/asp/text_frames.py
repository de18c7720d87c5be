"""The frame of every message: one JSON object in a text frame of a WebSocket, with a ``type``."""

from __future__ import annotations

from typing import Any, Final

import orjson

from palaver.protocols.asp.errors import malformed

__all__ = ["MAX_TEXT", "read_object", "session_id_of"]

MAX_TEXT: Final = 64 * 1024
"""Characters of one text message."""


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object of a text frame; its ``type`` is a string.

    Raises:
        Rejection: 1001, with the place where it is wrong.

    """
    if len(text) > MAX_TEXT:
        raise malformed(f"the message has {len(text)} characters; {MAX_TEXT} are allowed", "")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the message is not JSON: {error}", "") from None
    if not isinstance(found, dict):
        raise malformed("the message must be a JSON object", "")
    if "type" not in found:
        raise malformed("type: missing", "/type", session_id_of(found))
    if not isinstance(found["type"], str):
        raise malformed("type: must be a string", "/type", session_id_of(found))
    return found


def session_id_of(found: dict[str, Any]) -> str | None:
    """Return the session that a message names, where that is legal."""
    session_id = found.get("session_id")
    legal = isinstance(session_id, str) and 1 <= len(session_id) <= 128
    return session_id if legal else None
