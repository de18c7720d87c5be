"""What happens in a call, as its caller sees it: in the past tense, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from palaver.protocols.asp.config import NegotiatedConfig

__all__ = [
    "ActionAsked",
    "AudioHeard",
    "CallEnded",
    "Committed",
    "ErrorTold",
    "FileSent",
    "Happening",
    "LineChanged",
    "MarkReported",
    "Negotiated",
    "Outcome",
    "PlaybackHeld",
    "PlaybackResumed",
    "ResponseBegun",
    "ResponseEnded",
    "SpeechEnded",
    "SpeechStarted",
    "Transcribed",
]

Outcome: TypeAlias = Literal[
    "answered", "not_understood", "unanswered", "transferred", "failed", "lost"
]


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The call has begun: both sides run ``config``."""

    session_id: str
    config: NegotiatedConfig
    features: tuple[str, ...]
    legacy_mode: bool


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The server has heard speech, at ``start_ms`` of what was sent; or has confirmed it."""

    start_ms: int | None
    confirmed: bool


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The server has heard the end of it, ``decided_after_ms`` after that was sent."""

    start_ms: int | None
    end_ms: int | None
    discarded: bool
    reason: str | None
    decided_after_ms: int | None


@dataclass(frozen=True, slots=True)
class Transcribed:
    """Something was said, in words."""

    role: Literal["user", "agent"]
    text: str
    final: bool
    task_id: str | None = None
    response_id: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseBegun:
    """The server begins to answer."""

    response_id: str | None
    text: str


@dataclass(frozen=True, slots=True)
class AudioHeard:
    """The first audio of an answer has come, so long after the end of what it answers was sent."""

    response_id: str | None
    first_audio_ms: int | None


@dataclass(frozen=True, slots=True)
class PlaybackHeld:
    """Playback is held: somebody may be speaking."""

    confirmed: bool


@dataclass(frozen=True, slots=True)
class PlaybackResumed:
    """Playback goes on."""


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The server has said all, or was interrupted; ``played_ms`` of it were heard so far."""

    response_id: str | None
    interrupted: bool
    reason: str | None
    played_ms: int


@dataclass(frozen=True, slots=True)
class MarkReported:
    """The server was told what became of a mark."""

    mark_id: str
    outcome: Literal["played", "cleared"]
    played_ms: int


@dataclass(frozen=True, slots=True)
class FileSent:
    """All of the file was sent; silence follows."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The server was told that the utterance is complete (``audio.end``)."""


@dataclass(frozen=True, slots=True)
class ActionAsked:
    """The server asks for something to be done with the call, once all before it was heard."""

    action: Literal["transfer", "hangup"]
    target: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ErrorTold:
    """One side found something of the other wrong (``side``: who says so)."""

    side: Literal["client", "server"]
    code: int
    message: str


@dataclass(frozen=True, slots=True)
class LineChanged:
    """The connection was lost, or is there again."""

    lost: bool


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over: how, and why."""

    outcome: Outcome
    reason: str


Happening: TypeAlias = (
    ActionAsked
    | AudioHeard
    | CallEnded
    | Committed
    | ErrorTold
    | FileSent
    | LineChanged
    | MarkReported
    | Negotiated
    | PlaybackHeld
    | PlaybackResumed
    | ResponseBegun
    | ResponseEnded
    | SpeechEnded
    | SpeechStarted
    | Transcribed
)
