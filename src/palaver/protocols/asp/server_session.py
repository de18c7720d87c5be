"""A session as the server holds it: what the agent says to the caller goes through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from pydantic import ValidationError

from palaver.protocols.asp import legacy
from palaver.protocols.asp.config import SessionStatistics, VADConfig
from palaver.protocols.asp.errors import (
    ErrorCode,
    Misuse,
    ProtocolError,
    field_error,
    protocol_error,
)
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    CallActionMessage,
    Feature,
    PlaybackMarkMessage,
    ResponseEndMessage,
    ResponseStartMessage,
    SessionEndedMessage,
    Side,
    TranscriptMessage,
    TurnOverrideMessage,
)
from palaver.protocols.asp.session import Link, Session
from palaver.protocols.asp.states import SessionState

__all__ = ["Home", "Response", "ServerLink", "ServerSession"]


_MAX_SPOKEN: Final = 10_000
"""Characters of what is said, so that its message is legal whatever they are."""


class ServerLink(Link, Protocol):
    """The socket that a server's session is on."""

    congested: bool
    server_id: str | None
    """Who answers there, as the capabilities say it."""


class Home(Protocol):
    """All sessions of the server, as one of them sees them."""

    @property
    def limits(self) -> Limits:
        """What the server puts up with."""
        ...

    @property
    def stamp(self) -> Callable[[float], str]:
        """Spells a time for ``timestamp``."""
        ...

    def ended(self, session: ServerSession, now: float, reason: str) -> None:
        """Take note that a session is over."""
        ...


@dataclass(slots=True)
class Response:
    """An answer that is being said."""

    id: str
    generation: int
    started_at: float
    samples: int = 0


