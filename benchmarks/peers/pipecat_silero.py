"""Pipecat's `SileroVADAnalyzer`, one for each call as in its pipelines.

With `--direct` it works on the caller's thread instead of one of its own: not how Pipecat is used,
but the least that it could cost. `vad.py` starts it: `pipecat_silero.py calls.pcm --core 1`.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from hearing import RATE_HZ, Subject, answer_requests
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADState


class Pipecat:
    """Analyzers, one a call."""

    def __init__(self, calls: int, *, direct: bool) -> None:
        self.starts = 0
        self._direct = direct
        self._analyzers = [SileroVADAnalyzer(sample_rate=RATE_HZ) for _ in range(calls)]
        for analyzer in self._analyzers:
            analyzer.set_sample_rate(RATE_HZ)
        self._speaking = [False] * calls

    async def hear(self, frames: Sequence[bytes]) -> None:
        """Give each analyzer its frame, and look at its answer."""
        pairs = zip(self._analyzers, frames, strict=True)
        if self._direct:
            states = [analyzer._run_analyzer(frame) for analyzer, frame in pairs]  # noqa: SLF001
        else:
            states = await asyncio.gather(*(one.analyze_audio(frame) for one, frame in pairs))
        for at, state in enumerate(states):
            speaking = state in {VADState.SPEAKING, VADState.STOPPING}
            self.starts += speaking and not self._speaking[at]
            self._speaking[at] = speaking

    async def close(self) -> None:
        """End the analyzers' threads."""
        for analyzer in self._analyzers:
            await analyzer.cleanup()


def main() -> None:
    """Answer the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--core", type=int)
    parser.add_argument("--direct", action="store_true")
    given = parser.parse_args()
    logger.remove()

    async def open_subject(calls: int) -> Subject:
        return Pipecat(calls, direct=given.direct)

    answer_requests(open_subject, given.audio, given.core)


if __name__ == "__main__":
    main()
