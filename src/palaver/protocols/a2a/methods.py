"""Which method does what, in which generation; and which generation a request belongs to.

The table has every method that a generation knows, also those that are not served yet, so that
they are refused for what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from palaver.protocols.a2a.commands import Generation, Operation
from palaver.protocols.a2a.errors import (
    MethodNotFound,
    PushNotificationNotSupported,
    UnsupportedOperation,
    VersionNotSupported,
)
from palaver.protocols.jsonrpc import Request

__all__ = ["METHODS", "Call", "Method", "generation_of", "method_name", "route", "settle"]

_OLDER: Final = frozenset({Generation.V01, Generation.V03})
_V01: Final = frozenset({Generation.V01})
_V03: Final = frozenset({Generation.V03})
_V10: Final = frozenset({Generation.V10})


@dataclass(frozen=True, slots=True)
class Method:
    """A method name: what it does, and which generations have it."""

    operation: Operation
    generations: frozenset[Generation]


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "SendMessage": Method(Operation.SEND, _V10),
        "SendStreamingMessage": Method(Operation.STREAM, _V10),
        "GetTask": Method(Operation.GET, _V10),
        "ListTasks": Method(Operation.LIST, _V10),
        "CancelTask": Method(Operation.CANCEL, _V10),
        "SubscribeToTask": Method(Operation.SUBSCRIBE, _V10),
        "CreateTaskPushNotificationConfig": Method(Operation.PUSH, _V10),
        "GetTaskPushNotificationConfig": Method(Operation.PUSH, _V10),
        "ListTaskPushNotificationConfigs": Method(Operation.PUSH, _V10),
        "DeleteTaskPushNotificationConfig": Method(Operation.PUSH, _V10),
        "GetExtendedAgentCard": Method(Operation.EXTENDED_CARD, _V10),
        "message/send": Method(Operation.SEND, _V03),
        "message/stream": Method(Operation.STREAM, _V03),
        "tasks/get": Method(Operation.GET, _OLDER),
        "tasks/cancel": Method(Operation.CANCEL, _OLDER),
        "tasks/resubscribe": Method(Operation.SUBSCRIBE, _OLDER),
        "tasks/pushNotificationConfig/set": Method(Operation.PUSH, _V03),
        "tasks/pushNotificationConfig/get": Method(Operation.PUSH, _V03),
        "tasks/pushNotificationConfig/list": Method(Operation.PUSH, _V03),
        "tasks/pushNotificationConfig/delete": Method(Operation.PUSH, _V03),
        "agent/getAuthenticatedExtendedCard": Method(Operation.EXTENDED_CARD, _V03),
        "tasks/send": Method(Operation.SEND, _V01),
        "tasks/sendSubscribe": Method(Operation.STREAM, _V01),
        "tasks/pushNotification/set": Method(Operation.PUSH, _V01),
        "tasks/pushNotification/get": Method(Operation.PUSH, _V01),
    }
)
"""Method name → what it does and who has it (spec §0)."""

_V01_MEMBERS: Final = frozenset(
    {"sessionId", "message", "acceptedOutputModes", "pushNotification", "historyLength"}
)
"""Members of params that of the older two generations 0.1 alone has, for the methods that both
have. tasks/get is the exception: its ``historyLength`` is in both."""

_SUPPORTED: Final = "1.0, 0.3"
_VERSION: Final = re.compile(r"(0|[1-9]\d{0,3})\.\d{1,4}(?:\.\w{1,16})?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for. ``generation`` is ``None`` where ``shared`` is set.

    A shared method is one that 0.1 and 0.3 spell alike: once it is known what the task was made
    with, ``settle`` decides.
    """

    operation: Operation
    generation: Generation | None
    shared: bool = False


