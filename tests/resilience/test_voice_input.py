"""Calls whose sound is bad, comes wrongly, or does not come: what is heard, and what it costs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.protocols.asp.events import AudioReceived
from palaver.protocols.asp.messages import AudioSpeechEndMessage, AudioSpeechStartMessage
from palaver.providers.interfaces import Transcript
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Samples
from palaver.testing.audio import clipped, with_clicks, with_offset
from palaver.testing.speech import ScriptedRecogniser, ToneSpeech
from tests.resilience.voice import (
    Caller,
    Exchange,
    calling,
    goes_on,
    logged,
    named,
    serving,
    trouble,
)
from tests.server.asp_host import eventually
from tests.server.asp_peers import Call, Peer, dialled
from tests.speech.calls import QUICK, silence, speech
from tests.speech.recordings import speech as recorded

NOT_UNDERSTOOD = "Sorry, I did not understand that."
AHEAD = {"asp_max_audio_lead": 100_000}
OFF = VADConfig(enabled=False)
ON = QUICK.model_copy(update={"enabled": True})


async def feed(caller: Caller, audio: bytes, frames: int = 10) -> None:
    """Send audio as fast as it is taken, many frames in a message."""
    size = frames * caller.session.config.audio.bytes_per_frame
    for start in range(0, len(audio), size):
        await caller.session.send_audio(audio[start : start + size].ljust(size, b"\0"))


async def held_bytes(place: Exchange) -> int:
    """Return how much audio the ears of all calls hold."""

    def count() -> int:
        voice = place.host.app._voice
        assert voice is not None
        assert voice._batch is not None
        return sum(ear.buffer.held_bytes for ear in voice._batch._ears)

    return await place.host.ask(count)


async def judged(place: Exchange) -> None:
    """Wait until nearly all audio was judged: who sends faster is heard by a cheaper detector."""

    def behind() -> bool:
        voice = place.host.app._voice
        assert voice is not None
        assert voice._batch is not None
        return any(ear.buffer.backlog_ms > 100 for ear in voice._batch._ears)

    async with asyncio.timeout(10):
        while await place.host.ask(behind):
            pass


def ends(caller: Caller) -> list[AudioSpeechEndMessage]:
    """Return the ends of speech that were told."""
    return caller.messages(AudioSpeechEndMessage)


# --- too little, too much -------------------------------------------------------------------


@pytest.mark.parametrize("vad", [QUICK, OFF])
async def test_an_utterance_without_audio(vad: VADConfig) -> None:
    """Who commits nothing is not answered, nobody is asked what it was, and the log tells."""
    with logged() as log:
        async with trouble(["hello"], wanted={"vad": vad}) as (place, caller):
            for _ in range(20):
                await caller.session.commit()
            await caller.say(speech(300), silence(400))
            await caller.session.commit()
            await caller.answered()
            assert len(place.hears.utterances) == 1
    assert len(named(log, "voice_commit_without_speech")) == 20


async def test_silence_is_no_utterance() -> None:
    """A commit in silence is an utterance of none; how loud it was is in the log."""
    with logged() as log:
        async with trouble(["hello"]) as (place, caller):
            await caller.say(silence(1_000))
            await caller.session.commit()
            await eventually(lambda: named(log, "voice_commit_without_speech"))
            await goes_on(caller)
            assert len(place.hears.utterances) == 1
    (line,) = named(log, "voice_commit_without_speech")
    assert (line["peak"], line["clipped"], line["offset"]) == (0.0, 0.0, 0.0)


class Listener(ScriptedRecogniser):
    """Understands nobody who has not spoken for 65 seconds."""

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Wait for ever, or do as scripted."""
        if len(audio) < 2 * 8_000 * 65:
            await asyncio.Event().wait()
        return await super().transcribe(audio, language=language)


