"""One answer: an utterance, or a prompt, on its way to sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog

from palaver.engine.engine import Submission
from palaver.errors import ProviderError, StorageError, TaskError
from palaver.model.content import Message
from palaver.model.states import TaskState
from palaver.model.task import Task
from palaver.protocols.asp.server_session import ServerSession
from palaver.providers.interfaces import Transcript
from palaver.speech.characters import printable
from palaver.speech.conversation import Conversation
from palaver.speech.following import Action, Ended, News, Text, follow
from palaver.speech.heard import SpeechEnded
from palaver.speech.hearing import Levels
from palaver.speech.prompts import Prompt, prompt
from palaver.speech.resample import Resampler
from palaver.speech.sentences import Sentences
from palaver.speech.sound import Sound
from palaver.speech.studio import Studio
from palaver.speech.synthesis import synthesize
from palaver.speech.transcription import transcribe

__all__ = ["Caller", "Question", "Reply"]

_log = structlog.get_logger("palaver.voice")
_WIRE: Final = "asp"
_PATIENCE: Final = 0.4
"""Seconds for which words wait for the end of their sentence while the caller hears nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a reply answers: speech, or text that needs no hearing (keys, a greeting to say).

    ``takes`` are utterances (PCM, int16, at ``rate_hz``) to be tried in that order: all that the
    caller said since the last answer, then the last of it alone.
    """

    takes: tuple[bytes, ...] = ()
    rate_hz: int = 8_000
    text: str | None = None
    announcement: str | None = None


class Caller(Protocol):
    """The call, as a reply sees it."""

    @property
    def session(self) -> ServerSession:
        """Where it is said."""
        ...

    @property
    def conversation(self) -> Conversation:
        """What was said before."""
        ...

    @property
    def agent_id(self) -> str:
        """Who answers."""
        ...

    @property
    def language(self) -> str | None:
        """What the caller speaks, where it is known."""
        ...


class Reply:
    """Makes one answer, and plays it. ``run`` ends when all was heard, or it was cancelled.

    The task goes on in the log whether or not anybody listens; ``task_id`` names it once there
    is one.
    """

    def __init__(
        self,
        reply_id: str,
        question: Question,
        caller: Caller,
        studio: Studio,
        sound: Sound,
        utterance: SpeechEnded | None = None,
    ) -> None:
        self.id: Final = reply_id
        self.sound: Final = sound
        self.utterance: Final = utterance
        self.message: Message | None = None
        """What the caller said, once it is part of the conversation."""
        self.task_id: str | None = None
        self.submitting: asyncio.Task[tuple[Task, int]] | None = None
        """What begins the task; it goes on where the reply is stopped meanwhile."""
        self.action: Action | None = None
        self.language = caller.language
        self.question: Final = question
        self._caller = caller
        self._studio = studio
        self._working = False
        self._waits_since: float | None = None

    @property
    def working(self) -> bool:
        """Whether its task still runs, for all that was read of it."""
        return self._working

    async def run(self) -> None:
        """Make the answer and play it to its end.

        Raises:
            Misuse: the session is over.

        """
        producing = asyncio.create_task(self._produce(), name=f"reply-{self.id}")
        try:
            await self.sound.play()
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)
        if not producing.cancelled() and (error := producing.exception()) is not None:
            raise error

    # --- what to say ------------------------------------------------------------------------

    async def _produce(self) -> None:
        try:
            await self._say_all()
        finally:
            self.sound.seal()

    async def _say_all(self) -> None:
        question = self.question
        if question.announcement is not None:
            await self._say_text(question.announcement)
            return
        try:
            transcript = await self._transcript()
        except ProviderError as error:
            self._studio.metrics.failures.labels("transcribe").inc()
            self._count("not_heard")
            _log.warning("voice_transcription_failed", **self._where, error=str(error))
            await self._prompt(Prompt.NOT_HEARD)
            return
        self.language = transcript.language or self.language
        if not transcript.understood:
            self._count("not_understood")
            self._log_not_understood(transcript)
            await self._prompt(Prompt.NOT_UNDERSTOOD)
            return
        await self._answer(transcript)

    async def _answer(self, transcript: Transcript) -> None:
        caller = self._caller
        message = caller.conversation.message("user", transcript.text, self.language)
        # Whoever stops it now must know what becomes of it: it may be stored already.
        self.submitting = asyncio.create_task(self._submit(message), name=f"submit-{self.id}")
        try:
            task, after = await asyncio.shield(self.submitting)
        except (TaskError, StorageError) as error:
            self._count("refused")
            _log.warning("voice_turn_refused", **self._where, error=str(error))
            caller.conversation.add(message)
            await self._prompt(Prompt.BUSY)
            return
        self.task_id = task.id
        self._working = True
        self._count("answered")
        _log.info("voice_turn", **self._where, task_id=task.id, language=self.language)
        caller.session.report_transcript(
            "user", transcript.text, self.sound.now(), task_id=task.id, language=self.language
        )
        caller.conversation.add(message)
        self.message = message
        await self._say_task(task, after)

    async def _submit(self, message: Message) -> tuple[Task, int]:
        """Begin a task, or answer the one that asked; return it, and the last event known of it."""
        caller, engine = self._caller, self._studio.engine
        conversation = caller.conversation
        waiting = conversation.waiting_task
        if waiting is not None:
            try:
                before = await engine.get(waiting)
                task = await engine.submit(self._submission(message, waiting))
            except TaskError as error:  # it has ended meanwhile: this is a new question
                _log.info("voice_question_over", **self._where, task_id=waiting, error=str(error))
                conversation.stop_waiting(waiting)
            else:
                conversation.stop_waiting(waiting)
                return task, before.seq + 1
        return await engine.submit(self._submission(message, None)), 0

    def _submission(self, message: Message, task_id: str | None) -> Submission:
        caller = self._caller
        return Submission(
            agent_id=caller.agent_id,
            message=message,
            wire=_WIRE,
            task_id=task_id,
            conversation_id=caller.conversation.id,
            context=caller.conversation.context,
        )

    async def _say_task(self, task: Task, after: int) -> None:
        sentences = Sentences()
        async with (
            aclosing(follow(self._studio.engine, task, after)) as news,
            aclosing(self._filled(news)) as filled,
        ):
            async for one in filled:
                if isinstance(one, Text):
                    await self._say_more(sentences, one.text)
                elif isinstance(one, Action):
                    self.action = one
                else:
                    self._working = False
                    for sentence in sentences.flush():
                        await self._say(sentence)
                    await self._say_end(one, task.id)

    async def _say_more(self, sentences: Sentences, text: str) -> None:
        """Say what is complete; while the caller hears nothing, also what may not be."""
        now = self.sound.now()
        complete = sentences.push(text)
        if complete:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > _PATIENCE and self.sound.runs_dry:
            complete, self._waits_since = sentences.words(), now
        for sentence in complete:
            await self._say(sentence)

    async def _say_end(self, ended: Ended, task_id: str) -> None:
        if ended.asks:
            self._caller.conversation.waiting_task = task_id
            await self._say_text(ended.text)
        elif ended.state in {TaskState.REJECTED, TaskState.FAILED}:
            await self._say_text(ended.text or prompt(Prompt.FAILED, self.language))

    async def _filled(self, news: AsyncIterator[News]) -> AsyncGenerator[News, None]:
        """Yield the news; say something if the first of them is long in coming."""
        after = self._studio.options.filler_after
        waiting = asyncio.ensure_future(anext(news, None))
        try:
            if after and not (await asyncio.wait({waiting}, timeout=after))[0]:
                await self._prompt(Prompt.FILLER)
            while (one := await waiting) is not None:
                waiting = asyncio.ensure_future(anext(news, None))
                yield one
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    # --- hearing ----------------------------------------------------------------------------

    async def _transcript(self) -> Transcript:
        question = self.question
        if question.text is not None:
            return Transcript(question.text, self.language)
        return await transcribe(
            self._studio, question.takes, question.rate_hz, self._caller.language
        )

    # --- saying -----------------------------------------------------------------------------

    async def _prompt(self, occasion: Prompt) -> None:
        await self._say(prompt(occasion, self.language))

    async def _say_text(self, text: str) -> None:
        sentences = Sentences()
        for sentence in (*sentences.push(text), *sentences.flush()):
            await self._say(sentence)

    async def _say(self, sentence: str) -> None:
        """Have a sentence spoken; where no engine can, the client still has its text."""
        sound, studio = self.sound, self._studio
        sentence = printable(sentence)
        await sound.room()
        sound.begin_sentence(sentence, self.task_id, self.language)
        try:
            await self._speak(sentence)
        except ProviderError as error:
            studio.metrics.failures.labels("speak").inc()
            _log.warning("voice_speech_failed", **self._where, error=str(error))
            sound.add_alert()
        sound.end_sentence()

    async def _speak(self, sentence: str) -> None:
        sound = self.sound
        resampler = Resampler(self._studio.speaks.sample_rate_hz, sound.rate_hz)
        speech = synthesize(self._studio, sentence, self.language)
        try:
            async with aclosing(speech):
                async for samples in speech:
                    sound.add(resampler.push(samples))
                    await sound.room()
        finally:  # what came before a failure is sound
            sound.add(resampler.flush())

    # --- inside -----------------------------------------------------------------------------

    @property
    def _where(self) -> dict[str, str]:
        return {"session_id": self._caller.session.id, "reply_id": self.id}

    def _log_not_understood(self, transcript: Transcript) -> None:
        """Say why, as far as the sound tells: too quiet, clipped, or with an offset."""
        last = self.question.takes[-1] if self.question.takes else b""
        levels = Levels.of(np.frombuffer(last, dtype=np.int16))
        _log.info(
            "voice_not_understood",
            **self._where,
            confidence=round(transcript.confidence, 3),
            duration_ms=len(last) * 500 // self.question.rate_hz,
            peak=round(levels.peak, 4),
            clipped=round(levels.clipped, 4),
            offset=round(levels.offset, 4),
        )

    def _count(self, outcome: str) -> None:
        self._studio.metrics.turns.labels(outcome).inc()
