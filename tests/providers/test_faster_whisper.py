"""Whisper on this machine: the model is loaded once, computes in turn, and is never fetched.

A stand-in with the library's call signature takes the library's place, for no model is installed
with the tests. Where ``WHISPER_MODEL`` names the folder of a model, it is heard as well.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from palaver.errors import ProviderError
from palaver.providers.faster_whisper import WhisperRecogniser
from palaver.providers.interfaces import Transcript

TIMEOUT = 10.0
AUDIO = bytes(range(256)) * 125  # one second at 16 kHz

LIBRARY = """
import threading
from dataclasses import dataclass

gate = threading.Event()
gate.set()
begun = threading.Semaphore(0)
calls = []
loads = []
segments_left = []


@dataclass
class Segment:
    start: float
    end: float
    text: str
    avg_logprob: float = -0.2
    no_speech_prob: float = 0.01


@dataclass
class TranscriptionInfo:
    language: str


SAID = [Segment(0.0, 1.0, " Good"), Segment(1.0, 2.0, " day.", -0.4)]


def download_model(size_or_id, output_dir=None, local_files_only=False, cache_dir=None):
    assert local_files_only
    if size_or_id == "tiny":
        return "/cache/tiny"
    raise ValueError("not there, and this is a long\\nstory")


class WhisperModel:
    def __init__(
        self,
        model_size_or_path,
        device="auto",
        device_index=0,
        compute_type="default",
        cpu_threads=0,
        num_workers=1,
        download_root=None,
        local_files_only=False,
    ):
        loads.append((model_size_or_path, device, compute_type, cpu_threads, local_files_only))
        gate.wait(10)
        if device == "cuda":
            raise RuntimeError("no CUDA here\\nat all")

    def transcribe(
        self,
        audio,
        language=None,
        task="transcribe",
        log_progress=False,
        beam_size=5,
        temperature=(0.0, 0.2),
        condition_on_previous_text=True,
        without_timestamps=False,
        vad_filter=False,
    ):
        calls.append((audio, language, beam_size))
        if language == "xx":
            raise ValueError("'xx' is not a valid language code")
        return self._segments(), TranscriptionInfo(language or "pt")

    def _segments(self):
        for segment in SAID:
            begun.release()
            gate.wait(10)
            segments_left.append(segment)
            yield segment
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put the stand-in where the library is looked for."""
    file = tmp_path / "faster_whisper.py"
    file.write_text(LIBRARY, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("faster_whisper", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of a model."""
    made = tmp_path / "model"
    made.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (made / name).write_text("{}", encoding="utf-8")
    return made


@asynccontextmanager
async def hearing(model: str | Path, **options: Any) -> AsyncIterator[WhisperRecogniser]:
    """Run a recogniser that is closed at the end."""
    ears = WhisperRecogniser(model, **options)
    try:
        async with asyncio.timeout(TIMEOUT):
            yield ears
    finally:
        await ears.close()


async def in_thread(wait: Callable[[], Any]) -> None:
    """Wait for what another thread does."""
    assert await asyncio.to_thread(wait)


async def test_an_utterance(library: ModuleType, folder: Path) -> None:
    """The samples go in as floats, and the segments come out as one text."""
    async with hearing(folder, compute_type="int8", beam_size=3, device="cpu") as ears:
        assert ears.sample_rate_hz == 16_000
        heard = await ears.transcribe(AUDIO, language="en-GB")
        assert (await ears.transcribe(AUDIO)).language == "pt"
    assert (heard.text, heard.language) == ("Good day.", "en-GB")
    assert heard.confidence == pytest.approx(math.exp(-0.3))
    assert library.loads == [(str(folder), "cpu", "int8", 0, True)]
    (samples, language, beam_size), _ = library.calls
    assert (samples.dtype, samples.size, language, beam_size) == ("float32", 16_000, "en", 3)
    assert samples[:2].tolist() == [0x0100 / 32_768, 0x0302 / 32_768]


async def test_noise_is_no_text(library: ModuleType, folder: Path) -> None:
    """What the model made of noise is nothing that was said."""
    library.SAID[:] = [library.Segment(0.0, 1.0, " Thanks for watching!", -1.5, 0.9)]
    async with hearing(folder) as ears:
        assert not (await ears.transcribe(AUDIO)).understood


async def test_no_audio_and_half_a_sample(library: ModuleType, folder: Path) -> None:
    """Nothing needs no model; half a sample is a mistake of the caller."""
    async with hearing(folder) as ears:
        assert await ears.transcribe(b"", language="en") == Transcript("", "en")
        with pytest.raises(ValueError, match="3 bytes does not consist of whole samples"):
            await ears.transcribe(b"abc")
    assert library.loads == []


