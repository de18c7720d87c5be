"""What phrases sound like: spoken once by a voice, and kept on disk for the next time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import soxr
import structlog
from numpy.typing import NDArray

from palaver.providers.background import levelled, loud_part
from palaver.providers.interfaces import TextToSpeech
from palaver.providers.mfcc import BANDS, HOP_SAMPLES, SAMPLE_RATE_HZ, Bands, band_energies

__all__ = ["PhraseLike", "Vocabulary", "cache_folder", "speak_vocabulary"]

_log = structlog.get_logger("palaver.vocabulary")

_FORMAT: Final = "2"
"""Part of each key: raise it when energies or trimming change."""
_MAX_CACHED: Final = 16
"""Vocabularies that the cache keeps; the oldest go."""
_SILENCE: Final = np.zeros(6 * HOP_SAMPLES, np.int16)
"""Is put on both sides, so that speech rises from silence in each template."""


class PhraseLike(Protocol):
    """A phrase to be understood; ``language`` is a BCP 47 tag."""

    @property
    def text(self) -> str:
        """As it is written."""
        ...

    @property
    def language(self) -> str:
        """In which language it is spoken."""
        ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What was spoken, in silence: template ``i`` is a way to say phrase ``phrase_of[i]``."""

    phrases: tuple[tuple[str, str], ...]
    templates: tuple[Bands, ...]
    phrase_of: NDArray[np.int64]


def cache_folder() -> Path:
    """Return where vocabularies are kept: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "palaver"


async def speak_vocabulary(
    phrases: Sequence[PhraseLike], voices: Sequence[TextToSpeech], folder: Path | None
) -> Vocabulary:
    """Return how each of ``phrases`` sounds in each of ``voices``.

    Those of voices with a ``fingerprint`` are kept in ``folder``; a cache that cannot be read or
    written is done without, which is logged.

    Raises:
        ProviderError: a voice failed.

    """
    wanted = tuple(dict.fromkeys((phrase.text, phrase.language) for phrase in phrases))
    path = None if folder is None else _path(folder, wanted, voices)
    if path is not None:
        known = await asyncio.to_thread(_load, path, wanted)
        if known is not None:
            return known
    templates, phrase_of = [], []
    for place, (text, language) in enumerate(wanted):
        for voice in voices:
            pcm = b"".join([chunk async for chunk in voice.speak(text, language=language)])
            found = await asyncio.to_thread(_spoken, pcm, voice.sample_rate_hz)
            if len(found):
                templates.append(found)
                phrase_of.append(place)
    vocabulary = Vocabulary(wanted, tuple(templates), np.array(phrase_of, np.int64))
    if path is not None:
        await asyncio.to_thread(_store, path, vocabulary)
    return vocabulary


def _spoken(pcm: bytes, rate_hz: int) -> Bands:
    samples = np.frombuffer(pcm, "<i2").astype(np.int16, copy=False)
    at_8_khz: NDArray[np.int16] = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)
    return loud_part(levelled(band_energies(np.concatenate([_SILENCE, at_8_khz, _SILENCE]))))


def _path(
    folder: Path, wanted: tuple[tuple[str, str], ...], voices: Sequence[TextToSpeech]
) -> Path | None:
    """Return the name by content; none where a voice does not say how it sounds."""
    marks = [getattr(voice, "fingerprint", None) for voice in voices]
    if not all(isinstance(mark, str) for mark in marks):
        return None
    digest = hashlib.sha256(repr((_FORMAT, wanted, marks)).encode())
    return folder / f"vocabulary-{digest.hexdigest()[:32]}.npz"


def _load(path: Path, wanted: tuple[tuple[str, str], ...]) -> Vocabulary | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = stored["rows"].astype(np.float32)
            lengths = stored["lengths"].astype(np.int64)
            phrase_of = stored["phrase_of"].astype(np.int64)
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a zip file can be broken in many ways
        _log.warning("cache_unreadable", path=str(path), error=str(error))
        return None
    if (
        rows.ndim != 2
        or rows.shape[1] != BANDS
        or lengths.sum() != len(rows)
        or lengths.min(initial=1) < 1
        or len(lengths) != len(phrase_of)
        or not np.isin(phrase_of, np.arange(len(wanted))).all()
        or not np.isfinite(rows).all()
        or (rows < 0).any()
    ):
        _log.warning("cache_unreadable", path=str(path), error="not what was stored")
        return None
    templates = np.split(rows, np.cumsum(lengths)[:-1]) if len(lengths) else []
    return Vocabulary(wanted, tuple(templates), phrase_of)


def _store(path: Path, vocabulary: Vocabulary) -> None:
    """Write it beside and move it there, so that no reader sees a part of it."""
    whole = vocabulary.templates or (np.zeros((0, BANDS), np.float32),)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(
                    file,
                    rows=np.concatenate(whole),
                    lengths=np.array([len(item) for item in vocabulary.templates], np.int64),
                    phrase_of=vocabulary.phrase_of,
                )
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        kept = sorted(path.parent.glob("vocabulary-*.npz"), key=lambda item: item.stat().st_mtime)
        for old in kept[:-_MAX_CACHED]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cache_unwritable", path=str(path), error=str(error))
