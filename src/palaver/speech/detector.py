"""Voice activity: the probability of speech in each window of audio. One interface, three engines.

A detector is shared by all sessions of a process; what it remembers of one session is in the
``Stream`` that it opened for it. Windows of many streams are judged at once: that is what lets one
core hear a thousand calls. What comes out for a stream depends on that stream's audio alone, not
on who else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detector", "Probabilities", "Samples", "Stream"]

Samples: TypeAlias = NDArray[np.int16]
"""Mono PCM."""
Probabilities: TypeAlias = NDArray[np.float32]
"""Shape [N], each 0 to 1."""


class Stream(Protocol):
    """What a detector remembers of one session."""

    def reset(self) -> None:
        """Forget what was heard: audio is missing, or another call begins."""
        ...

    def close(self) -> None:
        """Give back what the stream holds."""
        ...


class Detector(Protocol):
    """Judges windows of ``window_samples`` samples at ``sample_rate_hz``."""

    @property
    def name(self) -> str:
        """The engine, for logs and metrics: ``silero``, ``webrtc`` or ``energy``."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """8000 or 16000."""
        ...

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        ...

    def open(self) -> Stream:
        """Return the memory of a new session."""
        ...

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return the probability of speech for the next window of each stream.

        ``windows`` has the shape [N, window_samples]; no stream may be there twice. It does not
        wait, and its time is in proportion to N.
        """
        ...
