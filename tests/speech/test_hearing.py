"""A session's audio in, what was heard out: the same at both ends, however the audio came."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Samples
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.hearing import AudioBuffer, Levels, StreamingVAD, read_windows
from tests.speech.loudness import Loudness, tones

VAD = VADConfig()
MANUAL = VADConfig(enabled=False)
QUIET, LOUD = 20, 12_000
TWO_TURNS = [(500, QUIET), (900, LOUD), (200, QUIET), (400, LOUD), (900, QUIET), (400, LOUD)]
COUGH = [(900, QUIET), (90, LOUD), (900, QUIET)]


def judged(buffer: AudioBuffer) -> list[Heard]:
    """Judge all that waits, as a batch of one."""
    events: list[Heard] = []
    while (window := buffer.window()) is not None:
        detector = buffer.detector
        windows = read_windows([window], buffer.window_encoding, detector.window_samples)
        events += buffer.take(float(detector.detect([buffer.stream], windows)[0]))
    return [*events, *buffer.heard()]


def ended(events: Sequence[Heard]) -> list[SpeechEnded]:
    """Return the ends."""
    return [event for event in events if isinstance(event, SpeechEnded)]


def silent(events: Sequence[Heard]) -> list[Heard]:
    """Return the events without their audio, as the end that keeps none has them."""
    return [
        SpeechEnded(event.start_ms, event.end_ms, event.at_ms, event.reason)
        if isinstance(event, SpeechEnded)
        else event
        for event in events
    ]


# --- one utterance ----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", list(AudioEncoding))
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_an_utterance_has_its_audio(encoding: AudioEncoding, rate_hz: int, frame_ms: int) -> None:
    """From the prefix to 200 ms after the last voiced frame, at the session's own rate."""
    audio = AudioConfig(sample_rate=rate_hz, encoding=encoding, frame_duration_ms=frame_ms)
    samples = tones([(600, QUIET), (900, LOUD), (900, QUIET)], rate_hz)
    ear = StreamingVAD(audio, VAD, Loudness.of(audio), keep_audio=True)
    started, confirmed, end = ear.process(encode(samples, encoding))
    assert isinstance(started, SpeechStarted)
    assert isinstance(confirmed, SpeechConfirmed)
    assert isinstance(end, SpeechEnded)
    # A window is 32 ms, a resampler is up to 30 ms late, the memory of the detector the rest.
    assert started.start_ms == pytest.approx(600, abs=70)
    assert end.end_ms == pytest.approx(1_500, abs=190)
    # After firm speech the whole silence; at 24 and 48 kHz the last frames are weak.
    silence_ms, doubt_ms = -(-500 // frame_ms) * frame_ms, 120 // frame_ms * frame_ms
    assert silence_ms - doubt_ms <= end.at_ms - end.end_ms <= silence_ms
    first = (started.start_ms - started.prefix_ms) * rate_hz // 1000
    last = (end.end_ms + 200) * rate_hz // 1000
    heard = decode(encode(samples[first:last], encoding), encoding)
    assert np.array_equal(np.frombuffer(end.audio, "<i2"), heard)


def test_what_is_discarded_has_no_audio() -> None:
    """Nobody is to answer a cough."""
    ear = StreamingVAD(AudioConfig(), VAD, Loudness(), keep_audio=True)
    (end,) = ended(ear.process(encode(tones(COUGH), AudioEncoding.PCM_S16LE)))
    assert end.reason == "too_short"
    assert end.audio == b""


def test_an_ear_that_keeps_no_audio_hears_the_same() -> None:
    """It has no audio to give, and holds next to none."""
    payload = encode(tones(TWO_TURNS * 10), AudioEncoding.PCM_S16LE)
    deaf, keeping = (
        StreamingVAD(AudioConfig(), VAD, Loudness(), keep_audio=keep) for keep in (False, True)
    )
    events, kept = [], []
    for start in range(0, len(payload), 320):
        events += deaf.process(payload[start : start + 320])
        kept += keeping.process(payload[start : start + 320])
        assert deaf.held_bytes <= 4 * 16_000
    assert events == silent(kept)
    assert any(event.audio for event in ended(kept))


def test_no_audio_is_lost_where_an_utterance_is_cut() -> None:
    """The two halves of speech that is too long are the whole of it."""
    audio, options = AudioConfig(encoding=AudioEncoding.MULAW), EndpointingOptions(0.0, 2_000)
    samples = tones([(500, QUIET), (5_000, LOUD), (1_000, QUIET)])
    ear = StreamingVAD(audio, VAD, Loudness(), options=options, keep_audio=True)
    payload = encode(samples, AudioEncoding.MULAW)
    events = ear.process(payload)
    ends = ended(events)
    assert [end.reason for end in ends] == ["max_duration", "max_duration", "silence"]
    first = events[0]
    assert isinstance(first, SpeechStarted)
    start, end = (first.start_ms - first.prefix_ms) * 8, (ends[-1].end_ms + 200) * 8
    whole = decode(payload, AudioEncoding.MULAW)[start:end]
    assert b"".join(end.audio for end in ends) == whole.tobytes()


# --- both ends decide the same ----------------------------------------------------------


@dataclass(frozen=True)
class Commit:
    """``audio.end`` here."""


@dataclass(frozen=True)
class Switch:
    """Other values from here on, or from so many samples later."""

    vad: VADConfig
    later: int


@dataclass(frozen=True)
class Audio:
    """Audio whose first sample has this media time."""

    samples: int
    payload: bytes = field(repr=False)


Step: TypeAlias = Audio | Commit | Switch
"""What one end sees of a session."""

_VADS = st.builds(
    VADConfig,
    enabled=st.sampled_from([True, True, True, False]),
    silence_threshold_ms=st.integers(100, 700),
    min_speech_ms=st.integers(100, 400),
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
    ring_buffer_frames=st.integers(3, 10),
    speech_ratio=st.floats(0.2, 0.8),
    prefix_padding_ms=st.integers(0, 500),
)


@st.composite
def sessions(draw: st.DrawFn) -> tuple[AudioConfig, VADConfig, list[Step]]:
    """Return a session: what was negotiated, and speech with gaps, commits and switches."""
    audio = AudioConfig(
        sample_rate=draw(st.sampled_from([8_000, 8_000, 16_000, 24_000, 48_000])),
        encoding=draw(st.sampled_from(list(AudioEncoding))),
        frame_duration_ms=draw(st.sampled_from([10, 20, 30])),
    )
    steps: list[Step] = []
    media = 0
    for number in range(draw(st.integers(1, 6))):
        loud = draw(st.sampled_from([QUIET, LOUD, LOUD]))
        duration_ms = draw(st.integers(1, 70)) * 10 + draw(st.sampled_from([0, 0, 0, 3]))
        piece = tones([(duration_ms, loud)], audio.sample_rate, seed=number)
        steps.append(Audio(media, encode(piece, AudioEncoding(audio.encoding))))
        media += piece.size
        match draw(st.sampled_from(["", "", "commit", "switch", "gap", "long gap", "gap, switch"])):
            case "commit":
                steps.append(Commit())
            case "switch":
                steps.append(Switch(draw(_VADS), draw(st.sampled_from([0, 0, 160, 777]))))
            case "gap":
                media += draw(st.integers(1, audio.sample_rate))
            case "long gap":
                media += audio.sample_rate * draw(st.sampled_from([2, 60, 86_400])) + 5
            case "gap, switch":
                later = draw(st.integers(0, audio.sample_rate * 5))
                steps.append(Switch(draw(_VADS), later))
                media += audio.sample_rate * 3
    return audio, draw(_VADS), steps


def cut(steps: Sequence[Step], sizes: Sequence[int], sample_bytes: int) -> list[Step]:
    """Return the same session with its audio in pieces of other sizes (samples)."""
    pieces: list[Step] = []
    turn = 0
    for step in steps:
        if not isinstance(step, Audio):
            pieces.append(step)
            continue
        start = 0
        while start * sample_bytes < len(step.payload):
            end = start + sizes[turn % len(sizes)]
            payload = step.payload[start * sample_bytes : end * sample_bytes]
            pieces.append(Audio(step.samples + start, payload))
            start, turn = end, turn + 1
    return pieces


def play(ear: AudioBuffer, audio: AudioConfig, steps: Sequence[Step], every: int) -> list[Heard]:
    """Let an end see the session, and judge what waits after each ``every`` steps."""
    events: list[Heard] = []
    media = 0
    for number, step in enumerate(steps):
        if isinstance(step, Commit):
            events += ear.commit()
        elif isinstance(step, Switch):
            ear.switch(step.vad, media + step.later)
        else:
            ear.push(step.payload, step.samples)
            media = step.samples + len(step.payload) // audio.sample_bytes
        if number % every == 0:
            events += judged(ear)
    return events + judged(ear)


_SIZES = st.lists(st.sampled_from([80, 160, 240, 480, 1_000, 77, 8_000]), min_size=1, max_size=4)


@given(session=sessions(), sizes=_SIZES)
@settings(max_examples=60)
def test_the_sizes_of_the_audio_change_nothing(
    session: tuple[AudioConfig, VADConfig, list[Step]], sizes: list[int]
) -> None:
    """Whole frames, halves of them, a second at once: the same events, the same audio."""
    audio, vad, steps = session
    whole = play(AudioBuffer(audio, vad, Loudness.of(audio)), audio, steps, 1)
    pieces = cut(steps, sizes, audio.sample_bytes)
    assert play(AudioBuffer(audio, vad, Loudness.of(audio)), audio, pieces, 1) == whole


@given(session=sessions(), sizes=_SIZES, every=st.integers(1, 20))
@settings(max_examples=60)
def test_when_windows_are_judged_changes_nothing(
    session: tuple[AudioConfig, VADConfig, list[Step]], sizes: list[int], every: int
) -> None:
    """At once or late, the decisions are of the audio alone."""
    audio, vad, steps = session
    pieces = cut(steps, sizes, audio.sample_bytes)
    at_once = play(AudioBuffer(audio, vad, Loudness.of(audio)), audio, pieces, 1)
    late = play(AudioBuffer(audio, vad, Loudness.of(audio)), audio, pieces, every)
    assert late == at_once


@given(session=sessions())
@settings(max_examples=30)
def test_client_and_server_hear_the_same(
    session: tuple[AudioConfig, VADConfig, list[Step]],
) -> None:
    """The client detects frame by frame as it sends; the server judges what has come, later."""
    audio, vad, steps = session
    frames = cut(steps, [audio.samples_per_frame], audio.sample_bytes)
    client = play(StreamingVAD(audio, vad, Loudness.of(audio)), audio, frames, 1)
    server = play(AudioBuffer(audio, vad, Loudness.of(audio)), audio, frames, 7)
    assert client == silent(server)


# --- gaps -------------------------------------------------------------------------------


def speech_with_gap(gap_ms: int) -> tuple[list[Heard], Loudness]:
    """Return what is heard of speech that goes on after a gap."""
    detector = Loudness()
    ear = AudioBuffer(AudioConfig(), VAD, detector)
    before = encode(tones([(500, QUIET), (500, LOUD)]), AudioEncoding.PCM_S16LE)
    after = encode(tones([(500, LOUD), (1_000, QUIET)]), AudioEncoding.PCM_S16LE)
    ear.push(before, 0)
    ear.push(after, (1_000 + gap_ms) * 8)
    return judged(ear), detector


def test_a_few_lost_packets_are_silence_that_the_detector_hears() -> None:
    """Speech goes on after them, and so does the memory of the detector."""
    events, detector = speech_with_gap(60)
    (end,) = ended(events)
    assert end.end_ms == pytest.approx(1_560, abs=190)
    assert detector.streams[0].resets == 0


def test_a_gap_within_the_silence_is_silence_in_the_utterance() -> None:
    """One utterance, with as much silence as was missing; the detector begins anew."""
    events, detector = speech_with_gap(300)
    (end,) = ended(events)
    assert end.end_ms == pytest.approx(1_800, abs=190)
    assert detector.streams[0].resets == 1
    samples = np.frombuffer(end.audio, "<i2")
    start = 1_000 * 8 - (end.start_ms - 300) * 8
    assert not samples[start : start + 300 * 8].any()
    assert samples[start - 160 : start].any()
    assert samples[start + 300 * 8 : start + 320 * 8].any()


@pytest.mark.parametrize("gap_ms", [600, 2_999, 3_001, 3_600_000, 10**12])
def test_a_gap_that_is_longer_ends_the_utterance(gap_ms: int) -> None:
    """The end is where the silence became long enough; what follows has its own media time."""
    events, _ = speech_with_gap(gap_ms)
    first, second = ended(events)
    assert first.at_ms - first.end_ms == 500
    assert first.end_ms <= 1_000
    assert second.start_ms == pytest.approx(1_000 + gap_ms, abs=70)
    assert second.reason == "silence"


def test_the_end_in_a_gap_is_told_with_the_first_audio_after_it() -> None:
    """It needs no window: it is due at once."""
    ear = AudioBuffer(AudioConfig(), VAD, Loudness())
    ear.push(encode(tones([(500, QUIET), (500, LOUD)]), AudioEncoding.PCM_S16LE), 0)
    judged(ear)
    assert not ear.ready
    ear.push(bytes(320), 800_000)
    assert ear.ready
    assert ear.window() is None
    (end,) = ended(ear.heard())
    assert end.reason == "silence"


def test_gaps_cost_no_memory() -> None:
    """A peer that jumps a day with each frame costs no more than one that does not."""
    ear = StreamingVAD(AudioConfig(), VAD, Loudness())
    tracemalloc.start()
    for day in range(100):
        ear.process(bytes(320), day * 86_400 * 8_000)
        assert ear.held_bytes < 200_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_time_that_runs_backward_is_taken_for_none() -> None:
    """The audio follows what came before it (§9)."""
    payload = encode(tones([(500, QUIET), (900, LOUD), (900, QUIET)]), AudioEncoding.PCM_S16LE)
    straight = StreamingVAD(AudioConfig(), VAD, Loudness())
    backward = StreamingVAD(AudioConfig(), VAD, Loudness())
    assert backward.process(payload[:9_600], 0) == straight.process(payload[:9_600])
    assert backward.process(payload[9_600:], 17) == straight.process(payload[9_600:])


# --- commits and detection by hand ------------------------------------------------------


def test_a_commit_waits_for_what_was_pushed_before_it() -> None:
    """Audio that the detector has not judged yet belongs to the utterance that is committed."""
    ear = AudioBuffer(AudioConfig(), VAD, Loudness())
    ear.push(encode(tones([(500, QUIET), (600, LOUD)]), AudioEncoding.PCM_S16LE), 0)
    assert list(ear.commit()) == []
    ear.push(encode(tones([(600, QUIET)]), AudioEncoding.PCM_S16LE), 1_100 * 8)
    events = judged(ear)
    assert [type(event) for event in events[:3]] == [SpeechStarted, SpeechConfirmed, SpeechEnded]
    assert ended(events)[0].reason == "committed"
    assert ended(events)[0].at_ms == 1_100
    assert len(ended(events)[0].audio) == 2 * 8 * (1_100 - events[0].start_ms + 300)


def test_a_commit_with_nothing_waiting_is_answered_at_once() -> None:
    """The last frames have been judged, so there is nothing to wait for."""
    ear = StreamingVAD(AudioConfig(), VAD, Loudness())
    ear.process(encode(tones([(500, QUIET), (620, LOUD)]), AudioEncoding.PCM_S16LE))
    (end,) = ear.commit()
    assert isinstance(end, SpeechEnded)
    assert end.reason == "committed"
    assert list(ear.commit()) == []


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
def test_without_detection_an_utterance_is_what_came(rate_hz: int) -> None:
    """All audio since the last commit, to the sample, and nobody is asked for a probability."""
    audio = AudioConfig(sample_rate=rate_hz)
    detector = Loudness.of(audio)
    ear = AudioBuffer(audio, MANUAL, detector)
    payload = encode(tones(TWO_TURNS, rate_hz), AudioEncoding.PCM_S16LE)
    assert list(ear.commit()) == []
    parts = [payload[:9_990], payload[9_990:50_002], payload[50_002:]]
    media = 0
    for part in parts:
        ear.push(part, media)
        media += len(part) // 2
        assert ear.window() is None
        started, end = ear.commit()
        assert isinstance(started, SpeechStarted)
        assert isinstance(end, SpeechEnded)
        assert end.reason == "committed"
        assert end.audio == part
        assert end.at_ms == media * 1000 // rate_hz // 20 * 20
    assert detector.calls == []


def test_without_detection_memory_is_bounded() -> None:
    """Of an hour without a commit the last 2 seconds are the utterance here."""
    ear = AudioBuffer(AudioConfig(), MANUAL, Loudness(), options=EndpointingOptions(0.0, 2_000))
    second = bytes(range(256)) * 63
    second = second[:16_000]
    for number in range(600):
        ear.push(second, number * 8_000)
        if ear.ready:
            assert ear.window() is None
        assert ear.held_bytes < 16 * 16_000
    (_, end) = ear.commit()
    assert isinstance(end, SpeechEnded)
    assert (end.start_ms, end.end_ms) == (598_000, 600_000)
    assert end.audio == second * 2


def test_memory_is_bounded_in_silence_and_in_speech() -> None:
    """Before speech a second or so; in speech no more than the longest utterance, twice."""
    ear = StreamingVAD(
        AudioConfig(), VAD, Loudness(), options=EndpointingOptions(0.0, 5_000), keep_audio=True
    )
    for _ in range(60):
        ear.process(encode(tones([(500, QUIET)]), AudioEncoding.PCM_S16LE))
        assert ear.held_bytes <= 16 * 4_500
    for _ in range(60):
        ear.process(encode(tones([(500, LOUD)]), AudioEncoding.PCM_S16LE))
        assert ear.held_bytes <= 16 * 12_000
    for _ in range(10):
        ear.process(encode(tones([(500, QUIET)]), AudioEncoding.PCM_S16LE))
    assert ear.held_bytes <= 16 * 4_500


# --- switches ---------------------------------------------------------------------------


def test_a_switch_holds_from_its_media_time_on() -> None:
    """It may be told before the audio comes, and it does not matter how late that is judged."""
    payload = encode(tones([(500, QUIET), (500, LOUD), (2_000, QUIET)]), AudioEncoding.PCM_S16LE)
    ends = []
    for switch_at_ms in (1_200, 1_400, 5_000):
        ear = AudioBuffer(AudioConfig(), VAD, Loudness())
        ear.switch(VADConfig(silence_threshold_ms=1_000), switch_at_ms * 8)
        ear.push(payload, 0)
        (end,) = ended(judged(ear))
        ends.append(end.at_ms)
    assert ends == [ends[2] + 500, ends[2] + 500, ends[2]]
    assert ends[2] == pytest.approx(1_000 + 500, abs=70)


def test_a_switch_that_is_late_holds_at_once() -> None:
    """What has been decided stays decided."""
    ear = StreamingVAD(AudioConfig(), VAD, Loudness())
    ear.process(encode(tones([(500, QUIET), (500, LOUD), (100, QUIET)]), AudioEncoding.PCM_S16LE))
    ear.switch(VADConfig(silence_threshold_ms=1_000), 0)
    events = ear.process(encode(tones([(2_000, QUIET)]), AudioEncoding.PCM_S16LE))
    (end,) = ended(events)
    assert end.at_ms == pytest.approx(1_000 + 1_000, abs=70)


def test_a_switch_to_nonsense_is_refused() -> None:
    """Nothing has changed then."""
    ear = AudioBuffer(AudioConfig(), VAD, Loudness())
    with pytest.raises(ValueError, match=r"^threshold must be 0-1, not 2\.0$"):
        ear.switch(VADConfig(threshold=2), 0)
    assert ear.endpointer.vad == VAD


def test_the_detector_begins_anew_with_detection() -> None:
    """Between a switch off and a switch on it heard nothing."""
    detector = Loudness()
    ear = StreamingVAD(AudioConfig(), VAD, detector)
    ear.process(encode(tones([(500, LOUD)]), AudioEncoding.PCM_S16LE))
    before = detector.streams[0].windows
    ear.switch(MANUAL, 0)
    ear.process(encode(tones([(500, LOUD)]), AudioEncoding.PCM_S16LE))
    assert detector.streams[0].windows == before
    ear.switch(VAD, 0)
    ear.process(encode(tones([(500, LOUD)]), AudioEncoding.PCM_S16LE))
    assert detector.streams[0].resets == 2
    assert detector.streams[0].windows > before


# --- detectors --------------------------------------------------------------------------


def test_each_frame_is_judged_by_the_last_window_before_its_end() -> None:
    """Windows of 32 ms, frames of 20: 0.0 at first, then the newest that is whole."""
    ear = AudioBuffer(AudioConfig(), VADConfig(ring_buffer_frames=3, speech_ratio=0.8), Loudness())
    ear.push(bytes(20 * 320), 0)
    probabilities = iter([0.0, 0.0, 0.9, 0.9, 0.9, 0.0, 0.0])
    events: list[Heard] = []
    while ear.window() is not None:
        events += ear.take(next(probabilities, 0.0))
    # Window n ends at 32(n+1) ms: the third, speech, is whole in frame 4 (80 to 100 ms).
    assert events[0] == SpeechStarted(start_ms=80, prefix_ms=80, at_ms=140)


@pytest.mark.parametrize("window_ms", [10, 20, 32, 64])
def test_windows_of_any_length_fit(window_ms: int) -> None:
    """A detector has its own windows; frames are what was negotiated."""
    ear = StreamingVAD(AudioConfig(), VAD, Loudness(window_ms=window_ms), keep_audio=True)
    (end,) = ended(
        ear.process(
            encode(tones([(500, QUIET), (900, LOUD), (1_500, QUIET)]), AudioEncoding.PCM_S16LE)
        )
    )
    assert end.start_ms == pytest.approx(500, abs=2 * window_ms + 40)
    assert end.reason == "silence"


def test_another_detector_goes_on_in_the_middle() -> None:
    """The utterance stays open, whatever the other detector's rate and windows are."""
    first, second = Loudness(), Loudness(16_000, 10)
    ear = StreamingVAD(AudioConfig(), VAD, first, keep_audio=True)
    events = ear.process(encode(tones([(500, QUIET), (400, LOUD)]), AudioEncoding.PCM_S16LE))
    ear.use(second)
    events += ear.process(encode(tones([(400, LOUD), (1_000, QUIET)]), AudioEncoding.PCM_S16LE))
    (end,) = ended(events)
    assert end.end_ms == pytest.approx(1_300, abs=190)
    assert first.streams[0].closed
    assert second.streams[0].windows > 50


def test_a_probability_that_comes_too_late_judges_nothing() -> None:
    """Detection was turned off and on since the window was given: it is of another time."""
    loud = encode(tones([(1_000, LOUD)]), AudioEncoding.PCM_S16LE)
    heard = []
    for is_late in (False, True):
        ear = AudioBuffer(AudioConfig(), VAD, Loudness())
        ear.push(loud[:520], 0)  # a window of 256 samples, and no second frame yet
        assert ear.window() is not None
        events = [] if is_late else [*ear.take(0.9)]
        ear.switch(MANUAL, 160)
        ear.switch(VAD, 480)
        ear.push(loud[520:], 260)
        events += ear.take(0.9) if is_late else []
        heard.append([*events, *judged(ear)])
    assert heard[0] == heard[1]
    assert len(heard[0]) == 2


# --- what is wrong, and what is said in logs --------------------------------------------


def test_half_a_sample_is_refused() -> None:
    """The text says of what, and nothing of it is taken."""
    ear = AudioBuffer(AudioConfig(), VAD, Loudness())
    with pytest.raises(ValueError, match=r"^3 bytes of pcm_s16le: a sample has 2$"):
        ear.push(b"123", 0)
    assert ear.held_bytes == 0


def test_a_configuration_that_is_none_is_refused() -> None:
    """It was not negotiated: no rate of 44100."""
    with pytest.raises(ValueError, match=r"^sample_rate must be one of 8000, "):
        AudioBuffer(AudioConfig(sample_rate=44_100), VAD, Loudness())


def test_a_closed_ear_gives_everything_back() -> None:
    """The detector's memory and the audio."""
    detector = Loudness()
    ear = AudioBuffer(AudioConfig(), VAD, detector)
    ear.push(bytes(3_200), 0)
    ear.close()
    assert detector.streams[0].closed
    assert ear.held_bytes == 0
    assert not ear.ready


@pytest.mark.parametrize(
    ("samples", "levels"),
    [
        ([], Levels(0.0, 0.0, 0.0)),
        ([0, 0], Levels(0.0, 0.0, 0.0)),
        ([16_384, -16_384], Levels(0.5, 0.0, 0.0)),
        ([-32_768, 0, 0, 0], Levels(1.0, 0.25, -0.25)),
        ([8_192] * 4, Levels(0.25, 0.0, 0.25)),
    ],
)
def test_levels_say_why_nothing_was_heard(samples: list[int], levels: Levels) -> None:
    """A dead line has no peak, a broken one has an offset, one that is too loud is clipped."""
    assert Levels.of(np.array(samples, np.int16)) == levels


def test_an_ear_tells_its_levels() -> None:
    """They are of the audio that it still holds, decoded."""
    ear = StreamingVAD(AudioConfig(encoding=AudioEncoding.ALAW), VAD, Loudness(), keep_audio=True)
    quarter: Samples = np.full(8_000, 8_192, np.int16)
    ear.process(encode(quarter, AudioEncoding.ALAW))
    assert ear.levels().peak == pytest.approx(0.25, abs=0.01)
    assert ear.levels().offset == pytest.approx(0.25, abs=0.01)
    assert ear.backlog_ms < 20
