"""The ASP client: calls on WebSockets, which it opens, retries and replaces as they drop."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from pydantic import ValidationError

from palaver.client.asp_dial import Unanswered, Verdicts, asp_url, shown
from palaver.client.asp_line import CallEvent, Line, SessionOver, SessionRestarted, refused
from palaver.client.asp_log import log, log_event
from palaver.client.asp_session import CallSession
from palaver.client.asp_socket import AspRefused, AspSocket, Observe, Observed, Time
from palaver.client.asp_sockets import Plan, Sockets
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.asp import events as happened
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import Framing, NegotiatedConfig, ProtocolCapabilities
from palaver.protocols.asp.errors import (
    ErrorCode,
    Misuse,
    Rejection,
    field_error,
    protocol_error,
)
from palaver.protocols.asp.events import Event, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, SessionStartMessage
from palaver.protocols.asp.session import Applied, Configure, apply_as_negotiated

__all__ = [
    "AspClient",
    "AspRefused",
    "CallEvent",
    "CallSession",
    "Observed",
    "SessionOver",
    "SessionRestarted",
    "Verdicts",
    "check_request",
    "fetch_capabilities",
]

_VERDICTS: Final = Verdicts()
"""What all clients of the process remember of legacy servers."""
_MAX_ID: Final = 128
_RESTARTABLE: Final = frozenset({"connection_lost", "resume_refused", "not_resumed", "shutdown"})
"""Ends of a session that are none of its call."""


def _see_nothing(_: Observed) -> None:
    """Observe nothing."""


class AspClient:
    """Calls with the ASP server at ``url``. Use it in an ``async with`` block.

    Args:
        url: ws(s):// or http(s)://; without a path it is ``/asp``.
        limits: Times and sizes of the protocol.
        patience: How to wait, and when to give up.
        configure: What the application runs for a negotiated configuration. It is called with
            the session's id before audio flows, and again whenever the values change; what it
            returns is compared with what the server runs. What it raises ends that session, and
            is raised where the session was started or updated.
        reconnect: Whether to try again what did not work, and to bring sessions back.
        legacy: Speak the protocol before ASP, whatever the server shows.
        observe: Told each message, and when it went.
        verdicts: Where it is remembered which URLs have a legacy server.

    A server that shows no capabilities in time is spoken to as a legacy one. What the server
    rejects raises ``PeerRefused``; what cannot be reached, ``PeerUnreachable``.

    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        patience: Patience | None = None,
        configure: Configure = apply_as_negotiated,
        reconnect: bool = True,
        legacy: bool = False,
        observe: Observe = _see_nothing,
        verdicts: Verdicts = _VERDICTS,
    ) -> None:
        self.url: Final = asp_url(url)
        self.capabilities: ProtocolCapabilities | None = None
        """What the server showed last."""
        self.server_id: str | None = None
        self.legacy_mode = False
        """Whether the server was found to be a legacy one."""
        self._configure = configure
        self._plan = Plan(
            url=self.url,
            limits=limits or Limits(),
            patience=patience or Patience(),
            configure=self._configured,
            reconnect=reconnect,
            legacy=legacy,
            observe=observe,
            verdicts=verdicts,
        )
        self._sockets = Sockets(self._plan, self._take, self._lost)
        self._lines: dict[str, Line] = {}
        self._recoveries: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End the calls, and close the sockets."""
        await self.close()

    async def connect(self) -> None:
        """See that there is a server, and what it takes.

        Raises:
            PeerRefused: the server does not take WebSockets there, or speaks another version.
            PeerUnreachable: nobody answers, for as long as ``patience`` says.

        """
        await self._sockets.get()

    async def start_session(
        self, request: SessionRequest | None = None, *, restart: bool = False, **wanted: Any
    ) -> CallSession:
        """Start a call; ``wanted`` is what ``SessionRequest`` takes, in place of what it says.

        With ``restart``, a session that is lost with its socket and cannot be resumed, or ends
        because its server stops, is started again: under an id derived from its own, with
        ``transfer_retry`` in its metadata. ``SessionRestarted`` tells of it.

        Raises:
            PeerRefused: the server rejects it; ``errors`` of an ``AspRefused`` say why.
            PeerUnreachable: nobody answers, for as long as ``patience`` says.

        """
        if request is None:
            wanted.setdefault("session_id", new_id("call"))
            request = SessionRequest(**wanted)
        else:
            request = replace(request, **wanted)
        check_request(request)
        if request.session_id in self._lines:
            raise Misuse(f"session {request.session_id!r} is one of this client's already")
        line = Line(request, self._plan.limits, Time(), restart=restart, on_over=self._forget)
        self._lines[request.session_id] = line
        try:
            await self._open(line)
        except BaseException as error:
            line.abandon()
            self._forget(line)
            if isinstance(error, AspRefused) and line.failure is not None:
                raise line.failure from None
            raise
        return CallSession(line)

    async def close(self) -> None:
        """End the calls, close the sockets, and wait until all of it is over: seconds at most."""
        await self._sockets.stop_dialling()
        recoveries = tuple(self._recoveries)
        for task in recoveries:
            task.cancel()
        await asyncio.gather(*recoveries, return_exceptions=True)
        await asyncio.gather(*(_end(line) for line in tuple(self._lines.values())))
        await self._sockets.close()

    # --- starting ---------------------------------------------------------------------------

    async def _open(self, line: Line) -> None:
        """Start a session for a line, on whichever socket it takes."""
        tries = self._sockets.tries()
        maybe_there = False
        while True:
            socket = await self._sockets.get(alone=_must_be_alone(line.request))
            try:
                await self._open_on(line, socket)
            except Unanswered as failure:
                maybe_there = True
                await tries.again(failure)
            except AspRefused as refusal:
                if not maybe_there or refusal.code != ErrorCode.SESSION_ALREADY_ACTIVE:
                    raise
                self._rename(line)  # the server has it, but we do not
            else:
                return
            finally:
                self._sockets.let_go(socket)

    async def _open_on(self, line: Line, socket: AspSocket) -> None:
        try:
            event = await line.start_on(socket)
        except Misuse as misuse:  # it was lost, or goes away, since it was chosen
            raise Unanswered(str(misuse)) from misuse
        where = shown(self.url)
        if isinstance(event, happened.SessionOpened):
            return
        if isinstance(event, happened.SessionRejected | happened.ConfigMismatched):
            raise refused(event)
        if isinstance(event, happened.RequestTimedOut):
            socket.retired = True
            self._plan.verdicts.forget(self.url)  # a legacy server would have answered
            seconds = self._plan.limits.start_timeout
            raise Unanswered(f"no answer to session.start for {seconds:g} s")
        if isinstance(event, happened.ErrorSent):
            raise PeerError(f"{where} answered session.start wrongly: {event.error.message}")
        if isinstance(event, SessionClosed) and event.reason == "connection_lost":
            raise self._sockets.why(socket)
        if self._sockets.closed.is_set():
            raise PeerUnreachable("the client is closed")
        raise PeerError(f"{where} ended the session while it began")

    def _rename(self, line: Line) -> None:
        """Give the next session of a line an id that the server does not know."""
        session_id = line.request.session_id
        self._forget(line)
        base, _, count = session_id.rpartition("~")
        if not (base and count.isdecimal()):
            base, count = session_id, "1"
        suffix = f"~{int(count) + 1}"
        line.request = replace(line.request, session_id=base[: _MAX_ID - len(suffix)] + suffix)
        self._lines[line.request.session_id] = line

    def _configured(self, session_id: str, config: NegotiatedConfig) -> Applied:
        failure: Exception
        try:
            return self._configure(session_id, config)
        except Rejection as error:
            rejection, failure = error, AspRefused((error.error,))
        except Exception as error:  # noqa: BLE001 # whatever the application raises: one call fails
            log().exception("asp_configure_failed", session_id=session_id)
            text = "the client cannot run what was negotiated"
            problem = protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, text)
            rejection, failure = Rejection(problem, session_id), error
        if session_id in self._lines:
            self._lines[session_id].failure = failure
        raise rejection

    # --- coming back ------------------------------------------------------------------------

    def _adrift(self, line: Line, event: Event) -> None:
        """Do what can be done for a session that has lost its socket, or has ended."""
        closed = event if isinstance(event, SessionClosed) else None
        if self._sockets.closed.is_set() or not self._plan.reconnect:
            line.finish(closed or SessionClosed(line.id, "connection_lost"))
        elif closed is not None and not _restartable(line, closed):
            line.finish(closed)
        else:
            task = asyncio.create_task(self._bring_back(line, closed), name="asp-client-recovers")
            self._recoveries.add(task)
            task.add_done_callback(self._recoveries.discard)

    async def _bring_back(self, line: Line, closed: SessionClosed | None) -> None:
        """Resume the session of a line, or start another one, or tell that it is over."""
        delay = line.hesitation(self._plan.patience)
        if delay:
            await asyncio.sleep(delay)
        if closed is None:
            closed = await self._resume(line)
        if closed is None or line.over.is_set():
            return
        if _restartable(line, closed):
            if await self._restart(line):
                return
            closed = SessionClosed(line.id, "restart_failed")
        line.finish(closed)

    async def _resume(self, line: Line) -> SessionClosed | None:
        """Go on with the session on another socket; return how it ended where that fails."""
        tries = self._sockets.tries()
        try:
            async with asyncio.timeout_at(line.core.resume_until):
                while not line.over.is_set():
                    socket = await self._sockets.get()
                    capabilities = socket.connection.capabilities
                    if capabilities is None or Feature.SESSION_RESUME not in capabilities.features:
                        break
                    event = await line.resume_on(socket)
                    if isinstance(event, SessionClosed):
                        return event
                    if isinstance(event, happened.SessionResumed):
                        return None
                    await tries.again(Unanswered("the connection was lost again"))
        except (PeerError, TimeoutError, Misuse) as error:
            why = str(error) or "the server keeps it no longer"
            log().warning("asp_session_not_resumed", session_id=line.id, reason=why)
        return SessionClosed(line.id, "not_resumed")

    async def _restart(self, line: Line) -> bool:
        old_id = line.id
        self._rename(line)
        metadata = (line.request.metadata or {}) | {"transfer_retry": True}
        line.request = replace(line.request, metadata=metadata)
        try:
            await self._open(line)
        except PeerError as error:
            log().warning("asp_session_not_restarted", session_id=old_id, reason=str(error))
            return False
        return True

    # --- what happens -----------------------------------------------------------------------

    def _take(self, socket: AspSocket, events: list[Event]) -> asyncio.Event | None:
        room = None
        for event in events:
            session_id = getattr(event, "session_id", None)
            line = None if session_id is None else self._lines.get(session_id)
            if line is None or line.socket is not socket:
                self._take_of_socket(socket, event)
                continue
            if line.take(event):
                self._adrift(line, event)
            room = line.inbox.room
        if socket.retired:
            self._sockets.let_go(socket)
        return room

    def _take_of_socket(self, socket: AspSocket, event: Event) -> None:
        log_event(event, legacy_mode=socket.connection.legacy_mode)
        where = shown(self.url)
        if isinstance(event, happened.CapabilitiesReceived):
            self._show(event)
        elif isinstance(event, happened.LegacyDetected):
            self.legacy_mode = True
            if event.cause != "remembered":
                self._plan.verdicts.remember(self.url, Time().now())
            log().warning("asp_legacy_server", url=where, cause=event.cause, legacy_mode=True)
        elif isinstance(event, happened.PeerGoingAway):
            socket.retired = True
            grace = event.grace_ms / 1000
            log().info("asp_server_going_away", url=where, reason=event.reason, grace=grace)
        elif isinstance(event, happened.SessionOpened | happened.SessionResumed):
            # Whoever wanted it does not any more.
            session = socket.connection.sessions.get(event.session_id)
            if session is not None and session.open:
                session.end(Time().now(), "abandoned")
                socket.expect()

    def _show(self, event: happened.CapabilitiesReceived) -> None:
        self.capabilities, self.server_id = event.capabilities, event.server_id
        self.legacy_mode = False
        self._plan.verdicts.forget(self.url)
        log().info(
            "asp_capabilities",
            url=shown(self.url),
            server_id=event.server_id,
            **event.capabilities.model_dump(mode="json"),
        )

    def _lost(self, socket: AspSocket) -> None:
        log().info("asp_socket_closed", url=shown(self.url), reason=socket.loss)

    def _forget(self, line: Line) -> None:
        if self._lines.get(line.request.session_id) is line:
            del self._lines[line.request.session_id]
        if line.socket is not None:
            self._sockets.let_go(line.socket)


def check_request(request: SessionRequest) -> None:
    """See that a request can be spelled.

    Raises:
        Misuse: an id is empty or too long, or its metadata is no JSON.

    """
    try:
        SessionStartMessage(
            session_id=request.session_id, call_id=request.call_id, metadata=request.metadata
        )
    except ValidationError as error:
        raise Misuse(field_error(error).message) from None


async def _end(line: Line) -> None:
    if line.attached:
        await CallSession(line).end("client_closed")
    else:
        line.abandon()
        line.finish(SessionClosed(line.id, "client_closed"))


def _restartable(line: Line, closed: SessionClosed) -> bool:
    return line.restart and not line.ending and closed.reason in _RESTARTABLE


def _must_be_alone(request: SessionRequest) -> bool:
    """Tell whether the session may be one whose audio says not which session it is of."""
    offers = (request.audio, *request.audio_offers)
    return any(offer.framing is Framing.SEQ14 for offer in offers)


async def fetch_capabilities(url: str, patience: float = 2.0) -> ProtocolCapabilities | None:
    """Return what the ASP server at ``url`` takes; nothing, where there is none.

    ``patience`` is how many seconds it may take to connect, and again to show them.

    Raises:
        PeerError: what is there is no ASP server, or cannot be reached.

    """
    client = AspClient(
        url,
        limits=Limits(capabilities_timeout=patience),
        patience=Patience(connect_timeout=patience),
        reconnect=False,
        verdicts=Verdicts(),
    )
    async with client:
        return client.capabilities
