"""One session as both sides know it: state, configuration, numbers of its messages and frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from palaver.protocols.asp.config import (
    VERSION,
    AudioConfig,
    NegotiatedConfig,
    VADConfig,
    config_digest,
)
from palaver.protocols.asp.errors import (
    ErrorCode,
    Misuse,
    ProtocolError,
    Rejection,
    malformed,
    protocol_error,
)
from palaver.protocols.asp.events import ConfigSwitched
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    ASPMessage,
    Feature,
    ProtocolErrorMessage,
    SessionAckMessage,
    Side,
)
from palaver.protocols.asp.outgoing import Outgoing
from palaver.protocols.asp.quiet import ToldErrors
from palaver.protocols.asp.states import MUTE, SESSION, UNNUMBERED, SessionState, may_send
from palaver.protocols.asp.text_frames import MAX_TEXT
from palaver.protocols.asp.track import AudioTrack

__all__ = ["Applied", "Configure", "Link", "Session", "apply_as_negotiated"]

_MAX_MESSAGES: Final = 2**52
"""Messages of a session. Nobody gets there; who says so must not make our own numbers illegal."""
_RESUME: Final = Feature.SESSION_RESUME


@dataclass(frozen=True, slots=True)
class Applied:
    """What a side really runs, as its audio pipeline reports it."""

    audio: AudioConfig
    vad: VADConfig

    @property
    def digest(self) -> str:
        """The digest that the two sides compare."""
        return config_digest(self.audio, self.vad)


Configure: TypeAlias = Callable[[str, NegotiatedConfig], Applied]
"""Session id, and what was negotiated → what is run from now on.

