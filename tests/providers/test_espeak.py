"""espeak-ng in its process: it speaks, survives what happens to processes, and leaves none."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
import structlog

from palaver.errors import ProviderError
from palaver.providers.espeak import MAX_TEXT, EspeakSpeech, EspeakVoice

HELLO = "Hello, good morning."
LONG = "One two three four five six seven. " * 140


@pytest.fixture
async def speech() -> AsyncIterator[EspeakSpeech]:
    """Make an engine that notices a hung process within half a second; closed after the test."""
    engine = EspeakSpeech(timeout=20.0, stall_timeout=0.5)
    yield engine
    await engine.close()


async def say(engine: EspeakSpeech, text: str, language: str | None = None) -> bytes:
    """Return the whole speech of ``text``."""
    return b"".join([chunk async for chunk in engine.speak(text, language=language)])


def pid_of(engine: EspeakSpeech) -> int:
    """Return the id of the process that runs."""
    assert engine._desk.process is not None
    return engine._desk.process.pid


def seconds(pcm: bytes) -> float:
    """Return how long it lasts."""
    return len(pcm) / 2 / 22_050


def alike(one: bytes, other: bytes) -> bool:
    """Whether both are the same words in the same voice.

    espeak-ng never speaks twice the same: a few samples more or less, each a little different.
    """
    return abs(seconds(one) - seconds(other)) < 0.002 + 0.004 * seconds(one)


def pitch_hz(pcm: bytes) -> float:
    """Return the pitch of one vowel, from its autocorrelation."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    middle = samples[len(samples) // 4 : len(samples) // 2]
    against = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    past_zero = max(70, int(np.argmax(against < 0)))
    return 22_050 / (past_zero + int(np.argmax(against[past_zero:400])))


async def test_it_speaks_two_languages(speech: EspeakSpeech) -> None:
    """Whole samples that are not silence, and differ by language."""
    english = await say(speech, "banana", "en")
    portuguese = await say(speech, "banana", "pt-BR")
    assert not alike(english, portuguese)
    for pcm in (english, portuguese):
        assert 0.4 < seconds(pcm) < 2.0
        assert len(pcm) % 2 == 0
        assert np.abs(np.frombuffer(pcm, "<i2")).max() > 3_000
    assert speech.sample_rate_hz == 22_050


@pytest.mark.parametrize(
    ("tag", "same_as", "unlike"),
    [
        ("PT-br", "pt-BR", "en"),
        ("en", "en-US", "en-GB"),
        ("en-AU", "en", "en-GB"),
        ("de-CH-1996", "de", "en"),
        ("zh-TW", "cmn", "en"),
        ("x" * 500, "en", "de"),
        ("--", "en", "de"),
    ],
)
async def test_the_nearest_voice_speaks(
    speech: EspeakSpeech, tag: str, same_as: str, unlike: str
) -> None:
    """A tag in any case, a wider one where the exact one is unknown, else English."""
    heard, same, other = [await say(speech, LONG[:180], name) for name in (tag, same_as, unlike)]
    assert alike(heard, same)
    assert not alike(heard, other)


async def test_an_unknown_language_is_logged_once(speech: EspeakSpeech) -> None:
    """Whoever wonders about the English finds the reason."""
    with structlog.testing.capture_logs() as logs:
        await say(speech, "hi", "tlh-x")
        await say(speech, "hi", "tlh-x")
    assert [(log["event"], log["language"]) for log in logs] == [("language_unknown", "tlh-x")]


