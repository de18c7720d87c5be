"""One run of one task: drives the handler, writes what it puts out, knows how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from palaver.engine.agent import Agent, Skill
from palaver.engine.clock import Clock
from palaver.engine.deadline import Deadline
from palaver.engine.handlers import call_handler
from palaver.engine.limits import Limits
from palaver.engine.log import TaskWriter
from palaver.engine.outputs import Failed, Output, Rejected
from palaver.engine.response import Response, TooManyEvents, sound
from palaver.engine.turn import Turn, TurnActions
from palaver.errors import IllegalEvent, StoreUnavailable, UnknownSkill
from palaver.model.content import Message, Part, TextPart
from palaver.model.events import CallActionRequested, MessageReceived, TaskEvent
from palaver.model.ids import IdSource
from palaver.model.task import INTERRUPTED, TERMINAL, Task, TaskState, fold
from palaver.storage.interfaces import Storage

__all__ = ["Run", "Workplace"]

_log = structlog.get_logger("palaver.run")
_SETTLED: Final = INTERRUPTED | TERMINAL
_ITEMS_PER_TURN: Final = 64
"""Outputs of a handler that never waits before the event loop looks after the others."""
_LAST_BREATH: Final = 1.0
"""Seconds that a handler has to clean up when its process stops; then it is left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What all runs of a process share."""

    storage: Storage
    clock: Clock
    new_id: IdSource
    limits: Limits
    slots: asyncio.Semaphore
    threads: Executor


class _NobodyAnswered(TimeoutError):
    """``Turn.ask`` waited as long as a task may wait for input."""


class Run:
    """A task that runs in this process, from its first attempt here to its end."""

    __slots__ = (
        "_agent",
        "_answer",
        "_attempt",
        "_deadline",
        "_driver",
        "_earlier_answers",
        "_ending",
        "_has_slot",
        "_loop",
        "_place",
        "_response",
        "_settled",
        "_stopped",
        "writer",
    )

    def __init__(self, place: Workplace, agent: Agent, task: Task, *, attempt: int = 1) -> None:
        self._place = place
        self._agent = agent
        self._attempt = attempt
        self._earlier_answers = list(task.answers) if len(task.history) > 1 else []
        self._answer: asyncio.Future[Message] | None = None
        self._deadline: Deadline | None = None
        self._settled: list[asyncio.Future[None]] = []
        self._stopped = False
        self._ending = False
        self._has_slot = False
        self.writer = TaskWriter(
            place.storage,
            task,
            place.clock,
            max_pending=place.limits.max_pending_events,
            store_timeout=place.limits.store_timeout,
            on_stored=self._on_stored,
        )
        self._response = _response(place, self.writer, task)
        self._loop = asyncio.get_running_loop()
        self._driver = self._loop.create_task(self._main(task), name=task.id)

    # --- what others ask of it ---

    @property
    def task(self) -> Task:
        """The task as it is stored."""
        return self.writer.task

    @property
    def done(self) -> asyncio.Task[None]:
        """Ends when the run does; its name is the id of the task."""
        return self._driver

    async def answer(self, message: Message) -> Task:
        """Give the agent the answer that it waits for; return the task right behind the answer.

        Raises:
            IllegalEvent: the task does not wait for one, or another answer came first.

        """
        before = self.writer.task
        event = self.writer.received(message)
        await self.writer.flush()
        if await self._place.storage.events.read(before.id, before.seq, 1) != [event]:
            text = f"task {before.id!r} was written to by somebody else first"
            raise IllegalEvent(text)
        return fold(before.id, (event,), before)

    async def cancel(self) -> Task:
        """Stop: the task is canceled when this returns, whatever the handler does.

        Raises:
            IllegalEvent: it came to its end first.

        """
        event = self.writer.status(TaskState.CANCELED)
        self._stop()
        await self.writer.flush()
        task_id = self.writer.task.id
        if await self._place.storage.events.read(task_id, event.seq - 1, 1) != [event]:
            text = f"task {self.writer.task.id!r} came to its end first"
            raise IllegalEvent(text)
        return self.writer.task

    async def settled(self, timeout: float) -> Task:  # noqa: ASYNC109
        """Return the task once it is terminal, waits for input, or is given up here.

        After ``timeout`` seconds it is returned as it stands.
        """
        if self.writer.stored_state in _SETTLED or self._driver.done():
            return self.writer.task
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._settled.append(waiter)
        # A bare timer: ``asyncio.timeout`` costs five times as much, and every send comes by here.
        timer = self._loop.call_later(timeout, _release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._settled.remove(waiter)
        return self.writer.task

    @property
    def unfinished(self) -> bool:
        """Whether the task is neither at its end nor in the hands of another worker."""
        return self.writer.stored_state not in TERMINAL and not self.writer.superseded

    @property
    def at_work(self) -> bool:
        """Whether the run can still bring news by itself, without an answer from outside."""
        writer = self.writer
        return writer.state not in _SETTLED or writer.stored_state not in _SETTLED

    async def hand_over(self) -> None:
        """Stop without an end: another worker goes on with the task."""
        self._stop()
        await asyncio.wait([self._driver], timeout=_LAST_BREATH)
        _release_all(self._settled)

    async def fail(self, reason: str, text: str) -> None:
        """End the task as failed, and stop."""
        with suppress(IllegalEvent):
            self._fail(reason, text)
        self._stop()
        await asyncio.wait([self._driver], timeout=_LAST_BREATH)
        with suppress(StoreUnavailable):
            await self.writer.flush()

    # --- the run itself ---

    async def _main(self, task: Task) -> None:
        try:
            await self._take_slot()
            self.writer.status(TaskState.WORKING, attempt=self._attempt)
            if self._attempt > 1:
                task = await self._take_over()
            await self._drive(task)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        except IllegalEvent:
            # The task ended, or was taken, elsewhere while the handler still put things out.
            if not _over(self.writer):
                raise
        finally:
            self._stopped = self._ending = True
            self._leave_slot()
            await self.writer.close()
            _release_all(self._settled)

    async def _take_over(self) -> Task:
        """Return the task as the earlier worker left it.

        That one may have been alive, only silent: what it wrote counts up to the event that begins
        our attempt, and it writes none behind that.
        """
        await self.writer.flush()
        task = self.writer.task
        self._earlier_answers = list(task.answers)
        self._response = _response(self._place, self.writer, task)
        return task

    async def _drive(self, task: Task) -> None:
        try:
            turn, skill = _turn(self._agent, task, self._attempt, self)
            self._deadline = Deadline(self._driver, self._agent.timeout)
            items = call_handler(skill.handler, turn, self._place.threads)
            with self._deadline:
                async with aclosing(items):
                    await _put_all(items, self._response, self.writer)
        except StoreUnavailable:
            raise
        except asyncio.CancelledError:
            if self._stopped or self._driver.cancelling():
                raise
            # Not ours: the handler awaited something that it, or somebody, had cancelled.
            self._broke(task)
        except (Rejected, UnknownSkill) as error:
            self.writer.status(TaskState.REJECTED, message=self._response.say(str(error)))
        except TooManyEvents as error:
            self._fail("too_many_events", str(error))
        except _NobodyAnswered:
            waited = self._place.limits.input_timeout
            self._fail("input_timeout", f"Nobody answered within {waited:g} s.")
        # The last two would leave the event loop, and take every other task with them.
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if _over(self.writer):
                raise
            if isinstance(error, TimeoutError) and self._out_of_time():
                self._fail("deadline", f"The agent was not done in {self._agent.timeout:g} s.")
            else:
                self._broke(task, error)
        else:
            self.writer.status(TaskState.COMPLETED)

    def _broke(self, task: Task, error: BaseException | None = None) -> None:
        _log.exception("handler_failed", task_id=task.id, agent_id=self._agent.id)
        if isinstance(error, Failed):
            self._fail("failed", str(error))
        else:
            self._fail("agent_error", "The agent failed.")

    def _fail(self, reason: str, text: str) -> None:
        self.writer.status(TaskState.FAILED, message=self._response.say(text), reason=reason)

    def _out_of_time(self) -> bool:
        return self._deadline is not None and self._deadline.expired

    def _stop(self) -> None:
        self._stopped = True
        # A run that stores its last events is at its end anyway: to cut it would lose them.
        if not self._ending:
            self._driver.cancel()

    async def _take_slot(self) -> None:
        await self._place.slots.acquire()
        self._has_slot = True

    def _leave_slot(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._place.slots.release()

    def _on_stored(self, events: Sequence[TaskEvent]) -> None:
        if self.writer.failed is not None:
            self._stop()
            return
        if self._answer is not None:
            for event in events:
                if isinstance(event, MessageReceived) and not self._answer.done():
                    self._answer.set_result(event.message)
        ended = self.writer.superseded or self.writer.stored_state in TERMINAL
        if ended and not self._stopped:
            self._stop()
        if self._settled and self.writer.stored_state in _SETTLED:
            _release_all(self._settled)

    # --- what a turn may do ---

    @property
    def stopped(self) -> bool:
        """Whether the task was cancelled or ran out of time."""
        return self._stopped or self._out_of_time()

    def carry_on(self) -> str:
        """Keep what an earlier attempt wrote, and return its text."""
        return self._response.carry_on()

    async def emit(self, item: Output) -> None:
        """Put out ``item``."""
        self._response.put(item)
        if self.writer.full:
            await self.writer.flush()

    async def ask(self, question: tuple[Part, ...]) -> Message:
        """Ask the caller, and return the answer."""
        if not any(not isinstance(part, TextPart) or part.text.strip() for part in question):
            message = "a question needs some text or another part"
            raise ValueError(message)
        if self._answer is not None:
            message = "one question at a time: the earlier one is not answered yet"
            raise RuntimeError(message)
        if self._earlier_answers:
            return self._earlier_answers.pop(0)
        asked = self._response.message(question)
        self._answer = self._loop.create_future()
        self.writer.status(TaskState.INPUT_REQUIRED, message=asked)
        # Waiting costs neither a place among the running tasks nor time of the deadline.
        if self._deadline is not None:
            self._deadline.pause()
        self._leave_slot()
        try:
            async with asyncio.timeout(self._place.limits.input_timeout):
                return await self._answer
        except TimeoutError:
            raise _NobodyAnswered from None
        finally:
            self._answer = None
            # Also for a handler that gives the question up and goes on without an answer.
            if not self._stopped:
                if self.writer.state in INTERRUPTED:
                    self.writer.status(TaskState.WORKING)
                await self._take_slot()
                if self._deadline is not None:
                    self._deadline.go_on()

    def call_action(self, action: Literal["hang_up", "transfer"], target: str | None) -> None:
        """Write what is to be done to the call, from whatever thread."""
        whither = None if target is None else sound(target)
        wanted = CallActionRequested(seq=0, at=0.0, action=action, target=whither)
        if _in_loop(self._loop):
            self.writer.call_action(wanted)
        else:
            self._loop.call_soon_threadsafe(self.writer.call_action, wanted)


def _response(place: Workplace, writer: TaskWriter, task: Task) -> Response:
    return Response(writer, task, place.new_id, max_events=place.limits.max_task_events)


def _turn(agent: Agent, task: Task, attempt: int, actions: TurnActions) -> tuple[Turn, Skill]:
    message = task.history[0]
    text = message.text
    skill, said = agent.choose(text, task.skill_id)
    turn = Turn(
        task,
        text=said,
        skill_id=skill.profile.id,
        language=message.language or agent.language_of(text),
        attempt=attempt,
        actions=actions,
    )
    return turn, skill


def _over(writer: TaskWriter) -> bool:
    """Whether nothing more can be written: the task has ended, or another worker runs it."""
    return writer.superseded or writer.state in TERMINAL


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _release_all(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        _release(waiter)


async def _put_all(items: AsyncIterator[Output], response: Response, writer: TaskWriter) -> None:
    """Put out what the handler does, and give others their turn in between."""
    count = 0
    async for item in items:
        response.put(item)
        count += 1
        if writer.full:
            await writer.flush()
        elif count % _ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)


def _in_loop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
