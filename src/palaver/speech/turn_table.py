"""What may follow in a conversation: one table, and the words that it is written in.

Rules of the table:

* A key is what happens, as it is to be taken just then: the same report of a detector is
  ``CONFIRMED`` where speech interrupts at once, and ``STARTED`` where a filter judges it first.
* A pair that is not there changes nothing.
* Whatever was held is resumed or cancelled by the step that leaves ``HELD``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["TABLE", "Do", "Happening", "Step", "TurnState"]


class TurnState(StrEnum):
    """Where the conversation stands."""

    LISTENING = "listening"
    """No reply is live."""
    THINKING = "thinking"
    """A turn is being answered; there is no sound yet."""
    SPEAKING = "speaking"
    ANNOUNCING = "announcing"
    """A reply is said that cannot be interrupted."""
    HELD = "held"
    """A reply is held, because somebody may be interrupting it."""
    INTERRUPTED = "interrupted"
    """The caller speaks, and the reply was cancelled for that."""


class Happening(StrEnum):
    """What changes the state: an input, as it is to be taken just then."""

    STARTED = "started"
    """Somebody may be speaking, or speaks and the filter will judge it."""
    CONFIRMED = "confirmed"
    """The caller speaks, and means it."""
    ENDED = "ended"
    """An utterance that is to be answered is over."""
    ACKNOWLEDGED = "acknowledged"
    """A backchannel is over."""
    UNCLEAR = "unclear"
    """A short utterance is over, and its words will tell what it was."""
    DISCARDED = "discarded"
    """It was no speech, or its end was lost."""
    HOLD_EXPIRED = "hold expired"
    BEGAN = "began"
    """A reply can be heard."""
    BEGAN_HELD = "began held"
    """The same, while somebody may be speaking."""
    BEGAN_LATE = "began late"
    """The same, while the caller speaks."""
    BEGAN_FIXED = "began fixed"
    """The same, and it cannot be interrupted."""
    FINISHED = "finished"
    FAILED = "failed"
    CLIENT_CANCELLED = "client cancelled"


class Do(StrEnum):
    """What a step does, in the order in which it stands there."""

    HOLD = "hold"
    RESUME = "resume"
    CANCEL = "cancel"
    REFUSE = "refuse"
    START = "start"
    DROP = "drop"
    KEEP = "keep"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the table: the state that follows, and what is done on the way."""

    to: TurnState
    does: tuple[Do, ...] = ()


_S, _H, _D = TurnState, Happening, Do
_STOPPED: Final = Step(_S.LISTENING, (_D.CANCEL,))
_REPLACED: Final = Step(_S.THINKING, (_D.CANCEL, _D.START))
_BARGED: Final = Step(_S.INTERRUPTED, (_D.CANCEL,))

TABLE: Final[Mapping[TurnState, Mapping[Happening, Step]]] = MappingProxyType(
    {
        _S.LISTENING: {
            _H.ENDED: Step(_S.THINKING, (_D.START,)),
            _H.BEGAN: Step(_S.SPEAKING),
            _H.BEGAN_HELD: Step(_S.HELD, (_D.HOLD,)),
            _H.BEGAN_LATE: Step(_S.INTERRUPTED, (_D.REFUSE,)),
            _H.BEGAN_FIXED: Step(_S.ANNOUNCING),
        },
        _S.THINKING: {
            _H.CONFIRMED: _BARGED,
            _H.ENDED: _REPLACED,
            _H.BEGAN: Step(_S.SPEAKING),
            _H.BEGAN_HELD: Step(_S.HELD, (_D.HOLD,)),
            _H.BEGAN_FIXED: Step(_S.ANNOUNCING),
            _H.FINISHED: Step(_S.LISTENING),
            _H.FAILED: _STOPPED,
            _H.CLIENT_CANCELLED: _STOPPED,
        },
        _S.SPEAKING: {
            _H.STARTED: Step(_S.HELD, (_D.HOLD,)),
            _H.CONFIRMED: _BARGED,
            _H.ENDED: _REPLACED,
            _H.ACKNOWLEDGED: Step(_S.SPEAKING, (_D.DROP,)),
            _H.UNCLEAR: Step(_S.HELD, (_D.HOLD, _D.ASK)),
            _H.FINISHED: Step(_S.LISTENING),
            _H.FAILED: _STOPPED,
            _H.CLIENT_CANCELLED: _STOPPED,
        },
        _S.ANNOUNCING: {
            _H.ENDED: Step(_S.ANNOUNCING, (_D.KEEP,)),
            _H.FINISHED: Step(_S.LISTENING),
            _H.FAILED: _STOPPED,
            _H.CLIENT_CANCELLED: _STOPPED,
        },
        _S.HELD: {
            _H.CONFIRMED: _BARGED,
            _H.ENDED: _REPLACED,
            _H.ACKNOWLEDGED: Step(_S.SPEAKING, (_D.RESUME, _D.DROP)),
            _H.UNCLEAR: Step(_S.HELD, (_D.ASK,)),
            _H.DISCARDED: Step(_S.SPEAKING, (_D.RESUME,)),
            _H.HOLD_EXPIRED: Step(_S.SPEAKING, (_D.RESUME,)),
            # Whoever holds the sound must let go of it, though nothing more of it will come.
            _H.FINISHED: Step(_S.LISTENING, (_D.RESUME,)),
            _H.FAILED: _STOPPED,
            _H.CLIENT_CANCELLED: _STOPPED,
        },
        _S.INTERRUPTED: {
            _H.ENDED: Step(_S.THINKING, (_D.START,)),
            _H.DISCARDED: Step(_S.LISTENING),
            _H.BEGAN_LATE: Step(_S.INTERRUPTED, (_D.REFUSE,)),
            _H.BEGAN_FIXED: Step(_S.ANNOUNCING),
        },
    }
)
"""State → what happens → what is done, and the state that follows."""
