"""Where time and new ids come from. The only module that reads a clock or makes randomness."""

from __future__ import annotations

import time
from typing import Protocol

from ulid import ULID

__all__ = ["Clock", "new_id", "wall_clock"]


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...


wall_clock: Clock = time.time
"""The time of the machine."""


def new_id(prefix: str) -> str:
    """Return ``prefix`` + ``_`` + a ULID: unique, and in the order of creation to the ms."""
    return f"{prefix}_{ULID()}"
