"""Of a recording that was arranged it is known who speaks when, whatever is done to it."""

from __future__ import annotations

import numpy as np
import pytest

from palaver.protocols.asp.config import AudioEncoding
from palaver.providers.espeak import EspeakSpeech
from palaver.testing.audio import level_db, silence, tone, voiced, white_noise
from palaver.testing.recordings import SENTENCES, VOICES, arrange, say

RATE_HZ = 8_000
PARTS = [tone(300, 0.5, RATE_HZ), tone(500, 1.0, RATE_HZ, peak_db=-20), tone(200, 0.3, RATE_HZ)]


def test_what_was_placed_is_what_is_voiced() -> None:
    """The first speaks after a second, the others after pauses of 0.9 to 2 s; three s follow."""
    recording = arrange(PARTS, RATE_HZ, seed=5)
    lengths = [end - start for start, end in recording.voiced]
    pauses = [
        after[0] - before[1]
        for before, after in zip(recording.voiced, recording.voiced[1:], strict=False)
    ]

    assert recording.voiced[0][0] == 1_000
    assert lengths == pytest.approx([500, 1_000, 300], abs=10)
    assert all(890 <= pause <= 2_010 for pause in pauses)
    assert recording.total_ms - recording.voiced[-1][1] >= 3_890


def test_pauses_are_drawn_from_the_seed() -> None:
    """One seed, one recording."""
    assert arrange(PARTS, RATE_HZ, seed=5).voiced == arrange(PARTS, RATE_HZ, seed=5).voiced
    assert arrange(PARTS, RATE_HZ, seed=5).voiced != arrange(PARTS, RATE_HZ, seed=6).voiced


def test_it_is_as_loud_however_it_was_spoken() -> None:
    """Quiet speech is raised, loud speech lowered: the ratio to noise is what matters."""
    quiet = [(part / 8).astype(np.int16) for part in PARTS]
    peaks = [np.abs(arrange(parts, RATE_HZ, seed=1).samples).max() for parts in (PARTS, quiet)]

    assert peaks == [16_000, 16_000]
    assert not arrange([silence(1.0, RATE_HZ)], RATE_HZ, seed=1).samples.any()


def test_noise_and_lines_change_the_sound_and_not_the_truth() -> None:
    """Who speaks when stays known behind noise, and through a line that loses a little."""
    clean = arrange(PARTS, RATE_HZ, seed=1)
    noisy = clean.behind(white_noise(1.0, RATE_HZ, seed=1), 0).through(AudioEncoding.MULAW)

    assert noisy.voiced == clean.voiced
    assert noisy.total_ms == clean.total_ms
    assert voiced(noisy.samples, RATE_HZ) != list(clean.voiced)
    assert level_db(noisy.samples) > level_db(clean.samples)


async def test_each_voice_says_each_sentence() -> None:
    """espeak-ng speaks all of it, at the rate that was asked for."""
    pytest.importorskip("espeakng_loader", reason="the extra 'espeak' speaks")
    engine = EspeakSpeech()
    try:
        for language, texts in SENTENCES.items():
            for voice in VOICES:
                spoken = await say(engine.with_voice(voice), texts[:2], language, RATE_HZ)
                assert [0.2 < len(one) / RATE_HZ < 6 for one in spoken] == [True, True]
                assert len(spoken[0]) > 3 * len(spoken[1])
    finally:
        await engine.close()
