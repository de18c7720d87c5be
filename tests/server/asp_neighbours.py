"""Two calls that go on while somebody beside them does wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.server.asp_peers import Call, Peer, dialled, numbers, utterance

_NUMBERS = itertools.count()
_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Street:
    """Where it happens: ``wronged`` and ``beside`` share a socket, ``apart`` has one of its own.

    ``pulse`` is a call to ask from time to time whether the server still answers.
    """

    near: Peer
    wronged: Call
    beside: Call
    apart: Call
    pulse: Call

    async def beat(self) -> float:
        """Return how long an answer takes."""
        began = time.perf_counter()
        assert numbers(await self.pulse.echo(utterance(1))) == [0]
        return time.perf_counter() - began


async def _goes_on(call: Call) -> None:
    """See that the utterance that was under way is said again, whole, and nothing else is."""
    await call.say(*utterance(_FRAMES)[_FRAMES // 2 :])
    await call.send("audio.end")
    assert numbers(await call.answer()) == list(range(_FRAMES))
    statistics = (await call.hang_up())["statistics"]
    assert statistics["audio_frames_received"] == _FRAMES
    assert call.items == []


@asynccontextmanager
async def street(port: int, framing: str = "asp16") -> AsyncIterator[Street]:
    """Begin three calls, two of them in the middle of an utterance; see that these go on.

    A call whose socket is lost meanwhile is resumed on another one.
    """
    number = next(_NUMBERS)
    async with dialled(port) as near, dialled(port) as far:
        calls = [
            await peer.start(f"{name} {number}", framing if peer is near else "asp16")
            for peer, name in (
                (near, "wronged"),
                (near, "beside"),
                (far, "apart"),
                (far, "pulse"),
            )
        ]
        here = Street(near, *calls)
        for call in (here.beside, here.apart):
            await call.say(*utterance(_FRAMES)[: _FRAMES // 2])
        yield here
        await _goes_on(here.apart)
        assert far.other == []
        if not near.over:
            await _goes_on(here.beside)
            return
        async with dialled(port) as again:
            assert (await here.beside.resume_on(again))["status"] == "accepted"
            await _goes_on(here.beside)
