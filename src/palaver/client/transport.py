"""What all clients share: HTTP with bounds, and how long to wait before the next try."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import random
from typing import Final

import httpx2

__all__ = ["Patience", "http_client"]

_MAX_CONNECTIONS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a client waits. Times are in seconds.

    A connection that brings nothing for ``silence_timeout`` is taken for dead: two heartbeats of
    a Palaver server fit in. Tries that bring nothing new follow each other at growing distances,
    until ``give_up_after`` has passed since the last news.
    """

    connect_timeout: float = 5.0
    silence_timeout: float = 30.0
    first_delay: float = 0.1
    max_delay: float = 5.0
    give_up_after: float = 60.0

    def delay(
        self, attempt: int, hint: float | None = None, chance: Callable[[], float] = random
    ) -> float:
        """Return the seconds before try ``attempt`` (1 is the first after a failure).

        Half of it is left to ``chance`` (0 to 1), so that many clients do not come back as one.
        ``hint`` is what the server asked for: it takes the place of the first delay.
        """
        base = self.first_delay if hint is None else min(hint, self.max_delay)
        longest = min(self.max_delay, base * 2.0 ** min(attempt - 1, 16))
        return longest * (0.5 + 0.5 * chance())


def http_client(patience: Patience) -> httpx2.AsyncClient:
    """Return an HTTP client that keeps to ``patience``, follows no redirects and reads no proxy."""
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(
            patience.silence_timeout,
            connect=patience.connect_timeout,
            pool=patience.silence_timeout,
        ),
        limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS),
        follow_redirects=False,
        trust_env=False,
        verify=_authorities(),
    )


@cache
def _authorities() -> ssl.SSLContext:
    """Return whose word is taken for who a server is: 25 to 50 ms to read, so once for all."""
    return httpx2.create_ssl_context(trust_env=False)
