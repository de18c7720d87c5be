"""What keeps an envelope from being played again: its age, and a nonce where one is asked for."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from palaver.protocols.asap.errors import InvalidNonce, InvalidTimestamp
from palaver.protocols.asap.messages import Envelope

__all__ = ["MAX_NONCE_LENGTH", "ReplayGuard", "ReplayLimits"]

MAX_NONCE_LENGTH: Final = 256
"""Characters of a nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayLimits:
    """Times are in seconds (spec §10).

    ``check_nonce`` looks at nonces that are there, ``require_nonce`` refuses envelopes without.
    """

    max_age: float = 300.0
    max_future: float = 30.0
    check_nonce: bool = False
    require_nonce: bool = False
    nonce_ttl: float = 600.0
    max_nonces: int = 100_000
    """Nonces that are remembered, of all senders."""

    max_sender_nonces: int = 10_000
    """Nonces that are remembered of one sender. More within ``nonce_ttl`` are refused: to forget
    one would let its envelope in again."""


class ReplayGuard:
    """Remembers the nonces of each sender for a while."""

    def __init__(self, limits: ReplayLimits | None = None) -> None:
        self.limits: Final = limits or ReplayLimits()
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many nonces are remembered."""
        return len(self._until)

    def check(self, envelope: Envelope, now: float, *, repeated: bool = False) -> None:
        """Take ``envelope``, and its nonce with it; ``now`` is Unix time.

        ``repeated``: the envelope is known to have been taken before, and is answered as it was;
        its nonce may stand there again.

        Raises:
            InvalidTimestamp: it is too old, or too far in the future.
            InvalidNonce: its nonce came before, is none, or is missing where one is required.

        """
        self._check_age(envelope, now)
        if (self.limits.check_nonce or self.limits.require_nonce) and not repeated:
            self._check_nonce(envelope, now)

    def _check_age(self, envelope: Envelope, now: float) -> None:
        age = now - envelope.timestamp.timestamp()
        limits = self.limits
        if age > limits.max_age:
            raise InvalidTimestamp(
                f"the envelope is {age:.0f} s old; at most {limits.max_age:g} s are allowed",
                details={"age_seconds": age, "max_age_seconds": limits.max_age},
            )
        if -age > limits.max_future:
            raise InvalidTimestamp(
                f"the envelope is {-age:.0f} s ahead; at most {limits.max_future:g} s are allowed",
                details={
                    "future_offset_seconds": -age,
                    "max_future_tolerance_seconds": limits.max_future,
                },
            )

    def _check_nonce(self, envelope: Envelope, now: float) -> None:
        nonce = envelope.nonce
        if nonce is None:
            if self.limits.require_nonce:
                raise InvalidNonce("extensions.nonce is required")
            return
        if not isinstance(nonce, str) or not 0 < len(nonce) <= MAX_NONCE_LENGTH:
            text = f"extensions.nonce must be a string of 1 to {MAX_NONCE_LENGTH} characters"
            raise InvalidNonce(text)
        self._forget(now)
        key = (envelope.sender, nonce)
        if key in self._until:
            raise InvalidNonce(f"{nonce[:8]!r}… was used before", details={"nonce": nonce[:8]})
        count = self._counts.get(envelope.sender, 0)
        if count >= self.limits.max_sender_nonces or len(self._until) >= self.limits.max_nonces:
            text = f"more nonces within {self.limits.nonce_ttl:g} s than are remembered"
            raise InvalidNonce(text)
        self._until[key] = now + self.limits.nonce_ttl
        self._counts[envelope.sender] = count + 1

    def _forget(self, now: float) -> None:
        """Forget what is past its time; the oldest stand first."""
        while self._until:
            key = next(iter(self._until))
            if self._until[key] > now:
                return
            del self._until[key]
            left = self._counts[key[0]] - 1
            if left:
                self._counts[key[0]] = left
            else:
                del self._counts[key[0]]
