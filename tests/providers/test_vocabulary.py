"""A closed vocabulary is heard through a telephone line, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soxr
import structlog
from numpy.typing import NDArray

from palaver.errors import ProviderError
from palaver.protocols.asp.config import AudioEncoding
from palaver.providers.espeak import EspeakSpeech, EspeakVoice
from palaver.providers.interfaces import Transcript
from palaver.providers.vocabulary import VocabularyRecogniser
from palaver.speech.audio import decode, encode
from palaver.testing.audio import mix, pink_noise, white_noise

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Said:
    """A phrase, or a sentence that is none."""

    text: str
    language: str


PHRASES = tuple(
    Said(text, language)
    for language, texts in {
        "en": (
            "what time is it",
            "book a table",
            "count to 20",
            "goodbye",
            "tomorrow",
            "Two people",
        ),
        "pt-BR": (
            "que horas são",
            "reserve uma mesa",
            "conte até 20",
            "tchau",
            "amanhã",
            "bom dia",
        ),
    }.items()
    for text in texts
)
FOREIGN = (
    Said("please open the window", "en"),
    Said("my name is john smith", "en"),
    Said("how much does it cost", "en"),
    Said("turn off the lights", "en"),
    Said("quanto custa isso", "pt-BR"),
    Said("onde fica o banheiro", "pt-BR"),
    Said("meu nome é maria", "pt-BR"),
    Said("ligue a luz da sala", "pt-BR"),
    Said("count me in", "en"),
    Said("look at the table", "en"),
    Said("what is the time in london", "en"),
    Said("never mind", "en"),
    Said("conte comigo", "pt-BR"),
    Said("que horas você chega", "pt-BR"),
    Said("reserve um quarto", "pt-BR"),
    Said("boa tarde", "pt-BR"),
)
CALLERS = (
    EspeakVoice(rate_wpm=145, variant="m7", pitch=45),
    EspeakVoice(rate_wpm=185, variant="f2", pitch=65),
)


@dataclass(frozen=True)
class Studio:
    """The cache of a vocabulary that was spoken, what callers say, and what a voice of it does."""

    cache: Path
    own: Samples
    calls: dict[tuple[str, int], Samples]

    @asynccontextmanager
    async def recogniser(self) -> AsyncIterator[VocabularyRecogniser]:
        """Open one from the cache; its voices are never asked."""
        recogniser = VocabularyRecogniser(PHRASES, EspeakSpeech().unlike_voices(), cache=self.cache)
        await recogniser.open()
        yield recogniser
        await recogniser.close()


async def record_one(caller: EspeakSpeech, said: Said) -> Samples:
    """Return what a voice says, at 8 kHz."""
    chunks = [chunk async for chunk in caller.speak(said.text, language=said.language)]
    pcm = np.frombuffer(b"".join(chunks), "<i2").astype(np.int16)
    telephone: Samples = soxr.resample(pcm, caller.sample_rate_hz, 8_000)
    return telephone


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Have everything spoken, once."""

    async def record() -> Studio:
        cache = tmp_path_factory.mktemp("vocabulary")
        speech = EspeakSpeech()
        recogniser = VocabularyRecogniser(PHRASES, speech.unlike_voices(), cache=cache)
        await recogniser.open()
        await recogniser.close()
        own = await record_one(speech, Said("Two people", "en"))
        calls = {}
        for number, voice in enumerate(CALLERS):
            caller = speech.with_voice(voice)
            for said in (*PHRASES, *FOREIGN):
                calls[said.text, number] = await record_one(caller, said)
        await speech.close()
        return Studio(cache, own, calls)

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(asyncio.run, record()).result()


NOISES = {
    "white": white_noise(5.0, 8_000, seed=7),
    "pink": pink_noise(5.0, 8_000, seed=7),
}


def over_the_line(speech: Samples, noise: str = "white", snr_db: float | None = None) -> bytes:
    """Return it as it arrives: with a pause around, noise where wanted, through 8 kHz µ-law."""
    pause = np.zeros(2_000)
    line = np.concatenate([pause, 0.5 * speech.astype(np.float64), pause]).astype(np.int16)
    samples = line if snr_db is None else mix(line, NOISES[noise], snr_db, 8_000)
    return decode(encode(samples, AudioEncoding.MULAW), AudioEncoding.MULAW).tobytes()


@pytest.mark.parametrize(
    ("noise", "snr_db", "right", "wrong", "foreign"),
    [
        ("none", None, 0.97, 0.0, 0.04),
        ("white", 20, 0.97, 0.0, 0.04),
        ("white", 10, 0.95, 0.0, 0.04),
        ("white", 5, 0.9, 0.03, 0.07),
        ("pink", 20, 0.97, 0.0, 0.04),
        ("pink", 10, 0.95, 0.0, 0.04),
        ("pink", 5, 0.9, 0.03, 0.07),
    ],
)
async def test_what_is_understood(
    studio: Studio, noise: str, snr_db: float | None, right: float, wrong: float, foreign: float
) -> None:
    """Phrases by callers with other voices; sentences that are no phrases are not understood."""
    count = right_ones = wrong_ones = taken = 0
    async with studio.recogniser() as recogniser:
        lines = (over_the_line(said, noise, snr_db) for said in studio.calls.values())
        transcripts = await asyncio.gather(*(recogniser.transcribe(line) for line in lines))
        for (text, _), found in zip(studio.calls, transcripts, strict=True):
            if any(text == said.text for said in FOREIGN):
                taken += found.understood
                continue
            count += 1
            right_ones += found.text == text
            wrong_ones += found.understood and found.text != text
    assert right_ones / count >= right
    assert wrong_ones / count <= wrong
    assert taken / (len(FOREIGN) * len(CALLERS)) <= foreign


