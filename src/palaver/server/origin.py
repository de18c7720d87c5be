"""Which web pages may open a WebSocket here.

Browsers let any page open a WebSocket to any server, and send where the page is from as
``Origin`` (RFC 6455 10.2). Other clients send none, and are let in.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import Scope

__all__ = ["Origins"]


class Origins:
    """The origins that are let in: that of the server itself, and those that are named."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def allow(self, scope: Scope) -> bool:
        """Tell whether the handshake of ``scope`` comes from where it may."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        if not origin or origin.rstrip("/") in self._allowed:
            return True
        host = headers.get(b"host", b"").decode("latin-1").lower()
        return bool(host) and urlsplit(origin).netloc == host
