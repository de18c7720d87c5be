"""Every rule of ASP is shown by a test, and every test of ASP shows a rule."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby

import pytest

from tests.spec.asp.rules import rules
from tests.spec.rules import (
    Rule,
    named_twice,
    node_ids,
    unknown_tests,
    unnamed_tests,
    unshown,
)

OF_ASP = (
    "protocols/asp/test_*.py",
    "client/test_asp*.py",
    "server/test_asp*.py",
    "cli/test_asp*.py",
)
"""Files all of whose tests have to show something."""

# Microtask → how many deliverables and conditions it has.
MICROTASKS = {
    "1.1.1": 8,
    "1.1.2": 6,
    "1.1.3": 5,
    "1.1.4": 5,
    "2.1.1": 9,
    "2.1.2": 10,
    "2.1.3": 5,
    "2.1.4": 7,
    "3.1.1": 8,
    "3.1.2": 6,
    "3.1.3": 5,
    "3.2.1": 5,
    "3.2.2": 5,
    "3.2.3": 7,
    "4.1.1": 7,
    "4.1.2": 5,
    "4.1.3": 5,
    "4.2.1": 5,
    "4.2.2": 5,
    "4.2.3": 7,
    "5.1.2": 6,
    "5.1.3": 6,
}
SECTIONS = {"1", "4", "5", "6", "7", "8", "9", "10"}
_ID = re.compile(r"(ASP|WIRE)-([0-9.]+?)[-.]([0-9]+)")


def parts(rule: Rule) -> tuple[str, str, int]:
    """Return the parts of an id: its kind, the microtask or section, and the number in it."""
    match = _ID.fullmatch(rule.id)
    assert match is not None, f"{rule.id} in {rule.file}"
    return match[1], match[2], int(match[3])


def test_every_rule_is_shown_or_is_a_known_gap() -> None:
    """A rule names at least one test, or says why there is none."""
    assert unshown(rules()) == []


def test_every_test_that_is_named_exists() -> None:
    """A node id names a test that stands in the file."""
    assert unknown_tests(rules()) == []


def test_every_test_of_asp_shows_a_rule() -> None:
    """A test that no rule names either shows nothing, or shows a rule that is missing here."""
    assert unnamed_tests(rules(), OF_ASP) == []


def test_what_is_named_is_collected(pytestconfig: pytest.Config) -> None:
    """The names are those that pytest collects: it takes each function of that name."""
    assert pytestconfig.getini("python_files") == ["test_*.py", "*_test.py"]
    assert pytestconfig.getini("python_functions") == ["test"]
    assert {node_id.partition("::")[0].rpartition("/")[2][:5] for node_id in node_ids(*OF_ASP)} == {
        "test_"
    }


def test_ids_are_unique_and_in_order() -> None:
    """Each id stands once; in its file, microtasks, sections and numbers go up by one."""
    ids = Counter(rule.id for rule in rules())
    assert [id_ for id_, count in ids.items() if count > 1] == []
    for _, group in groupby(rules(), key=lambda rule: parts(rule)[:2]):
        numbers = [parts(rule)[2] for rule in group]
        assert numbers == list(range(1, len(numbers) + 1))


def test_each_microtask_and_section_is_there() -> None:
    """Every deliverable and every condition of the microtasks has its rule, and every section."""
    counted = Counter(parts(rule)[:2] for rule in rules())
    assert {task: n for (kind, task), n in counted.items() if kind == "ASP"} == MICROTASKS
    assert {section for kind, section in counted if kind == "WIRE"} == SECTIONS


def test_rules_are_sentences() -> None:
    """A rule is one or two sentences, a gap says a reason, a source is a microtask or section."""
    for rule in rules():
        assert rule.says[0].isupper() or rule.says[0] == "`", rule.id
        assert rule.says.endswith("."), rule.id
        assert rule.gap is None or rule.gap.endswith("."), rule.id
        kind, place, _ = parts(rule)
        assert place in rule.source if kind == "ASP" else rule.source.startswith("§"), rule.id


def test_gaps_are_those_that_are_known() -> None:
    """What is missing is what no program can show."""
    gaps = {rule.id for rule in rules() if rule.gap is not None}
    assert gaps == {"ASP-1.1.1-8"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_no_rule_names_a_test_twice(rule: Rule) -> None:
    """A test stands once under a rule."""
    assert named_twice(rule) == []
