"""The server's end of a socket: it says what it takes, and answers what it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from palaver.protocols.asp import legacy
from palaver.protocols.asp.actions import ACTIONS, not_updated
from palaver.protocols.asp.config import VERSION, Framing, NegotiatedConfig, VADConfig
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.errors import (
    ErrorCode,
    ProtocolError,
    Rejection,
    close_code,
    protocol_error,
)
from palaver.protocols.asp.events import (
    Close,
    ErrorReceived,
    ErrorSent,
    Event,
    HandshakeFailed,
    LegacySuspected,
    MessageReceived,
    MessagesLost,
    SessionDetached,
    SessionOpened,
    SessionRejected,
    SessionResumed,
)
from palaver.protocols.asp.frames import AudioFrame
from palaver.protocols.asp.messages import (
    ASPMessage,
    Feature,
    ProtocolCapabilitiesMessage,
    ProtocolErrorMessage,
    ProtocolGoAwayMessage,
    SessionMessage,
    SessionResumedMessage,
    SessionResumeMessage,
    SessionStartedMessage,
    SessionStartMessage,
    SessionUpdateMessage,
    Side,
)
from palaver.protocols.asp.negotiation import ConfigRequest, Negotiation, negotiate, negotiate_vad
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import same_major, speaks_1_0
from palaver.protocols.asp.sessions import Sessions
from palaver.protocols.asp.states import LinkState
from palaver.protocols.asp.text_frames import session_id_of

__all__ = ["ServerConnection"]

_MINUTE: Final = 60.0
_GOING_AWAY: Final = 1001


class ServerConnection(Connection[ServerSession]):
    """One client. Its first output is ``protocol.capabilities``."""

    side = Side.SERVER

    def __init__(
        self,
        registry: Sessions,
        now: float,
        *,
        server_id: str | None = None,
        on_output: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(registry.stamp, on_output)
        self.server_id = server_id
        self._registry = registry
        self._limits = registry.limits
        self._opened_at = now
        self._number = registry.count_socket()
        self._had_session = False
        self._suspect_at: float | None = now + self._limits.legacy_hint
        self._failed_starts: deque[float] = deque(maxlen=self._limits.max_failed_starts + 1)
        self._legacy = False
        """Whether the client that started a session last was a legacy one."""
        self._going: tuple[float, str] | None = None
        """When and why the socket closes, as long as the client could not be told."""
        capabilities = registry.capabilities
        self._send(
            ProtocolCapabilitiesMessage(
                version=capabilities.version, capabilities=capabilities, server_id=server_id
            ),
            now,
        )

    # --- what the shell does ----------------------------------------------------------------

    def go_away(self, now: float, grace: float, reason: str = "shutdown") -> None:
        """Tell the client that this socket closes in ``grace`` seconds, once it understands that.

        It does as soon as it has a session here in which that feature was agreed on.
        """
        self._going = (now + grace, reason)
        self._announce(now)

    def shut_down(self, now: float, reason: str = "shutdown") -> list[Event]:
        """End every session of the socket, and close it."""
        events: list[Event] = []
        for session in tuple(self.sessions.values()):
            events += self._registry.close(session, now, reason)
        self.put(Close(_GOING_AWAY, reason))
        return events

    def closed(self, now: float) -> list[Event]:
        """Let sessions that can be resumed wait for that; end the others."""
        self.state = LinkState.CLOSED
        events: list[Event] = []
        for session in tuple(self.sessions.values()):
            if session.resumable and session.open:
                session.leave()
                session.detached_at = now
                events.append(SessionDetached(session.id))
            else:
                events += self._registry.forget(session, now, "connection_lost")
        return events

    def next_timeout(self) -> float | None:
        """Return when the handshake is late; sessions have their time from ``Sessions``."""
        if self._had_session or self.closing is not None or self.state is LinkState.CLOSED:
            return None
        late = self._opened_at + self._limits.handshake_timeout
        return late if self._suspect_at is None else min(late, self._suspect_at)

    def handle_timeout(self, now: float) -> list[Event]:
        """Give up a client that starts no session (1002)."""
        due = self.next_timeout()
        if due is None or now < due:
            return []
        if self._suspect_at is not None and now >= self._suspect_at:
            self._suspect_at = None
            if now < self._opened_at + self._limits.handshake_timeout:
                return [LegacySuspected()]
        seconds = self._limits.handshake_timeout
        error = protocol_error(
            ErrorCode.HANDSHAKE_TIMEOUT, f"no session was started within {seconds:g} s"
        )
        return self._give_up(error, now, None)

    # --- in ---------------------------------------------------------------------------------

    def _receive_special(self, found: dict[str, Any], text: str, now: float) -> list[Event] | None:
        self._suspect_at = None
        if legacy.is_legacy_start(found):
            return self._start_legacy(found, text, now)
        session = self.sessions.get(session_id_of(found) or "")
        if session is not None:
            self._hear(session, now)
        if found["type"] == SessionStartMessage.message_type:
            return self._receive_start(found, text, now)
        if session is not None and found["type"] == SessionUpdateMessage.message_type:
            wrong = _wrong_update(text)
            if wrong is not None:  # it has its answer all the same: the client waits for it
                self._count(found, now)
                session.received_step(SessionUpdateMessage.message_type)
                return not_updated(session, wrong, now)
        return None

    def _dispatch(self, message: ASPMessage, now: float) -> list[Event]:
        if isinstance(message, SessionResumeMessage):
            return self._resume(message, now)
        session_id = getattr(message, "session_id", None) or ""
        session = self.sessions.get(session_id)
        if session is None and isinstance(message, ProtocolErrorMessage):
            return [ErrorReceived(message.session_id, message.error)]  # is never answered
        if session is None:
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_NOT_FOUND,
                    f"there is no session {session_id!r} on this socket",
                ),
                session_id,
            )
        session.received_step(message.message_type)
        act = ACTIONS.get(message.message_type)
        if act is not None:
            return act(self._registry, session, message, now)
        # Those that have no action of their own belong to a session, and change nothing.
        return [MessageReceived(session.id, cast("SessionMessage", message))]

    def _hear(self, session: ServerSession, now: float) -> None:
        session.inbound.heard_at = now
        if len(session.tokens) > 1:
            # Whoever speaks on the new socket has the newest token: the one before it is void.
            del session.tokens[1:]

    def _receive_audio(self, session: ServerSession, frame: AudioFrame, now: float) -> list[Event]:
        session.inbound.heard_at = now
        if len(session.tokens) > 1:
            self._hear(session, now)
        inbound = session.inbound
        events = inbound.take(frame)
        if not inbound.run_ahead(frame, now):
            inbound.drop(frame)
            raise Rejection(
                protocol_error(
                    ErrorCode.AUDIO_RATE_EXCEEDED,
                    f"audio is more than {self._limits.max_audio_lead:g} s ahead of the clock",
                    max_lead_ms=round(self._limits.max_audio_lead * 1000),
                ),
                session.id,
            )
        inbound.expect_audio()  # it may come in one state alone
        return events

    def _stray_audio(self, frame: AudioFrame, now: float) -> list[Event]:
        key = frame.key
        which = f"hash {key.hex()}" if isinstance(key, bytes) else f"stream {key}"
        error = protocol_error(
            ErrorCode.SESSION_NOT_FOUND,
            f"audio of {which} ({frame.framing}): there is no such session on this socket",
        )
        return self._refuse_audio(Rejection(error), None, now)

    def _complain(self, session_id: str | None, error: ProtocolError, now: float) -> None:
        if self._legacy:
            self.put(legacy.error(session_id, error))
        else:
            super()._complain(session_id, error, now)

    # --- starting ---------------------------------------------------------------------------

    def _receive_start(self, found: dict[str, Any], text: str, now: float) -> list[Event]:
        session_id = session_id_of(found)
        if session_id in self.sessions:
            return self._refuse(_taken(session_id), now)
        try:
            message = SessionStartMessage.from_json(text)
        except Rejection as rejection:
            if session_id is None:
                return self._refuse(rejection, now)
            return self._reject(session_id, (rejection.error,), now)
        try:
            self._admit(message.session_id, message.version)
            return self._start(message, now)
        except Rejection as rejection:
            return self._reject(message.session_id, (rejection.error,), now)

    def _admit(self, session_id: str, version: str | None) -> None:
        if version is not None and not same_major(version):
            raise Rejection(
                protocol_error(
                    ErrorCode.VERSION_MISMATCH,
                    f"version: {version} cannot be understood; this is {VERSION}",
                    pointer="/version",
                    supported=[VERSION],
                )
            )
        self._registry.admit(session_id)

    def _start(self, message: SessionStartMessage, now: float) -> list[Event]:
        self._legacy = False
        offered = self._registry.capabilities.features
        declared = () if message.features is None else message.features
        features = frozenset(one for one in Feature if one in offered and one in declared)
        old = message.version is None or speaks_1_0(message.version)
        outcome = negotiate(
            ConfigRequest(
                message.audio,
                message.vad,
                (message.audio_offers or ()) if Feature.AUDIO_OFFERS in features else (),
                message.negotiation or ("adjust" if old else "strict"),
            ),
            self._registry.capabilities,
        )
        if outcome.config is None:
            return self._reject(message.session_id, outcome.errors, now)
        session = ServerSession(message.session_id, self._registry, now)
        session.peer_version, session.features = None if old else message.version, features
        session.call_id, session.metadata = message.call_id, message.metadata or {}
        session.received_step(message.message_type)
        self._open(session, outcome.config)
        session.sent_step(SessionStartedMessage.message_type)
        self._send(self._started(session, outcome), now)
        self._announce(now)
        return [self._opened(session, now)]

    def _open(self, session: ServerSession, config: NegotiatedConfig) -> None:
        """Give the session its place among all, and on this socket."""
        session.open_with(config, 0)
        self._make_room(session)
        session.configure = self._registry.configure
        session.run()
        session.open_with(config, self._registry.add(session))
        session.link, session.socket = self, self._number
        self.attach(session)

    def _opened(self, session: ServerSession, now: float) -> SessionOpened:
        first, self._had_session = not self._had_session, True
        return SessionOpened(
            session.id,
            session.config,
            session.legacy_mode,
            handshake_seconds=now - self._opened_at if first else None,
        )

    def _started(self, session: ServerSession, outcome: Negotiation) -> SessionStartedMessage:
        answer = SessionStartedMessage(
            session_id=session.id, status=outcome.status, negotiated=outcome.config
        )
        if session.peer_version is None and not session.features:
            return answer
        additions: dict[str, Any] = {
            "version": VERSION,
            "features": tuple(sorted(session.features)),
            "config_digest": session.digest,
        }
        if session.framing is Framing.ASP16:
            additions["stream"] = session.stream
        if session.resumable:
            session.tokens = [self._registry.new_token()]
            additions["resume_token"] = session.tokens[0]
            additions["resume_window_ms"] = round(self._limits.resume_window * 1000)
        return answer.model_copy(update=additions)

    def _start_legacy(self, found: dict[str, Any], text: str, now: float) -> list[Event]:
        self._legacy = True
        session_id = session_id_of(found)
        try:
            if session_id in self.sessions:
                raise _taken(session_id)
            start = legacy.read_start(text)
            self._admit(start.session_id, None)
            audio = legacy.requested_audio(start.audio_config, self._registry.capabilities)
            session = ServerSession(start.session_id, self._registry, now)
            session.legacy_mode = True
            session.call_id = start.call_id
            session.received_step(start.type)
            vad, _ = negotiate_vad(VADConfig(), self._registry.capabilities)
            config = NegotiatedConfig(audio=audio, vad=vad)
            self._open(session, config)
        except Rejection as rejection:
            self._complain(session_id, rejection.error, now)
            rejected = SessionRejected(session_id or "", (rejection.error,))
            return [rejected, *self._failed(rejection.error, now)]
        session.sent_step(SessionStartedMessage.message_type)
        self.put(legacy.started(session.id))
        return [self._opened(session, now)]

    def _reject(
        self, session_id: str, errors: tuple[ProtocolError, ...], now: float
    ) -> list[Event]:
        self._send(
            SessionStartedMessage(session_id=session_id, status="rejected", errors=errors), now
        )
        return [SessionRejected(session_id, errors), *self._failed(errors[0], now)]

    def _failed(self, error: ProtocolError, now: float) -> list[Event]:
        """Count a start that failed; close the socket when it was too often, or is final."""
        starts, most = self._failed_starts, self._limits.max_failed_starts
        starts.append(now)
        if len(starts) > most and now - starts[0] < _MINUTE:
            limit = protocol_error(
                ErrorCode.SESSION_LIMIT_REACHED,
                f"more than {most} starts failed within a minute",
                limit=most,
            )
            return self._give_up(limit, now, None)
        if error.recoverable or self.sessions:
            return []
        self.put(Close(close_code(ErrorCode(error.code)), error.name or ""))
        return [HandshakeFailed(error)]

    def _give_up(self, error: ProtocolError, now: float, session_id: str | None) -> list[Event]:
        """Say what is wrong; close the socket, unless others use it."""
        self._complain(session_id, error, now)
        if self.sessions:
            return [ErrorSent(session_id, error)]
        self.put(Close(close_code(ErrorCode(error.code)), error.name or ""))
        return [ErrorSent(session_id, error), HandshakeFailed(error)]

    def _announce(self, now: float) -> None:
        """Tell the client that the socket closes, if it does and the client understands that."""
        if self._going is None or not any(
            session.has(Feature.GO_AWAY) for session in self.sessions.values()
        ):
            return
        (at, reason), self._going = self._going, None
        grace_ms = max(0, round((at - now) * 1000))
        self._send(ProtocolGoAwayMessage(reason=reason, grace_ms=grace_ms), now)

    # --- going on ---------------------------------------------------------------------------

    def _resume(self, message: SessionResumeMessage, now: float) -> list[Event]:
        try:
            session = self._registry.resumable(
                message.session_id, message.resume_token, self._number
            )
            self._make_room(session)
            lost = session.settle(message.received, message.sending_from)
        except Rejection as rejection:
            self._send(
                SessionResumedMessage(
                    session_id=message.session_id, status="rejected", errors=(rejection.error,)
                ),
                now,
            )
            rejected = SessionRejected(message.session_id, (rejection.error,))
            return [rejected, *self._failed(rejection.error, now)]
        session.leave()
        session.link, session.socket = self, self._number
        session.detached_at = None
        session.inbound.heard_at = now
        self.attach(session)
        self._had_session = True
        session.tokens = [self._registry.new_token(), message.resume_token]
        session.received_step(message.message_type)
        self._send(
            SessionResumedMessage(
                session_id=session.id,
                status="accepted",
                received=session.received,
                sending_from=session.outgoing.first,
                resume_token=session.tokens[0],
            ),
            now,
        )
        replayed = session.outgoing.since(message.received)
        for kept in replayed:
            self.put(kept)
        self._announce(now)
        resumed: Event = SessionResumed(session.id, len(replayed))
        return [resumed, MessagesLost(session.id, lost)] if lost else [resumed]

    def _make_room(self, session: ServerSession) -> None:
        """See that the session can have a place on this socket.

        Raises:
            Rejection: 4003, there are as many as may be; 2007, ``seq14`` names no session, so
                it must be alone; 1005, its hash is that of another.

        """
        others = [one for one in self.sessions.values() if one is not session]
        if len(others) >= self._limits.max_sessions_per_socket:
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_LIMIT_REACHED,
                    f"this socket has {len(others)} sessions, which is the limit",
                    limit=self._limits.max_sessions_per_socket,
                )
            )
        if others and Framing.SEQ14 in (session.framing, *(one.framing for one in others)):
            raise Rejection(
                protocol_error(
                    ErrorCode.UNSUPPORTED_FRAMING,
                    "audio.framing: seq14 takes a socket of its own, and this one has sessions",
                    supported=[Framing.HASH12, Framing.ASP16],
                )
            )
        if (
            session.framing is Framing.HASH12
            and self._keys.get(session.key, session) is not session
        ):
            raise _taken(session.id)


def _wrong_update(text: str) -> ProtocolError | None:
    try:
        SessionUpdateMessage.from_json(text)
    except Rejection as rejection:
        return rejection.error
    return None


def _taken(session_id: str | None) -> Rejection:
    return Rejection(
        protocol_error(
            ErrorCode.SESSION_ALREADY_ACTIVE,
            f"session {session_id!r} is active on this socket: give each session an id of its own",
        ),
        session_id,
    )
