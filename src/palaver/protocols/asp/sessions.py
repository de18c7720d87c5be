"""All sessions of a server, on whichever socket they are, or on none while they wait for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hmac import compare_digest
from typing import Final

from palaver.protocols.asp.config import ProtocolCapabilities
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.events import Event, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Configure, apply_as_negotiated
from palaver.protocols.asp.states import SessionState

__all__ = ["Sessions"]

_STREAMS: Final = 65_536


class Sessions:
    """What the sockets of one server share: its sessions, by id and by stream.

    ``new_token`` returns a secret that nobody can guess, at each call another one; ``stamp``
    spells a time of ``now`` for ``timestamp``.
    """

    def __init__(
        self,
        capabilities: ProtocolCapabilities,
        limits: Limits,
        *,
        new_token: Callable[[], str],
        stamp: Callable[[float], str],
        configure: Configure = apply_as_negotiated,
    ) -> None:
        self.capabilities: Final = capabilities
        self.limits: Final = limits
        self.new_token: Final = new_token
        self.stamp: Final = stamp
        self.configure: Final = configure
        self.draining = False
        """Whether no session may begin any more."""
        self._by_id: dict[str, ServerSession] = {}
        self._untold: dict[ServerSession, SessionClosed] = {}
        """Sessions that the agent has ended, of which nobody was told yet."""
        self._streams: set[int] = set()
        self._last_stream = 0
        self._sockets = 0

    def count_socket(self) -> int:
        """Return the number of a socket that has been opened: each one's is greater."""
        self._sockets += 1
        return self._sockets

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[ServerSession]:
        return iter(tuple(self._by_id.values()))

    def get(self, session_id: str) -> ServerSession | None:
        """Return the session of that id, if there is one."""
        return self._by_id.get(session_id)

    def admit(self, session_id: str) -> None:
        """See that one more session may begin.

        Raises:
            Rejection: 1005, that id is taken; 4003, there are as many sessions as may be, or
                the server stops.

        """
        if session_id in self._by_id:
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_ALREADY_ACTIVE,
                    f"session {session_id!r} is active: give each session an id of its own",
                )
            )
        if self.draining:
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_LIMIT_REACHED, "the server is stopping: connect again"
                )
            )
        if len(self._by_id) >= min(self.limits.max_sessions, _STREAMS - 1):
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_LIMIT_REACHED,
                    f"the server holds {len(self._by_id)} sessions, which is the limit",
                    limit=self.limits.max_sessions,
                )
            )

    def add(self, session: ServerSession) -> int:
        """Keep a session; return a stream number that no other one has."""
        self._by_id[session.id] = session
        while True:
            self._last_stream = (self._last_stream + 1) % _STREAMS
            if self._last_stream not in self._streams:
                self._streams.add(self._last_stream)
                return self._last_stream

    def resumable(self, session_id: str, token: str, socket: int) -> ServerSession:
        """Return the session that the token resumes on the socket of that number.

        The token before the newest is no good on an older socket than the session has been on
        since: there it is a resumption that the client itself has given up.

        Raises:
            Rejection: 4006; whether the id or the token is wrong is not told.

        """
        session = self._by_id.get(session_id)
        known = [] if session is None else session.tokens[: 1 if socket < session.socket else None]
        if session is None or not any(
            compare_digest(token.encode(), one.encode()) for one in known
        ):
            raise Rejection(
                protocol_error(
                    ErrorCode.RESUME_REFUSED,
                    f"session {session_id!r} cannot be resumed with this token: start a new one",
                )
            )
        return session

    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` has something to do, if nothing else comes."""
        due = [session.expires_at() for session in self._by_id.values()]
        due += [session.ended_at for session in self._untold]
        return min(due, default=None)

    def handle_timeout(self, now: float) -> list[Event]:
        """End the sessions whose time is over, and tell of those that the agent has ended."""
        events: list[Event] = [*self._untold.values()]
        self._untold.clear()
        for session in self:
            if now < session.expires_at():
                continue
            if session.detached_at is not None and now < session.duration_limit:
                reason = "not_resumed"
            else:
                idle = now < session.duration_limit
                reason = "idle" if idle else "max_duration"
                limits = session.limits
                seconds = limits.idle_timeout if idle else limits.max_session_seconds
                what = "was idle for" if idle else "reached its longest time,"
                session.tell(
                    protocol_error(
                        ErrorCode.SESSION_EXPIRED,
                        f"session {session.id!r} {what} {seconds:g} s",
                    ),
                    now,
                )
            events += self.close(session, now, reason)
        return events

    def close(self, session: ServerSession, now: float, reason: str) -> list[Event]:
        """End a session from this side, and forget it."""
        session.end(now, reason)
        return self.forget(session, now, reason)

    def forget(self, session: ServerSession, now: float, reason: str) -> list[Event]:
        """Forget a session that has ended, or cannot go on."""
        if self.get(session.id) is session:
            self.ended(session, now, reason)
        closed = self._untold.pop(session, None)
        return [] if closed is None else [closed]

    def ended(self, session: ServerSession, now: float, reason: str) -> None:
        """Take note that a session is over; whoever asks next is told."""
        session.state = SessionState.CLOSED
        session.ended_at = now
        del self._by_id[session.id]
        self._streams.discard(session.stream)
        session.leave()
        last = session.last_message(now)
        self._untold[session] = SessionClosed(
            session.id, reason, last.duration_seconds, last.statistics
        )
