"""The turn machine under any sequence of reports: what holds whatever happens."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from palaver.speech.heard import EndReason, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.turn_table import TurnState
from palaver.speech.turns import (
    CancelReply,
    Command,
    DropUtterance,
    HoldPlayback,
    Interruption,
    ResumePlayback,
    StartTurn,
    Transcribe,
    TurnMachine,
)


def by_words(interruption: Interruption) -> bool | None:
    """Ask for the words of what is not very short."""
    if interruption.text is not None:
        return interruption.text == "uh-huh"
    return True if interruption.duration_ms < 300 else None


MOSTLY = st.sampled_from([True, True, True, True, False])
FILTERS = {"none": None, "short": lambda what: what.duration_ms < 500, "words": by_words}


class Conversations(RuleBasedStateMachine):
    """A caller, a pipeline that does what it is told, and two detectors that disagree."""

    @initialize(name=st.sampled_from(sorted(FILTERS)))
    def begin(self, name: str) -> None:
        """Begin a call with one of the filters."""
        self.machine = TurnMachine(is_backchannel=FILTERS[name])
        self.now = 0.0
        self.media_ms = 1000
        self.live: str | None = None
        self.sounding = False
        self.held: str | None = None
        self.gone: list[str] = []
        self.notices = 0
        self.utterances = 0
        self.pending: list[SpeechEnded] = []
        self.asked: list[SpeechEnded] = []
        self.closed = False

    def take(self, commands: list[Command]) -> None:
        """Do as a pipeline does, and find fault."""
        for command in commands:
            if isinstance(command, DropUtterance):
                self.pending.remove(command.utterance)
            elif isinstance(command, Transcribe):
                assert command.utterance in self.pending
                self.asked.append(command.utterance)
            elif isinstance(command, StartTurn):
                assert self.live is None
                assert command.reply_id not in self.gone
                self.pending.remove(command.utterance)
                self.live, self.sounding = command.reply_id, False
            else:
                self.take_of_reply(command)

    def take_of_reply(self, command: HoldPlayback | ResumePlayback | CancelReply) -> None:
        """Do what is said about the live reply."""
        assert command.reply_id == self.live
        if isinstance(command, HoldPlayback):
            assert self.held is None
            assert self.sounding
            self.held = command.reply_id
            return
        if isinstance(command, ResumePlayback):
            assert self.held == command.reply_id
        self.held = None
        if isinstance(command, CancelReply):
            self.over()

    def over(self) -> None:
        """Forget the live reply."""
        if self.live is not None:
            self.gone.append(self.live)
        self.live = None

    # --- what is heard ----------------------------------------------------------------------

    @rule(milliseconds=st.sampled_from([0, 20, 200, 900, 4000]))
    def time_passes(self, milliseconds: int) -> None:
        """Let time pass; what is due is done or not."""
        self.media_ms += milliseconds
        self.now += milliseconds / 1000

    @rule(back_ms=st.sampled_from([0, 40, 300, 2000]), sure=st.booleans())
    def speech(self, back_ms: int, sure: bool) -> None:  # noqa: FBT001
        """Report a beginning, perhaps late."""
        kind = SpeechConfirmed if sure else SpeechStarted
        at_ms = self.media_ms - back_ms // 2
        self.take(self.machine.heard(kind(max(0, self.media_ms - back_ms), 0, at_ms), self.now))

    @rule(
        duration_ms=st.sampled_from([100, 400, 900, 3000]),
        late_ms=st.sampled_from([0, 500, 2500]),
        reason=st.sampled_from(EndReason.__args__),
    )
    def speech_ends(self, duration_ms: int, late_ms: int, reason: EndReason) -> None:
        """Report an end, perhaps of what was reported before."""
        end_ms = max(self.media_ms - late_ms, duration_ms)
        self.utterances += 1
        number = self.utterances.to_bytes(4)
        event = SpeechEnded(end_ms - duration_ms, end_ms, self.media_ms, reason, number)
        if not event.discarded:
            self.pending.append(event)
        self.take(self.machine.heard(event, self.now))

    @precondition(lambda self: self.live is not None)
    @rule(duration_ms=st.sampled_from([200, 400, 900]))
    def utterance_over_a_reply(self, duration_ms: int) -> None:
        """Say something short while the reply can be heard."""
        if not self.sounding:
            self.sound_begins(interruptible=True)
        self.time_passes(4000)
        self.speech(back_ms=0, sure=False)
        self.time_passes(duration_ms)
        self.speech_ends(duration_ms, 0, "silence")

    @precondition(lambda self: self.asked)
    @rule(text=st.sampled_from(["uh-huh", "stop", ""]), data=st.data())
    def words(self, text: str, data: st.DataObject) -> None:
        """Tell what some utterance was, even when nobody needs it any more."""
        utterance = data.draw(st.sampled_from(self.asked))
        self.take(self.machine.transcribed(utterance, text, self.now))

    # --- what is said -----------------------------------------------------------------------

    @precondition(lambda self: self.live is not None)
    @rule(interruptible=MOSTLY)
    def sound_begins(self, interruptible: bool) -> None:  # noqa: FBT001
        """Say the first of the live reply."""
        assert self.live is not None
        self.sounding = True
        self.take(self.machine.reply_began(self.live, self.now, interruptible=interruptible))

    @rule(interruptible=MOSTLY)
    def notice(self, interruptible: bool) -> None:  # noqa: FBT001
        """Say something that nobody asked for."""
        self.notices += 1
        name = f"notice-{self.notices}"
        commands = self.machine.reply_began(name, self.now, interruptible=interruptible)
        if commands and isinstance(commands[0], CancelReply):
            assert [command.reply_id for command in commands] == [name]
            self.gone.append(name)
            return
        assert self.live is None
        self.live, self.sounding = name, True
        self.take(commands)

    @precondition(lambda self: self.live is not None)
    @rule(how=st.sampled_from(["finished", "failed", "cancelled"]))
    def reply_ends(self, how: str) -> None:
        """End the live reply."""
        assert self.live is not None
        if how == "finished":
            ended, held = self.live, self.held
            commands = self.machine.reply_finished(ended, self.now)
            if held is not None:
                assert commands.pop(0) == ResumePlayback(ended)
            self.held = None
            self.over()
        elif how == "failed":
            commands = self.machine.reply_failed(self.live, self.now)
        else:
            commands = self.machine.reply_cancelled(self.live, self.now)
        self.take(commands)

    @precondition(lambda self: self.gone)
    @rule(data=st.data(), interruptible=st.booleans())
    def late(self, data: st.DataObject, interruptible: bool) -> None:  # noqa: FBT001
        """Report what happens to replies that are gone: nothing comes of it."""
        reply_id = data.draw(st.sampled_from(self.gone[-60:]))
        machine, now = self.machine, self.now
        before = machine.state
        assert machine.reply_began(reply_id, now, interruptible=interruptible) == []
        assert machine.reply_finished(reply_id, now) == []
        assert machine.reply_failed(reply_id, now) == []
        assert machine.reply_cancelled(reply_id, now) == []
        assert machine.state is before

    # --- time -------------------------------------------------------------------------------

    @rule(on_time=st.booleans())
    def timeout(self, on_time: bool) -> None:  # noqa: FBT001
        """Do what is due; at its time it is done, and then no more is due at that time."""
        due = self.machine.next_timeout()
        if on_time and due is not None:
            self.media_ms += max(0, round((due - self.now) * 1000))
            self.now = max(self.now, due)
        self.take(self.machine.handle_timeout(self.now))
        after = self.machine.next_timeout()
        assert after is None or after > self.now

    # --- what holds -------------------------------------------------------------------------

    @invariant()
    def the_two_agree(self) -> None:
        """See that pipeline and machine know of the same reply, held or not."""
        assert self.machine.reply_id == self.live
        assert (self.machine.state is TurnState.HELD) == (self.held is not None)
        assert self.held is None or self.machine.next_timeout() is not None

    @invariant()
    def nothing_is_lost(self) -> None:
        """See that an utterance waits only for the end of an announcement, or for its words."""
        assert len(self.pending) <= 1
        if self.pending:
            announcing = self.machine.state is TurnState.ANNOUNCING
            unclear = self.machine.state is TurnState.HELD and self.pending[0] in self.asked
            assert announcing or unclear

    def teardown(self) -> None:
        """At the end of the call nothing is left."""
        if not hasattr(self, "machine"):
            return
        self.take(self.machine.close())
        assert self.pending == []
        assert self.live is None
        assert self.held is None


Conversations.TestCase.settings = settings(max_examples=250, stateful_step_count=40)
TestConversations = Conversations.TestCase
