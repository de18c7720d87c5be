"""Only a firm frame begins the silence anew (§13 of the ASP page): what that is, and is not."""

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


def ends(text: str, firmness: float = 0.7) -> list[SpeechEnded]:
    """Return the ends that are heard in it."""
    events = heard(text, options=EndpointingOptions(firmness=firmness))
    return [event for event in events if isinstance(event, SpeechEnded)]


@pytest.mark.parametrize(
    ("pause", "end_frame"),
    [
        ("." * 60, 25),
        ("~" * 10 + "." * 50, 25),  # a voice that fades
        ("~" * 24 + "." * 36, 25),
        ("." * 10 + "~~~" + "." * 47, 25),
        ("~" * 10 + "#" + "." * 49, 36),  # firm, in a ring of weak speech
        ("." * 10 + "~#" + "." * 48, 37),  # the weak frame helps the firm one to be voiced
        ("." * 10 + "#~" + "." * 48, 25),  # alone in the ring the firm one was not
        ("." * 10 + "#....#" + "." * 44, 25),
        ("." * 10 + "#~#" + "." * 47, 38),
    ],
)
def test_only_a_firm_and_voiced_frame_begins_the_silence_anew(pause: str, end_frame: int) -> None:
    """It is decided 500 ms after the last one, to the frame, whatever weak speech follows it."""
    assert ends(BEFORE + pause)[0] == SpeechEnded(
        100, end_frame * 20, end_frame * 20 + 500, "silence"
    )


@pytest.mark.parametrize(("weak", "confirmed"), [(10, False), (11, True)])
def test_weak_speech_counts_for_the_least_speech(weak: int, *, confirmed: bool) -> None:
    """13 voiced frames are 250 ms, firm or not; only the end does not wait for the weak ones."""
    events = heard("." * 5 + "##" + "~" * weak + "." * 40)
    assert events[0] == SpeechStarted(100, 100, 140)
    assert only(events, SpeechConfirmed) == ([SpeechConfirmed(100, 100, 360)] if confirmed else [])
    assert events[-1] == SpeechEnded(100, 140, 640, "silence" if confirmed else "too_short")


def test_weak_speech_begins_an_utterance() -> None:
    """The silence counts from where it began, as nothing in it is firm."""
    assert heard("." * 5 + "~" * 13 + "." * 40) == [
        SpeechStarted(100, 100, 140),
        SpeechConfirmed(100, 100, 360),
        SpeechEnded(100, 140, 640, "silence"),
    ]


def test_weak_speech_at_the_end_may_begin_the_next_utterance() -> None:
    """What came after the last firm frame is not of the utterance that is over."""
    events = heard(BEFORE + "." * 23 + "~~" + "." * 40)
    assert events[2:4] == [
        SpeechEnded(100, 500, 1000, "silence"),
        SpeechStarted(start_ms=960, prefix_ms=300, at_ms=1020),
    ]


@pytest.mark.parametrize(
    ("firmness", "end_frame"),
    [(0.0, 45), (0.2, 45), (0.21, 35), (0.8, 35), (0.81, 25), (1.0, 25)],
)
def test_firmness_is_how_far_a_probability_is_between_threshold_and_one(
    firmness: float, end_frame: int
) -> None:
    """At 0 each voiced frame begins the silence anew. From 0.5, 0.6 is a fifth of the way."""
    machine = Endpointer(VAD, 20, EndpointingOptions(firmness=firmness))
    frames = [0.1] * 5 + [1.0] * 20 + [0.9] * 10 + [0.6] * 10 + [0.1] * 30
    events = [event for p in frames for event in machine.hear(p)]
    assert only(events, SpeechEnded) == [
        SpeechEnded(100, end_frame * 20, end_frame * 20 + 500, "silence")
    ]


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
    """``threshold`` + firmness · (1 - ``threshold``); what reaches it is firm."""
    machine = Endpointer(VADConfig(threshold=threshold), 20, EndpointingOptions(firmness=firmness))
    frames = [1.0] * 20 + [probability] * 30
    events = [event for p in frames for event in machine.hear(p)]
    assert bool(only(events, SpeechEnded)) is not firm


