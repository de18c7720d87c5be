"""The echo test: a caller says something, and hears it again. For lines, not for agents."""

from __future__ import annotations

from typing import Final

from palaver.protocols.asp.call import Call
from palaver.protocols.asp.config import FRAMES_PER_MESSAGE
from palaver.protocols.asp.events import AudioReceived, Event, MessageReceived, SessionClosed
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import AudioEndMessage, AudioSpeechEndMessage

__all__ = ["EchoTest"]

_MAX_SECONDS: Final = 30


class EchoTest:
    """Says again what was heard since the last time, at ``audio.end`` or ``audio.speech_end``.

    Of more than 30 seconds it keeps the last ones.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._heard = bytearray()
        audio = call.session.config.audio
        self._frame = audio.bytes_per_frame
        self._most = _MAX_SECONDS * audio.sample_rate * audio.sample_bytes

    def heard(self, event: Event) -> None:
        """Keep audio; give it back at the end of an utterance."""
        if isinstance(event, AudioReceived):
            self._heard += event.payload
            del self._heard[: max(0, len(self._heard) - self._most)]
        elif isinstance(event, MessageReceived) and _ends_utterance(event):
            self._say()

    def closed(self, event: SessionClosed) -> None:
        """Forget what was heard."""
        del event
        self._heard.clear()

    def _say(self) -> None:
        session, now = self._call.session, self._call.now()
        session.start_response(now, "echo test")
        size = self._frame * FRAMES_PER_MESSAGE
        whole = bytes(self._heard[: len(self._heard) // self._frame * self._frame])
        self._heard.clear()
        for start in range(0, len(whole), size):
            last = start + size >= len(whole)
            flags = FrameFlags.FINAL if last else FrameFlags.NONE
            session.send_audio(whole[start : start + size], now, flags)
        session.end_response(now)


def _ends_utterance(event: MessageReceived) -> bool:
    message = event.message
    if isinstance(message, AudioSpeechEndMessage):
        return not message.discarded
    return isinstance(message, AudioEndMessage)
