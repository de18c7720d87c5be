"""A server whose agent does what a test says, when so much of the caller's audio was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from palaver.protocols.asp.call import Call, CallListener
from palaver.protocols.asp.config import AudioEncoding
from palaver.protocols.asp.events import AudioReceived, Event, MessageReceived, SessionClosed
from palaver.protocols.asp.messages import (
    AudioEndMessage,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    SessionMessage,
)
from palaver.speech.audio import encode
from palaver.speech.detector import Samples
from tests.server.asp_host import Host, hosting

Act: TypeAlias = Callable[[Call], None]
Steps: TypeAlias = Sequence[tuple[int, Act]]
"""Media time (ms) of what was heard → what is done then."""


@dataclass(slots=True)
class Script:
    """The steps of each call, and what the callers said."""

    steps: Steps = ()
    on_commit: Act | None = None
    messages: list[SessionMessage] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    closed: list[SessionClosed] = field(default_factory=list)

    def __call__(self, call: Call) -> CallListener:
        """Answer one more call."""
        return _Scripted(call, self)


class _Scripted:
    def __init__(self, call: Call, script: Script) -> None:
        self._call = call
        self._script = script
        self._left = list(script.steps)
        audio = call.session.config.audio
        self._bytes_ms = audio.bytes_per_frame // audio.frame_duration_ms
        self._heard_ms = 0

    def heard(self, event: Event) -> None:
        """Do what is due."""
        script = self._script
        if isinstance(event, AudioReceived):
            script.heard += event.payload
            self._heard_ms += len(event.payload) // self._bytes_ms
            while self._left and self._heard_ms >= self._left[0][0]:
                self._left.pop(0)[1](self._call)
        elif isinstance(event, MessageReceived):
            script.messages.append(event.message)
            if isinstance(event.message, AudioEndMessage) and script.on_commit is not None:
                script.on_commit(self._call)

    def closed(self, event: SessionClosed) -> None:
        """Keep how it ended."""
        self._script.closed.append(event)


def tone(rate_hz: int, ms: int, hertz: float = 440.0) -> Samples:
    """Return a tone."""
    time = np.arange(rate_hz * ms // 1_000) / rate_hz
    return (8_000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def each(*acts: Act) -> Act:
    """Do one after the other."""

    def act(call: Call) -> None:
        for one in acts:
            one(call)

    return act


def begin(text: str = "") -> Act:
    """Begin an answer."""
    return lambda call: _discard(call.session.start_response(call.now(), text))


def say(ms: int) -> Act:
    """Send a tone, all of it at once."""

    def act(call: Call) -> None:
        audio = call.session.config.audio
        payload = encode(tone(audio.sample_rate, ms), AudioEncoding(audio.encoding))
        for start in range(0, len(payload), audio.bytes_per_frame):
            call.session.send_audio(payload[start : start + audio.bytes_per_frame], call.now())

    return act


def say_slowly(ms: int, pause: float) -> Act:
    """Send a tone, frame by frame with ``pause`` (s) between two, then end the answer."""

    def act(call: Call) -> None:
        audio = call.session.config.audio
        payload = encode(tone(audio.sample_rate, ms), AudioEncoding(audio.encoding))
        frames = [
            payload[start : start + audio.bytes_per_frame]
            for start in range(0, len(payload), audio.bytes_per_frame)
        ]
        loop = asyncio.get_running_loop()
        for number, frame in enumerate(frames):
            loop.call_later(number * pause, call.session.send_audio, frame, 0.0)
        loop.call_later(len(frames) * pause, lambda: end()(call))

    return act


def end(*, interrupted: bool = False, reason: str | None = None) -> Act:
    """End the answer."""
    return lambda call: _discard(
        call.session.end_response(call.now(), interrupted=interrupted, reason=reason)
    )


def mark(call: Call) -> None:
    """Set a mark."""
    call.session.mark(call.now())


def speech(start_ms: int, *, confirmed: bool) -> Act:
    """Report speech."""
    return lambda call: _discard(
        call.session.report_speech(
            AudioSpeechStartMessage(
                session_id=call.session.id, start_ms=start_ms, confirmed=confirmed
            ),
            call.now(),
        )
    )


def silence(start_ms: int, end_ms: int, *, discarded: bool = False) -> Act:
    """Report its end."""
    return lambda call: _discard(
        call.session.report_speech(
            AudioSpeechEndMessage(
                session_id=call.session.id,
                start_ms=start_ms,
                end_ms=end_ms,
                duration_ms=end_ms - start_ms,
                discarded=discarded or None,
                reason="too_short" if discarded else "silence",
            ),
            call.now(),
        )
    )


def _discard(_: object) -> None:
    """Have no result."""


@contextmanager
def serving(script: Any, **settings: Any) -> Iterator[Host]:
    """Serve a script while this thread runs commands."""
    with asyncio.Runner() as runner:
        server = hosting(script, **settings)
        host = runner.run(server.__aenter__())
        try:
            yield host
        finally:
            runner.run(server.__aexit__(None, None, None))
