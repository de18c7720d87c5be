"""One call: what is heard becomes turns, and turns become answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from palaver.engine.clock import new_id
from palaver.errors import ProviderError
from palaver.protocols.asp.call import Call
from palaver.protocols.asp.events import (
    AudioReceived,
    ConfigSwitched,
    Event,
    MessageReceived,
    SessionClosed,
    SessionDetached,
    SessionOpened,
    SessionResumed,
)
from palaver.protocols.asp.messages import (
    AudioEndMessage,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    DtmfMessage,
    PlaybackMarkMessage,
    ResponseCancelMessage,
)
from palaver.speech.answers import Answers, Outcome
from palaver.speech.batch import Ear, OnHeard
from palaver.speech.conversation import Conversation
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.joining import join
from palaver.speech.keypad import Keypad
from palaver.speech.reply import Question
from palaver.speech.studio import Studio
from palaver.speech.transcription import is_language, transcribe
from palaver.speech.turns import (
    CancelReply,
    Command,
    DropUtterance,
    HoldPlayback,
    ResumePlayback,
    StartTurn,
    Transcribe,
    TurnMachine,
)

__all__ = ["VoiceCall"]

_log = structlog.get_logger("palaver.voice")
_JUDGED: Final = 0.1
"""Seconds until it is looked again whether all that came before was judged."""


class VoiceCall:
    """Answers one call. It is told what happens, and never blocks.

    ``open_ear`` returns what hears it; ``on_closed`` is told when the call is over.
    """

    def __init__(
        self,
        call: Call,
        studio: Studio,
        open_ear: Callable[[OnHeard], Ear],
        machine: TurnMachine,
        *,
        default_agent: str,
        on_closed: Callable[[VoiceCall], None],
    ) -> None:
        self.session: Final = call.session
        self.agent_id: Final = call.agent_id or default_agent
        self.language: Final = _language(call, studio)
        self.conversation: Final = Conversation(new_id("conv"), new_id)
        self.answers: Final = Answers(
            call, studio, self, on_began=self._reply_began, on_over=self._reply_over
        )
        options = studio.options
        self._call = call
        self._studio = studio
        self._ear = open_ear(self.take_heard)
        self._machine = machine
        self._on_closed = on_closed
        self._keypad = Keypad(
            self._keyed_in, pause=options.digits_timeout, max_digits=options.max_digits
        )
        self._entries: list[tuple[SpeechEnded, str]] = []
        self._judging: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._judged: asyncio.TimerHandle | None = None
        self._spoken = False  # since the client said last that an utterance is over
        self._closed = False

    # --- what happens -----------------------------------------------------------------------

    def heard(self, event: Event) -> None:
        """Take an event of the call."""
        if type(event) is AudioReceived:
            self._ear.push(event.payload, event.samples)
        elif isinstance(event, MessageReceived):
            self._take_message(event)
        elif isinstance(event, ConfigSwitched):
            self._ear.switch(event.vad, event.samples)
        elif isinstance(event, SessionOpened):
            self._greet()
        elif isinstance(event, SessionDetached):
            self.answers.detach()
        elif isinstance(event, SessionResumed):
            self.answers.attach()

    def closed(self, event: SessionClosed) -> None:
        """Let go: the call is over. A task that works goes on; one that asks is cancelled."""
        del event
        self._closed = True
        for timer in (self._timer, self._judged):
            if timer is not None:
                timer.cancel()
        for judging in self._judging:
            judging.cancel()
        self._keypad.stop()
        self._machine.close()
        self.answers.close()
        self._ear.close()
        self._on_closed(self)

    def take_heard(self, events: Sequence[Heard]) -> None:
        """Take what the ear has found: it is told to the client, and turns are made of it."""
        for event in events:
            self._spoken |= isinstance(event, SpeechEnded) and not event.discarded
            if self.session.open:
                self._report(event)
                self._do(self._machine.heard(event, self._call.now()))

    # --- hearing ----------------------------------------------------------------------------

    def _take_message(self, event: MessageReceived) -> None:
        message = event.message
        if isinstance(message, AudioEndMessage):
            self._commit()
        elif isinstance(message, AudioSpeechStartMessage | AudioSpeechEndMessage):
            self._take_report(message)
        elif isinstance(message, PlaybackMarkMessage):
            self.answers.marked(message)
        elif isinstance(message, ResponseCancelMessage):
            self.answers.cancelled_by_client(message)
        elif isinstance(message, DtmfMessage):
            self._keypad.press(message.digit)

    def _commit(self) -> None:
        """End the utterance, because the client says so."""
        speaking = self._ear.buffer.endpointer.speaking
        self._ear.commit()
        if not (speaking or self._spoken):
            self._note_nothing_said()
        self._spoken = False

    def _note_nothing_said(self) -> None:
        """Log that the client took for an utterance what was none, once all of it was judged."""
        buffer = self._ear.buffer
        if buffer.ready:
            if self._judged is None:
                loop = asyncio.get_running_loop()
                self._judged = loop.call_later(_JUDGED, self._all_judged)
            return
        levels = buffer.levels()
        _log.info(
            "voice_commit_without_speech",
            session_id=self.session.id,
            peak=round(levels.peak, 4),
            clipped=round(levels.clipped, 4),
            offset=round(levels.offset, 4),
        )

    def _all_judged(self) -> None:
        self._judged = None
        if not self._spoken:
            self._note_nothing_said()

    def _take_report(self, message: AudioSpeechStartMessage | AudioSpeechEndMessage) -> None:
        """Take what the client's detector found.

        Where both sides detect, ours holds: it takes the same decisions. The client's end of an
        utterance that is still open here ends it; that of one that has ended is an echo.
        """
        if isinstance(message, AudioSpeechEndMessage) and not message.discarded:
            self._commit()
            return
        if self._ear.buffer.endpointer.enabled:
            return
        at_ms = self._media_ms()
        start_ms = at_ms if message.start_ms is None else min(message.start_ms, at_ms)
        found: Heard
        if isinstance(message, AudioSpeechEndMessage):
            found = SpeechEnded(start_ms, at_ms, at_ms, "too_short")
        elif message.confirmed is False:
            found = SpeechStarted(start_ms, message.prefix_ms or 0, at_ms)
        else:
            found = SpeechConfirmed(start_ms, message.prefix_ms or 0, at_ms)
        self._do(self._machine.heard(found, self._call.now()))

    def _report(self, event: Heard) -> None:
        """Tell the client what was heard here, and count it."""
        session, now = self.session, self._call.now()
        if isinstance(event, SpeechEnded):
            session.speaking = False
            if not event.discarded:
                session.utterance_ended(now)
            _log.info(
                "voice_speech_ended",
                session_id=session.id,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                reason=event.reason,
            )
            ended = AudioSpeechEndMessage(
                session_id=session.id,
                duration_ms=event.duration_ms,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                discarded=event.discarded,
                reason=event.reason,
            )
            session.report_speech(ended, now)
            return
        session.speech_began()
        started = AudioSpeechStartMessage(
            session_id=session.id,
            start_ms=event.start_ms,
            prefix_ms=event.prefix_ms,
            confirmed=isinstance(event, SpeechConfirmed),
        )
        session.report_speech(started, now)

    def _keyed_in(self, digits: str) -> None:
        """Take keys for an utterance: what was keyed in interrupts, and is answered."""
        if not self.session.open:
            return
        at_ms = self._media_ms()
        entry = SpeechEnded(at_ms, at_ms, at_ms, "committed")
        self._entries.append((entry, digits))
        self._do(self._machine.heard(entry, self._call.now()))

    def _media_ms(self) -> int:
        return self.session.inbound.samples_received * 1000 // self.session.config.audio.sample_rate

    # --- turns ------------------------------------------------------------------------------

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case StartTurn():
                    self._start_turn(command)
                case CancelReply():
                    self.answers.stop(command.reply_id, command.reason)
                case HoldPlayback():
                    self.answers.hold(command.reply_id)
                case ResumePlayback():
                    self.answers.resume(command.reply_id)
                case Transcribe():
                    work = self._judge(command.utterance)
                    judging = asyncio.create_task(work, name="voice-judges")
                    self._judging.add(judging)
                    judging.add_done_callback(self._judging.discard)
                case DropUtterance():
                    self._take_entry(command.utterance)
                    self._studio.metrics.turns.labels(command.reason).inc()
                    where = {"session_id": self.session.id, "reason": command.reason}
                    _log.info("voice_speech_dropped", **where)
        self._set_timer()

    def _start_turn(self, turn: StartTurn) -> None:
        utterance = turn.utterance
        before, self.answers.unanswered = self.answers.unanswered, None
        keyed = self._take_entry(utterance)
        rate_hz = self.session.config.audio.sample_rate
        takes: tuple[bytes, ...] = (utterance.audio,)
        if before is not None and before.audio:
            # The caller went on before there was an answer: that may be one sentence, or two.
            takes = (join(before, utterance, rate_hz), utterance.audio)
        question = Question(takes=takes, rate_hz=rate_hz, text=keyed)
        self.answers.begin(turn.reply_id, question, utterance)

    def _take_entry(self, utterance: SpeechEnded) -> str | None:
        """Return what was keyed in, where the utterance is that; two may look the same."""
        for at, (entry, digits) in enumerate(self._entries):
            if entry is utterance:
                del self._entries[at]
                return digits
        return None

    async def _judge(self, utterance: SpeechEnded) -> None:
        """Find the words of a short utterance over an answer, for the backchannel filter."""
        rate_hz = self.session.config.audio.sample_rate
        text = ""
        try:
            text = (await transcribe(self._studio, (utterance.audio,), rate_hz, self.language)).text
        except ProviderError as error:
            _log.warning("voice_transcription_failed", session_id=self.session.id, error=str(error))
        self._do(self._machine.transcribed(utterance, text, self._call.now()))

    def _reply_began(self, reply_id: str, interruptible: bool) -> None:  # noqa: FBT001 # a callback
        now = self._call.now()
        self._do(self._machine.reply_began(reply_id, now, interruptible=interruptible))

    def _reply_over(self, reply_id: str, outcome: Outcome) -> None:
        now, machine = self._call.now(), self._machine
        if outcome == "finished":
            self._do(machine.reply_finished(reply_id, now))
        elif outcome == "failed":
            self._do(machine.reply_failed(reply_id, now))
        else:
            self._do(machine.reply_cancelled(reply_id, now))

    def _greet(self) -> None:
        greeting = self._studio.options.greeting
        # A call that comes back after a transfer, or on another socket, was greeted before.
        if greeting and not self.session.metadata.get("transfer_retry"):
            self.answers.announce(greeting, interruptible=False)

    # --- time -------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._machine.next_timeout()
        if due is not None and not self._closed:
            delay = max(0.0, due - self._call.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._do(self._machine.handle_timeout(self._call.now()))


def _language(call: Call, studio: Studio) -> str | None:
    """Return what the caller speaks, where the client or the settings say it."""
    said = call.session.metadata.get("language")
    if is_language(said):
        return str(said)
    return studio.options.language
