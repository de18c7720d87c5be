"""One detector hears all sessions of a process: their windows are judged together, in turn.

A session that has a window ready waits in line. A tick, at most ``interval`` later, lets the line
pass: one window of each session per round, so that a burst of one delays nobody else, and no
session is twice in one call of the detector. A tick that has used its ``budget`` goes on after the
loop has seen to everybody else.

When the line does not keep up, the sessions that are furthest behind go on with a cheaper
detector, until there is room again. It is said which.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeAlias

import numpy as np
import structlog

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.detector import Detector, Samples
from palaver.speech.endpointing import EndpointingOptions
from palaver.speech.heard import Heard
from palaver.speech.hearing import AudioBuffer, detector_rate_hz, read_windows

__all__ = ["Batch", "BatchOptions", "Ear", "OnFallback", "OnHeard", "Timer"]

OnHeard: TypeAlias = Callable[[list[Heard]], None]
"""Told what was heard of a session."""
OnFallback: TypeAlias = Callable[[str, bool], None]
"""Told that a session (its name) runs on the cheaper detector now (true), or no longer."""

_NAMED: Final = 20
"""Sessions that one line of the log names."""
_SHORTER: Final = 16
"""A line gets shorter if the next look finds it ``max_delay`` divided by this less behind."""
_LONG: Final = 3
"""So many times ``max_delay`` behind, it does not matter whether the line gets shorter."""
_RETURN: Final = 16
"""Of those that have fallen back one in so many returns at a time."""
_log = structlog.get_logger("palaver.speech")


class Timer(Protocol):
    """Something that will be called, as ``call_later`` of a loop gives it."""

    def cancel(self) -> None:
        """Call it no more."""
        ...


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _loop_later(delay: float, call: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(delay, call)


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How the line passes; times in seconds.

    ``max_windows`` are judged in one call of a detector; ``enough`` are worth one before the
    interval is over. A session that is ``max_delay`` behind
    is late; it falls back unless the line gets shorter. For ``fallback_time`` after a session fell
    back none returns.
    """

    interval: float = 0.010
    budget: float = 0.005
    max_windows: int = 256
    enough: int = 64
    max_delay: float = 0.5
    fallback_time: float = 10.0
    clock: Callable[[], float] = _loop_time
    later: Callable[[float, Callable[[], None]], Timer] = _loop_later


class Ear:
    """One session in the batch: its audio goes in here, and what was heard goes to ``on_heard``."""

    __slots__ = ("_batch", "_on_heard", "buffer", "closed", "lane", "name", "queued", "since")

    def __init__(
        self, batch: Batch, name: str, buffer: AudioBuffer, lane: _Lane, on_heard: OnHeard
    ) -> None:
        self._batch = batch
        self._on_heard = on_heard
        self.name = name
        self.buffer = buffer
        """What hears it; push to the ear, not to this."""
        self.lane = lane
        self.queued = False
        self.since = 0.0  # when it came into the line
        self.closed = False

    @property
    def fallen_back(self) -> bool:
        """Whether it runs on the cheaper detector."""
        return self.lane.better is not None

    def push(self, payload: bytes, samples: int) -> None:
        """Take audio whose first sample has the media time ``samples`` (``AudioBuffer.push``)."""
        if self.closed:
            return
        buffer = self.buffer
        buffer.push(payload, samples)
        if buffer.end >= buffer.due and not self.queued:
            self._batch.enqueue(self)

    def commit(self) -> None:
        """End the utterance with what has been pushed so far, once it has been judged."""
        if not self.closed:
            self.tell(list(self.buffer.commit()))

    def switch(self, vad: VADConfig, samples: int) -> None:
        """Run ``vad`` from that media time on."""
        if not self.closed:
            self.buffer.switch(vad, samples)

    def close(self) -> None:
        """Hear no more; nothing is told any more. To close twice does nothing."""
        if not self.closed:
            self.closed = True
            self.buffer.close()
            self._batch.forget(self)

    def tell(self, events: list[Heard]) -> None:
        """Tell what was heard. Who fails at that harms no other session."""
        if self.closed or not events:
            return
        try:
            self._on_heard(events)
        except Exception:  # noqa: BLE001 # whatever the session's side raises
            _log.exception("voice_heard_untold", session=self.name)


class _Lane:
    """The line before one detector, and the lane of the cheaper one, or of the better one."""

    __slots__ = ("better", "cheaper", "detector", "waiting")

    def __init__(self, detector: Detector, better: _Lane | None = None) -> None:
        self.detector = detector
        self.better = better
        self.cheaper: _Lane | None = None
        self.waiting: deque[Ear] = deque()


