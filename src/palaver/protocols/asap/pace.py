"""How fast a peer may send: a bucket of tokens that is refilled at a steady rate."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """``rate`` messages a second, and ``burst`` of them at once after a silence.

    It slows instead of refusing: the bucket may run into debt, and ``resume_at`` says when the
    debt is paid. Whoever reads on before is ``exceeded``, once the debt is a whole bucket.
    """

    def __init__(self, rate: float | None, burst: int) -> None:
        self._rate = rate
        self._burst = float(max(1, burst))
        self._tokens = self._burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Count one message; tell whether it may pass.

        What may not pass is not counted, so that the debt stays within a bucket.
        """
        if self._rate is None:
            return True
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now if self._at is None else max(now, self._at)
        if self._tokens <= -self._burst:
            return False
        self._tokens -= 1.0
        return True

    @property
    def resume_at(self) -> float | None:
        """When to read the next message; ``None`` for now."""
        if self._rate is None or self._at is None or self._tokens >= 0.0:
            return None
        return self._at - self._tokens / self._rate
