"""What a caller hears of the answers: a jitter buffer that can be held, emptied, and accounted for.

It has no clock: ``now_ms`` is media time of the call, and ``play`` gives out the frame that sounds
from then on. What was given out counts as heard; so sound stops within one frame of ``end`` with
``interrupted``, and nothing of that answer is given out ever after. Each sample that was received
is played once, in order, or cleared, or still waits: ``received == played + cleared + waiting``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from palaver.speech.detector import Samples

__all__ = ["MarkOutcome", "PlayedResponse", "Player"]

HOLD_MS: Final = 2_000
"""For how long playback is held where the server says nothing more of the speech it heard."""
_MAX_RESPONSES: Final = 1_000
_MAX_ITEMS: Final = 100_000


@dataclass(slots=True)
class PlayedResponse:
    """The account of one answer, in samples. ``first_ms`` is when it was first heard."""

    response_id: str | None
    generation: int | None
    sample_rate_hz: int
    received: int = 0
    played: int = 0
    cleared: int = 0
    open: bool = True
    interrupted: bool = False
    first_ms: int | None = None

    @property
    def received_ms(self) -> int:
        """How much of it has come."""
        return self.received * 1_000 // self.sample_rate_hz

    @property
    def played_ms(self) -> int:
        """How much of it was heard."""
        return self.played * 1_000 // self.sample_rate_hz

    @property
    def waiting(self) -> int:
        """Samples of it that are still to be played."""
        return self.received - self.played - self.cleared


@dataclass(frozen=True, slots=True)
class MarkOutcome:
    """What became of a mark: all before it was heard, or was thrown away."""

    mark_id: str
    response_id: str | None
    outcome: Literal["played", "cleared"]
    played_ms: int


@dataclass(slots=True)
class _Piece:
    """Samples that wait to be played."""

    response: PlayedResponse
    samples: Samples


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place between pieces."""

    response: PlayedResponse
    mark_id: str
    response_id: str | None


_Item: TypeAlias = _Piece | _Mark


