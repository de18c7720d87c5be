"""The turn and barge-in machine: a walk over all pairs, and what callers do to agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from palaver.speech.heard import EndReason, Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.turn_table import TABLE, Do, Happening, TurnState
from palaver.speech.turns import (
    CancelReply,
    Command,
    DropUtterance,
    HoldPlayback,
    Interruption,
    ResumePlayback,
    StartTurn,
    Transcribe,
    TurnLimits,
    TurnMachine,
)

L, T, S, A, H, I = TurnState  # noqa: E741 - the table's columns


def started(start_ms: int = 5000) -> SpeechStarted:
    """Return the beginning of what may be speech."""
    return SpeechStarted(start_ms, 300, start_ms + 40)


def confirmed(start_ms: int = 5000) -> SpeechConfirmed:
    """Return the same, confirmed after 250 ms."""
    return SpeechConfirmed(start_ms, 300, start_ms + 250)


def ended(
    start_ms: int = 5000, duration_ms: int = 900, reason: EndReason = "silence"
) -> SpeechEnded:
    """Return the end of an utterance, known 500 ms after it."""
    end_ms = start_ms + duration_ms
    return SpeechEnded(start_ms, end_ms, end_ms + 500, reason)


def cough(start_ms: int = 5000) -> SpeechEnded:
    """Return the end of what was no speech."""
    return ended(start_ms, 100, "too_short")


FIRST = ended(0)
SECOND = ended(2000)


def machine_in(state: TurnState, machine: TurnMachine | None = None) -> TurnMachine:
    """Bring a new machine into the state, at 1.0; the live reply is turn-1, or the greeting."""
    machine = machine or TurnMachine()
    if state is A:
        machine.reply_began("greeting", 0.0, interruptible=False)
    elif state is not L:
        machine.heard(FIRST, 0.0)
        if state is not T:
            machine.reply_began("turn-1", 0.5)
        if state in {H, I}:
            machine.heard(started(2000), 1.0)
        if state is I:
            machine.heard(confirmed(2000), 1.0)
    assert machine.state is state
    return machine


Input = Callable[[TurnMachine], list[Command]]

INPUTS: dict[str, Input] = {
    "started": lambda machine: machine.heard(started(), 1.5),
    "confirmed": lambda machine: machine.heard(confirmed(), 1.5),
    "ended": lambda machine: machine.heard(ended(), 1.5),
    "committed": lambda machine: machine.heard(ended(reason="committed"), 1.5),
    "discarded": lambda machine: machine.heard(cough(), 1.5),
    "began": lambda machine: machine.reply_began("turn-1", 1.5),
    "began fixed": lambda machine: machine.reply_began("turn-1", 1.5, interruptible=False),
    "notice": lambda machine: machine.reply_began("notice", 1.5),
    "fixed notice": lambda machine: machine.reply_began("notice", 1.5, interruptible=False),
    "finished": lambda machine: machine.reply_finished(machine.reply_id or "turn-1", 1.5),
    "failed": lambda machine: machine.reply_failed(machine.reply_id or "turn-1", 1.5),
    "cancelled": lambda machine: machine.reply_cancelled(machine.reply_id or "turn-1", 1.5),
    "hold expired": lambda machine: machine.handle_timeout(4.0),
    "speech lost": lambda machine: machine.handle_timeout(100.0),
}

BUSY: list[Command] = [CancelReply("notice", "busy")]
BARGED: list[Command] = [CancelReply("turn-1", "barge_in")]
FAILED: list[Command] = [CancelReply("turn-1", "failed")]
GIVEN_UP: list[Command] = [CancelReply("turn-1", "client_cancelled")]
HOLD: list[Command] = [HoldPlayback("turn-1")]
RESUME: list[Command] = [ResumePlayback("turn-1")]


def turn(number: int, reason: EndReason = "silence") -> list[Command]:
    """Return the command that starts that turn with the utterance of the inputs."""
    return [StartTurn(f"turn-{number}", ended(reason=reason))]


SUPERSEDED: list[Command] = [CancelReply("turn-1", "superseded")]
NOTHING: list[Command] = []

WALK: dict[str, dict[TurnState, tuple[list[Command], TurnState]]] = {
    "started": {
        L: (NOTHING, L),
        T: (NOTHING, T),
        S: (HOLD, H),
        A: (NOTHING, A),
        H: (NOTHING, H),
        I: (NOTHING, I),
    },
    "confirmed": {
        L: (NOTHING, L),
        T: (SUPERSEDED, I),
        S: (BARGED, I),
        A: (NOTHING, A),
        H: (BARGED, I),
        I: (NOTHING, I),
    },
    "ended": {
        L: (turn(1), T),
        T: (SUPERSEDED + turn(2), T),
        S: (BARGED + turn(2), T),
        A: (NOTHING, A),
        H: (BARGED + turn(2), T),
        I: (turn(2), T),
    },
    "committed": {
        L: (turn(1, "committed"), T),
        T: (SUPERSEDED + turn(2, "committed"), T),
        S: (BARGED + turn(2, "committed"), T),
        A: (NOTHING, A),
        H: (BARGED + turn(2, "committed"), T),
        I: (turn(2, "committed"), T),
    },
    "discarded": {
        L: (NOTHING, L),
        T: (NOTHING, T),
        S: (NOTHING, S),
        A: (NOTHING, A),
        H: (RESUME, S),
        I: (NOTHING, L),
    },
    "began": {
        L: (NOTHING, S),
        T: (NOTHING, S),
        S: (NOTHING, S),
        A: ([CancelReply("turn-1", "busy")], A),
        H: (NOTHING, H),
        I: (NOTHING, I),  # it is the one that was cancelled
    },
    "began fixed": {
        L: (NOTHING, A),
        T: (NOTHING, A),
        S: (NOTHING, S),
        A: ([CancelReply("turn-1", "busy")], A),
        H: (NOTHING, H),
        I: (NOTHING, I),
    },
    "notice": {
        L: (NOTHING, S),
        T: (BUSY, T),
        S: (BUSY, S),
        A: (BUSY, A),
        H: (BUSY, H),
        I: ([CancelReply("notice", "barge_in")], I),
    },
    "fixed notice": {
        L: (NOTHING, A),
        T: (BUSY, T),
        S: (BUSY, S),
        A: (BUSY, A),
        H: (BUSY, H),
        I: (NOTHING, A),
    },
    "finished": {
        L: (NOTHING, L),
        T: (NOTHING, L),
        S: (NOTHING, L),
        A: (NOTHING, L),
        H: (RESUME, L),
        I: (NOTHING, I),
    },
    "failed": {
        L: (NOTHING, L),
        T: (FAILED, L),
        S: (FAILED, L),
        A: ([CancelReply("greeting", "failed")], L),
        H: (FAILED, L),
        I: (NOTHING, I),
    },
    "cancelled": {
        L: (NOTHING, L),
        T: (GIVEN_UP, L),
        S: (GIVEN_UP, L),
        A: ([CancelReply("greeting", "client_cancelled")], L),
        H: (GIVEN_UP, L),
        I: (NOTHING, I),
    },
    "hold expired": {
        L: (NOTHING, L),
        T: (NOTHING, T),
        S: (NOTHING, S),
        A: (NOTHING, A),
        H: (RESUME, S),
        I: (NOTHING, I),
    },
    "speech lost": {
        L: (NOTHING, L),
        T: (NOTHING, T),
        S: (NOTHING, S),
        A: (NOTHING, A),
        H: (RESUME, S),
        I: (NOTHING, L),
    },
}


@pytest.mark.parametrize("state", TurnState)
@pytest.mark.parametrize("what", INPUTS)
def test_every_pair(what: str, state: TurnState) -> None:
    """In each state each input gives the commands and the state that are written down here."""
    machine = machine_in(state)
    commands = INPUTS[what](machine)
    assert (commands, machine.state) == WALK[what][state]


@pytest.mark.parametrize("state", TurnState)
@pytest.mark.parametrize("what", INPUTS)
def test_every_pair_twice(what: str, state: TurnState) -> None:
    """The same input again, at the same time, does nothing but tell that it is a repetition."""
    machine = machine_in(state)
    INPUTS[what](machine)
    after = machine.state
    again = [
        command
        for command in INPUTS[what](machine)
        if not isinstance(command, DropUtterance) or command.reason != "repeated"
    ]
    assert (again, machine.state) == ([], after)


def test_the_table_closes_every_hold() -> None:
    """Each step into the held state holds, and each step out of it resumes or cancels."""
    for state, row in TABLE.items():
        for happening, step in row.items():
            does = set(step.does)
            entered, left = state is not H and step.to is H, state is H and step.to is not H
            assert (Do.HOLD in does) == entered, (state, happening)
            assert bool(does & {Do.RESUME, Do.CANCEL}) or not left, (state, happening)


def test_the_table_cancels_before_it_starts() -> None:
    """A reply ends by being finished or cancelled, and a turn starts only where none is live."""
    replying = {T, S, A, H}
    for state, row in TABLE.items():
        for happening, step in row.items():
            if state in replying and (step.to not in replying or Do.START in step.does):
                assert step.does[:1] == (Do.CANCEL,) or happening is Happening.FINISHED
            assert (Do.START in step.does) == (step.to is T)


# --- without a filter -----------------------------------------------------------------------


def test_a_cough_only_holds() -> None:
    """Two phases: what may be speech holds the sound, and what was none lets it go on."""
    machine = machine_in(S)
    assert machine.heard(started(), 2.0) == [HoldPlayback("turn-1")]
    assert machine.heard(cough(), 2.7) == [ResumePlayback("turn-1")]
    assert machine.reply_finished("turn-1", 9.0) == []
    assert machine.state is L


def test_an_interruption_becomes_the_next_turn() -> None:
    """Held, cancelled when it is speech, and answered when it is over."""
    machine = machine_in(S)
    assert machine.heard(started(), 2.0) == [HoldPlayback("turn-1")]
    assert machine.heard(confirmed(), 2.2) == [CancelReply("turn-1", "barge_in")]
    assert machine.caller_speaks
    assert machine.heard(ended(), 3.5) == [StartTurn("turn-2", ended())]
    assert not machine.caller_speaks
    assert machine.reply_id == "turn-2"


def test_a_second_detector_changes_nothing() -> None:
    """The other side's reports of the same speech come a little later, and do nothing."""
    machine = machine_in(S)
    machine.heard(started(), 2.0)
    assert machine.heard(replace(started(), start_ms=5020, at_ms=5060), 2.05) == []
    machine.heard(confirmed(), 2.2)
    assert machine.heard(replace(confirmed(), at_ms=5290), 2.25) == []
    machine.heard(ended(), 3.5)
    assert machine.heard(replace(confirmed(), at_ms=5300), 3.6) == []
    again = replace(ended(), start_ms=5020, end_ms=5910)
    assert machine.heard(again, 3.7) == [DropUtterance(again, "repeated")]
    assert (machine.state, machine.reply_id) == (T, "turn-2")


