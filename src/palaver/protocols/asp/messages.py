"""The messages of ASP, field by field: frozen, bounded, strict in their types.

Each class says who sends it (``sender``) and which feature both sides must have agreed on before
it may be sent (``feature``; none: it is of 1.0.0). Members that a version does not know are
ignored; members that are ``None`` do not travel.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

from palaver.protocols.asp.config import (
    AudioConfig,
    NegotiationMode,
    ProtocolCapabilities,
    SessionStatistics,
    VADConfig,
)
from palaver.protocols.asp.errors import (
    ErrorCode,
    JsonObject,
    ProtocolError,
    Rejection,
    field_error,
    protocol_error,
)
from palaver.protocols.asp.fields import (
    Count,
    Digest,
    Errors,
    Features,
    Id,
    Language,
    Milliseconds,
    Negotiated,
    Received,
    SessionId,
    Status,
    Text,
    Token,
    Version,
    Word,
)
from palaver.protocols.asp.text_frames import read_object, session_id_of

__all__ = [
    "MESSAGES",
    "ASPMessage",
    "AudioEndMessage",
    "AudioSpeechEndMessage",
    "AudioSpeechStartMessage",
    "CallActionMessage",
    "DtmfMessage",
    "Feature",
    "PlaybackMarkMessage",
    "ProtocolCapabilitiesMessage",
    "ProtocolErrorMessage",
    "ProtocolGoAwayMessage",
    "ResponseCancelMessage",
    "ResponseEndMessage",
    "ResponseStartMessage",
    "SessionAckMessage",
    "SessionConfirmMessage",
    "SessionEndMessage",
    "SessionEndedMessage",
    "SessionMessage",
    "SessionResumeMessage",
    "SessionResumedMessage",
    "SessionStartMessage",
    "SessionStartedMessage",
    "SessionUpdateMessage",
    "SessionUpdatedMessage",
    "Side",
    "TranscriptMessage",
    "TurnOverrideMessage",
    "parse_message",
]


class Side(StrEnum):
    """Who sends a message: the media server is the client, the agent the server."""

    CLIENT = "client"
    SERVER = "server"


class Feature(StrEnum):
    """What 1.1 adds. A feature holds where the server offered it and the client declared it."""

    AUDIO_OFFERS = "audio_offers"
    CONFIG_DIGEST = "config_digest"
    SPEECH_EVENTS = "speech_events"
    RESPONSE_CONTROL = "response_control"
    PLAYBACK_MARKS = "playback_marks"
    SESSION_RESUME = "session_resume"
    TURN_OVERRIDES = "turn_overrides"
    DTMF = "dtmf"
    CALL_ACTION = "call_action"
    GO_AWAY = "go_away"
    TRANSCRIPTS = "transcripts"


class ASPMessage(BaseModel):
    """Base of all messages: JSON in text frames of a WebSocket."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    message_type: ClassVar[str] = ""
    sender: ClassVar[frozenset[Side]] = frozenset()
    feature: ClassVar[Feature | None] = None

    timestamp: Annotated[
        str | None, Field(max_length=64, description="When it was sent (ISO 8601, UTC)")
    ] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Learn the type from the field that says it."""
        if "type" in cls.model_fields:
            cls.message_type = cls.model_fields["type"].default

    def to_json(self, timestamp: str | None = None) -> str:
        """Return one JSON object, ``type`` first; members that are ``None`` are left out.

        ``timestamp`` is when it is sent, where the message does not say so itself.
        """
        members = {"type": self.message_type} | self.model_dump(mode="json", exclude_none=True)
        if timestamp is not None:
            members.setdefault("timestamp", timestamp)
        return orjson.dumps(members).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the message that ``text`` holds.

        Raises:
            Rejection: it is not JSON, not of this type, or a field is wrong.

        """
        message = parse_message(text)
        if not isinstance(message, cls):
            kind = cls.message_type or cls.__name__
            raise Rejection(
                protocol_error(
                    ErrorCode.INVALID_MESSAGE_TYPE,
                    f"type: expected {kind}, not {message.message_type}",
                    pointer="/type",
                ),
                getattr(message, "session_id", None),
            )
        return message


class SessionMessage(ASPMessage):
    """Base of the messages that belong to one session."""

    session_id: SessionId


def _only_what_was_given(vad: VADConfig) -> dict[str, Any]:
    """Leave the rest to the peer: to its own values, or to those that are in force."""
    return vad.model_dump(mode="json", exclude_unset=True)


_CLIENT: Final = frozenset({Side.CLIENT})
_SERVER: Final = frozenset({Side.SERVER})
_BOTH: Final = _CLIENT | _SERVER


