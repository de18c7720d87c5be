"""How people say what an agent does: declaring phrases, and finding the one that was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.engine.agent import Agent
from palaver.engine.phrases import Phrase
from palaver.errors import AgentError


def front_desk() -> Agent:
    """Return an agent that counts, tells the time and greets, in two languages."""
    agent = Agent("desk")
    agent.skill(
        "greet",
        default=True,
        phrases={"en": ("{Hello|good morning}",), "pt-BR": ("{olá|bom dia}",)},
    )(lambda _turn: "")
    agent.skill(
        "count",
        phrases={"en": ("count to {5|20} by {one|two}",), "pt-BR": ("conte até {5|20}",)},
    )(lambda _turn: "")
    agent.skill("clock", phrases={"en": ("what's the time", "count hours")})(lambda _turn: "")
    agent.expect("en", "{today|tomorrow}")
    return agent


def test_phrases_are_written_out() -> None:
    """Every alternative of every pair of braces, in the order of the declaration."""
    assert front_desk().phrases == (
        Phrase("Hello", "en", "greet", "Hello"),
        Phrase("good morning", "en", "greet", "good morning"),
        Phrase("olá", "pt-BR", "greet", "olá"),
        Phrase("bom dia", "pt-BR", "greet", "bom dia"),
        Phrase("count to 5 by one", "en", "count", "5 one"),
        Phrase("count to 5 by two", "en", "count", "5 two"),
        Phrase("count to 20 by one", "en", "count", "20 one"),
        Phrase("count to 20 by two", "en", "count", "20 two"),
        Phrase("conte até 5", "pt-BR", "count", "5"),
        Phrase("conte até 20", "pt-BR", "count", "20"),
        Phrase("what's the time", "en", "clock"),
        Phrase("count hours", "en", "clock"),
        Phrase("today", "en", None, "today"),
        Phrase("tomorrow", "en", None, "tomorrow"),
    )


@pytest.mark.parametrize(
    ("text", "skill", "rest", "language"),
    [
        ("Conte até 20.", "count", "20", "pt-BR"),
        ("CONTE  ATÉ\n20", "count", "20", "pt-BR"),
        ("conte ate 20", "greet", "conte ate 20", None),  # accents tell words apart
        ("conte ate\u0301 20", "count", "20", "pt-BR"),  # the same accent, written apart
        ("count to 20 by two", "count", "20 two", "en"),
        ("count to 20", "count", "to 20", None),  # no phrase: as a first word always did
        ("count hours", "count", "hours", "en"),  # the first word names a skill before a phrase
        ("What's the time?", "clock", "", "en"),
        ("¿what's the time?!", "clock", "", "en"),
        ("Hello!", "greet", "Hello!", "en"),  # all of it stood in braces: as it was said
        ("today", "greet", "today", "en"),  # answers choose no skill
        ("", "greet", "", None),
        ("?", "greet", "?", None),
        ("conte até 20" + "!" * 2_000, "greet", "conte até 20" + "!" * 2_000, None),
    ],
)
def test_a_text_that_equals_a_phrase_chooses_its_skill(
    text: str, skill: str, rest: str, language: str | None
) -> None:
    """After the first word; what stood in braces is left."""
    agent = front_desk()
    chosen, left = agent.choose(text)
    assert (chosen.profile.id, left, agent.language_of(text)) == (skill, rest, language)


def test_marks_of_other_scripts_are_kept() -> None:
    """Vowel signs tell words apart where a script writes vowels as marks."""
    agent = Agent("hindi")
    agent.skill("here", phrases={"hi": ("यहाँ आओ",)})(lambda _turn: "")
    assert agent.language_of("यहाँ आओ!") == "hi"
    assert agent.language_of("यह आ") is None


@pytest.mark.parametrize(
    ("language", "pattern", "text"),
    [
        ("en", "", "must not be empty"),
        ("en", "  ", "must not be empty"),
        ("en", "?!", "has no words"),
        ("en", "count to {5|10", "braces that do not match"),
        ("en", "count to 5}", "braces that do not match"),
        ("en", "count {to {5}}", "braces that do not match"),
        ("en", "count to {5|}", "an empty alternative"),
        ("en", "count to {}", "an empty alternative"),
        ("en", "x" * 201, "over 200 characters"),
        ("en", "{1|2|3|4|5|6|7}" * 4, "more than 2000 phrases"),
        ("en", "{a|a}" * 60, "more than 2000 phrases"),
        ("", "fine", "must be a tag"),
        ("en_US", "fine", "must be a tag"),
        ("en", "what's the time", "means two things: clock and other"),
        ("en", "count to 20 by {two}", "means two things: count 20 two and other two"),
    ],
)
def test_a_phrase_that_cannot_be_used_is_refused(language: str, pattern: str, text: str) -> None:
    """The error names it and what is wrong; the agent stays as it was."""
    agent = front_desk()
    before = agent.phrases
    with pytest.raises(AgentError, match=f"agent 'desk': .*{text}"):
        agent.skill("other", phrases={"fr": ("bonjour",), language: ("all well", pattern)})(
            lambda _turn: ""
        )
    assert agent.phrases == before
    assert agent.choose("all well")[0].profile.id == "greet"


def test_one_text_is_no_sequence_of_phrases() -> None:
    """Its letters are not what was meant."""
    with pytest.raises(AgentError, match="must be a sequence of texts, not the text 'what'"):
        Agent("x").skill("clock", phrases={"en": "what"})(lambda _turn: "")


def test_words_of_two_languages() -> None:
    """The same words count for the language that comes first; a skill before an answer."""
    agent = Agent("x")
    agent.expect("fr", "stop")
    agent.skill("halt", phrases={"en": ("Stop!",), "pt-BR": ("stop",)})(lambda _turn: "")
    assert (agent.choose("stop")[1], agent.language_of("STOP")) == ("", "en")
    assert len(agent.phrases) == 3


@given(st.text(max_size=40))
def test_any_text_finds_a_skill(text: str) -> None:
    """Nothing that is said can break the choice."""
    chosen, left = front_desk().choose(text)
    assert chosen.profile.id in {"greet", "count", "clock"}
    assert left in text or left in {"", "5", "20"}
