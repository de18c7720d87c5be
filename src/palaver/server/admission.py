"""Who may open a WebSocket here.

Browsers let any page open a WebSocket to any server, and send where the page is from as
``Origin`` (RFC 6455 10.2). Other clients send none, and are let in.
"""

from __future__ import annotations

from collections.abc import Collection

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
        own = host and origin.partition("://")[2] == host
        if origin and not own and origin not in self._origins:
            return 403, f"pages of {origin[:200]} may not connect: name it in asp_allowed_origins"
        return None
