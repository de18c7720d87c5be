"""What an ASAP envelope means to the engine: an envelope in, the envelope that answers out.

A request that came before, over whatever binding, in this process or before a restart, begins
nothing: it waits for the task of the first one, and is answered with that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import structlog

from palaver.auth.principal import ANONYMOUS, Principal
from palaver.engine.clock import Clock, new_id, wall_clock
from palaver.engine.engine import Engine, Submission
from palaver.errors import ModelError, StorageError, TaskError, TaskFinished
from palaver.model.task import Task, TaskState
from palaver.protocols.asap import mapping
from palaver.protocols.asap.errors import (
    AgentNotFound,
    AsapError,
    ReplyTimeout,
    ServerBusy,
    UnknownPayloadType,
    from_task_error,
)
from palaver.protocols.asap.in_flight import shutting_down
from palaver.protocols.asap.manifest import agent_id_of, agent_urn
from palaver.protocols.asap.messages import (
    Envelope,
    McpResourceData,
    McpResourceFetch,
    McpToolCall,
    McpToolResult,
    MessageAck,
    MessageSend,
    Payload,
    PayloadType,
    StateQuery,
    StateRestore,
    TaskCancel,
    TaskRequest,
    read_payload,
)
from palaver.protocols.asap.replay import ReplayGuard
from palaver.server.asap_states import state_at
from palaver.server.drain import Drain

__all__ = ["AsapCalls", "Extension", "Extensions", "Follow"]

_log = structlog.get_logger("palaver.asap")
_RETRY_AFTER: Final = 1.0

Extension: TypeAlias = Callable[[Envelope, Any], Awaitable[McpToolResult | McpResourceData]]
"""Answers a call of MCP: given the envelope and its payload, it returns the payload of the answer.

