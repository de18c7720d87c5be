"""What a subject of `vad.py` is asked: to hear calls, frame by frame, in a process of its own.

This knows none of the subjects, so that each runs where its own packages are. A process reads
requests, one JSON object a line, and answers each with one:
`{"calls": 256, "warm_up": 25, "frames": 100}` → `{"cpu": 0.5, "wall": 0.6, "starts": 80}`.
CPU time (seconds) is that of all its threads.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

RATE_HZ = 8_000
FRAME_BYTES = 320  # 20 ms


class Subject(Protocol):
    """A detector with all that turns audio into decisions, for some calls."""

    starts: int
    """How many times it decided that somebody began to speak."""

    async def hear(self, frames: Sequence[bytes]) -> None:
        """Take one frame of each call, and return when all that they complete is decided."""

    async def close(self) -> None:
        """Let go of the calls."""


class Opener(Protocol):
    """Makes a subject for so many calls."""

    async def __call__(self, calls: int) -> Subject:
        """Open the calls."""


def read_frames(audio: Path) -> list[bytes]:
    """Return the frames of a file of raw PCM."""
    samples = audio.read_bytes()
    return [
        samples[at : at + FRAME_BYTES]
        for at in range(0, len(samples) - FRAME_BYTES + 1, FRAME_BYTES)
    ]


async def _measure(
    open_subject: Opener, frames: list[bytes], calls: int, warm_up: int, count: int
) -> dict[str, float]:
    """Let `calls` calls hear `count` frames each; every call begins elsewhere in the recording."""
    subject = await open_subject(calls)
    ticks = [
        [frames[(call * 37 + tick) % len(frames)] for call in range(calls)]
        for tick in range(warm_up + count)
    ]
    for tick in ticks[:warm_up]:
        await subject.hear(tick)
    subject.starts = 0
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for tick in ticks[warm_up:]:
        await subject.hear(tick)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    starts = subject.starts
    await subject.close()
    return {"cpu": cpu, "wall": wall, "starts": starts}


def answer_requests(open_subject: Opener, audio: Path, core: int | None) -> None:
    """Answer requests from standard input, on one core, until there are no more."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    frames = read_frames(audio)
    for line in sys.stdin:
        asked = json.loads(line)
        calls, warm_up, count = asked["calls"], asked["warm_up"], asked["frames"]
        seen = asyncio.run(_measure(open_subject, frames, calls, warm_up, count))
        print(json.dumps(seen), flush=True)
