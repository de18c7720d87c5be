"""The server's end of the process that speaks with Piper: it is started, asked, and ended."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from palaver.errors import ProviderError

__all__ = ["PiperProcess", "PiperReply"]

_MAX_AUDIO: Final = 64 * 1024 * 1024
_LAST_BREATH: Final = 1.0


@dataclass(frozen=True, slots=True)
class PiperReply:
    """A reply: ``kind`` is ``ready``, ``audio``, ``end`` or ``error``, which comes with a text."""

    kind: str
    audio: bytes = b""
    text: str = ""


class PiperProcess:
    """A running process. It replies to one request after the other, in their order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        # The first reply, that the voice is loaded, has no request.
        self._expected = deque([self._loop.create_future()])
        self.ready: Final[asyncio.Future[PiperReply]] = self._expected[0]
        self._busy_since = self._loop.time()
        self._reading = asyncio.create_task(self._read_all())

    @classmethod
    async def start(cls, *arguments: str) -> PiperProcess:
        """Return a new process, which may not be ready yet.

        Raises:
            ProviderError: there is no process to be had.

        """
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "palaver.providers.piper_worker", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # libraries talk of graphics cards there
                start_new_session=True,  # Ctrl-C is for the server
            )
        except OSError as error:
            message = f"Piper: no process for it: {error}"
            raise ProviderError(message) from error
        return cls(process)

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return not self._reading.done()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def busy_for(self) -> float:
        """Return the seconds since which it owes a reply."""
        return self._loop.time() - self._busy_since if self._expected else 0.0

    def post(self, number: int, **request: Any) -> asyncio.Future[PiperReply]:
        """Send a request, and return what will be its reply.

        It is a ``ProviderError`` where the process ends before.
        """
        reply: asyncio.Future[PiperReply] = self._loop.create_future()
        if not self.alive or self._process.stdin is None:
            reply.set_exception(_lost())
            return reply
        if not self._expected:
            self._busy_since = self._loop.time()
        self._expected.append(reply)
        self._process.stdin.write(json.dumps({"number": number, **request}).encode() + b"\n")
        return reply

    async def end(self) -> None:
        """Have it end, by force where it does not by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_LAST_BREATH if not self._expected else 0):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read_all(self) -> None:
        try:
            while (reply := await self._read()) is not None:
                self._busy_since = self._loop.time()
                waiting = self._expected.popleft()
                if not waiting.done():  # whoever asked may be gone
                    waiting.set_result(reply)
        finally:
            for waiting in self._expected:
                if not waiting.done():
                    waiting.set_exception(_lost())
                    waiting.exception()  # nobody may be there to take it
            self._expected.clear()
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _read(self) -> PiperReply | None:
        """Return the next reply; ``None`` where there is none, or what comes is none."""
        output = self._process.stdout
        if output is None:
            return None
        try:
            header = json.loads(await output.readuntil(b"\n"))
            size = int(header["bytes"])
            audio = await output.readexactly(size) if 0 <= size <= _MAX_AUDIO else None
            text = str(header.get("text", ""))
        except (EOFError, ValueError, KeyError, AttributeError, asyncio.LimitOverrunError):
            return None
        if audio is None or not self._expected:
            return None
        return PiperReply(str(header.get("kind")), audio, text)


def _lost() -> ProviderError:
    message = "Piper: its process ended"
    return ProviderError(message)
