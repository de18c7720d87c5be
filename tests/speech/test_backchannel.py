"""What a listener says, and what one says who wants the turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.speech.backchannel import ENGLISH, PORTUGUESE, Backchannels
from palaver.speech.heard import SpeechConfirmed, SpeechEnded
from palaver.speech.turns import (
    CancelReply,
    DropUtterance,
    HoldPlayback,
    Interruption,
    ResumePlayback,
    StartTurn,
    Transcribe,
    TurnMachine,
)


def heard(text: str | None, duration_ms: int = 600) -> Interruption:
    """Return an interruption with these words."""
    return Interruption(duration_ms, text)


@pytest.mark.parametrize(
    "text",
    [
        "Uh-huh.",
        "uh huh",
        "OK",
        "Okay, right.",
        "Yeah, I see",
        "That's right!",
        "that’s right",  # noqa: RUF001 - as some recognisers write it
        "mm-hmm... yes",
        "Aham",
        "Tá bom.",
        "ta bom",
        "Sim, claro!",
        "É.",
        "e\u0301",
        "Entendi, tá",
        "pois é",
        "",
        "…",
    ],
)
def test_listeners(text: str) -> None:
    """All of it are words of a listener, in either language; or nothing was understood."""
    assert Backchannels()(heard(text)) is True


@pytest.mark.parametrize(
    "text",
    [
        "Stop",
        "no",
        "Não",
        "wait",
        "espera aí",
        "ok stop",
        "yes but wait",
        "sim, mas",
        "right?",
        "é mesmo?",
        "ok ok ok ok ok",
        "of",
        "course of",
        "I",
    ],
)
def test_callers(text: str) -> None:
    """Another word, a question, or more than a listener says."""
    assert Backchannels()(heard(text)) is False


def test_without_words() -> None:
    """Only what is shorter than a grunt is decided by its length."""
    assert Backchannels()(heard(None, 100)) is None
    assert Backchannels(max_grunt_ms=400)(heard(None, 400)) is True
    assert Backchannels(max_grunt_ms=400)(heard(None, 401)) is None


def test_phrases_of_ones_own() -> None:
    """The words may be those of another language."""
    filtered = Backchannels({"genau", "ach so", "!"}, max_words=3)
    assert filtered(heard("Ach so, genau!")) is True
    assert filtered(heard("ach")) is False
    assert Backchannels(())(heard("ok")) is False


@given(phrases=st.lists(st.sampled_from(sorted(ENGLISH | PORTUGUESE)), max_size=3))
def test_any_of_them_together(phrases: list[str]) -> None:
    """Listeners' phrases, one after the other, are a backchannel as long as they are few words."""
    assert Backchannels(max_words=20)(heard(", ".join(phrases).upper())) is True
    assert Backchannels(max_words=20)(heard(" ".join([*phrases, "stop"]))) is False


@pytest.mark.parametrize(("text", "interrupts"), [("aham", False), ("espera", True)])
def test_in_the_turn_machine(text: str, interrupts: bool) -> None:  # noqa: FBT001
    """The machine holds the reply, asks for the words, and does as they say."""
    machine = TurnMachine(is_backchannel=Backchannels())
    machine.reply_began("reply", 0.0)
    assert machine.heard(SpeechConfirmed(1000, 300, 1250), 1.0) == [HoldPlayback("reply")]
    utterance = SpeechEnded(1000, 1500, 2000, "silence")
    assert machine.heard(utterance, 2.0) == [Transcribe(utterance)]
    done = machine.transcribed(utterance, text, 2.1)
    if interrupts:
        assert done == [CancelReply("reply", "barge_in"), StartTurn("turn-1", utterance)]
    else:
        assert done == [ResumePlayback("reply"), DropUtterance(utterance, "backchannel")]