async def test_voices_share_the_process(speech: EspeakSpeech) -> None:
    """Rate, pitch, variant and name of the voice each change what is heard."""
    plain = await say(speech, HELLO)
    pid = pid_of(speech)
    slow = speech.with_voice(EspeakVoice(rate_wpm=100))
    assert seconds(await say(slow, HELLO)) > 1.3 * seconds(plain)
    british = speech.with_voice(EspeakVoice(names={"en": "en-gb"}))
    assert not alike(await say(british, HELLO, "en"), plain)
    high = [await say(speech.with_voice(EspeakVoice(pitch=pitch)), "ah") for pitch in (40, 90)]
    assert pitch_hz(high[1]) > 1.2 * pitch_hz(high[0])
    woman = speech.with_voice(EspeakVoice(variant="f3"))
    assert pitch_hz(await say(woman, "ah")) > 1.2 * pitch_hz(await say(speech, "ah"))
    assert len({engine.fingerprint for engine in (speech, slow, british, woman)}) == 4
    assert alike(await say(speech, HELLO), plain)
    assert pid_of(speech) == pid


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_wpm": 79}, "rate_wpm must be 80 to 450"),
        ({"pitch": 100}, "pitch must be 0 to 99"),
        ({"variant": "../../etc/passwd"}, "no name of a voice"),
        ({"names": {"en": "-v"}}, "no name of a voice"),
        ({"names": {"en": ""}}, "no name of a voice"),
    ],
)
def test_a_voice_that_cannot_be(options: dict[str, object], text: str) -> None:
    """It is refused where it is made."""
    with pytest.raises(ValueError, match=text):
        EspeakVoice(**options)  # type: ignore[arg-type]


async def test_a_voice_that_is_not_there(speech: EspeakSpeech) -> None:
    """The request fails with its name; the next one is served by the same process."""
    other = speech.with_voice(EspeakVoice(names={"en": "nosuch"}))
    with pytest.raises(ProviderError, match="has no voice 'nosuch'"):
        await say(other, HELLO, "en")
    pid = pid_of(speech)
    assert await say(speech, HELLO)
    assert pid_of(speech) == pid


async def test_markup_is_no_command(speech: EspeakSpeech) -> None:
    """Tags, phonemes and control codes in a text are never obeyed."""
    assert seconds(await say(speech, 'hi <break time="30s"/> there')) < 10
    assert seconds(await say(speech, "[[h@'loU]]")) != seconds(await say(speech, "hello"))
    commands = await say(speech, "\x0180S hello\x00 there\ud800")
    assert alike(commands, await say(speech, "80S hello there"))


@pytest.mark.parametrize("text", ["", " \n\t", "\x00\x01"])
async def test_nothing_to_say(speech: EspeakSpeech, text: str) -> None:
    """It is no error, and no sound."""
    assert await say(speech, text) == b""


async def test_a_text_is_bounded(speech: EspeakSpeech) -> None:
    """The longest one is spoken; a longer one is refused."""
    assert seconds(await say(speech, ("hello " * 900)[:MAX_TEXT])) > 100
    with pytest.raises(ProviderError, match="5001 characters is too long: at most 5000"):
        await say(speech, "x" * 5_001)


async def test_many_at_once(speech: EspeakSpeech) -> None:
    """Each gets its own words, whatever the others ask for."""
    texts = ["one " * number for number in range(1, 9)]
    alone = [await say(speech, text) for text in texts]
    together = await asyncio.gather(*(say(speech, text) for text in texts))
    longer = [seconds(one) - seconds(other) for one, other in zip(together, alone, strict=True)]
    assert max(map(abs, longer)) < 0.1  # a word takes 0.3 s


async def test_a_slow_listener_holds_nobody_up(speech: EspeakSpeech) -> None:
    """Others are served while it keeps what was made for it."""
    async with aclosing(speech.speak(LONG)) as slow:
        first = await anext(slow)
        assert await say(speech, HELLO)
        rest = b"".join([chunk async for chunk in slow])
    assert abs(seconds(first + rest) - seconds(await say(speech, LONG))) < 1.0


async def test_a_listener_may_leave(speech: EspeakSpeech) -> None:
    """The process stops in the middle, stays the same, and serves the next one."""
    for _ in range(5):
        async with aclosing(speech.speak(LONG)) as leaving:
            await anext(leaving)
    pid = pid_of(speech)
    assert await say(speech, HELLO)
    assert pid_of(speech) == pid


async def test_a_cancelled_listener(speech: EspeakSpeech) -> None:
    """Cancelling whoever waits for speech leaves nothing behind."""
    listening = asyncio.create_task(say(speech, LONG))
    await asyncio.sleep(0)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert await say(speech, HELLO)
    assert speech._desk.tasks == set()


