"""What a call was: what was sent, what was heard, and the figures of both."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Final

import numpy as np

from palaver.media.happenings import Happening
from palaver.media.player import PlayedResponse
from palaver.protocols.asp.config import NegotiatedConfig
from palaver.speech.detector import Samples

__all__ = ["CallRecord", "Figures", "Turn", "joined"]

_MAX_KEPT_MS: Final = 3_600_000
_MAX_TURNS: Final = 10_000
_MAX_HAPPENINGS: Final = 100_000


@dataclass(slots=True)
class Turn:
    """One utterance as the server heard it, and its answer. Times in ms of the call.

    ``decided_after_ms``: from when its end was sent to when the server said that it has ended;
    ``first_audio_ms``: to when the first audio of the answer was there.
    """

    start_ms: int | None
    end_ms: int
    decided_after_ms: int | None
    first_audio_ms: int | None = None
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The summary of a call."""

    duration_ms: int
    frames_sent: int
    frames_received: int
    received_ms: int
    played_ms: int
    cleared_ms: int
    late_frames: int
    lost_messages: int
    first_audio_ms: int | None
    turns: tuple[Turn, ...]
    responses: tuple[PlayedResponse, ...]


@dataclass(slots=True)
class CallRecord:
    """Everything of a call, tick by tick: in each, one frame is heard and one is sent.

    Of a call that lasts longer than an hour, the first one is kept.
    """

    config: NegotiatedConfig
    ticks: int = 0
    """Frames that were heard, silent ones too."""
    frames_sent: int = 0
    sent: list[Samples] = field(default_factory=list)
    heard: list[Samples | None] = field(default_factory=list)
    sent_at: array[float] = field(default_factory=lambda: array("d"))
    """When each frame was sent (s)."""
    happenings: list[tuple[int, Happening]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    first_audio_ms: int | None = None

    @property
    def frame_ms(self) -> int:
        """Milliseconds of a tick."""
        return self.config.audio.frame_duration_ms

    @property
    def now_ms(self) -> int:
        """Media time of the call: of what was heard so far."""
        return self.ticks * self.frame_ms

    def hear(self, frame: Samples | None) -> None:
        """Keep what was heard in the next tick; ``None`` is silence."""
        if self.now_ms < _MAX_KEPT_MS:
            self.heard.append(frame)
        self.ticks += 1

    def send(self, samples: Samples, now: float) -> None:
        """Keep what was sent in it, and when."""
        if self.frames_sent * self.frame_ms < _MAX_KEPT_MS:
            self.sent.append(samples)
            self.sent_at.append(now)
        self.frames_sent += 1

    def note(self, happening: Happening) -> int:
        """Keep what has happened; return when."""
        if len(self.happenings) < _MAX_HAPPENINGS:
            self.happenings.append((self.now_ms, happening))
        return self.now_ms

    def since(self, media_ms: int, now: float) -> int | None:
        """Return the milliseconds since that media time was sent, if it is known."""
        if not self.sent_at or media_ms > _MAX_KEPT_MS:
            return None
        frame = min(max(media_ms // self.frame_ms, 0), len(self.sent_at) - 1)
        return round((now - self.sent_at[frame]) * 1_000)

    def add_turn(self, turn: Turn) -> None:
        """Keep a turn; of very many, the first ones."""
        if len(self.turns) < _MAX_TURNS:
            self.turns.append(turn)

    def reply(self) -> Samples:
        """Return what was heard, from the first sound to the last, with the silence in between."""
        heard = list(dropwhile(lambda frame: frame is None, self.heard))
        while heard and heard[-1] is None:
            heard.pop()
        return joined(heard, self.config.audio.samples_per_frame)


def joined(frames: Sequence[Samples | None], frame_samples: int) -> Samples:
    """Return frames as one piece; ``None`` is a frame of silence."""
    silence = np.zeros(frame_samples, np.int16)
    parts = [silence if frame is None else frame for frame in frames]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)
