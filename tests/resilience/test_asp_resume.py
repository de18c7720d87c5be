"""Sockets that are lost in the middle of calls: each frame arrives once and in order, both ways."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.events import AudioReceived, Event, MessageReceived
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.resilience.following import report
from tests.server.asp_host import Host, Mirror, hosting, looking_away
from tests.server.asp_peers import (
    FRAME,
    FRAMINGS,
    Call,
    Heard,
    Peer,
    deaf_peer,
    numbers,
    opened,
    utterance,
)

AT_ONCE = 10
"""Calls at once, each on a socket of its own."""
Connect: TypeAlias = Callable[[], Awaitable[Peer]]
SETTINGS = {"asp_max_audio_lead": 10_000, "asp_max_failed_starts": 1_000}


@dataclass(slots=True)
class Mirrors:
    """Mirrors of calls, and what they have heard."""

    heard: dict[str, list[AudioReceived]] = field(default_factory=dict)

    def __call__(self, call: Answering) -> Mirror:
        """Answer one more call."""
        heard = self.heard[call.session.id] = []

        class Listening(Mirror):
            def heard(self, event: Event) -> None:
                if isinstance(event, AudioReceived):
                    heard.append(event)
                super().heard(event)

        return Listening(call)


@dataclass(slots=True)
class Caller:
    """A media server with one call, which says numbered frames."""

    call: Call
    chance: random.Random
    said: int = 0

    @property
    def echoes(self) -> list[Heard]:
        """The audio that has come back."""
        return [one for one in self.call.items if isinstance(one, Heard)]

    async def say(self, count: int) -> None:
        """Say so many frames more."""
        for _ in range(count):
            self.said += 1
            await self.call.say(self.said.to_bytes(4, "little") * (FRAME // 4))
            if self.chance.random() < 0.2:
                await asyncio.sleep(0)

    async def finish(self) -> None:
        """Return when all that was said has come back."""
        await self.say(10)
        await self.call.peer.wait(lambda: len(self.echoes) >= self.said)

    async def lose(self) -> None:
        """Break off: now, in the middle of a frame, once some more has come, or as one should."""
        peer = self.call.peer
        how = self.chance.randrange(4)
        if how == 0:
            await asyncio.sleep(self.chance.random() * 0.005)
        elif how == 1:  # 100 bytes of 336
            frame = bytes((0x82, 0x80 | 126, 1, 80)) + bytes(4) + b"\xa5" * 100
            peer.socket.transport.write(frame)
            await asyncio.sleep(self.chance.random() * 0.002)
        elif how == 2:
            await peer.socket.close()
        await gone(peer)

    async def try_to_come_back(self, peer: Peer) -> None:
        """Resume, and lose the new socket before the answer or after it."""
        with suppress(TimeoutError, ConnectionClosed, AssertionError):
            async with asyncio.timeout(self.chance.random() * 0.003):
                await self.call.resume_on(peer)
        await gone(peer)

    def check(self, mirrors: Mirrors) -> None:
        """See that nothing was lost or doubled, on either side."""
        wanted = list(range(self.said))
        heard, echoes = mirrors.heard[self.call.id], self.echoes
        assert numbers(b"".join(one.payload for one in heard)) == wanted
        assert [(one.seq, one.samples) for one in heard] == [(one, one * 160) for one in wanted]
        assert numbers(b"".join(one.payload for one in echoes)) == wanted
        if self.call.framing != "hash12":
            assert [one.seq for one in echoes] == wanted
        assert self.call.errors == []


async def gone(peer: Peer) -> None:
    """Break off, and wait until it reads no more."""
    peer.drop()
    await peer._reading


@asynccontextmanager
async def connecting(port: int) -> AsyncIterator[Connect]:
    """Open sockets, as many as it takes; all are lost in the end."""
    peers: list[Peer] = []

    async def connect() -> Peer:
        async with asyncio.timeout(15):
            while True:
                with suppress(InvalidHandshake, InvalidMessage, ConnectionError, EOFError):
                    peers.append(Peer(await opened(port)))
                    return peers[-1]

    try:
        yield connect
    finally:
        await asyncio.gather(*(gone(peer) for peer in peers))


async def drop_often(caller: Caller, connect: Connect, drops: int) -> int:
    """Talk, and lose the socket so often; return how often it was."""
    dropped = 0
    while dropped < drops:
        await caller.say(caller.chance.randrange(1, 40))
        await caller.lose()
        dropped += 1
        while caller.chance.random() < 0.1:
            await caller.try_to_come_back(await connect())
            dropped += 1
        resumed = await caller.call.resume_on(await connect())
        assert resumed["status"] == "accepted", resumed
    await caller.finish()
    return dropped


async def end(host: Host, callers: list[Caller], mirrors: Mirrors) -> None:
    """See that all is well, and hang up."""
    for caller in callers:
        caller.check(mirrors)
        await caller.call.send("session.end")
    await asked(host, lambda: not len(host.endpoint.sessions))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_thousand_drops(loop: str, framing: str) -> None:
    """250 here: at any moment, also in the middle of a frame or of a resumption."""
    mirrors = Mirrors()
    async with hosting(mirrors, loop=loop, **SETTINGS) as host:
        before = await host.left()
        began = time.perf_counter()
        async with connecting(host.port) as connect:
            callers = [
                Caller(await (await connect()).start(f"caller {one}", framing), random.Random(one))
                for one in range(AT_ONCE)
            ]
            dropping = [drop_often(caller, connect, 250 // AT_ONCE) for caller in callers]
            drops = sum(await asyncio.gather(*dropping))
            took = time.perf_counter() - began
            await end(host, callers, mirrors)
        assert await host.emptied(before) == before
    said = sum(caller.said for caller in callers)
    report(f"{loop}, {framing}: {drops} drops, {said} frames each way, whole; {took:.1f} s")
    assert drops >= 250


async def test_sockets_with_many_calls() -> None:
    """All calls of a socket are lost at once, and resumed at once on one new socket."""
    mirrors = Mirrors()
    async with hosting(mirrors, **SETTINGS) as host, connecting(host.port) as connect:
        peer = await connect()
        callers = [
            Caller(
                await peer.start(f"caller {one}", ("asp16", "hash12")[one % 2]), random.Random(one)
            )
            for one in range(AT_ONCE)
        ]
        for _ in range(50):
            await asyncio.gather(*(one.say(one.chance.randrange(30)) for one in callers))
            await gone(peer)
            peer = await connect()
            resumed = await asyncio.gather(*(one.call.resume_on(peer) for one in callers))
            assert all(one["status"] == "accepted" for one in resumed)
        await asyncio.gather(*(one.finish() for one in callers))
        await end(host, callers, mirrors)
        assert peer.other[1:] == []


async def follow(caller: Caller, connect: Connect, drops: Callable[[], bool]) -> None:
    """Talk until there were enough drops; come back whenever nothing is heard any more."""
    while True:
        enough = drops()
        await caller.say(0 if enough else caller.chance.randrange(1, 40))
        with suppress(AssertionError, TimeoutError):
            async with asyncio.timeout(0.1):
                await caller.call.peer.wait(lambda: len(caller.echoes) >= caller.said)
                if enough:
                    return
                continue
        resumed = {}
        while resumed.get("status") != "accepted":
            with suppress(AssertionError, TimeoutError, ConnectionClosed):
                async with asyncio.timeout(0.2):
                    resumed = await caller.call.resume_on(await connect())


@pytest.mark.parametrize("black_hole", [False, True], ids=["resets", "silence"])
async def test_sockets_that_are_lost_on_the_way(*, black_hole: bool) -> None:
    """A proxy cuts what comes, anywhere; or it swallows it, and the old socket stays open."""
    mirrors, chance = Mirrors(), random.Random(7)
    wanted = 40 if black_hole else 250

    def fault(number: int) -> Fault:
        after = chance.randrange(1_500, 15_000) if number < 2 * wanted else None
        return Fault(silent_after=after) if black_hole else Fault(reset_after=after)

    async with (
        hosting(mirrors, **SETTINGS) as host,
        FaultProxy(host.port, fault) as proxy,
        connecting(proxy.port) as connect,
    ):
        callers = []
        while len(callers) < AT_ONCE:
            with suppress(AssertionError, TimeoutError):
                async with asyncio.timeout(0.5):
                    number = proxy.connections
                    call = await (await connect()).start(f"caller {number}")
                    callers.append(Caller(call, random.Random(number)))

        def enough() -> bool:
            return proxy.connections >= wanted + AT_ONCE

        await asyncio.gather(*(follow(caller, connect, enough) for caller in callers))
        await end(host, callers, mirrors)
    said = sum(caller.said for caller in callers)
    report(f"{proxy.connections} connections, {proxy.resets} resets, {said} frames, whole")


SPOKEN = 3_200
KEPT = 2_900


class Orator(Mirror):
    """Says 1 MB at ``audio.end``, at once."""

    def heard(self, event: Event) -> None:
        """Begin to talk."""
        if isinstance(event, MessageReceived):
            for frame in utterance(SPOKEN):
                self._call.session.send_audio(frame, self._call.now())


async def test_much_that_was_not_heard() -> None:
    """Eight calls whose agents have said 1 MB each meanwhile are resumed on one slow socket."""
    async with hosting(Orator) as host, connecting(host.port) as connect:
        peer = await connect()
        features = ["session_resume"]
        calls = [await peer.start(f"much {one}", features=features) for one in range(8)]
        peer.socket.transport.pause_reading()
        for call in calls:
            await call.send("audio.end")
        await asked(host, lambda: all(one.frames_sent for one in host.endpoint.sessions))
        await gone(peer)
        again = await deaf_peer(host.port)
        again.socket.transport.pause_reading()
        # From a client that does not take an answer nothing more is read: all ask before the first.
        async with looking_away(host):
            resuming = [asyncio.create_task(call.resume_on(again)) for call in calls]
            await asyncio.sleep(0)  # each does so in its first step
        await asked(
            host,
            lambda: all(
                one.link and one.detached_at is None and len(one.tokens) == 2
                for one in host.endpoint.sessions
            ),
        )
        again.socket.transport.resume_reading()
        resumed = await asyncio.gather(*resuming)
        assert all(one["status"] == "accepted" for one in resumed)
        for call in calls:
            await again.wait(lambda one=call: last_heard(one) == SPOKEN - 1)
            heard = numbers(b"".join(one.payload for one in call.items if isinstance(one, Heard)))
            # What is kept has a bound: some of the first may be lost, never one in between.
            kept = heard[-KEPT:]
            assert kept == list(range(SPOKEN - KEPT, SPOKEN))
        await gone(again)


async def asked(host: Host, question: Callable[[], object]) -> None:
    """Return when the answer is yes."""
    async with asyncio.timeout(15):
        while not await host.ask(question):
            pass


def last_heard(call: Call) -> int:
    """Return the number of the last frame that came."""
    heard = [one for one in call.items if isinstance(one, Heard)]
    return numbers(heard[-1].payload)[0] if heard else -1
