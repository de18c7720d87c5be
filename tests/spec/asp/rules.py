"""What ASP has to do, as data: each rule in one sentence, and the tests that show it.

``epic-*.toml`` holds what was asked for, microtask by microtask: deliverables first, then what
makes them done. ``wire-*.toml`` holds the rules of the wire, section by section.
"""

from __future__ import annotations

from pathlib import Path

from tests.spec.rules import Rule, read_rules

__all__ = ["rules"]


def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of the files."""
    return read_rules(Path(__file__).parent)
