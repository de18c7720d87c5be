"""A configuration that changes in the middle of a stream: where exactly, and what it costs."""

from __future__ import annotations

import asyncio
import time

import pytest

from palaver.protocols.asp.call import Call as Answering
from palaver.protocols.asp.events import AudioReceived, ConfigSwitched, Event, SessionClosed
from tests.resilience.following import report
from tests.server.asp_host import hosting
from tests.server.asp_peers import FRAMINGS, Call, dialled, numbers, utterance

FRAMES = 10_000


class Recording:
    """Keeps what is heard, in its order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, call: Answering) -> Recording:
        """Listen to the call."""
        del call
        return self

    def heard(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def closed(self, event: SessionClosed) -> None:
        """Keep it."""
        self.events.append(event)

    @property
    def audio(self) -> list[AudioReceived]:
        """The audio."""
        return [one for one in self.events if isinstance(one, AudioReceived)]

    @property
    def switches(self) -> list[tuple[ConfigSwitched, int]]:
        """Each switch, with how many audio messages came before it."""
        found, before = [], 0
        for one in self.events:
            before += isinstance(one, AudioReceived)
            if isinstance(one, ConfigSwitched):
                found.append((one, before))
        return found


async def stream(call: Call, updates: list[int], **more: str) -> list[int]:
    """Say ``FRAMES`` frames, with an update before each of those numbers, and wait for nothing.

    Return how many frames the client had sent before each update.
    """
    counts = []
    for number, frame in enumerate(utterance(FRAMES)):
        if number in updates:
            counts.append(call.seq)
            vad = {"threshold": len(counts) / 100}
            await call.send("session.update", vad=vad, **more)
        await call.say(frame)
    return counts


@pytest.mark.parametrize(
    ("loop", "dense"), [("uvloop", False), ("asyncio", False), ("uvloop", True)]
)
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_update_in_a_stream(loop: str, framing: str, *, dense: bool) -> None:
    """No frame is lost, and both sides know the same frame from which it holds."""
    heard = Recording()
    updates = [0, 1, 17, 5_000, 5_001, 9_999]
    async with (
        hosting(heard, loop=loop, dense=dense, asp_max_audio_lead=10_000) as host,
        dialled(host.port) as peer,
    ):
        call = await peer.start("stream", framing)
        began = time.perf_counter()
        counts = await stream(call, updates)
        answers = [await call.take("session.updated") for _ in updates]
        ended = await call.hang_up()
        took = time.perf_counter() - began
    assert counts == updates
    assert [one["status"] for one in answers] == ["accepted"] * len(updates)
    assert [one["effective_seq"] for one in answers] == counts
    assert [one["effective_samples"] for one in answers] == [160 * one for one in counts]
    assert [(one.seq, before) for one, before in heard.switches] == [(n, n) for n in counts]
    thresholds = [(number + 1) / 100 for number in range(len(updates))]
    assert [one["negotiated"]["vad"]["threshold"] for one in answers] == thresholds
    assert [one.vad.threshold for one, _ in heard.switches] == thresholds
    assert numbers(b"".join(one.payload for one in heard.audio)) == list(range(FRAMES))
    assert [one.seq for one in heard.audio] == list(range(FRAMES))
    assert ended["statistics"]["audio_frames_received"] == FRAMES
    assert call.errors == []
    report(f"{loop}, {framing}: {FRAMES} frames with {len(updates)} updates in {took:.1f} s")


async def test_an_update_of_the_first_version() -> None:
    """A client of 1.0.0 is not told the frame, but the values hold from the same one."""
    heard = Recording()
    updates = [3_000, 7_000]
    async with hosting(heard, asp_max_audio_lead=10_000) as host, dialled(host.port) as peer:
        call = await peer.start_old("stream")
        counts = await stream(call, updates)
        answers = [await call.take("session.updated") for _ in updates]
        await call.hang_up()
    assert all("effective_seq" not in one for one in answers)
    assert [(one.seq, before) for one, before in heard.switches] == [(n, n) for n in counts]
    assert numbers(b"".join(one.payload for one in heard.audio)) == list(range(FRAMES))


async def test_updates_of_two_calls_on_a_socket() -> None:
    """Each call has its own values and its own count."""
    heard: dict[str, Recording] = {}

    def answer(call: Answering) -> Recording:
        return heard.setdefault(call.session.id, Recording())

    async with hosting(answer, asp_max_audio_lead=10_000) as host, dialled(host.port) as peer:
        calls = [await peer.start(f"call {number}") for number in range(2)]
        wanted = [[100, 4_000], [200, 2_000, 6_000]]
        counts = await asyncio.gather(
            *(stream(call, updates) for call, updates in zip(calls, wanted, strict=True))
        )
        for call, count in zip(calls, counts, strict=True):
            seqs = [(await call.take("session.updated"))["effective_seq"] for _ in count]
            assert seqs == count
            await call.hang_up()
    for call, count in zip(calls, counts, strict=True):
        assert [one.seq for one, _ in heard[call.id].switches] == count
        audio = b"".join(one.payload for one in heard[call.id].audio)
        assert numbers(audio) == list(range(FRAMES))


async def test_values_of_a_turn() -> None:
    """They hold until the utterance ends: then the server is back at what held before."""
    heard = Recording()
    async with hosting(heard) as host, dialled(host.port) as peer:
        call = await peer.start("turn", vad={"threshold": 0.3})
        await call.say(*utterance(3))
        await call.send("session.update", vad={"threshold": 0.9}, scope="turn")
        await call.say(*utterance(4))
        await call.send("audio.end")
        await call.say(*utterance(5))
        await call.hang_up()
    switches = [(one.seq, one.cause, one.vad.threshold) for one, _ in heard.switches]
    assert switches == [(3, "turn", 0.9), (7, "turn_over", 0.3)]


async def test_an_update_that_changes_nothing_else() -> None:
    """What is left out stays as it is: nothing goes back to a default."""
    async with hosting(Recording()) as host, dialled(host.port) as peer:
        vad = {"silence_threshold_ms": 900, "min_speech_ms": 300, "ring_buffer_frames": 7}
        call = await peer.start("merge", vad=vad)
        values = call.started["negotiated"]["vad"]
        for change in ({"threshold": 0.9}, {}, {"ring_buffer_frames": 4}, {"enabled": False}):
            await call.send("session.update", vad=change)
            updated = await call.take("session.updated")
            values = values | change
            assert updated["negotiated"]["vad"] == values
            digest = updated["config_digest"]
            await call.send("session.confirm", config_digest=digest)
        await call.send("session.confirm", config_digest=call.started["config_digest"])
        error = (await call.take("protocol.error"))["error"]
        assert error["code"] == 4005
        assert (await call.take("session.ended"))["reason"] == "config_digest_mismatch"


async def test_a_server_that_lets_nobody_change_it() -> None:
    """An update is rejected with 3002, a start is adjusted; the stream goes on."""
    heard = Recording()
    async with hosting(heard, asp_vad_configurable=False) as host, dialled(host.port) as peer:
        call = await peer.start("fixed", vad={"threshold": 0.9})
        assert call.started["status"] == "accepted_with_changes"
        await call.say(*utterance(3))
        await call.send("session.update", vad={"threshold": 0.8})
        updated = await call.take("session.updated")
        assert (updated["status"], updated["errors"][0]["code"]) == ("rejected", 3002)
        await call.say(*utterance(3))
        assert (await call.hang_up())["statistics"]["audio_frames_received"] == 6
    assert heard.switches == []


async def test_an_update_that_is_lost_with_its_socket() -> None:
    """It is said again on the next socket, at its place among the frames, and answered once."""
    heard = Recording()
    async with hosting(heard) as host, dialled(host.port) as peer, dialled(host.port) as again:
        call = await peer.start("lost")
        await call.say(*utterance(5))
        peer.drop()
        await call.send("session.update", vad={"threshold": 0.9})
        await call.say(*utterance(3))
        await call.resume_on(again)
        updated = await call.take("session.updated")
        assert (updated["effective_seq"], updated["effective_samples"]) == (5, 800)
        assert (await call.hang_up())["statistics"]["audio_frames_received"] == 8
    assert [(one.seq, before) for one, before in heard.switches] == [(5, 5)]
    assert numbers(b"".join(one.payload for one in heard.audio)) == [*range(5), *range(3)]
