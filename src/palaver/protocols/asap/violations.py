"""What is wrong with a value that a peer sent, in words that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from palaver.protocols.asap.errors import MalformedEnvelope

__all__ = ["malformed"]

_MAX_VIOLATIONS: Final = 20

# pydantic's word for what is wrong → ours, filled in from its context.
_TEXTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "missing": "is required",
        "extra_forbidden": "is not a member that is known here",
        "string_type": "must be a string",
        "string_too_short": "must not be empty",
        "string_too_long": "must have at most {max_length} characters",
        "string_pattern_mismatch": "must match {pattern}",
        "int_type": "must be an integer",
        "int_from_float": "must be an integer",
        "int_parsing": "must be an integer",
        "float_type": "must be a number",
        "greater_than_equal": "must be at least {ge:.0f}",
        "less_than_equal": "must be at most {le:.0f}",
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "tuple_type": "must be an array",
        "too_long": "must hold at most {max_length} items",
        "enum": "must be {expected}",
        "literal_error": "must be {expected}",
        "union_tag_invalid": "must have a type that is one of {expected_tags}",
        "union_tag_not_found": "must have a type",
        "value_error": "{error}",
    }
)


def malformed(error: ValidationError, *at: str) -> MalformedEnvelope:
    """Return the error that names each field that is wrong; ``at`` leads to the value."""
    violations = tuple(
        _violation((*at, *(step for step in detail["loc"] if not _names_a_type(step))), detail)
        for detail in error.errors(include_url=False, include_input=False)[:_MAX_VIOLATIONS]
    )
    first = violations[0]
    more = len(violations) - 1
    text = f"{'.'.join(map(str, first['loc']))} {first['msg']}"
    return MalformedEnvelope(f"{text} (and {more} more)" if more else text, violations=violations)


def _violation(loc: tuple[str | int, ...], detail: ErrorDetails) -> dict[str, Any]:
    text = _TEXTS.get(detail["type"])
    said = detail["msg"] if text is None else text.format_map(detail.get("ctx", {}))
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in loc)
    return {"pointer": pointer, "loc": list(loc), "msg": said, "type": detail["type"]}


def _names_a_type(step: int | str) -> bool:
    """Tell whether a step of a validator's path is the branch of a union, not a member."""
    return isinstance(step, str) and step.startswith("[") and step.endswith("]")
