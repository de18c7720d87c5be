"""Where speech begins and ends: §13 of the ASP page, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import VADConfig
from palaver.speech.endpointing import Endpointer, EndpointingOptions
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from tests.speech.endpointing_rules import by_the_rules

FIRM, WEAK, SILENCE = 0.9, 0.6, 0.1
AS_USUAL = EndpointingOptions()
VAD = VADConfig()
"""500 ms of silence, 250 ms of speech, 2 of 5 frames, threshold 0.5, 300 ms of prefix."""


def flags(text: str) -> list[float]:
    """Return a probability per character: ``#`` is firm speech, ``~`` is weak, all else is none."""
    return [{"#": FIRM, "~": WEAK}.get(one, SILENCE) for one in text]


def hear(endpointer: Endpointer, text: str) -> list[Heard]:
    """Feed frames; return what was heard."""
    return [event for one in flags(text) for event in endpointer.hear(one)]


def heard(
    text: str,
    vad: VADConfig = VAD,
    frame_ms: int = 20,
    options: EndpointingOptions = AS_USUAL,
) -> list[Heard]:
    """Return what a fresh machine hears."""
    return hear(Endpointer(vad, frame_ms, options), text)


def only(events: Iterable[Heard], kind: type[Heard]) -> list[Heard]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


# --- the beginning ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ring", "ratio", "text", "start_frame", "at_frame"),
    [
        (5, 0.4, ".....##", 5, 7),
        (5, 0.4, ".....#..#", 5, 9),  # both still in the ring of five
        (5, 0.4, ".....#....#", None, None),  # the first has left it
        (5, 0.5, ".....##", None, None),  # 2.5 is rounded up
        (5, 0.5, ".....###", 5, 8),
        (3, 0.2, "...#", 3, 4),
        (10, 0.8, "." * 10 + "#######", None, None),
        (10, 0.8, "." * 10 + "########", 10, 18),
        (10, 0.3, "." * 10 + "###", 10, 13),  # exactly three, whatever 0.3 is in binary
    ],
)
def test_speech_begins_at_the_first_hit_of_the_ring(
    ring: int, ratio: float, text: str, start_frame: int | None, at_frame: int | None
) -> None:
    """It takes speech_ratio of the ring, rounded up; the beginning is the first hit in it."""
    events = heard(text, VADConfig(ring_buffer_frames=ring, speech_ratio=ratio))
    starts = [(e.start_ms, e.at_ms) for e in events if isinstance(e, SpeechStarted)]
    wanted = [] if start_frame is None or at_frame is None else [(start_frame * 20, at_frame * 20)]
    assert starts == wanted


@pytest.mark.parametrize("text", ["#####", "##...", "#.#.."])
def test_a_ring_that_is_not_full_begins_nothing(text: str) -> None:
    """Speech from the first frame of a session on waits for the ring to fill, and loses nothing."""
    assert heard(text[:4]) == []
    assert heard(text) == [SpeechStarted(start_ms=0, prefix_ms=0, at_ms=100)]


@pytest.mark.parametrize(
    ("silence", "padding", "prefix_ms"), [(30, 300, 300), (30, 0, 0), (6, 300, 120), (30, 500, 500)]
)
def test_the_prefix_is_what_there_is(silence: int, padding: int, prefix_ms: int) -> None:
    """No audio from before the session can belong to an utterance."""
    events = heard("." * silence + "##", VADConfig(prefix_padding_ms=padding))
    assert events == [SpeechStarted(silence * 20, prefix_ms, (silence + 2) * 20)]


def test_the_prefix_does_not_reach_into_the_utterance_before() -> None:
    """What was said is not handed over twice."""
    vad = VADConfig(silence_threshold_ms=100, prefix_padding_ms=500)
    events = heard("." * 10 + "#" * 20 + "." * 7 + "##", vad)
    assert events[-1] == SpeechStarted(start_ms=37 * 20, prefix_ms=7 * 20, at_ms=39 * 20)


def test_the_prefix_may_hold_what_was_discarded() -> None:
    """A syllable that was too short may be the beginning of the word that follows."""
    vad = VADConfig(silence_threshold_ms=100, prefix_padding_ms=500)
    events = heard("." * 40 + "##" + "." * 7 + "##", vad)
    assert events[-2:] == [
        SpeechEnded(start_ms=800, end_ms=840, at_ms=940, reason="too_short"),
        SpeechStarted(start_ms=980, prefix_ms=500, at_ms=1020),
    ]


