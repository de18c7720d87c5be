"""Calls whose engines break: the caller hears of it, the call goes on, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from palaver.protocols.asp.messages import TranscriptMessage
from palaver.providers.interfaces import Transcript
from palaver.testing.speech import ToneSpeech
from tests.resilience.voice import (
    BUSY,
    FAILED,
    NOT_HEARD,
    Caller,
    Exchange,
    OddRecogniser,
    OddVoice,
    calling,
    goes_on,
    logged,
    named,
    trouble,
)

# --- who hears ------------------------------------------------------------------------------


def broken() -> str:
    """Raise what no interface speaks of."""
    raise RuntimeError("secret detail")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (broken, "the recogniser broke: RuntimeError"),
        (lambda: None, "the recogniser answered with a NoneType, not with a transcript"),
        (lambda: "just text", "the recogniser answered with a str, not with a transcript"),
        (lambda: Transcript(b"hi"), "the recogniser answered with a bytes, not with a transcript"),  # type: ignore[arg-type]
        (asyncio.Event().wait, "the recogniser took longer than 0.5 s"),
    ],
)
async def test_a_recogniser_that_fails(answer: Callable[[], Any], reason: str) -> None:
    """Whatever it raises or returns, the caller is asked to say it again, and the log says why."""
    hears = OddRecogniser([answer], ["hello"])
    with logged() as log:
        async with trouble([], hears=hears, voice_transcribe_timeout=0.5) as (_, caller):
            await caller.utter()
            await caller.answered()
            assert caller.texts("agent") == [NOT_HEARD]
            await goes_on(caller)
    (line,) = named(log, "voice_transcription_failed")
    assert line["error"] == reason
    assert "secret" not in str([one for one in log if "exc_info" not in one])


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (Transcript("hel\x00lo \x1b[2J\ud800 you\n"), "hel lo  [2J  you"),
        (Transcript("hi", "no language, that"), "hi"),
        (Transcript("hi", "x" * 200), "hi"),
        (Transcript("hi", None, None), "hi"),  # type: ignore[arg-type]
        (Transcript("hi", None, float("nan")), "hi"),
    ],
)
async def test_a_recogniser_that_says_odd_things(said: Transcript, heard: str) -> None:
    """What is no text is left out: the rest is answered, told and stored."""
    async with trouble([said, "hello"]) as (place, caller):
        await caller.utter()
        await caller.answered()
        assert caller.texts("user") == [heard]
        assert caller.texts("agent") == [f"You said {heard}.".replace("  ", " ")]
        await goes_on(caller)
        assert place.speaks.said[0][1] is None


async def test_a_recogniser_that_never_stops() -> None:
    """Of a text that nobody can have said the beginning is answered, and the log says so."""
    with logged() as log:
        async with trouble(["word " * 20_000, "hello"]) as (_, caller):
            await caller.utter()
            await caller.until(lambda _: len(caller.texts("agent")) > 0)
            assert len(caller.texts("user")[0]) <= 4_000
            await goes_on(caller)
    assert named(log, "voice_transcript_too_long")[0]["characters"] == 100_000


async def test_a_recogniser_that_does_not_heed() -> None:
    """It goes on though it was cancelled: nobody waits for it, and its answer counts no more."""
    released = asyncio.Event()
    loop = asyncio.get_running_loop()
    begun: list[asyncio.AbstractEventLoop] = []

    async def stubborn() -> Transcript:
        begun.append(asyncio.get_running_loop())
        gate = asyncio.Event()
        loop.call_soon_threadsafe(release.append, gate)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                loop.call_soon_threadsafe(released.set)
        return Transcript("too late")

    release: list[asyncio.Event] = []
    hears = OddRecogniser([stubborn], ["hello"])
    async with trouble([], hears=hears, voice_transcribe_timeout=0.5) as (place, caller):
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent") == [NOT_HEARD]
        await goes_on(caller)
        await asyncio.wait_for(released.wait(), 5)
        assert (await place.host.left())["given up"] == 1
        begun[0].call_soon_threadsafe(release[0].set)
    assert "too late" not in caller.texts("user")


# --- who speaks -----------------------------------------------------------------------------


async def half(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Break in the middle with what no interface speaks of."""
    yield voice._tone(100)
    raise RuntimeError("secret detail")


