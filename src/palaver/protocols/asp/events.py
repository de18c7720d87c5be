"""What has happened on an ASP socket, in the past tense. A shell hands these to its application.

What an event carries has been checked. ``session_id`` says which session it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from palaver.protocols.asp.config import (
    NegotiatedConfig,
    ProtocolCapabilities,
    SessionStatistics,
    VADConfig,
)
from palaver.protocols.asp.errors import ProtocolError
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import SessionMessage

__all__ = [
    "AudioMissing",
    "AudioReceived",
    "CapabilitiesReceived",
    "Close",
    "ConfigMismatched",
    "ConfigSwitched",
    "ErrorReceived",
    "ErrorSent",
    "Event",
    "HandshakeFailed",
    "LegacyDetected",
    "LegacySuspected",
    "MessageReceived",
    "MessagesLost",
    "Output",
    "PeerGoingAway",
    "RequestTimedOut",
    "SessionClosed",
    "SessionDetached",
    "SessionOpened",
    "SessionRejected",
    "SessionResumed",
    "UpdateRejected",
]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket with this code, after everything before it was sent."""

    code: int
    reason: str


Output: TypeAlias = str | bytes | Close
"""A text message, a binary one, or the end of the socket."""


class AudioReceived(NamedTuple):  # made fifty times a second for each call: cheaply
    """Audio of the session.

    ``payload`` is whole frames in the session's encoding. ``seq`` is the number of the audio
    message, ``samples`` the media time of its first sample; both count from 0, in every framing.
    """

    session_id: str
    payload: bytes
    seq: int
    samples: int
    flags: FrameFlags
    generation: int


@dataclass(frozen=True, slots=True)
class AudioMissing:
    """``count`` audio messages before ``seq`` never came: the peer skipped their numbers."""

    session_id: str
    seq: int
    count: int


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message that changes no state of the protocol: speech, response, mark, digit, action."""

    session_id: str
    message: SessionMessage


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """Both sides run ``config`` from now on.

    ``handshake_seconds`` is the time since the socket was opened, for its first session.
    """

    session_id: str
    config: NegotiatedConfig
    legacy_mode: bool
    handshake_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SessionRejected:
    """There is no such session: the server does not take what the client asks for."""

    session_id: str
    errors: tuple[ProtocolError, ...]


@dataclass(frozen=True, slots=True)
class ConfigSwitched:
    """``vad`` holds from the client's audio message ``seq`` on, whose first sample is ``samples``.

    ``cause`` is a request for the session, one for the turn, or the end of that turn.
    """

    session_id: str
    seq: int
    samples: int
    config: NegotiatedConfig
    cause: Literal["update", "turn", "turn_over"]

    @property
    def vad(self) -> VADConfig:
        """What is run now."""
        return self.config.vad


@dataclass(frozen=True, slots=True)
class UpdateRejected:
    """The configuration stays as it is."""

    session_id: str
    errors: tuple[ProtocolError, ...]


@dataclass(frozen=True, slots=True)
class ConfigMismatched:
    """The two sides run different configurations; the session ends."""

    session_id: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class SessionDetached:
    """The socket is lost; the session waits to be resumed."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The session goes on, on a new socket; ``replayed`` messages were sent again."""

    session_id: str
    replayed: int


@dataclass(frozen=True, slots=True)
class MessagesLost:
    """The peer no longer had ``count`` messages that never arrived here."""

    session_id: str
    count: int


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session is over. The server's own count stands in ``statistics``."""

    session_id: str
    reason: str
    duration_seconds: float = 0.0
    statistics: SessionStatistics | None = None


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """The peer says that something of ours was wrong."""

    session_id: str | None
    error: ProtocolError


@dataclass(frozen=True, slots=True)
class ErrorSent:
    """Something of the peer was wrong, and it was told.

    ``quiet`` of them before it have no event: bad audio that was not answered each time, or a
    flood of bad messages that was.
    """

    session_id: str | None
    error: ProtocolError
    quiet: int = 0


@dataclass(frozen=True, slots=True)
class CapabilitiesReceived:
    """What the server takes."""

    capabilities: ProtocolCapabilities
    server_id: str | None


@dataclass(frozen=True, slots=True)
class LegacyDetected:
    """The server speaks the legacy protocol: no capabilities came (``cause``)."""

    cause: Literal["timeout", "first_message", "remembered"]


@dataclass(frozen=True, slots=True)
class LegacySuspected:
    """The client has said nothing for 5 seconds: it may be a legacy one that waits for a call."""


@dataclass(frozen=True, slots=True)
class HandshakeFailed:
    """The socket closes without a session."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class RequestTimedOut:
    """The server did not answer ``message_type`` in time."""

    session_id: str
    message_type: str


@dataclass(frozen=True, slots=True)
class PeerGoingAway:
    """The server closes the socket in ``grace_ms``."""

    reason: str
    grace_ms: int


Event: TypeAlias = (
    AudioMissing
    | AudioReceived
    | CapabilitiesReceived
    | ConfigMismatched
    | ConfigSwitched
    | ErrorReceived
    | ErrorSent
    | HandshakeFailed
    | LegacyDetected
    | LegacySuspected
    | MessageReceived
    | MessagesLost
    | PeerGoingAway
    | RequestTimedOut
    | SessionClosed
    | SessionDetached
    | SessionOpened
    | SessionRejected
    | SessionResumed
    | UpdateRejected
)
