"""A call, as whoever answers it has it: what can be said, and who is told what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from palaver.protocols.asp.events import Event, SessionClosed
from palaver.protocols.asp.server_session import ServerSession

__all__ = ["Call", "CallListener", "Silence"]


@dataclass(frozen=True, slots=True)
class Call:
    """A session, for whoever answers it: say things with ``session``, at ``now()``."""

    session: ServerSession
    now: Callable[[], float]
    congested: Callable[[], bool]
    """Whether the client has not taken yet what it was sent: wait before you send more."""
    agent_id: str | None = None
    """The agent that the socket's path names; without one, the server's first."""


class CallListener(Protocol):
    """The agent's side of one call. It is told things in their order, and must not block."""

    def heard(self, event: Event) -> None:
        """Take an event of the call: audio, the end of an utterance, a switch of configuration."""
        ...

    def closed(self, event: SessionClosed) -> None:
        """Let go: the call is over."""
        ...


class Silence:
    """Takes a call, hears it, and says nothing."""

    def __init__(self, call: Call) -> None:
        del call

    def heard(self, event: Event) -> None:
        """Do nothing."""

    def closed(self, event: SessionClosed) -> None:
        """Do nothing."""