class Batch:
    """Judges the windows of all sessions of a process.

    ``detectors`` and ``fallbacks`` have one detector for each rate, 8000 and 16000 Hz, as far as
    sessions need them. It runs on the loop of whoever opens ears and pushes; nothing is due while
    nobody speaks to it.
    """

    def __init__(
        self,
        detectors: Mapping[int, Detector],
        fallbacks: Mapping[int, Detector],
        *,
        options: BatchOptions = BatchOptions(),
        on_fallback: OnFallback | None = None,
    ) -> None:
        self._options = options
        self._on_fallback = on_fallback
        self._lanes: dict[int, _Lane] = {}
        self._order: list[_Lane] = []
        for rate_hz, detector in detectors.items():
            if rate_hz not in fallbacks:
                raise ValueError(f"there is no fallback for {rate_hz} Hz")
            lane = _Lane(detector)
            lane.cheaper = _Lane(fallbacks[rate_hz], better=lane)
            self._lanes[rate_hz] = lane
            self._order += [lane, lane.cheaper]
        self._ears: dict[Ear, None] = {}
        self._fallen: dict[Ear, None] = {}  # the first first
        self._no_return_before = 0.0
        self._timer: Timer | None = None
        self._now = 0.0  # when a tick began, or was asked for: near enough for who waits
        self._looked = float("-inf")
        self._behind = 0.0  # who was furthest behind then
        self._closed = False

    def open(
        self,
        name: str,
        audio: AudioConfig,
        vad: VADConfig,
        on_heard: OnHeard,
        *,
        options: EndpointingOptions = EndpointingOptions(),  # noqa: B008 # frozen
        keep_audio: bool = True,
    ) -> Ear:
        """Return the ear of a new session; ``name`` is for logs.

        Raises:
            ValueError: there is no detector for its rate, or the configuration is none.
            RuntimeError: the batch is closed.

        """
        if self._closed:
            raise RuntimeError("the batch is closed")
        lane = self._lanes.get(detector_rate_hz(audio))
        if lane is None:
            raise ValueError(f"there is no detector for {detector_rate_hz(audio)} Hz")
        buffer = AudioBuffer(audio, vad, lane.detector, options=options, keep_audio=keep_audio)
        ear = Ear(self, name, buffer, lane, on_heard)
        self._ears[ear] = None
        return ear

    @property
    def sessions(self) -> int:
        """How many ears are open."""
        return len(self._ears)

    @property
    def fallen_back(self) -> int:
        """How many of them run on the cheaper detector."""
        return len(self._fallen)

    def close(self) -> None:
        """Close all ears. What waits is not judged any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for ear in list(self._ears):
            ear.close()
        for lane in self._order:
            lane.waiting.clear()

    # --- for ears ----------------------------------------------------------------------------

    def enqueue(self, ear: Ear) -> None:
        """Put an ear that has a window into the line."""
        if self._timer is None:
            self._now = self._options.clock()
            self._timer = self._options.later(self._options.interval, self.tick)
        ear.queued = True
        ear.since = self._now
        ear.lane.waiting.append(ear)

    def forget(self, ear: Ear) -> None:
        """Let go of an ear that was closed."""
        self._ears.pop(ear, None)
        self._fallen.pop(ear, None)

    # --- the line passes -----------------------------------------------------------------------

    def hurry(self) -> None:
        """Judge what waits at once, where it is enough: no more will come for a while."""
        if sum(len(lane.waiting) for lane in self._order) >= self._options.enough:
            if self._timer is not None:
                self._timer.cancel()
            self.tick()

    def tick(self) -> None:
        """Judge what waits, until nothing does or the budget is used; the timer calls this."""
        self._timer = None
        try:
            self._pass()
        finally:
            if any(lane.waiting for lane in self._order):
                self._go_on()

    def _pass(self) -> None:
        options = self._options
        self._now = started = options.clock()
        self._look(started)
        while any(lane.waiting for lane in self._order):
            for lane in self._order:
                if lane.waiting:
                    self._judge(lane)
            if options.clock() - started >= options.budget:
                break

    def _go_on(self) -> None:
        if self._timer is not None:  # set meanwhile, for later
            self._timer.cancel()
        self._timer = self._options.later(0.0, self.tick)

    def _judge(self, lane: _Lane) -> None:
        """Judge one window of each that waits, ``max_windows`` of them at most."""
        ears, windows, others = self._collect(lane)
        if ears:
            self._detect(lane, ears, windows)
        for ear in others:  # not before: who is told may close an ear that is to be judged
            if not ear.closed:
                ear.tell(list(ear.buffer.heard()))

    def _detect(self, lane: _Lane, ears: list[Ear], windows: Samples) -> None:
        try:
            streams = [ear.buffer.stream for ear in ears]
            probabilities = lane.detector.detect(streams, windows).tolist()
        except Exception:  # noqa: BLE001 # whatever a detector raises: calls go on
            _log.exception("voice_detector_failed", detector=lane.detector.name, windows=len(ears))
            if lane.cheaper is not None:
                self._pass_on(ears)
                return
            probabilities = [0.0] * len(ears)  # nobody is left to ask
        for ear, probability in zip(ears, probabilities, strict=True):
            if ear.closed:
                continue
            buffer = ear.buffer
            events = buffer.take(probability)
            if buffer.end >= buffer.due:
                lane.waiting.append(ear)
            else:
                ear.queued = False
            if events:
                ear.tell(list(events))

    def _pass_on(self, ears: list[Ear]) -> None:
        """Let the cheaper detector judge what the better one could not."""
        for ear in ears:
            ear.queued = False
        self._fall_back(ears, 0.0, self._options.clock())
        for ear in ears:
            if ear.buffer.ready:
                self.enqueue(ear)

    def _collect(self, lane: _Lane) -> tuple[list[Ear], Samples, list[Ear]]:
        """Return ears, a window of each, and ears that heard something without a window."""
        others: list[Ear] = []
        groups: dict[AudioEncoding, tuple[list[Ear], list[bytes | bytearray]]] = {}
        last: AudioEncoding | None = None
        ears: list[Ear] = []
        windows: list[bytes | bytearray] = []
        waiting, count, most = lane.waiting, 0, self._options.max_windows
        while waiting and count < most:
            ear = waiting.popleft()
            if ear.closed:
                continue
            buffer = ear.buffer
            window = buffer.window()
            if window is None:
                ear.queued = False
                others.append(ear)
                continue
            if buffer.window_encoding is not last:
                last = buffer.window_encoding
                ears, windows = groups.setdefault(last, ([], []))
            ears.append(ear)
            windows.append(window)
            count += 1
        size = lane.detector.window_samples
        read = [read_windows(many, encoding, size) for encoding, (_, many) in groups.items()]
        collected = [ear for ears, _ in groups.values() for ear in ears]
        joined = read[0] if len(read) == 1 else np.concatenate(read or [_no(size)])
        return collected, joined, others

    # --- when it does not keep up ----------------------------------------------------------------

    def _look(self, now: float) -> None:
        """See from time to time who is behind, and act on it."""
        options = self._options
        if now - self._looked < options.max_delay / 4:
            return
        self._looked = now
        behind = sorted(
            ((self._lag(ear, now), ear) for lane in self._order for ear in lane.waiting),
            key=lambda pair: -pair[0],
        )
        late = [ear for lag, ear in behind if lag > options.max_delay and ear.lane.cheaper]
        before, self._behind = self._behind, behind[0][0] if behind else 0.0
        if late:
            # After a stall of the process the line gets shorter by itself: there is room enough,
            # unless it is so long that nobody would wait for it.
            most = min(before - options.max_delay / _SHORTER, _LONG * options.max_delay)
            shorter = self._behind < most
            if before > options.max_delay and not shorter:
                # A part of them: what they no longer need may be room enough for the others.
                self._fall_back(late[: -(-len(late) // 4)], self._behind, now)
        elif self._behind < options.max_delay / 4 and now >= self._no_return_before:
            # A few at a time, and then see what that has done.
            returning = list(islice(self._fallen, -(-len(self._fallen) // _RETURN)))
            if returning:
                self._no_return_before = now + 2 * options.max_delay
            for ear in returning:
                self._come_back(ear)

    @staticmethod
    def _lag(ear: Ear, now: float) -> float:
        """Return how old its oldest audio is: no older than it waits, nor than what there is."""
        return min(now - ear.since, ear.buffer.backlog_ms / 1000)

    def _fall_back(self, ears: list[Ear], lag: float, now: float) -> None:
        self._no_return_before = now + self._options.fallback_time
        names = [ear.name for ear in ears[:_NAMED]]
        _log.warning(
            "voice_detector_fell_back",
            sessions=names,
            count=len(ears),
            behind_seconds=round(lag, 3),
        )
        for ear in ears:
            if ear.lane.cheaper is not None and not ear.closed:
                self._move(ear, ear.lane.cheaper)
                self._fallen[ear] = None
                self._say(ear, fallen=True)

    def _come_back(self, ear: Ear) -> None:
        del self._fallen[ear]
        if ear.lane.better is not None:
            self._move(ear, ear.lane.better)
            _log.info("voice_detector_came_back", session=ear.name)
            self._say(ear, fallen=False)

    def _move(self, ear: Ear, lane: _Lane) -> None:
        if ear.queued:
            ear.lane.waiting.remove(ear)
            lane.waiting.append(ear)
        ear.lane = lane
        ear.buffer.use(lane.detector)

    def _say(self, ear: Ear, *, fallen: bool) -> None:
        if self._on_fallback is None:
            return
        try:
            self._on_fallback(ear.name, fallen)
        except Exception:  # noqa: BLE001 # to be told of it is not worth a call
            _log.exception("voice_fallback_untold", session=ear.name)


def _no(size: int) -> Samples:
    return np.zeros((0, size), np.int16)
