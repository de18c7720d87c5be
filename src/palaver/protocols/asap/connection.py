"""What both ends of an ASAP socket share: their state, what is to be sent, and acknowledgements."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final, Literal

from palaver.errors import PalaverError
from palaver.model.ids import IdSource
from palaver.protocols.asap import codec
from palaver.protocols.asap.events import Output
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope
from palaver.protocols.asap.states import LINK, LinkState, Side, Step

__all__ = ["Connection", "Misuse", "unheard"]


class Misuse(PalaverError):
    """Our own side asked for what the protocol does not allow now; nothing was sent."""


def unheard() -> None:
    """Do nothing when there is something to take."""


class Connection(ABC):
    """One end, without the socket.

    Give it what arrives (``receive_text``, ``receive_binary``) and the time (``handle_timeout``,
    due at ``next_timeout``); hand the events that come back to the application, then send what
    ``take_output`` returns, in that order. ``now`` is in seconds since the epoch, of a
    clock that never runs backwards. ``on_output`` is called when there is something to take.

    Nothing that a peer sends raises, and no bad frame ends the connection.
    """

    side: ClassVar[Side]

    def __init__(
        self,
        limits: Limits,
        new_id: IdSource,
        on_output: Callable[[], None],
    ) -> None:
        self.limits: Final = limits
        self.state = LinkState.OPEN
        self._new_id = new_id
        self._new_envelope_id: Final = partial(new_id, "env")
        self._on_output = on_output
        self._output: list[Output] = []
        self.output_size = 0
        """How many characters wait for ``take_output``."""

    @property
    def has_output(self) -> bool:
        """Whether ``take_output`` would return anything."""
        return bool(self._output)

    def take_output(self) -> list[Output]:
        """Return what is to be sent, in order, and forget it. Nothing follows a ``Close``."""
        output, self._output = self._output, []
        self.output_size = 0
        return output

    def received(self, envelope: Envelope, now: float) -> None:
        """Acknowledge that an envelope is taken, where its sender wants to know."""
        self._acknowledge(envelope, "received", None, now)

    def processed(self, envelope: Envelope, now: float) -> None:
        """Acknowledge that an envelope was worked on, where its sender wants to know."""
        self._acknowledge(envelope, "processed", None, now)

    def rejected(self, envelope: Envelope, error: str, now: float) -> None:
        """Acknowledge that an envelope was refused, and why, where its sender wants to know."""
        self._acknowledge(envelope, "rejected", error, now)

    # --- shared -----------------------------------------------------------------------------

    def _may(self, step: Step) -> bool:
        """Tell whether that may happen now."""
        return step in LINK[self.side][self.state]

    def _go(self, step: Step) -> None:
        """Have it happen.

        Raises:
            Misuse: it may not happen now.

        """
        after = LINK[self.side][self.state].get(step)
        if after is None:
            raise Misuse(f"a {self.side} that is {self.state} allows no {step}")
        self.state = after

    def _say(self, frame: codec.Frame) -> None:
        """Send a frame after what was put before."""
        self._put(codec.encode(frame).decode())

    def _put(self, output: Output) -> None:
        self._output.append(output)
        self.output_size += len(output) if isinstance(output, str) else 0
        if len(self._output) == 1:
            self._on_output()

    def _acknowledge(
        self,
        envelope: Envelope,
        status: Literal["received", "processed", "rejected"],
        error: str | None,
        now: float,
    ) -> None:
        if envelope.requires_ack and self._may(Step.ACK):
            ack_id = self._new_envelope_id()
            ack = codec.encode_ack(envelope, status, id=ack_id, now=now, error=error)
            self._put(ack.decode())
