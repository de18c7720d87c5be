"""The recordings in examples/audio are what their README says, and are understood."""

from __future__ import annotations

import asyncio
import importlib.util
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from palaver.agents.demo import agent
from palaver.providers.espeak import EspeakSpeech
from palaver.providers.vocabulary import VocabularyRecogniser

FOLDER = Path(__file__).parents[2] / "examples" / "audio"
SAID = {
    "what-time-is-it.wav": ("what time is it", "en"),
    "que-horas-sao.wav": ("que horas são", "pt-BR"),
    "count-to-thirty.wav": ("count to 30", "en"),
}


def read(path: Path) -> bytes:
    """Return the samples of a recording, and see that it is of the kind that is promised."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8_000, 1, 2)
        return file.readframes(file.getnframes())


def render() -> ModuleType:
    """Return the program that makes them."""
    spec = importlib.util.spec_from_file_location("render", FOLDER / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SAID)
def test_silence_stands_around_the_words(name: str) -> None:
    """Half a second before and a second after, within what a word's edges take."""
    samples = np.frombuffer(read(FOLDER / name), "<i2")
    loud = np.flatnonzero(np.abs(samples) > 500) / 8_000
    assert 0.5 <= loud[0] < 0.6
    assert 1.0 <= len(samples) / 8_000 - loud[-1] < 1.4


async def test_the_demo_agent_understands_them(tmp_path: Path) -> None:
    """Those that are here, and those that the program makes."""
    await render().main(tmp_path)
    speech = EspeakSpeech()
    ears = VocabularyRecogniser(agent.phrases, speech.unlike_voices(), cache=None)
    recordings = {path: SAID[path.name] for folder in (FOLDER, tmp_path) for path in wavs(folder)}
    assert len(recordings) == 2 * len(SAID)
    found = await asyncio.gather(*(ears.transcribe(read(path)) for path in recordings))
    assert [(heard.text, heard.language) for heard in found] == list(recordings.values())
    await ears.close()
    await speech.close()


def wavs(folder: Path) -> list[Path]:
    """Return the recordings in a folder."""
    return sorted(folder.glob("*.wav"))
