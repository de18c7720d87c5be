"""The errors of ASAP, each with its word for programs, its number and its HTTP status.

::

    AsapError
    ├── ParseError          -32700  asap:protocol/malformed_envelope
    ├── InvalidRequest      -32600  asap:protocol/malformed_envelope
    ├── TooLarge            -32600  asap:protocol/malformed_envelope       HTTP 413
    ├── AuthRequired        -32600  asap:security/auth_required
    │   └── AuthInvalid     -32600  asap:security/auth_invalid
    ├── MethodNotFound      -32601  asap:protocol/method_not_found
    ├── UnknownPayloadType  -32601  asap:transport/handler_not_found
    ├── MalformedEnvelope   -32602  asap:protocol/malformed_envelope
    ├── InvalidTimestamp    -32602  asap:protocol/invalid_timestamp
    ├── InvalidNonce        -32602  asap:protocol/invalid_nonce
    ├── SenderMismatch      -32602  asap:security/permission_denied
    ├── InputInvalid        -32602  asap:capability/input_validation
    ├── KeyReused           -32602  asap:protocol/idempotency_conflict
    ├── InternalError       -32603  asap:execution/internal_error
    ├── VersionMismatch     -32000  asap:protocol/version_mismatch
    ├── InvalidState        -32000  asap:protocol/invalid_state
    ├── MessageRateExceeded -32001  asap:resource/rate_limited             on a WebSocket
    ├── TaskNotFound        -32010  asap:task/not_found
    ├── AgentNotFound       -32013  asap:routing/agent_not_found
    ├── SkillNotFound       -32021  asap:capability/skill_not_found
    ├── TaskFinished        -32030  asap:task/already_completed
    ├── ServerBusy          -32031  asap:transport/thread_pool_exhausted   HTTP 503
    ├── ReplyTimeout        -32033  asap:execution/task_timeout
    ├── RateLimited            429  asap:resource/rate_limited             HTTP 429
    └── PeerAnswered        what a peer answered, word for word

The numbers below -32603 are those of ASAP 2.2, by their bands; 1.1 has none for them. Where no
HTTP status stands the answer is a 200, as JSON-RPC has it. A message is the text of its class,
then what was wrong, where, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Any, Final

from palaver import errors
from palaver.protocols.jsonrpc import ErrorObject

__all__ = [
    "AgentNotFound",
    "AsapError",
    "AuthInvalid",
    "AuthRequired",
    "InputInvalid",
    "InternalError",
    "InvalidNonce",
    "InvalidRequest",
    "InvalidState",
    "InvalidTimestamp",
    "KeyReused",
    "MalformedEnvelope",
    "MessageRateExceeded",
    "MethodNotFound",
    "ParseError",
    "PeerAnswered",
    "RateLimited",
    "ReplyTimeout",
    "SenderMismatch",
    "ServerBusy",
    "SkillNotFound",
    "TaskFinished",
    "TaskNotFound",
    "TooLarge",
    "UnknownPayloadType",
    "VersionMismatch",
    "from_task_error",
]


class AsapError(errors.PalaverError):
    """Base of what ASAP answers instead of a result.

    Attributes:
        message: What the peer reads.
        request_id: The JSON-RPC id to answer to; ``None`` where it could not be read.
        status: The HTTP status of the answer.
        retry_after: Seconds after which to try again, where that may help.

    """

    code: int
    uri: str
    text: str
    status: int = 200
    recoverable: bool = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        details: Mapping[str, Any] | None = None,
        request_id: str | int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail
        self.details = dict(details or {})
        self.request_id = request_id
        self.retry_after = retry_after
        self.message = self.text if detail is None else f"{self.text}: {detail}"
        super().__init__(self.message)

    def members(self) -> dict[str, Any]:
        """Return what stands in ``error.data`` beside what every error says there."""
        return {}

    def data(self) -> Any:
        """Return ``error.data``: the shape of 1.1, and ``recoverable`` as 2.2 has it."""
        said: dict[str, Any] = {
            "error": self.text,
            "code": self.uri,
            "message": self.message,
            "details": self.details,
            "recoverable": self.recoverable,
        }
        if self.retry_after is not None:
            said["retry_after"] = max(1, ceil(self.retry_after))
            said["retry_after_ms"] = ceil(self.retry_after * 1000)
        return said | self.members()

    def object(self) -> ErrorObject:
        """Return the JSON-RPC error."""
        return ErrorObject(self.code, self.message, self.data())


class ParseError(AsapError):
    """The body or frame is not JSON."""

    code = -32700
    uri = "asap:protocol/malformed_envelope"
    text = "Parse error"


class InvalidRequest(AsapError):
    """The JSON is no JSON-RPC request."""

    code = -32600
    uri = "asap:protocol/malformed_envelope"
    text = "Invalid request"


class TooLarge(AsapError):
    """The body or frame is larger than what is taken."""

    code = -32600
    uri = "asap:protocol/malformed_envelope"
    text = "Request too large"
    status = 413


class AuthRequired(AsapError):
    """Nobody said who calls."""

    code = -32600
    uri = "asap:security/auth_required"
    text = "Authentication required"

    def members(self) -> dict[str, Any]:
        """Return the status that HTTP would have."""
        return {"status_code": 401}


class AuthInvalid(AuthRequired):
    """What says who calls is not to be trusted: unknown, malformed, or past its time."""

    uri = "asap:security/auth_invalid"
    text = "Invalid authentication token"


class MethodNotFound(AsapError):
    """ASAP has no such method, or it is not one to send to this side."""

    code = -32601
    uri = "asap:protocol/method_not_found"
    text = "Method not found"

    def __init__(self, method: str, *, request_id: str | int | None = None) -> None:
        detail = f"{method[:128]!r}; asap.send is served here"
        super().__init__(detail, details={"method": method[:128]}, request_id=request_id)

    def members(self) -> dict[str, Any]:
        """Return the method that was asked for."""
        return {"method": self.details["method"]}


class UnknownPayloadType(AsapError):
    """Nothing here takes envelopes of that payload type."""

    code = -32601
    uri = "asap:transport/handler_not_found"
    text = "Method not found"

    def __init__(self, payload_type: str, *, request_id: str | int | None = None) -> None:
        detail = f"no handler for payload_type {payload_type!r}"
        super().__init__(detail, details={"payload_type": payload_type}, request_id=request_id)

    def members(self) -> dict[str, Any]:
        """Return the payload type."""
        return {"payload_type": self.details["payload_type"]}


class MalformedEnvelope(AsapError):
    """The envelope or its payload is missing, or is not as it must be.

    ``violations`` names each field that is wrong: ``pointer`` (a JSON Pointer below ``params``),
    ``loc`` (the same as a list), ``msg`` and ``type``.
    """

    code = -32602
    uri = "asap:protocol/malformed_envelope"
    text = "Invalid params"

    def __init__(
        self,
        detail: str | None = None,
        *,
        violations: tuple[Mapping[str, Any], ...] = (),
        request_id: str | int | None = None,
    ) -> None:
        super().__init__(detail, request_id=request_id)
        self.violations = violations

    def members(self) -> dict[str, Any]:
        """Return what is wrong, field by field."""
        return {"validation_errors": [dict(violation) for violation in self.violations]}


class InvalidTimestamp(AsapError):
    """The envelope is too old, or too far in the future."""

    code = -32602
    uri = "asap:protocol/invalid_timestamp"
    text = "Invalid timestamp"


class InvalidNonce(AsapError):
    """The nonce of the envelope was used before, is missing, or is none."""

    code = -32602
    uri = "asap:protocol/invalid_nonce"
    text = "Invalid nonce"


class SenderMismatch(AsapError):
    """The sender of the envelope is not who authenticated."""

    code = -32602
    uri = "asap:security/permission_denied"
    text = "Sender identity mismatch"

    def members(self) -> dict[str, Any]:
        """Return the status that HTTP would have."""
        return {"status_code": 403}


class InputInvalid(AsapError):
    """The input does not fit the task, the skill or the conversation that it names."""

    code = -32602
    uri = "asap:capability/input_validation"
    text = "Invalid input"


class KeyReused(AsapError):
    """An idempotency key, or an envelope id, came back with other content."""

    code = -32602
    uri = "asap:protocol/idempotency_conflict"
    text = "Idempotency key reused"


class InternalError(AsapError):
    """Something broke on this side; the detail stays here."""

    code = -32603
    uri = "asap:execution/internal_error"
    text = "Internal error"

    def members(self) -> dict[str, Any]:
        """Return the words of ASAP 1.1."""
        return {"error": "Internal server error"}


class VersionMismatch(AsapError):
    """The envelope is of a version of ASAP that is not known here; ``supported`` are."""

    code = -32000
    uri = "asap:protocol/version_mismatch"
    text = "Version mismatch"

    def members(self) -> dict[str, Any]:
        """Return the versions that are known."""
        return {"supported": self.details.get("supported", [])}


class InvalidState(AsapError):
    """The task is in a state that does not allow that."""

    code = -32000
    uri = "asap:protocol/invalid_state"
    text = "Invalid state"


class MessageRateExceeded(AsapError):
    """More messages a second came over one WebSocket than it may carry."""

    code = -32001
    uri = "asap:resource/rate_limited"
    text = "Rate limit exceeded; too many messages per second"
    recoverable = True


class TaskNotFound(AsapError):
    """There is no such task for this caller, or none of that version."""

    code = -32010
    uri = "asap:task/not_found"
    text = "Task not found"


class AgentNotFound(AsapError):
    """No agent of that URN is served here."""

    code = -32013
    uri = "asap:routing/agent_not_found"
    text = "Agent not found"


class SkillNotFound(AsapError):
    """The agent has no such skill."""

    code = -32021
    uri = "asap:capability/skill_not_found"
    text = "Skill not found"


class TaskFinished(AsapError):
    """The task has come to its end before."""

    code = -32030
    uri = "asap:task/already_completed"
    text = "Task already completed"


class ServerBusy(AsapError):
    """This server holds all that it may, or stops."""

    code = -32031
    uri = "asap:transport/thread_pool_exhausted"
    text = "Server is busy"
    status = 503
    recoverable = True


class ReplyTimeout(AsapError):
    """The task goes on, but this request was not answered in time."""

    code = -32033
    uri = "asap:execution/task_timeout"
    text = "Task timeout"
    recoverable = True


class RateLimited(AsapError):
    """More requests came than this caller may send."""

    code = 429
    uri = "asap:resource/rate_limited"
    text = "Rate limit exceeded"
    status = 429
    recoverable = True

    def members(self) -> dict[str, Any]:
        """Return the limit, where it has a name."""
        return {"limit": self.details["limit"]} if "limit" in self.details else {}


class PeerAnswered(AsapError):
    """What a peer answered: its number, its text, its data."""

    text = "The peer refused"

    def __init__(self, answer: ErrorObject, *, request_id: str | int | None = None) -> None:
        said = answer.data if isinstance(answer.data, dict) else {}
        details, wait = said.get("details"), said.get("retry_after")
        super().__init__(
            details=details if isinstance(details, dict) else None,
            request_id=request_id,
            retry_after=wait if isinstance(wait, int | float) and wait >= 0 else None,
        )
        self.answer = answer
        self.code = answer.code
        self.uri = said["code"] if isinstance(said.get("code"), str) else ""
        self.recoverable = said.get("recoverable") is True
        self.message = answer.message
        self.args = (answer.message,)

    def data(self) -> Any:
        """Return ``error.data`` as it came."""
        return self.answer.data


# --- what the engine refuses -----------------------------------------------------------------

_TASK_ERRORS: Final[Mapping[type[errors.PalaverError], type[AsapError]]] = MappingProxyType(
    {
        errors.TaskNotFound: TaskNotFound,
        errors.TaskFinished: TaskFinished,
        errors.TaskBusy: InvalidState,
        errors.ConversationMismatch: InputInvalid,
        errors.MessageReused: KeyReused,
        errors.UnknownAgent: AgentNotFound,
        errors.UnknownSkill: SkillNotFound,
        errors.InvalidId: InputInvalid,
    }
)


def from_task_error(error: errors.TaskError | errors.ModelError) -> AsapError:
    """Return the ASAP error for what the engine refused.

    What no peer can cause by what it sends is an internal error, whose detail stays here.
    """
    if isinstance(error, errors.Overloaded | errors.Stopping):
        return ServerBusy(str(error), retry_after=error.retry_after)
    if isinstance(error, errors.MessageReused):
        return KeyReused("it came before with other content: give each new request its own")
    if isinstance(error, errors.TaskFinished | errors.TaskBusy):
        details = {"task_id": error.task_id, "from_state": str(error.state)}
        return _TASK_ERRORS[type(error)](str(error), details=details)
    if isinstance(error, errors.TaskNotFound):
        return TaskNotFound(str(error), details={"task_id": error.task_id})
    known = _TASK_ERRORS.get(type(error))
    return InternalError() if known is None else known(str(error))
