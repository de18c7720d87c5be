"""Whose turn it is: what was heard and what is being said go in, what to do about it comes out.

Rules of the machine:

* At most one reply is live: it is prepared (``THINKING``) or said (``SPEAKING``, ``ANNOUNCING``,
  ``HELD``). ``StartTurn`` names the reply that the pipeline is to make; a reply that answers no
  turn, such as a greeting, begins under a name of the pipeline's own.
* Barge-in has two phases. What may be speech only holds the playback; what is speech cancels the
  reply; what was none lets it go on. Each ``HoldPlayback`` is followed by one ``ResumePlayback``
  or one ``CancelReply``, and nothing of a cancelled reply is ever resumed.
* With a backchannel filter, speech over a reply holds it until the utterance is over and was
  judged, or is too long to be an "uh-huh".
* A reply that cannot be interrupted is talked over: the last utterance is kept until it is over.
* Each utterance that was not discarded ends as ``StartTurn`` or as ``DropUtterance``.
* What comes twice, or of a reply that is gone, or was decided before the last end of speech,
  changes nothing: two detectors may report the same speech.

What may follow stands in ``turn_table``. ``now`` is in
seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from palaver.speech.heard import Heard, SpeechConfirmed, SpeechEnded, SpeechStarted
from palaver.speech.turn_table import TABLE, Do, Happening, TurnState

__all__ = [
    "BackchannelFilter",
    "CancelReason",
    "CancelReply",
    "Command",
    "DropReason",
    "DropUtterance",
    "HoldPlayback",
    "Interruption",
    "ResumePlayback",
    "StartTurn",
    "Transcribe",
    "TurnLimits",
    "TurnMachine",
    "TurnState",
]

CancelReason: TypeAlias = Literal[
    "barge_in", "superseded", "busy", "failed", "client_cancelled", "closed"
]
"""Why a reply is not said to its end.

``busy``: another one is live. ``superseded``: the caller said more before any of it was heard.
"""
DropReason: TypeAlias = Literal["backchannel", "superseded", "repeated", "closed"]
"""Why an utterance starts no turn. ``repeated``: it was reported before."""


@dataclass(frozen=True, slots=True)
class HoldPlayback:
    """Pause the reply: somebody may be speaking."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class ResumePlayback:
    """Go on with the reply that was held."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop making the reply, and throw away what of it was not heard."""

    reply_id: str
    reason: CancelReason


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Answer the utterance, by the reply of that id."""

    reply_id: str
    utterance: SpeechEnded


@dataclass(frozen=True, slots=True)
class DropUtterance:
    """Do not answer the utterance."""

    utterance: SpeechEnded
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Say by ``TurnMachine.transcribed`` what the utterance was: the filter needs its words."""

    utterance: SpeechEnded


Command: TypeAlias = (
    HoldPlayback | ResumePlayback | CancelReply | StartTurn | DropUtterance | Transcribe
)


@dataclass(frozen=True, slots=True)
class Interruption:
    """A short utterance over a reply. ``text`` is ``None`` until its words are known."""

    duration_ms: int
    text: str | None = None


BackchannelFilter: TypeAlias = Callable[[Interruption], bool | None]
"""Tells whether it only says that the caller listens; ``None``: that depends on the words.

With the words given, ``None`` counts as no.
"""


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """How long the machine waits; in seconds, but for what is compared with speech."""

    hold_timeout: float = 3.0
    """A held reply goes on if by then it is not known whether the caller speaks."""
    speech_timeout: float = 60.0
    """Speech whose end nobody reports is forgotten."""
    transcribe_timeout: float = 2.0
    """Without words by then, a short utterance is an interruption."""
    max_backchannel_ms: int = 1000
    """Longer speech is never a backchannel."""
    end_delay_ms: int = 700
    """How long after its last sound the end of speech is known: the silence threshold and a bit."""


_REPLYING: Final = frozenset(
    {TurnState.THINKING, TurnState.SPEAKING, TurnState.ANNOUNCING, TurnState.HELD}
)
_OVER: Final = frozenset({Happening.FINISHED, Happening.FAILED, Happening.CLIENT_CANCELLED})
_OF_UTTERANCE: Final = frozenset({Do.START, Do.DROP, Do.KEEP, Do.ASK})
_GONE_REPLIES: Final = 64
"""Ids of replies that are remembered, so that what comes late of them is known as late."""


@dataclass(slots=True)
class _Speech:
    """What the caller is saying."""

    since: float
    confirmed: bool = False


