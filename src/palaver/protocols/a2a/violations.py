"""What is wrong with a value that a peer sent, in words that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import FieldViolation, InvalidAgentResponse, InvalidParams

__all__ = ["check_object", "check_params", "check_result", "not_the_user"]

_ModelT = TypeVar("_ModelT", bound=BaseModel)

_MAX_VIOLATIONS: Final = 20

# pydantic's word for what is wrong → ours, filled in from its context.
_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "is required",
        "string_type": "must be a string",
        "string_too_short": "must not be empty",
        "string_too_long": "must have at most {max_length} characters",
        "int_type": "must be an integer",
        "int_from_float": "must be an integer",
        "greater_than_equal": "must be at least {ge}",
        "less_than_equal": "must be at most {le}",
        "bool_type": "must be true or false",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "tuple_type": "must be an array",
        "literal_error": "must be {expected}",
        "value_error": "{error}",
    }
)


def check_params(model: type[_ModelT], params: Any, generation: Generation) -> _ModelT:
    """Return ``params`` as ``model``.

    Raises:
        InvalidParams: the message tells the first violation, the details all of them.

    """
    try:
        return model.model_validate(params)
    except ValidationError as error:
        violations = _violations(error)
        detail = _detail(violations)
        raise InvalidParams(detail, field_violations=violations, generation=generation) from None


def check_result(model: type[_ModelT], result: Any, generation: Generation) -> _ModelT:
    """Return ``result`` as ``model``.

    Raises:
        InvalidAgentResponse: the message tells the first violation.

    """
    try:
        return model.model_validate(result)
    except ValidationError as error:
        raise InvalidAgentResponse(_detail(_violations(error)), generation=generation) from None


def check_object(result: Any, generation: Generation) -> dict[str, Any]:
    """Return ``result``, which every generation has as an object.

    Raises:
        InvalidAgentResponse: it is none.

    """
    if not isinstance(result, dict):
        raise InvalidAgentResponse("it must be an object", generation=generation)
    return result


def not_the_user(user: str, generation: Generation) -> InvalidParams:
    """Return the error for a message whose role is not ``user``, the caller."""
    violation = FieldViolation("message.role", f"must be {user}: the caller is the user")
    detail = f"{violation.field} {violation.description}"
    return InvalidParams(detail, field_violations=(violation,), generation=generation)


def _violations(error: ValidationError) -> tuple[FieldViolation, ...]:
    details = error.errors(include_url=False, include_input=False)
    # pydantic counts the valid items only, and so finds too few where one of them is wrong.
    inside = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return tuple(
        FieldViolation(_path(detail["loc"]), _describe(detail))
        for detail in details
        if not (detail["type"] == "too_short" and detail["loc"] in inside)
    )[:_MAX_VIOLATIONS]


def _detail(violations: tuple[FieldViolation, ...]) -> str:
    first = violations[0]
    text = f"{first.field} {first.description}".lstrip()
    more = len(violations) - 1
    return f"{text} (and {more} more)" if more else text


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for step in loc:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def _describe(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "too_short":
        return f"must hold at least {_count(detail, context['min_length'])}"
    if detail["type"] == "too_long":
        return f"must hold at most {_count(detail, context['max_length'])}"
    text = _TEXTS.get(detail["type"])
    return detail["msg"] if text is None else text.format_map(context)


_NOUNS: Final = MappingProxyType(
    {"parts": "part", "artifacts": "artifact", "history": "message", "skills": "skill"}
)


def _count(detail: ErrorDetails, number: int) -> str:
    noun = _NOUNS.get(str(detail["loc"][-1]), "item")
    return f"one {noun}" if number == 1 else f"{number} {noun}s"
