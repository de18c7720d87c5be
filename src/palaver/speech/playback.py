"""The sound of one reply: what may be sent now, and what of it was heard.

Sound is counted in samples, and time in seconds of any clock that only goes forward. Two
positions are kept: where the client would be if it played without delay (for the pace), and what
was heard. The second is what the client last reported, and the time that has passed since.

A report is bounded, not believed: never more than was sent, never less than was reported before.
It does not move the pace, or a client that reports nonsense would stop its own call.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["PlaybackLedger"]

_WORD: Final = re.compile(r"\S+")
_CHARACTERS_PER_SECOND: Final = 15
"""Of ordinary speech: how long a sentence will be that is still being made."""
_ROUNDING: Final = 0.01
"""Samples: so much may times of a year be off as floats."""
_INSTANT: Final = 1e-6
"""Seconds: the same."""


@dataclass(slots=True)
class _Span:
    text: str
    samples: int
    complete: bool = False


class PlaybackLedger:
    """What was made, sent and heard of one reply, at ``rate_hz`` in frames of ``frame_ms``.

    The client is kept at most ``lead_ms`` ahead of its loudspeaker; after a stall it gets that
    much at once and no more. A client that reports what it plays is given ``report_wait_ms``
    to say that it has come to the end.

    Raises:
        ValueError: a frame is no whole number of samples, or the lead is no whole frame.

    """

    def __init__(
        self, rate_hz: int, frame_ms: int, lead_ms: int = 400, report_wait_ms: int = 0
    ) -> None:
        if rate_hz <= 0 or frame_ms <= 0 or rate_hz * frame_ms % 1000:
            raise ValueError(f"frames of {frame_ms} ms at {rate_hz} Hz are no whole samples")
        if lead_ms < frame_ms:
            raise ValueError(f"a lead of {lead_ms} ms is less than a frame of {frame_ms} ms")
        self._rate: Final = rate_hz
        self._frame: Final = rate_hz * frame_ms // 1000
        self._lead: Final = rate_hz * lead_ms // 1000
        self._report_wait: Final = report_wait_ms / 1000
        self._spans: list[_Span] = []
        self._made = 0
        self._complete = False
        self._sent = 0
        self._at: float | None = None
        """When the two positions were right; ``None``: nothing was sent yet."""
        self._paced = 0.0
        self._heard = 0.0
        self._reported: float | None = None
        self._ran_out_at = 0.0
        """When the pace came to the end of what was sent."""
        self._held = False
        self._paused = False
        self._cleared = False

    # --- what is made -----------------------------------------------------------------------

    def queue(self, text: str, samples: int = 0) -> None:
        """Begin the sound of ``text``; ``samples`` of it are there. What came before is whole.

        Raises:
            ValueError: the reply was said to be complete, or ``samples`` is negative.

        """
        self._must_grow(samples)
        if self._spans:
            self._spans[-1].complete = True
        self._spans.append(_Span(text.strip(), samples))
        self._made += samples

    def extend(self, samples: int) -> None:
        """Add sound to the text that was queued last.

        Raises:
            ValueError: there is none, the reply is complete, or ``samples`` is negative.

        """
        self._must_grow(samples)
        if not self._spans:
            raise ValueError("sound belongs to a text: queue one first")
        self._spans[-1].samples += samples
        self._made += samples

    def complete(self) -> None:
        """Take that no more will be made; a last frame that is not full is filled with silence."""
        self._complete = True
        if self._spans:
            self._spans[-1].complete = True

    # --- what is sent -----------------------------------------------------------------------

    def due(self, now: float) -> int:
        """Return how many frames may be sent now."""
        if self._held or self._cleared:
            return 0
        self._advance(now)
        room = self._lead - (self._sent - self._paced)
        return max(0, min(math.floor((room + _ROUNDING) / self._frame), self._frames_ready))

    def sent(self, frames: int, now: float) -> None:
        """Take that so many frames went out, whether they were due or not.

        Raises:
            ValueError: there are not so many.

        """
        if not 0 <= frames <= self._frames_ready:
            raise ValueError(f"{frames} frames cannot be sent: there are {self._frames_ready}")
        self._advance(now)
        self._sent += frames * self._frame

    def next_due(self, now: float) -> float | None:
        """Return when to look again; ``None``: not before something is queued, resumed or told."""
        self._advance(now)
        if self._cleared or self.finished(now):
            return None
        if self._frames_ready:
            if self._held:
                return None
            ahead = self._sent - self._paced
            return now + max(0.0, ahead + self._frame - self._lead) / self._rate
        if not self._complete or (self._held and self._paused):
            return None
        end = self._ran_out_at if self._paced >= self._sent else now
        wait = (self._sent - self._paced) / self._rate + self._report_wait
        return max(now, end + wait)

    def hold(self, now: float, *, paused: bool = False) -> None:
        """Send nothing for now; ``paused``: the client stands still as well, with what it has."""
        self._advance(now)
        self._held, self._paused = True, paused

    def resume(self, now: float) -> None:
        """Go on after ``hold``."""
        self._advance(now)
        self._held = self._paused = False

    def cleared(self, now: float) -> None:
        """Take that what was not heard was thrown away: no more is sent, and nothing is heard."""
        self._advance(now)
        self._cleared = True

    # --- what the client reports ------------------------------------------------------------

    def report_played(self, played_ms: float, now: float) -> None:
        """Take that the client had played so much when it said so (a mark that was played)."""
        self._report(played_ms, now)

    def report_cleared(self, played_ms: float, now: float) -> None:
        """Take that the client threw the rest away after so much (``response.cancel``, a mark)."""
        self._report(played_ms, now)
        self._cleared = True

    def _report(self, played_ms: float, now: float) -> None:
        self._advance(now)
        if math.isnan(played_ms):
            return
        least = 0.0 if self._reported is None else self._reported
        most = float(min(self._sent, self._made))
        played = min(max(played_ms * self._rate / 1000, least), most)
        self._reported = self._heard = played

    # --- what is known ----------------------------------------------------------------------

    @property
    def sent_ms(self) -> int:
        """How much was sent."""
        return self._sent * 1000 // self._rate

    @property
    def unsent_ms(self) -> int:
        """How much is made and waits to be sent."""
        return max(0, self._made - self._sent) * 1000 // self._rate

    def played_ms(self, now: float) -> int:
        """Return how much was heard, as far as it is known; a report may lower it."""
        self._advance(now)
        return math.floor((self._heard + _ROUNDING) * 1000 / self._rate)

    def heard_text(self, now: float) -> str:
        """Return the text that was heard: whole texts, and of one that was cut its whole words."""
        self._advance(now)
        left = self._heard + 0.5  # half a sample is rounding
        heard = []
        for span in self._spans:
            if span.complete and left >= span.samples:
                heard.append(span.text)
                left -= span.samples
                continue
            heard.append(_said(span.text, left / self._length(span)))
            break
        return " ".join(text for text in heard if text)

    def finished(self, now: float) -> bool:
        """Tell whether nothing more will be heard."""
        self._advance(now)
        if self._cleared:
            return True
        if not self._complete or self._sent < self._made:
            return False
        if self._heard >= self._made and self._reported is not None:
            return True
        waited = now + _INSTANT >= self._ran_out_at + self._report_wait
        return self._paced >= self._sent and waited

    # --- positions --------------------------------------------------------------------------

    @property
    def _frames_ready(self) -> int:
        waiting = max(0, self._made - self._sent)
        return -(-waiting // self._frame) if self._complete else waiting // self._frame

    def _must_grow(self, samples: int) -> None:
        if self._complete:
            raise ValueError("the reply is complete: nothing can be added")
        if samples < 0:
            raise ValueError(f"{samples} samples are no sound")

    def _length(self, span: _Span) -> float:
        expected = 0.0 if span.complete else len(span.text) * self._rate / _CHARACTERS_PER_SECOND
        return max(span.samples, expected, 1.0)

    def _advance(self, now: float) -> None:
        """Let both positions go on with time: nobody hears what was not sent."""
        if self._at is None or now <= self._at:
            self._at = now if self._at is None else self._at
            return
        passed = (now - self._at) * self._rate
        if not self._cleared and not self._paused:
            if self._paced < self._sent <= self._paced + passed + _ROUNDING:
                self._ran_out_at = self._at + (self._sent - self._paced) / self._rate
                self._paced = float(self._sent)
            else:
                self._paced = min(self._paced + passed, float(self._sent))
            self._heard = min(self._heard + passed, float(min(self._sent, self._made)))
        self._at = now


def _said(text: str, part: float) -> str:
    """Return the words that end within that part of the text."""
    end = 0
    for word in _WORD.finditer(text):
        if word.end() > part * len(text):
            break
        end = word.end()
    return text[:end]
