"""Saying something in a call at the rate of the clock, and counting what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from palaver.cli.asp_audio import frames_of
from palaver.client.asp import CallEvent, CallSession
from palaver.protocols.asp.events import AudioReceived, MessageReceived
from palaver.protocols.asp.messages import ResponseEndMessage

__all__ = ["talk"]

_QUIET: Final = 2.0
"""Seconds without any news after which the server is taken to have said all."""


async def talk(
    session: CallSession, source: str, patience: float, step: Callable[[str, float], None]
) -> dict[str, Any]:
    """Send a tone or a file and hear the answer; return how many frames went each way.

    The answer is over when the server says so, or says nothing for ``patience`` seconds, two at
    most. ``step`` is told when all was sent, and when waiting was over.
    """
    loop = asyncio.get_running_loop()
    audio = session.config.audio
    frames = frames_of(source, audio)
    ear = _Ear(session)
    listening = asyncio.create_task(ear.listen())
    try:
        began = loop.time()
        for number, frame in enumerate(frames):
            await asyncio.sleep(began + number * audio.frame_duration_ms / 1_000 - loop.time())
            await session.send_audio(frame)
        await session.commit()
        ear.committed_at = ear.heard_at = loop.time()
        step("audio sent", ear.committed_at)
        # An answer may be as long as what was said, and a little more; not endless.
        latest = 2 * loop.time() - began + _QUIET + patience
        while not listening.done():
            left = min(ear.heard_at + min(_QUIET, patience), latest) - loop.time()
            if left <= 0:
                break
            await asyncio.wait({listening}, timeout=left)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    step("waited for the answer", loop.time())
    return {
        "frames_sent": len(frames),
        "frames_received": ear.bytes // audio.bytes_per_frame,
        "first_audio_ms": ear.first_audio_ms,
    }


class _Ear:
    """Counts what comes back."""

    def __init__(self, session: CallSession) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self.bytes = 0
        self.committed_at: float | None = None
        self.heard_at = self._loop.time()
        self.first_audio_ms: float | None = None

    async def listen(self) -> None:
        """Listen to the end of the answer to what was said."""
        async for event in self._session:
            self.heard_at = self._loop.time()
            if isinstance(event, AudioReceived):
                self.bytes += len(event.payload)
                if self.committed_at is not None and self.first_audio_ms is None:
                    waited = self.heard_at - self.committed_at
                    self.first_audio_ms = round(waited * 1_000, 3)
            elif self.committed_at is not None and _ends_answer(event):
                return


def _ends_answer(event: CallEvent) -> bool:
    return isinstance(event, MessageReceived) and isinstance(event.message, ResponseEndMessage)