async def test_the_queue_is_bounded() -> None:
    """One too many is refused at once; those who wait are served."""
    engine = EspeakSpeech(max_waiting=2)
    waiting = [asyncio.create_task(say(engine, HELLO)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(ProviderError, match="busy: 2 texts wait"):
        await say(engine, HELLO)
    assert all(await asyncio.gather(*waiting))
    await engine.close()


async def test_a_process_that_died_is_replaced(speech: EspeakSpeech) -> None:
    """While nothing was asked of it: nobody notices."""
    await speech.open()
    pid = pid_of(speech)
    os.kill(pid, signal.SIGKILL)
    assert await say(speech, HELLO)
    assert pid_of(speech) != pid


async def test_a_process_that_hangs_is_replaced(speech: EspeakSpeech) -> None:
    """After half a second of silence it is ended, and the text spoken by another."""
    await speech.open()
    pid = pid_of(speech)
    os.kill(pid, signal.SIGSTOP)
    assert await asyncio.gather(say(speech, HELLO), say(speech, HELLO))
    assert pid_of(speech) != pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_process_that_dies_in_the_middle(speech: EspeakSpeech) -> None:
    """What was heard cannot be said again: that request fails, and the next one works."""
    async with aclosing(speech.speak(LONG)) as listening:
        await anext(listening)
        os.kill(pid_of(speech), signal.SIGKILL)
        with pytest.raises(ProviderError, match="espeak-ng: it died"):
            _ = [chunk async for chunk in listening]
    assert await say(speech, HELLO)


async def test_closing_ends_the_process() -> None:
    """And whoever still listens hears why; a text after that starts it anew."""
    engine = EspeakSpeech()
    await engine.close()
    async with aclosing(engine.speak(LONG)) as listening:
        await anext(listening)
        pid = pid_of(engine)
        await engine.close()
        with pytest.raises(ProviderError, match="espeak-ng was closed"):
            _ = [chunk async for chunk in listening]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await say(engine, HELLO)
    await engine.close()


async def test_a_process_ends_with_its_input() -> None:
    """A server that was killed leaves none behind."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "palaver.providers.espeak_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    process.send_signal(signal.SIGINT)  # Ctrl-C alone ends nothing once it is ready
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(20):
        await process.wait()


# --- where it is not installed ---

WITHOUT_LIBRARY = """
import ctypes.util
ctypes.util.find_library = lambda name: None
raise ImportError
"""
COMMAND = """#!{python}
import struct, sys
if "--voices" in sys.argv:
    print("Pty Language       Age/Gender VoiceName          File                 Other Languages")
    print(" 5  pt-br           --/M      Portuguese_(Brazil) roa/pt-BR            (pt 6)")
    print(" 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)")
elif "en-us" in sys.argv:
    sys.exit(3)
else:
    text = sys.stdin.buffer.read()
    sys.stdout.buffer.write(b"RIFF" + bytes(40) + b"".join(struct.pack("<h", b) for b in text))
"""


@pytest.fixture
def no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let new processes find neither the package nor the library; return their PATH."""
    (tmp_path / "espeakng_loader.py").write_text(WITHOUT_LIBRARY, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


async def test_nothing_is_installed(no_library: Path, speech: EspeakSpeech) -> None:
    """The error says what to install, at the opening and at each text."""
    for attempt in (speech.open(), say(speech, HELLO)):
        with pytest.raises(ProviderError, match=r"install palaver\[espeak\] or espeak-ng"):
            await attempt
    assert speech._desk.process is None


async def test_the_command_speaks(no_library: Path, speech: EspeakSpeech) -> None:
    """Without the library, with the text on its standard input."""
    command = no_library / "espeak-ng"
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    pcm = await say(speech, "$(id) [[a]]", "pt-BR")
    assert bytes(np.frombuffer(pcm, "<i2").astype("u1")) == b"$(id) [ [a]]"
    with pytest.raises(ProviderError, match="ended with 3"):
        await say(speech, HELLO, "en")
