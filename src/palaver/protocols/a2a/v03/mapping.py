"""Model ↔ A2A 0.3."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson

from palaver.model.content import Message, Part
from palaver.model.events import ArtifactUpdated, TaskCreated, TaskEvent
from palaver.model.task import Task, TaskState, fold
from palaver.protocols.a2a import facts, spelling
from palaver.protocols.a2a.commands import (
    Cancel,
    Command,
    Dialect,
    Generation,
    Get,
    Operation,
    Send,
    Subscribe,
    Update,
)
from palaver.protocols.a2a.errors import InvalidAgentResponse
from palaver.protocols.a2a.facts import Wire
from palaver.protocols.a2a.methods import method_name
from palaver.protocols.a2a.spelling import Spelling
from palaver.protocols.a2a.tagged import read_tagged, render_tagged
from palaver.protocols.a2a.v03 import messages
from palaver.protocols.a2a.violations import (
    check_object,
    check_params,
    check_result,
    not_the_user,
)

__all__ = ["V03"]


def _read_part(part: messages.Part) -> Part:
    return read_tagged(part, part.kind, part.file)


_STATES: Final = MappingProxyType({state: state.replace("_", "-") for state in TaskState})
_SPELLING: Final = Spelling(
    # Data must be an object here.
    render_part=partial(render_tagged, "kind", dict),
    read_part=_read_part,
    roles=MappingProxyType({"user": "user", "agent": "agent"}),
    roles_by_name=MappingProxyType({"user": "user", "agent": "agent"}),
    states=_STATES,
    states_by_name=spelling.states_by_name(_STATES, "unknown"),
    message_tag=MappingProxyType({"kind": "message"}),
    task_tag=MappingProxyType({"kind": "task"}),
)


class _V03:
    """A2A 0.3."""

    generation = Generation.V03

    def parse(self, operation: Operation, params: Mapping[str, Any]) -> Command:
        """Return the command that the params of a request mean."""
        match operation:
            case Operation.SEND | Operation.STREAM:
                return self._parse_send(params)
            case Operation.GET:
                query = check_params(messages.TaskQueryParams, params, self.generation)
                return Get(task_id=query.id, history_length=query.history_length)
            case Operation.CANCEL:
                target = check_params(messages.TaskIdParams, params, self.generation)
                return Cancel(task_id=target.id)
            case Operation.SUBSCRIBE:
                target = check_params(messages.TaskIdParams, params, self.generation)
                return Subscribe(task_id=target.id)
        raise ValueError(f"no command means {operation}")

    def _parse_send(self, params: Mapping[str, Any]) -> Send:
        request = check_params(messages.MessageSendParams, params, self.generation)
        if request.message.role != "user":
            raise not_the_user("'user'", self.generation)
        configuration = request.configuration or messages.MessageSendConfiguration()
        blocking = configuration.blocking is not False
        return spelling.read_send(_SPELLING, request, configuration, blocking=blocking)

    def send_result(self, task: Task, history_length: int | None = None) -> bytes:
        """Return the JSON of the ``result`` of a blocking or returning send."""
        return orjson.dumps(spelling.render_task(_SPELLING, task, history_length))

    task_result = send_result

    def stream_task(self, task: Task, history_length: int | None = None) -> tuple[bytes, ...]:
        """Return the JSON of the ``result`` that shows the whole task.

        A settled one is followed by its status as an event, which alone can say ``final``.
        """
        shown = self.send_result(task, history_length)
        if not task.settled:
            return (shown,)
        ids = spelling.ids_of(task.id, task.conversation_id)
        change = task.state, task.status_message, facts.progress(task)
        return (shown, _status_update(ids, task.state_at, *change))

    def stream_event(self, task_id: str, conversation_id: str, event: TaskEvent) -> bytes | None:
        """Return the JSON of the ``result`` that an event is on a stream."""
        if isinstance(event, ArtifactUpdated):
            return orjson.dumps(
                {
                    "kind": "artifact-update",
                    "taskId": task_id,
                    "contextId": conversation_id,
                    "artifact": spelling.render_artifact(_SPELLING, event.artifact),
                    "append": event.append,
                    "lastChunk": event.last,
                }
            )
        if isinstance(event, TaskCreated):
            return self.send_result(fold(task_id, (event,)))
        ids = spelling.ids_of(task_id, conversation_id)
        return _status_update(ids, event.at, *facts.change(event))

    def request(self, operation: Operation, command: Command) -> tuple[str, dict[str, Any]]:
        """Return the method and params of a request that means ``command``."""
        if isinstance(command, Send):
            configuration = {"blocking": command.blocking, **facts.wanted(command)}
            params = spelling.render_send(_SPELLING, command, configuration)
        else:
            params = spelling.render_target(command)
        return method_name(operation, self.generation), params

    def receive(self, result: Any) -> Update:
        """Return what a ``result`` says, of a stream event or of an answer."""
        said = check_object(result, self.generation)
        match said.get("kind", "task" if "status" in said else "message"):
            case "task":
                return spelling.read_task(
                    _SPELLING, check_result(messages.Task, said, self.generation)
                )
            case "message":
                return spelling.read_reply(
                    _SPELLING, check_result(messages.Message, said, self.generation)
                )
            case "status-update":
                update = check_result(messages.TaskStatusUpdateEvent, said, self.generation)
                return spelling.read_status_update(_SPELLING, update, final=update.final)
            case "artifact-update":
                chunk = check_result(messages.TaskArtifactUpdateEvent, said, self.generation)
                return spelling.read_artifact_update(_SPELLING, chunk)
        detail = "kind must be task, message, status-update or artifact-update"
        raise InvalidAgentResponse(detail, generation=self.generation)


def _status_update(
    ids: Mapping[str, str], at: float, state: TaskState, message: Message | None, metadata: Wire
) -> bytes:
    update = {
        "kind": "status-update",
        **ids,
        "status": spelling.render_status(_SPELLING, state, at, message, ids),
        "final": facts.final(state),
    }
    return orjson.dumps(facts.with_metadata(update, metadata))


V03: Final[Dialect] = _V03()