def test_a_late_discard_changes_nothing() -> None:
    """A detector that takes for a cough what another has answered does not bring it back."""
    machine = machine_in(S)
    machine.heard(ended(), 3.5)
    assert machine.heard(cough(), 3.6) == []
    assert machine.state is T


def test_speech_after_max_duration_is_new() -> None:
    """Speech that was cut at its longest goes on in the same frame as another utterance."""
    machine = machine_in(L)
    long = ended(0, 30_000, "max_duration")
    machine.heard(replace(long, at_ms=30_000), 30.0)
    machine.reply_began("turn-1", 30.1)
    assert machine.heard(SpeechStarted(30_000, 0, 30_000), 30.2) == [HoldPlayback("turn-1")]
    rest = ended(30_000, 2000)
    assert machine.heard(rest, 33.0)[-1] == StartTurn("turn-2", rest)


def test_speech_before_the_sound_holds_it() -> None:
    """Speech that began while the agent was thinking holds its answer as it begins."""
    machine = machine_in(T)
    assert machine.heard(started(), 1.0) == []
    assert machine.reply_began("turn-1", 1.1) == [HoldPlayback("turn-1")]
    assert machine.heard(cough(), 1.5) == [ResumePlayback("turn-1")]
    assert machine.state is S


def test_speech_before_the_sound_cancels_it() -> None:
    """The same, where it turns out to be speech: nothing was heard that it could interrupt."""
    machine = machine_in(T)
    machine.heard(started(), 1.0)
    machine.reply_began("turn-1", 1.1)
    assert machine.heard(confirmed(), 1.2) == [CancelReply("turn-1", "superseded")]
    assert machine.heard(ended(), 2.5) == [StartTurn("turn-2", ended())]


