"""One detector for all sessions: the same as alone, in turn, and never behind for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import encode
from palaver.speech.batch import Batch, BatchOptions, Ear
from palaver.speech.detector import Detector, Probabilities, Samples, Stream
from palaver.speech.heard import Heard, SpeechEnded
from palaver.speech.hearing import StreamingVAD
from palaver.speech.silero import SileroDetector
from tests.speech.loudness import Loudness, tones
from tests.speech.recordings import speech

QUIET, LOUD = 20, 9_000
TURN = [(300, QUIET), (600, LOUD), (700, QUIET)]
AUDIO = AudioConfig()
FRAME = AUDIO.samples_per_frame
SPEECH = tones(TURN)


class Timers:
    """A clock that a test moves, and what is to be called when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Call]] = []

    def later(self, delay: float, call: Callable[[], None]) -> Call:
        """Remember a call."""
        timer = Call(self, call)
        self.due.append((self.now + delay, timer))
        return timer

    def move(self, seconds: float) -> None:
        """Let time pass, and call what is due, in order."""
        until = self.now + seconds
        while ready := sorted((pair for pair in self.due if pair[0] <= until), key=lambda p: p[0]):
            self.due.remove(ready[0])
            self.now = max(self.now, ready[0][0])
            ready[0][1].call()
        self.now = max(self.now, until)


class Call:
    """One timer."""

    def __init__(self, timers: Timers, call: Callable[[], None]) -> None:
        self.timers = timers
        self.call = call

    def cancel(self) -> None:
        """Call it no more."""
        self.timers.due = [pair for pair in self.timers.due if pair[1] is not self]


class Slow(Loudness):
    """Takes time on the test's clock: so much for each window."""

    def __init__(self, timers: Timers, seconds: float, name: str = "slow") -> None:
        super().__init__()
        self.timers = timers
        self.seconds = seconds
        self.name = name

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Judge, and let the clock run."""
        self.timers.now += self.seconds * len(streams)
        return super().detect(streams, windows)


class Broken(Loudness):
    """Fails at every window."""

    name = "broken"

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Raise."""
        raise RuntimeError("no memory")


def batch(timers: Timers, *, detector: Loudness | None = None, **options: Any) -> Batch:
    """Return a batch for 8 and 16 kHz on the test's clock."""
    return Batch(
        {8_000: detector or Loudness(), 16_000: Loudness(16_000)},
        {8_000: Loudness(), 16_000: Loudness(16_000)},
        options=BatchOptions(clock=lambda: timers.now, later=timers.later, **options),
    )


def listen(many: Batch, name: str = "call", audio: AudioConfig = AUDIO) -> tuple[Ear, Any]:
    """Open an ear; return it and what is heard by it."""
    events: list[Heard] = []
    return many.open(name, audio, VADConfig(), events.extend), events


def alone(samples: Samples, audio: AudioConfig = AUDIO) -> list[Heard]:
    """Return what is heard of it without a batch."""
    ear = StreamingVAD(audio, VADConfig(), Loudness.of(audio), keep_audio=True)
    return ear.process(encode(samples, AudioEncoding(audio.encoding)))


# --- the same as alone ----------------------------------------

_AUDIO = [
    AudioConfig(sample_rate=rate_hz, encoding=encoding, frame_duration_ms=frame_ms)
    for rate_hz, encoding, frame_ms in [
        (8_000, "mulaw", 20),
        (8_000, "pcm_s16le", 30),
        (8_000, "alaw", 10),
        (16_000, "pcm_s16le", 20),
        (24_000, "pcm_s16le", 20),
    ]
]


