"""What was said in a call, as an agent is told of it."""

from __future__ import annotations

from itertools import count

import pytest

from palaver.speech.conversation import Conversation
from palaver.speech.prompts import Prompt, prompt


def conversation() -> Conversation:
    """Return one in which nothing was said."""
    numbers = count()
    return Conversation("conv-1", lambda kind: f"{kind}-{next(numbers)}")


def test_what_was_said_is_kept_in_order() -> None:
    """The context has both sides, the oldest first, in their languages."""
    talk = conversation()
    talk.add(talk.message("user", "que horas são", "pt-BR"))
    talk.add_answer("São duas horas.", "pt-BR")
    found = [(one.role, one.text, one.language) for one in talk.context]
    assert found == [("user", "que horas são", "pt-BR"), ("agent", "São duas horas.", "pt-BR")]


def test_what_nobody_heard_was_not_said() -> None:
    """An answer that was cut off before its first word leaves nothing."""
    talk = conversation()
    talk.add_answer("  ", None)
    assert talk.context == ()


@pytest.mark.parametrize(("count_", "size"), [(100, 10), (5, 10_000)])
def test_a_long_call_is_forgotten_from_its_beginning(count_: int, size: int) -> None:
    """As many messages and characters are kept as an agent is given; the last one always."""
    talk = conversation()
    for number in range(count_):
        talk.add_answer(f"{number} " + "x" * size, None)
    assert len(talk.context) <= 32
    assert sum(len(one.text) for one in talk.context) <= 16_000 or len(talk.context) == 1
    assert talk.context[-1].text.startswith(f"{count_ - 1} ")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("pt-BR", "Desculpe, não entendi."),
        ("pt", "Desculpe, não entendi."),
        ("en-GB", "Sorry, I did not understand that."),
        ("fi", "Sorry, I did not understand that."),
        (None, "Sorry, I did not understand that."),
    ],
)
def test_prompts_are_in_the_language_of_the_caller(language: str | None, expected: str) -> None:
    """Portuguese in all its spellings; English for everybody else."""
    assert prompt(Prompt.NOT_UNDERSTOOD, language) == expected


@pytest.mark.parametrize("occasion", Prompt)
def test_every_prompt_is_there_in_both_languages(occasion: Prompt) -> None:
    """No occasion is left without words, and the languages differ."""
    assert prompt(occasion, "en") != prompt(occasion, "pt-BR")
