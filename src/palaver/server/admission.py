"""Who may open a WebSocket here.

Browsers let any page open a WebSocket to any server, and send where the page is from as
``Origin`` (RFC 6455 10.2). Other clients send none, and are let in. That the page is from the host
that it connects to says nothing where the host is a name: whoever owns a name can have it lead to
this machine. So a server's own pages are those at an address or at ``localhost``, and those of
the names that it was told.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

from starlette.types import Scope

from palaver.server.drain import Drain

__all__ = ["Admission"]


class Admission:
    """Lets in whom the agents of ``agents`` are for: so many at once, while the server serves.

    ``origins`` are the pages that may connect, beside those of the server itself.
    """

    def __init__(
        self,
        drain: Drain,
        agents: Collection[str] = (),
        *,
        origins: Collection[str] = (),
        max_sockets: int = 1_000,
    ) -> None:
        self._drain = drain
        self._agents = agents
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._max_sockets = max_sockets

    def refusal(self, scope: Scope, sockets: int) -> tuple[int, str] | None:
        """Return the status and the reason where a handshake is refused.

        ``sockets`` are open already.
        """
        agent_id = scope.get("path_params", {}).get("agent_id")
        if agent_id is not None and agent_id not in self._agents:
            return 404, f"no agent {agent_id!r} is served here"
        if self._drain.begun:
            return 503, "the server is stopping"
        if sockets >= self._max_sockets:
            return 503, f"{sockets} WebSockets are open, which is the limit"
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1").lower().rstrip("/")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        own = origin.partition("://")[2] == host and _is_address(host)
        if origin and not own and origin not in self._origins:
            return 403, f"pages of {origin[:200]} may not connect: name it in asp_allowed_origins"
        return None


def _is_address(host: str) -> bool:
    """Tell whether a Host header names an address, or this machine."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name == "localhost":
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
