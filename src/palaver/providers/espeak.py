"""Speech from espeak-ng, offline, in a process of its own."""

from __future__ import annotations

import asyncio
import ctypes.util
import importlib.metadata
import importlib.util
import itertools
import re
import shutil
import unicodedata
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from palaver.errors import ProviderError
from palaver.providers.espeak_process import EspeakProcess
from palaver.providers.espeak_worker import SAMPLE_RATE_HZ

__all__ = ["MAX_TEXT", "EspeakSpeech", "EspeakVoice", "installed"]

_log = structlog.get_logger("palaver.espeak")

MAX_TEXT: Final = 5_000
"""Characters of one text: about five minutes of speech."""
_VOICE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_+.-]{0,63}")
_ENGLISH: Final = "en-us"
_PREFERRED: Final = {"en": _ENGLISH, "no": "nb", "zh": "cmn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EspeakVoice:
    """How to speak.

    ``rate_wpm`` is 80 to 450 words a minute, ``pitch`` 0 to 99. ``variant`` is one of espeak-ng's
    own, such as ``f3``. ``names`` are its voices by language, where its choice will not do.

    Raises:
        ValueError: a value is out of its range.

    """

    rate_wpm: int = 165
    pitch: int = 50
    variant: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 80 <= self.rate_wpm <= 450:
            message = f"rate_wpm must be 80 to 450 words a minute, not {self.rate_wpm}"
            raise ValueError(message)
        if not 0 <= self.pitch <= 99:
            message = f"pitch must be 0 to 99, not {self.pitch}"
            raise ValueError(message)
        for name in (*self.names.values(), *filter(None, [self.variant])):
            if _VOICE_NAME.fullmatch(name) is None or ".." in name:
                message = f"voice {name!r} is no name of a voice of espeak-ng, such as 'pt-br'"
                raise ValueError(message)


class _Order:
    """One text to be spoken, and what was made of it so far."""

    __slots__ = ("chunks", "end", "given_up", "heard", "text", "wanted")

    def __init__(self, text: str, wanted: EspeakVoice) -> None:
        self.text = text
        self.wanted = wanted
        # Bounded by the length of the text, so that a slow listener never holds up the others.
        self.chunks: asyncio.Queue[bytes | ProviderError | None] = asyncio.Queue()
        self.given_up = asyncio.Event()
        self.heard = False
        self.end: ProviderError | None = ProviderError("espeak-ng was closed")

    def finish(self, task: asyncio.Task[None]) -> None:
        """Tell the listener how it ended, however that was: also before it began."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.end = ProviderError("espeak-ng failed")
            _log.error("speech_broke", error=type(error).__name__, exc_info=error)
        self.chunks.put_nowait(self.end)


class _Desk:
    """The one process, and the queue in front of it. Whoever came first is served first."""

    def __init__(self, timeout: float, stall_timeout: float, max_waiting: int) -> None:
        self.timeout = timeout
        self.stall_timeout = stall_timeout
        self.max_waiting = max_waiting
        self.process: EspeakProcess | None = None
        self.turn = asyncio.Lock()
        self.tasks: set[asyncio.Task[None]] = set()
        self.numbers = itertools.count()
        self.unknown: set[str] = set()


def installed() -> bool:
    """Whether there is an espeak-ng to speak with, as far as can be told without loading it."""
    return (
        importlib.util.find_spec("espeakng_loader") is not None
        or shutil.which("espeak-ng") is not None
        or ctypes.util.find_library("espeak-ng") is not None
    )


class EspeakSpeech:
    """Text to speech by espeak-ng; mono int16 at 22,050 Hz.

    The process starts with ``open`` or the first text, and anew after it died. Requests are
    served one after the other, in order; each takes milliseconds, whatever its listener does.

    Args:
        voice: How to speak.
        timeout: Seconds until a text is spoken, from when it was asked.
        stall_timeout: Seconds of silence after which the process counts as hung, and is ended.
        max_waiting: Texts that may wait; more are refused.

    """

    def __init__(
        self,
        voice: EspeakVoice | None = None,
        *,
        timeout: float = 15.0,
        stall_timeout: float = 5.0,
        max_waiting: int = 256,
    ) -> None:
        self.voice: Final = voice or EspeakVoice()
        self._desk = _Desk(timeout, stall_timeout, max_waiting)

    def with_voice(self, voice: EspeakVoice) -> EspeakSpeech:
        """Return the same engine with another voice: they share the process and its queue."""
        other = EspeakSpeech(voice)
        other._desk = self._desk
        return other

    def unlike_voices(self) -> tuple[EspeakSpeech, ...]:
        """Return this engine with five voices as unlike as it has, to learn words from."""
        variants = (None, "f1", "f3", "m3", "m6")
        names = self.voice.names
        return tuple(self.with_voice(EspeakVoice(variant=item, names=names)) for item in variants)

    @property
    def sample_rate_hz(self) -> int:
        """22,050."""
        return SAMPLE_RATE_HZ

    @property
    def fingerprint(self) -> str:
        """What its sound depends on: equal for two that speak alike, also in other processes."""
        try:
            engine = importlib.metadata.version("espeakng-loader")
        except importlib.metadata.PackageNotFoundError:
            engine = "system"
        names = ",".join(f"{tag}={name}" for tag, name in sorted(self.voice.names.items()))
        settings = f"{self.voice.rate_wpm} {self.voice.pitch} {self.voice.variant} {names}"
        return f"espeak-ng {engine} {settings}"

    async def open(self) -> None:
        """Start the process.

        Raises:
            ProviderError: espeak-ng is not installed, or does not start.

        """
        async with self._desk.turn:
            await _running(self._desk)

    async def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the speech of ``text``, whole samples, as it is made.

        Markup in it is spoken as it stands. ``language`` is a BCP 47 tag; one that espeak-ng does
        not know is spoken as English, which is logged once.

        Raises:
            ProviderError: the text is over 5,000 characters, too many wait, or espeak-ng failed,
                hung, is not installed or was closed.

        """
        if len(text) > MAX_TEXT:
            message = f"a text of {len(text)} characters is too long: at most {MAX_TEXT}"
            raise ProviderError(message)
        sayable = _sayable(text)
        if not sayable:
            return
        desk = self._desk
        if len(desk.tasks) >= desk.max_waiting:
            message = f"espeak-ng is busy: {desk.max_waiting} texts wait to be spoken"
            raise ProviderError(message)
        order = _Order(sayable, self.voice)
        task = asyncio.create_task(_serve(desk, order, language or "en"))
        desk.tasks.add(task)
        task.add_done_callback(desk.tasks.discard)
        task.add_done_callback(order.finish)
        try:
            while (chunk := await order.chunks.get()) is not None:
                if isinstance(chunk, ProviderError):
                    raise chunk
                yield chunk
        finally:
            order.given_up.set()

    async def close(self) -> None:
        """End the process, and what it was asked; a text after that starts it anew."""
        desk = self._desk
        tasks = list(desk.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process, desk.process = desk.process, None
        if process is not None:
            await process.end()


async def _serve(desk: _Desk, order: _Order, language: str) -> None:
    """Have ``order`` spoken, once more where the process died before it was heard."""
    try:
        async with asyncio.timeout(desk.timeout), desk.turn:
            order.end = await _attempt(desk, order, language)
            if order.end is not None and not order.heard and desk.process is None:
                order.end = await _attempt(desk, order, language)
    except TimeoutError:
        order.end = ProviderError(f"espeak-ng did not speak in {desk.timeout:g} s")
    except ProviderError as error:
        order.end = error


async def _attempt(desk: _Desk, order: _Order, language: str) -> ProviderError | None:
    """Have ``order`` spoken; return what went wrong."""
    if order.given_up.is_set():
        return None
    process = await _running(desk)
    sound = True
    try:
        wanted = order.wanted
        number = next(desk.numbers)
        header = {
            "kind": "speak",
            "id": number,
            "voice": _voice_name(desk, process.voices, wanted, language),
            "rate": wanted.rate_wpm,
            "pitch": wanted.pitch,
        }
        cancelled = False
        async for chunk in process.ask(number, header, order.text.encode(), desk.stall_timeout):
            if order.given_up.is_set():
                if not cancelled:
                    process.cancel(number)
                    cancelled = True
                continue
            order.heard = True
            order.chunks.put_nowait(chunk)
    except ProviderError as error:
        sound = process.alive
        return error
    except BaseException:
        sound = False  # cut in the middle of an answer: the rest would be taken for the next one's
        raise
    else:
        return None
    finally:
        if not sound:
            desk.process = None
            await process.end()


async def _running(desk: _Desk) -> EspeakProcess:
    """Return the process, started where it does not run.

    Raises:
        ProviderError: it does not start.

    """
    if desk.process is not None and not desk.process.alive:
        process, desk.process = desk.process, None
        await process.end()
    if desk.process is None:
        desk.process = await EspeakProcess.start(desk.timeout)
    return desk.process


def _voice_name(desk: _Desk, voices: Mapping[str, str], wanted: EspeakVoice, language: str) -> str:
    given = wanted.names.get(language)
    name = voices.get(given, given) if given else _match(voices, language.lower())
    if name is None:
        if language not in desk.unknown and len(desk.unknown) < 100:
            desk.unknown.add(language)
            _log.warning("language_unknown", language=language[:40], spoken_as=_ENGLISH)
        name = voices.get(_ENGLISH, "en")
    return name if wanted.variant is None else f"{name}+{wanted.variant}"


def _match(voices: Mapping[str, str], tag: str) -> str | None:
    """Return the voice for ``tag``, else for the nearest wider one, else for a sister of it."""
    while tag:
        name = voices.get(_PREFERRED.get(tag, tag))
        if name is not None:
            return name
        sisters = sorted(known for known in voices if known.startswith(f"{tag}-"))
        if sisters:
            return voices[sisters[0]]
        tag = tag.rpartition("-")[0]
    return None


def _sayable(text: str) -> str:
    """Return ``text`` without what espeak-ng would take for commands, or cannot read."""
    shown = (" " if unicodedata.category(char) in {"Cc", "Cs"} else char for char in text)
    return "".join(shown).strip()
