"""ASP on a WebSocket: the thin shell around the core, and the place where calls are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_urlsafe
from typing import Final

import structlog
from starlette.types import Receive, Scope, Send

from palaver.protocols.asp.call import Call, CallListener, Silence
from palaver.protocols.asp.config import ProtocolCapabilities
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.events import (
    AudioReceived,
    Event,
    SessionClosed,
    SessionDetached,
    SessionOpened,
    SessionRejected,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Configure, apply_as_negotiated
from palaver.protocols.asp.sessions import Sessions
from palaver.server.admission import Admission
from palaver.server.asp_log import log_event
from palaver.server.asp_metrics import AspMetrics
from palaver.server.asp_socket import AspSocket
from palaver.server.refusal import refuse

__all__ = ["SUBPROTOCOL", "AspEndpoint"]

_log = structlog.get_logger("palaver.asp")

SUBPROTOCOL: Final = "asp.v1"
_SWEEP: Final = 1.0
"""Seconds between two looks at which sessions are over."""
_TOKEN_BYTES: Final = 24


class AspEndpoint:
    """``WS /asp``: all sockets and sessions of the process.

    ``answer`` makes the listener of each call; ``configure`` tells what the agent's audio
    pipeline runs for a negotiated configuration.
    """

    def __init__(
        self,
        capabilities: ProtocolCapabilities,
        limits: Limits,
        admission: Admission,
        *,
        answer: Callable[[Call], CallListener] = Silence,
        configure: Configure = apply_as_negotiated,
        server_id: str = "palaver",
        metrics: AspMetrics | None = None,
    ) -> None:
        offset = time.time() - self.now()
        self.sessions = Sessions(
            capabilities,
            limits,
            new_token=lambda: token_urlsafe(_TOKEN_BYTES),
            stamp=lambda now: _iso(now + offset),
            configure=configure,
        )
        self.server_id = server_id
        self._no_calls = asyncio.Event()
        self._admission = admission
        self._metrics = metrics
        self._answer = answer
        self._open_sockets = 0
        self._sockets: set[AspSocket] = set()
        self._listeners: dict[str, CallListener] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        refusal = self.refusal(scope)
        if refusal is not None:
            await refuse(scope, send, *refusal)
            return
        offered = SUBPROTOCOL in scope.get("subprotocols", ())
        accept = {"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None}
        self._open_sockets += 1
        try:
            await send(accept)
            socket = AspSocket(self, scope, receive, send)
            self._sockets.add(socket)
            if self.sessions.draining:  # since it was admitted
                socket.shut_down()
            try:
                await socket.run()
            finally:
                self._sockets.discard(socket)
        finally:
            self._open_sockets -= 1

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason where a WebSocket is refused."""
        return self._admission.refusal(scope, self._open_sockets)

    def start(self) -> None:
        """Begin to look after sessions whose time is over."""
        self._sweeper = asyncio.create_task(self._sweep(), name="asp-sweeper")

    async def drain(self, patience: float) -> None:
        """Tell clients that the server goes, let calls end for ``patience`` s, end the rest."""
        self.sessions.draining = True
        for session in self.sessions:
            if session.link is None:
                self._forget(session)
        for socket in tuple(self._sockets):
            socket.go_away(patience)
        if len(self.sessions):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_calls.wait(), patience)
        for socket in tuple(self._sockets):
            socket.shut_down()
        self.take(self.sessions.handle_timeout(self.now()))
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    def take(self, events: list[Event], *, logged: bool = True) -> None:
        """Log events, count them, and tell the calls that they belong to."""
        for event in events:
            if type(event) is AudioReceived:
                self.hear(event)
                continue
            if isinstance(event, SessionOpened) and event.session_id in self._listeners:
                # The agent has ended the call before it, of the same id: that comes first.
                self.take(self.sessions.handle_timeout(self.now()))
            self._write_down(event, logged=logged)
            if isinstance(event, SessionRejected):
                continue  # a call of that id, if there is one, is another
            if isinstance(event, SessionOpened):
                self._open(event.session_id)
            session_id = getattr(event, "session_id", None)
            listener = None if session_id is None else self._listeners.get(session_id)
            if listener is not None:
                self._tell(listener, event)
            if isinstance(event, SessionDetached) and self.sessions.draining:
                session = self.sessions.get(event.session_id)
                if session is not None:
                    self._forget(session)
        if self.sessions.draining and not len(self.sessions):
            self._no_calls.set()

    def hear(self, audio: AudioReceived) -> None:
        """Tell the call of audio; nothing else depends on that."""
        listener = self._listeners.get(audio.session_id)
        if listener is not None:
            try:
                listener.heard(audio)
            except Exception:  # noqa: BLE001 # as in _tell
                self._break(audio.session_id)

    def _write_down(self, event: Event, *, logged: bool) -> None:
        if logged:
            log_event(event, self.sessions)
        if self._metrics is not None:
            self._metrics.take(event)

    now = staticmethod(time.monotonic)
    """Return the time by which everything here goes (s)."""

    # --- calls ------------------------------------------------------------------------------

    def _open(self, session_id: str) -> None:
        session = self.sessions.get(session_id)
        if session is None:
            return
        agent_id = self.server_id if session.link is None else session.link.server_id
        call = Call(session, self.now, lambda: _congested(session), agent_id)
        try:
            self._listeners[session_id] = self._answer(call)
        except Exception:  # noqa: BLE001 # whatever the agent's side raises
            _log.exception("asp_call_failed", session_id=session_id)
            self._fail(session)

    def _tell(self, listener: CallListener, event: Event) -> None:
        session_id = str(getattr(event, "session_id", ""))
        try:
            if isinstance(event, SessionClosed):
                del self._listeners[session_id]
                listener.closed(event)
            else:
                listener.heard(event)
        except Exception:  # noqa: BLE001 # whatever breaks in one call, the others go on
            self._break(session_id)

    def _break(self, session_id: str) -> None:
        """End the call whose agent has just failed."""
        _log.exception("asp_call_failed", session_id=session_id)
        session = self.sessions.get(session_id)
        if session is not None:
            self._fail(session)

    def _forget(self, session: ServerSession) -> None:
        """Let go of a call to which nobody can come back: the server takes no new sockets."""
        self.take(self.sessions.forget(session, self.now(), "shutdown"))

    def _fail(self, session: ServerSession) -> None:
        now = self.now()
        try:
            session.fail(now, "the agent failed; the session has ended")
        except Misuse:  # it was about to end anyway
            _log.debug("asp_call_failed_late", session_id=session.id)
        self.take(self.sessions.forget(session, now, "error"))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self.take(self.sessions.handle_timeout(self.now()))


def _congested(session: ServerSession) -> bool:
    link = session.link
    return link is not None and link.congested


def _iso(seconds: float) -> str:
    """Return a time as ``timestamp`` spells it: ISO 8601, UTC, milliseconds, ``Z``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_iso_second(whole)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