async def test_endless_speech() -> None:
    """It is cut every 30 s; until there is an answer, all of it is one question, of no gap."""
    hears = Listener(["hello"])
    spoken = np.resize(recorded(8_000)[:9_600], 70 * 8_000).tobytes()
    settings = {"voice_detector": "silero", **AHEAD}
    async with trouble([], hears=hears, wanted={"vad": VADConfig()}, **settings) as (place, caller):
        sound = silence(400) + spoken + silence(900)
        for start in range(0, len(sound), 16 * 2_000):
            await feed(caller, sound[start : start + 16 * 2_000])
            await judged(place)
        await caller.until(lambda _: len(ends(caller)) == 3)
        assert [one.reason for one in ends(caller)] == ["max_duration", "max_duration", "silence"]
        await caller.answered()
        assert caller.texts("agent") == ["You said hello."]
        heard = hears.utterances[-1]
        assert spoken[16 * 1_000 : 16 * 69_000] in heard
        assert await held_bytes(place) < 200_000


async def test_endless_speech_without_a_detector() -> None:
    """The client never says that it is over: of what it says in the end, the last 30 s are kept."""
    async with trouble(["hello"], wanted={"vad": OFF}, **AHEAD) as (place, caller):
        await feed(caller, speech(90_000))
        async with asyncio.timeout(10):  # what waits to be judged is held as well
            while await held_bytes(place) > 2 * 16 * 32_000:
                pass
        await caller.session.commit()
        await caller.answered()
        assert len(place.hears.utterances[0]) == 16 * 30_000


async def test_minutes_of_silence() -> None:
    """Nothing is heard, nothing is kept, and nobody is asked."""
    async with trouble(["hello"], **AHEAD) as (place, caller):
        await feed(caller, silence(300_000))
        await goes_on(caller)
        assert len(place.hears.utterances) == 1
        assert await held_bytes(place) < 200_000


# --- bad lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        (lambda sound: with_clicks(sound, 8_000, per_second=10, seed=1), True),
        (lambda sound: clipped(sound, 30), True),
        (lambda sound: with_offset(sound, 9_830), True),
        (lambda sound: clipped(sound, -30), True),
        (lambda sound: clipped(sound, -80), False),
        (lambda sound: np.repeat(sound, 2), True),  # two channels, one after the other
    ],
    ids=["clicks", "clipping", "offset", "quiet", "inaudible", "stereo"],
)
async def test_a_bad_line(line: Any, *, heard: bool) -> None:
    """Speech over a bad line is heard; where it is not understood, the log says what it was."""
    hears, speaks = ScriptedRecogniser(["", "", "", ""]), ToneSpeech(ms_per_character=2)
    sound = np.concatenate([np.zeros(4_000, np.int16), recorded(8_000), np.zeros(8_000, np.int16)])
    with logged() as log:
        async with (
            serving(hears, speaks, voice_detector="silero") as place,
            calling(place, vad=VADConfig()) as caller,
        ):
            await feed(caller, line(sound).tobytes())
            await caller.session.commit()
            if heard:
                await caller.answered()
                assert set(caller.texts("agent")) == {NOT_UNDERSTOOD}
            else:
                await eventually(lambda: named(log, "voice_commit_without_speech"))
                assert caller.messages(AudioSpeechStartMessage) == []
    if not heard:
        assert named(log, "voice_commit_without_speech")[0]["peak"] < 0.001
        return
    found = named(log, "voice_not_understood")[0]
    assert {"confidence", "duration_ms", "peak", "clipped", "offset"} <= found.keys()


