"""What a protocol has to do, as data: each rule in one sentence, and the tests that show it."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

__all__ = [
    "TESTS",
    "Rule",
    "named_twice",
    "names_in",
    "node_ids",
    "read_rules",
    "unknown_tests",
    "unnamed_tests",
    "unshown",
]

TESTS: Final = Path(__file__).resolve().parents[1]


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
def read_rules(folder: Path) -> tuple[Rule, ...]:
    """Return all rules of the TOML files in ``folder``, in the order of the files."""
    found = []
    for path in sorted(folder.glob("*.toml")):
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


# --- what may be wrong with rules ------------------------------------------------------------


def unshown(rules: Iterable[Rule]) -> list[str]:
    """Return the rules that name no test and are no known gap."""
    return [rule.id for rule in rules if not rule.tests and rule.gap is None]


def unknown_tests(rules: Iterable[Rule]) -> list[str]:
    """Return what rules name that stands in no file."""
    gone = []
    for rule in rules:
        for node_id in rule.tests:
            file, _, name = node_id.partition("::")
            path = TESTS / file
            if not path.is_file() or name not in names_in(path):
                gone.append(f"{rule.file}: {rule.id} names {node_id}")
    return gone


def unnamed_tests(rules: Iterable[Rule], patterns: Iterable[str]) -> list[str]:
    """Return the tests in those files that no rule names."""
    named = {node_id for rule in rules for node_id in rule.tests}
    return sorted(node_ids(*patterns) - named)


def named_twice(rule: Rule) -> list[str]:
    """Return the tests that a rule names more than once."""
    return [one for one, count in Counter(rule.tests).items() if count > 1]
