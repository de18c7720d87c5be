"""The bounds and deadlines of ASAP on a WebSocket. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an end puts up with, and how long it waits."""

    max_in_flight: int = 64
    """Server: requests of one socket that are worked on at the same time; more of them wait."""
    max_urgent: int = 16
    """Server: cancellations that are worked on beyond that, so that they overtake."""
    max_waiting: int = 64
    """Server: requests that were read, and wait for one of the others to be answered."""
    max_waiting_bytes: int = 1024 * 1024
    """Server: characters of them."""
    max_repeats: int = 8
    """Server: copies of a request that is worked on; each is answered."""
    max_rate: float | None = 1000.0
    """Server: messages a second of one socket, pongs not counted; ``None`` for any."""
    max_burst: int = 1000
    """Server: messages at once, after a silence."""
    max_kept_replies: int = 4096
    """Server: replies that are kept for a request that comes again."""
    max_kept_bytes: int = 8 * 1024 * 1024
    """Server: characters of them."""
    ping_interval: float = 30.0
    """Server: between two pings."""
    stale_after: float = 90.0
    """Server: silence after which the client is taken for gone."""
    max_pending: int = 1024
    """Client: requests without an answer."""
    max_outstanding: int = 64
    """Client: of those, the ones that were sent; the others wait for an answer to one of them."""
    max_settled: int = 1024
    """Client: answered requests that are remembered, so that a second answer is known as one;
    pushes that were acknowledged, so that a second copy is."""
    ack_timeout: float = 30.0
    """Client: until a request that wants it is acknowledged."""
    retransmit_delays: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Client: from each sending again to the next; after the last it gives up."""
    reply_timeout: float | None = 60.0
    """Client: until a request is answered, where the caller names no other time."""
    rejected_grace: float = 5.0
    """Client: until the error arrives of a request whose rejection was acknowledged."""