def test_an_utterance_that_is_over_before_the_sound() -> None:
    """The same, where only its end is told."""
    machine = machine_in(T)
    machine.heard(started(), 1.0)
    machine.reply_began("turn-1", 1.1)
    assert machine.heard(ended(), 2.5) == [
        CancelReply("turn-1", "superseded"),
        StartTurn("turn-2", ended()),
    ]


def test_speech_after_a_hold_before_the_sound() -> None:
    """Once the answer that was held as it began goes on, speech interrupts it."""
    machine = machine_in(T)
    machine.heard(started(), 1.0)
    machine.reply_began("turn-1", 1.1)
    machine.heard(cough(), 1.5)
    assert machine.heard(started(6000), 2.0) == [HoldPlayback("turn-1")]
    assert machine.heard(confirmed(6000), 2.2) == [CancelReply("turn-1", "barge_in")]


def test_the_reply_after_one_that_was_never_heard() -> None:
    """That the one before was not heard says nothing of the next."""
    machine = machine_in(T)
    machine.heard(started(), 1.0)
    machine.reply_began("turn-1", 1.1)
    machine.heard(ended(), 2.5)
    machine.reply_began("turn-2", 3.0)
    assert machine.heard(confirmed(9000), 4.0) == [CancelReply("turn-2", "barge_in")]


