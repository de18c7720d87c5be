"""A second port for calls, where picows carries the WebSockets: for hosts with many calls.

Routes, admission, sockets and sessions are those of the main port; only the bytes come and go
another way. It needs ``pip install 'palaver[dense]'``.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

import orjson
import structlog
from picows import (
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)
from starlette.routing import Match, WebSocketRoute
from starlette.types import Scope

from palaver.server.asp import SUBPROTOCOL, AspEndpoint
from palaver.server.coalesced_reads import CoalescedReads
from palaver.server.picows_socket import PicowsSocket, SocketLimits

__all__ = ["DensePort"]

_log = structlog.get_logger("palaver.asp")
_LAST_WRITES: Final = 5.0
"""Seconds for WebSockets to take their last bytes once no call runs any more."""
_BACKLOG: Final = 2_048


class DensePort:
    """Serves ``endpoint`` at the paths of ``routes``, on a socket that is bound already.

    A client has ``handshake_timeout`` seconds to ask for its WebSocket. ``on_round`` is called when
    what has come for some of the calls was read.
    """

    def __init__(
        self,
        endpoint: AspEndpoint,
        routes: Sequence[WebSocketRoute],
        *,
        limits: SocketLimits,
        handshake_timeout: float,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoint = endpoint
        self._routes = routes
        self._limits = limits
        self._handshake_timeout = handshake_timeout
        self._server: asyncio.Server | None = None
        self._reads = CoalescedReads(on_round)
        self._sockets: set[PicowsSocket] = set()
        self._empty = asyncio.Event()
        # picows has a line for each connection and each bad frame: a client could fill the disk.
        self._logger = logging.getLogger("palaver.picows")
        self._logger.setLevel(logging.CRITICAL)

    async def start(self, listening: socket.socket) -> None:
        """Take calls."""
        self._server = await ws_create_server(
            self._answer,
            sock=listening,
            backlog=_BACKLOG,
            logger_name=self._logger,
            websocket_handshake_timeout=self._handshake_timeout,
            enable_auto_ping=False,  # ours waits where it is not the client that is silent
            enable_auto_pong=False,  # ours does not pile up for a client that takes nothing
            max_frame_size=self._limits.max_message_bytes,
        )

    def close(self) -> None:
        """Take no more calls; those that run go on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Let WebSockets that are closing take their last bytes, and drop the rest."""
        self.close()
        if self._sockets:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), _LAST_WRITES)
        for one in tuple(self._sockets):
            one.cancel()
        self._reads.close()

    def _answer(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        """Let a client in, or say why not."""
        scope = _scope(request)
        refusal = self._find(scope) or self._endpoint.refusal(scope)
        if refusal is not None:
            status, text = refusal
            body = orjson.dumps({"error": text})
            headers = {"Content-Type": "application/json"}
            response = WSUpgradeResponse.create_error_response(status, body, headers)
            return WSUpgradeResponseWithListener(response, None)
        offered = SUBPROTOCOL in scope["subprotocols"]
        chosen = {"Sec-WebSocket-Protocol": SUBPROTOCOL} if offered else None
        response = WSUpgradeResponse.create_101_response(chosen)
        one = PicowsSocket(
            self._endpoint,
            scope,
            self._limits,
            self._reads,
            on_open=self._take,
            on_over=self._forget,
        )
        return WSUpgradeResponseWithListener(response, one)

    def _find(self, scope: Scope) -> tuple[int, str] | None:
        """Complete the scope of a path that leads to calls, or say that it does not."""
        for route in self._routes:
            match, more = route.matches(scope)
            if match is Match.FULL:
                scope.update(more)
                return None
        return 404, f"there is no WebSocket at {scope['path']}"

    def _take(self, one: PicowsSocket) -> None:
        self._sockets.add(one)
        self._empty.clear()

    def _forget(self, one: PicowsSocket) -> None:
        self._sockets.discard(one)
        if not self._sockets:
            self._empty.set()


def _scope(request: WSUpgradeRequest) -> Scope:
    """Return the scope of a handshake, as ASGI says."""
    raw_path, _, query = request.path.partition(b"?")
    headers = [
        (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]
    offered: list[Any] = request.headers.getall("sec-websocket-protocol", [])
    return {
        "type": "websocket",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "subprotocols": [name.strip() for one in offered for name in one.split(",")],
    }