@pytest.mark.parametrize(("rate_hz", "declared_hz"), [(16_000, 8_000), (8_000, 16_000)])
async def test_a_wrong_rate(rate_hz: int, declared_hz: int) -> None:
    """It is heard too slow or too fast: its length in the log tells."""
    hears, speaks = ScriptedRecogniser([""]), ToneSpeech(ms_per_character=2)
    sound = np.concatenate([recorded(rate_hz)[: int(1.2 * rate_hz)], np.zeros(16_000, np.int16)])
    with logged() as log:
        async with (
            serving(hears, speaks) as place,
            calling(place, vad=OFF, audio=AudioConfig(sample_rate=declared_hz)) as caller,
        ):
            await feed(caller, sound.tobytes())
            await caller.session.commit()
            await caller.answered()
            assert caller.texts("agent") == [NOT_UNDERSTOOD]
    (line,) = named(log, "voice_not_understood")
    assert line["duration_ms"] == -(-len(sound) * 1_000 // declared_hz // 200) * 200


# --- bad clocks and bad networks --------------------------------------------------------------


async def test_a_burst_delays_nobody_else() -> None:
    """After a stall of 2 s all of it comes at once: it is heard as it was, and others in time."""
    hears, speaks = ScriptedRecogniser(["hi"] * 9), ToneSpeech(ms_per_character=2)
    vad = VADConfig(silence_threshold_ms=300)
    spoken = silence(200) + recorded(8_000)[:9_600].tobytes() + silence(600)
    async with (
        serving(hears, speaks, voice_detector="silero") as place,
        calling(place, vad=vad) as steady,
        calling(place, vad=vad) as burst,
        calling(place, vad=vad) as other,
    ):
        await feed(steady, spoken, 1)
        await steady.answered()
        await feed(other, spoken[:-6_400])
        await feed(burst, spoken)
        began = time.perf_counter()
        await feed(other, spoken[-6_400:])
        await other.until(lambda _: ends(other))
        assert time.perf_counter() - began < 1.0
        await burst.answered()
        for caller in (burst, other):
            assert [(one.start_ms, one.end_ms) for one in ends(caller)] == [
                (one.start_ms, one.end_ms) for one in ends(steady)
            ]


async def gap(peer: Peer, framing: str, lost_ms: int) -> Call:
    """Speak, lose so much, and speak again."""
    call = await peer.start("gapped", framing, vad=QUICK.model_dump(mode="json"))
    for sound in (silence(100) + speech(300), speech(300) + silence(400)):
        await call.say(*(sound[at : at + 320] for at in range(0, len(sound), 320)))
        call.seq += lost_ms // 20
        call.samples += 8 * lost_ms
    return call


@pytest.mark.parametrize("framing", ["seq14", "asp16"])
@pytest.mark.parametrize(
    ("lost_ms", "expected"),
    [(60, [(100, 760)]), (180_000, [(100, 400), (180_400, 180_700)])],
)
async def test_audio_that_never_came(
    framing: str, lost_ms: int, expected: list[tuple[int, int]]
) -> None:
    """A short gap is silence within an utterance; a long one ends it, at once and in its time."""
    async with serving(ScriptedRecogniser(["hi", "hi"]), ToneSpeech(ms_per_character=2)) as place:
        before = await place.host.left()
        async with dialled(place.host.port) as peer:
            call = await gap(peer, framing, lost_ms)
            ended = await peer.wait(
                lambda: (found := call.texts("audio.speech_end"))[len(expected) - 1 :] and found
            )
            found = [(one["start_ms"], one["end_ms"]) for one in ended]
            assert np.abs(np.subtract(found, expected)).max() <= 60
            await peer.wait(lambda: call.texts("response.end"))
            await call.hang_up()
        assert await place.host.emptied(before) == before


# --- every format -------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("encoding", list(AudioEncoding))
async def test_every_format(frame_ms: int, rate_hz: int, encoding: AudioEncoding) -> None:
    """The utterance comes to the recogniser, and the answer back, in whole frames of its length."""
    audio = AudioConfig(sample_rate=rate_hz, encoding=encoding, frame_duration_ms=frame_ms)
    hears, speaks = ScriptedRecogniser(["hi"]), ToneSpeech(ms_per_character=20)
    async with serving(hears, speaks) as place, calling(place, audio=audio) as caller:
        spoken = np.frombuffer(silence(120) + speech(480) + silence(480), np.int16)
        samples: Samples = np.repeat(spoken, rate_hz // 8_000)
        await feed(caller, encode(samples, encoding), 3)
        await caller.answered()
        assert 480 <= len(hears.utterances[0]) // 16 <= 480 + 100 + 300
        payload = b"".join(one.payload for one in caller.heard if isinstance(one, AudioReceived))
        answer = decode(payload, encoding)
        said_ms = 20 * len("You said hi.")
        assert said_ms <= len(answer) * 1_000 // rate_hz <= said_ms + frame_ms
        assert np.abs(answer[: rate_hz // 10]).max() > 6_000


async def test_the_loose_sizes_of_an_old_peer() -> None:
    """One of 1.0.0 sends what it likes in a message: it is heard as what it is in whole."""
    hears, speaks = ScriptedRecogniser(["hi"]), ToneSpeech(ms_per_character=2)
    async with serving(hears, speaks) as place, dialled(place.host.port) as peer:
        call = await peer.start_old("old", vad=QUICK.model_dump(mode="json"))
        sound, sizes = silence(100) + speech(300) + silence(400), [2, 14, 1_000, 322, 5_000]
        while sound:
            await call.say(sound[: sizes[0]])
            sound, sizes = sound[sizes[0] :], [*sizes[1:], sizes[0]]
        await peer.wait(lambda: call.texts("response.end"))
        assert 300 <= len(hears.utterances[0]) // 16 <= 300 + 100 + 300


# --- changes in the middle --------------------------------------------------------------------


async def test_values_that_change_in_an_utterance() -> None:
    """What the client asks for holds from then on: the same utterance ends by other values."""
    longer = QUICK.model_copy(update={"silence_threshold_ms": 600})
    async with trouble(["hello"]) as (place, caller):
        await caller.say(silence(100), speech(200))
        await caller.session.update(longer)
        await caller.say(speech(200), silence(400), speech(200), silence(900))
        await caller.answered()
        (end,) = ends(caller)
        assert end.duration_ms is not None
        assert abs(end.duration_ms - 1_000) <= 60
        assert len(place.hears.utterances) == 1


async def test_detection_that_is_turned_off_in_an_utterance() -> None:
    """From then on the client says when it is over: what was open goes on until then."""
    async with trouble(["hello", "again"]) as (place, caller):
        await caller.say(silence(100), speech(300))
        await caller.session.update(VADConfig(enabled=False))
        await caller.say(silence(1_000), speech(300))
        await caller.session.commit()
        await caller.answered()
        assert len(place.hears.utterances) == 1
        assert 1_500 <= len(place.hears.utterances[0]) // 16 <= 1_800
        await caller.session.update(ON)
        await goes_on(caller, "again")


async def test_detection_that_is_turned_on_in_an_utterance() -> None:
    """What is said from then on is detected; what came before it was not committed."""
    async with trouble(["hello"], wanted={"vad": OFF}) as (place, caller):
        await caller.say(speech(300))
        await caller.session.update(ON)
        await caller.say(speech(300), silence(400))
        await caller.answered()
        assert caller.texts("agent") == ["You said hello."]
        assert len(place.hears.utterances) == 1


async def test_audio_behind_the_end() -> None:
    """What comes after the client has ended the call is heard by nobody."""
    with logged() as log:
        hears, speaks = ScriptedRecogniser(["hi"]), ToneSpeech(ms_per_character=2)
        async with serving(hears, speaks) as place:
            before = await place.host.left()
            async with dialled(place.host.port) as peer:
                call = await peer.start("over", vad=QUICK.model_dump(mode="json"))
                sound = silence(100) + speech(300) + silence(400)
                frames = [sound[at : at + 320] for at in range(0, len(sound), 320)]
                await call.say(*frames[:15])
                await call.send("session.end", reason="call_hangup")
                await call.say(*frames[15:])
                await call.send("audio.end")
                await call.take("session.ended")
                await peer.settled()
            assert await place.host.emptied(before) == before
            assert hears.utterances == []
    assert not [line for line in log if line["log_level"] in {"error", "critical"}]