class ProtocolCapabilitiesMessage(ASPMessage):
    """What the server takes: the first message on every socket."""

    sender = _SERVER
    type: Literal["protocol.capabilities"] = "protocol.capabilities"
    version: Annotated[str, Field(max_length=32, description="Version of ASP")] = "1.0.0"
    capabilities: ProtocolCapabilities
    server_id: Annotated[str | None, Field(max_length=128, description="Name of the server")] = None

    @model_validator(mode="before")
    @classmethod
    def _one_version(cls, found: dict[str, Any]) -> dict[str, Any]:
        """Let the version that stands outside hold for the capabilities that name none."""
        inner = found.get("capabilities")
        if not isinstance(inner, dict):
            return found
        outside = cls.model_fields["version"].default
        return found | {"capabilities": {"version": found.get("version", outside)} | inner}


class ProtocolErrorMessage(ASPMessage):
    """Something of the peer was wrong; with ``session_id``, in that session."""

    sender = _BOTH
    type: Literal["protocol.error"] = "protocol.error"
    session_id: SessionId | None = None
    error: ProtocolError


class ProtocolGoAwayMessage(ASPMessage):
    """The server will close this socket: start no more sessions on it, end those that run."""

    sender = _SERVER
    feature = Feature.GO_AWAY
    type: Literal["protocol.go_away"] = "protocol.go_away"
    reason: Annotated[Word, Field(description="Why, such as `shutdown`")] = "shutdown"
    grace_ms: Annotated[Milliseconds, Field(description="Time (ms) until the socket closes")] = 0


class SessionStartMessage(SessionMessage):
    """The client asks for a session with this audio and this VAD."""

    sender = _CLIENT
    type: Literal["session.start"] = "session.start"
    call_id: Annotated[str | None, Field(max_length=256, description="Id of the call")] = None
    audio: AudioConfig = AudioConfig()
    vad: VADConfig = VADConfig()
    metadata: Annotated[JsonObject | None, Field(description="Anything; kept with the session")] = (
        None
    )
    version: Annotated[Version | None, Field(description="Version of ASP of the client (1.1)")] = (
        None
    )
    features: Annotated[Features | None, Field(description="Features that it knows (1.1)")] = None
    audio_offers: Annotated[
        tuple[AudioConfig, ...] | None,
        Field(
            min_length=1,
            max_length=16,
            strict=False,
            description="Audio in order of preference, in place of `audio` (1.1)",
        ),
    ] = None
    negotiation: Annotated[
        NegotiationMode | None,
        Field(description="What to do with audio that is not supported: nearest, or reject (1.1)"),
    ] = None

    _vad = field_serializer("vad")(_only_what_was_given)


class SessionStartedMessage(SessionMessage):
    """The server's answer: what both run now (``negotiated``), or why not (``errors``)."""

    sender = _SERVER
    type: Literal["session.started"] = "session.started"
    status: Status
    negotiated: Negotiated | None = None
    errors: Errors | None = None
    version: Annotated[Version | None, Field(description="Version that both use (1.1)")] = None
    features: Annotated[Features | None, Field(description="Features that both know (1.1)")] = None
    stream: Annotated[
        int | None, Field(ge=0, le=65_535, description="The session's number in `asp16` (1.1)")
    ] = None
    config_digest: Digest | None = None
    resume_token: Token | None = None
    resume_window_ms: Annotated[
        Milliseconds | None, Field(description="How long it can be resumed after a drop (1.1)")
    ] = None


class SessionConfirmMessage(SessionMessage):
    """The sender has applied the configuration; the digest is of what it runs."""

    sender = _CLIENT
    feature = Feature.CONFIG_DIGEST
    type: Literal["session.confirm"] = "session.confirm"
    config_digest: Digest


class SessionUpdateMessage(SessionMessage):
    """The client asks for other VAD values; what is left out stays as it is."""

    sender = _CLIENT
    type: Literal["session.update"] = "session.update"
    vad: Annotated[VADConfig, Field(description="Only the fields to change")] = VADConfig()
    scope: Annotated[
        Literal["session", "turn"] | None,
        Field(description="`turn`: only until the next utterance ends (1.1)"),
    ] = None

    _vad = field_serializer("vad")(_only_what_was_given)


class SessionUpdatedMessage(SessionMessage):
    """The answer to an update: what both run from the named audio message on."""

    sender = _SERVER
    type: Literal["session.updated"] = "session.updated"
    status: Status
    negotiated: Negotiated | None = None
    errors: Errors | None = None
    effective_seq: Annotated[
        Count | None,
        Field(description="Number of the client's first audio message under the new values"),
    ] = None
    effective_samples: Annotated[
        Count | None, Field(description="The same as samples since the session began")
    ] = None
    config_digest: Digest | None = None


class SessionEndMessage(SessionMessage):
    """The client ends the session."""

    sender = _CLIENT
    type: Literal["session.end"] = "session.end"
    reason: Annotated[Word | None, Field(description="Why, such as `call_hangup`")] = None


