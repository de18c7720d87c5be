"""Windows as detectors take them."""

from __future__ import annotations

import numpy as np

from palaver.speech.detector import Samples

__all__ = ["WINDOWS_A_SECOND", "check_windows"]

WINDOWS_A_SECOND = 50
"""Of the light detectors: 20 ms each."""


def check_windows(windows: Samples, count: int, window_samples: int) -> None:
    """Raise ``ValueError`` unless ``windows`` is int16 of the shape [count, window_samples]."""
    if windows.dtype != np.int16 or windows.shape != (count, window_samples):
        raise ValueError(
            f"windows are {windows.dtype} of the shape {windows.shape}; "
            f"wanted is int16 of the shape {(count, window_samples)}"
        )
