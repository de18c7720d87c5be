"""Firm frames begin the silence anew, weak ones leave a doubt (§13 of the ASP page)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import VADConfig
from palaver.speech.endpointing import Endpointer, EndpointingOptions
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from tests.speech.test_endpointing import MANUAL, VAD, hear, heard, only

BEFORE = "." * 5 + "#" * 20
"""500 ms: silence, and 400 ms of firm speech. In texts ``#`` is firm, ``~`` is weak speech."""


@pytest.mark.parametrize(
    ("pause", "end_frame", "at_frame"),
    [
        ("." * 60, 25, 50),
        # A voice that fades: 500 ms after the last firm frame, and 380 ms after the last weak one.
        ("~" * 5 + "." * 50, 30, 50),
        ("~" * 6 + "." * 50, 31, 50),
        ("~" * 7 + "." * 50, 32, 51),
        ("~" * 10 + "." * 50, 35, 54),
        ("~" * 300 + "." * 50, 325, 344),
        # In the middle of the silence; the first weak frame is alone in the ring, and not voiced.
        ("." * 3 + "~~" + "." * 50, 30, 50),
        ("." * 5 + "~~" + "." * 50, 32, 51),
        ("." * 10 + "~~~" + "." * 47, 38, 57),
        ("." * 10 + "~" + "." * 49, 25, 50),
        ("." * 10 + "~.~" + "." * 47, 38, 57),
        (("." * 10 + "~~") * 3 + "." * 40, 61, 80),
        # At its end: no voiced frame ends an utterance, not even a weak one.
        ("." * 22 + "~~" + "." * 40, 49, 68),
        ("." * 23 + "~~" + "." * 40, 50, 69),
        ("." * 24 + "~~" + "." * 40, 25, 50),
        # Weak and firm.
        ("~" * 10 + "#" + "." * 49, 36, 61),
        ("." * 10 + "~#" + "." * 48, 37, 62),  # the weak frame helps the firm one to be voiced
        ("." * 10 + "#~" + "." * 48, 37, 56),  # and the firm one the weak one
        ("." * 10 + "#....#" + "." * 44, 25, 50),
        ("." * 10 + "#~#" + "." * 47, 38, 63),
        ("." * 10 + "##~~" + "." * 47, 39, 62),
    ],
)
def test_firm_speech_begins_the_silence_anew_and_weak_speech_leaves_a_doubt(
    pause: str, end_frame: int, at_frame: int
) -> None:
    """The utterance ends with its last voiced frame; when that is known depends on both."""
    assert only(heard(BEFORE + pause), SpeechEnded)[0] == SpeechEnded(
        100, end_frame * 20, at_frame * 20, "silence"
    )


@pytest.mark.parametrize("begun", [BEFORE, "." * 5])
@pytest.mark.parametrize("vad", [VAD, VADConfig(silence_threshold_ms=100)])
def test_weak_speech_never_ends(begun: str, vad: VADConfig) -> None:
    """A soft voice is not cut in two, however long it has had no firm frame."""
    assert only(heard(begun + "~" * 1_400, vad), SpeechEnded) == []


@pytest.mark.parametrize(
    ("frame_ms", "silence_ms", "frames"),
    [
        # 120 ms are 12 frames of 10 ms, 6 of 20, 4 of 30; one frame of silence it takes at least.
        (10, 500, 38),
        (20, 500, 19),
        (30, 500, 13),  # 17 without the doubt
        (30, 160, 2),
        (30, 130, 1),
        (30, 120, 1),
        (30, 100, 1),
        (20, 160, 2),
        (20, 140, 1),
        (20, 120, 1),
        (20, 100, 1),
        (10, 140, 2),
        (10, 130, 1),
        (10, 120, 1),
        (10, 100, 1),
    ],
)
def test_after_weak_speech_the_doubt_is_taken_off_the_silence(
    frame_ms: int, silence_ms: int, frames: int
) -> None:
    """Up to 120 ms of it, in whole frames: the end comes so much sooner after a weak frame."""
    vad = VADConfig(silence_threshold_ms=silence_ms)
    machine = Endpointer(vad, frame_ms)
    hear(machine, "." * 10 + "#" * 20 + "~" * 70)
    assert hear(machine, "." * (frames - 1)) == []
    assert hear(machine, ".") == [
        SpeechEnded(10 * frame_ms, 100 * frame_ms, (100 + frames) * frame_ms, "silence")
    ]


