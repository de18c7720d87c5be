"""The errors of ASP, in one table: code, name, category, what to do, how the socket closes.

Two kinds are told apart. What a *peer* did wrong becomes a ``ProtocolError``, which travels in
``protocol.error``, ``session.started`` and ``session.updated``. What *our own* program did wrong
raises ``Misuse``; nothing of it reaches the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from palaver.errors import PalaverError

__all__ = [
    "ERRORS",
    "ErrorCategory",
    "ErrorCode",
    "ErrorRule",
    "JsonObject",
    "Misuse",
    "ProtocolError",
    "Rejection",
    "close_code",
    "field_error",
    "malformed",
    "protocol_error",
]


class ErrorCategory(StrEnum):
    """The thousands of an error's code."""

    PROTOCOL = "protocol"
    AUDIO = "audio"
    VAD = "vad"
    SESSION = "session"


class ErrorCode(IntEnum):
    """Every code; those of 1.1 are marked so in ``ERRORS``."""

    INVALID_MESSAGE_FORMAT = 1001
    HANDSHAKE_TIMEOUT = 1002
    INVALID_MESSAGE_TYPE = 1003
    VERSION_MISMATCH = 1004
    SESSION_ALREADY_ACTIVE = 1005
    INTERNAL_ERROR = 1006
    UNSUPPORTED_SAMPLE_RATE = 2001
    UNSUPPORTED_ENCODING = 2002
    INVALID_FRAME_DURATION = 2003
    AUDIO_PROCESSING_ERROR = 2004
    AUDIO_RATE_EXCEEDED = 2005
    UNSUPPORTED_CHANNELS = 2006
    UNSUPPORTED_FRAMING = 2007
    INVALID_VAD_PARAMETER = 3001
    VAD_NOT_CONFIGURABLE = 3002
    VAD_INITIALIZATION_ERROR = 3003
    SESSION_NOT_FOUND = 4001
    SESSION_EXPIRED = 4002
    SESSION_LIMIT_REACHED = 4003
    SESSION_UPDATE_NOT_ALLOWED = 4004
    CONFIG_DIGEST_MISMATCH = 4005
    RESUME_REFUSED = 4006

    @property
    def wire_name(self) -> str:
        """The name that stands in ``error.name``, such as ``unsupported_sample_rate``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """What a code means: to the machine (``recoverable``), and to whoever reads the log."""

    meaning: str
    recovery: str
    recoverable: bool = True
    since: str = "1.0.0"


_CATEGORIES: Final = tuple(ErrorCategory)

ERRORS: Final[Mapping[ErrorCode, ErrorRule]] = MappingProxyType(
    {
        ErrorCode.INVALID_MESSAGE_FORMAT: ErrorRule(
            "The message is not JSON, or a field is missing or has the wrong type.",
            "Correct the field that `details.pointer` names, and send the message again.",
        ),
        ErrorCode.HANDSHAKE_TIMEOUT: ErrorRule(
            "No session was started in time.",
            "Connect again, and send `session.start` as soon as the capabilities are there.",
            recoverable=False,
        ),
        ErrorCode.INVALID_MESSAGE_TYPE: ErrorRule(
            "The type is unknown, not for this side to send, or of a feature that was not agreed.",
            "Send only the types of the agreed version and features; the message was ignored.",
        ),
        ErrorCode.VERSION_MISMATCH: ErrorRule(
            "The major versions of the two sides differ.",
            "Use a client of the server's major version.",
            recoverable=False,
        ),
        ErrorCode.SESSION_ALREADY_ACTIVE: ErrorRule(
            "A session of that id is active, here or on another socket.",
            "Give each session an id of its own, or end or resume the one that is there.",
        ),
        ErrorCode.INTERNAL_ERROR: ErrorRule(
            "The server failed; the session has ended.",
            "Start a new session; tell the operator of the server if it happens again.",
            recoverable=False,
            since="1.1.0",
        ),
        ErrorCode.UNSUPPORTED_SAMPLE_RATE: ErrorRule(
            "The server does not take that sample rate.",
            "Start again with one of `details.supported`, or with `negotiation: adjust`.",
        ),
        ErrorCode.UNSUPPORTED_ENCODING: ErrorRule(
            "The server does not take that encoding.",
            "Start again with one of `details.supported`, or with `negotiation: adjust`.",
        ),
        ErrorCode.INVALID_FRAME_DURATION: ErrorRule(
            "The server does not take frames of that duration.",
            "Start again with one of `details.supported`, or with `negotiation: adjust`.",
        ),
        ErrorCode.AUDIO_PROCESSING_ERROR: ErrorRule(
            "A binary message has no valid header, the wrong size, or a number out of order.",
            "Send whole frames in the agreed framing and encoding; the message was dropped.",
        ),
        ErrorCode.AUDIO_RATE_EXCEEDED: ErrorRule(
            "Audio came faster than the server takes it.",
            "Send at the rate of the clock, at most `details.max_lead_ms` ahead; "
            "what was too much was dropped.",
            since="1.1.0",
        ),
        ErrorCode.UNSUPPORTED_CHANNELS: ErrorRule(
            "The server takes one channel.",
            "Mix down to mono, or start with `negotiation: adjust`.",
            since="1.1.0",
        ),
        ErrorCode.UNSUPPORTED_FRAMING: ErrorRule(
            "The server does not take that framing, or not on a socket with other sessions.",
            "Start again with one of `details.supported`, or leave `audio.framing` out.",
            since="1.1.0",
        ),
        ErrorCode.INVALID_VAD_PARAMETER: ErrorRule(
            "A VAD parameter has the wrong type. (A value out of its range is adjusted.)",
            "Correct the field that `details.pointer` names, and send the message again.",
        ),
        ErrorCode.VAD_NOT_CONFIGURABLE: ErrorRule(
            "The server does not let clients configure VAD.",
            "Go on with the server's values; they stand in `negotiated.vad`.",
        ),
        ErrorCode.VAD_INITIALIZATION_ERROR: ErrorRule(
            "The detector could not be started.",
            "Start a new session; tell the operator of the server if it happens again.",
            recoverable=False,
        ),
        ErrorCode.SESSION_NOT_FOUND: ErrorRule(
            "There is no session of that id, or no session to which that audio belongs.",
            "Start a session first; after a break, start a new one.",
        ),
        ErrorCode.SESSION_EXPIRED: ErrorRule(
            "The session was idle for too long, or reached its longest time.",
            "Start a new session.",
            recoverable=False,
        ),
        ErrorCode.SESSION_LIMIT_REACHED: ErrorRule(
            "The server holds as many sessions as it may, or stops; or this socket failed too "
            "often.",
            "Connect again later, with growing delays.",
            recoverable=False,
        ),
        ErrorCode.SESSION_UPDATE_NOT_ALLOWED: ErrorRule(
            "The session is in a state that does not take that message.",
            "Wait for the answer to the request before it.",
        ),
        ErrorCode.CONFIG_DIGEST_MISMATCH: ErrorRule(
            "The two sides run different configurations; the session has ended.",
            "Apply `negotiated` before audio is processed, then start a new session.",
            recoverable=False,
            since="1.1.0",
        ),
        ErrorCode.RESUME_REFUSED: ErrorRule(
            "The token fits no session that can be resumed.",
            "Start a new session.",
            since="1.1.0",
        ),
    }
)


def close_code(code: ErrorCode) -> int:
    """Return the WebSocket close code of a fatal error: 4002 for 1002, 4403 for 4003."""
    group, number = divmod(code, 1000)
    return 4000 + number + (0 if group == 1 else 100 * group)


_MAX_OBJECT: Final = 8 * 1024
"""Bytes of an object of any JSON."""


def _json_object(found: dict[str, Any]) -> dict[str, Any]:
    """Refuse what cannot be written again, or is long: in memory it is many times as large."""
    try:
        size = len(orjson.dumps(found))
    except orjson.JSONEncodeError as error:
        raise PydanticCustomError("json", "must be JSON: {why}", {"why": str(error)}) from None
    if size > _MAX_OBJECT:
        raise PydanticCustomError(
            "json",
            "must be at most {most} bytes of JSON, not {size}",
            {"most": _MAX_OBJECT, "size": size},
        )
    return found


JsonObject: TypeAlias = Annotated[
    dict[str, Any], Field(max_length=64), AfterValidator(_json_object)
]
"""An object of any JSON, with at most 64 members and 8 KiB."""


class ProtocolError(BaseModel):
    """What a peer did wrong (``error`` of ``protocol.error``, items of ``errors``).

    ``details`` holds a JSON Pointer to the field (``pointer``) where there is one, and what is
    ``supported`` where a value is not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    code: Annotated[int, Field(ge=1, le=99_999, description="A number of the error table")]
    category: Annotated[
        str,
        Field(
            max_length=32,
            description="`protocol`, `audio`, `vad` or `session`",
            json_schema_extra={"enum": [str(one) for one in ErrorCategory]},
        ),
    ]
    message: Annotated[
        str, Field(max_length=4096, description="What was wrong, where, and what is allowed")
    ]
    name: Annotated[str | None, Field(max_length=64, description="The short name of the code")] = (
        None
    )
    details: Annotated[JsonObject | None, Field(description="The field, and what is supported")] = (
        None
    )
    recoverable: Annotated[
        bool, Field(description="Whether the sender of the error goes on with the session")
    ] = True


