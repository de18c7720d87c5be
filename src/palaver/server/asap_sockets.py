"""``WS /asap/ws``: all sockets of the process, and the requests that came over them."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from palaver.auth.principal import ANONYMOUS
from palaver.engine.clock import new_id, wall_clock
from palaver.engine.engine import Engine
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import AsapError, InternalError
from palaver.protocols.asap.events import (
    DuplicateReceived,
    FrameRejected,
    PeerStale,
    RequestReceived,
    ServerEvent,
)
from palaver.protocols.asap.in_flight import Caller, shutting_down
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.manifest import agent_urn
from palaver.protocols.asap.messages import (
    ASAP_VERSION,
    Envelope,
    Payload,
    moment,
    payload_type_of,
)
from palaver.server.admission import Admission
from palaver.server.asap_calls import AsapCalls
from palaver.server.asap_metrics import AsapMetrics
from palaver.server.asap_socket import AsapSocket
from palaver.server.refusal import refuse

__all__ = ["AsapSockets"]

_log = structlog.get_logger("palaver.asap")
_LAST_ANSWERS: Final = 2.0
"""Seconds for requests to be answered once the engine has let go of their tasks."""
_JUMP: Final = 1.0
"""Seconds by which the clock of the machine may run ahead before it is followed."""


class AsapSockets:
    """Peers over WebSockets. Their requests go on when a socket is lost: it may come back."""

    def __init__(
        self,
        engine: Engine,
        calls: AsapCalls,
        limits: Limits,
        admission: Admission,
        metrics: AsapMetrics,
    ) -> None:
        self.engine = engine
        self.limits = limits
        self.deliveries = Deliveries(limits.max_kept_replies, limits.max_kept_bytes)
        # The age is told by the clock of the machine: that of the sockets only runs forward.
        self.caller = Caller(
            ANONYMOUS.id, freshness=lambda envelope, _now: calls.check_fresh(envelope)
        )
        self._calls = calls
        self._admission = admission
        self._metrics = metrics
        self._offset = wall_clock() - time.monotonic()
        self._open = 0
        self._sockets: set[AsapSocket] = set()
        self._works: set[asyncio.Task[None]] = set()
        self._draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        refusal = self._admission.refusal(scope, self._open)
        if refusal is not None:
            await refuse(scope, send, *refusal)
            return
        self._open += 1
        self._metrics.sockets(1)
        try:
            await send({"type": "websocket.accept"})
            socket = AsapSocket(self, scope, receive, send)
            self._sockets.add(socket)
            if self._draining:  # since it was admitted
                socket.shut_down()
            try:
                await socket.run()
            finally:
                self._sockets.discard(socket)
        finally:
            self._open -= 1
            self._metrics.sockets(-1)

    def now(self) -> float:
        """Return the time (Unix seconds), which never runs backwards."""
        now = time.monotonic() + self._offset
        ahead = wall_clock() - now
        if ahead > _JUMP:  # it was set, or the machine slept
            self._offset += ahead
            now += ahead
        return now

    def broadcast(self, payload: Payload, *, sender: str) -> int:
        """Send something to every peer that has asked for anything; return how many it reached.

        ``sender`` is the id of an agent. A peer that does not take what it is sent is left out.
        """
        told = 0
        for socket in tuple(self._sockets):
            if socket.peer is not None and not socket.congested:
                told += socket.push(
                    Envelope(
                        id=new_id("env"),
                        asap_version=ASAP_VERSION,
                        timestamp=moment(wall_clock()),
                        sender=agent_urn(sender),
                        recipient=socket.peer,
                        payload_type=payload_type_of(payload).value,
                        payload=payload.wire(),
                    )
                )
        return told

    async def drain(self, patience: float) -> None:
        """Take no new requests, answer those that are there, and close each socket behind them.

        What has no answer shortly after ``patience`` seconds is told to ask again.
        """
        self._draining = True
        for socket in tuple(self._sockets):
            socket.shut_down()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + patience + _LAST_ANSWERS
        # An answer may make room for a request that waits, so that there is more to wait for.
        while self._works and (left := give_up_at - loop.time()) > 0:
            await asyncio.wait(self._works, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        while self._works:
            rest = list(self._works)
            for work in rest:
                work.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    # --- what happens on a socket -----------------------------------------------------------

    def take(self, socket: AsapSocket, event: ServerEvent) -> None:
        """Take what has happened on a socket."""
        match event:
            case RequestReceived():
                work = asyncio.create_task(self._work(socket, event), name="asap-request")
                self._works.add(work)
                work.add_done_callback(self._works.discard)
            case DuplicateReceived():
                self._metrics.repeated()
                _log.debug("asap_repeated", envelope_id=event.envelope.id, answered=event.answered)
            case FrameRejected(error=error):
                self._metrics.refused(None, error)
                _log.debug("asap_refused", error=error.uri, code=error.code)
            case PeerStale():
                _log.info("asap_peer_stale", peer=socket.peer, silence=event.silence)
            case _:
                pass

    def pushed(self) -> None:
        """Take note of an envelope that nobody had to ask for."""
        self._metrics.pushed()

    async def _work(self, socket: AsapSocket, request: RequestReceived) -> None:
        """Answer one request, whatever becomes of it."""
        began = time.monotonic()
        try:
            reply = await self._calls.perform(
                request.envelope,
                socket.agent_id,
                request.idempotency_key,
                follow=socket.follow,
            )
            await socket.room()  # else long answers pile up, each of which is short of the bound
        except AsapError as error:
            self._fail(socket, request, error, began)
        except asyncio.CancelledError:
            self._fail(socket, request, shutting_down(), began)
            raise
        except Exception:  # noqa: BLE001 - the last resort of this shell: told in full, not to the peer
            _log.exception("request_failed")
            self._fail(socket, request, InternalError(), began)
        else:
            self._metrics.answered(request.envelope.kind, time.monotonic() - began)
            socket.respond(request, reply)

    def _fail(
        self, socket: AsapSocket, request: RequestReceived, error: AsapError, began: float
    ) -> None:
        self._metrics.refused(request.envelope.kind, error, time.monotonic() - began)
        _log.debug("asap_refused", error=error.uri, code=error.code)
        socket.fail(request, error)
