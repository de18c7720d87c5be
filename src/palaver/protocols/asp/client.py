"""The client's end of a socket: it waits for the capabilities, then starts sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from palaver.protocols.asp import legacy
from palaver.protocols.asp.answers import ANSWERS, abandoned, cannot_begin, over, rejected
from palaver.protocols.asp.client_session import ClientSession
from palaver.protocols.asp.config import (
    VERSION,
    AudioConfig,
    Framing,
    NegotiatedConfig,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.errors import (
    ErrorCode,
    Misuse,
    ProtocolError,
    Rejection,
    close_code,
    protocol_error,
)
from palaver.protocols.asp.events import (
    CapabilitiesReceived,
    Close,
    ErrorReceived,
    Event,
    HandshakeFailed,
    LegacyDetected,
    MessageReceived,
    PeerGoingAway,
    RequestTimedOut,
    SessionClosed,
    SessionDetached,
    SessionOpened,
)
from palaver.protocols.asp.frames import AudioFrame, frame_key
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    ASPMessage,
    ProtocolCapabilitiesMessage,
    ProtocolErrorMessage,
    ProtocolGoAwayMessage,
    SessionMessage,
    SessionResumeMessage,
    SessionStartedMessage,
    SessionStartMessage,
    SessionUpdateMessage,
    Side,
)
from palaver.protocols.asp.session import Configure, apply_as_negotiated, same_major
from palaver.protocols.asp.states import LINK, LinkState, SessionState
from palaver.protocols.asp.text_frames import session_id_of

__all__ = ["ClientConnection"]


class ClientConnection(Connection[ClientSession]):
    """One server. ``subprotocol`` says that it has selected ``asp.v1``: then it is no legacy one.

    ``assume_legacy`` says that it was a legacy server the last time: nothing is waited for.
    """

    side = Side.CLIENT

    def __init__(
        self,
        now: float,
        limits: Limits,
        *,
        stamp: Callable[[float], str],
        subprotocol: bool = False,
        assume_legacy: bool = False,
        configure: Configure = apply_as_negotiated,
        on_output: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(stamp, on_output)
        self.capabilities: ProtocolCapabilities | None = None
        self.legacy_mode = False
        self.going_away = False
        self._limits = limits
        self._subprotocol = subprotocol
        self.configure = configure
        self._remembered = assume_legacy and not subprotocol
        self._deadline = now if self._remembered else now + limits.capabilities_timeout

    # --- what the shell does ----------------------------------------------------------------

    def start(self, session: ClientSession, now: float) -> None:
        """Ask for a session; ``SessionOpened`` or ``SessionRejected`` follows.

        Raises:
            Misuse: the capabilities have not come, the server goes away, the id is in use, or the
                request cannot be spelled.

        """
        if self.state is not LinkState.CAPS_RECEIVED or self.going_away:
            raise Misuse("a session cannot be started: the server is not ready for one")
        if session.id in self.sessions:
            raise Misuse(f"session {session.id!r} is on this socket already")
        if self.capabilities is None:
            asked = session.request.audio
            audio = AudioConfig(
                sample_rate=asked.sample_rate, frame_duration_ms=asked.frame_duration_ms
            )
            text = legacy.start(session.id, session.request.call_id or session.id, audio)
        else:
            text = session.request.message(self.capabilities).to_json(self._stamp(now))
        session.sent_step(SessionStartMessage.message_type)
        session.wait_for(SessionStartMessage.message_type, now)
        session.link = self
        session.legacy_mode = self.capabilities is None
        self.sessions[session.id] = session
        if session.legacy_mode:
            session.open_with(NegotiatedConfig(audio=audio, vad=VADConfig()), 0)
            self.attach(session)
        self.put(text)

    def resume(self, session: ClientSession, now: float) -> None:
        """Go on with a session of a lost socket; ``SessionResumed`` or ``SessionClosed`` follows.

        Raises:
            Misuse: the session cannot be resumed.

        """
        if session.token is None or self.state is not LinkState.CAPS_RECEIVED:
            raise Misuse(f"session {session.id!r} cannot be resumed")
        if session.link is not None or session.id in self.sessions:
            raise Misuse(f"session {session.id!r} is on a socket already")
        session.sent_step(SessionResumeMessage.message_type)
        self.sessions[session.id] = session
        session.wait_for(SessionResumeMessage.message_type, now)
        self._send(
            SessionResumeMessage(
                session_id=session.id,
                resume_token=session.token,
                received=session.received,
                sending_from=session.outgoing.hold(),
            ),
            now,
        )

    def closed(self, now: float) -> list[Event]:
        """Keep sessions that can be resumed; the others are over."""
        self.state = LinkState.CLOSED
        events: list[Event] = []
        for session in tuple(self.sessions.values()):
            self.release(session)
            session.link = None
            session.outgoing.release()
            if session.resumable and session.state is not SessionState.CLOSED:
                if session.resume_until is None:
                    session.resume_until = now + session.resume_window
                events.append(SessionDetached(session.id))
            else:
                session.state = SessionState.CLOSED
                events.append(SessionClosed(session.id, "connection_lost"))
        return events

    def next_timeout(self) -> float | None:
        """Return when the capabilities, or the answer to a request, are late."""
        if self.state is LinkState.CLOSED or self.closing is not None:
            return None
        due = [self._deadline] if self.state is LinkState.CONNECTED else []
        due += [one.waiting.until for one in self.sessions.values() if one.waiting is not None]
        return min(due, default=None)

    def handle_timeout(self, now: float) -> list[Event]:
        """Take the server for a legacy one; give up requests without an answer."""
        events: list[Event] = []
        if self.closing is not None:
            return events
        if self.state is LinkState.CONNECTED and now >= self._deadline:
            if self._subprotocol:
                seconds = self._limits.capabilities_timeout
                return self._fail(
                    protocol_error(
                        ErrorCode.HANDSHAKE_TIMEOUT,
                        f"the server selected asp.v1, but sent no capabilities for {seconds:g} s",
                    )
                )
            events += self._take_for_legacy("remembered" if self._remembered else "timeout")
        for session in tuple(self.sessions.values()):
            waiting = session.waiting
            if waiting is not None and now >= waiting.until:
                events += self._late(session, waiting.message_type, now)
        return events

    # --- in ---------------------------------------------------------------------------------

    def _receive_special(self, found: dict[str, Any], text: str, now: float) -> list[Event] | None:
        events: list[Event] = []
        if found["type"] == ProtocolCapabilitiesMessage.message_type:
            return None
        if self.state is LinkState.CONNECTED:
            if self._subprotocol:
                return None
            events += self._take_for_legacy("first_message")
        if found["type"] == "error":
            problem = legacy.read_error(text)
            if problem is not None:
                self._count(found, now)
                return [*events, *self._legacy_error(problem, now)]
        session = self.sessions.get(session_id_of(found) or "")
        if session is not None and session.legacy_mode:
            return [*events, *self._receive_legacy(session, found, text, now)]
        return [*events, *self._receive_message(found["type"], text, now)] if events else None

    def _dispatch(self, message: ASPMessage, now: float) -> list[Event]:
        session_id = getattr(message, "session_id", None)
        if session_id is None:
            return self._dispatch_link(message)
        session = self.sessions.get(session_id)
        if session is None:
            return []  # of a session that is over here: the server had not heard of that
        answer = ANSWERS.get(message.message_type)
        if answer is not None:
            return answer(self, session, message, now)
        session.received_step(message.message_type)
        # Those that have no answer of their own belong to a session, and change nothing.
        return [MessageReceived(session.id, cast("SessionMessage", message))]

    def _dispatch_link(self, message: ASPMessage) -> list[Event]:
        if isinstance(message, ProtocolCapabilitiesMessage):
            return self._on_capabilities(message)
        if isinstance(message, ProtocolGoAwayMessage):
            self.going_away = True
            return [PeerGoingAway(message.reason, message.grace_ms)]
        return [ErrorReceived(None, cast("ProtocolErrorMessage", message).error)]

    def _receive_audio(self, session: ClientSession, frame: AudioFrame, now: float) -> list[Event]:
        del now
        return session.inbound.take(frame)

    def _stray_audio(self, frame: AudioFrame, now: float) -> list[Event]:
        del frame, now
        return []  # of a session that is over here: the server had not heard of that

    def _complain(self, session_id: str | None, error: ProtocolError, now: float) -> None:
        if self.capabilities is not None:  # a legacy server has no message for it
            super()._complain(session_id, error, now)

    # --- capabilities -----------------------------------------------------------------------

    def _on_capabilities(self, message: ProtocolCapabilitiesMessage) -> list[Event]:
        capabilities = message.capabilities
        if not same_major(message.version):
            return self._fail(
                protocol_error(
                    ErrorCode.VERSION_MISMATCH,
                    f"version: the server speaks {message.version}; this is {VERSION}",
                    supported=[VERSION],
                )
            )
        self.state = LINK[self.state][message.message_type]
        self.capabilities = capabilities
        self.legacy_mode = False
        return [CapabilitiesReceived(capabilities, message.server_id)]

    def _take_for_legacy(
        self, cause: Literal["timeout", "first_message", "remembered"]
    ) -> list[Event]:
        self.state = LINK[self.state]["legacy"]
        self.legacy_mode = True
        return [LegacyDetected(cause)]

    def _fail(self, error: ProtocolError) -> list[Event]:
        self.put(Close(close_code(ErrorCode(error.code)), error.name or ""))
        return [HandshakeFailed(error)]

    # --- sessions ---------------------------------------------------------------------------

    def has_room(self, session: ClientSession, audio: AudioConfig, stream: int) -> bool:
        """Tell whether the audio of a session can be told from that of the others here."""
        framing = audio.framing if isinstance(audio.framing, Framing) else Framing.HASH12
        others = [one for one in self.sessions.values() if one.open and one is not session]
        if others and Framing.SEQ14 in (framing, *(one.framing for one in others)):
            return False
        key = frame_key(framing, session.id, stream)
        return all(one.key != key or one.framing is not framing for one in others)

    def _late(self, session: ClientSession, message_type: str, now: float) -> list[Event]:
        late: Event = RequestTimedOut(session.id, message_type)
        session.waiting = None
        if message_type == SessionStartMessage.message_type:
            # The server may have it all the same: it must not keep a session that nobody has.
            session.end(now, "start_timeout")
            ended = session.state is SessionState.CLOSED  # a legacy server answers no end
            return [late, *over(self, session, "ended")] if ended else [late]
        if message_type == SessionUpdateMessage.message_type:
            return [late]  # its answer still decides from which frame on the values hold
        if message_type == SessionResumeMessage.message_type:
            return [late, *abandoned(self, session, f"{message_type}_timeout", now)]
        return [late, *over(self, session, f"{message_type}_timeout")]

    # --- legacy -----------------------------------------------------------------------------

    def _receive_legacy(
        self, session: ClientSession, found: dict[str, Any], text: str, now: float
    ) -> list[Event]:
        kind = found["type"]
        if kind == SessionStartedMessage.message_type:
            session.received_step(kind)
            session.waiting = None
            session.configure = self.configure
            try:
                session.run()
            except Rejection as rejection:
                return cannot_begin(session, rejection.error, now)
            return [SessionOpened(session.id, session.config, legacy_mode=True)]
        if kind in {"response.start", "response.end"}:
            return self._receive_message(kind, text, now)
        return []  # a legacy client knows no more

    def _legacy_error(self, problem: legacy.LegacyError, now: float) -> list[Event]:
        del now
        error = legacy.as_protocol_error(problem)
        received: Event = ErrorReceived(problem.session_id or None, error)
        session = self.sessions.get(problem.session_id or "")
        if session is not None and session.state is SessionState.NEGOTIATING:
            session.state = SessionState.IDLE
            return [received, *rejected(self, session, (error,))]
        return [received]
