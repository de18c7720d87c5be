"""What each message of a client does to its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, cast

from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import ErrorCode, ProtocolError, Rejection, protocol_error
from palaver.protocols.asp.events import (
    ConfigMismatched,
    ErrorReceived,
    Event,
    MessageReceived,
    UpdateRejected,
)
from palaver.protocols.asp.messages import (
    ASPMessage,
    AudioEndMessage,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    Feature,
    ProtocolErrorMessage,
    ResponseCancelMessage,
    SessionAckMessage,
    SessionConfirmMessage,
    SessionEndMessage,
    SessionUpdatedMessage,
    SessionUpdateMessage,
)
from palaver.protocols.asp.negotiation import Negotiation, negotiate_vad
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.sessions import Sessions

__all__ = ["ACTIONS", "Action", "not_updated"]

Action: TypeAlias = Callable[[Sessions, ServerSession, ASPMessage, float], list[Event]]


def _on_update(
    sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("SessionUpdateMessage", message)
    for_turn = message.scope == "turn"
    if for_turn and not session.has(Feature.TURN_OVERRIDES):
        # What was meant for a turn must not hold for the rest of the call.
        error = protocol_error(
            ErrorCode.INVALID_MESSAGE_TYPE,
            "scope: turn needs the feature turn_overrides, which was not agreed on",
            pointer="/scope",
        )
        return not_updated(session, error, now)
    capabilities = sessions.capabilities
    if session.legacy_mode or not capabilities.vad_configurable:
        error = protocol_error(
            ErrorCode.VAD_NOT_CONFIGURABLE, "vad: the server does not let clients configure it"
        )
        return not_updated(session, error, now)
    base = session.config.vad if for_turn else session.lasting_vad
    vad, adjustments = negotiate_vad(message.vad.over(base), capabilities)
    asked = message.vad.model_fields_set
    adjustments = [one for one in adjustments if one.field.removeprefix("vad.") in asked]
    config = NegotiatedConfig(audio=session.config.audio, vad=vad, adjustments=tuple(adjustments))
    try:
        applied = session.configure(session.id, config)
    except Rejection as rejection:
        return not_updated(session, rejection.error, now)
    session.switch(config, for_turn=for_turn)
    session.applied = applied
    switched = session.switched("turn" if for_turn else "update")
    old = session.peer_version is None
    answer = SessionUpdatedMessage(
        session_id=session.id,
        status=Negotiation(config).status,
        negotiated=config,
        config_digest=session.digest,
    )
    if not old:
        numbers = {"effective_seq": switched.seq, "effective_samples": switched.samples}
        answer = answer.model_copy(update=numbers)
    session.send(answer, now)
    return [switched]


def not_updated(session: ServerSession, error: ProtocolError, now: float) -> list[Event]:
    """Answer an update that cannot be: everything stays as it is."""
    answer = SessionUpdatedMessage(session_id=session.id, status="rejected", errors=(error,))
    session.sent_step(answer.message_type)
    if session.legacy_mode:
        session.tell(error, now)
    else:
        session.put(answer, now)
    return [UpdateRejected(session.id, (error,))]


def _on_confirm(
    sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    theirs = cast("SessionConfirmMessage", message).config_digest
    ours = session.applied.digest
    if theirs == ours:
        return []
    error = protocol_error(
        ErrorCode.CONFIG_DIGEST_MISMATCH,
        f"the client runs {theirs}, the server {ours}",
        ours=ours,
        theirs=theirs,
    )
    session.end(now, "config_digest_mismatch", error)
    mismatch: Event = ConfigMismatched(session.id, ours, theirs)
    return [mismatch, *sessions.forget(session, now, "config_digest_mismatch")]


def _on_ack(
    _sessions: Sessions, session: ServerSession, message: ASPMessage, _now: float
) -> list[Event]:
    session.acknowledged(cast("SessionAckMessage", message).received)
    return []


def _on_error(
    sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    error = cast("ProtocolErrorMessage", message).error
    received: Event = ErrorReceived(session.id, error)
    if error.recoverable:
        return [received]
    reason = error.name or "error"
    return [received, *sessions.close(session, now, reason)]


def _on_end(
    sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    reason = cast("SessionEndMessage", message).reason or "ended_by_client"
    session.sent_step("session.ended")
    if not session.legacy_mode:
        session.put(session.last_message(now), now)
    return sessions.forget(session, now, reason)


def _on_cancel(
    _sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    cancel = cast("ResponseCancelMessage", message)
    response = session.response
    if response is None or response.id != cancel.response_id:
        return []  # it ended while the cancellation was on its way
    session.barge_ins += cancel.reason == "barge_in"
    session.end_response(now, interrupted=True, played_ms=cancel.played_ms, reason=cancel.reason)
    return [MessageReceived(session.id, cancel)]


def _on_speech_start(
    _sessions: Sessions, session: ServerSession, message: ASPMessage, _now: float
) -> list[Event]:
    session.speech_began()
    return [MessageReceived(session.id, cast("AudioSpeechStartMessage", message))]


def _on_utterance_end(
    _sessions: Sessions, session: ServerSession, message: ASPMessage, now: float
) -> list[Event]:
    message = cast("AudioSpeechEndMessage | AudioEndMessage", message)
    events: list[Event] = [MessageReceived(session.id, message)]
    session.speaking = False
    if isinstance(message, AudioSpeechEndMessage) and message.discarded:
        return events
    session.utterance_ended(now)
    turn_over = session.end_turn()
    if turn_over is not None:
        session.run()
        events.append(turn_over)
    return events


ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "session.update": _on_update,
        "session.confirm": _on_confirm,
        "session.ack": _on_ack,
        "session.end": _on_end,
        "protocol.error": _on_error,
        "response.cancel": _on_cancel,
        "audio.speech_start": _on_speech_start,
        "audio.speech_end": _on_utterance_end,
        "audio.end": _on_utterance_end,
    }
)
"""Message → what it does, where that is more than being handed on."""
