"""The server's end of the process that speaks: it is started, asked, and ended."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import structlog

from palaver.errors import ProviderError
from palaver.providers.espeak_worker import HEAD, encode_frame

__all__ = ["EspeakProcess"]

_log = structlog.get_logger("palaver.espeak")

_MAX_HEADER: Final = 65_536
_MAX_PAYLOAD: Final = 1_048_576
_LAST_BREATH: Final = 0.5
"""Seconds that the process has to end by itself."""


_SLICES: Final = 4
"""Parts of a wait. A machine that slept finds one of them over at once, not the process hung."""


class EspeakProcess:
    """A running process. It answers one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._errors = asyncio.create_task(_drain(process))
        self.voices: Mapping[str, str] = {}

    @classmethod
    async def start(cls, timeout: float) -> EspeakProcess:  # noqa: ASYNC109
        """Return a process that is ready.

        Raises:
            ProviderError: espeak-ng is not installed, or was not ready after ``timeout`` seconds.

        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "palaver.providers.espeak_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the server
            )
        except OSError as error:
            message = f"espeak-ng: no process for it: {error}"
            raise ProviderError(message) from error
        self = cls(process)
        try:
            header, _ = await self._next(timeout)
        except BaseException:
            await self.end()
            raise
        if header["kind"] != "ready":
            await self.end()
            message = f"espeak-ng cannot be used: {header['text']}"
            raise ProviderError(message)
        self.voices = header["voices"]
        return self

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(
        self, number: int, header: Mapping[str, Any], payload: bytes, stall_timeout: float
    ) -> AsyncIterator[bytes]:
        """Send a request, and yield the audio that answers it, to its end.

        Raises:
            ProviderError: it was refused, or the process died or hung; then it was ended.

        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked
        self._process.stdin.write(encode_frame(dict(header), payload))
        while True:
            answer, audio = await self._next(stall_timeout)
            if answer["id"] != number:
                self._process.kill()
                message = "espeak-ng answered what was not asked"
                raise ProviderError(message)
            if answer["kind"] == "audio":
                yield audio
            elif answer["kind"] == "done":
                return
            else:
                message = f"espeak-ng refused the text: {answer['text']}"
                raise ProviderError(message)

    def cancel(self, number: int) -> None:
        """Have it stop; what it put out before that still comes."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked
        self._process.stdin.write(encode_frame({"kind": "cancel", "id": number}))

    async def end(self, grace: float = _LAST_BREATH) -> None:
        """End it, by force where it did not go by itself after ``grace`` s, and collect it."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked
        self._process.stdin.close()
        try:
            async with asyncio.timeout(grace):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            await self._errors
            # What nobody has read would keep its pipe open for as long as the garbage stays.
            self._process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001

    async def _next(self, timeout: float) -> tuple[dict[str, Any], bytes]:  # noqa: ASYNC109
        """Return the next frame; on any trouble the process is ended."""
        trouble, grace = "it wrote what is no frame", 0.0
        frame = asyncio.create_task(self._frame())
        try:
            for _ in range(_SLICES):
                done, _ = await asyncio.wait({frame}, timeout=timeout / _SLICES)
                if done:
                    return frame.result()
            trouble = f"it hung: nothing for {timeout:g} s"
        except (asyncio.IncompleteReadError, ConnectionError):
            trouble, grace = "it died", _LAST_BREATH
        except ValueError:
            pass
        finally:
            frame.cancel()
        await self.end(grace)
        message = f"espeak-ng: {trouble}"
        raise ProviderError(message)

    async def _frame(self) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe, as asked
        read = self._process.stdout.readexactly
        header_size, payload_size = HEAD.unpack(await read(HEAD.size))
        if header_size > _MAX_HEADER or payload_size > _MAX_PAYLOAD:
            raise ValueError(header_size, payload_size)
        return json.loads(await read(header_size)), await read(payload_size)


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read its standard error, so that it never blocks on it."""
    assert process.stderr is not None  # noqa: S101 - a pipe, as asked
    while text := await process.stderr.read(4_096):
        _log.debug("espeak_said", text=text.decode(errors="replace").rstrip())
