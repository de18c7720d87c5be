"""What each message of a server does to its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, cast

from palaver.protocols.asp.client_session import ClientSession
from palaver.protocols.asp.config import AudioConfig, Framing, NegotiatedConfig
from palaver.protocols.asp.errors import (
    ErrorCode,
    ProtocolError,
    Rejection,
    malformed,
    protocol_error,
)
from palaver.protocols.asp.events import (
    ConfigMismatched,
    ErrorReceived,
    ErrorSent,
    Event,
    MessageReceived,
    MessagesLost,
    SessionClosed,
    SessionOpened,
    SessionRejected,
    SessionResumed,
    UpdateRejected,
)
from palaver.protocols.asp.messages import (
    ASPMessage,
    Feature,
    ProtocolErrorMessage,
    SessionAckMessage,
    SessionEndedMessage,
    SessionEndMessage,
    SessionResumedMessage,
    SessionStartedMessage,
    SessionUpdatedMessage,
    TurnOverrideMessage,
)
from palaver.protocols.asp.session import Configure, Link
from palaver.protocols.asp.states import REJECTED, SessionState

__all__ = ["ANSWERS", "Answer", "abandoned", "cannot_begin", "over", "rejected"]


class _Socket(Link, Protocol):
    configure: Configure

    def has_room(self, session: ClientSession, audio: AudioConfig, stream: int) -> bool:
        """Tell whether its audio can be told from that of the others."""
        ...

    def attach(self, session: ClientSession) -> None:
        """Have what comes for the session find it."""
        ...


Answer: TypeAlias = Callable[[_Socket, ClientSession, ASPMessage, float], list[Event]]


def rejected(
    socket: _Socket, session: ClientSession, errors: tuple[ProtocolError, ...]
) -> list[Event]:
    """Let go of a session that never began."""
    session.waiting = None
    socket.release(session)
    session.link = None
    return [SessionRejected(session.id, errors)]


def over(
    socket: _Socket,
    session: ClientSession,
    reason: str,
    message: SessionEndedMessage | None = None,
) -> list[Event]:
    """Let go of a session that is over; ``message`` is the server's last one."""
    session.waiting = None
    session.state = SessionState.CLOSED
    socket.release(session)
    session.link = None
    if message is None:
        return [SessionClosed(session.id, reason)]
    return [SessionClosed(session.id, reason, message.duration_seconds, message.statistics)]


def abandoned(socket: _Socket, session: ClientSession, reason: str, now: float) -> list[Event]:
    """Let go of a session that the server may have resumed: it must not keep it for nobody."""
    session.link = socket
    session.put(SessionEndMessage(session_id=session.id, reason=reason), now)
    return over(socket, session, reason)


