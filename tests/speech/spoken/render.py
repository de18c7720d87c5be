"""Renders the recordings beside this file with espeak-ng: ``python -m tests.speech.spoken.render``.

Needs the package ``espeakng-loader``. What was said, by which voice, stands in ``SAID``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from palaver.media.wave_file import write_wave
from palaver.providers.espeak import EspeakSpeech, EspeakVoice
from palaver.speech.resample import resample

RATE_HZ: Final = 8_000
PEAK: Final = 12_000
"""A caller close to the microphone; tests make it softer."""


_PLAIN: Final = EspeakVoice()


@dataclass(frozen=True)
class Said:
    """One recording."""

    text: str
    language: str = "en"
    voice: EspeakVoice = _PLAIN


SAID: Final = {
    "my_number_is": Said("My number is four two seven"),
    "nine_one": Said("nine one eight three"),
    "what_time": Said("What time do you close today?", voice=EspeakVoice(variant="f3")),
    "qual_horario": Said("Qual é o horário de hoje?", "pt-BR", EspeakVoice(pitch=40)),
    "bom_dia": Said("Bom dia, queria falar com alguém", "pt-BR", EspeakVoice(variant="f3")),
    "lunch": Said("and then we all went down to the harbour for lunch, because of the rain"),
    "sim": Said("Sim", "pt-BR", EspeakVoice(rate_wpm=300)),
}


async def render(engine: EspeakSpeech, name: str, said: Said) -> None:
    """Write one recording: 8 kHz, 16 bits, without the silence around it."""
    spoken = engine.with_voice(said.voice)
    parts = [part async for part in spoken.speak(said.text, language=said.language)]
    samples = np.frombuffer(b"".join(parts), "<i2")
    samples = resample(samples.astype(np.int16), spoken.sample_rate_hz, RATE_HZ)
    (loud,) = np.nonzero(np.abs(samples.astype(np.int32)) > 60)
    samples = samples[loud[0] : loud[-1] + 1].astype(np.float64)
    scaled = samples * (PEAK / np.abs(samples).max())
    write_wave(Path(__file__).parent / f"{name}.wav", scaled.astype(np.int16), RATE_HZ)


async def main() -> None:
    """Write all of them."""
    engine = EspeakSpeech()
    try:
        for name, said in SAID.items():
            await render(engine, name, said)
    finally:
        await engine.close()


if __name__ == "__main__":
    asyncio.run(main())