@pytest.mark.parametrize(("weak", "confirmed"), [(10, False), (11, True)])
def test_weak_speech_counts_for_the_least_speech(weak: int, *, confirmed: bool) -> None:
    """13 voiced frames are 250 ms, firm or not."""
    events = heard("." * 5 + "##" + "~" * weak + "." * 40)
    assert events[0] == SpeechStarted(100, 100, 140)
    assert only(events, SpeechConfirmed) == ([SpeechConfirmed(100, 100, 360)] if confirmed else [])
    end_ms = 140 + 20 * weak
    reason = "silence" if confirmed else "too_short"
    assert events[-1] == SpeechEnded(100, end_ms, end_ms + 380, reason)


def test_weak_speech_begins_an_utterance() -> None:
    """The silence counts from the ring with which it began, where nothing in it is firm."""
    assert heard("." * 5 + "~" * 13 + "." * 40) == [
        SpeechStarted(100, 100, 140),
        SpeechConfirmed(100, 100, 360),
        SpeechEnded(100, 360, 740, "silence"),
    ]
    assert heard("." * 5 + "~~" + "." * 40) == [
        SpeechStarted(100, 100, 140),
        SpeechEnded(100, 140, 640, "too_short"),
    ]


def test_weak_speech_at_the_end_may_begin_the_next_utterance() -> None:
    """What came after the last voiced frame is not of the utterance that is over."""
    events = heard(BEFORE + "." * 24 + "~~" + "." * 40)
    assert events[2:4] == [
        SpeechEnded(100, 500, 1000, "silence"),
        SpeechStarted(start_ms=980, prefix_ms=300, at_ms=1020),
    ]


@pytest.mark.parametrize(
    ("firmness", "at_frame"),
    [(0.0, 70), (0.2, 70), (0.21, 60), (0.8, 60), (0.81, 50), (1.0, 50)],
)
def test_firmness_is_how_far_a_probability_is_between_threshold_and_one(
    firmness: float, at_frame: int
) -> None:
    """At 0 each voiced frame begins the silence anew. From 0.5, 0.6 is a fifth of the way.

    All of the silence may stand in doubt here: so the last firm frame alone says when it ends.
    """
    machine = Endpointer(VAD, 20, EndpointingOptions(firmness=firmness, doubt_ms=10_000))
    frames = [0.1] * 5 + [1.0] * 20 + [0.9] * 10 + [0.6] * 10 + [0.1] * 30
    events = [event for p in frames for event in machine.hear(p)]
    assert only(events, SpeechEnded) == [SpeechEnded(100, 900, at_frame * 20, "silence")]


@pytest.mark.parametrize(
    ("threshold", "firmness", "probability", "firm"),
    [
        (0.5, 0.7, 0.85, True),
        (0.5, 0.7, 0.849, False),
        (0.5 + 1e-9, 0.7, 0.85, True),  # the same in the digest, so the same here
        (0.4, 0.7, 0.821, True),
        (0.4, 0.7, 0.819, False),
        (0.6, 0.7, 0.881, True),
        (0.6, 0.7, 0.879, False),
        (0.0, 0.7, 0.7, True),
        (0.0, 0.7, 0.699, False),
        (1.0, 0.7, 1.0, True),
        (0.5, 0.0, 0.5, True),
        (0.5, 1.0, 1.0, True),
        (0.5, 1.0, 0.999, False),
        (0.5, 0.7, math.nan, False),
    ],
)
def test_where_the_bar_is(
    threshold: float, firmness: float, probability: float, *, firm: bool
) -> None:
    """``threshold`` + firmness · (1 - ``threshold``); after what reaches it 380 ms end nothing."""
    machine = Endpointer(VADConfig(threshold=threshold), 20, EndpointingOptions(firmness=firmness))
    events = [event for p in [1.0] * 20 + [probability] * 30 for event in machine.hear(p)]
    events += machine.skip(24)
    assert bool(only(events, SpeechEnded)) is not firm
    machine.skip(1)
    assert not machine.speaking


_BITS = st.lists(
    st.tuples(st.sampled_from([(1.0,), (0.0,), (1.0, 0.0), (1.0, 1.0, 0.0)]), st.integers(1, 30)),
    max_size=12,
).map(lambda runs: [p for piece, count in runs for p in piece * count])


def told(frames: Sequence[float], vad: VADConfig, options: EndpointingOptions) -> list[Heard]:
    """Return what is heard of frames of 20 ms."""
    machine = Endpointer(vad, 20, options)
    return [event for p in frames for event in machine.hear(p)]