def test_a_cancelled_turn_does_not_speak() -> None:
    """Nothing that comes late of a turn that was superseded is taken for a reply."""
    machine = machine_in(T)
    machine.heard(confirmed(), 1.0)
    assert machine.reply_began("turn-1", 1.1) == []
    assert machine.reply_failed("turn-1", 1.1) == []
    assert (machine.state, machine.reply_id) == (I, None)


def test_a_held_reply_goes_on_after_a_while() -> None:
    """What neither ends nor is confirmed holds the sound for a bounded time, and only once."""
    machine = machine_in(S)
    machine.heard(started(), 10.0)
    assert machine.next_timeout() == 13.0
    assert machine.handle_timeout(12.9) == []
    assert machine.handle_timeout(13.0) == [ResumePlayback("turn-1")]
    assert machine.heard(started(5100), 13.1) == []
    assert machine.heard(confirmed(), 13.2) == [CancelReply("turn-1", "barge_in")]


def test_speech_without_an_end_is_forgotten() -> None:
    """After ``speech_timeout`` the caller is taken not to speak; the next reply can be said."""
    machine = machine_in(I)
    assert machine.next_timeout() == 61.0
    assert machine.handle_timeout(61.0) == []
    assert (machine.state, machine.next_timeout()) == (L, None)
    assert machine.reply_began("notice", 62.0) == []
    assert machine.state is S


def test_a_reply_that_ends_while_held() -> None:
    """It lets go of the sound; the speech over its end is a turn like any other."""
    machine = machine_in(H)
    assert machine.reply_finished("turn-1", 1.2) == [ResumePlayback("turn-1")]
    assert machine.heard(confirmed(2000), 1.3) == []
    assert machine.heard(SECOND, 2.5) == [StartTurn("turn-2", SECOND)]


def test_a_greeting_is_talked_over() -> None:
    """Speech neither holds nor cancels it; the last utterance is answered after it."""
    machine = machine_in(A)
    heard: list[Heard] = [started(1000), confirmed(1000), ended(1000), started(), confirmed()]
    assert [machine.heard(event, 1.0) for event in heard] == [[]] * 5
    assert machine.heard(ended(), 2.0) == [DropUtterance(ended(1000), "superseded")]
    assert machine.reply_finished("greeting", 3.0) == [StartTurn("turn-1", ended())]
    assert machine.state is T