class Player:
    """Plays one frame per frame time.

    ``prebuffer_ms`` of audio are gathered before an answer begins, and again after it has run dry,
    so that frames that come a little late are not heard as gaps; the end of an answer is not
    waited for any longer than that. What does not fit in ``max_waiting_ms`` is cleared.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        frame_ms: int,
        *,
        prebuffer_ms: int = 60,
        max_waiting_ms: int = 300_000,
    ) -> None:
        self.sample_rate_hz: Final = sample_rate_hz
        self.frame_samples: Final = sample_rate_hz * frame_ms // 1_000
        self._prebuffer_ms = prebuffer_ms
        self._prebuffer = sample_rate_hz * prebuffer_ms // 1_000
        self._most = sample_rate_hz * max_waiting_ms // 1_000
        self._items: deque[_Item] = deque()
        self._passed: deque[_Mark] = deque()
        self._reports: list[MarkOutcome] = []
        self._current: PlayedResponse | None = None
        self.responses: deque[PlayedResponse] = deque(maxlen=_MAX_RESPONSES)
        """The account of each answer, in order; of very many, the last ones."""
        self.received = 0
        self.played = 0
        self.cleared = 0
        self.late_frames = 0
        """Frame times in the middle of an answer for which its audio was not there."""
        self.lost_messages = 0
        """Audio messages that never came."""
        self.waiting = 0
        """Samples that are to be played."""
        self._gap = 0
        """Frame times in which the current answer was not there; late, if more of it comes."""
        self._fills = True
        self._filled_since: int | None = None
        self._held_until: int | None = None
        self._speech_confirmed = False

    # --- what the server says ---------------------------------------------------------------

    def begin(self, response_id: str | None = None, generation: int | None = None) -> None:
        """Take that another answer follows.

        One that has not ended is cleared, and so is what is left of one that somebody has spoken
        into; otherwise what waits is played first.
        """
        current = self._current
        if self._speech_confirmed:
            self._clear(None)
        if current is not None and current.open:
            self._interrupt(current)
        self._open(response_id, generation)
        self.resume()

    def receive(self, samples: Samples, generation: int | None = None) -> bool:
        """Take audio; false where it is of an answer that was cancelled, or does not fit.

        ``generation`` is the answer's number, where the frames of the session carry one.
        """
        response = self._current or self._open(None, None)
        other = None not in (generation, response.generation) and generation != response.generation
        if other:
            same = (one for one in reversed(self.responses) if one.generation == generation)
            response = next(same, response)
        fits = self.waiting + len(samples) <= self._most and len(self._items) < _MAX_ITEMS
        self.received += len(samples)
        response.received += len(samples)
        if other or response.interrupted or not fits:
            self._count_cleared(response, len(samples))
            return False
        if len(samples):
            self._items.append(_Piece(response, samples))
            self.waiting += len(samples)
        return True

    def miss(self, messages: int) -> None:
        """Take that audio messages never came."""
        self.lost_messages += messages

    def mark(self, mark_id: str, response_id: str | None = None) -> None:
        """Take a mark: it stands behind all audio that came before it."""
        response = self._find(response_id) or self._current or self._open(None, None)
        mark = _Mark(response, mark_id, response_id)
        if response.interrupted or len(self._items) + len(self._passed) >= _MAX_ITEMS:
            self._report(mark, "cleared")
        elif self.waiting:
            self._items.append(mark)
        else:
            self._passed.append(mark)

    def end(self, response_id: str | None = None, *, interrupted: bool = False) -> None:
        """Take that an answer is complete, or was cut short: then what waits is never heard."""
        response = self._find(response_id)
        if response is None:
            return
        if interrupted:
            self._interrupt(response)
            if response is self._current:
                self._clear(None)
                self.resume()
        response.open = False

    def hold(self, now_ms: int, *, confirmed: bool = False) -> None:
        """Stop for now, and keep what waits: somebody may be speaking, or is (``confirmed``)."""
        self._held_until = now_ms + HOLD_MS
        self._speech_confirmed = confirmed

    def resume(self) -> None:
        """Go on where playback was held: it was no speech."""
        self._held_until = None
        self._speech_confirmed = False

    def speech_ended(self) -> None:
        """Take that the caller has said something: what it was said into is not heard any more.

        An answer that is still open goes on: whoever sends it knows of the speech.
        """
        if self._speech_confirmed and not (self._current is not None and self._current.open):
            self._clear(None)
        self.resume()

    def stop(self) -> None:
        """Throw away what waits: the call is over."""
        if self._current is not None and self._current.open:
            self._interrupt(self._current)
        self._clear(None)

    # --- the clock --------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether playback is held."""
        return self._held_until is not None

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be played, and no answer is open."""
        done = not (self._items or self._passed or self._reports)
        return done and (self._current is None or not self._current.open)

    def ready(self, now_ms: int) -> bool:
        """Tell whether ``play`` would give out sound now."""
        held = self._held_until is not None and now_ms < self._held_until
        return not held and self._has_frame(now_ms)

    def play(self, now_ms: int) -> Samples | None:
        """Return the frame that sounds from ``now_ms`` on; nothing, where it is silence."""
        while self._passed:
            self._report(self._passed.popleft(), "played")
        if self._held_until is not None and now_ms >= self._held_until:
            self._held_until = None
        if self._held_until is not None:
            return None
        if not self._has_frame(now_ms):
            self._starve(now_ms)
            return None
        self._fills, self._filled_since = False, None
        self.late_frames += self._gap
        self._gap = 0
        return self._take(now_ms)

    def take_reports(self) -> list[MarkOutcome]:
        """Return what has become of marks since the last time."""
        reports, self._reports = self._reports, []
        return reports

    # --- inside -----------------------------------------------------------------------------

    def _has_frame(self, now_ms: int) -> bool:
        if not self.waiting:
            return False
        if self._current is not None and not self._current.open:
            return True  # nothing more comes that could be waited for
        if not self._fills:
            return self.waiting >= self.frame_samples
        waited = 0 if self._filled_since is None else now_ms - self._filled_since
        return self.waiting >= self._prebuffer or waited >= self._prebuffer_ms

    def _starve(self, now_ms: int) -> None:
        """Take that there is nothing to play now."""
        current = self._current
        if current is not None and current.open and current.played:
            self._gap += 1
        self._fills = True
        if self.waiting and self._filled_since is None:
            self._filled_since = now_ms

    def _take(self, now_ms: int) -> Samples:
        frame = np.zeros(self.frame_samples, np.int16)
        filled = 0
        while self._items and filled < self.frame_samples:
            item = self._items.popleft()
            if isinstance(item, _Mark):
                self._passed.append(item)  # until the frame before it has sounded
                continue
            part = item.samples[: self.frame_samples - filled]
            frame[filled : filled + len(part)] = part
            filled += len(part)
            if item.response.first_ms is None:
                item.response.first_ms = now_ms
            item.response.played += len(part)
            if len(part) < len(item.samples):
                self._items.appendleft(_Piece(item.response, item.samples[len(part) :]))
        while self._items:
            head = self._items[0]
            if isinstance(head, _Piece):
                break
            self._items.popleft()
            self._passed.append(head)
        self.played += filled
        self.waiting -= filled
        return frame

    def _count_cleared(self, response: PlayedResponse, samples: int) -> None:
        response.cleared += samples
        self.cleared += samples

    def _open(self, response_id: str | None, generation: int | None) -> PlayedResponse:
        response = PlayedResponse(response_id, generation, self.sample_rate_hz)
        self.responses.append(response)
        self._current = response
        self._gap = 0
        if not self.waiting:
            self._fills, self._filled_since = True, None
        return response

    def _find(self, response_id: str | None) -> PlayedResponse | None:
        if response_id is None:
            return self._current
        same = (one for one in reversed(self.responses) if one.response_id == response_id)
        return next(same, None)

    def _interrupt(self, response: PlayedResponse) -> None:
        response.interrupted, response.open = True, False
        self._clear(response)

    def _clear(self, only: PlayedResponse | None) -> None:
        """Throw away what waits: all of it, or that of one answer."""
        kept: deque[_Item] = deque()
        for item in self._items:
            if only is not None and item.response is not only:
                kept.append(item)
            elif isinstance(item, _Mark):
                self._report(item, "cleared")
            else:
                self._count_cleared(item.response, len(item.samples))
                self.waiting -= len(item.samples)
        self._items = kept

    def _report(self, mark: _Mark, outcome: Literal["played", "cleared"]) -> None:
        self._reports.append(
            MarkOutcome(mark.mark_id, mark.response_id, outcome, mark.response.played_ms)
        )