async def test_it_is_loaded_once(library: ModuleType, folder: Path) -> None:
    """Whoever comes while it is loaded waits for that."""
    library.gate.clear()
    async with hearing(folder) as ears:
        opening = [asyncio.create_task(ears.open()) for _ in range(3)]
        heard = asyncio.create_task(ears.transcribe(AUDIO))
        await asyncio.sleep(0)
        library.gate.set()
        await asyncio.gather(*opening)
        assert (await heard).understood
    assert len(library.loads) == 1


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        (
            "small",
            {},
            (
                "the Whisper model 'small' is not on this machine: give the path of its folder, "
                "or allow it to be downloaded"
            ),
        ),
        (
            "./nowhere",
            {},
            "the Whisper model './nowhere' cannot be loaded: there is no such folder",
        ),
        (
            Path("nowhere"),
            {"download": True},
            "the Whisper model 'nowhere' cannot be loaded: there is no such folder",
        ),
        ("tiny", {"device": "cuda"}, "the Whisper model 'tiny' cannot be loaded: no CUDA here"),
    ],
)
async def test_models_that_cannot_be_loaded(
    library: ModuleType, model: str | Path, options: dict[str, Any], text: str
) -> None:
    """What is wrong is one sentence, at the start and at each utterance."""
    async with hearing(model, **options) as ears:
        for attempt in (ears.open(), ears.transcribe(AUDIO)):
            with pytest.raises(ProviderError) as caught:
                await attempt
            assert str(caught.value) == text


async def test_nothing_is_fetched_unasked(library: ModuleType, folder: Path) -> None:
    """A named model is taken from the cache; it is fetched by those only who were told to."""
    async with hearing("tiny") as ears:
        await ears.open()
    async with hearing("large", download=True) as ears:
        await ears.open()
    loads = [(where, offline) for where, *_, offline in library.loads]
    assert loads == [("/cache/tiny", True), ("large", False)]
    (folder / "tokenizer.json").unlink()
    async with hearing(folder) as ears:
        with pytest.raises(ProviderError, match=r"tokenizer\.json is missing in its folder"):
            await ears.open()


async def test_without_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the text says how to get it."""
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    async with hearing(folder) as ears:
        with pytest.raises(ProviderError, match=r"pip install 'palaver\[whisper\]'"):
            await ears.open()


async def test_a_model_that_fails(library: ModuleType, folder: Path) -> None:
    """An utterance that fails does no harm to the next."""
    async with hearing(folder) as ears:
        with pytest.raises(ProviderError, match=r"failed: .xx. is not a valid language code$"):
            await ears.transcribe(AUDIO, language="xx")
        assert (await ears.transcribe(AUDIO)).text == "Good day."


async def test_a_deadline(library: ModuleType, folder: Path) -> None:
    """An utterance that takes too long is given up, and its rest is not computed."""
    async with hearing(folder, deadline=0.1) as ears:
        await ears.open()
        library.gate.clear()
        with pytest.raises(ProviderError, match=r"was not done within 0\.1 s$"):
            await ears.transcribe(AUDIO)
        library.gate.set()
        assert (await ears.transcribe(AUDIO)).text == "Good day."
    assert len(library.segments_left) == 3  # one of the first, two of the second


async def test_a_load_that_takes_too_long(library: ModuleType, folder: Path) -> None:
    """Loading has a deadline of its own."""
    library.gate.clear()
    async with hearing(folder, load_timeout=0.1) as ears:
        with pytest.raises(ProviderError, match=r"was not loaded within 0\.1 s$"):
            await ears.open()
        library.gate.set()
        assert (await ears.transcribe(AUDIO)).understood


async def test_cancelling_stops_the_work(library: ModuleType, folder: Path) -> None:
    """Who is cancelled leaves no work behind but the segment that is computed."""
    async with hearing(folder) as ears:
        await ears.open()
        library.gate.clear()
        first, second = (asyncio.create_task(ears.transcribe(AUDIO)) for _ in range(2))
        await in_thread(library.begun.acquire)
        for task in (first, second):
            task.cancel()
        done = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done)
        library.gate.set()
        assert (await ears.transcribe(AUDIO)).text == "Good day."
    assert len(library.calls) == 2
    assert len(library.segments_left) == 3


async def test_how_many_may_wait(library: ModuleType, folder: Path) -> None:
    """More utterances than the limit are refused; closing ends those that wait."""
    async with hearing(folder, max_waiting=2) as ears:
        await ears.open()
        library.gate.clear()
        waiting = [asyncio.create_task(ears.transcribe(AUDIO)) for _ in range(2)]
        await in_thread(library.begun.acquire)
        with pytest.raises(ProviderError, match=r"has 2 utterances to hear, which is the limit$"):
            await ears.transcribe(AUDIO)
        await ears.close()
        with pytest.raises(ProviderError, match=r"was closed$"):
            await waiting[1]
        library.gate.set()
        assert (await waiting[0]).understood
        with pytest.raises(ProviderError, match=r"was closed$"):
            await ears.transcribe(AUDIO)


@pytest.mark.skipif(
    "WHISPER_MODEL" not in os.environ,
    reason="needs faster-whisper, and WHISPER_MODEL: the folder of a model",
)
async def test_a_real_model() -> None:
    """A real model hears nothing in a second of silence, and is not upset by it."""
    async with hearing(
        Path(os.environ["WHISPER_MODEL"]), device="cpu", compute_type="int8"
    ) as ears:
        heard = await ears.transcribe(bytes(32_000), language="en")
    assert heard.language == "en"
    assert 0.0 <= heard.confidence <= 1.0
