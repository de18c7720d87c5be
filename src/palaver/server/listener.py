"""uvicorn, with a drain of our own: what is in flight when SIGTERM comes is answered.

uvicorn alone waits for ever on an open stream, or cuts it and skips the rest of the shutdown.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from palaver.errors import ConfigError
from palaver.server.connection import Connection
from palaver.server.websocket import WebSocketConnection

__all__ = ["Listener", "bind"]

_log = structlog.get_logger("palaver.server")
_BACKLOG: Final = 2_048
_KEEP_ALIVE: Final = 30
_LAST_WRITES: Final = 5.0
"""Seconds for connections to take their last bytes once no task runs any more."""
_POLL: Final = 0.02


def bind(host: str, port: int, *, shared: bool = False, option: str = "--port") -> socket.socket:
    """Return a socket that listens there; ``shared`` lets several processes have one each.

    ``option`` is what sets the port, for the error.

    Raises:
        ConfigError: the address cannot be had; the text says what to do.

    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        message = (
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            f"choose another with {option} (0 takes a free one) or --host"
        )
        raise ConfigError(message) from None
    listening.setblocking(False)
    return listening


class Listener(uvicorn.Server):
    """Serves ``app`` on sockets that are bound already.

    On the first SIGTERM or SIGINT it stops accepting and awaits ``drain``; then the connections
    take their last bytes, and the application's lifespan ends. A second signal ends at once.
    A request has ``head_timeout`` seconds to arrive as far as its headers. ``announce`` is called
    once requests are taken, and signals are heard.

    A message through a WebSocket has ``max_message_bytes`` at most. Its client is asked for a sign
    of life each ``ping_interval`` seconds, has ``pong_timeout`` to give it, and is dropped when it
    takes nothing of what is sent for ``send_timeout`` seconds. What is open when the server stops
    is for ``app`` to close.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain: Callable[[], Awaitable[None]],
        *,
        head_timeout: float,
        announce: Callable[[], None],
        max_message_bytes: int = 16 * 1024 * 1024,
        send_timeout: float = 30.0,
        ping_interval: float = 30.0,
        pong_timeout: float = 10.0,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("type[Connection]", partial(Connection, head_timeout=head_timeout)),
                ws=cast(
                    "type[WebSocketConnection]",
                    partial(WebSocketConnection, send_timeout=send_timeout),
                ),
                ws_max_size=max_message_bytes,
                ws_ping_interval=ping_interval,
                ws_ping_timeout=pong_timeout,
                ws_per_message_deflate=False,  # but where it helps: websocket_handshake
                loop="auto",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE,
                backlog=_BACKLOG,
            )
        )
        self._drain = drain
        self._announce = announce
        self._stopped_by: str | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, stop at once.

        It interrupts the thread of the loop wherever that is, perhaps within a line of the log,
        whose lock it would wait for without end: so it only leaves word.
        """
        del frame
        if self.should_exit:
            self.force_exit = True
        else:
            self._stopped_by = signal.Signals(sig).name
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin the lifespan and serve."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, drain, let connections take their last bytes, end the lifespan."""
        if self._stopped_by is not None:
            _log.info("stopping", signal=self._stopped_by)
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        draining = asyncio.ensure_future(self._drain())
        self._close_idle()
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=_POLL)
            self._close_idle()
        await self._let_finish()
        if not draining.done():
            draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await self.lifespan.shutdown()

    def _close_idle(self) -> None:
        """Close connections between two requests; the others close after their answer."""
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def _let_finish(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _LAST_WRITES
        state: Any = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:
            if loop.time() > give_up_at:
                break
            self._close_idle()
            await asyncio.sleep(_POLL)
        # What is cut now is cut on purpose: no need to tell of each request that it broke.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        if state.tasks:
            await asyncio.wait(list(state.tasks), timeout=1.0)