# --- speech or not ----------------------------------------------------------------------


def test_confirmed_once_by_voiced_time() -> None:
    """250 ms of voiced time are 13 frames of 20 ms; pauses between them do not count."""
    events = heard("." * 5 + "#" * 6 + "." * 10 + "#" * 20)
    # The first frame after the pause is not voiced yet: alone in the ring it may be noise.
    assert events == [
        SpeechStarted(start_ms=100, prefix_ms=100, at_ms=140),
        SpeechConfirmed(start_ms=100, prefix_ms=100, at_ms=(5 + 6 + 10 + 1 + 7) * 20),
    ]


@pytest.mark.parametrize("voiced", range(2, 13))
def test_what_is_too_short_is_discarded_and_paired(voiced: int) -> None:
    """The silence after it is no speech: it does not help to reach min_speech_ms."""
    assert heard("." * 5 + "#" * voiced + "." * 40) == [
        SpeechStarted(start_ms=100, prefix_ms=100, at_ms=140),
        SpeechEnded(
            start_ms=100,
            end_ms=100 + voiced * 20,
            at_ms=100 + voiced * 20 + 500,
            reason="too_short",
        ),
    ]


def test_discarded_has_no_audio() -> None:
    """Nobody is to answer a cough."""
    (_, ended) = heard("." * 5 + "##" + "." * 40)
    assert isinstance(ended, SpeechEnded)
    assert ended.discarded
    assert ended.duration_ms == 40


# --- the end ----------------------------------------------------------------------------


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize("silence_ms", [100, 110, 250, 500, 2000])
@pytest.mark.parametrize("ring", [3, 10])
def test_the_end_comes_with_the_silence(frame_ms: int, silence_ms: int, ring: int) -> None:
    """The decision follows firm speech by the threshold: smoothing adds no delay."""
    vad = VADConfig(silence_threshold_ms=silence_ms, ring_buffer_frames=ring, min_speech_ms=100)
    ended = heard("." * 10 + "#" * 20 + "." * 200, vad, frame_ms)[-1]
    wait_ms = math.ceil(silence_ms / frame_ms) * frame_ms
    assert ended == SpeechEnded(10 * frame_ms, 30 * frame_ms, 30 * frame_ms + wait_ms, "silence")


@pytest.mark.parametrize(
    ("pause", "end_frame"),
    [
        ("." * 60, 25),
        ("." * 12 + "#" + "." * 60, 25),  # one noisy frame
        (("." * 6 + "#") * 12, 25),  # one now and then: never two in a ring
        ("." * 12 + "##" + "." * 60, 39),  # two in a ring are speech
        ("." * 12 + "#.#" + "." * 60, 40),
    ],
)
def test_a_noisy_frame_does_not_begin_the_pause_anew(pause: str, end_frame: int) -> None:
    """Silence counts from the last frame that has enough speech with it in the ring."""
    ended = heard("." * 5 + "#" * 20 + pause)[2]
    wanted = SpeechEnded(100, end_frame * 20, end_frame * 20 + 500, "silence")
    assert ended == wanted


def test_speech_begins_anew_with_the_frames_after_the_end() -> None:
    """Frames of an utterance that is over begin no other; a hit in its last silence may."""
    vad = VADConfig(silence_threshold_ms=100, ring_buffer_frames=10, speech_ratio=0.2)
    text = "." * 10 + "#" * 20 + "...." + "." + "." * 20
    assert len(only(heard(text, vad), SpeechStarted)) == 1
    # One hit in the last frame of the silence, the second after the end.
    vad = VADConfig(silence_threshold_ms=100)
    events = heard("." * 10 + "#" * 20 + "....#" + "#", vad)
    assert events[-2:] == [
        SpeechEnded(200, 600, 700, "silence"),
        SpeechStarted(start_ms=680, prefix_ms=80, at_ms=720),
    ]


# --- too long ---------------------------------------------------------------------------

SHORT = EndpointingOptions(max_utterance_ms=2_000)


def test_speech_that_goes_on_is_the_next_utterance_at_once() -> None:
    """Nothing lies between the two; the rest is confirmed by one frame, however short it is."""
    endpointer = Endpointer(VAD, 20, SHORT)
    events = hear(endpointer, "." * 5 + "#" * 103 + "." * 40)
    assert events[2:] == [
        SpeechEnded(start_ms=100, end_ms=2100, at_ms=2100, reason="max_duration"),
        SpeechStarted(start_ms=2100, prefix_ms=0, at_ms=2100),
        SpeechConfirmed(start_ms=2100, prefix_ms=0, at_ms=2120),
        SpeechEnded(start_ms=2100, end_ms=2160, at_ms=2660, reason="silence"),
    ]