@given(
    kinds=st.lists(st.sampled_from(_AUDIO), min_size=1, max_size=6),
    plan=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 25), st.sampled_from([0.0, 0.004, 0.02, 0.3])),
        min_size=1,
        max_size=80,
    ),
    options=st.fixed_dictionaries(
        {
            "max_windows": st.sampled_from([1, 2, 128]),
            "budget": st.sampled_from([0.0, 0.005]),
            "interval": st.sampled_from([0.0, 0.01, 0.1]),
        }
    ),
)
@settings(max_examples=60)
def test_batched_is_the_same_as_alone(
    kinds: list[AudioConfig],
    plan: list[tuple[int, int, float]],
    options: dict[str, Any],
) -> None:
    """Whoever sends when, in bursts or not, and however the ticks fall: the same decisions."""
    timers = Timers()
    many = batch(timers, max_delay=1e9, **options)
    samples = [tones(TURN, audio.sample_rate, seed) for seed, audio in enumerate(kinds)]
    ears = [listen(many, str(number), audio) for number, audio in enumerate(kinds)]
    sent = [0] * len(kinds)

    def send(number: int, frames: int) -> None:
        audio, encoding = kinds[number], AudioEncoding(kinds[number].encoding)
        end = sent[number] + frames * audio.samples_per_frame
        while sent[number] < min(end, samples[number].size):
            piece = samples[number][sent[number] : sent[number] + audio.samples_per_frame]
            ears[number][0].push(encode(piece, encoding), sent[number])
            sent[number] += piece.size

    for turn, frames, pause in plan:
        send(turn % len(kinds), frames)
        timers.move(pause)
    for number in range(len(kinds)):
        send(number, 10_000)
    timers.move(60)
    for (_, heard), whole, audio in zip(ears, samples, kinds, strict=True):
        assert heard == alone(whole, audio)
    assert timers.due == []


