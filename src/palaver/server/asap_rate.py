"""How many requests a caller may send: a window that moves with the clock, for each."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from palaver.protocols.asap.errors import RateLimited

__all__ = ["CallerRates"]

_MINUTE: Final = 60.0
_MAX_CALLERS: Final = 10_000
"""Callers that are remembered; the one that was silent for longest is forgotten first."""


class CallerRates:
    """Refuses the requests of a caller beyond ``per_minute``; ``None`` refuses none.

    All that came within the last minute counts, so that the memory of one caller is bounded by the
    rate. What is refused does not count.
    """

    def __init__(
        self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._callers: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, caller: str, count: int) -> None:
        """Count so many requests of a caller.

        Raises:
            RateLimited: they are too many; ``retry_after`` says when there is room for one.

        """
        most = self._per_minute
        if most is None or count < 1:
            return
        now = self._clock()
        times = self._callers.setdefault(caller, deque())
        self._callers.move_to_end(caller)
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) + count > most:
            raise RateLimited(
                f"at most {most} requests a minute are taken",
                details={"limit": f"{most}/minute"},
                retry_after=times[0] + _MINUTE - now if times else _MINUTE,
            )
        times.extend([now] * count)
        if len(self._callers) > _MAX_CALLERS:
            self._callers.popitem(last=False)
