"""The errors of ASAP: their numbers, words and texts (spec §9)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from palaver import errors as model
from palaver.protocols.asap import errors
from palaver.protocols.asap.codec import encode, failure
from palaver.protocols.asap.errors import AsapError, PeerAnswered, RateLimited, from_task_error
from palaver.protocols.jsonrpc import ErrorObject, parse_response


def kinds(kind: type[AsapError] = AsapError) -> Iterator[type[AsapError]]:
    """Yield each error that a server of ours may answer."""
    for below in kind.__subclasses__():
        if below is not PeerAnswered:
            yield below
            yield from kinds(below)


def made(kind: type[AsapError]) -> AsapError:
    """Return one of that kind."""
    return kind("of some kind")


def test_the_table_has_them_all() -> None:
    """The table on top says of each error its number, its word and its HTTP status."""
    rows = re.findall(
        r"── (\w+) +(-?\d+)  (asap:\S+)(?: +HTTP (\d+))?", str(errors.__doc__), re.MULTILINE
    )
    told = {name: (int(code), uri, int(status or 200)) for name, code, uri, status in rows}
    assert told == {kind.__name__: (kind.code, kind.uri, kind.status) for kind in kinds()}


@pytest.mark.parametrize("kind", list(kinds()))
def test_what_an_error_says(kind: type[AsapError]) -> None:
    """Each has its text, then the detail; its data has the shape of all."""
    error = made(kind)
    assert error.message.startswith(f"{kind.text}: ")
    assert "of some kind" in error.message
    assert str(error) == error.message
    data = error.data()
    assert (
        data.items()
        >= {
            "code": kind.uri,
            "message": error.message,
            "recoverable": kind.recoverable,
        }.items()
    )
    assert re.fullmatch(r"asap:[a-z]+/[a-z_]+", kind.uri)


@pytest.mark.parametrize(
    ("error", "members"),
    [
        (errors.ParseError(), {"error": "Parse error"}),
        (errors.MethodNotFound("asap.dance"), {"method": "asap.dance"}),
        (errors.UnknownPayloadType("task.dance"), {"payload_type": "task.dance"}),
        (errors.AuthRequired(), {"status_code": 401}),
        (errors.AuthInvalid(), {"status_code": 401}),
        (errors.SenderMismatch(), {"status_code": 403}),
        (errors.InternalError(), {"error": "Internal server error"}),
        (errors.VersionMismatch(details={"supported": ["0.1"]}), {"supported": ["0.1"]}),
        (errors.VersionMismatch(), {"supported": []}),
        (errors.MalformedEnvelope("x"), {"validation_errors": []}),
        (RateLimited(retry_after=0.2), {"retry_after": 1, "retry_after_ms": 200}),
        (
            RateLimited(retry_after=2.5, details={"limit": "10/second"}),
            {"retry_after": 3, "retry_after_ms": 2500, "limit": "10/second"},
        ),
        (errors.TaskNotFound(details={"task_id": "t"}), {"details": {"task_id": "t"}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_some_errors_add(error: AsapError, members: dict[str, object]) -> None:
    """Some errors tell a program more."""
    assert error.data().items() >= members.items()


def test_texts() -> None:
    """The texts of those errors that other servers of ASAP have a text for."""
    assert str(errors.MessageRateExceeded()) == (
        "Rate limit exceeded; too many messages per second"
    )
    assert (
        str(errors.UnknownPayloadType("x")) == "Method not found: no handler for payload_type 'x'"
    )
    assert str(errors.MethodNotFound("x" * 200)) == (
        f"Method not found: '{'x' * 128}'; asap.send is served here"
    )


@pytest.mark.parametrize(
    ("error", "kind", "details"),
    [
        (model.TaskNotFound("t"), errors.TaskNotFound, {"task_id": "t"}),
        (
            model.TaskFinished("t", "completed"),
            errors.TaskFinished,
            {"task_id": "t", "from_state": "completed"},
        ),
        (
            model.TaskBusy("t", "working"),
            errors.InvalidState,
            {"task_id": "t", "from_state": "working"},
        ),
        (model.ConversationMismatch("t", "c"), errors.InputInvalid, {}),
        (model.UnknownAgent("a"), errors.AgentNotFound, {}),
        (model.UnknownSkill("a", "s", ("echo",)), errors.SkillNotFound, {}),
        (model.InvalidId("it must not be empty"), errors.InputInvalid, {}),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_the_engine_refuses(
    error: model.PalaverError, kind: type[AsapError], details: dict[str, str]
) -> None:
    """What the engine refuses has the error that says so, and the engine's words."""
    assert isinstance(error, model.TaskError | model.ModelError)
    found = from_task_error(error)
    assert type(found) is kind
    assert found.message == f"{kind.text}: {error}"
    assert found.details == details


@pytest.mark.parametrize("error", [model.Overloaded(10, 1.5), model.Stopping(1.5)])
def test_a_server_that_takes_no_more(error: model.TaskError) -> None:
    """It is a 503, and says when to come back."""
    found = from_task_error(error)
    assert (type(found), found.status, found.code) == (errors.ServerBusy, 503, -32031)
    assert found.data()["retry_after_ms"] == 1500


def test_a_key_that_came_with_other_content() -> None:
    """The id that is made of the key is ours, and is not told."""
    found = from_task_error(model.MessageReused("asap_abc"))
    assert type(found) is errors.KeyReused
    assert "asap_abc" not in found.message


def test_what_no_peer_can_cause_stays_here() -> None:
    """An error of our own program is an internal one, without its detail."""
    found = from_task_error(model.IllegalEvent("the secret"))
    assert type(found) is errors.InternalError
    assert found.message == "Internal error"


@pytest.mark.parametrize(
    ("data", "uri", "details", "wait", "recoverable"),
    [
        (None, "", {}, None, False),
        ("text", "", {}, None, False),
        ({"code": 5, "details": [], "retry_after": "x"}, "", {}, None, False),
        ({"retry_after": -1, "recoverable": "yes"}, "", {}, None, False),
        (
            {"code": "asap:task/not_found", "details": {"task_id": "t"}, "retry_after": 2},
            "asap:task/not_found",
            {"task_id": "t"},
            2,
            False,
        ),
        ({"recoverable": True}, "", {}, None, True),
    ],
)
def test_what_a_peer_answered(
    data: object,
    uri: str,
    details: object,
    wait: float | None,
    recoverable: bool,  # noqa: FBT001
) -> None:
    """It keeps its number, its text and its data, and goes on as it came."""
    answer = ErrorObject(-32010, "Gone", data)
    found = PeerAnswered(answer, request_id=7)
    assert (found.code, str(found), found.uri) == (-32010, "Gone", uri)
    assert (found.details, found.retry_after, found.recoverable) == (details, wait, recoverable)
    assert found.data() == data
    assert parse_response(encode(failure(found))).error == answer
