"""One call's line to its server: its session, the socket that is on, and what waits to be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from palaver.client.asp_log import log, log_event
from palaver.client.asp_socket import AspRefused, AspSocket, Time
from palaver.client.transport import Patience
from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.asp import events as happened
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import ErrorCode, protocol_error
from palaver.protocols.asp.events import ConfigSwitched, Event, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.states import SessionState

__all__ = ["MAX_EVENTS", "CallEvent", "Line", "SessionOver", "SessionRestarted", "refused"]

MAX_EVENTS: Final = 256
"""Events that wait for whoever reads them, before nothing more is read from the socket."""
_MAX_EVENTS_MEANWHILE: Final = 16 * MAX_EVENTS
"""The same while an answer of the server is waited for: it stands behind them."""
_ACK_PATIENCE: Final = 2.0
"""Seconds to wait for a server to say what it has received, where much is kept for it."""
_BAD_ANSWERS: Final = frozenset({ErrorCode.INVALID_MESSAGE_FORMAT, ErrorCode.INVALID_VAD_PARAMETER})


@dataclass(frozen=True, slots=True)
class SessionRestarted:
    """The call goes on with a new session; what was said in between was not heard."""

    old_id: str
    new_id: str


CallEvent: TypeAlias = Event | SessionRestarted


class SessionOver(PeerError):
    """The session has ended, for ``reason``."""

    def __init__(self, session_id: str, reason: str) -> None:
        super().__init__(f"session {session_id!r} is over: {reason}")
        self.reason = reason


class _Stage(Enum):
    """What a line has."""

    STARTING = auto()  # a session that was asked for
    OPEN = auto()  # a session on a socket
    DETACHED = auto()  # a session whose socket was lost
    GONE = auto()  # none; there may be another one soon


class _Inbox:
    """The events that wait for whoever reads them."""

    def __init__(self) -> None:
        self._waiting: deque[CallEvent] = deque()
        self._arrived = asyncio.Event()
        self._reasons_for_more = 0
        self._holds = True
        self._over = False
        self.room = asyncio.Event()
        """Set while more may be read from the socket."""
        self.room.set()

    def put(self, event: CallEvent) -> None:
        """Have one more; one that nobody waits for any more may be let go."""
        if self._is_full() and not self._holds and not isinstance(event, SessionClosed):
            return
        self._waiting.append(event)
        self._arrived.set()
        self._look()

    async def take(self) -> CallEvent | None:
        """Return the next one, or nothing where no more comes."""
        while not self._waiting:
            if self._over:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        event = self._waiting.popleft()
        self._look()
        return event

    @contextmanager
    def roomier(self) -> Iterator[None]:
        """Have more room while somebody waits for what stands behind the events."""
        self._reasons_for_more += 1
        self._look()
        try:
            yield
        finally:
            self._reasons_for_more -= 1
            self._look()

    def hold_up_nobody(self) -> None:
        """Take note that the session ends: what finds no room is let go."""
        self._holds = False
        self._look()

    def end(self) -> None:
        """Take note that nothing more comes."""
        self._over = True
        self._arrived.set()
        self.hold_up_nobody()

    def _is_full(self) -> bool:
        most = _MAX_EVENTS_MEANWHILE if self._reasons_for_more else MAX_EVENTS
        return len(self._waiting) >= most

    def _look(self) -> None:
        if self._holds and self._is_full():
            self.room.clear()
        else:
            self.room.set()


class Line:
    """What a call has. The client moves it from socket to socket; ``CallSession`` speaks on it."""

    def __init__(
        self,
        request: SessionRequest,
        limits: Limits,
        time: Time,
        *,
        restart: bool,
        on_over: Callable[[Line], None],
    ) -> None:
        self.request = request
        self.limits: Final = limits
        self.time: Final = time
        self.restart: Final = restart
        self._on_over = on_over
        self.id = request.session_id
        self.core = ClientSession(request, limits, time.stamp)
        self.config: NegotiatedConfig = self.core.config
        self.socket: AspSocket | None = None
        self.inbox: Final = _Inbox()
        self.closed: SessionClosed | None = None
        self.over = asyncio.Event()
        self.ending = False
        """Whether the application has asked for the end."""
        self.failure: Exception | None = None
        """Why the application could not run a configuration, if it could not."""
        self.update_turn = asyncio.Lock()
        self._stage = _Stage.GONE
        self._had_session = False
        self._outcome: asyncio.Future[Event] | None = None
        self._update: asyncio.Future[ConfigSwitched] | None = None
        self._moved = asyncio.Event()
        self._acks_are_late = False
        self._comebacks = 0
        self._progress = (-1, -1)

    def hesitation(self, patience: Patience) -> float:
        """Return how long (s) to wait before a session is brought back: growing, without progress.

        A server that takes a session and drops it at once would otherwise be asked for ever.
        """
        progress = (self.core.received, self.core.outgoing.first)
        self._comebacks = self._comebacks + 1 if progress == self._progress else 0
        self._progress = progress
        return patience.delay(self._comebacks) if self._comebacks else 0.0

    # --- on and off a socket ----------------------------------------------------------------

    async def start_on(self, socket: AspSocket) -> Event:
        """Ask for a session there; return how that went."""
        self.core = ClientSession(self.request, self.limits, self.time.stamp)
        self._stage = _Stage.STARTING
        return await self._settle(socket, resume=False)

    async def resume_on(self, socket: AspSocket) -> Event:
        """Go on with the session there; return how that went."""
        return await self._settle(socket, resume=True)

    async def _settle(self, socket: AspSocket, *, resume: bool) -> Event:
        self.socket = socket
        self._outcome = asyncio.get_running_loop().create_future()
        begin = socket.connection.resume if resume else socket.connection.start
        begin(self.core, self.time.now())
        socket.expect()
        try:
            return await self._outcome
        finally:
            self._outcome = None

    def session(self) -> ClientSession | None:
        """Return the session to speak in; nothing, where there is none just now.

        Raises:
            SessionOver: there will be none any more.

        """
        if self.closed is not None:
            raise SessionOver(self.id, self.closed.reason)
        return self.core if self._stage in (_Stage.OPEN, _Stage.DETACHED) else None

    @property
    def attached(self) -> bool:
        """Whether there is a session, on a socket."""
        return self._stage is _Stage.OPEN

    def abandon(self) -> None:
        """Let go of a session whose start or resumption nobody waits for any more."""
        self._stage = _Stage.GONE
        wanted = self.core.open or self.core.state is SessionState.NEGOTIATING
        if wanted and self.core.link is not None:
            self._end_session("abandoned")

    def hang_up(self, reason: str) -> None:
        """Ask for the end of the session, if there is one."""
        core = self.session()
        if core is None:
            self.finish(SessionClosed(self.id, reason))
            return
        if core.state is SessionState.ENDING:
            return
        self._end_session(reason)
        if core.state is SessionState.CLOSED:  # a legacy server does not answer
            self.finish(SessionClosed(self.id, reason))

    def _end_session(self, reason: str) -> None:
        self.inbox.hold_up_nobody()
        self.core.end(self.time.now(), reason)
        if self.socket is not None:
            self.socket.expect()

    def finish(self, closed: SessionClosed) -> SessionClosed:
        """Take note that the call has no session, and will have none; return how it ended."""
        if self.closed is not None:
            return self.closed
        self.closed = closed
        self._stage = _Stage.GONE
        log_event(closed, legacy_mode=self.core.legacy_mode)
        self.inbox.put(closed)
        self.inbox.end()
        self._settled(closed)
        if self._update is not None and not self._update.done():
            self._update.set_exception(self.failure or SessionOver(self.id, closed.reason))
        self.over.set()
        self._moved.set()
        self._on_over(self)
        return closed

    # --- what happens -----------------------------------------------------------------------

    def take(self, event: Event) -> bool:
        """Take what has happened; tell whether the session that was open has lost its socket."""
        if not isinstance(event, SessionClosed):
            log_event(event, legacy_mode=self.core.legacy_mode)
        if isinstance(event, ConfigSwitched):
            self.config = event.config
        stage = self._stage
        if stage is _Stage.STARTING:
            self._take_while_starting(event)
        elif stage is _Stage.DETACHED:
            self._take_while_detached(event)
        elif stage is _Stage.OPEN:
            self._take_while_open(event)
        self._moved.set()
        return stage is _Stage.OPEN and self._stage is not _Stage.OPEN

    def _take_while_starting(self, event: Event) -> None:
        if isinstance(event, happened.SessionOpened):
            self._stage = _Stage.OPEN
            if self._had_session:
                log().warning(
                    "asp_session_restarted", session_id=self.core.id, old_session_id=self.id
                )
                self.inbox.put(SessionRestarted(self.id, self.core.id))
                self.inbox.put(event)
            self._had_session = True
            self.id, self.config = self.core.id, event.config
            self._settled(event)
        elif isinstance(event, _START_FAILURES) or (
            isinstance(event, happened.ErrorSent) and event.error.code in _BAD_ANSWERS
        ):
            self.abandon()
            self._settled(event)

    def _take_while_detached(self, event: Event) -> None:
        if isinstance(event, happened.SessionResumed):
            self._stage = _Stage.OPEN
            self.inbox.put(event)
            self._settled(event)
        elif isinstance(event, SessionClosed):
            self._stage = _Stage.GONE
            self._settled(event)
        elif isinstance(event, happened.SessionDetached):
            self._settled(event)
        elif not isinstance(event, happened.RequestTimedOut):
            self.inbox.put(event)

    def _take_while_open(self, event: Event) -> None:
        if isinstance(event, SessionClosed):
            self._stage = _Stage.GONE
            return
        if isinstance(event, happened.SessionDetached):
            self._stage = _Stage.DETACHED
        if self._update is not None and not self._update.done():
            self._answer_update(self._update, event)
        self.inbox.put(event)

    def _settled(self, event: Event) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(event)

    # --- updates ----------------------------------------------------------------------------

    @contextmanager
    def update_answer(self) -> Iterator[asyncio.Future[ConfigSwitched]]:
        """Give what will hold the answer to the update that was just sent."""
        self._update = asyncio.get_running_loop().create_future()
        try:
            yield self._update
        finally:
            self._update = None

    def _answer_update(self, update: asyncio.Future[ConfigSwitched], event: Event) -> None:
        if isinstance(event, ConfigSwitched) and event.cause != "turn_over":
            update.set_result(event)
        elif isinstance(event, happened.UpdateRejected | happened.ConfigMismatched):
            update.set_exception(refused(event))
        elif isinstance(event, happened.RequestTimedOut):
            update.set_exception(
                PeerUnreachable(
                    f"session {self.id!r}: no answer to {event.message_type} "
                    f"for {self.limits.update_timeout:g} s"
                )
            )

    # --- waiting ----------------------------------------------------------------------------

    async def moves(self) -> None:
        """Wait until something happens on the line."""
        self._moved.clear()
        await self._moved.wait()

    async def flush(self) -> None:
        """Wait until what was sent is on its way, or is kept, and there is room for more.

        A server that is there, and does not say what it has received, is not waited for twice.
        """
        patience = self.time.now() + _ACK_PATIENCE
        while not self.over.is_set():
            socket = self.socket if self.core.link is not None else None
            crowded = self.core.resumable and self.core.outgoing.crowded
            self._acks_are_late &= crowded
            if socket is not None and socket.full:
                await socket.progress()
            elif not crowded or (socket is not None and self._acks_are_late):
                return
            elif socket is None:
                await self.moves()
            else:
                try:
                    async with asyncio.timeout_at(patience):
                        await socket.progress()
                except TimeoutError:
                    self._acks_are_late = True


_START_FAILURES: Final = (
    happened.SessionRejected,
    happened.ConfigMismatched,
    happened.RequestTimedOut,
    happened.SessionClosed,
)


def refused(
    event: happened.SessionRejected | happened.UpdateRejected | happened.ConfigMismatched,
) -> AspRefused:
    """Return what an application gets for a rejection, or a configuration that is not the same."""
    if not isinstance(event, happened.ConfigMismatched):
        errors = event.errors or (
            protocol_error(ErrorCode.INTERNAL_ERROR, "the server rejected it, and said not why"),
        )
        return AspRefused(errors)
    mismatch = protocol_error(
        ErrorCode.CONFIG_DIGEST_MISMATCH,
        f"the server runs {event.theirs}, the client {event.ours}",
        ours=event.ours,
        theirs=event.theirs,
    )
    return AspRefused((mismatch,))
