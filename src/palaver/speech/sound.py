"""The sound of one answer on its way to the caller: paced, held, cut off, and accounted for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from palaver.protocols.asp.call import Call
from palaver.protocols.asp.config import AudioEncoding
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import Feature, PlaybackMarkMessage
from palaver.speech.audio import encode
from palaver.speech.detector import Samples
from palaver.speech.playback import PlaybackLedger

__all__ = ["Sound"]

_MAX_FRAMES: Final = 5
"""Frames of one message: a fifth of the messages, and still only 100 ms of sound at stake."""
_MAX_UNSENT_MS: Final = 10_000
"""Sound that is made ahead: engines are faster than ears, and much of it may be cut off."""
_REPORT_WAIT_MS: Final = 500
_CONGESTED: Final = 0.02
"""Seconds after which a client that did not take its audio is tried again."""
_ALERT_HZ: Final = 440.0
_ALERT_SECONDS: Final = 0.2
_ALERT_LEVEL: Final = 6_000


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence, and the sample at which its sound begins."""

    text: str
    begins: int
    task_id: str | None
    language: str | None


class Sound:
    """Takes sentences and their samples, and sends them as the caller hears them.

    ``on_began`` is called when the first of it is about to go out; it may hold or cut the sound.
    """

    def __init__(self, call: Call, lead_ms: int, on_began: Callable[[], None]) -> None:
        session = call.session
        audio = session.config.audio
        self.rate_hz: Final = audio.sample_rate
        self._call = call
        self._session = session
        self._encoding = AudioEncoding(audio.encoding)
        self._frame_bytes = audio.bytes_per_frame
        self._frame_samples = audio.samples_per_frame
        self._on_began = on_began
        self._marks = session.has(Feature.PLAYBACK_MARKS)
        self._ledger = PlaybackLedger(
            audio.sample_rate,
            audio.frame_duration_ms,
            max(lead_ms, audio.frame_duration_ms),
            _REPORT_WAIT_MS if self._marks else 0,
        )
        self._waiting = bytearray()
        self._made = 0
        self._sent = 0
        self._untold: deque[_Sentence] = deque()
        self._ends: deque[int] = deque()
        self._held: set[str] = set()
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.began = False
        self.response_id: str | None = None
        """Id of the answer on the wire, once some of it was sent: not of one held as it began."""
        self.sealed = False
        self.cut = False

    def now(self) -> float:
        """Return the time of the call (s)."""
        return self._call.now()

    # --- what is made -----------------------------------------------------------------------

    def begin_sentence(self, text: str, task_id: str | None, language: str | None) -> None:
        """Begin a sentence; its samples follow."""
        self._ledger.queue(text + " ")
        self._untold.append(_Sentence(text, self._made, task_id, language))

    def add(self, samples: Samples) -> None:
        """Add sound to the sentence that was begun."""
        if self.cut or not len(samples):
            return
        self._waiting += encode(samples, self._encoding)
        self._made += len(samples)
        self._ledger.extend(len(samples))
        if self._ledger.unsent_ms >= _MAX_UNSENT_MS:
            self._has_room.clear()
        self._changed.set()

    def add_alert(self) -> None:
        """Add a short tone, where words were to be heard."""
        count = int(self.rate_hz * _ALERT_SECONDS)
        wave = np.sin(np.arange(count) * (2 * np.pi * _ALERT_HZ / self.rate_hz)) * _ALERT_LEVEL
        self.add(wave.astype(np.int16))

    def end_sentence(self) -> None:
        """Take that the sentence has all its sound."""
        self._ends.append(self._made)
        self._changed.set()

    def seal(self) -> None:
        """Take that no more will be made."""
        if not self.sealed:
            self.sealed = True
            self._ledger.complete()
            self._changed.set()

    @property
    def runs_dry(self) -> bool:
        """Whether all that was made was sent: the caller will soon hear nothing."""
        return not self._waiting

    async def room(self) -> None:
        """Wait until no more is made ahead than may be."""
        await self._has_room.wait()

    # --- playing ----------------------------------------------------------------------------

    async def play(self) -> None:
        """Send what is due until all was heard, or it was cut off.

        Raises:
            Misuse: the session is over.

        """
        while not self.cut:
            now = self.now()
            self._changed.clear()
            if self._call.congested():
                await self._wait(_CONGESTED)
                continue
            self._send(self._ledger.due(now), now)
            if self._ledger.finished(now):
                break
            due = self._ledger.next_due(now)
            await self._wait(None if due is None else max(0.001, due - now))
        if not self.cut:
            self._tell_rest()

    async def _wait(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _send(self, frames: int, now: float) -> None:
        while frames > 0 and not self.cut:
            if not self._start(now):
                return
            count = min(frames, _MAX_FRAMES)
            size = count * self._frame_bytes
            payload = bytes(self._waiting[:size])
            del self._waiting[:size]
            if len(payload) < size:  # the very last frame
                payload += self._silence(size - len(payload))
            frames -= count
            last = self.sealed and not self._waiting
            flags = FrameFlags.FINAL if last else FrameFlags.NONE
            if not self._session.send_audio(payload, now, flags):
                self.cut = True  # the client has cancelled it just now
                return
            self._ledger.sent(count, now)
            self._sent += count * self._frame_samples
            self._tell(now)
        if self._ledger.unsent_ms < _MAX_UNSENT_MS:
            self._has_room.set()

    def _start(self, now: float) -> bool:
        """Begin the answer on the wire with its first sound; tell whether it may be sent now."""
        self._begin()
        if self.cut or self._held:
            return False
        self._open(now)
        return True

    def _begin(self) -> None:
        if not self.began:
            self.began = True
            self._on_began()

    def _open(self, now: float) -> None:
        if self.response_id is None:
            text = self._untold[0].text if self._untold else ""
            self.response_id = self._session.start_response(now, text).id

    def _silence(self, size: int) -> bytes:
        count = size // self._encoding.sample_bytes
        return encode(np.zeros(count, dtype=np.int16), self._encoding)

    def _tell(self, now: float) -> None:
        """Say in words what begins to be heard, and mark where sentences end."""
        response = self._session.response
        while self._untold and self._untold[0].begins < self._sent:
            self._tell_sentence(self._untold.popleft(), now)
        while self._ends and self._ends[0] <= self._sent:
            self._ends.popleft()
            if response is not None:
                self._session.mark(now)

    def _tell_sentence(self, sentence: _Sentence, now: float) -> None:
        response = self._session.response
        self._session.report_transcript(
            "agent",
            sentence.text,
            now,
            task_id=sentence.task_id,
            response_id=None if response is None else response.id,
            language=sentence.language,
        )

    def _tell_rest(self) -> None:
        """Say what had no sound: the client has at least the words."""
        now = self.now()
        if self._untold and not self.began:
            self._begin()
            if not self.cut:
                self._open(now)
        while self._untold:
            self._tell_sentence(self._untold.popleft(), now)

    # --- interruptions ----------------------------------------------------------------------

    def hold(self, reason: str) -> None:
        """Send nothing until every reason to hold is gone; the client stands still, if it can."""
        paused = self._session.has(Feature.SPEECH_EVENTS)
        self._held.add(reason)
        self._ledger.hold(self.now(), paused=paused)

    def resume(self, reason: str) -> None:
        """Let go of one reason to hold."""
        self._held.discard(reason)
        if not self._held:
            self._ledger.resume(self.now())
            self._changed.set()

    def cut_off(self, played_ms: int | None = None) -> None:
        """Send nothing more; ``played_ms`` is what the client says that was heard."""
        self.cut = True
        if played_ms is None:
            self._ledger.cleared(self.now())
        else:
            self._ledger.report_cleared(played_ms, self.now())
        self._waiting.clear()
        self._changed.set()
        self._has_room.set()

    def marked(self, mark: PlaybackMarkMessage) -> None:
        """Take what the client says of a mark."""
        if mark.played_ms is None:
            return
        if mark.outcome == "played":
            self._ledger.report_played(mark.played_ms, self.now())
        elif mark.outcome == "cleared" and self.cut:
            self._ledger.report_cleared(mark.played_ms, self.now())
        self._changed.set()

    # --- what is known ----------------------------------------------------------------------

    @property
    def played_ms(self) -> int:
        """How much was heard, as far as it is known."""
        return self._ledger.played_ms(self.now())

    @property
    def heard_text(self) -> str:
        """What of the text was heard."""
        return self._ledger.heard_text(self.now())