@given(
    bits=_BITS,
    threshold=st.floats(0.000_001, 1),
    firmness=st.floats(0, 1),
    ring=st.integers(3, 10),
)
def test_a_detector_that_says_yes_or_no_is_always_firm(
    bits: list[float], threshold: float, firmness: float, ring: int
) -> None:
    """As webrtcvad does, with 0 and 1: it is heard as if nothing had to be firm."""
    vad = VADConfig(threshold=threshold, ring_buffer_frames=ring)
    firm = EndpointingOptions(firmness=firmness)
    assert told(bits, vad, firm) == told(bits, vad, EndpointingOptions(firmness=0.0))


_RUNS = st.lists(st.tuples(st.sampled_from([0.1, 0.6, 0.9]), st.integers(1, 30)), max_size=20).map(
    lambda runs: [p for p, count in runs for _ in range(count)]
)


@given(frames=_RUNS)
def test_where_no_silence_may_stand_weak_speech_is_firm(frames: list[float]) -> None:
    """With a doubt of 0 ms, or less than a frame, each voiced frame begins the silence anew."""
    firm = told(frames, VAD, EndpointingOptions(firmness=0.0))
    assert told(frames, VAD, EndpointingOptions(doubt_ms=0)) == firm
    assert told(frames, VAD, EndpointingOptions(doubt_ms=19)) == firm


@given(
    frames=_RUNS,
    silence_ms=st.integers(100, 700),
    frame_ms=st.sampled_from([10, 20, 30]),
)
def test_silence_ends_at_a_frame_that_is_not_voiced(
    frames: list[float], silence_ms: int, frame_ms: int
) -> None:
    """Something of the silence is always still to come, whatever is left in doubt."""
    machine = Endpointer(VADConfig(silence_threshold_ms=silence_ms), frame_ms)
    ends = only([event for p in frames for event in machine.hear(p)], SpeechEnded)
    assert all(isinstance(end, SpeechEnded) and end.end_ms < end.at_ms for end in ends)


# --- after something else -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "probability", "anew"),
    [
        (0.5, 0.5, 0.84, False),
        (0.5, 0.4, 0.84, True),  # 0.82
        (0.4, 0.5, 0.84, False),
        (0.5, 0.9, 0.98, True),  # 0.97
        (0.5, 0.9, 0.96, False),
    ],
)
def test_a_switch_of_the_threshold_moves_the_bar(
    before: float, after: float, probability: float, *, anew: bool
) -> None:
    """From the next frame on; what was firm before it stays so."""
    machine = Endpointer(VADConfig(threshold=before), 20)
    hear(machine, BEFORE)
    machine.switch(VADConfig(threshold=after))
    events = [event for p in [probability] * 10 + [0.0] * 40 for event in machine.hear(p)]
    assert events == [SpeechEnded(100, 700, 1200 if anew else 1080, "silence")]


@pytest.mark.parametrize(
    ("first_ms", "text", "then_ms", "rest", "end_frame", "at_frame"),
    [
        (500, "~" * 10 + "." * 10, 1000, "." * 34, 35, 79),  # 6 frames in doubt and 10 of 50
        (500, "~" * 10 + "." * 3, 200, ".", 35, 39),
        (500, "~" * 10, 100, ".", 35, 36),  # it was due before
        (500, "~" * 10, 100, "~.", 36, 37),  # 4 of 5 are left in doubt
        (500, "." * 12 + "~", 200, "~....", 39, 43),  # due, and a weak frame puts it off
        (500, "." * 12 + "~", 200, "#" + "." * 10, 39, 49),
        (500, "." * 12 + "~", 200, ".", 25, 39),
        (100, "~" * 10, 500, "." * 21, 35, 56),  # 4 frames in doubt, as it was then
        (100, "~" * 10, 500, "~" + "." * 20, 36, 56),
        (100, "~" * 10, 500, "~~" + "." * 19, 37, 56),
        (100, "~" * 10, 500, "~~~" + "." * 19, 38, 57),  # 6 from here on
    ],
)
def test_a_switch_of_the_silence_keeps_what_is_counted(
    first_ms: int, text: str, then_ms: int, rest: str, end_frame: int, at_frame: int
) -> None:
    """How much may stand in doubt is said by the new threshold, from the next weak frame on."""
    machine = Endpointer(VADConfig(silence_threshold_ms=first_ms), 20)
    hear(machine, BEFORE + text)
    machine.switch(VADConfig(silence_threshold_ms=then_ms))
    assert hear(machine, rest) == [SpeechEnded(100, end_frame * 20, at_frame * 20, "silence")]


