"""Windows as detectors take them, and at which rates."""

from __future__ import annotations

from typing import Final

import numpy as np

from palaver.errors import ConfigError
from palaver.speech.detector import Samples

__all__ = ["RATES_HZ", "SCALE", "WINDOWS_A_SECOND", "check_rate", "check_windows"]

RATES_HZ: Final = (8_000, 16_000)
"""The rates that every detector hears."""

SCALE: Final = np.float32(1 / 32_768)
"""What makes of an int16 sample one between -1 and 1."""

WINDOWS_A_SECOND: Final = 50
"""Of the light detectors: 20 ms each."""


def check_rate(detector: str, sample_rate_hz: int) -> None:
    """Raise ``ConfigError`` for a rate that a detector, which is named, does not hear."""
    if sample_rate_hz not in RATES_HZ:
        raise ConfigError(f"{detector} hears 8000 or 16000 Hz, not {sample_rate_hz}")


def check_windows(windows: Samples, count: int, window_samples: int) -> None:
    """Raise ``ValueError`` unless ``windows`` is int16 of the shape [count, window_samples]."""
    if windows.dtype != np.int16 or windows.shape != (count, window_samples):
        raise ValueError(
            f"windows are {windows.dtype} of the shape {windows.shape}; "
            f"wanted is int16 of the shape {(count, window_samples)}"
        )