class Rejection(PalaverError):
    """A message of the peer cannot be taken; ``error`` says why, in the words of the wire."""

    def __init__(self, error: ProtocolError, session_id: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.session_id = session_id


class Misuse(PalaverError):
    """Our own side asked for what the protocol does not allow now; nothing was sent."""


def protocol_error(code: ErrorCode, message: str, **details: Any) -> ProtocolError:
    """Return the error of that code, with the table's name, category and recoverability."""
    return ProtocolError(
        code=int(code),
        category=_CATEGORIES[code // 1000 - 1].value,
        name=code.wire_name,
        message=message[:4096],
        details=details or None,
        recoverable=ERRORS[code].recoverable,
    )


def malformed(message: str, pointer: str, session_id: str | None = None) -> Rejection:
    """Return the rejection of a message that is not as it must be; ``pointer`` is the place."""
    error = protocol_error(ErrorCode.INVALID_MESSAGE_FORMAT, message, pointer=pointer)
    return Rejection(error, session_id)


# pydantic's word for what is wrong → ours, filled in from its context.
_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "missing",
        "string_type": "must be a string",
        "string_too_short": "must not be empty",
        "string_too_long": "must have at most {max_length} characters",
        "string_pattern_mismatch": "must match {pattern}",
        "int_type": "must be an integer",
        "float_type": "must be a number",
        "greater_than_equal": "must be at least {ge:.0f}",
        "less_than_equal": "must be at most {le:.0f}",
        "bool_type": "must be true or false",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "tuple_type": "must be an array",
        "too_short": "must not be empty",
        "too_long": "must hold at most {max_length} items",
        "enum": "must be {expected}",
        "literal_error": "must be {expected}",
        "json_invalid": "is not JSON: {error}",
    }
)


def field_error(error: ValidationError) -> ProtocolError:
    """Return the first thing that is wrong, with a JSON Pointer (RFC 6901) to it."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = [str(step) for step in first["loc"] if not _names_a_type(step)]
    in_vad = path[:1] == ["vad"] and first["type"] != "missing"
    code = ErrorCode.INVALID_VAD_PARAMETER if in_vad else ErrorCode.INVALID_MESSAGE_FORMAT
    pointer = "".join("/" + step for step in path)
    text = _TEXTS.get(first["type"], first["msg"]).format_map(first.get("ctx", {}))
    where = f"{'.'.join(path)}:" if path else "the message"
    return protocol_error(code, f"{where} {text}", pointer=pointer)


def _names_a_type(step: int | str) -> bool:
    """Tell whether a step of a validator's path is the branch of a union, not a member."""
    return "[" in str(step)
