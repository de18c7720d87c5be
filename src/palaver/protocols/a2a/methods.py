"""Method names to operations (stubs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palaver.protocols.a2a.commands import Generation, Operation
from palaver.protocols.jsonrpc import Request


@dataclass(frozen=True, slots=True)
class Call:
    operation: Operation
    generation: Generation | None
    shared: bool = False


def route(request: Request, version: str | None, legacy_route: str | None = None) -> Call:
    raise NotImplementedError


def settle(call: Call, task_wire: str | None, params: Mapping[str, Any]) -> Generation:
    raise NotImplementedError
