"""Which request belongs to which generation (spec §0, §4: versions, §6: dispatch)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.a2a import errors
from palaver.protocols.a2a.commands import Generation, Operation
from palaver.protocols.a2a.methods import (
    METHODS,
    Call,
    generation_of,
    method_name,
    route,
    settle,
)
from palaver.protocols.jsonrpc import Request

V01, V03, V10 = Generation.V01, Generation.V03, Generation.V10


def called(method: str, version: str | None = None, legacy_route: str | None = None) -> Call:
    """Route a request of that method."""
    return route(Request(1, method, {}), version, legacy_route)


@pytest.mark.parametrize(
    ("method", "version", "call"),
    [
        ("SendMessage", "1.0", Call(Operation.SEND, V10)),
        ("SendStreamingMessage", "1.0", Call(Operation.STREAM, V10)),
        ("GetTask", "1.0.1", Call(Operation.GET, V10)),
        ("CancelTask", "1.7", Call(Operation.CANCEL, V10)),
        ("SubscribeToTask", " 1.0 ", Call(Operation.SUBSCRIBE, V10)),
        ("message/send", None, Call(Operation.SEND, V03)),
        ("message/stream", "", Call(Operation.STREAM, V03)),
        ("message/send", "0.3", Call(Operation.SEND, V03)),
        ("message/send", "0.2.5", Call(Operation.SEND, V03)),
        ("message/send", "0.3.0-rc", None),
        ("tasks/get", None, Call(Operation.GET, None, shared=True)),
        ("tasks/cancel", "0.3", Call(Operation.CANCEL, None, shared=True)),
        ("tasks/resubscribe", "  ", Call(Operation.SUBSCRIBE, None, shared=True)),
        ("tasks/send", None, Call(Operation.SEND, V01)),
        ("tasks/sendSubscribe", None, Call(Operation.STREAM, V01)),
        ("tasks/sendSubscribe", "0.1", Call(Operation.STREAM, V01)),
        ("tasks/sendSubscribe", "1.0", Call(Operation.STREAM, V01)),
    ],
)
def test_the_method_and_the_header_tell_the_generation(
    method: str, version: str | None, call: Call | None
) -> None:
    """Section 6, rules 2 to 5; the patch of a version is ignored, any 1.x is 1.0."""
    if call is None:
        with pytest.raises(errors.VersionNotSupported):
            called(method, version)
    else:
        assert called(method, version) == call


@pytest.mark.parametrize("version", ["2.0", "1", "0", "x", "1.", ".1", "1.0.0.0", "01.0", "1.0\n2"])
@pytest.mark.parametrize("method", ["SendMessage", "message/send", "tasks/get", "nonsense"])
def test_a_version_that_is_not_served(method: str, version: str) -> None:
    """Section 4: unsupported → -32009, with what is supported."""
    with pytest.raises(errors.VersionNotSupported, match=r"supported are 1\.0, 0\.3") as caught:
        called(method, version)
    assert caught.value.generation is V10


@pytest.mark.parametrize("version", [None, "", "0.3"])
def test_a_1_0_method_needs_its_header(version: str | None) -> None:
    """Section 4: missing = 0.3, and 0.3 has no such method → -32009."""
    with pytest.raises(errors.VersionNotSupported) as caught:
        called("SendMessage", version)
    assert caught.value.generation is V10
    assert caught.value.message == (
        "Protocol version is not supported: SendMessage is a method of 1.0: send it with the "
        "header A2A-Version: 1.0 (without one, 0.3 is meant); supported are 1.0, 0.3"
    )


@pytest.mark.parametrize(
    ("method", "version", "generation"),
    [
        ("message/send", "1.0", V10),
        ("tasks/get", "1.0", V10),
        ("nonsense", "1.0", V10),
        ("nonsense", None, V03),
        ("tasks/list", None, V03),
        ("sendmessage", "1.0", V10),
    ],
)
def test_a_method_that_is_not_there(
    method: str, version: str | None, generation: Generation
) -> None:
    """Section 6, rule 6 → -32601."""
    with pytest.raises(errors.MethodNotFound) as caught:
        called(method, version)
    assert caught.value.generation is generation
    assert repr(method) in caught.value.message


@pytest.mark.parametrize("legacy_route", ["tasks/send", "tasks/sendSubscribe"])
def test_a_legacy_path_takes_its_own_method_only(legacy_route: str) -> None:
    """Section 6: others are -32601 there, and the header says nothing."""
    operation = METHODS[legacy_route].operation
    assert called(legacy_route, "9.9", legacy_route) == Call(operation, V01)
    for method in METHODS.keys() - {legacy_route}:
        with pytest.raises(errors.MethodNotFound) as caught:
            called(method, None, legacy_route)
        assert caught.value.generation is V01
        assert caught.value.detail == (
            f"{method!r} is not served at this path; it takes {legacy_route!r}"
        )


@pytest.mark.parametrize(
    ("method", "version", "error", "generation"),
    [
        ("CreateTaskPushNotificationConfig", "1.0", errors.PushNotificationNotSupported, V10),
        ("GetTaskPushNotificationConfig", "1.0", errors.PushNotificationNotSupported, V10),
        ("ListTaskPushNotificationConfigs", "1.0", errors.PushNotificationNotSupported, V10),
        ("DeleteTaskPushNotificationConfig", "1.0", errors.PushNotificationNotSupported, V10),
        ("tasks/pushNotificationConfig/set", None, errors.PushNotificationNotSupported, V03),
        ("tasks/pushNotificationConfig/get", None, errors.PushNotificationNotSupported, V03),
        ("tasks/pushNotificationConfig/list", None, errors.PushNotificationNotSupported, V03),
        ("tasks/pushNotificationConfig/delete", None, errors.PushNotificationNotSupported, V03),
        ("tasks/pushNotification/set", None, errors.PushNotificationNotSupported, V01),
        ("tasks/pushNotification/get", None, errors.PushNotificationNotSupported, V01),
        ("ListTasks", "1.0", errors.UnsupportedOperation, V10),
        ("GetExtendedAgentCard", "1.0", errors.UnsupportedOperation, V10),
        ("agent/getAuthenticatedExtendedCard", None, errors.UnsupportedOperation, V03),
    ],
)
def test_known_but_not_served(
    method: str, version: str | None, error: type[errors.A2aError], generation: Generation
) -> None:
    """Section 4, Capability checks: -32003 and -32004, and the text names the method."""
    with pytest.raises(error) as caught:
        called(method, version)
    assert caught.value.generation is generation
    assert method in caught.value.message


@pytest.mark.parametrize(
    ("operation", "wire", "params", "generation"),
    [
        (Operation.GET, "a2a-0.1", {"id": "t"}, V01),
        (Operation.GET, "a2a-0.3", {"id": "t", "sessionId": "s"}, V03),
        (Operation.CANCEL, "a2a-1.0", {"id": "t"}, V03),
        (Operation.CANCEL, "asap", {"id": "t"}, V03),
        (Operation.GET, None, {"id": "t"}, V03),
        (Operation.GET, None, {"id": "t", "historyLength": 2}, V03),
        (Operation.GET, None, {"id": "t", "sessionId": "s"}, V01),
        (Operation.SUBSCRIBE, None, {"id": "t"}, V03),
        (Operation.SUBSCRIBE, None, {"id": "t", "historyLength": 2}, V01),
    ],
)
def test_a_shared_method_is_settled_by_its_task(
    operation: Operation, wire: str | None, params: dict[str, Any], generation: Generation
) -> None:
    """Section 6, rule 5: by the wire of the task; for an unknown one by what the params show."""
    assert settle(Call(operation, None, shared=True), wire, params) is generation


def test_a_call_that_is_not_shared_is_settled_already() -> None:
    """What the method told, the task does not change."""
    assert settle(Call(Operation.SEND, V10), "a2a-0.1", {}) is V10


@pytest.mark.parametrize("generation", Generation)
@pytest.mark.parametrize(
    "operation",
    [
        Operation.SEND,
        Operation.STREAM,
        Operation.GET,
        Operation.CANCEL,
        Operation.SUBSCRIBE,
    ],
)
def test_a_client_calls_what_a_server_routes(generation: Generation, operation: Operation) -> None:
    """Section 0: the name of each operation leads back to it."""
    version = "1.0" if generation is V10 else None
    call = called(method_name(operation, generation), version)
    assert call.operation is operation
    assert call.generation in {generation, None}


@pytest.mark.parametrize(
    ("version", "generation"),
    [("1.0", V10), (" 1.1", V10), ("0.3", V03), ("", V03), (None, V03), ("nonsense", V03)],
)
def test_what_is_no_request_is_refused_in_the_version_asked_for(
    version: str | None, generation: Generation
) -> None:
    """Section 4, Errors: 1.0 has details for requests that could not be read, too."""
    assert generation_of(version) is generation
