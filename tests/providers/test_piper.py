"""Voices of Piper: a process of its own speaks, sentence by sentence, and is replaced if it hangs.

A stand-in with the library's call signature takes the library's place in that process, for no
voice is installed with the tests. Where ``PIPER_VOICE`` names a voice's file, it speaks as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from palaver.errors import ProviderError
from palaver.providers.piper import PiperSpeech

TIMEOUT = 30.0
PATIENCE = 20.0

LIBRARY = """
import os
import time
from dataclasses import dataclass

print("a library that talks on standard output")


@dataclass
class SynthesisConfig:
    speaker_id: int | None = None
    length_scale: float | None = None


@dataclass
class AudioChunk:
    sample_rate: int
    sample_width: int
    sample_channels: int
    audio_int16_bytes: bytes


class PiperVoice:
    def __init__(self, name):
        self.name = name
        self.config = type("PiperConfig", (), {"sample_rate": 22050})

    @staticmethod
    def load(model_path, config_path=None, use_cuda=False):
        content = open(model_path).read()
        if content == "slow":
            time.sleep(60)
        if content != "voice":
            raise RuntimeError("no such model\\nat all")
        return PiperVoice(model_path)

    def synthesize(self, text, syn_config=None, include_alignments=False):
        for sentence in text.split("."):
            print("speaking", sentence)
            word = sentence.strip()
            if word == "hang":
                time.sleep(60)
            if word == "crash":
                os._exit(3)
            if word == "fail":
                raise ValueError("no phonemes\\nfor that")
            if word == "manner":
                word = f"{syn_config.speaker_id} {syn_config.length_scale:g}"
            if word:
                yield AudioChunk(22050, 2, 2 if word == "stereo" else 1, word.encode() * 2)
