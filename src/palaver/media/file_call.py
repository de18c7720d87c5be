"""A call that is made with a file: it is sent, the answer is played, and the call is ended.

Each tick of the call sends one frame and plays one: media time is the same in both directions.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from palaver.client.asp import CallEvent, CallSession, SessionOver
from palaver.media import happenings as happened
from palaver.media.call_record import CallRecord, Figures, Turn
from palaver.media.frame_source import FrameSource
from palaver.media.happenings import CallEnded, Happening, Outcome
from palaver.media.player import Player
from palaver.protocols.asp import events
from palaver.protocols.asp.config import AudioEncoding, Framing
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    CallActionMessage,
    Feature,
    PlaybackMarkMessage,
    ResponseEndMessage,
    ResponseStartMessage,
    SessionMessage,
    TranscriptMessage,
)
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Samples

__all__ = ["Audience", "CallPatience", "FileCall", "Speaker"]

_LOST: Final = frozenset(
    {"connection_lost", "not_resumed", "resume_refused", "restart_failed", "shutdown"}
)
"""Ends of a session that nobody wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPatience:
    """How long the caller waits (s).

    ``quiet_after``: without anything new, until the answer counts as complete; ``give_up_after``:
    until the server counts as one that does not answer; ``max_answer``: from the end of the file
    to the end of the call, whatever is still being said; ``commit_after``: until a server that has
    reported nothing is told that the utterance is over, beyond the silence that should tell it.
    """

    commit_after: float = 2.0
    quiet_after: float = 2.0
    give_up_after: float = 30.0
    max_answer: float = 600.0


class Speaker(Protocol):
    """Where the answer sounds."""

    def play(self, frame: Samples | None) -> None:
        """Take the frame of this tick; ``None``: silence. It must not wait."""
        ...


class Audience(Protocol):
    """Who is told what happens, at its time (ms of the call)."""

    def take(self, at_ms: int, happening: Happening) -> None:
        """Take what has happened."""
        ...

    def ticked(self, now_ms: int) -> None:
        """Take that another frame was sent, and one was heard."""
        ...