It may raise an ``AsapError``, which the peer is told; of anything else only that it broke. It may
be asked twice for one ``request_id`` and should give the same answer then.
"""

Extensions: TypeAlias = Mapping[type[McpToolCall | McpResourceFetch], Extension]
"""Who answers ``McpToolCall`` (with ``McpToolResult``), and ``McpResourceFetch`` (with
``McpResourceData``). What nobody answers is refused: ``asap:transport/handler_not_found``."""

Follow: TypeAlias = Callable[[Envelope, Task], Awaitable[None]]
"""Told of the task that a request with ``config.streaming`` is about; awaited with the task as it
is to be answered, so that the news of it can go first."""

_ANSWERS: Final[
    Mapping[type[McpToolCall | McpResourceFetch], type[McpToolResult | McpResourceData]]
] = MappingProxyType({McpToolCall: McpToolResult, McpResourceFetch: McpResourceData})


class AsapCalls:
    """Performs the calls of all peers, whatever they came over.

    ``send_timeout`` (seconds) is how long a peer waits for its task at most, ``max_calls`` how
    many may wait at once.
    """

    def __init__(
        self,
        engine: Engine,
        default_agent: str,
        drain: Drain,
        *,
        send_timeout: float,
        max_calls: int,
        guard: ReplayGuard,
        extensions: Extensions | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        self._engine = engine
        self._default_agent = default_agent
        self._drain = drain
        self._send_timeout = send_timeout
        self._max_calls = max_calls
        self._guard = guard
        self._extensions = dict(extensions or {})
        self._clock = clock
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return self._calls

    def check_fresh(self, envelope: Envelope, *, repeated: bool = False) -> None:
        """Refuse an envelope that is too old, or was played before.

        ``repeated``: it is known to be a second copy, which is answered as the first was.

        Raises:
            InvalidTimestamp, InvalidNonce: see there.

        """
        self._guard.check(envelope, self._clock(), repeated=repeated)

    async def came_before(
        self,
        envelope: Envelope,
        named_agent: str | None,
        key: str | None,
        principal: Principal = ANONYMOUS,
    ) -> bool:
        """Tell whether an envelope is sent again that began a task; only where nonces matter."""
        limits = self._guard.limits
        if not (limits.check_nonce or limits.require_nonce):
            return False
        try:
            payload = read_payload(envelope)
            if not isinstance(payload, TaskRequest):
                return False
            agent_id = self.agent_of(envelope, named_agent)
            await self._engine.find(_submission(envelope, payload, agent_id, key, principal)[0])
        except (AsapError, ModelError, StorageError, TaskError):
            return False  # whatever is wrong is told where it is done
        return True

    async def perform(
        self,
        envelope: Envelope,
        named_agent: str | None = None,
        key: str | None = None,
        *,
        principal: Principal = ANONYMOUS,
        follow: Follow | None = None,
    ) -> Envelope:
        """Return the envelope that answers.

        ``named_agent`` is the one in the path. ``key`` is the idempotency key of the header or of
        ``params``. The envelope's age and nonce were checked before (``check_fresh``).

        Raises:
            AsapError: the envelope is refused.

        """
        # A cancellation ends one of those that wait: it makes room.
        cancels = envelope.kind is PayloadType.TASK_CANCEL
        if self._calls >= self._max_calls and not cancels:
            text = f"{self._max_calls} requests wait for their answers, which is the limit"
            raise ServerBusy(text, retry_after=_RETRY_AFTER)
        agent_id = self.agent_of(envelope, named_agent)
        payload = read_payload(envelope)
        self._calls += 1
        try:
            answer = await self._answer(envelope, payload, agent_id, key, principal, follow)
        except (TaskError, ModelError) as error:
            raise from_task_error(error) from error
        except StorageError as error:
            _log.error("store_trouble", error=str(error))
            raise ServerBusy("the store does not answer", retry_after=_RETRY_AFTER) from error
        finally:
            self._calls -= 1
        return mapping.reply_envelope(
            envelope, answer, id=new_id("env"), now=self._clock(), sender=agent_urn(agent_id)
        )

    def agent_of(self, envelope: Envelope, named: str | None) -> str:
        """Return the agent that an envelope is for: that of the path, else its recipient.

        Where one agent is served alone, it takes what comes, as other servers of ASAP do.

        Raises:
            AgentNotFound: no such agent is served, and there is more than one.

        """
        agents = self._engine.agents
        if named is not None:
            if named not in agents:
                raise AgentNotFound(f"no agent {named[:128]!r} is served here")
            return named
        agent_id = agent_id_of(envelope.recipient)
        if agent_id in agents:
            return str(agent_id)
        if len(agents) > 1:
            known = ", ".join(agent_urn(one) for one in agents)
            raise AgentNotFound(f"{envelope.recipient!r}; served are {known}")
        return self._default_agent

    # --- what is asked ----------------------------------------------------------------------

    async def _answer(
        self,
        envelope: Envelope,
        payload: Payload,
        agent_id: str,
        key: str | None,
        principal: Principal,
        follow: Follow | None,
    ) -> Payload:
        match payload:
            case TaskRequest():
                return await self._begin(envelope, payload, agent_id, key, principal, follow)
            case MessageSend():
                return await self._go_on(payload, agent_id, principal)
            case TaskCancel():
                return await self._cancel(payload, principal)
            case StateQuery() | StateRestore():
                return await self._state(payload, principal)
            case McpToolCall() | McpResourceFetch():
                return await self._extend(envelope, payload)
        return _taken(envelope, payload)

    async def _begin(
        self,
        envelope: Envelope,
        request: TaskRequest,
        agent_id: str,
        key: str | None,
        principal: Principal,
        follow: Follow | None,
    ) -> Payload:
        submission, timeout = _submission(envelope, request, agent_id, key, principal)
        task = await self._engine.submit(submission)
        streaming = request.config is not None and request.config.streaming
        if follow is None or not streaming:
            return mapping.task_response(await self._settled(task, timeout))
        await follow(envelope, task)
        task = await self._settled(task, timeout)
        await follow(envelope, task)
        return mapping.task_response(task)

    async def _go_on(self, said: MessageSend, agent_id: str, principal: Principal) -> Payload:
        task = await self._engine.submit(
            Submission(
                agent_id=agent_id,
                message=mapping.answer_message(said),
                wire=mapping.WIRE,
                principal=principal,
                task_id=said.task_id,
            )
        )
        return mapping.task_response(await self._settled(task, None))

    async def _settled(self, task: Task, timeout: float | None) -> Task:  # noqa: ASYNC109
        """Return the task once it is settled, or as it is when nobody waits any more.

        Raises:
            ServerBusy: the server stops, and the task goes on elsewhere.

        """
        if task.settled:
            return task
        wait = self._send_timeout if timeout is None else min(timeout, self._send_timeout)
        task = await self._engine.settled(task.id, wait)
        if not task.settled and self._drain.begun:
            raise shutting_down()
        return task

    async def _cancel(self, asked: TaskCancel, principal: Principal) -> Payload:
        try:
            task = await self._engine.cancel(asked.task_id, principal)
        except TaskFinished as error:
            if error.state != TaskState.CANCELED:
                raise
            task = await self._engine.get(asked.task_id, principal)  # the answer was lost, maybe
        else:
            _log.info("asap_task_cancelled", task_id=task.id)
        return mapping.task_response(task)

    async def _state(self, asked: StateQuery | StateRestore, principal: Principal) -> Payload:
        task = await self._engine.get(asked.task_id, principal)
        snapshot = mapping.snapshot_of(await state_at(self._engine.storage, task, asked))
        return mapping.snapshot_response(task, snapshot)

    async def _extend(self, envelope: Envelope, asked: McpToolCall | McpResourceFetch) -> Payload:
        extension = self._extensions.get(type(asked))
        if extension is None:
            raise UnknownPayloadType(envelope.payload_type)
        try:
            async with asyncio.timeout(self._send_timeout):
                answer = await extension(envelope, asked)
        except TimeoutError:
            text = f"no answer within {self._send_timeout:g} s"
            raise ReplyTimeout(text) from None
        expected = _ANSWERS[type(asked)]
        if type(answer) is not expected:
            message = f"an extension answered {type(asked).__name__} with {type(answer).__name__}"
            raise TypeError(message)
        return answer


def _submission(
    envelope: Envelope,
    request: TaskRequest,
    agent_id: str,
    key: str | None,
    principal: Principal,
) -> tuple[Submission, float | None]:
    """Return what a request asks the engine for, and how long its peer waits."""
    asked = mapping.task_submission(
        envelope,
        request,
        agent_id=agent_id,
        principal=principal.id,
        key=mapping.request_key(envelope, request, key),
    )
    submission = Submission(
        agent_id=agent_id,
        message=asked.message,
        wire=mapping.WIRE,
        principal=principal,
        skill_id=asked.skill_id,
        conversation_id=asked.conversation_id,
        metadata=asked.metadata,
    )
    return submission, asked.timeout


def _taken(envelope: Envelope, payload: Payload) -> Payload:
    """Take what only informs: a peer tells of its task, its artifact, or answers something."""
    _log.info(
        "asap_informed",
        payload_type=type(payload).__name__,
        sender=envelope.sender,
        envelope_id=envelope.id,
        task_id=getattr(payload, "task_id", None),
    )
    return MessageAck(original_envelope_id=envelope.id, status="received")
