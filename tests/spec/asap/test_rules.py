"""Every rule of ASAP is shown by a test, and every test of ASAP shows a rule."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby

import pytest

from tests.spec.asap.rules import rules
from tests.spec.rules import Rule, named_twice, unknown_tests, unnamed_tests, unshown

OF_ASAP = (
    "protocols/asap/test_*.py",
    "client/test_asap*.py",
    "server/test_asap*.py",
    "cli/test_*asap*.py",
    "resilience/test_asap*.py",
)
"""Files all of whose tests have to show something."""

# What the plan asks for by id, and how many of each.
ASKED = {"WS": 7, "METRIC": 4, "STATE": 5, "OAUTH": 1, "HOOK": 1}
SECTIONS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17}
_ASKED = re.compile(r"(WS|METRIC|STATE|OAUTH|HOOK)-0*([1-9]\d*)")
_OURS = re.compile(r"([A-Z]+)-(\d+)\.(\d+)")


def parts(rule: Rule) -> tuple[str, int]:
    """Return what an id begins with, and the number in that."""
    match = _ASKED.fullmatch(rule.id)
    if match is not None:
        return match[1], int(match[2])
    match = _OURS.fullmatch(rule.id)
    assert match is not None, f"{rule.id} in {rule.file}"
    return f"{match[1]}-{match[2]}", int(match[3])


def test_every_rule_is_shown_or_is_a_known_gap() -> None:
    """A rule names at least one test, or says why there is none."""
    assert unshown(rules()) == []


def test_every_test_that_is_named_exists() -> None:
    """A node id names a test that stands in the file."""
    assert unknown_tests(rules()) == []


def test_every_test_of_asap_shows_a_rule() -> None:
    """A test that no rule names either shows nothing, or shows a rule that is missing here."""
    assert unnamed_tests(rules(), OF_ASAP) == []


def test_ids_are_unique_and_in_order() -> None:
    """Each id stands once; in its file, the numbers behind each beginning go up by one."""
    ids = Counter(rule.id for rule in rules())
    assert [id_ for id_, count in ids.items() if count > 1] == []
    for _, group in groupby(rules(), key=lambda rule: parts(rule)[0]):
        numbers = [parts(rule)[1] for rule in group]
        assert numbers == list(range(1, len(numbers) + 1))


def test_what_was_asked_for_is_there() -> None:
    """Every requirement of the plan has its rule, and every section of the protocol."""
    counted = Counter(parts(rule)[0] for rule in rules())
    assert {kind: n for kind, n in counted.items() if "-" not in kind} == ASKED
    assert {int(kind.partition("-")[2]) for kind in counted if "-" in kind} == SECTIONS


def test_rules_are_sentences() -> None:
    """A rule is a sentence or two, a gap says a reason, a source is a section of its document."""
    for rule in rules():
        assert rule.says[0].isupper() or rule.says[0] == "`", rule.id
        assert rule.says.endswith("."), rule.id
        assert rule.gap is None or rule.gap.endswith("."), rule.id
        kind = parts(rule)[0]
        section = kind.partition("-")[2]
        assert rule.source == f"§{section}" if section else rule.source.startswith("PRD §"), rule.id


def test_gaps_are_those_that_are_known() -> None:
    """What is missing is told, and is what other parts of the plan will bring."""
    gaps = {rule.id for rule in rules() if rule.gap is not None}
    assert gaps == {
        "STATE-004",
        "STATE-005",
        "OAUTH-001",
        "HOOK-001",
        "MANIFEST-5.3",
        "SOCKET-7.17",
        "RATE-11.3",
        "CLIENT-15.13",
        "OBS-16.3",
        "CLI-17.4",
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.id)
def test_no_rule_names_a_test_twice(rule: Rule) -> None:
    """A test stands once under a rule."""
    assert named_twice(rule) == []