class SessionEndedMessage(SessionMessage):
    """The session is over: as the client asked, or as the server decided."""

    sender = _SERVER
    type: Literal["session.ended"] = "session.ended"
    duration_seconds: Annotated[float, Field(ge=0, le=1e9, description="How long it was (s)")] = 0.0
    statistics: SessionStatistics = SessionStatistics()
    reason: Annotated[Word | None, Field(description="Why, where the server ended it")] = None


class SessionAckMessage(SessionMessage):
    """How far the session's messages have arrived: the peer need not keep those any longer."""

    sender = _BOTH
    feature = Feature.SESSION_RESUME
    type: Literal["session.ack"] = "session.ack"
    received: Received


class SessionResumeMessage(SessionMessage):
    """A client goes on, on a new socket, with a session whose socket was lost."""

    sender = _CLIENT
    feature = Feature.SESSION_RESUME
    type: Literal["session.resume"] = "session.resume"
    resume_token: Token
    received: Received
    sending_from: Annotated[
        Count, Field(description="Number of the oldest message that the client still keeps")
    ]


class SessionResumedMessage(SessionMessage):
    """The server goes on as well: each side now sends again what the other has not received."""

    sender = _SERVER
    feature = Feature.SESSION_RESUME
    type: Literal["session.resumed"] = "session.resumed"
    status: Annotated[Literal["accepted", "rejected"], Field(description="How it came out")]
    received: Annotated[Received | None, Field()] = None
    sending_from: Annotated[
        Count | None, Field(description="Number of the oldest message that the server still keeps")
    ] = None
    resume_token: Annotated[
        Token | None,
        Field(description="For the next time; the one before is void once it is used"),
    ] = None
    errors: Errors | None = None


class AudioSpeechStartMessage(SessionMessage):
    """The sender has detected speech. The positions are of 1.1 (``speech_events``)."""

    sender = _BOTH
    type: Literal["audio.speech_start"] = "audio.speech_start"
    start_ms: Annotated[
        Milliseconds | None, Field(description="Media time (ms) at which it began")
    ] = None
    prefix_ms: Annotated[
        Milliseconds | None, Field(description="Audio (ms) before it that belongs to it")
    ] = None
    confirmed: Annotated[
        bool | None, Field(description="Whether it has lasted for `min_speech_ms`")
    ] = None


class AudioSpeechEndMessage(SessionMessage):
    """The speech has ended; or it was none (``discarded``). Always paired with a start."""

    sender = _BOTH
    type: Literal["audio.speech_end"] = "audio.speech_end"
    duration_ms: Annotated[Milliseconds | None, Field(description="How long it was (ms)")] = None
    start_ms: Annotated[
        Milliseconds | None, Field(description="Media time (ms) at which it began")
    ] = None
    end_ms: Annotated[
        Milliseconds | None, Field(description="Media time (ms) at which it ended")
    ] = None
    discarded: Annotated[bool | None, Field(description="Too short to be speech")] = None
    reason: Annotated[
        Word | None, Field(description="`silence`, `too_short`, `max_duration` or `committed`")
    ] = None


class AudioEndMessage(SessionMessage):
    """The utterance is complete: answer it now."""

    sender = _CLIENT
    type: Literal["audio.end"] = "audio.end"


class ResponseStartMessage(SessionMessage):
    """The server begins to answer; its audio follows."""

    sender = _SERVER
    type: Literal["response.start"] = "response.start"
    text: Annotated[Text, Field(description="What will be said, as far as it is known")] = ""
    response_id: Annotated[
        Id | None, Field(description="Id of the answer (`response_control`)")
    ] = None
    generation: Annotated[
        int | None,
        Field(ge=0, le=65_535, description="The answer's number in `asp16` (`response_control`)"),
    ] = None


class ResponseEndMessage(SessionMessage):
    """The answer is complete, or was interrupted. The members are of ``response_control``."""

    sender = _SERVER
    type: Literal["response.end"] = "response.end"
    response_id: Annotated[Id | None, Field(description="Id of the answer")] = None
    interrupted: Annotated[bool | None, Field(description="Whether it was cut short")] = None
    sent_ms: Annotated[Milliseconds | None, Field(description="Audio (ms) that was sent")] = None
    played_ms: Annotated[
        Milliseconds | None, Field(description="Audio (ms) that was heard, as far as it is known")
    ] = None
    reason: Annotated[Word | None, Field(description="Why it was cut short")] = None


class ResponseCancelMessage(SessionMessage):
    """The client stops an answer, and says how much of it was heard."""

    sender = _CLIENT
    feature = Feature.RESPONSE_CONTROL
    type: Literal["response.cancel"] = "response.cancel"
    response_id: Annotated[Id, Field(description="Id of the answer")]
    played_ms: Annotated[Milliseconds, Field(description="Audio (ms) of it that was heard")] = 0
    reason: Annotated[Literal["barge_in", "manual"], Field(description="Why")] = "manual"


