"""What ASP has to do, as data: each rule in one sentence, and the tests that show it.

``epic-*.toml`` holds what was asked for, microtask by microtask: deliverables first, then what
makes them done. ``wire-*.toml`` holds the rules of the wire, section by section.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["TESTS", "Rule", "names_in", "node_ids", "rules"]

TESTS: Final = Path(__file__).resolve().parents[2]
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``tests`` are node ids below ``tests``, ``gap`` says why some are missing."""

    id: str
    source: str
    says: str
    tests: tuple[str, ...] = ()
    gap: str | None = None
    file: str = field(default="", compare=False)


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of the files."""
    found = []
    for path in sorted(_HERE.glob("*.toml")):
        for item in tomllib.loads(path.read_text(encoding="utf-8"))["rule"]:
            tests = item.pop("tests", {})
            ids = tuple(f"{file}::{name}" for file, names in tests.items() for name in names)
            found.append(Rule(**item, tests=ids, file=path.name))
    return tuple(found)


@cache
def names_in(path: Path) -> tuple[str, ...]:
    """Return the names of the tests that stand in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def node_ids(*patterns: str) -> set[str]:
    """Return the node ids of all tests in the files that the patterns name."""
    return {
        f"{path.relative_to(TESTS).as_posix()}::{name}"
        for pattern in patterns
        for path in TESTS.glob(pattern)
        for name in names_in(path)
    }
