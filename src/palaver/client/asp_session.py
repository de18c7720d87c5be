"""One call, as the application has it: what it may say, and what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, Self

from palaver.client.asp_line import CallEvent, Line
from palaver.errors import PeerUnreachable
from palaver.protocols.asp.client_session import ClientSession
from palaver.protocols.asp.config import NegotiatedConfig, VADConfig
from palaver.protocols.asp.errors import Rejection
from palaver.protocols.asp.events import ConfigSwitched, SessionClosed
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    Feature,
    PlaybackMarkMessage,
)
from palaver.protocols.asp.states import SessionState

__all__ = ["CallSession"]

_SLACK: Final = 1.0
"""Seconds for the protocol's own time limit to come first."""


class CallSession:
    """One call. Speak with the methods; hear with ``async for event in session``.

    The events are those of ``palaver.protocols.asp.events`` and ``SessionRestarted``, in order;
    the last one is ``SessionClosed``. As many as 256 wait for whoever reads them; then nothing
    more is read from the socket, which other calls may share. One task should read them.

    Each method raises ``SessionOver`` once the session has ended, and ``Misuse`` for what the
    protocol does not allow. While a lost session is being restarted nothing can be said: what is
    said then goes nowhere, and the methods say so.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def id(self) -> str:
        """The id of the session; a restart gives another one."""
        return self._line.id

    @property
    def config(self) -> NegotiatedConfig:
        """What both sides run now."""
        return self._line.config

    @property
    def legacy_mode(self) -> bool:
        """Whether the server speaks the protocol before ASP."""
        return self._line.core.legacy_mode

    @property
    def features(self) -> frozenset[Feature]:
        """What both sides know of 1.1."""
        return self._line.core.features

    @property
    def closed(self) -> SessionClosed | None:
        """How the session ended, if it has."""
        return self._line.closed

    # --- hearing ----------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallEvent:
        event = await self._line.inbox.take()
        if event is None:
            raise StopAsyncIteration
        return event

    # --- speaking ---------------------------------------------------------------------------

    async def send_audio(self, payload: bytes, flags: FrameFlags = FrameFlags.NONE) -> int | None:
        """Send 1 to 10 whole frames; return the number of the audio message.

        It waits while the server does not take what was sent before. Where the socket was lost,
        the audio is kept for the session's resumption; ``None``: it is thrown away, because the
        session is being restarted.
        """
        core = self._line.session()
        if core is None:
            await asyncio.sleep(0)  # whoever only sends must not keep the restart from happening
            return None
        seq = core.send_audio(payload, self._line.time.now(), flags)
        await self._line.flush()
        return seq

    async def commit(self) -> ConfigSwitched | None:
        """Say that the utterance is complete; return the switch where that ends an override."""
        return await self._say(lambda core: core.commit(self._now))

    async def report_speech(
        self, message: AudioSpeechStartMessage | AudioSpeechEndMessage
    ) -> ConfigSwitched | None:
        """Say what the client's detector found; return the switch where that ends an override."""
        return await self._say(lambda core: core.report_speech(message, self._now))

    async def update(self, vad: VADConfig, *, for_turn: bool = False) -> ConfigSwitched:
        """Ask for other VAD values: only the fields that were given. Return from when they hold.

        Raises:
            PeerRefused: the server does not take them; all stays as it was.
            PeerUnreachable: there is no answer. If it comes later, it is among the events.

        """
        line = self._line
        try:
            with line.inbox.roomier():
                async with asyncio.timeout(line.limits.update_timeout + _SLACK), line.update_turn:
                    core = await self._settled_session()
                    core.update(vad, self._now, for_turn=for_turn)
                    if line.socket is not None:
                        line.socket.expect()
                    with line.update_answer() as answer:
                        return await answer
        except TimeoutError:
            raise PeerUnreachable(
                f"session {line.id!r}: no answer to session.update "
                f"for {line.limits.update_timeout:g} s"
            ) from None

    async def end(self, reason: str = "call_hangup") -> SessionClosed:
        """End the session; return how it was, as the server counts it.

        It waits for the server's answer, for ``end_timeout`` at most. It may be called again.
        """
        line = self._line
        if line.closed is None and not line.ending:
            line.ending = True
            line.hang_up(reason)
        with line.inbox.roomier(), suppress(TimeoutError):
            async with asyncio.timeout(line.limits.end_timeout + _SLACK):
                await line.over.wait()
        return line.finish(SessionClosed(line.id, "session.end_timeout"))

    async def cancel_response(
        self,
        response_id: str,
        played_ms: int,
        reason: Literal["barge_in", "manual"] = "barge_in",
    ) -> bool:
        """Stop an answer of which the caller heard that much; false where nobody can be told."""
        core = self._line.session()
        if core is None or not core.cancel_response(response_id, played_ms, self._now, reason):
            return False
        await self._line.flush()
        return True

    async def report_mark(
        self, mark: PlaybackMarkMessage, outcome: Literal["played", "cleared"], played_ms: int
    ) -> bool:
        """Say what became of a mark; false where nobody can be told."""
        core = self._line.session()
        if core is None:
            return False
        core.report_mark(mark, outcome, played_ms, self._now)
        await self._line.flush()
        return True

    async def press(self, digit: str, duration_ms: int | None = None) -> bool:
        """Say that the caller pressed a key; false where nobody can be told."""
        core = self._line.session()
        if core is None or not core.press(digit, self._now, duration_ms):
            return False
        await self._line.flush()
        return True

    # --- inside -----------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return self._line.time.now()

    async def _settled_session(self) -> ClientSession:
        """Return the session once no other update is open."""
        while True:
            core = self._line.session()
            if core is None:
                raise PeerUnreachable(f"session {self.id!r} is being restarted")
            if core.state is not SessionState.UPDATING:
                return core
            await self._line.moves()

    async def _say(
        self, act: Callable[[ClientSession], ConfigSwitched | None]
    ) -> ConfigSwitched | None:
        """Say what may end a turn."""
        line = self._line
        core = line.session()
        if core is None:
            return None
        try:
            switched = act(core)
        except Rejection as rejection:  # what held before the turn cannot be run any more
            line.hang_up("configure_failed")
            raise line.failure or rejection from None
        if switched is not None:
            line.take(switched)
        await line.flush()
        return switched
