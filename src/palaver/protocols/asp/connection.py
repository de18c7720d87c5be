"""What both ends of a socket share: reading, refusing, and what is to be sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from palaver.protocols.asp.errors import ErrorCode, ProtocolError, Rejection, protocol_error
from palaver.protocols.asp.events import AudioReceived, Close, ErrorSent, Event, Output
from palaver.protocols.asp.frames import AudioFrame, FrameKey, unpack
from palaver.protocols.asp.inbound import Inbound
from palaver.protocols.asp.messages import (
    ASPMessage,
    ProtocolErrorMessage,
    SessionMessage,
    Side,
    parse_message,
)
from palaver.protocols.asp.session import Session
from palaver.protocols.asp.states import AUDIO, UNNUMBERED, LinkState, SessionState
from palaver.protocols.asp.text_frames import read_object, session_id_of

__all__ = ["Connection"]

_ERRORS: Final = frozenset({"protocol.error", "error"})
"""Messages that are never answered, whatever is wrong with them."""
_MAX_REPORTED: Final = 20
"""Errors of a second that are reported one by one; more are counted."""

_ACTIVE: Final = SessionState.ACTIVE
_CLOSED: Final = LinkState.CLOSED

SessionT = TypeVar("SessionT", bound=Session[Any])


class Connection(ABC, Generic[SessionT]):
    """One socket, without the socket.

    Give it what arrives (``receive_text``, ``receive_bytes``) and the time (``handle_timeout``,
    due at ``next_timeout``); hand the events that come back to the application, then send what
    ``take_output`` returns, in that order. ``now`` is in seconds and never runs backwards.
    ``on_output`` is called when there is something to take.

    Nothing that a peer sends raises: it is answered with its error.
    """

    side: Side

    def __init__(self, stamp: Callable[[float], str], on_output: Callable[[], None]) -> None:
        self.state = LinkState.CONNECTED
        self.sessions: dict[str, SessionT] = {}
        self.closing: Close | None = None
        self.congested = False
        """Whether the peer has not taken yet what it was sent; the shell says so."""
        self._peer = Side.CLIENT if self.side is Side.SERVER else Side.SERVER
        self._stamp = stamp
        self._on_output = on_output
        self._keys: dict[FrameKey, SessionT] = {}
        self._heads: dict[int | None, Inbound] = {}
        self._only: Inbound | None = None  # where there is one: no look-up for each frame
        self._output: list[Output] = []
        self._flood_until = 0.0
        self._reported = 0
        self._unreported = 0
        self._quiet_until = 0.0
        self._quiet = 0

    # --- in ---------------------------------------------------------------------------------

    def receive_text(self, text: str, now: float) -> list[Event]:
        """Take a text message."""
        if self.closing is not None or self.state is LinkState.CLOSED:
            return []
        try:
            found = read_object(text)
            taken = self._receive_special(found, text, now)
        except Rejection as rejection:
            return self._refuse(rejection, now)
        if taken is not None:
            return taken
        self._count(found, now)
        return self._receive_message(found["type"], text, now)

    def receive_next(self, data: bytes, now: float) -> AudioReceived | None:
        """Take a binary message if it is what nearly each is: the next audio of its session.

        ``None``: it may be something else, and nothing was done; ``receive_bytes`` takes it.
        """
        inbound = self._only or self._heads.get(int.from_bytes(data[:4], "little"))
        return None if inbound is None else inbound.take_next(data, now)

    def receive_bytes(self, data: bytes, now: float) -> list[Event]:
        """Take a binary message: audio."""
        if self.closing is not None or self.state is _CLOSED:
            return []
        audio = self.receive_next(data, now)
        if audio is not None:
            return [audio]
        try:
            frame = unpack(data, self._peer, numbered=None in self._keys)
        except Rejection as rejection:
            return self._refuse_audio(rejection, None, now)
        session = self._keys.get(frame.key)
        if session is None:
            return self._stray_audio(frame, now)
        if session.resumable and session.inbound.count():
            session.acknowledge(now)
        try:
            if session.state is not _ACTIVE:  # where it may come, and changes nothing
                session.received_step(AUDIO)
            return self._receive_audio(session, frame, now)
        except Rejection as rejection:
            return self._refuse_audio(rejection, session, now)

    @abstractmethod
    def closed(self, now: float) -> list[Event]:
        """Take note that the socket is gone."""

    @abstractmethod
    def next_timeout(self) -> float | None:
        """Return when ``handle_timeout`` is due, if nothing comes before."""

    @abstractmethod
    def handle_timeout(self, now: float) -> list[Event]:
        """Do what is due."""

    # --- out --------------------------------------------------------------------------------

    def take_output(self) -> list[Output]:
        """Return what is to be sent, in order, and forget it. Nothing follows a ``Close``."""
        output, self._output = self._output, []
        return output

    def put(self, message: Output) -> None:
        """Send this after what was put before; nothing after a ``Close``."""
        if self.closing is not None or self.state is LinkState.CLOSED:
            return
        if isinstance(message, Close):
            self.closing = message
            self._heads.clear()
            self._only = None
        self._output.append(message)
        if len(self._output) == 1:
            self._on_output()

    def release(self, session: SessionT) -> None:
        """Let a session go that has ended, or that is on another socket now."""
        if self.sessions.get(session.id) is session:
            del self.sessions[session.id]
            if self._keys.get(session.key) is session:
                del self._keys[session.key]
                self._heads.pop(session.inbound.head, None)
                self._look_for_only()

    # --- shared -----------------------------------------------------------------------------

    @abstractmethod
    def _receive_special(self, found: dict[str, Any], text: str, now: float) -> list[Event] | None:
        """Take what is not a message of ASP, or not now; ``None``: it is one.

        Raises:
            Rejection: it cannot be taken.

        """

    @abstractmethod
    def _dispatch(self, message: ASPMessage, now: float) -> list[Event]:
        """Take a message that this side may receive.

        Raises:
            Rejection: it cannot be taken.

        """

    @abstractmethod
    def _receive_audio(self, session: SessionT, frame: AudioFrame, now: float) -> list[Event]:
        """Take the audio of a session on this socket."""

    @abstractmethod
    def _stray_audio(self, frame: AudioFrame, now: float) -> list[Event]:
        """Take audio of no session on this socket."""

    def _refuse(self, rejection: Rejection, now: float, kind: str = "") -> list[Event]:
        """Answer what cannot be taken with its error, unless it is one: that would never end."""
        error, session_id = rejection.error, rejection.session_id
        if kind in _ERRORS:
            return self._report(session_id, error, now)
        session = self.sessions.get(session_id or "")
        if session is not None:
            session.tell(error, now)
        else:
            self._complain(session_id, error, now)
        return self._report(session_id, error, now)

    def _report(self, session_id: str | None, error: ProtocolError, now: float) -> list[Event]:
        """Return the event of an error that was answered; in a flood of them, not of each."""
        if now >= self._flood_until:
            quiet, self._unreported = self._unreported, 0
            self._flood_until, self._reported = now + 1.0, 1
            return [ErrorSent(session_id, error, quiet)]
        self._reported += 1
        if self._reported <= _MAX_REPORTED:
            return [ErrorSent(session_id, error)]
        self._unreported += 1
        return []

    def _complain(self, session_id: str | None, error: ProtocolError, now: float) -> None:
        """Send an error that belongs to no session of this socket."""
        self._send(ProtocolErrorMessage(session_id=session_id, error=error), now)

    def attach(self, session: SessionT) -> None:
        """Have what comes for the session find it."""
        self.sessions[session.id] = session
        self._keys[session.key] = session
        self._heads[session.inbound.head] = session.inbound
        self._look_for_only()

    def _look_for_only(self) -> None:
        self._only = next(iter(self._heads.values())) if len(self._heads) == 1 else None

    def _send(self, message: ASPMessage, now: float) -> None:
        self.put(message.to_json(self._stamp(now)))

    def _count(self, found: dict[str, Any], now: float) -> None:
        """Count a message of a session before it is looked at: its sender has counted it."""
        session = self.sessions.get(session_id_of(found) or "")
        numbered = session is not None and session.resumable and found["type"] not in UNNUMBERED
        if session is not None and numbered and session.inbound.count():
            session.acknowledge(now)

    def _receive_message(self, kind: str, text: str, now: float) -> list[Event]:
        try:
            message = parse_message(text)
            self._check_sender(message)
            return self._dispatch(message, now)
        except Rejection as rejection:
            return self._refuse(rejection, now, kind)

    def _check_sender(self, message: ASPMessage) -> None:
        """See that the peer may send it: its side, and the features of the session.

        Raises:
            Rejection: 1003.

        """
        kind = message.message_type
        session_id = message.session_id if isinstance(message, SessionMessage) else None
        if self._peer not in message.sender:
            raise Rejection(
                protocol_error(
                    ErrorCode.INVALID_MESSAGE_TYPE,
                    f"type: {kind} is not sent by a {self._peer}",
                    pointer="/type",
                ),
                session_id,
            )
        session = self.sessions.get(session_id or "")
        if message.feature is None or session is None or message.feature in session.features:
            return
        raise Rejection(
            protocol_error(
                ErrorCode.INVALID_MESSAGE_TYPE,
                f"type: {kind} needs the feature {message.feature}, which was not agreed on",
                pointer="/type",
                feature=str(message.feature),
            ),
            session_id,
        )

    def _refuse_audio(
        self, rejection: Rejection, session: SessionT | None, now: float
    ) -> list[Event]:
        """Answer bad audio, but not each time: a flood of it must not become one of errors."""
        error = rejection.error
        if session is not None:
            quiet = session.told.quiet_before(error, now)
            if quiet is None:
                return []
            session.tell(error, now)
            return [ErrorSent(session.id, error, quiet)]
        if now < self._quiet_until:
            self._quiet += 1
            return []
        quiet, self._quiet, self._quiet_until = self._quiet, 0, now + 1.0
        self._complain(None, error, now)
        return [ErrorSent(None, error, quiet)]