@given(
    plan=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), max_size=40),
    size=st.sampled_from([1, 5, 128]),
)
@settings(max_examples=4)
def test_the_neural_detector_hears_the_same_in_any_company(
    plan: list[tuple[int, int]], size: int
) -> None:
    """Six calls with speech of their own, of two rates, in bursts: each as if it were alone."""
    timers = Timers()
    detectors: dict[int, Detector] = {rate: SileroDetector(rate) for rate in (8_000, 16_000)}
    many = Batch(
        detectors,
        {8_000: Loudness(), 16_000: Loudness(16_000)},
        options=BatchOptions(
            clock=lambda: timers.now, later=timers.later, max_windows=size, max_delay=1e9
        ),
    )
    kinds = [_AUDIO[number % len(_AUDIO)] for number in range(6)]
    calls = [listen(many, str(number), audio) for number, audio in enumerate(kinds)]
    payloads = []
    for number, audio in enumerate(kinds):
        spoken = np.roll(speech(audio.sample_rate), number * 2_345)[: audio.sample_rate * 3 // 2]
        payloads.append(encode(spoken, AudioEncoding(audio.encoding)))
    sent = [0] * len(calls)
    for number, frames in [*plan, *((number, 1_000) for number in range(6))]:
        audio = kinds[number]
        for _ in range(frames):
            piece = payloads[number][sent[number] : sent[number] + audio.bytes_per_frame]
            if piece:
                calls[number][0].push(piece, sent[number] // audio.sample_bytes)
            sent[number] += len(piece)
        timers.move(0.013)
    timers.move(60)
    for (_, heard), audio, payload in zip(calls, kinds, payloads, strict=True):
        detector = detectors[8_000 if audio.sample_rate == 8_000 else 16_000]
        single = StreamingVAD(audio, VADConfig(), detector, keep_audio=True)
        assert heard == single.process(payload)
        assert heard


def test_a_commit_and_a_switch_are_the_same_as_alone() -> None:
    """A commit waits for its audio; a switch holds from its media time on."""
    timers = Timers()
    many = batch(timers)
    ear, heard = listen(many)
    payload = encode(SPEECH, AudioEncoding.PCM_S16LE)
    ear.switch(VADConfig(min_speech_ms=100), 0)
    ear.push(payload[: 16 * 700], 0)
    ear.commit()
    assert heard == []
    timers.move(0.02)
    assert [event.reason for event in heard if isinstance(event, SpeechEnded)] == ["committed"]
    single = StreamingVAD(AudioConfig(), VADConfig(min_speech_ms=100), Loudness(), keep_audio=True)
    assert heard == [*single.process(payload[: 16 * 700]), *single.commit()]
    ear.commit()
    assert len(heard) == 3


# --- in turn ----------------------------------------


def test_nothing_is_due_while_nobody_speaks() -> None:
    """A timer is set with the first window, and none is left when all were judged."""
    timers = Timers()
    ear, _ = listen(batch(timers))
    assert timers.due == []
    ear.push(bytes(320), 0)
    assert timers.due == []  # no window yet
    ear.push(bytes(320), 160)
    assert [when for when, _ in timers.due] == [0.010]
    timers.move(0.010)
    assert timers.due == []


def test_windows_of_many_are_judged_in_one_call() -> None:
    """A hundred sessions, one call; with sub-batches of 30, four."""
    for size, calls in ((128, [100]), (30, [30, 30, 30, 10])):
        timers, detector = Timers(), Loudness()
        many = batch(timers, detector=detector, max_windows=size)
        for number in range(100):
            listen(many, str(number))[0].push(bytes(640), 0)
        timers.move(0.010)
        assert [len(call) for call in detector.calls] == calls


@pytest.mark.parametrize(("count", "calls"), [(63, []), (64, [64]), (300, [256, 44])])
def test_enough_are_judged_before_the_interval_is_over(count: int, calls: list[int]) -> None:
    """Where no more will come for a while; a few windows wait for others, and none is due twice."""
    timers, detector = Timers(), Loudness()
    many = batch(timers, detector=detector)
    for number in range(count):
        listen(many, str(number))[0].push(bytes(640), 0)
    many.hurry()
    assert [len(call) for call in detector.calls] == calls
    assert len(timers.due) == (0 if calls else 1)
    timers.move(0.010)
    assert sum(len(call) for call in detector.calls) == count


def test_a_burst_takes_its_turn() -> None:
    """Two seconds that come at once are one window a round: the others do not wait for them."""
    timers, detector = Timers(), Loudness()
    many = batch(timers, detector=detector)
    burst, _ = listen(many, "burst")
    others = [listen(many, str(number))[0] for number in range(9)]
    burst.push(bytes(32_000), 0)
    for ear in others:
        ear.push(bytes(640), 0)
    timers.move(0.010)
    assert [len(call) for call in detector.calls[:3]] == [10, 1, 1]
    assert len(detector.calls) == 2_000 // 32


def test_a_burst_that_takes_long_lets_the_loop_go_on() -> None:
    """After the budget the rest comes in another tick, and what came meanwhile is before it."""
    timers = Timers()
    detector = Slow(timers, 0.002)
    many = batch(timers, detector=detector, budget=0.005)
    burst, _ = listen(many, "burst")
    other, _ = listen(many, "other")
    burst.push(bytes(32_000), 0)
    (_, tick), *_ = timers.due
    timers.due.clear()
    tick.call()
    assert len(detector.calls) == 3  # 6 ms: the budget is used
    assert [when for when, _ in timers.due] == [timers.now]  # at once, after all others
    other.push(bytes(640), 0)
    (_, tick), *_ = timers.due
    timers.due.clear()
    tick.call()
    assert [len(call) for call in detector.calls[3:5]] == [2, 1]


def test_those_that_waited_longer_are_before_those_that_come_again() -> None:
    """With sub-batches of two, five sessions with much to judge take turns."""
    timers = Timers()
    detector = Loudness()
    many = batch(timers, detector=detector, max_windows=2)
    for number in range(5):
        listen(many, str(number))[0].push(bytes(2 * 256 * 4), 0)
    timers.move(0.010)
    order = [detector.streams.index(stream) for call in detector.calls for stream in call]
    assert order == [0, 1, 2, 3, 4] * 4


# --- who fails, fails alone ----------------------------------------


def speak(ears: Sequence[Ear], timers: Timers, samples: Samples = SPEECH) -> None:
    """Let all of them hear the same, frame by frame, in real time."""
    payload = encode(samples, AudioEncoding.PCM_S16LE)
    for start in range(0, len(samples), FRAME):
        for ear in ears:
            ear.push(payload[2 * start : 2 * (start + FRAME)], start)
        timers.move(0.020)
    timers.move(1)


def test_a_session_that_fails_at_what_it_is_told_harms_nobody() -> None:
    """It is logged with the session's name; the others hear all."""
    timers = Timers()
    many = batch(timers)

    def fail(events: list[Heard]) -> None:
        raise LookupError("gone")

    bad = many.open("bad", AudioConfig(), VADConfig(), fail)
    good, heard = listen(many, "good")
    with structlog.testing.capture_logs() as logs:
        speak([bad, good], timers)
    assert heard == alone(SPEECH)
    assert {line["session"] for line in logs} == {"bad"}
    assert {line["event"] for line in logs} == {"voice_heard_untold"}


def test_what_is_told_may_close_and_push_and_commit() -> None:
    """Whoever is told acts on it, also on other sessions of the same call."""
    timers = Timers()
    many = batch(timers)
    other, told_other = listen(many, "other")

    def act(events: list[Heard]) -> None:
        other.close()
        acting.push(bytes(320), 10**6)
        acting.commit()
        acting.close()
        acting.close()

    acting = many.open("acting", AudioConfig(), VADConfig(), act)
    third, heard = listen(many, "third")
    with structlog.testing.capture_logs() as logs:
        speak([acting, other, third], timers)
    assert logs == []
    assert told_other == []
    assert heard == alone(SPEECH)
    assert many.sessions == 1


def test_what_is_told_without_a_window_may_close_who_is_to_be_judged() -> None:
    """The end of speech in a gap needs no window; it is told when all others were judged."""
    timers, detector = Timers(), Loudness()
    many = batch(timers, detector=detector)
    waiting, _ = listen(many, "waiting")
    told: list[Heard] = []

    def act(events: list[Heard]) -> None:
        told.extend(events)
        waiting.close()

    acting = many.open("acting", AUDIO, VADConfig(), act)
    acting.push(encode(SPEECH[: 8 * 800], AudioEncoding.PCM_S16LE), 0)
    timers.move(0.02)
    calls = len(detector.calls)
    waiting = listen(many, "waiting")[0]
    waiting.push(bytes(640), 0)
    acting.push(bytes(320), 10**6)
    with structlog.testing.capture_logs() as logs:
        timers.move(0.02)
    assert logs == []
    assert isinstance(told[-1], SpeechEnded)
    assert waiting.closed
    assert [len(call) for call in detector.calls[calls:]] == [1]
    assert many.fallen_back == 0


def test_a_detector_that_fails_is_replaced_by_the_cheaper_one() -> None:
    """The cheaper one judges what the better could not, from the frame on that waited for it."""
    timers = Timers()
    many = batch(timers, detector=Broken())
    ear, heard = listen(many)
    with structlog.testing.capture_logs() as logs:
        speak([ear], timers)
    for event, wanted in zip(heard, alone(SPEECH), strict=True):
        assert type(event) is type(wanted)
        assert event.at_ms == pytest.approx(wanted.at_ms, abs=32)
    assert ear.fallen_back
    assert [line["event"] for line in logs] == [
        "voice_detector_failed",
        "voice_detector_fell_back",
    ]


def test_when_both_detectors_fail_the_call_goes_on() -> None:
    """Nothing is heard, which is logged; the client may still commit."""
    timers = Timers()
    many = Batch(
        {8_000: Broken()},
        {8_000: Broken()},
        options=BatchOptions(clock=lambda: timers.now, later=timers.later),
    )
    ear, heard = listen(many)
    with structlog.testing.capture_logs():
        speak([ear], timers)
    assert heard == []
    ear.switch(VADConfig(enabled=False), 0)
    ear.push(bytes(320), SPEECH.size)
    ear.commit()
    assert [type(event).__name__ for event in heard] == ["SpeechStarted", "SpeechEnded"]


# --- too much to judge ----------------------------------------


def test_sessions_that_are_behind_fall_back_and_come_back() -> None:
    """It is said which; when there is room they have their detector again, one after the other."""
    timers = Timers()
    detector = Slow(timers, 0.002)  # 16 windows in 32 ms, and there will be 24
    said: list[tuple[str, bool]] = []
    many = Batch(
        {8_000: detector},
        {8_000: Slow(timers, 0.0, "cheap")},
        options=BatchOptions(
            clock=lambda: timers.now, later=timers.later, fallback_time=2.0, max_windows=8
        ),
        on_fallback=lambda name, fallen: said.append((name, fallen)),
    )
    ears = [listen(many, f"call-{number}")[0] for number in range(24)]
    sent = 0

    def go_on(seconds: float) -> None:
        nonlocal sent
        until = timers.now + seconds
        while timers.now < until:
            while sent * 0.020 <= timers.now:  # in real time, however long detection takes
                for ear in ears:
                    ear.push(bytes(320), sent * FRAME)
                sent += 1
            timers.move(0.005)

    with structlog.testing.capture_logs() as logs:
        go_on(3)
        fallen = [ear.name for ear in ears if ear.fallen_back]
        assert 8 <= len(fallen) < 24
        assert many.fallen_back == len(fallen)
        assert logs[0]["event"] == "voice_detector_fell_back"
        assert logs[0]["log_level"] == "warning"
        assert set(logs[0]["sessions"]) == {name for name, _ in said[: logs[0]["count"]]}
        assert logs[0]["behind_seconds"] > 0.5
        for ear in ears[4:]:
            ear.close()
        go_on(40)
    assert many.fallen_back == 0
    assert all(ear.buffer.detector is detector for ear in ears[:4])
    # Each that is left had it back as often as it fell.
    for ear in ears[:4]:
        turns = [fell for name, fell in said if name == ear.name]
        assert turns == [True, False] * (len(turns) // 2)
    assert max(ear.buffer.backlog_ms for ear in ears[:4]) < 100


def test_a_burst_is_not_behind() -> None:
    """Audio that came late is not late to be judged: nobody falls back for it."""
    timers = Timers()
    many = batch(timers, detector=Slow(timers, 0.002))
    ear, heard = listen(many)
    timers.move(5)
    ear.push(encode(SPEECH, AudioEncoding.PCM_S16LE), 0)
    timers.move(1)
    assert heard == alone(SPEECH)
    assert many.fallen_back == 0


def test_a_hook_that_fails_harms_nobody() -> None:
    """It is logged; the sessions have fallen back all the same."""
    timers = Timers()

    def fail(name: str, fallen: bool) -> None:  # noqa: FBT001 # as it is called
        raise LookupError("no such metric")

    many = Batch(
        {8_000: Broken()},
        {8_000: Loudness()},
        options=BatchOptions(clock=lambda: timers.now, later=timers.later),
        on_fallback=fail,
    )
    ear, heard = listen(many)
    with structlog.testing.capture_logs() as logs:
        speak([ear], timers)
    assert len(heard) == 3
    assert logs[-1]["event"] == "voice_fallback_untold"


# --- the beginning and the end ----------------------------------------


async def test_it_runs_on_the_loop() -> None:
    """With no clock of its own given, ticks come from the running loop."""
    ended = asyncio.Event()
    events: list[Heard] = []

    def hear(told: list[Heard]) -> None:
        events.extend(told)
        if isinstance(told[-1], SpeechEnded):
            ended.set()

    many = Batch({8_000: Loudness()}, {8_000: Loudness()})
    ear = many.open("call", AudioConfig(), VADConfig(), hear)
    ear.push(encode(SPEECH, AudioEncoding.PCM_S16LE), 0)
    await asyncio.wait_for(ended.wait(), 10)
    assert events == alone(SPEECH)
    many.close()


def test_the_end_of_the_batch_is_the_end_of_all() -> None:
    """Streams are closed, no timer is left, and what is pushed then is nothing."""
    timers, detector = Timers(), Loudness()
    many = batch(timers, detector=detector)
    ear, heard = listen(many)
    ear.push(encode(SPEECH, AudioEncoding.PCM_S16LE), 0)
    many.close()
    assert timers.due == []
    assert many.sessions == 0
    assert [stream.closed for stream in detector.streams] == [True]
    ear.push(bytes(3_200), 0)
    ear.commit()
    ear.switch(VADConfig(), 0)
    assert heard == []
    assert ear.buffer.held_bytes == 0
    with pytest.raises(RuntimeError, match=r"^the batch is closed$"):
        listen(many)


def test_a_session_that_is_closed_while_it_waits_is_passed_over() -> None:
    """Its place in the line is nobody's."""
    timers, detector = Timers(), Loudness()
    many = batch(timers, detector=detector)
    first, second = (listen(many, name)[0] for name in ("first", "second"))
    first.push(bytes(640), 0)
    second.push(bytes(640), 0)
    first.close()
    timers.move(0.01)
    assert [len(call) for call in detector.calls] == [1]


def test_rates_that_nobody_hears_are_refused() -> None:
    """The text says which."""
    only = Batch({8_000: Loudness()}, {8_000: Loudness()})
    with pytest.raises(ValueError, match=r"^there is no detector for 16000 Hz$"):
        only.open("call", AudioConfig(sample_rate=48_000), VADConfig(), lambda events: None)
    with pytest.raises(ValueError, match=r"^there is no fallback for 8000 Hz$"):
        Batch({8_000: Loudness()}, {})
