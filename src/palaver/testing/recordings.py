"""Recordings of conversations to test hearing with: who spoke when is known, because we placed it.

Voices are espeak-ng's (the extra ``espeak``): clean, and the same at each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from palaver.protocols.asp.config import AudioEncoding
from palaver.providers.espeak import EspeakSpeech, EspeakVoice
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Samples
from palaver.speech.resample import resample
from palaver.testing.audio import mix, silence, voiced

__all__ = ["CROWD", "SENTENCES", "VOICES", "Recording", "arrange", "say"]

SENTENCES: Final = {
    "en": (
        "Good morning, I would like to know the balance of my account.",
        "Yes.",
        "The number is four, seven, one, nine.",
        "Could you please send me the invoice of last month by mail?",
        "No, thank you.",
        "What time do you close on Saturday?",
    ),
    "pt-br": (
        "Bom dia, eu queria saber o saldo da minha conta.",
        "Sim.",
        "O número é quatro, sete, um, nove.",
        "Você pode me mandar a fatura do mês passado por e-mail?",
        "Não, obrigado.",
        "A que horas vocês fecham no sábado?",
    ),
}
"""Language → what is said in it: long and short, with pauses within."""

VOICES: Final = (
    EspeakVoice(),
    EspeakVoice(variant="f4", pitch=60, rate_wpm=150),
    EspeakVoice(variant="m3", pitch=40, rate_wpm=185),
    EspeakVoice(variant="m7", pitch=35, rate_wpm=150),
)
"""Voices to be heard. (f2, f3 and f5 breathe at random: they are not the same at each run.)"""

CROWD: Final = (
    EspeakVoice(variant="f1", rate_wpm=170),
    EspeakVoice(variant="m1", rate_wpm=150),
    EspeakVoice(variant="m5", pitch=45, rate_wpm=180),
    EspeakVoice(variant="m8", pitch=55, rate_wpm=160),
)
"""Voices of people behind them, for ``babble``."""

_LEAD_SECONDS: Final = 1.0
_TAIL_SECONDS: Final = 3.0
_PEAK: Final = 16_000


@dataclass(frozen=True, slots=True)
class Recording:
    """A conversation of one voice: its audio, and where it speaks (starts and ends in ms)."""

    samples: Samples = field(repr=False)
    rate_hz: int
    voiced: tuple[tuple[int, int], ...]

    @property
    def total_ms(self) -> int:
        """How long it is."""
        return len(self.samples) * 1000 // self.rate_hz

    def behind(self, noise: Samples, snr_db: float) -> Recording:
        """Return it with ``noise`` behind it; ``voiced`` stays what was spoken."""
        return replace(self, samples=mix(self.samples, noise, snr_db, self.rate_hz))

    def through(self, encoding: AudioEncoding) -> Recording:
        """Return it as it comes out of a line that writes samples so."""
        return replace(self, samples=decode(encode(self.samples, encoding), encoding))


async def say(
    engine: EspeakSpeech, texts: Sequence[str], language: str, rate_hz: int
) -> list[Samples]:
    """Return each text as ``engine`` speaks it, at ``rate_hz``.

    Raises:
        ProviderError: espeak-ng is not installed, or fails.

    """
    spoken = []
    for text in texts:
        audio = b"".join([chunk async for chunk in engine.speak(text, language=language)])
        samples = decode(audio, AudioEncoding.PCM_S16LE)
        spoken.append(resample(samples, engine.sample_rate_hz, rate_hz))
    return spoken


def arrange(utterances: Sequence[Samples], rate_hz: int, *, seed: int) -> Recording:
    """Return the utterances one after the other, with pauses of 0.9 to 2 s between them.

    It begins with a second of silence and ends with three: time enough to decide the last end.
    """
    random = np.random.default_rng(seed)
    parts = [silence(_LEAD_SECONDS, rate_hz)]
    for utterance in utterances:
        parts += [utterance, silence(float(random.uniform(0.9, 2.0)), rate_hz)]
    parts.append(silence(_TAIL_SECONDS, rate_hz))
    together = np.concatenate(parts).astype(np.float64)
    loudest = np.abs(together).max()
    samples = np.rint(together * (_PEAK / loudest if loudest else 1.0)).astype(np.int16)
    return Recording(samples, rate_hz, tuple(voiced(samples, rate_hz)))