def test_speech_that_ends_at_the_cut_leaves_no_utterance_behind() -> None:
    """What was opened at the cut and has no voiced frame is discarded."""
    events = hear(Endpointer(VAD, 20, SHORT), "." * 5 + "#" * 100 + "." * 40)
    assert events[3:] == [
        SpeechStarted(start_ms=2100, prefix_ms=0, at_ms=2100),
        SpeechEnded(start_ms=2100, end_ms=2100, at_ms=2600, reason="too_short"),
    ]


def test_a_cut_in_a_pause_opens_nothing() -> None:
    """Where nobody speaks the next utterance begins as any does."""
    events = hear(Endpointer(VAD, 20, SHORT), "." * 5 + "#" * 90 + "." * 12 + "#" * 5)
    assert events[2:] == [
        SpeechEnded(start_ms=100, end_ms=1900, at_ms=2100, reason="max_duration"),
        SpeechStarted(start_ms=2140, prefix_ms=240, at_ms=2180),
    ]


def test_a_cut_of_what_was_never_confirmed() -> None:
    """Noise that flickers for as long is discarded, and what follows has to be speech by itself."""
    vad = VADConfig(min_speech_ms=1000, silence_threshold_ms=2000)
    endpointer = Endpointer(vad, 20, EndpointingOptions(max_utterance_ms=1_000))
    events = hear(endpointer, "." * 5 + "#." * 25 + "." * 3 + "#" * 10 + "." * 120)
    assert [event.reason for event in events if isinstance(event, SpeechEnded)] == [
        "too_short",
        "too_short",
    ]
    assert only(events, SpeechConfirmed) == []


# --- commits ----------------------------------------------------------------------------


def test_a_commit_ends_speech_where_it_is() -> None:
    """The utterance is complete at once, also before it was confirmed."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 4 + ".")
    assert list(endpointer.commit()) == [SpeechEnded(100, 180, 200, "committed")]
    assert not endpointer.speaking
    assert hear(endpointer, "." * 50) == []


def test_speech_that_goes_on_after_a_commit_is_another_utterance() -> None:
    """Its audio begins where that of the one before ended."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 20)
    endpointer.commit()
    assert hear(endpointer, "#" * 5) == [SpeechStarted(start_ms=500, prefix_ms=0, at_ms=540)]


def test_a_commit_in_silence_is_nothing() -> None:
    """There is no utterance to complete."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 20)
    assert list(endpointer.commit()) == []


MANUAL = VADConfig(enabled=False)


def test_without_detection_only_a_commit_ends() -> None:
    """All since the last commit is the utterance, whatever the frames are."""
    endpointer = Endpointer(MANUAL, 20)
    assert list(endpointer.commit()) == []
    assert hear(endpointer, "#" * 50 + "." * 50) == []
    assert list(endpointer.commit()) == [
        SpeechStarted(0, 0, 2000),
        SpeechEnded(0, 2000, 2000, "committed"),
    ]
    assert list(endpointer.commit()) == []
    hear(endpointer, ".")
    assert list(endpointer.commit())[-1] == SpeechEnded(2000, 2020, 2020, "committed")


def test_without_detection_the_last_part_is_the_utterance() -> None:
    """Who says nothing for an hour and then commits has not said an hour."""
    endpointer = Endpointer(MANUAL, 20, SHORT)
    endpointer.skip(180_000)
    assert list(endpointer.commit())[-1] == SpeechEnded(
        3_598_000, 3_600_000, 3_600_000, "committed"
    )


# --- switches ---------------------------------------------------------------------------


def test_a_switch_keeps_the_open_utterance() -> None:
    """A longer silence asked for in the middle of it holds for it."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 20 + "." * 20)
    endpointer.switch(VADConfig(silence_threshold_ms=1000))
    assert hear(endpointer, "." * 29) == []
    assert hear(endpointer, ".") == [SpeechEnded(100, 500, 1500, "silence")]


