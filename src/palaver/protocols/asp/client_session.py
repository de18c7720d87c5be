"""A session as the client holds it: what the media server says for the caller goes through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from palaver.protocols.asp import legacy
from palaver.protocols.asp.config import (
    VERSION,
    AudioConfig,
    NegotiatedConfig,
    NegotiationMode,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import Misuse, field_error
from palaver.protocols.asp.events import ConfigSwitched, Event
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioEndMessage,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    DtmfMessage,
    Feature,
    PlaybackMarkMessage,
    ResponseCancelMessage,
    SessionConfirmMessage,
    SessionEndMessage,
    SessionStartMessage,
    SessionUpdateMessage,
    Side,
)
from palaver.protocols.asp.session import Link, Session, speaks_1_0
from palaver.protocols.asp.states import SessionState

__all__ = ["ClientSession", "SessionRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What a client asks for. ``features`` are those that it knows."""

    session_id: str
    call_id: str | None = None
    audio: AudioConfig = field(default_factory=AudioConfig)
    vad: VADConfig = field(default_factory=VADConfig)
    metadata: dict[str, Any] | None = None
    audio_offers: tuple[AudioConfig, ...] = ()
    negotiation: NegotiationMode | None = None
    features: frozenset[Feature] = frozenset(Feature)

    def message(self, capabilities: ProtocolCapabilities) -> SessionStartMessage:
        """Return the start for that server; a server of 1.0.0 sees nothing of 1.1."""
        old = speaks_1_0(capabilities.version)
        # Spelled out, all of it: what is not said cannot be agreed on.
        vad = VADConfig(**self.vad.over(capabilities.vad_defaults).model_dump())
        try:
            start = SessionStartMessage(
                session_id=self.session_id,
                call_id=self.call_id,
                audio=self.audio.model_copy(update={"framing": None}) if old else self.audio,
                vad=vad,
                metadata=self.metadata,
            )
        except ValidationError as error:
            raise Misuse(field_error(error).message) from None
        if old:
            return start
        offers = self.audio_offers or None
        return start.model_copy(
            update={
                "version": VERSION,
                "features": tuple(sorted(self.features)),
                "audio_offers": offers if Feature.AUDIO_OFFERS in capabilities.features else None,
                "negotiation": self.negotiation,
            }
        )


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request without an answer yet."""

    message_type: str
    until: float


class ClientSession(Session[Link]):
    """One call. The methods are what the media server's side may do; none of them waits."""

    side = Side.CLIENT

    def __init__(
        self, request: SessionRequest, limits: Limits, stamp: Callable[[float], str]
    ) -> None:
        super().__init__(request.session_id, limits, stamp)
        self.request = request
        self.token: str | None = None
        self.resume_until: float | None = None
        """Until when the server keeps the session, where the socket is lost."""
        self.resume_window = 0.0
        self.waiting: _Waiting | None = None
        self.undecided_from: int | None = None
        """Number of the first audio message of which it is not known yet under which VAD values
        it falls; detection waits there until the update is answered."""
        self._undecided_samples = 0
        self._update: SessionUpdateMessage | None = None
        self._turn_over: ConfigSwitched | None = None
        self._override: VADConfig | None = None

    # --- what the media server does ---------------------------------------------------------

    def send_audio(self, payload: bytes, now: float, flags: FrameFlags = FrameFlags.NONE) -> int:
        """Send 1 to 10 whole frames; return the number of the audio message.

        Raises:
            Misuse: these are no whole frames, or the session takes no audio now.

        """
        del now
        seq = self.next_seq
        self.put_numbered(self.pack_audio(payload, flags, 0))
        return seq

    def commit(self, now: float) -> ConfigSwitched | None:
        """Say that the utterance is complete (``audio.end``)."""
        self.send(AudioEndMessage(session_id=self.id), now)
        return self._leave_turn()

    def report_speech(
        self, message: AudioSpeechStartMessage | AudioSpeechEndMessage, now: float
    ) -> ConfigSwitched | None:
        """Say what the client's detector found; the end of an utterance ends the turn.

        A legacy server knows of nothing but the end of an utterance.
        """
        if self.legacy_mode:
            return self.commit(now) if _ends_utterance(message) else None
        if not self.has(Feature.SPEECH_EVENTS):
            # Such a server would take a cough for a turn: it hears of speech that is confirmed.
            if getattr(message, "confirmed", None) is False or getattr(message, "discarded", False):
                return None
            message = message.model_copy(update=dict.fromkeys(_POSITIONS))
        self.send(message, now)
        return self._leave_turn() if _ends_utterance(message) else None

    def update(self, vad: VADConfig, now: float, *, for_turn: bool = False) -> None:
        """Ask for other VAD values, from the next frame on; only the fields that were given.

        Raises:
            Misuse: an update has no answer yet, the server is a legacy one, or knows no
                values for a turn.

        """
        if self.legacy_mode:
            raise Misuse("a legacy server has no session.update")
        if for_turn and not self.has(Feature.TURN_OVERRIDES):
            raise Misuse("the server does not know values for a turn")
        message = SessionUpdateMessage(
            session_id=self.id,
            vad=vad,
            scope="turn" if for_turn else None,
        )
        self.send(message, now)
        self._update = message
        self.undecided_from = self.next_seq
        self._undecided_samples = self.samples_sent
        self._wait_here(message.message_type, now + self.limits.update_timeout)

    def end(self, now: float, reason: str = "call_hangup") -> None:
        """End the session; a legacy server does not answer that, so there it is over at once.

        Raises:
            Misuse: it is over already.

        """
        if self.legacy_mode:
            self.sent_step("session.end")
            self.state = SessionState.CLOSED
            self.put_numbered(legacy.ended_by_client(self.id, reason))
            self.leave()
            return
        self.send(SessionEndMessage(session_id=self.id, reason=reason), now)
        self._wait_here("session.end", now + self.limits.end_timeout)

    def cancel_response(
        self,
        response_id: str,
        played_ms: int,
        now: float,
        reason: Literal["barge_in", "manual"] = "barge_in",
    ) -> bool:
        """Stop an answer of which the caller heard that much; false where nobody can be told."""
        if not self.has(Feature.RESPONSE_CONTROL):
            return False
        self.send(
            ResponseCancelMessage(
                session_id=self.id, response_id=response_id, played_ms=played_ms, reason=reason
            ),
            now,
        )
        return True

    def report_mark(
        self,
        mark: PlaybackMarkMessage,
        outcome: Literal["played", "cleared"],
        played_ms: int,
        now: float,
    ) -> bool:
        """Say what became of a mark; false where nobody can be told."""
        if not self.has(Feature.PLAYBACK_MARKS):
            return False
        self.send(
            PlaybackMarkMessage(
                session_id=self.id,
                mark_id=mark.mark_id,
                response_id=mark.response_id,
                outcome=outcome,
                played_ms=played_ms,
            ),
            now,
        )
        return True

    def press(self, digit: str, now: float, duration_ms: int | None = None) -> bool:
        """Say that the caller pressed a key; false where nobody can be told."""
        if not self.has(Feature.DTMF):
            return False
        self.send(DtmfMessage(session_id=self.id, digit=digit, duration_ms=duration_ms), now)
        return True

    # --- what the connection does -----------------------------------------------------------

    def wait_for(self, message_type: str, now: float) -> None:
        """Have the answer to a start or a resumption come in time."""
        self.waiting = _Waiting(message_type, now + self.limits.start_timeout)

    def wait_again(self, now: float) -> None:
        """After a resumption: have the answers come that were open before."""
        self.waiting = None
        if self.state is SessionState.UPDATING:
            self.waiting = _Waiting("session.update", now + self.limits.update_timeout)
        elif self.state is SessionState.ENDING:
            self.waiting = _Waiting("session.end", now + self.limits.end_timeout)

    def _wait_here(self, message_type: str, until: float) -> None:
        """Have an answer come in time; without a socket, it is the resumption that has to."""
        if self.link is not None:
            self.waiting = _Waiting(message_type, until)

    def override(self, vad: VADConfig, now: float) -> None:
        """Do what the server asks for in the next turn, once no update is open."""
        if self.state is SessionState.ACTIVE:
            self.update(vad, now, for_turn=True)
        else:
            self._override = vad

    def updated(self, config: NegotiatedConfig | None) -> list[Event]:
        """Run what the server answered, from the frame on at which it was asked; or what was."""
        update, self._update = self._update, None
        if self.state is not SessionState.ENDING:  # there it is the end that is waited for
            self.waiting = None
        first, self.undecided_from = self.undecided_from, None
        events: list[Event] = []
        if config is not None and update is not None and first is not None:
            for_turn = update.scope == "turn"
            self.switch(config, for_turn=for_turn)
            events.append(
                ConfigSwitched(
                    self.id,
                    first,
                    self._undecided_samples,
                    config,
                    "turn" if for_turn else "update",
                )
            )
        left, self._turn_over = self._turn_over, None
        over = self.end_turn() if left is not None else None
        if left is not None and over is not None:
            events.append(ConfigSwitched(self.id, left.seq, left.samples, over.config, "turn_over"))
        return events

    def override_next(self, now: float) -> None:
        """Ask for the override that had to wait for an answer."""
        override, self._override = self._override, None
        if override is not None and self.state is SessionState.ACTIVE:
            self.update(override, now, for_turn=True)

    def confirm(self, now: float) -> None:
        """Say what the client runs."""
        if self.has(Feature.CONFIG_DIGEST):
            self.send(
                SessionConfirmMessage(session_id=self.id, config_digest=self.applied.digest), now
            )

    def _leave_turn(self) -> ConfigSwitched | None:
        if self._update is not None:
            # It is not known yet what there is to go back to, or whether.
            self._turn_over = self._turn_over or self.switched("turn_over")
            return None
        over = self.end_turn()
        if over is not None:
            self.run()
        return over


def _ends_utterance(message: AudioSpeechStartMessage | AudioSpeechEndMessage) -> bool:
    return isinstance(message, AudioSpeechEndMessage) and not message.discarded


_POSITIONS = ("start_ms", "end_ms", "prefix_ms", "confirmed", "discarded", "reason")
