"""Where time and new ids come from. The only module that reads a clock or makes randomness."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

__all__ = ["Clock", "new_id", "wall_clock"]


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...


wall_clock: Clock = time.time
"""The time of the machine."""


_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_SHIFTS: Final = range(120, -1, -10)
_RANDOM_BYTES: Final = 10


def new_id(prefix: str) -> str:
    """Return ``prefix`` + ``_`` + a ULID: unique, and in the order of creation to the ms."""
    # Made here, two digits at a time: a request takes several, and a library 10 µs for each.
    random = int.from_bytes(os.urandom(_RANDOM_BYTES))
    value = (time.time_ns() // 1_000_000) << (8 * _RANDOM_BYTES) | random
    return f"{prefix}_{''.join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])}"