async def test_what_a_transcript_says(studio: Studio) -> None:
    """The phrase as it was written, its language, and how sure it is."""
    async with studio.recogniser() as recogniser:
        assert recogniser.sample_rate_hz == 8_000
        clear = await recogniser.transcribe(over_the_line(studio.calls["Two people", 0]))
        own = await recogniser.transcribe(over_the_line(studio.own))
        pt = await recogniser.transcribe(over_the_line(studio.calls["amanhã", 1]))
    assert (clear.text, clear.language) == ("Two people", "en")
    assert (pt.text, pt.language) == ("amanhã", "pt-BR")
    assert (own.text, own.language) == ("Two people", "en")
    assert 0.5 <= clear.confidence < own.confidence < 1.0


async def test_the_language_that_is_expected(studio: Studio) -> None:
    """It leaves no phrase of another; one without any phrase leaves all."""
    said = over_the_line(studio.calls["que horas são", 0])
    async with studio.recogniser() as recogniser:
        found = [
            (await recogniser.transcribe(said, language=language)).text
            for language in ("pt", "pt-BR", "PT-PT", "fr", "en-GB")
        ]
    assert found[:4] == ["que horas são"] * 4
    assert found[4] != "que horas são"


NOISE = np.random.default_rng(3)
TIME = np.arange(16_000) / 8_000


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0),
        np.zeros(1),
        np.zeros(300),
        np.zeros(16_000),
        np.full(16_000, 12_000),
        NOISE.normal(0, 30, 16_000),
        NOISE.normal(0, 6_000, 16_000),
        NOISE.normal(0, 6_000, 900),
        10_000 * np.sin(2 * np.pi * 440 * TIME),
        32_767 * np.sign(np.sin(2 * np.pi * 150 * TIME)),
        np.concatenate([np.zeros(8_000), np.full(80, 32_767), np.zeros(8_000)]),
        NOISE.normal(0, 3_000, 240_000) * (np.sin(np.arange(240_000) / 2_000) > 0),
        NOISE.normal(0, 3_000, 800_000),
    ],
    ids=[
        "nothing",
        "one sample",
        "37 ms",
        "silence",
        "constant",
        "faint noise",
        "loud noise",
        "a burst",
        "a tone",
        "a clipped tone",
        "a click",
        "30 s of bursts",
        "100 s",
    ],
)
async def test_what_is_no_phrase(studio: Studio, samples: NDArray[np.float64]) -> None:
    """It is heard, but not understood, and that does not take long."""
    audio = np.clip(samples, -32_768, 32_767).astype("<i2").tobytes()
    async with studio.recogniser() as recogniser:
        began = time.process_time()
        assert await recogniser.transcribe(audio) == Transcript("", None, 0.0)
        assert time.process_time() - began < 0.5


async def test_a_long_utterance_is_no_phrase(studio: Studio) -> None:
    """A phrase in the middle of half a minute of speech is not fished out of it."""
    many = np.concatenate(list(studio.calls.values())[:30])
    async with studio.recogniser() as recogniser:
        assert not (await recogniser.transcribe(over_the_line(many))).understood