def test_a_switch_to_a_shorter_silence_ends_with_the_next_frame() -> None:
    """What is over by the new values is over."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 20 + "." * 20)
    endpointer.switch(VADConfig(silence_threshold_ms=200))
    assert hear(endpointer, ".") == [SpeechEnded(100, 500, 920, "silence")]


def test_a_switch_of_the_least_speech_confirms_with_the_next_frame() -> None:
    """Voiced time that was counted before the switch is enough after it, even in a pause."""
    endpointer = Endpointer(VADConfig(min_speech_ms=1000), 20)
    hear(endpointer, "." * 5 + "#" * 10 + ".")
    endpointer.switch(VADConfig(min_speech_ms=200))
    assert hear(endpointer, ".") == [SpeechConfirmed(100, 100, 340)]


@pytest.mark.parametrize(
    ("before", "after", "text", "starts"),
    [
        (5, 3, "##", True),  # two of the three newest
        (5, 3, "..#", False),  # the hit is out of the shorter ring
        (3, 10, "#", True),
        (3, 10, ".", False),
    ],
)
def test_a_switch_keeps_the_ring(before: int, after: int, text: str, *, starts: bool) -> None:
    """A ring that shrinks keeps its newest frames; of one that grows the oldest were silent."""
    endpointer = Endpointer(VADConfig(ring_buffer_frames=before, speech_ratio=0.8), 20)
    hear(endpointer, "." * 10 + "#")
    endpointer.switch(VADConfig(ring_buffer_frames=after, speech_ratio=0.2 if after > 5 else 0.6))
    assert bool(hear(endpointer, text)) is starts


def test_a_switch_of_the_threshold() -> None:
    """The next frame is judged by it."""
    endpointer = Endpointer(VADConfig(threshold=0.95), 20)
    assert hear(endpointer, "#" * 10) == []
    endpointer.switch(VAD)
    assert hear(endpointer, "##") == [SpeechStarted(200, 200, 240)]


def test_detection_that_is_turned_off_in_speech() -> None:
    """The utterance stays open until the commit, and all of it counts then."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 20)
    endpointer.switch(MANUAL)
    assert hear(endpointer, "." * 500) == []
    assert endpointer.speaking
    assert list(endpointer.commit()) == [SpeechEnded(100, 10_500, 10_500, "committed")]


