"""Makes the recordings of this folder: `python examples/audio/render.py`.

espeak-ng speaks them, in a voice, pace and pitch that the demo agent's ears did not learn from.
"""

import asyncio
import wave
from pathlib import Path

import numpy as np
import soxr

from palaver.providers.espeak import EspeakSpeech, EspeakVoice

RATE_HZ = 8_000
SILENCE_BEFORE = 0.5  # seconds
SILENCE_AFTER = 1.0
CALLER = EspeakVoice(rate_wpm=150, pitch=42, variant="m7")
SAID = {
    "what-time-is-it": ("en", "What time is it?"),
    "que-horas-sao": ("pt-BR", "Que horas são?"),
    "count-to-thirty": ("en", "Count to 30."),
}


async def render(speech, text, language):
    chunks = [chunk async for chunk in speech.speak(text, language=language)]
    spoken = np.frombuffer(b"".join(chunks), "<i2").astype(np.int16)
    silence = [np.zeros(int(RATE_HZ * s), np.int16) for s in (SILENCE_BEFORE, SILENCE_AFTER)]
    telephone = soxr.resample(spoken, speech.sample_rate_hz, RATE_HZ)
    return np.concatenate([silence[0], telephone // 2, silence[1]])  # 6 dB below full level


def save(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


async def main(folder):
    speech = EspeakSpeech(CALLER)
    for name, (language, text) in SAID.items():
        samples = await render(speech, text, language)
        save(folder / f"{name}.wav", samples)
        print(f"{name}.wav: {len(samples) / RATE_HZ:.1f} s, {language}: {text}")
    await speech.close()


if __name__ == "__main__":
    asyncio.run(main(Path(__file__).parent))
