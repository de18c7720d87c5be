"""Neural voices on this machine, by Piper: ``pip install 'palaver[piper]'``.

Piper runs in a process of its own (``piper_worker``): it is licensed under the GPL, and a process
can be ended when it hangs. It computes one sentence at a time, for whoever asks next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from palaver.errors import ProviderError
from palaver.providers.piper_process import PiperProcess, PiperReply

__all__ = ["PiperSpeech"]

_log = structlog.get_logger("palaver.providers")


class PiperSpeech:
    """A ``TextToSpeech``: a voice of Piper that is on this machine. Times are in seconds.

    Args:
        voice: The ``.onnx`` file of a voice; its ``.onnx.json`` lies beside it.
        speaker: Which one, of a voice with several.
        speed: How fast to speak; 1 is the voice's own.
        deadline: For one sentence, the time that it waits for others included.
        load_timeout: For the voice to be loaded.
        max_text_chars: Of one text.
        max_waiting: Texts at once; more are refused.

    """

    def __init__(
        self,
        voice: str | Path,
        *,
        speaker: int | None = None,
        speed: float = 1.0,
        deadline: float = 15.0,
        load_timeout: float = 60.0,
        max_text_chars: int = 5_000,
        max_waiting: int = 32,
    ) -> None:
        self._voice = Path(voice).expanduser()
        self._manner = ("" if speaker is None else str(speaker), str(speed))
        self._deadline = deadline
        self._load_timeout = load_timeout
        self._max_text_chars = max_text_chars
        self._max_waiting = max_waiting
        self._rate_hz = 0
        self._process: PiperProcess | None = None
        self._starting = asyncio.Lock()
        self._numbers = count(1)
        self._waiting = 0
        self._closed = asyncio.Event()

    @property
    def sample_rate_hz(self) -> int:
        """The rate of the voice, as the file beside it says.

        Raises:
            ProviderError: that file is missing, or cannot be read.

        """
        if not self._rate_hz:
            file = Path(f"{self._voice}.json")
            try:
                config = json.loads(file.read_text(encoding="utf-8"))
                self._rate_hz = int(config["audio"]["sample_rate"])
            except OSError as error:
                raise self._fails(f"cannot be read: {file}: {error.strerror}") from None
            except (ValueError, KeyError, TypeError):
                raise self._fails(f"cannot be read: {file} describes no voice") from None
        return self._rate_hz

    async def open(self) -> None:
        """Start the process, and load the voice there.

        Raises:
            ProviderError: a file is missing, Piper is not installed, or the voice cannot be
                loaded, or not in time.

        """
        await self._running()

    async def speak(self, text: str, *, language: str | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the speech of ``text``, sentence by sentence; of a blank text, nothing.

        A voice has one language: ``language`` changes nothing.

        Raises:
            ProviderError: as ``open``, or the text is too long, a sentence takes too long, or
                too many texts wait. What came before is sound.

        """
        del language
        if not text.strip():
            return
        if len(text) > self._max_text_chars:
            raise self._fails(f"takes {self._max_text_chars} characters at once, not {len(text)}")
        if self._waiting >= self._max_waiting:
            raise self._fails(f"has {self._waiting} texts to speak, which is the limit")
        self._waiting += 1
        try:
            process = await self._running()
            number = next(self._numbers)
            reply = PiperReply("")
            try:
                reply = await self._ask(process, number, text=text)
                while reply.kind == "audio":
                    yield reply.audio
                    reply = await self._ask(process, number)
            finally:
                if reply.kind not in {"end", "error"}:
                    process.post(number, stop=True).add_done_callback(_forget)
            if reply.kind == "error":
                raise self._fails(f"failed: {reply.text}")
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process; texts that are spoken fail."""
        self._closed.set()
        if self._process is not None:
            await self._process.end()

    def _fails(self, what: str) -> ProviderError:
        return ProviderError(f"the Piper voice {self._voice.name!r} {what}")

    async def _ask(self, process: PiperProcess, number: int, **request: Any) -> PiperReply:
        try:
            async with asyncio.timeout(self._deadline):
                return await process.post(number, **request)
        except TimeoutError:
            if process.busy_for() >= self._deadline:  # it hangs: the next text starts another
                _log.warning("piper_ended", why="it gave no reply", pid=process.pid)
                await process.end()
            raise self._fails(f"was not done within {self._deadline:g} s") from None

    async def _running(self) -> PiperProcess:
        """Return a process that has the voice loaded; it is started where there is none."""
        async with self._starting:
            if self._closed.is_set():
                raise self._fails("was closed")
            if self._process is not None and self._process.alive:
                return self._process
            if not self._voice.is_file():
                raise self._fails("cannot be read: there is no such file")
            _ = self.sample_rate_hz  # the file beside it is there, too
            process = await PiperProcess.start(str(self._voice), *self._manner)
            self._process = process
            try:
                async with asyncio.timeout(self._load_timeout):
                    reply = await process.ready
            except TimeoutError:
                await process.end()
                raise self._fails(f"was not loaded within {self._load_timeout:g} s") from None
            except BaseException:
                await process.end()
                raise
            if reply.kind != "ready":
                await process.end()
                raise self._fails(f"cannot be loaded: {reply.text}")
            return process


def _forget(reply: asyncio.Future[PiperReply]) -> None:
    """Take note of a reply that nobody waits for."""
    if not reply.cancelled():
        reply.exception()
