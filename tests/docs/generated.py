"""The parts of the documents that repeat what the code says: made from it, never by hand.

``python -m tests.docs.generated`` writes them anew, with the JSON Schemas and the test vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from palaver.config import Settings
from palaver.model.states import INTERRUPTED, TERMINAL, TRANSITIONS, TaskState
from palaver.protocols.a2a.commands import Operation
from palaver.protocols.a2a.methods import METHODS
from tests.docs.asap_parts import ASAP_PARTS
from tests.docs.asp_parts import ASP_PARTS
from tests.docs.asp_vectors import VECTORS
from tests.docs.documents import ROOT
from tests.docs.schemas import SCHEMAS

__all__ = ["PARTS", "SCHEMAS", "renewed"]

_DEFAULT_STORE: Final = "~/.local/state/palaver/palaver.db"
_OPERATIONS: Final[Mapping[Operation, str]] = MappingProxyType(
    {
        Operation.SEND: "send a message, wait for the task",
        Operation.STREAM: "send a message, stream the task",
        Operation.GET: "read a task",
        Operation.CANCEL: "stop a task",
        Operation.SUBSCRIBE: "stream a task that exists",
        Operation.LIST: "list tasks",
        Operation.PUSH: "push notifications",
        Operation.EXTENDED_CARD: "the extended card",
    }
)
_UNSERVED: Final[Mapping[Operation, str]] = MappingProxyType(
    {Operation.LIST: "-32004", Operation.PUSH: "-32003", Operation.EXTENDED_CARD: "-32004"}
)


def _settings() -> Iterator[str]:
    yield "| setting | default | what it sets |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = _DEFAULT_STORE if name == "store" else field.default
        yield f"| `{name}` | {_shown(default)} | {field.description} |"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:.0f}`" if value.is_integer() else f"`{value}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value) or "none"
    return f"`{value}`"


def _diagram() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> submitted"
    for state, following in TRANSITIONS.items():
        for after in (other for other in TaskState if other in following):
            yield f"    {state} --> {after}"
    for state in (state for state in TaskState if state in TERMINAL):
        yield f"    {state} --> [*]"
    yield "```"


def _states() -> Iterator[str]:
    yield "| state | kind | may be followed by |"
    yield "|---|---|---|"
    for state, following in TRANSITIONS.items():
        kind = "terminal" if state in TERMINAL else "waits" if state in INTERRUPTED else "live"
        after = ", ".join(f"`{other}`" for other in TaskState if other in following)
        yield f"| `{state}` | {kind} | {after or 'nothing'} |"


def _methods() -> Iterator[str]:
    yield "| method | generation | what it does |"
    yield "|---|---|---|"
    for name, method in METHODS.items():
        generations = ", ".join(sorted(method.generations))
        refused = _UNSERVED.get(method.operation)
        note = "" if refused is None else f": not served, answered with {refused}"
        yield f"| `{name}` | {generations} | {_OPERATIONS[method.operation]}{note} |"


PARTS: Final[Mapping[str, tuple[str, Callable[[], Iterator[str]]]]] = MappingProxyType(
    {
        "settings": ("docs/operations.md", _settings),
        "diagram": ("docs/agents.md", _diagram),
        "states": ("docs/agents.md", _states),
        "methods": ("docs/a2a.md", _methods),
        **ASAP_PARTS,
        **ASP_PARTS,
    }
)
"""Name of a part → the document that has it, and what it says."""


def renewed(name: str) -> tuple[Path, str, str]:
    """Return the document of that part, its text, and what its text should be."""
    where, make = PARTS[name]
    document = ROOT / where
    text = document.read_text(encoding="utf-8")
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    part = f"{begin}\n\n" + "\n".join(make()) + f"\n\n{end}"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    new, count = re.subn(pattern, lambda _: part, text, flags=re.DOTALL)
    assert count == 1, f"{where} has {count} parts {name}"
    return document, text, new


def main() -> None:
    """Write all of it."""
    for name in PARTS:
        document, _, text = renewed(name)
        document.write_text(text, encoding="utf-8")
    for where, content in {**SCHEMAS, **VECTORS}.items():
        (ROOT / where).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / where).write_bytes(content)


if __name__ == "__main__":
    main()
