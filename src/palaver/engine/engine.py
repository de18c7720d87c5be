"""The engine: tasks begin, go on, stop and are followed here, whatever wire they came over."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from palaver.auth.principal import ANONYMOUS, Principal
from palaver.engine.agent import Agent
from palaver.engine.clock import Clock, new_id, wall_clock
from palaver.engine.limits import Limits
from palaver.engine.log import load_task
from palaver.engine.recovery import Caretaker
from palaver.engine.run import Run, Workplace
from palaver.engine.subscriptions import Subscription
from palaver.engine.worker import worker_id
from palaver.errors import (
    AlreadyClaimed,
    ConversationMismatch,
    IllegalEvent,
    MessageReused,
    NotFound,
    Overloaded,
    StaleWriter,
    Stopping,
    StoreUnavailable,
    TaskBusy,
    TaskFinished,
    TaskNotFound,
    UnknownAgent,
)
from palaver.model.content import Message, Metadata
from palaver.model.events import MessageReceived, StatusChanged, TaskCreated
from palaver.model.ids import IdSource
from palaver.model.task import INTERRUPTED, Fold, Task, TaskState
from palaver.storage.interfaces import Claim, Storage

__all__ = ["MAX_CONTEXT_MESSAGES", "Engine", "Submission"]

_log = structlog.get_logger("palaver.engine")
_ATTEMPTS: Final = 50
"""How often a write to a task that runs elsewhere is tried while its worker keeps writing."""
_RETRY_AFTER: Final = 1.0
MAX_CONTEXT_MESSAGES: Final = 64
"""Messages of a conversation that a new task may be given; they are stored with each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message to an agent.

    ``task_id`` names the task that it goes on with; with ``may_create`` it begins that task where
    there is none. ``skill_id`` names the skill; otherwise the text does. ``context`` is what was
    said in the conversation before, as far as the other side really heard it; only a task that
    this message begins takes it.

    Raises:
        ValueError: ``context`` has more than 64 messages.

    """

    agent_id: str
    message: Message
    wire: str
    principal: Principal = ANONYMOUS
    skill_id: str | None = None
    task_id: str | None = None
    conversation_id: str | None = None
    may_create: bool = False
    metadata: Metadata | None = None
    context: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        if len(self.context) > MAX_CONTEXT_MESSAGES:
            message = (
                f"context: at most {MAX_CONTEXT_MESSAGES} messages, not {len(self.context)}: "
                "leave out the oldest"
            )
            raise ValueError(message)


class Engine:
    """Runs the tasks of some agents over one store. ``start`` before use, ``stop`` after."""

    def __init__(
        self,
        storage: Storage,
        agents: Iterable[Agent],
        *,
        limits: Limits | None = None,
        clock: Clock = wall_clock,
        ids: IdSource = new_id,
    ) -> None:
        self.storage: Final = storage
        self.limits: Final = limits or Limits()
        self.agents: Final = {agent.id: agent for agent in agents}
        self.worker: Final = worker_id(ids)
        self._clock = clock
        self._new_id = ids
        self._runs: dict[str, Run] = {}
        self._threads = ThreadPoolExecutor(self.limits.max_threads, "palaver-handler")
        self._place = Workplace(
            storage=storage,
            clock=clock,
            new_id=ids,
            limits=self.limits,
            slots=asyncio.Semaphore(self.limits.max_running_tasks),
            threads=self._threads,
        )
        self._on_done = self._finish  # bound once, not once for each run
        self._stopping = False
        self._waiting: set[Subscription] = set()
        self._caretaker = Caretaker(self, clock)

    # --- life ---

    async def start(self) -> None:
        """Begin to hold leases, and to look after tasks that others left behind."""
        await self._caretaker.start()

    async def stop(self, grace: float = 0.0) -> None:
        """Let the tasks at work end by themselves for ``grace`` seconds; then pass on the rest.

        A restartable task is left to the next worker; any other fails with ``worker_lost``.
        """
        loop = asyncio.get_running_loop()
        stop_at = loop.time() + grace
        while busy := [run for run in self._runs.values() if run.at_work]:
            if (left := stop_at - loop.time()) <= 0:
                break
            await asyncio.gather(*(run.settled(left) for run in busy))
        self._stopping = True
        for subscription in self._waiting:
            subscription.wake()
        await asyncio.gather(*(self._pass_on(run) for run in list(self._runs.values())))
        await self._caretaker.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _pass_on(self, run: Run) -> None:
        if run.task.restartable and self.storage.durable:
            await run.hand_over()
        else:
            await run.fail("worker_lost", "The server stopped before the task was done.")

    @property
    def open_tasks(self) -> int:
        """How many tasks this process holds."""
        return len(self._runs)

    def runs_here(self, task_id: str) -> bool:
        """Whether the task runs in this process."""
        return task_id in self._runs

    def works_here(self, task_id: str) -> bool:
        """Whether the task runs in this process and can come to an end without an answer."""
        run = self._runs.get(task_id)
        return run is not None and run.at_work

    # --- tasks ---

    async def submit(self, submission: Submission) -> Task:
        """Begin a task, or go on with one; return it as it stands when that is durable.

        A message that came before (by its id, or for ``may_create`` by its content) begins
        nothing: its task is returned.

        Raises:
            UnknownAgent, UnknownSkill, TaskNotFound, TaskFinished, TaskBusy,
            ConversationMismatch, MessageReused, Overloaded, StoreUnavailable: see there.

        """
        agent = self.agents.get(submission.agent_id)
        if agent is None:
            raise UnknownAgent(submission.agent_id)
        if submission.task_id is not None:
            try:
                task = await self.get(submission.task_id, submission.principal)
            except TaskNotFound:
                if not submission.may_create:
                    raise
            else:
                return await self._go_on(task, submission)
        return await self._begin(agent, submission)

    async def get(self, task_id: str, principal: Principal = ANONYMOUS) -> Task:
        """Return the task as it is stored.

        Raises:
            TaskNotFound: there is none for this caller among the tasks of the agents served here.

        """
        task = await self._as_stored(task_id)
        # Servers of other agents may share the store: their tasks are not ours to show.
        if task.principal != principal.id or task.agent_id not in self.agents:
            raise TaskNotFound(task_id)
        return task

    async def find(self, submission: Submission) -> Task:
        """Return the task that an earlier ``submit`` of the same message began or went on with.

        Raises:
            TaskNotFound: there was none.

        """
        task_id = submission.task_id
        if task_id is None:
            now = self._clock()
            claim = self._claim(submission, now)
            claimed = await self.storage.events.claimed(claim.key, now)
            if claimed is None:
                raise TaskNotFound(submission.message.id, "task of message")
            task_id = claimed[0]
        return await self.get(task_id, submission.principal)

    async def cancel(self, task_id: str, principal: Principal = ANONYMOUS) -> Task:
        """Stop the task; it is canceled when this returns.

        Raises:
            TaskNotFound: there is none for this caller.
            TaskFinished: it came to its end before.

        """
        task = await self.get(task_id, principal)
        for _ in range(_ATTEMPTS):
            if task.terminal:
                raise TaskFinished(task_id, task.state)
            run = self._runs.get(task_id)
            try:
                if run is not None:
                    return await run.cancel()
                event = StatusChanged(seq=task.seq + 1, at=self._clock(), state=TaskState.CANCELED)
                return await self._append(task, event)
            except (StaleWriter, IllegalEvent):
                task = await self._again(task_id)
        raise StoreUnavailable(_too_busy(task_id))

    async def settled(self, task_id: str, timeout: float) -> Task:  # noqa: ASYNC109
        """Return the task once it is terminal or waits for input, or as it is after ``timeout``.

        When the engine stops, tasks that go on elsewhere are returned as they are, too.

        Raises:
            TaskNotFound: there is no such task.

        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout
        run = self._runs.get(task_id)
        if run is not None:
            await run.writer.catch_up()
            task = await run.settled(timeout)
            if task.settled or self._stopping or loop.time() >= give_up_at:
                return task
        try:
            async with asyncio.timeout_at(give_up_at):
                return await self._follow_until_settled(task_id)
        except TimeoutError:
            return await self._as_stored(task_id)

    def subscribe(self, task_id: str, after: int) -> Subscription:
        """Return a cursor over the task's events behind event ``after``."""
        return Subscription(self.storage.events, task_id, after)

    # --- inside ---

    async def _begin(self, agent: Agent, submission: Submission) -> Task:
        named = submission.skill_id  # where it is, the text chooses nothing
        skill, _ = agent.choose("" if named is not None else submission.message.text, named)
        if self._stopping:
            raise Stopping(_RETRY_AFTER)
        if len(self._runs) >= self.limits.max_open_tasks:
            raise Overloaded(self.limits.max_open_tasks, _RETRY_AFTER)
        now = self._clock()
        task_id = submission.task_id or self._new_id("task")
        created = TaskCreated(
            seq=1,
            at=now,
            conversation_id=submission.conversation_id or self._new_id("conv"),
            agent_id=agent.id,
            message=submission.message,
            principal=submission.principal.id,
            wire=submission.wire,
            skill_id=submission.skill_id,
            restartable=skill.restartable,
            metadata=submission.metadata,
            context=submission.context,
        )
        claim = None if submission.may_create else self._claim(submission, now)
        try:
            await self.storage.events.append(
                task_id, 0, (created,), claim=claim, worker=self.worker
            )
        except AlreadyClaimed as error:
            if claim is None or error.digest != claim.digest:
                raise MessageReused(submission.message.id) from error
            return await self.get(error.task_id, submission.principal)
        except StaleWriter:
            # Two requests with one new id of the client's: the other one began the task.
            task = await self.get(task_id, submission.principal)
            return await self._go_on(task, submission)
        folding = Fold()
        folding.apply(task_id, created)
        self.run(agent, folding.task)
        return folding.task

    async def _go_on(self, task: Task, submission: Submission) -> Task:
        given = submission.conversation_id
        if given is not None and given != task.conversation_id:
            raise ConversationMismatch(task.id, given)
        for _ in range(_ATTEMPTS):
            if _came_before(task, submission):
                return task
            if task.terminal:
                raise TaskFinished(task.id, task.state)
            if task.state not in INTERRUPTED:
                raise TaskBusy(task.id, task.state)
            run = self._runs.get(task.id)
            try:
                if run is not None:
                    return await run.answer(submission.message)
                event = MessageReceived(
                    seq=task.seq + 1, at=self._clock(), message=submission.message
                )
                return await self._append(task, event)
            except (StaleWriter, IllegalEvent):
                task = await self._again(task.id)
        raise StoreUnavailable(_too_busy(task.id))

    async def _again(self, task_id: str) -> Task:
        """Return the task anew, after somebody else wrote to it first."""
        await asyncio.sleep(0)
        return await self._as_stored(task_id)

    async def _as_stored(self, task_id: str) -> Task:
        run = self._runs.get(task_id)
        if run is None:
            return await load_task(self.storage, task_id)
        try:
            await run.writer.catch_up()
        except NotFound:
            raise TaskNotFound(task_id) from None
        return run.task

    async def _append(self, task: Task, event: StatusChanged | MessageReceived) -> Task:
        """Write one event to a task that runs elsewhere, or nowhere."""
        folding = Fold(task)
        folding.apply(task.id, event)
        await self.storage.events.append(task.id, task.seq, (event,))
        return folding.task

    def _claim(self, submission: Submission, now: float) -> Claim:
        key = f"{submission.principal.id}\n{submission.agent_id}\n{submission.message.id}"
        return Claim(key, _digest(submission.message), now + self.limits.claim_ttl)

    def run(self, agent: Agent, task: Task, *, attempt: int = 1) -> None:
        """Run ``task``, whose lease this worker holds."""
        run = Run(self._place, agent, task, attempt=attempt)
        self._runs[task.id] = run
        run.done.add_done_callback(self._on_done)

    def _finish(self, done: asyncio.Task[None]) -> None:
        task_id = done.get_name()
        run = self._runs.pop(task_id, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("run_broke", task_id=task_id, error=type(error).__name__, exc_info=error)
        # However it ended: a task without a run that nobody else has would stand for ever.
        if run is not None and run.unfinished and not self._stopping:
            self._caretaker.give_up(task_id)

    async def _follow_until_settled(self, task_id: str) -> Task:
        task = await load_task(self.storage, task_id)
        folding = Fold(task)
        with self.subscribe(task_id, task.seq) as subscription:
            self._waiting.add(subscription)
            try:
                while not (folding.task.settled or self._stopping):
                    for event in await subscription.next():
                        folding.apply(task_id, event)
            finally:
                self._waiting.discard(subscription)
        return folding.task


def _came_before(task: Task, submission: Submission) -> bool:
    """Whether the task knows this message already.

    A client of the oldest generation has no message ids: its message came before when it equals
    the last thing that the caller said and the task does not wait for another.

    Raises:
        MessageReused: its id is known, with other content.

    """
    said = [message for message in task.history if message.role == "user"]
    if submission.may_create:
        return task.state not in INTERRUPTED and said[-1].parts == submission.message.parts
    for message in said:
        if message.id == submission.message.id:
            if message.parts != submission.message.parts:
                raise MessageReused(message.id)
            return True
    return False


def _digest(message: Message) -> str:
    content = orjson.dumps(message.parts, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _too_busy(task_id: str) -> str:
    return f"task {task_id!r} changes too fast to be written to from here: try again"
