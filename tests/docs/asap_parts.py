"""The parts of the guide to ASAP that repeat what the code says."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin

from palaver.config import Settings
from palaver.protocols.asap import errors
from palaver.protocols.asap.errors import AsapError, PeerAnswered
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import PAYLOADS, Envelope
from palaver.protocols.asap.spelling import PayloadType

__all__ = ["ASAP_PARTS"]

_WHERE: Final = "docs/asap.md"
_ANSWERED: Final[Mapping[PayloadType, str]] = MappingProxyType(
    {
        PayloadType.TASK_REQUEST: "`TaskResponse`, once the task is settled or the wait is over",
        PayloadType.TASK_CANCEL: "`TaskResponse` with the status `cancelled`",
        PayloadType.MESSAGE_SEND: "`TaskResponse`, as to a request",
        PayloadType.STATE_QUERY: "`TaskResponse` with the snapshot in `final_state`",
        PayloadType.STATE_RESTORE: "`TaskResponse` with that snapshot in `final_state`",
        PayloadType.MCP_TOOL_CALL: "`McpToolResult`, where the server has an extension for it",
        PayloadType.MCP_RESOURCE_FETCH: "`McpResourceData`, where it has one",
    }
)
_INFORMS: Final = "`MessageAck`: it only informs"


def _envelope() -> Iterator[str]:
    yield "| member | must be there | default |"
    yield "|---|---|---|"
    filled_in = {"id": "a new one", "timestamp": "now"}
    for name, field in Envelope.model_fields.items():
        default = filled_in.get(name) or ("" if field.is_required() else _shown(field.default))
        yield f"| `{name}` | {'' if default else 'yes'} | {default} |"


def _shown(value: Any) -> str:
    return "none" if value is None else f"`{str(value).lower()}`"


def _payloads() -> Iterator[str]:
    yield "| `payload_type` | members (those in brackets may be missing) | answered with |"
    yield "|---|---|---|"
    for kind, model in PAYLOADS.items():
        members = [
            f"`{name}`{_choices(field.annotation)}"
            if field.is_required()
            else f"[`{name}`{_choices(field.annotation)}]"
            for name, field in model.model_fields.items()
        ]
        yield f"| `{kind.value}` | {', '.join(members)} | {_ANSWERED.get(kind, _INFORMS)} |"


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return f" ({', '.join(f'`{one}`' for one in get_args(annotation))})"


def _errors() -> Iterator[str]:
    yield "| code | `data.code` | text | HTTP | what it says |"
    yield "|---|---|---|---|---|"
    for kind in _kinds():
        said = _plain((inspect.getdoc(kind) or "").partition("\n\n")[0])
        yield f"| {kind.code} | `{kind.uri}` | {kind.text} | {kind.status} | {said} |"


def _kinds() -> Iterator[type[AsapError]]:
    for kind in vars(errors).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, AsapError)
            and kind not in {AsapError, PeerAnswered}
        ):
            yield kind


def _limits() -> Iterator[str]:
    yield "| limit | default | setting | what it bounds |"
    yield "|---|---|---|---|"
    said = _said_of_fields(Limits)
    for field in fields(Limits):
        name = f"asap_{field.name}"
        setting = f"`{name}`" if name in Settings.model_fields else ""
        yield f"| `{field.name}` | {_number(field.default)} | {setting} | {said[field.name]} |"


def _number(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_number(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _said_of_fields(model: type) -> dict[str, str]:
    """Return what stands behind each field of a class; one sentence may be of two fields."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    names: list[str] = []
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found |= dict.fromkeys(names, _plain(str(node.value.value)))
            names = []
    return found


def _plain(said: str) -> str:
    return " ".join(said.split()).replace("``", "`")


ASAP_PARTS: Final[Mapping[str, tuple[str, Callable[[], Iterator[str]]]]] = MappingProxyType(
    {
        "asap-envelope": (_WHERE, _envelope),
        "asap-payloads": (_WHERE, _payloads),
        "asap-errors": (_WHERE, _errors),
        "asap-limits": (_WHERE, _limits),
    }
)
"""Name of a part → the document that has it, and what it says."""
