"""Speech is heard as well as it was when these floors were set: by Silero, with ASP's defaults.

The conversations are espeak-ng's and the noise is drawn from seeds, so each figure comes out the
same at each run; the floors leave room for another version of either. benchmarks/vad_quality.py
has the whole table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from palaver.protocols.asp.config import AudioEncoding
from palaver.providers.espeak import EspeakSpeech
from palaver.speech.detector import Samples
from palaver.speech.silero import SileroDetector
from palaver.testing.audio import clipped, pink_noise, white_noise, with_clicks, with_offset
from palaver.testing.hearing_trial import HearingScore, hear
from palaver.testing.recordings import SENTENCES, VOICES, Recording, arrange, say

pytest.importorskip("espeakng_loader", reason="the conversations are spoken by the extra 'espeak'")

PCM, MULAW = AudioEncoding.PCM_S16LE, AudioEncoding.MULAW
TURNS = 2 * 2 * 6
"""Languages, voices, and sentences of each."""


@pytest.fixture(scope="module")
def conversations() -> dict[int, list[Recording]]:
    """Return, by sampling rate, clean conversations of two voices in two languages."""

    async def spoken(rate_hz: int) -> list[Recording]:
        engine = EspeakSpeech()
        try:
            return [
                arrange(
                    await say(engine.with_voice(voice), texts, language, rate_hz),
                    rate_hz,
                    seed=seed,
                )
                for seed, (language, texts, voice) in enumerate(
                    (language, texts, voice)
                    for language, texts in SENTENCES.items()
                    for voice in VOICES[:2]
                )
            ]
        finally:
            await engine.close()

    return {rate_hz: asyncio.run(spoken(rate_hz)) for rate_hz in (8_000, 16_000)}


def noisy(recordings: list[Recording], noise: str, snr_db: float) -> list[Recording]:
    """Put noise behind each recording, each time other noise."""
    draw = {"white": white_noise, "pink": pink_noise}[noise]
    return [
        one.behind(draw(one.total_ms / 1000 + 1, one.rate_hz, seed=seed), snr_db)
        for seed, one in enumerate(recordings)
    ]


def heard(recordings: list[Recording], encoding: AudioEncoding) -> HearingScore:
    """Return the score of all recordings together."""
    return hear(recordings, SileroDetector(recordings[0].rate_hz), encoding=encoding)


@pytest.mark.parametrize(
    ("rate_hz", "encoding", "noise", "snr_db", "least_f1", "latest_ms"),
    [
        # F1 is 0.01 below what was seen, the delay a frame above it. 120 ms are asked for down to
        # 5 dB: without noise that is met; in noise the detector goes on hearing speech for longer.
        (8_000, MULAW, None, 0, 0.947, 115),
        (16_000, PCM, None, 0, 0.964, 95),
        (8_000, MULAW, "white", 10, 0.934, 160),
        (8_000, MULAW, "white", 5, 0.924, 185),
        (8_000, MULAW, "pink", 10, 0.933, 145),
        (8_000, MULAW, "pink", 5, 0.926, 170),
        (16_000, PCM, "white", 5, 0.939, 165),
        (16_000, PCM, "pink", 5, 0.934, 155),
    ],
)
def test_each_turn_is_heard_and_ends_in_time(
    conversations: dict[int, list[Recording]],
    rate_hz: int,
    encoding: AudioEncoding,
    noise: str | None,
    snr_db: float,
    least_f1: float,
    latest_ms: float,
) -> None:
    """Down to 5 dB no turn is lost, joined, cut or made up, and its end is decided in time."""
    clean = conversations[rate_hz]
    score = heard(noisy(clean, noise, snr_db) if noise else clean, encoding)

    assert (score.turns.spoken, score.turns.matched, score.turns.false) == (TURNS, TURNS, 0)
    assert score.frames.f1 >= least_f1
    assert score.turns.delay_ms(50) <= latest_ms


@pytest.mark.parametrize(
    "fault",
    [
        lambda one, rate_hz: with_clicks(one, rate_hz, per_second=2, seed=1),
        lambda one, _: with_offset(one, 2_000),
        lambda one, _: clipped(one, 18),
        lambda one, _: clipped(one, -24),
    ],
    ids=["clicks", "offset", "overdriven", "quiet"],
)
def test_bad_lines_and_microphones_lose_no_turn(
    conversations: dict[int, list[Recording]], fault: Callable[[Samples, int], Samples]
) -> None:
    """Clicks, an offset, overdriven and quiet speech: each turn is heard once, and no other."""
    faulty = [replace(one, samples=fault(one.samples, one.rate_hz)) for one in conversations[8_000]]
    score = heard(faulty, MULAW)

    assert (score.turns.matched, score.turns.false) == (TURNS, 0)