class ServerSession(Session[ServerLink]):
    """One call. The methods are what the agent's side may do; none of them waits.

    Where the peer does not know a feature, what it is for is left out: a call to a method of it
    then returns false and sends nothing.
    """

    side = Side.SERVER

    def __init__(self, session_id: str, home: Home, now: float) -> None:
        super().__init__(session_id, home.limits, home.stamp)
        self._home: Final = home
        self.socket = 0
        """Number of the socket that the session was on last."""
        self.started_at: Final = now
        self.ended_at = 0.0
        self.inbound.heard_at = now
        self.inbound.max_ahead = home.limits.max_audio_lead
        self.detached_at: float | None = None
        self.call_id: str | None = None
        self.metadata: dict[str, Any] = {}
        self.tokens: list[str] = []
        """What the session can be resumed with: the newest, and the one before it until the
        client has shown that it knows the newest."""
        self.response: Response | None = None
        self._responses = 0
        self._marks = 0
        self._speech_events = 0
        self.speaking = False
        self.barge_ins = 0
        self._committed_at: float | None = None
        self._latencies = 0
        self._latency_ms = 0.0

    # --- what the agent does ----------------------------------------------------------------

    def start_response(self, now: float, text: str = "") -> Response:
        """Begin to answer; an answer that is still being said ends as interrupted.

        Of a very long ``text`` the client is told the beginning.

        Raises:
            Misuse: the session is over.

        """
        self._must_be_open("response.start")
        if self.response is not None:
            self.end_response(now, interrupted=True, reason="superseded")
        self._responses += 1
        response = Response(f"r{self._responses}", self._responses & 0xFFFF, now)
        controlled = self.has(Feature.RESPONSE_CONTROL)
        text = text[:_MAX_SPOKEN]
        if self.legacy_mode:
            self.put_numbered(legacy.response_start(self.id, text))
        else:
            self.send(
                ResponseStartMessage(
                    session_id=self.id,
                    text=text,
                    response_id=response.id if controlled else None,
                    generation=response.generation if controlled else None,
                ),
                now,
            )
        self.response = response
        return response

    def send_audio(self, payload: bytes, now: float, flags: FrameFlags = FrameFlags.NONE) -> bool:
        """Say 1 to 10 whole frames; false where the answer was cancelled meanwhile.

        Raises:
            Misuse: these are no whole frames, or the session is over.

        """
        if self.response is None:
            return False
        data = self.pack_audio(payload, flags, self.response.generation)
        if self._committed_at is not None and self.response.started_at >= self._committed_at:
            self._latencies += 1
            self._latency_ms += (now - self._committed_at) * 1000
            self._committed_at = None
        self.response.samples += len(payload) // self.config.audio.sample_bytes
        self.put_numbered(data)
        return True

    def end_response(
        self,
        now: float,
        *,
        interrupted: bool = False,
        played_ms: int | None = None,
        reason: str | None = None,
    ) -> bool:
        """End the answer; false where there is none."""
        response, self.response = self.response, None
        if response is None:
            return False
        if self.legacy_mode:
            self.put_numbered(legacy.response_end(self.id))
        elif self.has(Feature.RESPONSE_CONTROL):
            sent_ms = response.samples * 1000 // self.config.audio.sample_rate
            self.send(
                ResponseEndMessage(
                    session_id=self.id,
                    response_id=response.id,
                    interrupted=interrupted,
                    sent_ms=sent_ms,
                    played_ms=played_ms,
                    reason=reason,
                ),
                now,
            )
        else:
            self.send(ResponseEndMessage(session_id=self.id), now)
        return True

    def mark(self, now: float) -> str | None:
        """Set a mark after the audio that was sent; the client will say what became of it."""
        if not self.has(Feature.PLAYBACK_MARKS):
            return None
        self._marks += 1
        mark_id = f"m{self._marks}"
        response = None if self.response is None else self.response.id
        self.send(
            PlaybackMarkMessage(session_id=self.id, mark_id=mark_id, response_id=response), now
        )
        return mark_id

    def override_turn(self, vad: VADConfig, now: float) -> bool:
        """Ask for other VAD values in the next turn; only the fields that were given."""
        if not self.has(Feature.TURN_OVERRIDES):
            return False
        self.send(TurnOverrideMessage(session_id=self.id, vad=vad), now)
        return True

    def act(
        self,
        action: Literal["transfer", "hangup"],
        now: float,
        *,
        target: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Do something with the call once everything before it has been played."""
        if not self.has(Feature.CALL_ACTION):
            return False
        self.send(
            CallActionMessage(session_id=self.id, action=action, target=target, reason=reason), now
        )
        return True

    def report_speech(
        self, message: AudioSpeechStartMessage | AudioSpeechEndMessage, now: float
    ) -> bool:
        """Tell the client what the server's own detector found."""
        if not self.has(Feature.SPEECH_EVENTS):
            return False
        self.send(message, now)
        return True

    def report_transcript(
        self,
        role: Literal["user", "agent"],
        text: str,
        now: float,
        *,
        final: bool = True,
        task_id: str | None = None,
        response_id: str | None = None,
        language: str | None = None,
    ) -> bool:
        """Tell the client in words what was said; of a very long ``text``, the beginning.

        Raises:
            Misuse: an id or the language is none, or the session is over.

        """
        if not self.has(Feature.TRANSCRIPTS):
            return False
        try:
            message = TranscriptMessage(
                session_id=self.id,
                role=role,
                text=text[:_MAX_SPOKEN],
                final=final,
                task_id=task_id,
                response_id=response_id,
                language=language,
            )
        except ValidationError as error:
            raise Misuse(field_error(error).message) from None
        self.send(message, now)
        return True

    def end(self, now: float, reason: str, error: ProtocolError | None = None) -> bool:
        """End the session from this side, at once; false where it is over already.

        ``SessionClosed`` comes when the server's ``Sessions`` are asked next what is due.
        """
        if not self.open:
            return False
        last = self.last_message(now, reason)
        if error is not None:
            self.tell(error, now)
        self.sent_step(last.message_type)
        if not self.legacy_mode:
            self.put(last, now)
        self._home.ended(self, now, reason)
        return True

    def fail(self, now: float, message: str) -> bool:
        """End the session because the agent's side broke (1006)."""
        return self.end(now, "error", protocol_error(ErrorCode.INTERNAL_ERROR, message))

    # --- what the connection does -----------------------------------------------------------

    @property
    def duration_limit(self) -> float:
        """When the session is over at the latest."""
        return self.started_at + self.limits.max_session_seconds

    def expires_at(self) -> float:
        """Return when the session is over if nothing more comes."""
        if self.detached_at is not None:
            return min(self.detached_at + self.limits.resume_window, self.duration_limit)
        return min(self.inbound.heard_at + self.limits.idle_timeout, self.duration_limit)

    def last_message(self, now: float, reason: str | None = None) -> SessionEndedMessage:
        """Return what the client is told last; one of 1.0.0 knows no ``reason``."""
        if self.peer_version is None:
            reason = None
        return SessionEndedMessage(
            session_id=self.id,
            duration_seconds=round(now - self.started_at, 3),
            statistics=self.statistics,
            reason=reason,
        )

    @property
    def statistics(self) -> SessionStatistics:
        """What the session was so far."""
        average = self._latency_ms / self._latencies if self._latencies else 0.0
        return SessionStatistics(
            audio_frames_received=self.inbound.frames,
            audio_frames_sent=self.frames_sent,
            vad_speech_events=self._speech_events,
            barge_in_count=self.barge_ins,
            average_response_latency_ms=round(average, 3),
        )

    def speech_began(self) -> None:
        """Count a start of speech; its confirmation is not another one."""
        self._speech_events += not self.speaking
        self.speaking = True

    def utterance_ended(self, now: float) -> None:
        """Begin to measure how long the answer takes."""
        self._committed_at = now

    def tell(self, error: ProtocolError, now: float) -> None:
        """Say that something of the client was wrong."""
        if self.legacy_mode:
            self.put_numbered(legacy.error(self.id, error))
        else:
            super().tell(error, now)

    def _must_be_open(self, step: str) -> None:
        if self.state is not SessionState.ACTIVE:
            raise Misuse(f"session {self.id!r} is {self.state}: {step} cannot be sent now")