async def late(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Never begin."""
    await asyncio.Event().wait()
    yield b""


async def stalls(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Begin, and never go on."""
    yield voice._tone(100)
    await asyncio.Event().wait()


async def empty(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Give nothing, again and again, without ever waiting."""
    while True:
        yield b""


async def text(voice: ToneSpeech) -> AsyncGenerator[Any, None]:
    """Give what is no sound."""
    yield "sound"


@pytest.mark.parametrize(
    ("once", "before_ms", "reason"),
    [
        (half, 100, "the voice broke: RuntimeError"),
        (late, 0, "the voice said nothing for 0.5 s"),
        (stalls, 100, "the voice said nothing for 0.5 s"),
        (empty, 0, "the voice said nothing for 0.5 s"),
        (text, 0, "the voice broke: TypeError"),
    ],
)
async def test_a_voice_that_fails(once: Any, before_ms: int, reason: str) -> None:
    """A tone stands for what is not said; the words are told, and the log says why."""
    speaks = OddVoice(once)
    with logged() as log:
        async with trouble(["hi", "hello"], speaks, voice_speak_timeout=0.5) as (_, caller):
            await caller.utter()
            await caller.answered()
            assert caller.texts("agent") == ["You said hi."]
            assert before_ms + 200 <= caller.audio_ms <= before_ms + 240
            await goes_on(caller)
    (line,) = named(log, "voice_speech_failed")
    assert line["error"] == reason


async def silent(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Give nothing, and be done."""
    return
    yield b""


async def odd(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Give 400 ms in pieces of seven bytes, and half a sample too much."""
    sound = voice._tone(400) + b"\x01"
    for start in range(0, len(sound), 7):
        yield sound[start : start + 7]


@pytest.mark.parametrize(("once", "ms"), [(silent, 0), (odd, 400)])
async def test_a_voice_with_odd_habits(once: Any, ms: int) -> None:
    """Whole samples are said, and words that have no sound are told all the same."""
    async with trouble(["hi", "hello"], OddVoice(once)) as (_, caller):
        await caller.utter()
        await caller.until(lambda _: len(caller.texts("agent")) == 1)
        await caller.answered()
        assert caller.texts("agent") == ["You said hi."]
        assert ms <= caller.audio_ms <= ms + 20
        await goes_on(caller)


async def huge(voice: ToneSpeech) -> AsyncGenerator[bytes, None]:
    """Give ten megabytes at once."""
    yield voice._tone(1_000) * 650


async def test_a_voice_that_gives_all_at_once() -> None:
    """Little of it is made ahead, another call is answered meanwhile, and speech interrupts it."""
    speaks = OddVoice(huge)
    async with trouble(["hi", "other", "hello"], speaks) as (place, caller):
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 100)
        async with calling(place) as other:
            await other.utter()
            await other.answered()
            assert other.texts("agent") == ["You said other."]
        assert caller.audio_ms < 10_000
        await goes_on(caller)


# --- who thinks -----------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["endless", "letters"])
async def test_an_agent_that_says_very_much(word: str) -> None:
    """100 KB without an end of a sentence are said in pieces, until the caller interrupts."""
    async with trouble([word, "hello"]) as (place, caller):
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 1_000)
        assert all(len(text) <= 240 for text, _ in place.speaks.said)
        await goes_on(caller)


async def test_an_agent_that_says_nothing_sayable() -> None:
    """There is no sound and no answer, and the call goes on."""
    async with trouble(["blank", "hello"]) as (place, caller):
        await caller.utter()
        await caller.until(lambda _: caller.texts("user") == ["blank"])
        await goes_on(caller)
        assert [text for text, _ in place.speaks.said] == ["You said hello."]


async def test_an_agent_that_says_control_characters() -> None:
    """No voice and no client is given them."""
    async with trouble(["controls", "hello"]) as (place, caller):
        await caller.utter()
        await caller.answered()
        said = [text for text, _ in place.speaks.said] + caller.texts("agent")
        assert all(text.isprintable() for text in said)
        await goes_on(caller)


async def test_an_agent_that_breaks_after_some_text() -> None:
    """What it has said is heard, and then that something went wrong; not what."""
    async with trouble(["cracks", "hello"]) as (_, caller):
        await caller.utter()
        await caller.answered()
        assert caller.texts("agent") == ["This much I know.", FAILED]
        await goes_on(caller)


async def test_an_agent_that_asks_twice() -> None:
    """Each answer goes to the task that asked."""
    async with trouble(["twice", "blue", "red", "hello"]) as (_, caller):
        for count in (1, 2, 3):
            await caller.utter()
            await caller.answered(count)
        assert caller.texts("agent") == ["First?", "Second?", "So blue and red."]
        await goes_on(caller)


async def test_a_question_that_is_interrupted_is_answered() -> None:
    """Who answers before a question was asked to its end has answered it."""
    speaks = ToneSpeech(ms_per_character=300)
    async with trouble(["twice", "blue", "red"], speaks) as (_, caller):
        await caller.utter()
        await caller.until(lambda _: caller.audio_ms > 100)
        await caller.utter()
        await caller.until(lambda _: "Second?" in caller.texts("agent"))
        await caller.utter()
        await caller.until(lambda _: "So blue and red." in caller.texts("agent"))


async def cancelled(place: Exchange, caller: Caller) -> None:
    """Cancel the task that the caller waits for: a task that works outlives its call."""
    task_id = caller.messages(TranscriptMessage)[-1].task_id
    assert task_id is not None
    await place.host.run(place.host.app.engine.cancel(task_id))


async def test_an_engine_that_is_full() -> None:
    """The caller is told that it is too busy, and why is in the log; a later turn is answered."""
    with logged() as log:
        async with (
            trouble(["hangs", "hi", "hello"], max_open_tasks=1) as (place, caller),
            calling(place) as first,
        ):
            await first.utter()
            await first.until(lambda _: first.texts("user") == ["hangs"])
            await caller.utter()
            await caller.answered()
            assert caller.texts("agent") == [BUSY]
            await cancelled(place, first)
            await goes_on(caller)
    (line,) = named(log, "voice_turn_refused")
    assert "1" in line["error"]