def test_a_greeting_that_fails_keeps_the_utterance() -> None:
    """The caller is answered although the greeting broke."""
    machine = machine_in(A)
    machine.heard(ended(), 2.0)
    assert machine.reply_failed("greeting", 3.0) == [
        CancelReply("greeting", "failed"),
        StartTurn("turn-1", ended()),
    ]


def test_a_caller_who_still_speaks_at_the_end_of_the_greeting() -> None:
    """What is being said then takes the place of what was kept."""
    machine = machine_in(A)
    machine.heard(ended(1000), 2.0)
    machine.heard(confirmed(), 2.5)
    assert machine.reply_finished("greeting", 3.0) == [DropUtterance(ended(1000), "superseded")]
    assert machine.heard(ended(), 4.0) == [StartTurn("turn-1", ended())]


def test_closing_leaves_nothing() -> None:
    """The live reply is cancelled, what was kept is dropped, and nothing follows."""
    machine = machine_in(A)
    machine.heard(ended(), 1.0)
    assert machine.close() == [CancelReply("greeting", "closed"), DropUtterance(ended(), "closed")]
    assert machine.close() == []
    assert machine.heard(started(8000), 2.0) == []
    assert machine.heard(cough(8000), 2.0) == []
    late = ended(9000)
    assert machine.heard(late, 2.0) == [DropUtterance(late, "closed")]
    assert machine.reply_began("notice", 2.0) == [CancelReply("notice", "closed")]
    assert machine.reply_finished("greeting", 2.0) == []
    assert machine.next_timeout() is None


# --- with a filter --------------------------------------------------------------------------


def by_duration(interruption: Interruption) -> bool:
    """Take everything short for a backchannel."""
    return interruption.duration_ms <= 500


def by_words(interruption: Interruption) -> bool | None:
    """Ask for the words."""
    return None if interruption.text is None else interruption.text == "uh-huh"


def test_a_backchannel_goes_by() -> None:
    """With a filter, confirmed speech holds until it is over; then the reply goes on."""
    machine = machine_in(S, TurnMachine(is_backchannel=by_duration))
    assert machine.heard(started(), 2.0) == [HoldPlayback("turn-1")]
    assert machine.heard(confirmed(), 2.2) == []
    short = ended(5000, 400)
    assert machine.heard(short, 3.0) == [
        ResumePlayback("turn-1"),
        DropUtterance(short, "backchannel"),
    ]
    assert (machine.state, machine.reply_id) == (S, "turn-1")


def test_a_short_interruption_is_one() -> None:
    """Short, but no backchannel: the filter decides."""
    machine = machine_in(S, TurnMachine(is_backchannel=by_duration))
    machine.heard(confirmed(), 2.2)
    assert machine.heard(ended(), 3.0) == [
        CancelReply("turn-1", "barge_in"),
        StartTurn("turn-2", ended()),
    ]


def test_a_long_interruption_does_not_wait_for_its_end() -> None:
    """Speech that is too long for a backchannel cancels while it goes on."""
    limits = TurnLimits(max_backchannel_ms=1000, end_delay_ms=700)
    machine = machine_in(S, TurnMachine(limits, by_duration))
    machine.heard(started(), 2.0)
    machine.heard(confirmed(), 2.25)  # 250 ms of it are over
    assert machine.next_timeout() == pytest.approx(2.25 + 1.45)
    assert machine.handle_timeout(3.6) == []
    assert machine.handle_timeout(3.71) == [CancelReply("turn-1", "barge_in")]
    assert machine.state is I


def test_a_long_utterance_is_not_judged() -> None:
    """Of more than ``max_backchannel_ms``, and of what was committed, the filter hears nothing."""
    machine = machine_in(S, TurnMachine(is_backchannel=lambda _: True))
    machine.heard(ended(5000, 1001), 2.0)
    assert machine.state is T
    machine.reply_began("turn-2", 2.5)
    machine.heard(ended(8000, 300, "committed"), 3.0)
    assert machine.state is T


