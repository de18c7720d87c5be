"""Where the frames of a call come from: a file at the rate of the clock, and silence after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, Self

import numpy as np

from palaver.speech.detector import Samples

__all__ = ["FileFrames", "FrameSource"]


class FrameSource(Protocol):
    """Gives the caller's frames, each when it is time to send it."""

    @property
    def over(self) -> bool:
        """Whether all was given that there is to say: what follows is silence."""
        ...

    def __aiter__(self) -> Self:
        """Return itself."""
        ...

    async def __anext__(self) -> Samples:
        """Return the next frame, when it is time."""
        ...


class FileFrames:
    """The frames of ``samples``, one each ``frame_ms``; then silence for as long as it is asked.

    With ``max_lead`` seconds, frames do not wait for their time while there is something to hurry
    for: the rest of the file, or what ``hurry`` tells of; but never run further ahead of the clock
    than that.
    """

    def __init__(
        self, samples: Samples, sample_rate_hz: int, frame_ms: int, *, max_lead: float = 0.0
    ) -> None:
        size = sample_rate_hz * frame_ms // 1_000
        self._samples = samples
        self._size: Final = size
        self._frame = frame_ms / 1_000
        self._silence = np.zeros(size, np.int16)
        self._given = 0
        self._total = -(-len(samples) // size)
        self._max_lead = max_lead
        self.hurry: Callable[[], bool] = lambda: False
        """Tells whether there is something to hurry for after the file."""
        self._due: float | None = None
        self.duration_ms: Final = len(samples) * 1_000 // sample_rate_hz

    @property
    def over(self) -> bool:
        """Whether the whole file was given."""
        return self._given >= self._total

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Samples:
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._due = now
        hurries = self._max_lead > 0 and (not self.over or self.hurry())
        # A clock that is late is caught up with; one that stood still for long is not.
        self._due = max(self._due, now - 0.1)
        wait = self._due - now - (self._max_lead if hurries else self._ahead(now))
        await asyncio.sleep(max(0.0, wait))
        self._due += self._frame
        return self._next()

    def _ahead(self, now: float) -> float:
        """Return how far (s) frames run ahead already, where they may: then they go on in time."""
        if not self._max_lead or self._due is None:
            return 0.0
        return max(0.0, self._due - now - self._frame)

    def _next(self) -> Samples:
        start = self._given * self._size
        self._given += 1
        frame = self._samples[start : start + self._size]
        if len(frame) == self._size:
            return frame
        if not len(frame):
            return self._silence
        return np.concatenate((frame, self._silence[len(frame) :]))