class PlaybackMarkMessage(SessionMessage):
    """A place in an answer. The server sets it; the client says what became of it."""

    sender = _BOTH
    feature = Feature.PLAYBACK_MARKS
    type: Literal["playback.mark"] = "playback.mark"
    mark_id: Annotated[Id, Field(description="Id of the mark, chosen by the server")]
    response_id: Annotated[Id | None, Field(description="The answer that it stands in")] = None
    outcome: Annotated[
        Literal["played", "cleared"] | None,
        Field(description="From the client: all before it was heard, or was thrown away"),
    ] = None
    played_ms: Annotated[
        Milliseconds | None, Field(description="From the client: audio (ms) heard of the answer")
    ] = None


class TranscriptMessage(SessionMessage):
    """What was said, in words: what the caller was heard to say, or what the agent says.

    Of a piece that is not ``final`` the next one of the same role takes the place.
    """

    sender = _SERVER
    feature = Feature.TRANSCRIPTS
    type: Literal["transcript"] = "transcript"
    role: Annotated[Literal["user", "agent"], Field(description="Who said it")]
    text: Annotated[Text, Field(description="What was said")]
    final: Annotated[bool, Field(description="Whether it stays as it is")] = True
    task_id: Annotated[Id | None, Field(description="Id of the task that it belongs to")] = None
    response_id: Annotated[Id | None, Field(description="The answer that says it")] = None
    language: Annotated[Language | None, Field(description="Its language (BCP 47)")] = None


class TurnOverrideMessage(SessionMessage):
    """The server asks for other VAD values in the next turn, as for digits read aloud.

    The client answers with a ``session.update`` of scope ``turn``: only the client knows between
    which of its frames the values change.
    """

    sender = _SERVER
    feature = Feature.TURN_OVERRIDES
    type: Literal["turn.override"] = "turn.override"
    vad: Annotated[VADConfig, Field(description="Only the fields to change")]

    _vad = field_serializer("vad")(_only_what_was_given)


class DtmfMessage(SessionMessage):
    """The caller pressed a key."""

    sender = _CLIENT
    feature = Feature.DTMF
    type: Literal["dtmf"] = "dtmf"
    digit: Annotated[str, Field(pattern=r"^[0-9A-D*#]$", description="0-9, A-D, `*` or `#`")]
    duration_ms: Annotated[Milliseconds | None, Field(description="How long (ms)")] = None


class CallActionMessage(SessionMessage):
    """What to do with the call, once everything before it has been played."""

    sender = _SERVER
    feature = Feature.CALL_ACTION
    type: Literal["call.action"] = "call.action"
    action: Annotated[Literal["transfer", "hangup"], Field(description="What to do")]
    target: Annotated[str | None, Field(max_length=256, description="Where to transfer")] = None
    reason: Annotated[Text | None, Field(description="Why")] = None


MESSAGES: Final[dict[str, type[ASPMessage]]] = {
    message.message_type: message
    for message in (
        ProtocolCapabilitiesMessage,
        SessionStartMessage,
        SessionStartedMessage,
        SessionConfirmMessage,
        SessionUpdateMessage,
        SessionUpdatedMessage,
        SessionEndMessage,
        SessionEndedMessage,
        SessionAckMessage,
        SessionResumeMessage,
        SessionResumedMessage,
        AudioSpeechStartMessage,
        AudioSpeechEndMessage,
        AudioEndMessage,
        ResponseStartMessage,
        ResponseEndMessage,
        ResponseCancelMessage,
        PlaybackMarkMessage,
        TranscriptMessage,
        TurnOverrideMessage,
        DtmfMessage,
        CallActionMessage,
        ProtocolErrorMessage,
        ProtocolGoAwayMessage,
    )
}
"""Type → class, in the order of a session."""


def parse_message(text: str | bytes) -> ASPMessage:
    """Return the message that one text frame holds.

    Raises:
        Rejection: 1001, it is not JSON, or a field is missing or wrong; 1003, the type is
            unknown; 3001, a VAD parameter has the wrong type. The error points at the field.

    """
    found = read_object(text)
    session_id = session_id_of(found)
    kind = found["type"]
    message = MESSAGES.get(kind)
    if message is None:
        raise Rejection(
            protocol_error(
                ErrorCode.INVALID_MESSAGE_TYPE,
                f"type: there is no message {kind[:64]!r}",
                pointer="/type",
                supported=list(MESSAGES),
            ),
            session_id,
        )
    try:
        return message.model_validate_json(text)
    except ValidationError as error:
        raise Rejection(field_error(error), session_id) from None
