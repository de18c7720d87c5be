"""What is to happen to the hearing of a session at a frame to come."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import Final

from palaver.protocols.asp.config import VADConfig

__all__ = ["NEVER", "Mark", "Marks"]

NEVER: Final = 1 << 62
"""A position that no session reaches."""


@dataclass(slots=True)
class Mark:
    """What happens before ``frame`` is judged: a commit, a switch to ``vad``, or missing frames."""

    frame: int
    position: int = 0
    vad: VADConfig | None = None
    missing: int = 0
    kept: int = 0
    """Of the missing frames, how many are in the audio, as silence."""


class Marks:
    """What is to happen, in the order of its frames."""

    __slots__ = ("gap_at", "marks")

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self.gap_at = NEVER
        """Position of the next gap: no window crosses it."""

    def add(self, mark: Mark) -> None:
        """Put a mark behind those of the same frame."""
        insort(self.marks, mark, key=lambda one: one.frame)
        self._find_gap()

    def take(self) -> Mark:
        """Take the first."""
        mark = self.marks.pop(0)
        self._find_gap()
        return mark

    def put_back(self, mark: Mark) -> None:
        """Put back what is left of a mark, behind the one that came in between."""
        self.marks.insert(1, mark)
        self._find_gap()

    def frames_from(self, frame: int, frames: int) -> int:
        """Return how many of ``frames`` from ``frame`` on are before the first mark."""
        return min(frames, max(0, self.marks[0].frame - frame)) if self.marks else frames

    def _find_gap(self) -> None:
        gaps = (mark.position for mark in self.marks if mark.missing)
        self.gap_at = next(gaps, NEVER)
