"""A circuit breaker: a peer that fails again and again is left alone for a while.

::

    closed ── max_failures in a row ──▶ open ── open_for seconds ──▶ half-open: one probe
       ▲                                 ▲                              │
       └── it succeeds ──────────────────┼──────────────────────────────┤
                                         └── it fails ──────────────────┘
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Circuit", "Circuits", "Passage"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A call that was let pass; ``probe``: the one by which an open circuit finds out."""

    probe: bool = False


class Circuit:
    """What is known of one peer. ``now`` is in seconds, of a clock that never runs backwards.

    Each ``Passage`` that ``admit`` returns ends in one of ``succeeded``, ``failed``, ``abandoned``.
    """

    def __init__(self, max_failures: int = 5, open_for: float = 60.0) -> None:
        self._max_failures: Final = max_failures
        self._open_for: Final = open_for
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    def state(self, now: float) -> Literal["closed", "open", "half-open"]:
        """Return how it stands."""
        if self._opened_at is None:
            return "closed"
        return "open" if self.retry_in(now) > 0 else "half-open"

    def retry_in(self, now: float) -> float:
        """Return the seconds until a call may be let pass; 0 for now."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._open_for - now)

    def admit(self, now: float) -> Passage | None:
        """Let a call pass, or not; of those that ask while it is half-open, one may."""
        state = self.state(now)
        if state == "closed":
            return Passage()
        if state == "open" or self._probing:
            return None
        self._probing = True
        return Passage(probe=True)

    def succeeded(self, passage: Passage) -> None:
        """Take note of an answer; one that comes late counts, too: the peer is there."""
        self.abandoned(passage)
        self._failures = 0
        self._opened_at = None

    def failed(self, passage: Passage, now: float) -> None:
        """Take note of a call without an answer.

        One that passed before the circuit opened does not keep it open for longer.
        """
        self.abandoned(passage)
        self._failures += 1
        if passage.probe or (self._opened_at is None and self._failures >= self._max_failures):
            self._opened_at = now

    def abandoned(self, passage: Passage) -> None:
        """Take note of a call that its caller did not wait for: it says nothing of the peer."""
        if passage.probe:
            self._probing = False


class Circuits:
    """The circuits of many peers, by their base URLs; the one used least lately is let go."""

    def __init__(
        self, max_failures: int = 5, open_for: float = 60.0, *, max_urls: int = 1000
    ) -> None:
        self._max_failures = max_failures
        self._open_for = open_for
        self._max_urls = max_urls
        self._circuits: OrderedDict[str, Circuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._circuits)

    def of(self, base_url: str) -> Circuit:
        """Return the circuit of a peer, which all who ask for it share."""
        circuit = self._circuits.get(base_url)
        if circuit is None:
            circuit = self._circuits[base_url] = Circuit(self._max_failures, self._open_for)
        self._circuits.move_to_end(base_url)
        while len(self._circuits) > self._max_urls:
            self._circuits.popitem(last=False)
        return circuit
