"""The address of a server of calls, as somebody typed it."""

from __future__ import annotations

from urllib.parse import urlsplit

from palaver.client.asp_dial import asp_url, shown
from palaver.errors import ConfigError, PeerUnreachable

__all__ = ["call_address"]

_TEXT_PATHS = ("/asap/ws", "/asap", "/a2a")


def call_address(url: str) -> str:
    """Return the WebSocket URL of calls that is meant.

    Raises:
        ConfigError: it is no address, or one of a wire for text: to a command, that is wrong usage,
            and waiting for an answer would not help.

    """
    try:
        address = asp_url(url)
    except PeerUnreachable as error:
        raise ConfigError(str(error)) from None
    if urlsplit(address).path.rstrip("/").endswith(_TEXT_PATHS):
        raise ConfigError(
            f"{shown(address)} takes text, not calls: palaver call says it; "
            "calls are taken at ws://HOST:PORT/asp"
        )
    return address