class TurnMachine:
    """The turns of one call. Every input returns what is to be done, in that order.

    ``is_backchannel`` judges short utterances over a reply; without it all speech interrupts.
    Ask ``next_timeout`` after each input.
    """

    def __init__(
        self, limits: TurnLimits | None = None, is_backchannel: BackchannelFilter | None = None
    ) -> None:
        self._limits: Final = limits or TurnLimits()
        self._is_backchannel: Final = is_backchannel
        self._state = TurnState.LISTENING
        self._reply: str | None = None
        self._gone: deque[str] = deque(maxlen=_GONE_REPLIES)
        self._turns = 0
        self._speech: _Speech | None = None
        self._decided_ms: float = -1  # what was decided before the last end of speech is late
        self._ended_ms: float = -1
        self._kept: SpeechEnded | None = None
        self._unclear: SpeechEnded | None = None
        self._hold_until = 0.0
        self._unheard = False  # the reply was held as it began, and still is
        self._closed = False

    @property
    def state(self) -> TurnState:
        """Where the conversation stands."""
        return self._state

    @property
    def reply_id(self) -> str | None:
        """The reply that is live."""
        return self._reply

    @property
    def caller_speaks(self) -> bool:
        """Whether the caller is speaking, for all that is known."""
        return self._speech is not None and self._speech.confirmed

    # --- what was heard ---------------------------------------------------------------------

    def heard(self, event: Heard, now: float) -> list[Command]:
        """Take what a detector reports; an end without a beginning is an utterance as well."""
        if isinstance(event, SpeechEnded):
            return self._speech_ended(event, now)
        if self._closed or event.at_ms < self._decided_ms:
            return []
        if isinstance(event, SpeechStarted):
            return self._speech_started(now)
        return self._speech_confirmed(event, now)

    def transcribed(self, utterance: SpeechEnded, text: str, now: float) -> list[Command]:
        """Take the words of the utterance that ``Transcribe`` asked for."""
        if self._unclear is not utterance or self._is_backchannel is None:
            return []
        verdict = self._is_backchannel(Interruption(utterance.duration_ms, text))
        self._unclear = None
        if not verdict:
            return self._step(Happening.ENDED, now, utterance)
        if self._speech is None:
            return self._step(Happening.ACKNOWLEDGED, now, utterance)
        # Somebody may be speaking again, and that is not decided.
        self._hold_until = now + self._limits.hold_timeout
        return [DropUtterance(utterance, "backchannel")]

    def _speech_started(self, now: float) -> list[Command]:
        if self._speech is not None:
            return []
        self._speech = _Speech(now)
        return self._step(Happening.STARTED, now)

    def _speech_confirmed(self, event: SpeechConfirmed, now: float) -> list[Command]:
        if self._speech is None:
            self._speech = _Speech(now)
        elif self._speech.confirmed:
            return []
        self._speech.confirmed = True
        again = self._unclear is not None
        if (
            self._is_backchannel is None
            or again
            or self._state not in {TurnState.SPEAKING, TurnState.HELD}
        ):
            return self._step(Happening.CONFIRMED, now)
        commands = self._step(Happening.STARTED, now)
        limits = self._limits
        left_ms = limits.max_backchannel_ms + limits.end_delay_ms - (event.at_ms - event.start_ms)
        self._hold_until = now + max(0, left_ms) / 1000
        return commands

    def _speech_ended(self, event: SpeechEnded, now: float) -> list[Command]:
        if self._closed:
            return [] if event.discarded else [DropUtterance(event, "closed")]
        if not event.discarded and (event.start_ms + event.end_ms) / 2 < self._ended_ms:
            return [DropUtterance(event, "repeated")]
        if event.discarded and event.at_ms < self._decided_ms:
            return []
        self._speech = None
        self._decided_ms = max(self._decided_ms, event.at_ms)
        if event.discarded:
            return [] if self._unclear is not None else self._step(Happening.DISCARDED, now)
        self._ended_ms = max(self._ended_ms, event.end_ms)
        return self._step(self._judged(event), now, event)

    def _judged(self, event: SpeechEnded) -> Happening:
        if (
            self._is_backchannel is None
            or self._state not in {TurnState.SPEAKING, TurnState.HELD}
            or self._unclear is not None  # whoever says two things says something
            or event.reason == "committed"
            or event.duration_ms > self._limits.max_backchannel_ms
        ):
            return Happening.ENDED
        verdict = self._is_backchannel(Interruption(event.duration_ms))
        if verdict is None:
            return Happening.UNCLEAR
        return Happening.ACKNOWLEDGED if verdict else Happening.ENDED

    # --- what is said -----------------------------------------------------------------------

    def reply_began(
        self, reply_id: str, now: float, *, interruptible: bool = True
    ) -> list[Command]:
        """Take that the first sound of a reply goes out."""
        if reply_id in self._gone:
            return []
        if self._closed or (self._reply is not None and self._reply != reply_id):
            self._gone.append(reply_id)
            return [CancelReply(reply_id, "closed" if self._closed else "busy")]
        self._reply = reply_id
        if not interruptible:
            happening = Happening.BEGAN_FIXED
        elif self._speech is None:
            happening = Happening.BEGAN
        else:
            confirmed = self._speech.confirmed
            happening = Happening.BEGAN_LATE if confirmed else Happening.BEGAN_HELD
        return self._step(happening, now)

    def reply_finished(self, reply_id: str, now: float) -> list[Command]:
        """Take that nothing more of a reply will be heard; it may have been silent."""
        return self._reply_over(Happening.FINISHED, reply_id, now)

    def reply_failed(self, reply_id: str, now: float) -> list[Command]:
        """Take that a reply cannot be made, or not to its end: it is cancelled."""
        return self._reply_over(Happening.FAILED, reply_id, now)

    def reply_cancelled(self, reply_id: str, now: float) -> list[Command]:
        """Take that the client has thrown a reply away, whether it was to be interrupted or not."""
        return self._reply_over(Happening.CLIENT_CANCELLED, reply_id, now)

    def close(self) -> list[Command]:
        """End the call: what is live is cancelled, what was kept is dropped; nothing follows."""
        if self._closed:
            return []
        self._closed = True
        commands: list[Command] = []
        if self._reply is not None:
            commands.append(CancelReply(self._reply, "closed"))
        commands += [
            DropUtterance(left, "closed")
            for left in (self._unclear, self._kept)
            if left is not None
        ]
        self._forget_reply()
        self._speech = self._unclear = self._kept = None
        self._state = TurnState.LISTENING
        return commands

    def _reply_over(self, happening: Happening, reply_id: str, now: float) -> list[Command]:
        return self._step(happening, now) if reply_id == self._reply else []

    # --- time -------------------------------------------------------------------------------

    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` is to be called; ``None``: not before the next input."""
        times = []
        if self._state is TurnState.HELD:
            times.append(self._hold_until)
        if self._speech is not None:
            times.append(self._speech.since + self._limits.speech_timeout)
        return min(times, default=None)

    def handle_timeout(self, now: float) -> list[Command]:
        """Do what is due; nothing, where it is too early."""
        commands: list[Command] = []
        if self._state is TurnState.HELD and now >= self._hold_until:
            commands += self._hold_expired(now)
        if self._speech is not None and now >= self._speech.since + self._limits.speech_timeout:
            self._speech = None
            if self._unclear is None:
                commands += self._step(Happening.DISCARDED, now)
        return commands

    def _hold_expired(self, now: float) -> list[Command]:
        if self._unclear is not None:
            utterance, self._unclear = self._unclear, None
            return self._step(Happening.ENDED, now, utterance)
        if self.caller_speaks:
            return self._step(Happening.CONFIRMED, now)
        return self._step(Happening.HOLD_EXPIRED, now)

    # --- steps ------------------------------------------------------------------------------

    def _step(
        self, happening: Happening, now: float, utterance: SpeechEnded | None = None
    ) -> list[Command]:
        step = TABLE[self._state].get(happening)
        if step is None:
            return []
        commands: list[Command] = []
        for what in step.does:
            if utterance is not None and what in _OF_UTTERANCE:
                commands += self._do_with_utterance(what, utterance, now)
            elif self._reply is not None:
                commands.append(self._do_with_reply(what, self._reply, happening, now))
        self._state = step.to
        if step.to not in _REPLYING:
            self._forget_reply()
        return commands + self._left_over(happening, now)

    def _do_with_utterance(self, what: Do, utterance: SpeechEnded, now: float) -> list[Command]:
        if what is Do.START:
            self._turns += 1
            self._reply = f"turn-{self._turns}"
            return [StartTurn(self._reply, utterance)]
        if what is Do.KEEP:
            earlier, self._kept = self._kept, utterance
            return [] if earlier is None else [DropUtterance(earlier, "superseded")]
        if what is Do.ASK:
            self._unclear = utterance
            self._hold_until = now + self._limits.transcribe_timeout
            return [Transcribe(utterance)]
        return [DropUtterance(utterance, "backchannel")]

    def _do_with_reply(self, what: Do, reply: str, happening: Happening, now: float) -> Command:
        if what is Do.HOLD:
            self._hold_until = now + self._limits.hold_timeout
            self._unheard = happening is Happening.BEGAN_HELD
            return HoldPlayback(reply)
        if what is Do.RESUME:
            self._unheard = False
            return ResumePlayback(reply)
        reason = self._reason(happening)
        self._forget_reply()
        return CancelReply(reply, reason)

    def _forget_reply(self) -> None:
        if self._reply is not None:
            self._gone.append(self._reply)
            self._reply = None
            self._unheard = False

    def _reason(self, happening: Happening) -> CancelReason:
        if happening is Happening.FAILED:
            return "failed"
        if happening is Happening.CLIENT_CANCELLED:
            return "client_cancelled"
        silent = self._state is TurnState.THINKING or self._unheard
        return "superseded" if silent else "barge_in"

    def _left_over(self, happening: Happening, now: float) -> list[Command]:
        """Decide about utterances that waited for the reply which is over now."""
        waiting = self._kept if self._kept is not None else self._unclear
        if waiting is None or self._state in {TurnState.ANNOUNCING, TurnState.HELD}:
            return []
        self._kept = self._unclear = None
        if happening in _OVER and not self.caller_speaks:
            return self._step(Happening.ENDED, now, waiting)
        return [DropUtterance(waiting, "superseded")]
