"""What an error of the OpenAI API means, in a sentence, and whether it is worth a second try."""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["MAX_ERROR_BYTES", "error_message", "refusal", "retry_delay", "without_key"]

MAX_ERROR_BYTES: Final = 64 * 1024
"""More of an error's body is not read."""

_MAX_SHOWN: Final = 200
_FIRST_DELAY: Final = 0.2
_PASSING: Final = frozenset({500, 502, 503, 504})
_TOO_MANY: Final = 429
_WHAT: Final = {
    403: "does not allow that",
    408: "waited too long for the request",
    413: "takes no request of that size",
    429: "takes no more requests now",
}


def refusal(status: int, model: str, *, has_key: bool) -> str:
    """Return what an endpoint did that answered with ``status``."""
    if status == 401:
        what = "refused the API key" if has_key else "asks for an API key"
    elif status == 404:
        what = f"has no model {model!r}, or its API begins at another URL"
    elif 300 <= status < 400:
        what = "sends elsewhere, and nobody follows: set base_url to where its API is"
    elif status >= 500:
        what = "failed"
    elif status < 300:
        what = "answered without content"
    else:
        what = _WHAT.get(status, "refused the request")
    return f"{what} (HTTP {status})"


def retry_delay(status: int, hint: str | None, longest: float, chance: float) -> float | None:
    """Return the seconds to wait before a second try; ``None``: there shall be none.

    A server that is overrun has to say when (``hint``, a Retry-After header); one that failed is
    tried again at once, or when it says. ``chance`` (0 to 1) keeps many clients apart.
    """
    if status == _TOO_MANY and hint is None:
        return None
    if status != _TOO_MANY and status not in _PASSING:
        return None
    try:
        delay = _FIRST_DELAY if hint is None else float(hint)
    except ValueError:
        return None  # a date: nobody is asked to come back within a second by one
    return delay * (1.0 + 0.25 * chance) if 0 <= delay <= longest else None


def error_message(body: bytes) -> str:
    """Return what the body of an error says, as one short line; empty where it says nothing.

    Servers agree on ``{"error": {"message": …}}`` but for some.
    """
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    for _ in range(3):
        if not isinstance(found, dict):
            break
        found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), "")
    if not isinstance(found, str):
        return ""
    line = "".join(char if char.isprintable() else " " for char in found)
    line = " ".join(line.split())
    return line if len(line) <= _MAX_SHOWN else line[: _MAX_SHOWN - 1] + "…"


def without_key(text: str, api_key: str) -> str:
    """Return ``text`` with the key taken out: some servers repeat it."""
    return text.replace(api_key, "***") if api_key else text
