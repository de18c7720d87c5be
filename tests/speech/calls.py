"""Calls with a voice of scripted engines, over real sockets: what is said, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from palaver.client.asp import AspClient, CallEvent, CallSession
from palaver.engine.agent import Agent
from palaver.model.task import Task
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.events import AudioReceived, MessageReceived, SessionClosed
from palaver.protocols.asp.messages import (
    ResponseEndMessage,
    ResponseStartMessage,
    SessionMessage,
    TranscriptMessage,
)
from palaver.speech.open import Engines
from palaver.testing.speech import Cue, ScriptedRecogniser, ToneSpeech
from tests.server.asp_host import Host, hosting

M = TypeVar("M", bound=SessionMessage)
TIMEOUT = 15.0
QUICK = VADConfig(silence_threshold_ms=200, min_speech_ms=100, ring_buffer_frames=3)
FRAME = 160
_RATE = 8_000


def speech(duration_ms: int) -> bytes:
    """Return something as loud as speech, and as uneven."""
    time = np.arange(_RATE * duration_ms // 1000) / _RATE
    loudness = 6_000 * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))
    return (np.sin(2 * np.pi * 300 * time) * loudness).astype(np.int16).tobytes()


def silence(duration_ms: int) -> bytes:
    """Return silence, as PCM at 8 kHz."""
    return bytes(2 * _RATE * duration_ms // 1000)


@dataclass(slots=True)
class Caller:
    """The caller's side: says things, and keeps what comes back, in its order."""

    session: CallSession
    heard: list[CallEvent] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Keep all that comes."""
        async for event in self.session:
            self.heard.append(event)
            self._news.set()

    async def say(self, *sounds: bytes) -> None:
        """Say it as fast as the line takes it: what counts is media time."""
        audio = b"".join(sounds)
        size = 2 * FRAME
        for start in range(0, len(audio), size):
            await self.session.send_audio(audio[start : start + size].ljust(size, b"\0"))

    async def utter(self, duration_ms: int = 300) -> None:
        """Say something, and be silent for long enough that it is over."""
        await self.say(silence(100), speech(duration_ms), silence(400))

    async def until(self, test: Callable[[list[CallEvent]], bool]) -> None:
        """Wait until what was heard passes a test."""
        async with asyncio.timeout(TIMEOUT):
            while not test(self.heard):
                self._news.clear()
                await self._news.wait()

    async def answered(self, count: int = 1) -> None:
        """Wait for the end of as many answers."""
        await self.until(lambda _: len(self.messages(ResponseEndMessage)) >= count)

    def messages(self, kind: type[M]) -> list[M]:
        """Return the messages of a kind that have come."""
        found = [one.message for one in self.heard if isinstance(one, MessageReceived)]
        return [one for one in found if isinstance(one, kind)]

    def texts(self, role: str) -> list[str]:
        """Return what was said in words by one side."""
        return [one.text for one in self.messages(TranscriptMessage) if one.role == role]

    @property
    def audio_ms(self) -> int:
        """How much sound has come."""
        size = sum(len(one.payload) for one in self.heard if isinstance(one, AudioReceived))
        return size * 1000 // (2 * _RATE)

    def order(self) -> list[str]:
        """Return what came, in a word each; sound that follows sound is one."""
        words: list[str] = []
        for event in self.heard:
            word = {
                AudioReceived: "audio",
                SessionClosed: "closed",
            }.get(type(event)) or (
                event.message.message_type if isinstance(event, MessageReceived) else ""
            )
            if word and not (word == "audio" and words and words[-1] == "audio"):
                words.append(word)
        return words


@dataclass(slots=True)
class Exchange:
    """A server with a voice, and what its engines were asked."""

    host: Host
    hears: ScriptedRecogniser
    speaks: ToneSpeech

    async def task(self, task_id: str) -> Task:
        """Return a task as the server has it."""
        asking = asyncio.run_coroutine_threadsafe(self.host.app.engine.get(task_id), self.host.loop)
        return await asyncio.wrap_future(asking)


@asynccontextmanager
async def exchange(
    agent: Agent, cues: list[Cue], speaks: ToneSpeech | None = None, **settings: Any
) -> AsyncIterator[Exchange]:
    """Serve an agent with a voice; the recogniser follows the cues."""
    hears = ScriptedRecogniser(cues)
    speaks = speaks or ToneSpeech()
    given = {"voice_detector": "energy"} | settings
    engines = Engines(hears, speaks)
    async with hosting(None, agents=[agent], engines=engines, **given) as host:
        yield Exchange(host, hears, speaks)


@asynccontextmanager
async def calling(
    place: Exchange, *, vad: VADConfig = QUICK, port: int | None = None, **wanted: Any
) -> AsyncIterator[Caller]:
    """Call, and listen."""
    url = f"ws://127.0.0.1:{port or place.host.port}/asp"
    async with AspClient(url) as client:
        session = await client.start_session(vad=vad, **wanted)
        caller = Caller(session)
        listening = asyncio.create_task(caller.listen())
        try:
            yield caller
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


__all__ = [
    "QUICK",
    "Caller",
    "Exchange",
    "ResponseEndMessage",
    "ResponseStartMessage",
    "calling",
    "exchange",
    "silence",
    "speech",
]