@pytest.mark.parametrize(
    ("text", "end_frame", "at_frame"),
    [
        ("~" * 20 + "." * 19, 55, 74),
        ("~~" + "." * 19, 37, 56),
        ("#" + "." * 14, 25, 50),
        ("~#" + "." * 25, 37, 62),
    ],
)
def test_after_a_gap_speech_is_as_firm_or_weak_as_before(
    text: str, end_frame: int, at_frame: int
) -> None:
    """What never came is silence, and counts; a ring that it emptied makes one frame no speech."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    assert list(machine.skip(10)) == []
    assert hear(machine, text) == [SpeechEnded(100, end_frame * 20, at_frame * 20, "silence")]


@pytest.mark.parametrize(("weak", "missing"), [(0, 25), (5, 20), (6, 19), (7, 19), (30, 19)])
def test_a_gap_after_speech_is_silence(weak: int, missing: int) -> None:
    """The doubt that the last weak frame has left is of the silence that the gap completes."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE + "~" * weak)
    assert list(machine.skip(missing - 1)) == []
    end_ms = 500 + 20 * weak
    assert list(machine.skip(100)) == [
        SpeechEnded(100, end_ms, end_ms + 20 * missing, "silence"),
    ]


@pytest.mark.parametrize(
    ("text", "end_ms"), [("~" * 5, 600), ("~" * 5 + "...", 600), ("....~", 500)]
)
def test_a_commit_ends_at_the_last_voiced_frame(text: str, end_ms: int) -> None:
    """Up to 200 ms after it belong to the utterance (``hearing``), the commit at the latest."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE + text)
    assert list(machine.commit()) == [SpeechEnded(100, end_ms, 500 + 20 * len(text), "committed")]


def test_after_a_commit_weak_speech_is_as_weak_as_before() -> None:
    """It begins an utterance, and ends it as it would any."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    machine.commit()
    assert hear(machine, "~" * 13 + "." * 25) == [
        SpeechStarted(start_ms=500, prefix_ms=0, at_ms=540),
        SpeechConfirmed(start_ms=500, prefix_ms=0, at_ms=760),
        SpeechEnded(start_ms=500, end_ms=760, at_ms=1140, reason="silence"),
    ]


@pytest.mark.parametrize(
    ("text", "end_frame", "at_frame"),
    [("." * 25, 35, 60), ("~~~" + "." * 22, 38, 60), ("~" * 25 + "." * 19, 60, 79)],
)
def test_detection_that_is_turned_on_again_counts_from_there(
    text: str, end_frame: int, at_frame: int
) -> None:
    """The silence of the open utterance counts from the switch, as from a firm frame."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    machine.switch(MANUAL)
    hear(machine, "#" * 10)
    machine.switch(VAD)
    assert hear(machine, text) == [SpeechEnded(100, end_frame * 20, at_frame * 20, "silence")]


# --- cuts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("#" * 97 + "...", SpeechEnded(2100, 2100, 2540, "too_short")),  # 3 frames before the cut
        ("#" * 90 + "~" * 7 + "...", SpeechEnded(2100, 2100, 2420, "too_short")),  # 9 frames
        ("#" * 90 + "~" * 10, SpeechEnded(2100, 2100, 2480, "too_short")),  # 6 in doubt
        ("#" * 90 + "~" * 40, SpeechEnded(2100, 2700, 3080, "silence")),
        ("#" * 90 + "~" * 11 + "#", SpeechEnded(2100, 2140, 2640, "silence")),
    ],
)
def test_speech_that_is_cut_goes_on_with_the_silence_it_had(text: str, end: SpeechEnded) -> None:
    """What was counted before the cut counts after it; the next does not end before it begins."""
    events = heard("." * 5 + text + "." * 40, options=EndpointingOptions(max_utterance_ms=2_000))
    assert events[2:4] == [
        SpeechEnded(100, 2100, 2100, "max_duration"),
        SpeechStarted(2100, 0, 2100),
    ]
    assert events[-1] == end
    confirmed = [SpeechConfirmed(2100, 0, 2120)] if end.end_ms > 2100 else []
    assert only(events[4:], SpeechConfirmed) == confirmed


def test_what_was_said_before_a_cut_begins_nothing_after_it() -> None:
    """Its last frames are still in the ring, and of an utterance that is over."""
    vad = VADConfig(
        silence_threshold_ms=300, min_speech_ms=300, ring_buffer_frames=9, speech_ratio=0.3
    )
    options = EndpointingOptions(max_utterance_ms=1_000)
    events = heard("#~" * 15 + "~" * 4 + "." * 6 + "~~~", vad, 30, options)
    assert events[2:] == [
        SpeechEnded(0, 1020, 1020, "max_duration"),
        SpeechStarted(1020, 0, 1020),
        SpeechEnded(1020, 1020, 1200, "too_short"),
        SpeechStarted(1200, 180, 1290),
    ]