class FileCall:
    """One call, of which ``audience`` is told.

    ``run`` ends the session. What was sent and heard stands in ``record``, also where it raises.
    """

    def __init__(
        self,
        session: CallSession,
        frames: FrameSource,
        player: Player,
        patience: CallPatience,
        *,
        audience: Audience,
        speaker: Speaker | None = None,
    ) -> None:
        self._session = session
        self._frames = frames
        self._player = player
        self._patience = patience
        self._audience = audience
        self._speaker = speaker
        self._loop = asyncio.get_running_loop()
        audio = session.config.audio
        self._encoding = AudioEncoding(audio.encoding)
        self._numbered = audio.framing is Framing.ASP16  # frames say of which answer they are
        self.record: Final = CallRecord(session.config)
        self._said_at: float | None = None
        self._said_ms = 0
        self._news_at = self._loop.time()
        self._has_news = False
        self._answered = False
        self._transcribed = False
        self._understood = False
        self._speaking = False
        self._owed = False
        self._awaits_audio = False
        self._action: CallActionMessage | None = None
        self._closed: events.SessionClosed | None = None
        self._listening: asyncio.Task[None] | None = None

    async def run(self) -> CallEnded:
        """Send the frames, play the answer, end the session; return how it came out.

        Raises:
            PeerError: the client itself has given up the session while something was said.

        """
        session = self._session
        listening = asyncio.create_task(self._listen(), name="file-call-listens")
        self._listening = listening
        features = tuple(sorted(session.features))
        self._note(happened.Negotiated(session.id, session.config, features, session.legacy_mode))
        try:
            ended = await self._talk()
            self._player.stop()
            if self._closed is None:
                with suppress(SessionOver):
                    await self._report_marks()
            self._note(ended)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        await session.end()
        return ended

    def figures(self) -> Figures:
        """Return the summary of the call so far."""
        audio, player, record = self._session.config.audio, self._player, self.record
        rate = audio.sample_rate
        return Figures(
            duration_ms=record.now_ms,
            frames_sent=record.frames_sent,
            frames_received=player.received // audio.samples_per_frame,
            received_ms=player.received * 1_000 // rate,
            played_ms=player.played * 1_000 // rate,
            cleared_ms=player.cleared * 1_000 // rate,
            late_frames=player.late_frames,
            lost_messages=player.lost_messages,
            first_audio_ms=record.first_audio_ms,
            turns=tuple(record.turns),
            responses=tuple(player.responses),
        )

    def hurries(self) -> bool:
        """Tell whether there is something that a call in a hurry need not wait for.

        That is sound to be played, and the silence by which the server knows that the file is over.
        """
        now_ms = self.record.now_ms
        silence_ms = self._session.config.vad.silence_threshold_ms + 500
        return self._player.ready(now_ms) or now_ms - self._said_ms < silence_ms

    # --- the ticks --------------------------------------------------------------------------

    async def _talk(self) -> CallEnded:
        ended = None
        async for samples in self._frames:
            self._play()
            try:
                await self._say(samples)
            except SessionOver:
                if not await self._is_closed():
                    return CallEnded("lost", "the session is over")
            except TimeoutError:
                seconds = self._patience.give_up_after
                return CallEnded("lost", f"the server has taken no audio for {seconds:g} s")
            self._audience.ticked(self.record.now_ms)
            ended = self._verdict(self._loop.time())
            if ended is not None:
                break
        return ended or CallEnded("lost", "there is nothing more to say")

    async def _is_closed(self) -> bool:
        """Tell whether the end of the session was told, which stands behind what came before it."""
        if self._listening is not None:
            await asyncio.wait({self._listening}, timeout=1.0)
        return self._closed is not None

    def _play(self) -> None:
        frame = self._player.play(self.record.now_ms)
        self.record.hear(frame)
        if frame is not None:
            self._news_at = self._loop.time()  # what is still heard is no silence
        if self._speaker is not None:
            self._speaker.play(frame)

    async def _say(self, samples: Samples) -> None:
        """Send a frame, and what the server is to know; nothing, once it has ended the session."""
        self.record.send(samples, self._loop.time())
        if self._closed is not None:
            return
        async with asyncio.timeout(self._patience.give_up_after):
            await self._session.send_audio(encode(samples, self._encoding))
            await self._report_marks()
            await self._finish_file()

    async def _report_marks(self) -> None:
        for mark in self._player.take_reports():
            self._note(happened.MarkReported(mark.mark_id, mark.outcome, mark.played_ms))
            message = PlaybackMarkMessage(
                session_id=self._session.id, mark_id=mark.mark_id, response_id=mark.response_id
            )
            await self._session.report_mark(message, mark.outcome, mark.played_ms)

    async def _finish_file(self) -> None:
        """Once all was said, see that the server knows."""
        if not self._frames.over:
            return
        now, vad = self._loop.time(), self._session.config.vad
        if self._said_at is None:
            self._said_at, self._said_ms = now, self.record.now_ms
            self._note(happened.FileSent(self._said_ms))
            if not (vad.enabled and Feature.SPEECH_EVENTS in self._session.features):
                await self._commit()
            return
        wait = self._patience.commit_after + vad.silence_threshold_ms / 1_000
        if not (self._has_news or self._owed) and now - self._said_at >= wait:
            await self._commit()  # a server without a detector of its own waits for that

    async def _commit(self) -> None:
        self._note(happened.Committed())
        self._owed = True
        self.record.add_turn(Turn(None, self._said_ms, None))
        await self._session.commit()

    def _verdict(self, now: float) -> CallEnded | None:
        """Tell whether the call is over, and how it came out."""
        outcome = self._outcome()
        if self._closed is not None:
            return self._ended_by_server(self._closed.reason, outcome)
        waits_long = now - self._news_at >= self._patience.give_up_after
        if self._action is not None and (self._player.idle or waits_long):
            if self._action.action == "transfer":
                where = self._action.target or "somebody else"
                return CallEnded("transferred", f"the server transfers the call to {where}")
            return CallEnded(outcome, "the server has hung up")
        return None if self._said_at is None else self._ended_by_time(now, self._said_at, outcome)

    def _outcome(self) -> Outcome:
        """Tell what the caller got so far. What was said in words shows what was understood."""
        if not self._answered:
            return "unanswered"
        return "not_understood" if self._transcribed and not self._understood else "answered"

    def _ended_by_server(self, reason: str, outcome: Outcome) -> CallEnded | None:
        if reason in _LOST:
            return CallEnded("lost", f"the session was lost: {reason}")
        if reason == "error":
            return CallEnded("failed", "the agent failed, and the server has ended the session")
        if not self._player.idle:
            return None  # what has come is heard to its end
        return CallEnded(outcome, f"the server has ended the session: {reason}")

    def _ended_by_time(self, now: float, said_at: float, outcome: Outcome) -> CallEnded | None:
        patience = self._patience
        quiet = now - max(self._news_at, said_at)
        if self._player.idle and not (self._speaking or self._owed) and self._answered:
            if quiet >= patience.quiet_after:
                return CallEnded(outcome, "the answer is complete")
        elif quiet >= patience.give_up_after:
            why = "nothing new" if self._answered else "no answer"
            return CallEnded(outcome, f"{why} for {patience.give_up_after:g} s")
        if now - said_at >= patience.max_answer:
            return CallEnded(outcome, f"the answer lasts over {patience.max_answer:g} s")
        return None

    # --- what the server says ---------------------------------------------------------------

    async def _listen(self) -> None:
        async for event in self._session:
            self._take(event)

    def _take(self, event: CallEvent) -> None:
        if isinstance(event, events.AudioReceived):
            self._hear(event)
        elif isinstance(event, events.MessageReceived):
            self._newly()
            self._take_message(event.message)
        elif isinstance(event, events.AudioMissing):
            self._player.miss(event.count)
        elif isinstance(event, events.ErrorReceived):
            self._note(happened.ErrorTold("server", event.error.code, event.error.message))
        elif isinstance(event, events.ErrorSent):
            self._note(happened.ErrorTold("client", event.error.code, event.error.message))
        elif isinstance(event, events.SessionDetached | events.SessionResumed):
            self._note(happened.LineChanged(lost=isinstance(event, events.SessionDetached)))
        elif isinstance(event, events.SessionClosed):
            self._closed = event
            self._player.end()

    def _newly(self) -> None:
        self._has_news = True
        self._news_at = self._loop.time()

    def _hear(self, event: events.AudioReceived) -> None:
        self._newly()
        samples = decode(event.payload, self._encoding)
        taken = self._player.receive(samples, event.generation if self._numbered else None)
        if taken and len(samples):
            self._answered = True
            if self._awaits_audio:
                self._first_audio()

    def _first_audio(self) -> None:
        self._awaits_audio = False
        response_id = self._player.responses[-1].response_id
        turn = self.record.turns[-1] if self.record.turns else None
        waited = None
        if turn is not None and turn.first_audio_ms is None:
            waited = self.record.since(turn.end_ms, self._loop.time())
            turn.first_audio_ms, turn.response_id = waited, response_id
            if self.record.first_audio_ms is None:
                self.record.first_audio_ms = waited
        self._note(happened.AudioHeard(response_id, waited))

    def _take_message(self, message: SessionMessage) -> None:
        if isinstance(message, AudioSpeechStartMessage):
            self._speech_started(message)
        elif isinstance(message, AudioSpeechEndMessage):
            self._speech_ended(message)
        elif isinstance(message, TranscriptMessage):
            members = ("role", "text", "final", "task_id", "response_id", "language")
            self._note(happened.Transcribed(*(getattr(message, name) for name in members)))
            self._transcribed = True
            self._understood |= message.role == "user" and bool(message.text.strip())
        elif isinstance(message, ResponseStartMessage):
            self._owed, self._awaits_audio = False, True
            self._answered |= bool(message.text)
            self._player.begin(message.response_id, message.generation)
            self._note(happened.ResponseBegun(message.response_id, message.text))
        elif isinstance(message, ResponseEndMessage):
            self._response_ended(message)
        elif isinstance(message, PlaybackMarkMessage):
            self._player.mark(message.mark_id, message.response_id)
        elif isinstance(message, CallActionMessage):
            self._action = message
            self._note(happened.ActionAsked(message.action, message.target, message.reason))

    def _speech_started(self, message: AudioSpeechStartMessage) -> None:
        self._speaking = True
        confirmed = message.confirmed is not False
        self._note(happened.SpeechStarted(message.start_ms, confirmed))
        if not self._player.idle:
            self._player.hold(self.record.now_ms, confirmed=confirmed)
            self._note(happened.PlaybackHeld(confirmed))

    def _speech_ended(self, message: AudioSpeechEndMessage) -> None:
        self._speaking = False
        discarded = bool(message.discarded)
        now = self._loop.time()
        waited = None if message.end_ms is None else self.record.since(message.end_ms, now)
        self._note(
            happened.SpeechEnded(
                message.start_ms, message.end_ms, discarded, message.reason, waited
            )
        )
        if self._player.held:
            self._note(happened.PlaybackResumed())
        if discarded:
            self._player.resume()
            return
        self._player.speech_ended()
        self._owed = True
        end_ms = self.record.now_ms if message.end_ms is None else message.end_ms
        self.record.add_turn(Turn(message.start_ms, end_ms, waited))

    def _response_ended(self, message: ResponseEndMessage) -> None:
        interrupted = bool(message.interrupted)
        self._player.end(message.response_id, interrupted=interrupted)
        self._awaits_audio = False
        responses = self._player.responses
        played_ms = responses[-1].played_ms if responses else 0
        self._note(
            happened.ResponseEnded(message.response_id, interrupted, message.reason, played_ms)
        )

    def _note(self, happening: Happening) -> None:
        self._audience.take(self.record.note(happening), happening)
