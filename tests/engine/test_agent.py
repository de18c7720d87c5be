"""Declaring agents, and choosing the skill for a text."""

from __future__ import annotations

import pytest

from palaver.engine.agent import Agent
from palaver.engine.outputs import Progress
from palaver.engine.turn import Turn
from palaver.errors import AgentError, UnknownSkill


def desk() -> Agent:
    """Return an agent with two skills; the second takes what names none."""
    agent = Agent("Front Desk", description="Answers", version="2.0")

    @agent.skill("find", description="Finds")
    def find(_turn: Turn) -> str:
        return "found"

    @agent.skill("answer", default=True)
    def answer(_turn: Turn) -> str:
        """Answers a question."""
        return "yes"

    return agent


def test_the_id_is_the_slug_of_the_name() -> None:
    """An id can stand in a path."""
    assert desk().id == "front-desk"
    assert Agent("Café № 7").id == "caf-7"
    assert Agent("x", id="given").id == "given"


@pytest.mark.parametrize("given", ["", "A b", "ünï", "a/b", "-a"])
def test_an_id_that_cannot_stand_in_a_path_is_refused(given: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(AgentError, match="lower-case letters, digits and hyphens"):
        Agent("x", id=given)


def test_a_name_without_any_letter_needs_an_id() -> None:
    """A slug of nothing is no id."""
    with pytest.raises(AgentError, match="agent id ''"):
        Agent("№")


@pytest.mark.parametrize("timeout", [0, -1.5])
def test_a_timeout_must_be_positive(timeout: float) -> None:
    """No task could ever run."""
    with pytest.raises(AgentError, match="timeout"):
        Agent("x", timeout=timeout)


def test_the_profile_tells_of_the_skills() -> None:
    """A skill without a description is described by its docstring."""
    profile = desk().profile
    assert (profile.id, profile.name, profile.version) == ("front-desk", "Front Desk", "2.0")
    assert [(s.id, s.description) for s in profile.skills] == [
        ("find", "Finds"),
        ("answer", "Answers a question."),
    ]


@pytest.mark.parametrize(
    ("text", "named", "skill", "rest"),
    [
        ("find my keys", None, "find", "my keys"),
        ("FIND it", None, "find", "it"),
        ("find", None, "find", ""),
        ("what is it?", None, "answer", "what is it?"),
        ("", None, "answer", ""),
        ("   ", None, "answer", "   "),
        ("answer 42", None, "answer", "42"),
        ("find it", "answer", "answer", "find it"),
    ],
)
def test_the_first_word_names_the_skill(
    text: str,
    named: str | None,
    skill: str,
    rest: str,
) -> None:
    """Structured input names it by itself; what names none goes to the default."""
    chosen, left = desk().choose(text, named)
    assert (chosen.profile.id, left) == (skill, rest)


def test_without_a_default_the_first_skill_takes_all() -> None:
    """One skill needs no ``default=True``."""
    agent = Agent("one")
    agent.skill("only")(lambda _turn: "x")
    assert agent.choose("anything at all")[0].profile.id == "only"


def test_an_unknown_skill_is_named_with_the_known_ones() -> None:
    """The caller can correct the request."""
    with pytest.raises(UnknownSkill, match="no skill 'fly'; it has: find, answer"):
        desk().choose("x", "fly")
    with pytest.raises(UnknownSkill, match="it has: none"):
        Agent("empty").choose("x")


def test_a_skill_is_declared_once_and_by_one_word() -> None:
    """Each refusal says which rule was broken."""
    agent = desk()
    with pytest.raises(AgentError, match="has a skill 'find' already"):
        agent.skill("find")(lambda _turn: "")
    with pytest.raises(AgentError, match="must be one word"):
        agent.skill("two words")(lambda _turn: "")
    with pytest.raises(AgentError, match="has a default skill already: 'answer'"):
        agent.skill("other", default=True)(lambda _turn: "")
    with pytest.raises(AgentError, match="must be a function"):
        agent.skill("thing")("no function")  # type: ignore[type-var]


@pytest.mark.parametrize("percent", [-1, 100.1, float("nan")])
def test_progress_is_a_percentage(percent: float) -> None:
    """Anything else is a mistake of the handler."""
    with pytest.raises(ValueError, match="percent"):
        Progress(percent)