"""


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of a voice; processes find the stand-in in place of the library."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "piper.py").write_text(LIBRARY, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(library), prepend=os.pathsep)
    file = tmp_path / "en_US-test.onnx"
    file.write_text("voice", encoding="utf-8")
    described = json.dumps({"audio": {"sample_rate": 22_050}})
    Path(f"{file}.json").write_text(described, encoding="utf-8")
    return file


@asynccontextmanager
async def speaking(voice: Path, **options: Any) -> AsyncIterator[PiperSpeech]:
    """Run an engine that is closed at the end."""
    speech = PiperSpeech(voice, **options)
    try:
        async with asyncio.timeout(TIMEOUT):
            yield speech
    finally:
        await speech.close()


async def spoken(speech: PiperSpeech, text: str, pieces: list[bytes] | None = None) -> list[bytes]:
    """Return the pieces of speech; they are put into ``pieces`` as they come."""
    pieces = [] if pieces is None else pieces
    async for piece in speech.speak(text, language="en"):
        pieces.append(piece)
    return pieces


def rewrite(file: Path, content: str | None) -> None:
    """Put something else into a file, or take it away."""
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")


async def test_sentences(voice: Path) -> None:
    """Each sentence is a piece; what the library prints does no harm."""
    async with speaking(voice, speaker=2, speed=2.0) as speech:
        assert speech.sample_rate_hz == 22_050
        await speech.open()
        assert await spoken(speech, "Olá. Good day.") == ["Olá".encode() * 2, b"Good day" * 2]
        assert await spoken(speech, "manner.") == [b"2 0.5" * 2]
        assert await spoken(speech, " \n") == []
        assert await spoken(speech, "...") == []


async def test_many_at_once(voice: Path) -> None:
    """Texts of several calls do not mix, and what is left unspoken does not disturb."""
    async with speaking(voice) as speech:
        async with aclosing(speech.speak("one. two. three.")) as pieces:
            assert await anext(pieces) == b"oneone"
        texts = [f"a{number}. b{number}." for number in range(8)]
        found = await asyncio.gather(*(spoken(speech, text) for text in texts))
    expected = [f"a{number}a{number} b{number}b{number}".split() for number in range(8)]
    assert [[piece.decode() for piece in pieces] for pieces in found] == expected


async def test_cancelling(voice: Path) -> None:
    """Who is cancelled while a sentence is computed leaves the engine to the others."""
    async with speaking(voice) as speech:
        await speech.open()
        tasks = [asyncio.create_task(spoken(speech, "one. two.")) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends[:2]] == [asyncio.CancelledError] * 2
        assert ends[2] == [b"oneone", b"twotwo"]


@pytest.mark.parametrize(
    ("text", "before", "why"),
    [
        ("one. fail.", [b"oneone"], "the Piper voice 'en_US-test.onnx' failed: no phonemes"),
        (
            "one. stereo.",
            [b"oneone"],
            (
                "the Piper voice 'en_US-test.onnx' failed: "
                "the voice speaks in 2 channels of 2 bytes a sample"
            ),
        ),
        ("one. crash.", [b"oneone"], "Piper: its process ended"),
        (
            "x" * 101,
            [],
            "the Piper voice 'en_US-test.onnx' takes 100 characters at once, not 101",
        ),
    ],
)
async def test_texts_that_fail(voice: Path, text: str, before: list[bytes], why: str) -> None:
    """What came before is sound, the reason is one sentence, and the next text is spoken."""
    async with speaking(voice, max_text_chars=100) as speech:
        pieces: list[bytes] = []
        with pytest.raises(ProviderError) as caught:
            await spoken(speech, text, pieces)
        assert str(caught.value) == why
        assert pieces == before
        assert await spoken(speech, "well.") == [b"wellwell"]


async def test_a_process_that_hangs(voice: Path) -> None:
    """A sentence without an end is given up, and the next text has a new process."""
    async with speaking(voice, deadline=1.0) as speech:
        await speech.open()
        with pytest.raises(ProviderError, match=r"was not done within 1 s$"):
            await spoken(speech, "hang.")
        assert await spoken(speech, "well.") == [b"wellwell"]


async def test_a_process_that_is_killed(voice: Path) -> None:
    """A process that is lost between two texts is replaced."""
    async with speaking(voice) as speech:
        await speech.open()
        process = speech._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait([process._reading], timeout=PATIENCE)
        assert await spoken(speech, "well.") == [b"wellwell"]


async def test_how_many_may_wait(voice: Path) -> None:
    """More texts than the limit are refused; closing ends those that are spoken."""
    async with speaking(voice, max_waiting=1) as speech:
        await speech.open()
        waiting = asyncio.create_task(spoken(speech, "hang."))
        await asyncio.sleep(0)
        with pytest.raises(ProviderError, match=r"has 1 texts to speak, which is the limit$"):
            await spoken(speech, "well.")
        await speech.close()
        with pytest.raises(ProviderError, match=r"process ended$"):
            await waiting
        with pytest.raises(ProviderError, match=r"was closed$"):
            await spoken(speech, "well.")


@pytest.mark.parametrize(
    ("content", "patience", "why"),
    [
        ("slow", 1.0, r"was not loaded within 1 s$"),
        ("noise", PATIENCE, r"cannot be loaded: no such model$"),
        (None, PATIENCE, r"cannot be read: there is no such file$"),
    ],
)
async def test_voices_that_cannot_be_loaded(
    voice: Path, content: str | None, patience: float, why: str
) -> None:
    """What is wrong with a voice is told when it is opened, and when it is to speak."""
    rewrite(voice, content)
    async with speaking(voice, load_timeout=patience) as speech:
        with pytest.raises(ProviderError, match=why):
            await speech.open()
        with pytest.raises(ProviderError, match=why):
            await spoken(speech, "well.")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", r"onnx\.json describes no voice$"),
        ("{}", r"onnx\.json describes no voice$"),
        ("[]", r"onnx\.json describes no voice$"),
        (None, r"onnx\.json: No such file or directory$"),
    ],
)
def test_voices_without_a_description(voice: Path, content: str | None, why: str) -> None:
    """The file beside a voice tells its rate; without it nothing can be spoken."""
    rewrite(Path(f"{voice}.json"), content)
    speech = PiperSpeech(voice)
    with pytest.raises(ProviderError, match=why):
        _ = speech.sample_rate_hz
    with pytest.raises(ProviderError, match=why):
        asyncio.run(speech.open())


async def test_without_the_library(voice: Path, tmp_path: Path) -> None:
    """Where the extra is not installed, the text says how to get it."""
    missing = "raise ModuleNotFoundError('piper')"
    (tmp_path / "library" / "piper.py").write_text(missing, encoding="utf-8")
    async with speaking(voice) as speech:
        with pytest.raises(
            ProviderError, match=r"missing: pip install 'palaver\[piper\]' \(piper\)$"
        ):
            await speech.open()


@pytest.mark.skipif(
    "PIPER_VOICE" not in os.environ,
    reason="needs piper-tts, and PIPER_VOICE: the .onnx file of a voice",
)
async def test_a_real_voice() -> None:
    """A real voice speaks two sentences, each longer than half a second."""
    async with speaking(Path(os.environ["PIPER_VOICE"])) as speech:
        pieces = await spoken(speech, "Good morning to you. How are you today?")
        assert len(pieces) == 2
        assert all(len(piece) > speech.sample_rate_hz for piece in pieces)