_BITS = st.lists(
    st.tuples(st.sampled_from([(1.0,), (0.0,), (1.0, 0.0), (1.0, 1.0, 0.0)]), st.integers(1, 30)),
    max_size=12,
).map(lambda runs: [p for piece, count in runs for p in piece * count])


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

    def told(firmness: float) -> Sequence[Heard]:
        vad = VADConfig(threshold=threshold, ring_buffer_frames=ring)
        machine = Endpointer(vad, 20, EndpointingOptions(firmness=firmness))
        return [event for p in bits for event in machine.hear(p)]

    assert told(firmness) == told(0.0)


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
    end_frame = 35 if anew else 25
    assert events == [SpeechEnded(100, end_frame * 20, end_frame * 20 + 500, "silence")]


@pytest.mark.parametrize(
    ("text", "end_frame"), [("~" * 20, 25), ("#" + "." * 20, 25), ("~#" + "." * 30, 37)]
)
def test_after_a_gap_only_firm_speech_begins_the_silence_anew(text: str, end_frame: int) -> None:
    """What never came is not firm; and a ring that it emptied makes one frame no speech."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    assert list(machine.skip(10)) == []
    events = hear(machine, text)
    assert events[:1] == [SpeechEnded(100, end_frame * 20, end_frame * 20 + 500, "silence")]


def test_a_gap_right_after_firm_speech_is_silence() -> None:
    """The last frame before it was firm, the first that is missing is not."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    assert list(machine.skip(25)) == [SpeechEnded(100, 500, 1000, "silence")]


def test_a_commit_ends_at_the_last_firm_frame() -> None:
    """Up to 200 ms after it belong to the utterance (``hearing``), the commit at the latest."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE + "~" * 5)
    assert list(machine.commit()) == [SpeechEnded(100, 500, 600, "committed")]


def test_after_a_commit_weak_speech_is_as_weak_as_before() -> None:
    """It begins an utterance, and ends it as it would any."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    machine.commit()
    assert hear(machine, "~" * 13 + "." * 25) == [
        SpeechStarted(start_ms=500, prefix_ms=0, at_ms=540),
        SpeechConfirmed(start_ms=500, prefix_ms=0, at_ms=760),
        SpeechEnded(start_ms=500, end_ms=540, at_ms=1040, reason="silence"),
    ]


def test_detection_that_is_turned_on_again_waits_for_firm_speech() -> None:
    """The silence of the open utterance counts from the switch, through weak speech."""
    machine = Endpointer(VAD, 20)
    hear(machine, BEFORE)
    machine.switch(MANUAL)
    hear(machine, "#" * 10)
    machine.switch(VAD)
    assert hear(machine, "~" * 25) == [SpeechEnded(100, 700, 1200, "silence")]


def test_speech_that_is_cut_goes_on_with_the_silence_it_had() -> None:
    """Weak speech at the longest utterance's end does not begin the silence anew in the next."""
    options = EndpointingOptions(max_utterance_ms=2_000)
    events = heard("." * 5 + "#" * 90 + "~" * 40, options=options)
    assert events[2:5] == [
        SpeechEnded(100, 2100, 2100, "max_duration"),
        SpeechStarted(2100, 0, 2100),
        SpeechConfirmed(2100, 0, 2120),
    ]
    assert events[5] == SpeechEnded(2100, 2100, 2400, "silence")


@pytest.mark.xfail(strict=True, reason="frames from before the cut may begin another utterance")
def test_what_was_said_before_a_cut_begins_nothing_after_it() -> None:
    """No utterance begins before the end of the one before it."""
    vad = VADConfig(
        silence_threshold_ms=300, min_speech_ms=300, ring_buffer_frames=9, speech_ratio=0.3
    )
    options = EndpointingOptions(max_utterance_ms=1_000)
    events = heard("#~" * 15 + "~" * 13, vad, 30, options)
    (end,) = [event for event in only(events, SpeechEnded) if event.at_ms == 1170]
    (start,) = [event for event in only(events, SpeechStarted) if event.at_ms == 1200]
    assert isinstance(end, SpeechEnded)
    assert start.start_ms >= end.end_ms