It raises ``Rejection`` (3003) where that cannot be run: the peer is told, and there is no session,
or the configuration stays as it was.
"""


def apply_as_negotiated(_session_id: str, config: NegotiatedConfig) -> Applied:
    """Run what was negotiated."""
    return Applied(config.audio, config.vad)


class Link(Protocol):
    """The socket that a session is on, as the session sees it."""

    def put(self, message: str | bytes) -> None:
        """Send it after what was put before."""
        ...

    def release(self, session: Any) -> None:
        """Let the session go."""
        ...


LinkT = TypeVar("LinkT", bound=Link)


class Session(AudioTrack, Generic[LinkT]):
    """State, counters, and the way to the wire; what a side may say is in its own class.

    ``legacy_mode`` is true where the peer speaks the protocol before ASP; ``features`` holds what
    1.1 adds and both know.
    """

    def __init__(self, session_id: str, limits: Limits, stamp: Callable[[float], str]) -> None:
        super().__init__(session_id)
        self.link: LinkT | None = None
        """The socket that the session is on."""
        self._stamp = stamp
        self.limits: Final = limits
        self.state = SessionState.IDLE
        self.legacy_mode = False
        self.peer_version: str | None = None
        self.resumable = False
        """Whether the session outlives its socket."""
        self.features = frozenset()
        self.config = NegotiatedConfig(audio=AudioConfig(), vad=VADConfig())
        self.applied = Applied(self.config.audio, self.config.vad)
        """What our side runs."""
        self.configure: Configure = apply_as_negotiated
        self.outgoing: Final = Outgoing(limits.max_kept_messages, limits.max_kept_bytes)
        self._after_turn: VADConfig | None = None
        self.told: Final = ToldErrors()

    @property
    def received(self) -> int:
        """Numbered messages that came."""
        return self.inbound.received

    @property
    def features(self) -> frozenset[Feature]:
        """What 1.1 adds and both know."""
        return self._features

    @features.setter
    def features(self, features: frozenset[Feature]) -> None:
        """Agree on them."""
        self._features = features
        self.resumable = self.inbound.numbered = _RESUME in features  # asked for each frame

    @property
    def open(self) -> bool:
        """Whether audio may flow."""
        return self.state in (SessionState.ACTIVE, SessionState.UPDATING)

    def has(self, feature: Feature) -> bool:
        """Tell whether both sides know a feature."""
        return feature in self.features

    # --- states -----------------------------------------------------------------------------

    def received_step(self, step: str) -> None:
        """Take a message of the peer.

        Raises:
            Rejection: 4004, it may not come in this state.

        """
        following = SESSION[self.side][self.state].get(step)
        if following is None:
            raise Rejection(
                protocol_error(
                    ErrorCode.SESSION_UPDATE_NOT_ALLOWED,
                    f"{step} is not allowed while the session is {self.state}",
                    state=str(self.state),
                ),
                self.id,
            )
        self.state = following
        self.inbound.usual = False

    def sent_step(self, step: str) -> None:
        """Note a message of ours.

        Raises:
            Misuse: it may not be sent in this state.

        """
        following = SESSION[self.side][self.state].get(step)
        if following is None:
            raise Misuse(f"session {self.id!r} is {self.state}: {step} cannot be sent now")
        self.state = following
        self.inbound.usual = False

    # --- configuration ----------------------------------------------------------------------

    def open_with(self, config: NegotiatedConfig, stream: int) -> None:
        """Run that configuration from the first frame on."""
        self.config = config
        self.inbound.whole_frames = self.peer_version is not None
        self.tune(config.audio, stream)

    def run(self) -> None:
        """Have our side apply the configuration."""
        self.applied = self.configure(self.id, self.config)

    @property
    def digest(self) -> str | None:
        """The digest of what our side runs, where the peer compares it."""
        return self.applied.digest if self.has(Feature.CONFIG_DIGEST) else None

    def switch(self, config: NegotiatedConfig, *, for_turn: bool) -> None:
        """Run other VAD values from the next frame on."""
        if for_turn:
            self._after_turn = self._after_turn or self.config.vad
        else:
            self._after_turn = None
        self.config = config

    @property
    def lasting_vad(self) -> VADConfig:
        """The VAD values that hold when the turn is over."""
        return self._after_turn or self.config.vad

    def end_turn(self) -> ConfigSwitched | None:
        """Go back to what held before the override of a turn, if there was one."""
        if self._after_turn is None:
            return None
        lasting, self._after_turn = self._after_turn, None
        self.config = NegotiatedConfig(audio=self.config.audio, vad=lasting)
        return self.switched("turn_over")

    def switched(self, cause: str) -> ConfigSwitched:
        """Return the event of a switch at the client's next audio message."""
        client = self.side is Side.CLIENT
        return ConfigSwitched(
            self.id,
            self.next_seq if client else self.inbound.expected_seq,
            self.samples_sent if client else self.inbound.samples_received,
            self.config,
            cause,  # type: ignore[arg-type] # one of the three words, by the callers
        )

    # --- audio ------------------------------------------------------------------------------

    def pack_audio(self, payload: bytes, flags: FrameFlags, generation: int) -> bytes:
        """Return the binary message of whole frames, and count it.

        Raises:
            Misuse: it is not 1 to 10 whole frames, or the session takes no audio now.

        """
        if not self.open:
            raise Misuse(f"session {self.id!r} is {self.state}: it takes no audio")
        return super().pack_audio(payload, flags, generation)

    # --- resumption -------------------------------------------------------------------------

    def settle(self, received: int, sending_from: int) -> int:
        """Agree with the peer on what each side has; return how many messages never come.

        Raises:
            Rejection: 1001, the numbers cannot be.

        """
        if sending_from > _MAX_MESSAGES:
            raise malformed(
                f"sending_from: {sending_from} messages cannot have been sent",
                "/sending_from",
                self.id,
            )
        self.acknowledged(received)
        lost = max(0, sending_from - self.received)
        self.inbound.count(lost)
        return lost

    def acknowledged(self, received: int) -> None:
        """Let go of what the peer has.

        Raises:
            Rejection: 1001, it cannot have that many.

        """
        if not self.outgoing.acknowledge(received):
            raise malformed(
                f"received: {received} messages cannot have arrived; "
                f"{self.outgoing.following} were sent",
                "/received",
                self.id,
            )

    def leave(self) -> None:
        """Be on no socket any more."""
        if self.link is not None:
            self.link.release(self)
            self.link = None

    # --- the wire ---------------------------------------------------------------------------

    def send(self, message: ASPMessage, now: float) -> None:
        """Put a message on the wire.

        Raises:
            Misuse: it may not be sent in this state, or without a feature, or is too long.

        """
        kind = message.message_type
        if self.state in MUTE:
            raise Misuse(f"session {self.id!r} is {self.state}: {kind} cannot be sent now")
        if not may_send(self.side, kind, self.features):
            raise Misuse(f"session {self.id!r}: {kind} needs a feature that was not agreed on")
        text = message.to_json(None if self.legacy_mode else self._stamp(now))
        if len(text) > MAX_TEXT:
            raise Misuse(f"session {self.id!r}: {kind} has {len(text)} characters; {MAX_TEXT} may")
        self.sent_step(kind)
        self._put_text(kind, text)

    def put(self, message: ASPMessage, now: float) -> None:
        """Put a message on the wire whose step was made already."""
        text = message.to_json(None if self.legacy_mode else self._stamp(now))
        self._put_text(message.message_type, text)

    def _put_text(self, kind: str, text: str) -> None:
        if kind not in UNNUMBERED:
            self.put_numbered(text)
        elif self.link is not None:
            self.link.put(text)

    def put_numbered(self, message: str | bytes) -> None:
        """Put a message on the wire, and keep it as long as the peer may lack it."""
        if self.resumable:
            self.outgoing.append(message)
        if self.link is not None:
            self.link.put(message)

    def acknowledge(self, now: float) -> None:
        """Say how far the peer's messages have arrived."""
        self.put(SessionAckMessage(session_id=self.id, received=self.received), now)

    def tell(self, error: ProtocolError, now: float) -> None:
        """Say that something of the peer was wrong; a legacy one has no message for it."""
        if not self.legacy_mode:
            self.put(ProtocolErrorMessage(session_id=self.id, error=error), now)


def same_major(version: str) -> bool:
    """Tell whether a peer of that version can be understood."""
    return version.partition(".")[0] == VERSION.partition(".")[0]


def speaks_1_0(version: str) -> bool:
    """Tell whether a peer of that version knows nothing of 1.1."""
    minor = version.split(".")[1:2]
    number = minor[0] if minor else ""
    return not (number.isascii() and number.isdigit() and int(number[:9]) >= 1)
