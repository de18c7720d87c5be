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

from palaver.providers.interfaces import TextToSpeech
from palaver.providers.mfcc import (
    FEATURES,
    FRAME_SAMPLES,
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    Features,
    features,
)

__all__ = ["PhraseLike", "Vocabulary", "cache_folder", "speak_vocabulary", "trimmed"]

_log = structlog.get_logger("palaver.vocabulary")

_FORMAT: Final = "1"
"""Part of each key: raise it when features or trimming change."""
_MAX_CACHED: Final = 16
"""Vocabularies that the cache keeps; the oldest go."""
_MARGIN: Final = 160
"""Samples that are kept on both sides of the speech: 20 ms."""


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
    """What was spoken: template ``i`` is a way to say phrase ``phrase_of[i]``."""

    phrases: tuple[tuple[str, str], ...]
    templates: tuple[Features, ...]
    phrase_of: NDArray[np.int64]


def cache_folder() -> Path:
    """Return where vocabularies are kept: below ``XDG_CACHE_HOME``, or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "palaver"


def trimmed(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the part of ``samples`` (8 kHz) that is speech, by its energy; empty where none is.

    What hardly changes in level is no speech, however loud: noise, a hum, a constant.
    """
    if len(samples) < 2 * FRAME_SAMPLES:
        return samples[:0]
    windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES)[::HOP_SAMPLES]
    levels = 10 * np.log10(windows.astype(np.float32).var(axis=1) + 1.0)
    quiet, loud = np.percentile(levels, [10, 95])
    if loud < _LEAST_DB or loud - quiet < _LEAST_RANGE_DB:
        return samples[:0]
    speech = np.flatnonzero(levels > max(loud - 30.0, min(quiet + 6.0, loud - 10.0)))
    start = max(0, int(speech[0]) * HOP_SAMPLES - _MARGIN)
    return samples[start : int(speech[-1]) * HOP_SAMPLES + FRAME_SAMPLES + _MARGIN]


_LEAST_DB: Final = 30.0
"""Level of the loudest moments below which nobody speaks: about 32 of 32,768."""
_LEAST_RANGE_DB: Final = 5.0


async def speak_vocabulary(
    phrases: Sequence[PhraseLike], voices: Sequence[TextToSpeech], folder: Path | None
) -> Vocabulary:
    """Return the features of each of ``phrases`` in each of ``voices``.

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


def _spoken(pcm: bytes, rate_hz: int) -> Features:
    samples = np.frombuffer(pcm, "<i2").astype(np.int16, copy=False)
    at_8_khz: NDArray[np.int16] = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)
    return features(trimmed(at_8_khz))


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
        or rows.shape[1] != FEATURES
        or lengths.sum() != len(rows)
        or lengths.min(initial=1) < 1
        or len(lengths) != len(phrase_of)
        or not np.isin(phrase_of, np.arange(len(wanted))).all()
        or not np.isfinite(rows).all()
    ):
        _log.warning("cache_unreadable", path=str(path), error="not what was stored")
        return None
    templates = np.split(rows, np.cumsum(lengths)[:-1]) if len(lengths) else []
    return Vocabulary(wanted, tuple(templates), phrase_of)


def _store(path: Path, vocabulary: Vocabulary) -> None:
    """Write it beside and move it there, so that no reader sees a part of it."""
    whole = vocabulary.templates or (np.zeros((0, FEATURES), np.float32),)
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