async def test_a_clipped_and_shifted_line(studio: Studio) -> None:
    """Three times too loud, or off centre, a phrase is still a phrase."""
    speech = studio.calls["reserve uma mesa", 0].astype(np.int64)
    async with studio.recogniser() as recogniser:
        for spoilt in (speech * 3, speech // 4 + 6_000):
            audio = np.clip(spoilt, -32_768, 32_767).astype("<i2").tobytes()
            assert (await recogniser.transcribe(audio)).text == "reserve uma mesa"


async def test_half_a_sample_is_refused(studio: Studio) -> None:
    """It says that whoever calls has lost a byte."""
    async with studio.recogniser() as recogniser:
        with pytest.raises(ProviderError, match="3 bytes are no int16 samples"):
            await recogniser.transcribe(b"abc")


async def test_many_calls_at_once(studio: Studio) -> None:
    """Each gets its own transcript; one too many is refused; one that is cancelled is forgotten."""
    wanted = [("book a table", 0), ("tchau", 1), ("conte até 20", 0), ("what time is it", 0)] * 2
    voices = EspeakSpeech().unlike_voices()
    few = VocabularyRecogniser(PHRASES, voices, cache=studio.cache, max_waiting=len(wanted))
    calls = [
        asyncio.create_task(few.transcribe(over_the_line(studio.calls[call]))) for call in wanted
    ]
    await asyncio.sleep(0)
    with pytest.raises(ProviderError, match="busy: 8 utterances wait"):
        await few.transcribe(b"")
    calls[0].cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [getattr(item, "text", item) for item in found[1:]] == [text for text, _ in wanted[1:]]
    assert not (await few.transcribe(b"")).understood
    await few.close()


async def test_an_empty_vocabulary() -> None:
    """It understands nothing, and needs no voice for that."""
    recogniser = VocabularyRecogniser((), (), cache=None)
    assert not (await recogniser.transcribe(bytes(16_000))).understood
    await recogniser.close()


# --- the voices, and the cache ---


class Voice:
    """A voice that says noises, counts them, and fails or waits where it is told to."""

    sample_rate_hz = 8_000
    fingerprint = "noises 1"

    def __init__(self) -> None:
        self.said = 0
        self.fails = False
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def speak(self, text: str, *, language: str | None = None) -> AsyncIterator[bytes]:
        """Say a noise of half a second that swells and fades."""
        await self.may_speak.wait()
        self.said += 1
        if self.fails:
            message = "hoarse"
            raise ProviderError(message)
        noise = np.random.default_rng(len(text)).normal(0, 9_000, 4_000)
        yield (noise * np.hanning(4_000)).clip(-32_768, 32_767).astype("<i2").tobytes()


def within(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return sorted(folder.iterdir())


async def test_the_cache_is_by_content(tmp_path: Path) -> None:
    """Spoken once for the same phrases and voices; again for others; no part is left behind."""
    for phrases, said in ((PHRASES, 12), (PHRASES, 0), (PHRASES[:3], 3), (PHRASES[:3] * 2, 0)):
        voice = Voice()
        recogniser = VocabularyRecogniser(phrases, (voice,), cache=tmp_path / "deep")
        await asyncio.gather(recogniser.open(), recogniser.open(), recogniser.transcribe(b""))
        await recogniser.close()
        assert voice.said == said
    other = Voice()
    other.fingerprint = "noises 2"
    await VocabularyRecogniser(PHRASES, (other,), cache=tmp_path / "deep").open()
    assert other.said == 12
    assert [path.suffix for path in within(tmp_path / "deep")] == [".npz"] * 3


@pytest.mark.parametrize("damage", [b"", b"PK no archive", None])
async def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    """Cut off, overwritten or with other contents: it is logged, and done without."""
    await VocabularyRecogniser(PHRASES, (Voice(),), cache=tmp_path).open()
    (path,) = within(tmp_path)
    if damage is None:
        np.savez(path, rows=np.zeros((3, 2)), lengths=np.array([3]), phrase_of=np.array([99]))
    else:
        path.write_bytes(damage)
    for said, warnings in ((12, 1), (0, 0)):
        voice = Voice()
        with structlog.testing.capture_logs() as logs:
            await VocabularyRecogniser(PHRASES, (voice,), cache=tmp_path).open()
        assert voice.said == said
        assert sum(log["event"] == "cache_unreadable" for log in logs) == warnings


async def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A file stands where the folder should be: memory has to do."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    voice = Voice()
    with structlog.testing.capture_logs() as logs:
        await VocabularyRecogniser(PHRASES, (voice,), cache=tmp_path / "file" / "cache").open()
    assert voice.said == 12
    assert {log["event"] for log in logs} >= {"cache_unwritable"}


async def test_old_vocabularies_go(tmp_path: Path) -> None:
    """The cache keeps sixteen."""
    for count in range(18):
        phrase = Said("x" * (count + 1), "en")
        await VocabularyRecogniser((phrase,), (Voice(),), cache=tmp_path).open()
    assert len(within(tmp_path)) == 16


async def test_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is where the desktop's rules want it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    await VocabularyRecogniser(PHRASES[:1], (Voice(),)).open()
    assert [path.suffix for path in within(tmp_path / "palaver")] == [".npz"]


async def test_a_voice_that_fails() -> None:
    """Whoever waits hears why; the next one tries again."""
    voice = Voice()
    voice.fails = True
    recogniser = VocabularyRecogniser(PHRASES, (voice,), cache=None)
    with pytest.raises(ProviderError, match="hoarse"):
        await recogniser.open()
    voice.fails = False
    assert not (await recogniser.transcribe(b"")).understood
    await recogniser.close()


async def test_a_voice_that_hangs() -> None:
    """A call waits for the vocabulary as long as it may; closing ends all waiting."""
    voice = Voice()
    voice.may_speak.clear()
    recogniser = VocabularyRecogniser(PHRASES, (voice,), cache=None, timeout=0.05)
    with pytest.raises(ProviderError, match=r"not done in 0\.05 s"):
        await recogniser.transcribe(b"")
    opening = asyncio.create_task(recogniser.open())
    await asyncio.sleep(0)
    await recogniser.close()
    with pytest.raises(ProviderError, match="the recogniser was closed"):
        await opening
