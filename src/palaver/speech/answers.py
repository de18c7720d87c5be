"""The answers of one call: they are begun, held, stopped, and come to their end here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Literal

import structlog

from palaver.errors import PalaverError
from palaver.model.task import Task
from palaver.protocols.asp.call import Call
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.messages import PlaybackMarkMessage, ResponseCancelMessage
from palaver.speech.conversation import Conversation
from palaver.speech.following import Action
from palaver.speech.heard import SpeechEnded
from palaver.speech.prompts import Prompt, prompt
from palaver.speech.reply import Caller, Question, Reply
from palaver.speech.sound import Sound
from palaver.speech.studio import Studio

__all__ = ["Answers", "Outcome"]

_log = structlog.get_logger("palaver.voice")
_DETACHED: Final = "detached"
_SPEECH: Final = "speech"
_HANG_UP: Final = 5.0
"""Seconds in which a client that was told to hang up does so."""
_LAST_BREATH: Final = 5.0

Outcome = Literal["finished", "failed", "cancelled"]


class Answers:
    """What the server says in a call.

    ``on_began`` is told that an answer can be heard from now on, and ``on_over`` how it ended;
    both may stop or hold answers.
    """

    def __init__(
        self,
        call: Call,
        studio: Studio,
        caller: Caller,
        *,
        on_began: Callable[[str, bool], None],
        on_over: Callable[[str, Outcome], None],
    ) -> None:
        self._call = call
        self._session = call.session
        self._studio = studio
        self._caller = caller
        self._on_began = on_began
        self._on_over = on_over
        self._replies: dict[str, tuple[Reply, asyncio.Task[None]]] = {}
        self._work: set[asyncio.Task[Any]] = set()
        self._announcements = 0
        self._hanging_up: asyncio.TimerHandle | None = None
        self._closed = False
        self.unanswered: SpeechEnded | None = None
        """What the caller said last and got no answer to, because more was said."""

    @property
    def conversation(self) -> Conversation:
        """What was said in the call."""
        return self._caller.conversation

    # --- beginning --------------------------------------------------------------------------

    def begin(
        self,
        reply_id: str,
        question: Question,
        utterance: SpeechEnded | None = None,
        *,
        interruptible: bool = True,
    ) -> None:
        """Make an answer."""
        asked_at = self._call.now()

        def began() -> None:
            if utterance is not None:
                self._studio.metrics.first_audio.observe(self._call.now() - asked_at)
            self._on_began(reply_id, interruptible)

        sound = Sound(self._call, self._studio.options.lead_ms, began)
        reply = Reply(reply_id, question, self._caller, self._studio, sound, utterance)
        if self._session.link is None:
            sound.hold(_DETACHED)
        task = asyncio.create_task(self._run(reply), name=f"voice-{reply_id}")
        self._replies[reply_id] = (reply, task)

    def announce(self, text: str, *, interruptible: bool = True) -> None:
        """Say something that answers nothing."""
        self._announcements += 1
        reply_id = f"announcement-{self._announcements}"
        self.begin(reply_id, Question(announcement=text), interruptible=interruptible)

    # --- on the way -------------------------------------------------------------------------

    def hold(self, reply_id: str) -> None:
        """Hold an answer, because somebody may be speaking."""
        if reply_id in self._replies:
            self._replies[reply_id][0].sound.hold(_SPEECH)

    def resume(self, reply_id: str) -> None:
        """Go on with an answer that was held."""
        if reply_id in self._replies:
            self._studio.metrics.interruptions.labels("none").inc()
            self._replies[reply_id][0].sound.resume(_SPEECH)

    def detach(self) -> None:
        """Wait: the client has lost its socket."""
        for reply, _ in self._replies.values():
            reply.sound.hold(_DETACHED)

    def attach(self) -> None:
        """Go on: the client is back."""
        for reply, _ in self._replies.values():
            reply.sound.resume(_DETACHED)

    def marked(self, mark: PlaybackMarkMessage) -> None:
        """Take what the client says of a mark."""
        for reply, _ in self._replies.values():
            if mark.response_id in {None, reply.sound.response_id}:
                reply.sound.marked(mark)

    # --- ending -----------------------------------------------------------------------------

    def stop(self, reply_id: str, reason: str, played_ms: int | None = None) -> None:
        """Stop an answer: its sound, its engines and its task.

        ``played_ms`` is what the client says that was heard of it.
        """
        found = self._replies.pop(reply_id, None)
        if found is None:
            return
        reply, task = found
        reply.sound.cut_off(played_ms)
        self._end_response(reply, reason)
        task.cancel()
        self._track(task)
        superseded = reason == "superseded"
        # A question that is interrupted is still asked: what is said into it may well answer it.
        asked = superseded and self.conversation.stop_waiting(reply.task_id)
        if (reply.working or asked) and reply.task_id is not None:
            self._spawn(self._cancel_task(reply.task_id))
        elif reply.submitting is not None and reply.task_id is None:
            self._spawn(self._undo(reply.submitting))
        if superseded:
            # An announcement answers nothing: what had no answer before it has none still.
            self.unanswered = self._all_said(reply) or self.unanswered
            if reply.message is not None:
                self.conversation.retract(reply.message)
            return
        self.conversation.add_answer(reply.sound.heard_text, reply.language)
        self._studio.metrics.interruptions.labels(reason).inc()

    def cancelled_by_client(self, message: ResponseCancelMessage) -> None:
        """Take that the client has thrown an answer away, and how much of it was heard."""
        for reply, _ in tuple(self._replies.values()):
            if reply.sound.response_id == message.response_id:
                self.stop(reply.id, message.reason, message.played_ms)
                self._on_over(reply.id, "cancelled")

    def close(self) -> None:
        """Stop all, without a word: the call is over. A task that asks is cancelled."""
        self._closed = True
        if self._hanging_up is not None:
            self._hanging_up.cancel()
        for reply, task in self._replies.values():
            reply.sound.cut_off()
            task.cancel()
            self._track(task)
            if reply.submitting is not None:
                self._track(reply.submitting)
        self._replies.clear()
        if self.conversation.waiting_task is not None:
            self._spawn(self._cancel_task(self.conversation.waiting_task))

    async def settled(self) -> None:
        """Wait, for a bounded time, until nothing of the call works any more."""
        if self._work:
            await asyncio.wait(self._work, timeout=_LAST_BREATH)

    async def _run(self, reply: Reply) -> None:
        outcome: Outcome = "failed"
        try:
            await reply.run()
            outcome = "finished"
        except (PalaverError, Misuse) as error:
            _log.warning("voice_answer_failed", **self._where(reply), error=str(error))
        except Exception:  # noqa: BLE001 # one answer breaks, the call goes on
            _log.exception("voice_answer_broke", **self._where(reply))
        if self._replies.pop(reply.id, None) is None or self._closed or not self._session.open:
            return
        if outcome == "finished":
            self._finish(reply)
        else:
            self._end_response(reply, outcome)
            self._on_over(reply.id, outcome)
            if reply.utterance is not None:
                self.announce(prompt(Prompt.FAILED, reply.language))

    def _finish(self, reply: Reply) -> None:
        session, now = self._session, self._call.now()
        self.conversation.add_answer(reply.sound.heard_text, reply.language)
        acted = self._act(reply.action, now) if reply.action is not None else True
        if reply.sound.response_id is not None:
            session.end_response(now)
        self._on_over(reply.id, "finished")
        if reply.action is None:
            return
        if reply.action.action == "hang_up":
            # A client that knows the action ends the call; if it does not, we do.
            delay = _HANG_UP if acted else 0.0
            self._hanging_up = asyncio.get_running_loop().call_later(delay, self._hang_up)
        elif not acted:
            self.announce(prompt(Prompt.NO_TRANSFER, reply.language))

    def _act(self, action: Action, now: float) -> bool:
        """Have the client do something once all was played; tell whether it knows how."""
        kind: Literal["hangup", "transfer"] = "hangup" if action.action == "hang_up" else "transfer"
        acted = self._session.act(kind, now, target=action.target)
        _log.info("voice_call_action", session_id=self._session.id, action=kind, told=acted)
        return acted

    def _hang_up(self) -> None:
        if self._session.open:
            self._session.end(self._call.now(), "agent_hung_up")

    def _end_response(self, reply: Reply, reason: str) -> None:
        """Say that an answer was cut short, where the client does not know."""
        session = self._session
        played_ms = reply.sound.played_ms
        if not session.open or reply.sound.response_id is None:
            return
        _log.info("voice_answer_stopped", **self._where(reply), reason=reason, played_ms=played_ms)
        response = session.response
        if response is not None and response.id == reply.sound.response_id:
            session.barge_ins += reason == "barge_in"
            now = self._call.now()
            session.end_response(now, interrupted=True, played_ms=played_ms, reason=reason)

    # --- inside -----------------------------------------------------------------------------

    @staticmethod
    def _all_said(reply: Reply) -> SpeechEnded | None:
        """Return the utterance of a reply with all that was said since the last answer."""
        utterance, takes = reply.utterance, reply.question.takes
        return utterance if utterance is None or not takes else replace(utterance, audio=takes[0])

    async def _undo(self, submitting: asyncio.Task[tuple[Task, int]]) -> None:
        """Cancel the task that was being begun when nobody wanted its answer any more."""
        await asyncio.wait({submitting})
        if not submitting.cancelled() and submitting.exception() is None:
            await self._cancel_task(submitting.result()[0].id)

    async def _cancel_task(self, task_id: str) -> None:
        try:
            await self._studio.engine.cancel(task_id)
        except PalaverError as error:  # it came to its end by itself
            _log.debug("voice_task_not_cancelled", task_id=task_id, error=str(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._track(asyncio.create_task(work))

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._work.add(task)
        task.add_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else asks

    def _where(self, reply: Reply) -> dict[str, str]:
        return {"session_id": self._session.id, "reply_id": reply.id}