def route(request: Request, version: str | None, legacy_route: str | None = None) -> Call:
    """Return the call that ``request`` makes (spec §6).

    ``version`` is the header ``A2A-Version``. ``legacy_route`` is the one method that the path
    takes, where it is a path of the legacy plan; the header says nothing there.

    Raises:
        A2aError: no such method, version or operation; ``generation`` is the one to answer in.

    """
    if legacy_route is not None:
        if request.method != legacy_route:
            detail = f"{request.method!r} is not served at this path; it takes {legacy_route!r}"
            raise MethodNotFound(detail, generation=Generation.V01)
        return Call(METHODS[legacy_route].operation, Generation.V01)
    modern = _is_modern(version)
    method = METHODS.get(request.method)
    if method is None:
        asked = Generation.V10 if modern else Generation.V03
        raise MethodNotFound(repr(request.method), generation=asked)
    generation = _generation(request.method, method, modern=modern)
    _refuse_unserved(request.method, method, generation)
    if generation is None:
        return Call(method.operation, None, shared=True)
    return Call(method.operation, generation)


def settle(call: Call, task_wire: str | None, params: Mapping[str, Any]) -> Generation:
    """Return the generation of ``call``, given the wire of its task (``None``: no such task)."""
    if call.generation is not None:
        return call.generation
    if task_wire is not None:
        return Generation.V01 if task_wire == f"a2a-{Generation.V01}" else Generation.V03
    telling = _V01_MEMBERS & params.keys()
    if call.operation is Operation.GET:
        telling -= {"historyLength"}
    return Generation.V01 if telling else Generation.V03


def method_name(operation: Operation, generation: Generation) -> str:
    """Return the method that a client calls for ``operation``."""
    return _NAMES[operation, generation]


_NAMES: Final[Mapping[tuple[Operation, Generation], str]] = MappingProxyType(
    {
        (method.operation, generation): name
        for name, method in METHODS.items()
        for generation in method.generations
        if method.operation is not Operation.PUSH
    }
)


def generation_of(version: str | None) -> Generation:
    """Return the generation to refuse in what came with that ``A2A-Version`` and is no request."""
    return Generation.V10 if (version or "").strip().startswith("1.") else Generation.V03


def _is_modern(version: str | None) -> bool:
    """Whether the header asks for 1.x; absent or empty it means 0.3 (spec §4, versions)."""
    version = "" if version is None else version.strip()
    if not version:
        return False
    match = _VERSION.match(version)
    if match is None or match[1] not in {"0", "1"}:
        detail = f"A2A-Version {version[:32]!r} is not served here; supported are {_SUPPORTED}"
        raise VersionNotSupported(detail, generation=Generation.V10)
    return match[1] == "1"


def _generation(name: str, method: Method, *, modern: bool) -> Generation | None:
    """Return the generation, ``None`` for a method that 0.1 and 0.3 share (spec §6, 2 to 5)."""
    if Generation.V10 in method.generations:
        if not modern:
            detail = (
                f"{name} is a method of 1.0: send it with the header A2A-Version: 1.0 "
                f"(without one, 0.3 is meant); supported are {_SUPPORTED}"
            )
            raise VersionNotSupported(detail, generation=Generation.V10)
        return Generation.V10
    if Generation.V03 not in method.generations:
        return Generation.V01  # whatever the header says: the names are of 0.1 alone
    if modern:
        detail = f"{name!r} is no method of 1.0; leave out A2A-Version, or send 0.3 in it"
        raise MethodNotFound(detail, generation=Generation.V10)
    return None if Generation.V01 in method.generations else Generation.V03


def _refuse_unserved(name: str, method: Method, generation: Generation | None) -> None:
    if method.operation is Operation.PUSH:
        detail = f"{name} needs push notifications, which this agent does not send"
        raise PushNotificationNotSupported(detail, generation=generation)
    if method.operation is Operation.LIST:
        detail = f"{name}: this agent does not list tasks; ask for one with GetTask"
        raise UnsupportedOperation(detail, generation=generation)
    if method.operation is Operation.EXTENDED_CARD:
        detail = f"{name}: this agent has no extended card; the public one says everything"
        raise UnsupportedOperation(detail, generation=generation)
