"""What ASAP has to do, as data: each rule in one sentence, and the tests that show it.

``prd.toml`` holds what was asked for by id. ``base-*.toml`` holds the rules of the protocol that it
stands on, section by section, under ids of our own.
"""

from __future__ import annotations

from pathlib import Path

from tests.spec.rules import Rule, read_rules

__all__ = ["rules"]


def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of the files."""
    return read_rules(Path(__file__).parent)
