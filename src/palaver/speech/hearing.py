"""Hearing: a session's audio in, what was heard out; the same at both ends (§13 of the ASP page).

Audio is cut into frames on a grid of media time. Frame k is judged by the last window of the
detector that was complete by its end (0.0 before the first). So what is heard depends on the audio
alone: not on the sizes in which it came, nor on who else was judged at the same time.

The detector is not called here but by who has all sessions (``batch``): ``window()`` gives the
audio of the next window, ``take()`` its probability. ``StreamingVAD`` does both at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Detector, Samples
from palaver.speech.endpointing import Endpointer, EndpointingOptions
from palaver.speech.feed import Feed
from palaver.speech.heard import Heard, SpeechEnded, SpeechStarted
from palaver.speech.kept_audio import KeptAudio
from palaver.speech.levels import Levels
from palaver.speech.marks import NEVER, Mark, Marks

__all__ = ["TAIL_MS", "AudioBuffer", "Levels", "StreamingVAD", "detector_rate_hz", "read_windows"]

_NOTHING: Final[Sequence[Heard]] = ()
TAIL_MS: Final = 200
"""Audio of an utterance after its last voiced frame, at most."""
_GAP_HEARD_MS: Final = 100
"""A gap up to this is silence that the detector hears: a few lost packets do not make it forget."""
_GAP_KEPT_MS: Final = 3_000
"""Of a longer gap so much silence is kept: more than any open utterance, tail and prefix reach."""
_REACH_MS: Final = 900
"""How far before now an onset and its prefix may reach: 10 frames of 30 ms, 500 ms, some room."""
_AS_USUAL: Final = EndpointingOptions()


def detector_rate_hz(audio: AudioConfig) -> int:
    """Return the rate that a detector for this audio has: 8 kHz as it is, all else 16 kHz."""
    return 8_000 if audio.sample_rate == 8_000 else 16_000


def read_windows(
    windows: Sequence[bytes | bytearray], encoding: AudioEncoding, samples: int
) -> Samples:
    """Return windows of ``samples`` samples, all in ``encoding``, as one array [N, samples]."""
    return decode(b"".join(windows), encoding).reshape(len(windows), samples)


class AudioBuffer:
    """Hears one session: cuts its audio, asks for probabilities, and keeps what an utterance needs.

    It is built from what was negotiated, and a ``detector``, whose rate should be that of
    ``detector_rate_hz``; what has another rate is resampled. With ``keep_audio`` false
    ``SpeechEnded.audio`` is empty.

    A *position* counts the samples that are there; media time also those that never came.

    Raises:
        ValueError: the configuration is not one that negotiation lets pass.

    """

    __slots__ = (
        "_ahead",
        "_at",
        "_audio",
        "_events",
        "_feed",
        "_frame",
        "_frame_samples",
        "_keep_audio",
        "_kept",
        "_least_kept",
        "_longest",
        "_manual_from",
        "_marks",
        "_per_ms",
        "_plain",
        "_probability",
        "_quiet_below",
        "_rate_hz",
        "_sample_bytes",
        "_silence",
        "_trim_at",
        "_utterance_at",
        "detector",
        "due",
        "end",
        "endpointer",
        "stream",
        "window_encoding",
    )

    def __init__(
        self,
        audio: AudioConfig,
        vad: VADConfig,
        detector: Detector,
        *,
        options: EndpointingOptions = _AS_USUAL,
        keep_audio: bool = True,
    ) -> None:
        if errors := audio.validate():
            raise ValueError("; ".join(errors))
        self._rate_hz = audio.sample_rate
        self._per_ms = audio.sample_rate // 1000
        self._frame_samples = audio.samples_per_frame
        self.endpointer = Endpointer(vad, audio.frame_duration_ms, options)
        """What decides: what it runs, how far it is, and how many frames were voiced."""
        self._kept = KeptAudio(AudioEncoding(audio.encoding))
        self._audio = self._kept.data
        self._sample_bytes = self._kept.sample_bytes
        self._silence = encode(np.zeros(1, np.int16), self._kept.encoding)
        self._keep_audio = keep_audio
        self._longest = options.max_utterance_ms * self._per_ms

        self.end = 0
        """Position after the last sample that came."""
        self.due = 0
        """``end`` from which on there is something to judge."""
        self._ahead = 0  # how far media time is ahead of ``end``: what was left out of long gaps
        self._frame = 0  # the next frame to judge, in media time …
        self._at = 0  # … and the position of its first sample
        self._marks = Marks()
        self._utterance_at = 0  # where the audio of the open utterance begins
        self._manual_from = 0  # where it begins with detection off
        self._probability = 0.0
        # Below this, frames of a silence are only counted, and that when it is over; 0: there is
        # none that they could go on.
        self._quiet_below = 0.0
        self._events: list[Heard] = []
        self._least_kept = 2 * _REACH_MS * self._per_ms * self._sample_bytes
        self._trim_at = self._least_kept
        self._take_detector(detector)
        self._settle()

    # --- what comes in -----------------------------------------------------------------------

    def push(self, payload: bytes, samples: int) -> None:
        """Take audio in the session's encoding whose first sample has the media time ``samples``.

        It may have any size. Media time that was jumped over is silence; a time that runs
        backward is taken for none.

        Raises:
            ValueError: a part of a sample.

        """
        count = len(payload)
        if self._sample_bytes == 2:  # this runs fifty times a second for each call: no divmod
            odd, count = count & 1, count >> 1
            if odd:
                raise ValueError(f"{len(payload)} bytes of {self._kept.encoding}: a sample has 2")
        gap = samples - self.end - self._ahead
        if gap > 0:
            self._jump(gap)
        audio = self._audio
        audio += payload
        self.end += count

    def commit(self) -> Sequence[Heard]:
        """End the utterance with what has been pushed so far (``audio.end``).

        Returns what is heard by that; nothing where audio before it waits for the detector: then
        it comes with ``take``.
        """
        self._put(Mark((self.end + self._ahead) // self._frame_samples, self.end))
        self._settle()
        return self.heard()

    def switch(self, vad: VADConfig, samples: int) -> None:
        """Run ``vad`` from the frame on that begins at the media time ``samples``, or next after.

        Raises:
            ValueError: a value is out of its range.

        """
        if errors := vad.validate():
            raise ValueError("; ".join(errors))
        self._put(Mark(-(-samples // self._frame_samples), vad=vad))
        if not self.endpointer.enabled:
            self.due = 0  # where detection begins, look at once: not when there is much to drop

    def use(self, detector: Detector) -> None:
        """Go on with another detector, from the next frame on. It begins without a memory."""
        self._settle()
        self.stream.close()
        self._take_detector(detector)
        self._settle()

    def close(self) -> None:
        """Give back what the detector holds, and the audio."""
        self.stream.close()
        self._kept.let_go(self.end)
        self.due = NEVER

    # --- what is to be judged ----------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is something to judge: it is time to ask for a window."""
        return self.end >= self.due

    @property
    def backlog_ms(self) -> int:
        """Audio (ms) that was pushed and not judged yet."""
        self._catch_up()
        return (self.end - self._at) * 1000 // self._rate_hz

    @property
    def held_bytes(self) -> int:
        """Audio that is held: for an utterance, for what may become one, or to be judged."""
        return len(self._audio)

    def window(self) -> bytes | bytearray | None:
        """Return the audio of the next window to judge. Where there is none, ask ``heard()``."""
        if self._plain:
            window = self._feed.window(self.end)
        else:
            self._settle()
            window = None
            if self.endpointer.enabled:
                window = self._feed.window(min(self.end, self._marks.gap_at))
        if window is None:
            self._settle()  # frames that no window is complete in
        return window

    def take(self, probability: float) -> Sequence[Heard]:
        """Take the probability of the window that ``window()`` gave; return what is heard by it."""
        feed = self._feed
        if not self._plain:
            self._settle()  # frames that were complete before this window was
            if feed.judged():  # if not, a gap or a switch has come in between: it judges no frame
                self._probability = probability
            self._settle()
            return self.heard()
        before = feed.window_end - 1
        if feed.judged():
            if probability < self._quiet_below:
                self._probability = probability
                self.due = feed.window_end
                if len(self._audio) > self._trim_at:
                    self._settle()
                return _NOTHING
            self._hear(before)
            self._probability = probability
        self.due = after = feed.window_end
        self._hear(after - 1 if after <= self.end else self.end)
        below = self.endpointer.quiet_below
        self._quiet_below = below if probability < below else 0.0
        if len(self._audio) > self._trim_at:
            self._trim()
        return self.heard() if self._events else _NOTHING

    def heard(self) -> Sequence[Heard]:
        """Return, once, what was heard without a window: by a gap, or by a commit."""
        if not self._events:
            return _NOTHING
        events, self._events = self._events, []
        return events

    def levels(self) -> Levels:
        """Return how loud the audio is that is still held: the last second or more."""
        return Levels.of(self._kept.samples(self._kept.first, self.end))

    # --- gaps, commits and switches ------------------------------------------------------------

    def _jump(self, missing: int) -> None:
        """Take missing samples for silence. The work is bounded, whatever their number."""
        frame = self._frame_samples
        if missing <= _GAP_HEARD_MS * self._per_ms:
            self._fill(missing)
            return
        begun = -(self.end + self._ahead) % frame
        self._fill(begun)
        frames, rest = divmod(missing - begun, frame)
        kept = min(frames, _GAP_KEPT_MS * self._per_ms // frame)
        first = (self.end + self._ahead) // frame
        self._put(Mark(first, self.end, missing=frames, kept=kept))
        self._fill(kept * frame)
        self._ahead += (frames - kept) * frame
        self._fill(rest)
        self.due = 0  # what ends by it needs no window

    def _put(self, mark: Mark) -> None:
        self._catch_up()
        self._marks.add(mark)
        self._plain = False

    def _fill(self, samples: int) -> None:
        self._audio += self._silence * samples
        self.end += samples

    def _apply(self, mark: Mark) -> None:
        if mark.missing:
            self._skip(mark)
        elif mark.vad is not None:
            if mark.vad.enabled != self.endpointer.enabled:
                self._manual_from = self._at
                self._forget()
            self.endpointer.switch(mark.vad)
        elif self.endpointer.enabled:
            self._tell(self.endpointer.commit())
        else:
            start = self._utterance_at if self.endpointer.speaking else self._manual_from
            events = self.endpointer.commit()
            self._manual_from = mark.position if events else self._manual_from
            self._tell(events, max(start, mark.position - self._longest), mark.position)

    def _skip(self, gap: Mark) -> None:
        # A switch or a commit may stand in the middle of the gap.
        passed = self._marks.frames_from(self._frame, gap.missing)
        self._tell(self.endpointer.skip(passed))
        kept = min(gap.kept, passed)
        self._frame += passed
        self._at += kept * self._frame_samples
        if passed < gap.missing:
            left, kept = gap.missing - passed, gap.kept - kept
            self._marks.put_back(Mark(self._frame, self._at, missing=left, kept=kept))
        self._forget()

    # --- judging -------------------------------------------------------------------------------

    def _take_detector(self, detector: Detector) -> None:
        self._feed = Feed(detector, self._rate_hz, self._kept, self._at)
        self.detector = detector
        """Who judges its windows …"""
        self.stream = self._feed.stream
        """… and what it remembers of them."""
        self.window_encoding = self._feed.encoding
        """How ``window`` is written: as the session's audio is, but resampled audio is PCM."""

    def _forget(self) -> None:
        self._probability = 0.0
        self._feed.forget(self._at)

    def _settle(self) -> None:
        """Do all that can be done without another probability."""
        self._catch_up()
        endpointer, feed, size = self.endpointer, self._feed, self._frame_samples
        marks = self._marks.marks
        while True:
            if marks and marks[0].frame <= self._frame:
                self._apply(self._marks.take())
                continue
            end = self._at + size
            if end > self.end:
                break
            if not endpointer.enabled:
                frames = self._marks.frames_from(self._frame, (self.end - self._at) // size)
                endpointer.skip(frames)
                self._frame += frames
                self._at += frames * size
                continue
            if feed.waits(end):
                break
            events = endpointer.hear(self._probability)
            self._frame += 1
            self._at = end
            if events:
                self._tell(events)
        if not endpointer.enabled:
            self.due = self.end + self._rate_hz  # now and then, to let go of old audio
        else:
            self.due = self._at + size if feed.resamples else feed.window_end
        # Only then frames have nothing to wait for but windows, each of which decides some.
        self._plain = endpointer.enabled and not feed.resamples and not marks
        if len(self._audio) > self._trim_at:
            self._trim()

    def _catch_up(self) -> None:
        """Judge the frames of a silence that has gone on."""
        if self._quiet_below:
            self._quiet_below = 0.0
            self._hear(min(self._feed.window_end - 1, self.end))

    def _hear(self, until: int) -> None:
        """Judge the frames that end by a position, all of them by the probability that there is."""
        size = self._frame_samples
        frames = (until - self._at) // size
        if frames:
            self._frame += frames
            self._at += frames * size
            events = self.endpointer.hear(self._probability, frames)
            if events:
                self._tell(events)

    # --- the audio of an utterance ---------------------------------------------------------------

    def _tell(self, events: Sequence[Heard], start: int | None = None, end: int = 0) -> None:
        """Tell events; an utterance has the audio from ``start`` to ``end``, where that is said."""
        # Where media time 0 would stand in the audio, by the frame that is judged.
        origin = self._at - self._frame * self._frame_samples
        for event in events:
            if isinstance(event, SpeechStarted):
                self._utterance_at = origin + (event.start_ms - event.prefix_ms) * self._per_ms
            elif isinstance(event, SpeechEnded) and self._keep_audio and not event.discarded:
                if start is None:
                    start = self._utterance_at
                    end = origin + min(event.end_ms + TAIL_MS, event.at_ms) * self._per_ms
                audio = self._kept.samples(start, end).astype("<i2").tobytes()
                event = replace(event, audio=audio)  # noqa: PLW2901 # the same, with its audio
                start = None
            self._events.append(event)
        if events and not self.endpointer.speaking:
            self._trim()

    def _trim(self) -> None:
        """Let go of the audio that no utterance can need."""
        keep = self._at
        if self._keep_audio:
            reach = _REACH_MS * self._per_ms
            keep -= reach
            if self.endpointer.speaking:
                keep = min(keep, self._utterance_at)
            elif not self.endpointer.enabled:
                keep = min(keep, self._manual_from)
            keep = max(keep, self._at - self._longest - reach)
        if self.endpointer.enabled:
            keep = min(keep, self._feed.needs_from)
        self._kept.let_go(keep)
        self._trim_at = max(2 * len(self._audio), self._least_kept)


class StreamingVAD(AudioBuffer):
    """The same at the other end: it detects at once, and keeps no audio unless asked to."""

    __slots__ = ()

    def __init__(
        self,
        audio: AudioConfig,
        vad: VADConfig,
        detector: Detector,
        *,
        options: EndpointingOptions = _AS_USUAL,
        keep_audio: bool = False,
    ) -> None:
        super().__init__(audio, vad, detector, options=options, keep_audio=keep_audio)

    def process(self, payload: bytes, samples: int | None = None) -> list[Heard]:
        """Take audio as ``push`` does, following on where ``samples`` is not said; judge it.

        Raises:
            ValueError: a part of a sample.

        """
        self.push(payload, self.end + self._ahead if samples is None else samples)
        events: list[Heard] = []
        while (window := self.window()) is not None:
            size = self.detector.window_samples
            windows = read_windows([window], self.window_encoding, size)
            events += self.take(float(self.detector.detect([self.stream], windows)[0]))
        events += self.heard()
        return events
