"""LiveKit's Silero plugin: a stream for each call, one model for all of them.

`vad.py` starts it: `livekit_silero.py calls.pcm --core 1`.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from hearing import RATE_HZ, Subject, answer_requests
from livekit import rtc
from livekit.agents.vad import VADEventType, VADStream
from livekit.plugins import silero

WINDOW_SAMPLES = 256


class LiveKit:
    """Streams, one a call, and a task that reads each one's events."""

    def __init__(self, calls: int) -> None:
        self.starts = 0
        detector = silero.VAD.load(sample_rate=RATE_HZ)
        self._streams = [detector.stream() for _ in range(calls)]
        self._readers = [asyncio.create_task(self._read(stream)) for stream in self._streams]
        self._samples = 0
        self._judged = 0
        self._wanted = 0
        self._done = asyncio.Event()

    async def _read(self, stream: VADStream) -> None:
        async for event in stream:
            if event.type is VADEventType.START_OF_SPEECH:
                self.starts += 1
            elif event.type is VADEventType.INFERENCE_DONE:
                self._judged += 1
                if self._judged >= self._wanted:
                    self._done.set()

    async def hear(self, frames: Sequence[bytes]) -> None:
        """Push a frame into each stream; wait for the windows that they complete."""
        samples = len(frames[0]) // 2
        self._samples += samples
        self._wanted = self._samples // WINDOW_SAMPLES * len(frames)
        self._done.clear()
        for stream, frame in zip(self._streams, frames, strict=True):
            stream.push_frame(rtc.AudioFrame(frame, RATE_HZ, 1, samples))
        if self._judged < self._wanted:
            await self._done.wait()

    async def close(self) -> None:
        """End the streams."""
        for stream in self._streams:
            await stream.aclose()
        await asyncio.gather(*self._readers)


def main() -> None:
    """Answer the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--core", type=int)
    given = parser.parse_args()

    async def open_subject(calls: int) -> Subject:
        return LiveKit(calls)

    answer_requests(open_subject, given.audio, given.core)


if __name__ == "__main__":
    main()
