"""The player: what of an answer is heard, and what became of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from palaver.media.player import HOLD_MS, Player
from palaver.speech.detector import Samples

FRAME = 160
FRAME_MS = 20


def audio(value: int, frames: float = 1) -> Samples:
    """Return frames that all say the same number, so that it can be told who is heard."""
    return np.full(round(FRAME * frames), value, np.int16)


class Ticking:
    """A player, and what was heard of it frame by frame: the number, or nothing."""

    def __init__(self, prebuffer_ms: int = 60) -> None:
        self.player = Player(8_000, FRAME_MS, prebuffer_ms=prebuffer_ms)
        self.now_ms = 0

    def tick(self, frames: int = 1) -> list[int | None]:
        """Let frame times pass."""
        heard: list[int | None] = []
        for _ in range(frames):
            frame = self.player.play(self.now_ms)
            assert frame is None or len(frame) == FRAME
            heard.append(None if frame is None else int(frame[0]))
            self.now_ms += FRAME_MS
        return heard


@pytest.fixture
def ticking() -> Ticking:
    """Return a player at the beginning of a call."""
    return Ticking()


def test_an_answer_begins_when_enough_is_there(ticking: Ticking) -> None:
    """Three frames are gathered, then one is heard each frame time, in order."""
    player = ticking.player
    player.begin("r1")
    player.receive(audio(1))
    assert ticking.tick() == [None]
    player.receive(audio(2))
    player.receive(audio(3))
    assert ticking.tick(4) == [1, 2, 3, None]
    assert (player.played, player.waiting, player.late_frames) == (3 * FRAME, 0, 0)


def test_a_short_answer_is_not_waited_for(ticking: Ticking) -> None:
    """What is complete begins at once, and what comes too slowly after the time of the buffer."""
    ticking.player.begin("r1")
    ticking.player.receive(audio(1))
    ticking.player.end("r1")
    assert ticking.tick(2) == [1, None]
    ticking.player.begin("r2")
    ticking.player.receive(audio(2))
    assert ticking.tick(5) == [None, None, None, 2, None]
    assert ticking.player.late_frames == 0  # no more has come after it
    ticking.player.receive(audio(3, 3))
    assert ticking.tick(2) == [3, 3]
    assert ticking.player.late_frames == 1


def test_an_answer_that_runs_dry_gathers_again(ticking: Ticking) -> None:
    """Frames that come at half the rate are heard in groups; each missing one is counted."""
    player = ticking.player
    player.begin("r1")
    heard: list[int | None] = []
    for number in range(6):
        player.receive(audio(number + 1))
        heard += ticking.tick(2)
    player.end("r1")
    heard += ticking.tick(6)
    assert [one for one in heard if one is not None] == [1, 2, 3, 4, 5, 6]
    first, last = heard.index(1), heard.index(6)
    assert player.late_frames == heard[first:last].count(None) > 0


def test_an_answer_that_comes_at_once_is_heard_in_its_time(ticking: Ticking) -> None:
    """Audio may run ahead: it waits for its time."""
    ticking.player.begin("r1")
    for number in range(100):
        assert ticking.player.receive(audio(number))
    ticking.player.end("r1")
    assert ticking.tick(101) == [*range(100), None]
    assert ticking.player.responses[0].played_ms == 2_000


def test_held_and_resumed(ticking: Ticking) -> None:
    """While it is held nothing is heard, and nothing is lost."""
    ticking.player.begin("r1")
    for number in range(10):
        ticking.player.receive(audio(number))
    assert ticking.tick(4) == [0, 1, 2, 3]
    ticking.player.hold(ticking.now_ms)
    assert ticking.tick(5) == [None] * 5
    ticking.player.resume()
    assert ticking.tick(6) == [4, 5, 6, 7, 8, 9]
    assert ticking.player.late_frames == 0


def test_nothing_is_held_for_ever(ticking: Ticking) -> None:
    """A server that says nothing more of the speech does not silence the call."""
    ticking.player.begin("r1")
    for _ in range(5):
        ticking.player.receive(audio(7))
    ticking.player.hold(ticking.now_ms)
    assert ticking.tick(HOLD_MS // FRAME_MS) == [None] * (HOLD_MS // FRAME_MS)
    assert ticking.tick() == [7]


def test_an_interruption_is_heard_at_once(ticking: Ticking) -> None:
    """After the end as interrupted there is no frame more, not even of what comes late."""
    player = ticking.player
    player.begin("r1", 1)
    for _ in range(50):
        player.receive(audio(1), 1)
    assert ticking.tick(10) == [1] * 10
    player.end("r1", interrupted=True)
    assert ticking.tick() == [None]
    assert not player.receive(audio(1), 1)
    player.begin("r2", 2)
    assert not player.receive(audio(1), 1)
    for _ in range(3):
        assert player.receive(audio(2), 2)
    assert ticking.tick(3) == [2] * 3
    first, second = player.responses
    assert (first.received, first.played, first.cleared) == (52 * FRAME, 10 * FRAME, 42 * FRAME)
    assert (second.received, second.played, second.cleared) == (3 * FRAME, 3 * FRAME, 0)


def test_without_generations_audio_is_dropped_until_the_next_answer(ticking: Ticking) -> None:
    """Frames that do not say of which answer they are belong to the one that was begun last."""
    player = ticking.player
    player.begin("r1")
    player.receive(audio(1, 5))
    player.end(None, interrupted=True)
    assert not player.receive(audio(1))
    player.begin("r2")
    assert player.receive(audio(2, 3))
    assert ticking.tick(3) == [2] * 3


def test_a_newer_answer_takes_the_place_of_an_open_one(ticking: Ticking) -> None:
    """What was not complete is not heard beside what follows."""
    player = ticking.player
    player.begin("r1", 1)
    player.receive(audio(1, 20), 1)
    assert ticking.tick(2) == [1, 1]
    player.begin("r2", 2)
    player.receive(audio(2, 3), 2)
    assert ticking.tick(3) == [2, 2, 2]
    assert player.responses[0].interrupted


def test_a_newer_answer_follows_a_complete_one(ticking: Ticking) -> None:
    """What was complete is heard to its end first."""
    player = ticking.player
    player.begin("r1", 1)
    player.receive(audio(1, 4), 1)
    player.end("r1")
    player.begin("r2", 2)
    player.receive(audio(2, 3), 2)
    player.end("r2")
    assert ticking.tick(8) == [1, 1, 1, 1, 2, 2, 2, None]


def test_what_was_spoken_into_is_not_taken_up_again(ticking: Ticking) -> None:
    """The rest of a complete answer is cleared by speech, not by a noise."""
    player = ticking.player
    for speech in (False, True):
        player.begin("r1")
        player.receive(audio(1, 20))
        player.end("r1")
        ticking.tick(2)
        player.hold(ticking.now_ms)
        ticking.tick(2)
        if speech:
            player.hold(ticking.now_ms, confirmed=True)
            player.speech_ended()
            assert ticking.tick() == [None]
        else:
            player.resume()
            assert ticking.tick(19) == [1] * 18 + [None]
    assert player.cleared == 18 * FRAME


def test_an_answer_goes_on_though_it_was_spoken_into(ticking: Ticking) -> None:
    """A server that knows of the speech, and does not interrupt, is heard."""
    player = ticking.player
    player.begin("r1")
    player.receive(audio(1, 6))
    ticking.tick(2)
    player.hold(ticking.now_ms, confirmed=True)
    player.speech_ended()
    assert ticking.tick(4) == [1] * 4


def test_marks(ticking: Ticking) -> None:
    """A mark is reported as played once the frame before it has sounded, and else as cleared."""
    player = ticking.player
    player.begin("r1", 1)
    player.receive(audio(1, 3), 1)
    player.mark("half", "r1")
    player.receive(audio(1, 3), 1)
    player.mark("full", "r1")
    ticking.tick(3)
    assert player.take_reports() == []
    ticking.tick(1)
    (half,) = player.take_reports()
    assert (half.mark_id, half.response_id, half.outcome) == ("half", "r1", "played")
    assert half.played_ms == 60
    player.end("r1", interrupted=True)
    (full,) = player.take_reports()
    assert (full.mark_id, full.outcome, full.played_ms) == ("full", "cleared", 80)
    player.mark("late", "r1")
    assert [one.outcome for one in player.take_reports()] == ["cleared"]


def test_a_mark_behind_nothing_is_played(ticking: Ticking) -> None:
    """Where all was heard before it came, a mark is reported with the next frame time."""
    ticking.player.begin("r1")
    ticking.player.mark("m1", "r1")
    ticking.player.mark("m2", "unknown")
    assert not ticking.player.idle
    ticking.tick()
    assert [one.outcome for one in ticking.player.take_reports()] == ["played", "played"]


def test_pieces_of_any_size(ticking: Ticking) -> None:
    """Audio that is not cut in frames is; the last one is filled up with silence."""
    player = ticking.player
    player.begin("r1")
    for _ in range(7):
        player.receive(np.full(100, 9, np.int16))
    player.end("r1")
    frames = [player.play(20 * tick) for tick in range(6)]
    heard = np.concatenate([frame for frame in frames if frame is not None])
    assert heard.tolist() == [9] * 700 + [0] * 100
    assert player.played == 700


def test_what_does_not_fit_is_cleared() -> None:
    """The buffer is bounded; what was thrown away is counted."""
    player = Player(8_000, FRAME_MS, max_waiting_ms=100)
    player.begin("r1")
    taken = [player.receive(audio(1)) for _ in range(8)]
    assert taken == [True] * 5 + [False] * 3
    assert (player.waiting, player.cleared) == (5 * FRAME, 3 * FRAME)


def test_a_server_that_begins_no_answer(ticking: Ticking) -> None:
    """Audio outside of any answer is heard all the same."""
    assert ticking.player.receive(audio(5, 3))
    ticking.player.miss(2)
    assert ticking.tick(3) == [5, 5, 5]
    ticking.player.end("never begun", interrupted=True)
    assert ticking.player.lost_messages == 2


class AnyCall(RuleBasedStateMachine):
    """Any server, in any order: the sample says which answer it is of, and its place in it."""

    def __init__(self) -> None:
        super().__init__()
        self.player = Player(8_000, FRAME_MS, max_waiting_ms=2_000)
        self.now_ms = 0
        self.generation = 0
        self.sent: dict[int, int] = {}
        self.heard: dict[int, list[int]] = {}
        self.cancelled: set[int] = set()
        self.marks: list[str] = []
        self.reported: list[str] = []

    @rule()
    def begin(self) -> None:
        """Begin another answer."""
        self.generation += 1
        self.player.begin(f"r{self.generation}", self.generation)

    @precondition(lambda self: self.generation)
    @rule(size=st.integers(1, 700), back=st.integers(0, 2))
    def receive(self, size: int, back: int) -> None:
        """Send audio of this answer, or of one before."""
        generation = max(1, self.generation - back)
        first = self.sent.get(generation, 0)
        self.sent[generation] = first + size
        places = (np.arange(first, first + size) % 1_000 + 1_000 * (generation % 30)).astype(
            np.int16
        )
        places[places == 0] = 1
        self.player.receive(places, generation)

    @precondition(lambda self: self.generation)
    @rule(interrupted=st.booleans(), back=st.integers(0, 2))
    def end(self, *, interrupted: bool, back: int) -> None:
        """End an answer."""
        generation = max(1, self.generation - back)
        self.player.end(f"r{generation}", interrupted=interrupted)
        if interrupted:
            self.cancelled.add(generation)

    @precondition(lambda self: self.generation)
    @rule()
    def mark(self) -> None:
        """Send a mark."""
        self.marks.append(f"m{len(self.marks)}")
        self.player.mark(self.marks[-1], f"r{self.generation}")

    @rule(confirmed=st.booleans())
    def hold(self, *, confirmed: bool) -> None:
        """Tell that somebody may be speaking."""
        self.player.hold(self.now_ms, confirmed=confirmed)

    @rule(discarded=st.booleans())
    def go_on(self, *, discarded: bool) -> None:
        """Tell that it was no speech, or is over."""
        if discarded:
            self.player.resume()
        else:
            self.player.speech_ended()

    @rule(frames=st.integers(1, 8))
    def tick(self, frames: int) -> None:
        """Let frame times pass; nothing of a cancelled answer is heard."""
        for _ in range(frames):
            frame = self.player.play(self.now_ms)
            self.now_ms += FRAME_MS
            for sample in [] if frame is None else frame[frame != 0].tolist():
                self.heard.setdefault(sample // 1_000, []).append(sample)
                assert sample // 1_000 not in {one % 30 for one in self.cancelled} or (
                    self.generation > 29
                )
        self.reported += [one.mark_id for one in self.player.take_reports()]

    @invariant()
    def all_is_accounted_for(self) -> None:
        """Check that what came was played once, or cleared, or waits."""
        player = self.player
        assert player.received == sum(self.sent.values())
        assert player.received == player.played + player.cleared + player.waiting
        assert player.waiting == sum(one.waiting for one in player.responses)
        assert all(one.waiting >= 0 for one in player.responses)
        assert player.waiting <= 16_000

    @invariant()
    def nothing_is_heard_twice(self) -> None:
        """Check that the samples of an answer are heard in the order in which they were sent."""
        if self.generation < 30 and all(sent < 1_000 for sent in self.sent.values()):
            for places in self.heard.values():
                assert places == sorted(set(places))

    @invariant()
    def marks_are_reported_once(self) -> None:
        """Check that no mark has two ends."""
        assert len(set(self.reported)) == len(self.reported)

    def teardown(self) -> None:
        """Check that at the end each mark has been reported."""
        self.player.end(interrupted=True)
        self.tick(2)
        if self.generation:
            for generation in range(1, self.generation + 1):
                self.player.end(f"r{generation}", interrupted=True)
            self.tick(1)
        assert sorted(self.reported) == sorted(self.marks)
        assert self.player.waiting == 0


TestAnyCall = AnyCall.TestCase


@given(
    sizes=st.lists(st.integers(1, 900), max_size=30),
    waits=st.lists(st.integers(0, 6), min_size=30, max_size=30),
)
def test_an_answer_is_heard_whole(sizes: list[int], waits: list[int]) -> None:
    """Whatever its pieces and however late: each sample once, in order, with silence between."""
    ticking = Ticking()
    player = ticking.player
    samples = np.arange(1, sum(sizes) + 1).astype(np.int16)
    player.begin("r1", 1)
    heard: list[Samples] = []

    def tick(times: int) -> None:
        for _ in range(times):
            frame = player.play(ticking.now_ms)
            ticking.now_ms += FRAME_MS
            if frame is not None:
                heard.append(frame)

    start = 0
    for size, wait in zip(sizes, waits, strict=False):
        player.receive(samples[start : start + size], 1)
        start += size
        tick(wait)
    player.end("r1")
    tick(len(samples) // FRAME + 5)
    sound = np.concatenate(heard) if heard else np.zeros(0, np.int16)
    assert sound[sound != 0].tolist() == samples.tolist()
    assert player.idle
