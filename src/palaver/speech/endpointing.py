"""Endpointing: where speech begins and ends, one probability per frame (§13 of the ASP page).

A pure machine over media time. It knows what the two sides negotiated and nothing else, so the two
sides decide the same, whoever runs it and however fast the audio came.

- A frame is *speech* when its probability is ``threshold`` or more.
- It is *voiced* when, besides, the ring holds ``speech_ratio`` of speech, with this frame. Silence
  ends at a voiced frame, not at any frame of speech: one noisy frame in a pause does not begin the
  pause anew. And it is counted from the frame, not from where the ring has emptied, so that
  smoothing adds no delay.
- A voiced frame that is *firm*, its probability well above the threshold, begins the silence anew.
  One that is weak leaves a doubt: so much of the silence may stand, and no more. In noise a
  detector goes on hearing a voice that has ended, but less and less surely; a soft voice is weak
  all the time, and is not cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from palaver.protocols.asp.config import FRAME_DURATIONS_MS, VADConfig
from palaver.speech.heard import EndReason, Heard, SpeechConfirmed, SpeechEnded, SpeechStarted

__all__ = ["Endpointer", "EndpointingOptions"]

_NOTHING: Final[Sequence[Heard]] = ()
_MILLION: Final = 1_000_000
_FLOOR: Final = 0.01
"""Below this probability hysteresis holds nothing: a detector says so much of silence."""


@dataclass(frozen=True, slots=True)
class EndpointingOptions:
    """What is not negotiated. Both sides keep the defaults, or they would disagree.

    ``firmness`` is how much of the way from ``threshold`` to 1 a probability must have gone for
    the silence to begin anew; at a weaker voiced frame ``doubt_ms`` of it stand at most.
    ``hysteresis`` is how far below ``threshold`` a frame may be that follows a frame of speech. It
    is off: the page knows no such number, the ring and the silence bridge a dip as well, and with
    0.15 turns in noise of 5 dB end 15 to 20 ms later, for no turn more. ``max_utterance_ms`` is
    where an utterance is cut in two.
    """

    hysteresis: float = 0.0
    max_utterance_ms: int = 30_000
    firmness: float = 0.7
    doubt_ms: int = 120

    def __post_init__(self) -> None:
        if not 0.0 <= self.firmness <= 1.0:
            raise ValueError(f"firmness must be 0-1, not {float(self.firmness)}")
        if not 0.0 <= self.hysteresis <= 1.0:
            raise ValueError(f"hysteresis must be 0-1, not {float(self.hysteresis)}")
        if self.doubt_ms < 0:
            raise ValueError(f"doubt_ms must be 0 at least, not {self.doubt_ms}")
        if self.max_utterance_ms < 1_000:
            raise ValueError(f"max_utterance_ms must be 1000 at least, not {self.max_utterance_ms}")


class Endpointer:
    """Says where speech begins and ends. Each call returns what was heard by it, mostly nothing.

    ``frame_ms`` is the negotiated ``frame_duration_ms``. Raises ``ValueError`` for values that
    negotiation would not have let pass.
    """

    __slots__ = (
        "_before",
        "_bits",
        "_confirm_at",
        "_confirmed",
        "_cut_frames",
        "_doubt",
        "_doubt_frames",
        "_end_after",
        "_firm",
        "_firm_from",
        "_firmness",
        "_floor",
        "_frame_ms",
        "_frames",
        "_full_at",
        "_hysteresis",
        "_manual_from",
        "_needed",
        "_prefix_ms",
        "_quiet",
        "_ring",
        "_silent",
        "_speaking",
        "_start",
        "_stay",
        "_threshold",
        "_vad",
        "_voiced",
        "voiced_frames",
    )

    def __init__(
        self, vad: VADConfig, frame_ms: int, options: EndpointingOptions = EndpointingOptions()
    ) -> None:
        if frame_ms not in FRAME_DURATIONS_MS:
            raise ValueError(f"frame_ms must be one of 10, 20, 30, not {frame_ms}")
        self._frame_ms = frame_ms
        self._hysteresis = options.hysteresis
        self._firmness = options.firmness
        self._doubt_frames = options.doubt_ms // frame_ms
        self._firm = False  # would the last frame begin the silence anew?
        self._cut_frames = -(-options.max_utterance_ms // frame_ms)
        self._frames = 0  # media time, in frames
        self._ring = 0  # one bit a frame, the newest lowest
        self._before = False  # was the last frame speech? Of use to hysteresis only
        self._speaking = False
        self._confirmed = False
        self._start = 0  # frame of the first hit
        self._voiced = 0  # voiced frames of the utterance
        self._silent = 0  # frames since the last voiced one
        self._quiet = 0  # how many of them count towards the end
        self._floor = 0  # frame before which audio belongs to an utterance that is over
        self._prefix_ms = 0
        self._manual_from = 0
        self.voiced_frames = 0
        """Voiced frames so far, of all utterances: for logs."""
        self._adopt(vad)
        self._full_at = vad.ring_buffer_frames
        self._confirm_at = self._least_voiced

    # --- what there is ---------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Media time so far."""
        return self._frames * self._frame_ms

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._speaking

    @property
    def enabled(self) -> bool:
        """Whether speech is detected; if not, only ``commit`` ends an utterance."""
        return self._vad.enabled

    @property
    def vad(self) -> VADConfig:
        """What is run."""
        return self._vad

    @property
    def quiet_below(self) -> float:
        """Below this probability a frame changes nothing but the time; 0 where any frame may."""
        return 0.0 if self._speaking or self._ring or self._before else self._threshold

    # --- what comes in ---------------------------------------------------------------------

    def hear(self, probability: float, frames: int = 1) -> Sequence[Heard]:
        """Judge the next frame, or so many that have one probability: each is speech, or none."""
        speech = probability >= (self._stay if self._before else self._threshold)
        self._before = speech
        if not (speech or self._ring or self._speaking):
            self._frames += frames  # what most frames of a call are: silence after silence
            return _NOTHING
        self._firm = probability >= self._firm_from
        if self._speaking and self._goes_by(frames, speech=speech):
            return _NOTHING
        if frames == 1:
            return self._frame(speech)
        events: list[Heard] = []
        for _ in range(frames):
            events += self._frame(speech)
        return events

    def skip(self, frames: int) -> Sequence[Heard]:
        """Let ``frames`` pass that never came: they are silence. The work is bounded."""
        self._before = self._firm = False
        if not self._vad.enabled:
            self._frames += frames
            return _NOTHING
        events: list[Heard] = []
        first = True  # what a switch has made due happens in the first frame
        while frames and (self._ring or first):
            events += self._frame(speech=False)
            frames -= 1
            first = False
        if frames and self._speaking:
            # In an empty ring nothing can begin: only the one end is left to come.
            passed = min(self._to_end(), frames)
            self._frames += passed - 1
            self._silent += passed - 1
            self._quiet += passed - 1
            events += self._frame(speech=False)
            frames -= passed
        self._frames += frames
        return events

    def commit(self) -> Sequence[Heard]:
        """End the utterance here: the client says that it is complete, confirmed or not.

        In silence there is none, and nothing happens. With detection off all that came since the
        last commit is the utterance (the last ``max_utterance_ms`` of it); it starts and ends now.
        """
        if self._speaking:
            # With detection off nobody knows which frame was voiced last: all of it counts.
            if not self._vad.enabled:
                self._silent = 0
            ended = self._end("committed")
            self._manual_from = self._frames
            return (ended,)
        start = max(self._manual_from, self._frames - self._cut_frames)
        if self._vad.enabled or start == self._frames:
            return _NOTHING
        self._manual_from = self._floor = self._frames
        start_ms, now_ms = start * self._frame_ms, self.now_ms
        return (
            SpeechStarted(start_ms, 0, now_ms),
            SpeechEnded(start_ms, now_ms, now_ms, "committed"),
        )

    def switch(self, vad: VADConfig) -> None:
        """Run ``vad`` from the next frame on. The ring, an open utterance and its counts stay.

        In a longer ring the frames that it does not remember are silence. Where detection begins
        or ends it knows nothing of what came before.
        """
        was = self._vad
        expected = self._least_voiced
        self._adopt(vad)
        self._ring &= self._bits
        if self._confirm_at == expected:  # a continued utterance needs one frame, whatever is asked
            self._confirm_at = self._least_voiced
        if was.enabled != vad.enabled:
            self._ring = 0
            self._silent = self._quiet = 0
            self._before = False
            self._manual_from = self._frames

    # --- how it decides --------------------------------------------------------------------

    def _adopt(self, vad: VADConfig) -> None:
        if errors := vad.validate():
            raise ValueError("; ".join(errors))
        self._vad = vad
        # To a millionth, as in the digest (§11): two values that are one there decide the same.
        self._threshold = round(vad.threshold * _MILLION) / _MILLION
        self._stay = min(self._threshold, max(_FLOOR, self._threshold - self._hysteresis))
        self._firm_from = self._threshold + self._firmness * (1 - self._threshold)
        size = vad.ring_buffer_frames
        self._bits = (1 << size) - 1
        self._needed = -(-round(vad.speech_ratio * _MILLION) * size // _MILLION)
        self._end_after = -(-vad.silence_threshold_ms // self._frame_ms)
        self._doubt = min(self._doubt_frames, self._end_after - 1)

    @property
    def _least_voiced(self) -> int:
        return -(-self._vad.min_speech_ms // self._frame_ms)

    def _frame(self, speech: bool) -> Sequence[Heard]:  # noqa: FBT001 # one bit in, many times
        self._frames += 1
        ring = self._ring = ((self._ring << 1) | speech) & self._bits
        if self._speaking:
            return self._go_on(voiced=speech and ring.bit_count() >= self._needed)
        # §13.2: a full ring, of which enough is speech.
        if not ring or ring.bit_count() < self._needed or self._frames < self._full_at:
            return _NOTHING
        return self._begin() if self._vad.enabled else _NOTHING

    def _goes_by(self, frames: int, *, speech: bool) -> bool:
        """Let frames of an utterance pass at once; False: one of them may have a consequence."""
        ring, bits = self._ring, self._bits
        if speech and ring != bits:
            return False  # not all of them need be voiced
        voiced = self._voiced + frames if speech else self._voiced
        quiet = self._quiet + frames
        if speech:
            quiet = 0 if self._firm else min(quiet, self._doubt)
        now = self._frames + frames
        if (
            quiet >= self._end_after
            or now - self._start >= self._cut_frames
            or (voiced >= self._confirm_at and not self._confirmed)
            or not self._vad.enabled
        ):
            return False
        if speech:
            self._voiced = voiced
            self.voiced_frames += frames
            self._silent = 0
        else:
            self._ring = (ring << frames) & bits
            self._silent += frames
        self._quiet = quiet
        self._frames = now
        return True

    def _go_on(self, *, voiced: bool) -> Sequence[Heard]:
        if not self._vad.enabled:
            return _NOTHING
        if voiced:
            self._voiced += 1
            self.voiced_frames += 1
            self._silent = 0
            self._quiet = 0 if self._firm else min(self._quiet + 1, self._doubt)
        else:
            self._silent += 1
            self._quiet += 1
        if not self._confirmed and self._voiced >= self._confirm_at:
            return self._confirm()
        if self._quiet >= self._end_after:
            return (self._end("silence"),)  # §13.4
        if self._frames - self._start >= self._cut_frames:
            return self._cut()
        return _NOTHING

    def _begin(self) -> Sequence[Heard]:
        """Begin at the first hit in the ring (§13.2)."""
        ring = self._ring
        self._start = self._frames - ring.bit_length()
        self._speaking = True
        self._voiced = ring.bit_count()
        self.voiced_frames += self._voiced
        self._silent = self._quiet = (ring & -ring).bit_length() - 1
        self._confirm_at = self._least_voiced
        start_ms = self._start * self._frame_ms
        # What belongs to the utterance before is not said twice.
        room_ms = start_ms - self._floor * self._frame_ms
        self._prefix_ms = max(0, min(self._vad.prefix_padding_ms, room_ms))
        started = SpeechStarted(start_ms, self._prefix_ms, self.now_ms)
        if self._voiced >= self._confirm_at:
            return (started, *self._confirm())
        return (started,)

    def _confirm(self) -> Sequence[Heard]:
        """§13.3: it was voiced for long enough; silence within it does not count."""
        self._confirmed = True
        start_ms = self._start * self._frame_ms
        return (SpeechConfirmed(start_ms, self._prefix_ms, self.now_ms),)

    def _end(self, reason: EndReason) -> SpeechEnded:
        end = max(self._start, self._frames - self._silent)
        if reason != "committed" and not self._confirmed:
            reason = "too_short"  # and its audio may be the prefix of what comes: no floor
        else:
            self._floor = end
        ended = SpeechEnded(self._start * self._frame_ms, end * self._frame_ms, self.now_ms, reason)
        # Its frames begin no other utterance; what came after the last voiced one may.
        self._ring &= (1 << min(self._frames - end, 16)) - 1
        self._speaking = self._confirmed = False
        self._voiced = 0
        return ended

    def _cut(self) -> Sequence[Heard]:
        """End what is too long; speech that goes on is the next utterance, from here."""
        ring = self._ring
        if ring.bit_count() < self._needed:
            return (self._end("max_duration"),)
        self._silent, silent = 0, self._silent
        ended = self._end("max_duration")
        self._ring, self._silent = ring, silent
        self._start = self._frames
        self._speaking = True
        self._prefix_ms = 0
        # It was speech already: one more voiced frame and its rest is not thrown away.
        self._confirm_at = self._least_voiced if ended.discarded else 1
        return (ended, SpeechStarted(self.now_ms, 0, self.now_ms))

    def _to_end(self) -> int:
        """Frames of silence until the utterance ends."""
        cut_at = self._start + self._cut_frames
        return max(1, min(self._end_after - self._quiet, cut_at - self._frames))