def test_a_filter_may_ask_for_the_words() -> None:
    """The reply stays held until the words of that utterance are there."""
    machine = machine_in(S, TurnMachine(is_backchannel=by_words))
    machine.heard(started(), 2.0)
    assert machine.heard(ended(), 3.0) == [Transcribe(ended())]
    assert machine.transcribed(ended(9000), "uh-huh", 3.1) == []
    assert machine.state is H


def test_words_let_it_go_on() -> None:
    """The words are those of a listener."""
    machine = machine_in(S, TurnMachine(is_backchannel=by_words))
    utterance = ended()
    assert machine.heard(utterance, 3.0) == [HoldPlayback("turn-1"), Transcribe(utterance)]
    assert machine.transcribed(utterance, "uh-huh", 3.2) == [
        ResumePlayback("turn-1"),
        DropUtterance(utterance, "backchannel"),
    ]
    assert machine.transcribed(utterance, "uh-huh", 3.3) == []


def test_words_interrupt() -> None:
    """The words are those of one who wants something."""
    machine = machine_in(H, TurnMachine(is_backchannel=by_words))
    machine.heard(SECOND, 3.0)
    assert machine.transcribed(SECOND, "stop", 3.2) == [
        CancelReply("turn-1", "barge_in"),
        StartTurn("turn-2", SECOND),
    ]


def test_words_that_never_come() -> None:
    """After ``transcribe_timeout`` the utterance is taken for an interruption, not lost."""
    machine = machine_in(H, TurnMachine(is_backchannel=by_words))
    machine.heard(SECOND, 3.0)
    assert machine.next_timeout() == 5.0
    assert machine.handle_timeout(5.0) == [
        CancelReply("turn-1", "barge_in"),
        StartTurn("turn-2", SECOND),
    ]
    assert machine.transcribed(SECOND, "uh-huh", 5.1) == []


def test_words_after_the_reply() -> None:
    """Where the reply is over before the words come, the utterance is answered."""
    machine = machine_in(H, TurnMachine(is_backchannel=by_words))
    machine.heard(SECOND, 3.0)
    assert machine.reply_finished("turn-1", 3.1) == [
        ResumePlayback("turn-1"),
        StartTurn("turn-2", SECOND),
    ]


def test_saying_two_things_is_saying_something() -> None:
    """A second utterance before the first was judged interrupts; the first is dropped."""
    machine = machine_in(H, TurnMachine(is_backchannel=by_words))
    machine.heard(SECOND, 3.0)
    machine.heard(started(), 3.1)
    assert machine.heard(cough(), 3.3) == []
    machine.heard(started(7000), 3.4)
    assert machine.heard(confirmed(7000), 3.6) == [
        CancelReply("turn-1", "barge_in"),
        DropUtterance(SECOND, "superseded"),
    ]


def test_words_while_there_may_be_more() -> None:
    """A backchannel after which somebody may be speaking again keeps the reply held."""
    machine = machine_in(H, TurnMachine(is_backchannel=by_words))
    machine.heard(SECOND, 3.0)
    machine.heard(started(), 3.1)
    assert machine.transcribed(SECOND, "uh-huh", 3.2) == [DropUtterance(SECOND, "backchannel")]
    assert (machine.state, machine.next_timeout()) == (H, pytest.approx(6.2))
    assert machine.heard(cough(), 3.6) == [ResumePlayback("turn-1")]


def test_words_are_waited_for_when_speech_is_lost() -> None:
    """Speech whose end is lost does not let a reply go on that waits for the words of another."""
    limits = TurnLimits(speech_timeout=1.0, transcribe_timeout=10.0)
    machine = machine_in(H, TurnMachine(limits, by_words))
    machine.heard(SECOND, 3.0)
    machine.heard(started(), 3.1)
    assert machine.handle_timeout(5.0) == []
    assert (machine.state, machine.next_timeout()) == (H, 13.0)


def test_the_filter_has_no_say_before_the_sound() -> None:
    """While the agent is thinking there is nothing to acknowledge: speech supersedes."""
    machine = machine_in(T, TurnMachine(is_backchannel=by_duration))
    assert machine.heard(confirmed(), 1.0) == [CancelReply("turn-1", "superseded")]
    short = ended(5000, 300)
    assert machine.heard(short, 2.0) == [StartTurn("turn-2", short)]