def test_detection_that_is_turned_off_in_silence() -> None:
    """The utterance begins with the switch: what came before was heard, and was none."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 50)
    endpointer.switch(MANUAL)
    hear(endpointer, "." * 50)
    assert next(iter(endpointer.commit())) == SpeechStarted(1000, 0, 2000)


def test_detection_that_is_turned_on() -> None:
    """It knows nothing of the frames before; what was not committed is not said."""
    endpointer = Endpointer(MANUAL, 20)
    hear(endpointer, "#" * 50)
    endpointer.switch(VAD)
    assert hear(endpointer, "." * 50) == []
    assert hear(endpointer, "##") == [SpeechStarted(2000, 300, 2040)]


def test_detection_that_is_turned_on_again_in_speech() -> None:
    """The silence of an open utterance counts from the switch."""
    endpointer = Endpointer(VAD, 20)
    hear(endpointer, "." * 5 + "#" * 20 + "." * 20)
    endpointer.switch(MANUAL)
    hear(endpointer, "." * 50)
    endpointer.switch(VAD)
    assert hear(endpointer, "." * 24) == []
    assert hear(endpointer, ".") == [SpeechEnded(100, 1900, 2400, "silence")]


# --- what a probability is --------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "probability", "speech"),
    [
        (0.5, 0.5, True),
        (0.5, 0.499, False),
        (0.0, 0.0, True),
        (1.0, 1.0, True),
        (1.0, 0.999, False),
        (0.5, math.nan, False),
        (0.5 + 1e-9, 0.5, True),  # the same in the digest, so the same here
    ],
)
def test_a_frame_is_speech_from_the_threshold_on(
    threshold: float, probability: float, *, speech: bool
) -> None:
    """Values that have one digest decide the same; what is no number is no speech."""
    endpointer = Endpointer(VADConfig(threshold=threshold), 20)
    events = [event for _ in range(10) for event in endpointer.hear(probability)]
    assert bool(events) is speech


@pytest.mark.parametrize(
    ("hysteresis", "dip", "confirmed"), [(0.0, 0.4, False), (0.15, 0.4, True), (0.15, 0.3, False)]
)
def test_hysteresis_is_there_for_who_asks(
    hysteresis: float, dip: float, *, confirmed: bool
) -> None:
    """Off unless asked for: then a frame after speech needs less to be voiced, never to be firm."""
    endpointer = Endpointer(VAD, 20, EndpointingOptions(hysteresis=hysteresis))
    hear(endpointer, "." * 5 + "#" * 5)
    events = [event for _ in range(25) for event in endpointer.hear(dip)]
    events += endpointer.skip(25)
    assert bool(only(events, SpeechConfirmed)) is confirmed
    assert only(events, SpeechEnded) == [
        # The dips are weak speech: 380 ms after the last of them.
        SpeechEnded(100, 700, 1080, "silence")
        if confirmed
        else SpeechEnded(100, 200, 700, "too_short")
    ]


def test_hysteresis_has_a_floor() -> None:
    """With a low threshold it does not keep on what is next to nothing."""
    for dip, confirmed in ((0.01, True), (0.009, False)):
        endpointer = Endpointer(VADConfig(threshold=0.1), 20, EndpointingOptions(hysteresis=0.5))
        hear(endpointer, "." * 5)
        events = [event for p in [FIRM] * 5 + [dip] * 20 for event in endpointer.hear(p)]
        assert bool(only(events, SpeechConfirmed)) is confirmed


# --- gaps -------------------------------------------------------------------------------

_VADS = st.builds(
    VADConfig,
    silence_threshold_ms=st.integers(100, 700),
    min_speech_ms=st.integers(100, 400),
    ring_buffer_frames=st.integers(3, 10),
    speech_ratio=st.floats(0.2, 0.8),
    prefix_padding_ms=st.integers(0, 500),
)
_FRAME_MS = st.sampled_from([10, 20, 30])
_PIECES = st.lists(
    st.tuples(
        st.sampled_from(["#", ".", "~", "#.", "##...", "~~...", "#~~", "."]), st.integers(1, 30)
    ),
    max_size=12,
).map(lambda pieces: "".join(text * count for text, count in pieces))


@given(vad=_VADS, frame_ms=_FRAME_MS, before=_PIECES, missing=st.integers(0, 150), after=_PIECES)
def test_frames_that_are_missing_are_silence(
    vad: VADConfig, frame_ms: int, before: str, missing: int, after: str
) -> None:
    """To skip frames is to hear silence in their place."""
    skipping, hearing = (
        Endpointer(vad, frame_ms, EndpointingOptions(max_utterance_ms=1_000)) for _ in range(2)
    )
    assert hear(skipping, before) == hear(hearing, before)
    assert list(skipping.skip(missing)) == hear(hearing, "." * missing)
    assert skipping.now_ms == hearing.now_ms
    assert hear(skipping, after) == hear(hearing, after)


def test_what_a_switch_has_made_due_happens_in_a_gap_as_in_silence() -> None:
    """Its first frame confirms by the new values, its second ends by them."""
    skipping, hearing = (Endpointer(VADConfig(min_speech_ms=1_000), 20) for _ in range(2))
    for machine in (skipping, hearing):
        hear(machine, "." * 5 + "#" * 15 + "." * 20)
        machine.switch(VADConfig(min_speech_ms=200, silence_threshold_ms=200))
    assert list(skipping.skip(50)) == hear(hearing, "." * 50)


@pytest.mark.parametrize("vad", [VAD, MANUAL])
def test_a_gap_of_any_size_is_one_step(vad: VADConfig) -> None:
    """A year of missing audio is skipped in a handful of steps."""
    endpointer = Endpointer(vad, 20)
    hear(endpointer, "." * 5 + "#" * 20)
    endpointer.skip(10**12)
    assert endpointer.now_ms == 20 * (10**12 + 25)
    assert not endpointer.speaking


# --- against the rules, written out -----------------------------------------------------


_THRESHOLDS = [0.0, 0.05, 0.3, 0.5, 0.7, 0.95, 1.0]
_FIRMNESS = st.sampled_from([0.0, 0.3, 0.7, 1.0])
_DOUBT_MS = st.sampled_from([0, 25, 120, 10_000])


@st.composite
def _frames(draw: st.DrawFn) -> tuple[VADConfig, float, list[float]]:
    """Return values, a firmness, and frames around what the two make of a probability."""
    vad = draw(_VADS).model_copy(update={"threshold": draw(st.sampled_from(_THRESHOLDS))})
    firmness = draw(_FIRMNESS)
    bar = vad.threshold + firmness * (1 - vad.threshold)
    pieces = st.lists(
        st.one_of(
            st.sampled_from([0.0, vad.threshold, bar, 1.0, (vad.threshold + bar) / 2]),
            st.sampled_from([vad.threshold - 1e-6, bar - 1e-6]),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=3,
    )
    runs = draw(st.lists(st.tuples(pieces, st.integers(1, 30)), max_size=12))
    return vad, firmness, [p for piece, count in runs for p in piece * count]


@given(
    frames=_frames(),
    frame_ms=_FRAME_MS,
    doubt_ms=_DOUBT_MS,
    longest_ms=st.sampled_from([1_000, 30_000]),
)
def test_it_does_what_the_rules_say(
    frames: tuple[VADConfig, float, list[float]], frame_ms: int, doubt_ms: int, longest_ms: int
) -> None:
    """The machine, which remembers a few numbers, and the rules, read naively, agree."""
    vad, firmness, probabilities = frames
    options = EndpointingOptions(firmness=firmness, doubt_ms=doubt_ms, max_utterance_ms=longest_ms)
    machine = Endpointer(vad, frame_ms, options)
    assert [event for p in probabilities for event in machine.hear(p)] == by_the_rules(
        probabilities,
        vad,
        frame_ms,
        firmness=firmness,
        doubt_ms=doubt_ms,
        longest_ms=longest_ms,
    )


_STEPS: st.SearchStrategy[Sequence[Callable[[Endpointer], Sequence[Heard]]]] = st.lists(
    st.one_of(
        st.floats(0, 1).flatmap(
            lambda p: st.integers(1, 40).map(
                lambda count: lambda machine: [e for _ in range(count) for e in machine.hear(p)]
            )
        ),
        st.integers(0, 200).map(lambda frames: lambda machine: machine.skip(frames)),
        st.just(lambda machine: machine.commit()),
        st.tuples(_VADS, st.booleans()).map(
            lambda pair: (
                lambda machine: (
                    machine.switch(pair[0].model_copy(update={"enabled": pair[1]})) or ()
                )
            )
        ),
    ),
    max_size=30,
)


@given(vad=_VADS, frame_ms=_FRAME_MS, steps=_STEPS)
def test_events_are_paired_and_in_order(
    vad: VADConfig, frame_ms: int, steps: Sequence[Callable[[Endpointer], Sequence[Heard]]]
) -> None:
    """Whatever comes: start, at most one confirmation, one end; times run forward, on the grid."""
    machine = Endpointer(vad, frame_ms, EndpointingOptions(max_utterance_ms=1_000))
    events: list[Heard] = []
    for step in steps:
        told = step(machine)
        assert all(event.at_ms <= machine.now_ms for event in told)
        events += told
    kinds = "".join(type(event).__name__[6] for event in events)  # S, C, E
    assert kinds.replace("SCE", "").replace("SE", "") in {"", "S", "SC"}
    assert machine.speaking is kinds.endswith(("S", "C"))
    assert all(one.at_ms <= other.at_ms for one, other in pairwise(events))
    said = 0
    for event in events:
        assert event.start_ms % frame_ms == event.at_ms % frame_ms == 0
        if isinstance(event, SpeechEnded):
            assert event.start_ms <= event.end_ms <= event.at_ms
            said = event.end_ms
        else:
            assert said <= event.start_ms <= event.at_ms
            assert 0 <= event.prefix_ms <= 500


# --- misuse -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Endpointer(VAD, 25), "frame_ms must be one of 10, 20, 30, not 25"),
        (
            lambda: Endpointer(VADConfig(ring_buffer_frames=1), 20),
            "ring_buffer_frames must be 3-10, not 1",
        ),
        (
            lambda: Endpointer(VAD, 20).switch(VADConfig(threshold=2)),
            "threshold must be 0-1, not 2.0",
        ),
        (lambda: EndpointingOptions(hysteresis=2), "hysteresis must be 0-1, not 2.0"),
        (lambda: EndpointingOptions(firmness=1.1), "firmness must be 0-1, not 1.1"),
        (lambda: EndpointingOptions(firmness=math.nan), "firmness must be 0-1, not nan"),
        (lambda: EndpointingOptions(doubt_ms=-1), "doubt_ms must be 0 at least, not -1"),
        (
            lambda: EndpointingOptions(max_utterance_ms=10),
            "max_utterance_ms must be 1000 at least, not 10",
        ),
    ],
)
def test_values_that_nothing_negotiates_are_refused(make: Callable[[], object], error: str) -> None:
    """The error says which value, and what is allowed."""
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value) == error
