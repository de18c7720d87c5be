"""A microphone and a loudspeaker, in place of a file (the extra ``microphone``)."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from palaver.errors import ConfigError
from palaver.speech.detector import Samples

__all__ = ["Microphone", "check_microphone"]

_MAX_DRAIN: Final = 1.0
_MAX_WAITING: Final = 50
"""Frames that wait each way; when there are more, the oldest is dropped."""


class Microphone:
    """The default devices, as a source of frames and as a speaker. Use it in a ``with`` block.

    The device is the clock: a frame comes when it was recorded, and one sounds at the same time.

    Raises:
        ConfigError: the extra is not installed, or there is no device that can be used.

    """

    def __init__(self, sample_rate_hz: int, frame_ms: int) -> None:
        self._sounddevice = _sounddevice()
        self._loop = asyncio.get_running_loop()
        self._size: Final = sample_rate_hz * frame_ms // 1_000
        self._recorded: deque[Samples] = deque(maxlen=_MAX_WAITING)
        self._to_play: deque[Samples] = deque(maxlen=_MAX_WAITING)
        self._arrived = asyncio.Event()
        self.dropped_frames = 0
        """Frames that were recorded, and not sent: the call had no time for them."""
        self.lost: str | None = None
        """Why the device gives no more, if so."""
        try:
            self._stream = self._sounddevice.Stream(
                samplerate=sample_rate_hz,
                blocksize=self._size,
                channels=1,
                dtype="int16",
                latency="low",
                callback=self._exchange,
                finished_callback=self._finished,
            )
        except (self._sounddevice.PortAudioError, ValueError) as error:
            raise ConfigError(f"--mic: no device for {sample_rate_hz} Hz: {error}") from None

    def __enter__(self) -> Self:
        """Begin to record."""
        self._stream.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Give the devices back; what they have not played yet sounds to its end."""
        if error is None:
            self._stream.stop()
        else:
            self._stream.abort()
        self._stream.close()

    @property
    def over(self) -> bool:
        """Whether all was said: only a device that is lost says no more."""
        return self.lost is not None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Samples:
        while not self._recorded:
            if self.lost is not None:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._recorded.popleft()

    def play(self, frame: Samples | None) -> None:
        """Let a frame sound next; ``None`` is silence."""
        if frame is not None:
            self._to_play.append(frame)

    async def drain(self) -> None:
        """Wait until what was given to play has sounded, for a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_DRAIN):
                while self._to_play and self.lost is None:
                    self._arrived.clear()
                    await self._arrived.wait()

    # --- in the device's own thread ---------------------------------------------------------

    def _exchange(
        self, recorded: Any, to_play: Any, _frames: int, _time: Any, _status: Any
    ) -> None:
        try:
            to_play[:, 0] = self._to_play.popleft()
        except IndexError:
            to_play.fill(0)
        self._tell(np.array(recorded[:, 0], np.int16))

    def _finished(self) -> None:
        self._tell(None)

    def _tell(self, recorded: Samples | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, recorded)

    # --- in the loop ------------------------------------------------------------------------

    def _take(self, recorded: Samples | None) -> None:
        if recorded is None:
            self.lost = "the device has stopped"
        else:
            self.dropped_frames += len(self._recorded) == _MAX_WAITING
            self._recorded.append(recorded)
        self._arrived.set()


def check_microphone() -> None:
    """See that what plays and records is installed.

    Raises:
        ConfigError: it is not.

    """
    _sounddevice()


def _sounddevice() -> Any:
    try:
        return import_module("sounddevice")  # an optional extra
    except ModuleNotFoundError:
        raise ConfigError(
            "--mic needs the extra 'microphone': pip install 'palaver[microphone]'"
        ) from None
    except OSError as error:  # the package is there, and PortAudio is not
        raise ConfigError(f"--mic: there is no PortAudio on this machine: {error}") from None
