"""How loud audio is: what a log says where nothing was heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from palaver.speech.detector import Samples

__all__ = ["Levels"]

_CLIPPED: Final = 32_124
"""From here on a sample is at full scale: the loudest that µ-law writes."""


@dataclass(frozen=True, slots=True)
class Levels:
    """How loud some audio is.

    ``peak`` is the loudest sample (0 to 1), ``clipped`` the share of samples at full scale,
    ``offset`` the mean (-1 to 1; a good line has next to none).
    """

    peak: float = 0.0
    clipped: float = 0.0
    offset: float = 0.0

    @classmethod
    def of(cls, samples: Samples) -> Levels:
        """Measure ``samples``."""
        if not samples.size:
            return cls()
        loud = np.abs(samples.astype(np.int32))
        clipped = float((loud >= _CLIPPED).mean())
        return cls(float(loud.max()) / 32_768, clipped, float(samples.mean()) / 32_768)
