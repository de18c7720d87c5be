"""The bounds and deadlines of ASP. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a side puts up with; each has the default of the specification (section 9)."""

    handshake_timeout: float = 30.0
    """Server: until a session was accepted on a new socket (1002)."""
    legacy_hint: float = 5.0
    """Server: silence after which a legacy client is suspected. Nothing but a line in the log."""
    capabilities_timeout: float = 5.0
    """Client: until the capabilities are there, or the server is a legacy one."""
    start_timeout: float = 10.0
    """Client: until ``session.started``."""
    update_timeout: float = 5.0
    """Client: until ``session.updated``."""
    end_timeout: float = 5.0
    """Client: until ``session.ended``."""
    idle_timeout: float = 300.0
    """Server: a session without any message of its client (4002)."""
    max_session_seconds: float = 3600.0
    """Server: the longest time of a session (4002)."""
    resume_window: float = 30.0
    """How long a session waits for its client after its socket was lost."""
    max_sessions: int = 1000
    """Server: sessions at once, those that wait to be resumed among them (4003)."""
    max_sessions_per_socket: int = 256
    """Server: sessions at once on one socket (4003)."""
    max_failed_starts: int = 5
    """Server: rejected starts in a minute on one socket (4003)."""
    max_audio_lead: float = 30.0
    """Server: how far audio may run ahead of the clock (2005)."""
    max_kept_messages: int = 3_000
    """Messages that are kept for resumption, each way: a minute of 20 ms frames."""
    max_kept_bytes: int = 4 * 1024 * 1024
    """Bytes of them."""