def _on_started(
    socket: _Socket, session: ClientSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("SessionStartedMessage", message)
    refused = message.status == "rejected"
    session.received_step(message.message_type + (REJECTED if refused else ""))
    if refused:
        return rejected(socket, session, message.errors or ())
    if session.state is SessionState.ENDING:
        return []  # nobody waits for it any longer; its end has been sent already
    session.waiting = None
    try:
        config = _legal(message.negotiated, session.id)
        if config.audio.framing is Framing.ASP16 and message.stream is None:
            raise malformed("stream: missing, and asp16 needs it", "/stream", session.id)
        if not socket.has_room(session, config.audio, message.stream or 0):
            raise malformed("its audio cannot be told from another's", "/negotiated", session.id)
    except Rejection as rejection:
        return cannot_begin(session, rejection.error, now)
    session.peer_version = message.version
    session.features = session.request.features & {
        one for one in Feature if one in (message.features or ())
    }
    session.open_with(config, message.stream or 0)
    socket.attach(session)
    if message.resume_token is None:
        session.features -= {Feature.SESSION_RESUME}
    session.token = message.resume_token
    session.resume_window = (message.resume_window_ms or 0) / 1000
    session.configure = socket.configure
    try:
        session.run()
    except Rejection as rejection:
        return cannot_begin(session, rejection.error, now)
    mismatch = _compare(socket, session, message.config_digest, session.applied.digest, now)
    if mismatch:
        return mismatch
    session.confirm(now)
    return [SessionOpened(session.id, config, legacy_mode=False)]


def cannot_begin(session: ClientSession, error: ProtocolError, now: float) -> list[Event]:
    """End a session that the server has begun, and that cannot be run here."""
    session.tell(error, now)
    session.end(now, "invalid_answer")
    return [SessionRejected(session.id, (error,))]


def _on_updated(
    socket: _Socket, session: ClientSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("SessionUpdatedMessage", message)
    session.received_step(message.message_type)
    if message.status == "rejected":
        return _not_updated(session, message.errors or (), now)
    try:
        config = _legal(message.negotiated, session.id)
    except Rejection as rejection:
        session.tell(rejection.error, now)
        return _not_updated(session, (rejection.error,), now)
    config = config.model_copy(update={"audio": session.config.audio})
    try:
        applied = socket.configure(session.id, config)
    except Rejection as rejection:
        session.tell(rejection.error, now)
        sent: Event = ErrorSent(session.id, rejection.error)
        return [sent, *over(socket, session, rejection.error.name or "error")]
    mismatch = _compare(socket, session, message.config_digest, applied.digest, now)
    if mismatch:
        return mismatch
    events = session.updated(config)
    if session.config is config:
        session.applied = applied
    else:  # the turn that it was for is over already
        session.run()
    if session.open:
        session.confirm(now)
        session.override_next(now)
    return events


def _not_updated(
    session: ClientSession, errors: tuple[ProtocolError, ...], now: float
) -> list[Event]:
    events = session.updated(None)
    if events:  # a turn has ended meanwhile
        session.run()
    events.append(UpdateRejected(session.id, errors))
    session.override_next(now)
    return events


def _on_resumed(
    socket: _Socket, session: ClientSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("SessionResumedMessage", message)
    session.received_step(message.message_type)
    if session.link is not None:
        raise Rejection(
            protocol_error(
                ErrorCode.SESSION_UPDATE_NOT_ALLOWED,
                "session.resumed is not allowed where nothing was to be resumed",
                state=str(session.state),
            ),
            session.id,
        )
    if message.status == "rejected" or message.received is None:
        return over(socket, session, "resume_refused")
    try:
        lost = session.settle(message.received, message.sending_from or 0)
    except Rejection as rejection:
        return [
            ErrorSent(session.id, rejection.error),
            *abandoned(socket, session, "resume_refused", now),
        ]
    session.token = message.resume_token or session.token
    session.resume_until = None
    session.link = socket
    socket.attach(session)
    replayed = session.outgoing.since(message.received)
    for kept in replayed:
        socket.put(kept)
    session.outgoing.release()
    session.wait_again(now)
    resumed: Event = SessionResumed(session.id, len(replayed))
    return [resumed, MessagesLost(session.id, lost)] if lost else [resumed]


def _on_ended(
    socket: _Socket, session: ClientSession, message: ASPMessage, _now: float
) -> list[Event]:
    message = cast("SessionEndedMessage", message)
    session.received_step(message.message_type)
    return over(socket, session, message.reason or "ended", message)


def _on_ack(
    _socket: _Socket, session: ClientSession, message: ASPMessage, _now: float
) -> list[Event]:
    session.received_step(message.message_type)
    session.acknowledged(cast("SessionAckMessage", message).received)
    return []


def _on_error(
    socket: _Socket, session: ClientSession, message: ASPMessage, _now: float
) -> list[Event]:
    error = cast("ProtocolErrorMessage", message).error
    session.received_step(message.message_type)
    received: Event = ErrorReceived(session.id, error)
    if session.state is SessionState.IDLE:
        return [received, *rejected(socket, session, (error,))]
    return [received]


def _on_override(
    _socket: _Socket, session: ClientSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("TurnOverrideMessage", message)
    session.received_step(message.message_type)
    session.override(message.vad, now)
    return [MessageReceived(session.id, message)]


def _compare(
    socket: _Socket, session: ClientSession, theirs: str | None, ours: str, now: float
) -> list[Event]:
    """End a session whose two sides run different configurations."""
    if theirs is None or theirs == ours or not session.has(Feature.CONFIG_DIGEST):
        return []
    error = protocol_error(
        ErrorCode.CONFIG_DIGEST_MISMATCH,
        f"the server runs {theirs}, the client {ours}",
        ours=ours,
        theirs=theirs,
    )
    session.tell(error, now)
    return [
        ConfigMismatched(session.id, ours, theirs),
        *over(socket, session, "config_digest_mismatch"),
    ]


def _legal(config: NegotiatedConfig | None, session_id: str) -> NegotiatedConfig:
    """Return what the server says that both run, if that can be run.

    Raises:
        Rejection: 1001, it is missing, or out of what the specification allows.

    """
    if config is None:
        raise malformed("negotiated: missing", "/negotiated", session_id)
    wrong = [*config.audio.validate(), *config.vad.validate()]
    if wrong:
        raise malformed(f"negotiated: {wrong[0]}", "/negotiated", session_id)
    return config


ANSWERS: Final[Mapping[str, Answer]] = MappingProxyType(
    {
        "session.started": _on_started,
        "session.updated": _on_updated,
        "session.resumed": _on_resumed,
        "session.ended": _on_ended,
        "session.ack": _on_ack,
        "protocol.error": _on_error,
        "turn.override": _on_override,
    }
)
"""Message → what it does, where that is more than being handed on."""
