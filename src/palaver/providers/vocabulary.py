"""Hears the phrases of a closed vocabulary, offline: each is compared with how a voice says it.

Every phrase is spoken beforehand by text to speech. What is heard is laid beside all of that by
dynamic time warping, and is the nearest phrase where that is near enough and clearly nearer than
any other; otherwise it is *not understood*: an empty transcript. There is no language model, and
nothing outside of the vocabulary is ever written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from palaver.errors import ProviderError
from palaver.providers.dtw import Templates, distances
from palaver.providers.interfaces import TextToSpeech, Transcript
from palaver.providers.mfcc import SAMPLE_RATE_HZ, Features, features
from palaver.providers.templates import (
    PhraseLike,
    Vocabulary,
    cache_folder,
    speak_vocabulary,
    trimmed,
)

__all__ = ["Strictness", "VocabularyRecogniser"]

_log = structlog.get_logger("palaver.vocabulary")

_NOTHING: Final = Transcript("", None, 0.0)
_PACE: Final = 1.7
"""How many times slower or faster than a template somebody may speak."""
_FEWEST_ROWS: Final = 12
"""Speech below 120 ms is no phrase."""
_SHORTLIST: Final = 16
"""Templates that are compared row by row, after all were at half the rate: a third of the time."""
_MAX_SECONDS: Final = 60.0
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """When the nearest phrase counts as understood. Lower is stricter.

    ``max_distance`` is that of its nearest template. ``max_share`` is that distance in parts of
    the median over all templates: noise makes all of them far. ``max_rival_share`` is the distance
    in parts of that of the nearest other phrase.
    """

    max_distance: float = 3.4
    max_share: float = 0.76
    max_rival_share: float = 0.96


@dataclass(frozen=True, slots=True)
class _Known:
    """A vocabulary that is ready."""

    vocabulary: Vocabulary
    full: Templates
    half: Templates

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> _Known:
        halves = [template[::2] for template in vocabulary.templates]
        return cls(vocabulary, Templates(vocabulary.templates), Templates(halves))


class VocabularyRecogniser:
    """Speech to text for a closed vocabulary; mono int16 at 8 kHz.

    Args:
        phrases: What may be said, each in its language.
        voices: Text to speech that says each of them; several of unlike sound understand more
            people. The caller opens and closes them.
        cache: Folder that keeps what they said, or ``None`` for memory alone. ``user``:
            ``palaver`` in the user's cache.
        strictness: When the nearest phrase counts.
        timeout: Seconds until an utterance is understood, from when it was asked.
        max_waiting: Utterances that may be at work or wait; more are refused.

    """

    def __init__(
        self,
        phrases: Sequence[PhraseLike],
        voices: Sequence[TextToSpeech],
        *,
        cache: Path | Literal["user"] | None = "user",
        strictness: Strictness | None = None,
        timeout: float = 10.0,
        max_waiting: int = 256,
    ) -> None:
        self._phrases = tuple(phrases)
        self._voices = tuple(voices)
        self._folder = cache_folder() if cache == "user" else cache
        self._strictness = strictness or Strictness()
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._waiting = 0
        self._opening: asyncio.Task[_Known] | None = None
        self._threads: ThreadPoolExecutor | None = None

    @property
    def sample_rate_hz(self) -> int:
        """8,000."""
        return SAMPLE_RATE_HZ

    async def open(self) -> None:
        """Have the vocabulary spoken, or read it from the cache. Cancelling it stops nothing.

        Raises:
            ProviderError: a voice failed; the next call tries again.

        """
        await self._ready()

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Return the phrase that was said, as it is written, or an empty transcript.

        ``language`` leaves only phrases in that language, where there are any.

        Raises:
            ProviderError: the audio is no int16, too many wait, it took too long, or the
                vocabulary cannot be made.

        """
        if len(audio) % 2:
            message = f"{len(audio)} bytes are no int16 samples: they must be even"
            raise ProviderError(message)
        if self._waiting >= self._max_waiting:
            message = f"the recogniser is busy: {self._waiting} utterances wait"
            raise ProviderError(message)
        self._waiting += 1
        stop = Event()
        try:
            async with asyncio.timeout(self._timeout):
                known = await self._ready()
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(_THREADS, "palaver-vocabulary")
                work = partial(_understand, known, self._strictness, audio, language, stop.is_set)
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            message = f"the recogniser was not done in {self._timeout:g} s"
            raise ProviderError(message) from None
        finally:
            stop.set()
            self._waiting -= 1

    async def close(self) -> None:
        """Stop what is at work; a call after that makes it ready anew."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _ready(self) -> _Known:
        if self._opening is None:
            self._opening = asyncio.create_task(self._make())
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except ProviderError:
            if self._opening is opening:
                self._opening = None
            raise
        except asyncio.CancelledError:
            if opening.cancelled():  # by ``close``: nobody cancelled us
                message = "the recogniser was closed"
                raise ProviderError(message) from None
            raise

    async def _make(self) -> _Known:
        vocabulary = await speak_vocabulary(self._phrases, self._voices, self._folder)
        known = await asyncio.to_thread(_Known.of, vocabulary)
        _log.info("vocabulary_ready", phrases=len(vocabulary.phrases))
        return known


def _understand(
    known: _Known,
    strictness: Strictness,
    audio: bytes,
    language: str | None,
    stopped: Callable[[], bool],
) -> Transcript:
    """Return what was said. Runs in a thread; ``stopped`` is asked between its steps."""
    if stopped() or len(audio) > 2 * SAMPLE_RATE_HZ * _MAX_SECONDS:
        return _NOTHING
    speech = trimmed(np.frombuffer(audio, "<i2").astype(np.int16, copy=False))
    rows = len(speech) // (SAMPLE_RATE_HZ // 100)
    lengths = known.full.lengths
    fitting = (lengths * _PACE >= rows) & (lengths <= rows * _PACE) & _spoken_in(known, language)
    candidates = np.flatnonzero(fitting)
    if rows < _FEWEST_ROWS or not len(candidates):
        return _NOTHING
    heard = features(speech)
    rough = distances(heard[::2], known.half, candidates.tolist())
    if stopped():
        return _NOTHING
    nearest = candidates[np.argsort(rough)[:_SHORTLIST]]
    return _judge(known, strictness, heard, nearest, float(np.median(rough)))


def _judge(
    known: _Known,
    strictness: Strictness,
    heard: Features,
    nearest: NDArray[np.int64],
    typical: float,
) -> Transcript:
    phrases = known.vocabulary.phrase_of[nearest]
    found = distances(heard, known.full, nearest.tolist())
    best = int(np.argmin(found))
    distance = float(found[best])
    rivals = found[phrases != phrases[best]]
    share = distance / max(typical, 1e-6)
    rival_share = distance / float(rivals.min()) if len(rivals) else 0.0
    reach = max(
        distance / strictness.max_distance,
        share / strictness.max_share if len(rivals) else 0.0,
        rival_share / strictness.max_rival_share,
    )
    text, language = known.vocabulary.phrases[phrases[best]]
    _log.debug("nearest", phrase=text, distance=distance, share=share, rival_share=rival_share)
    if reach > 1.0:
        return Transcript("", None, 0.0)
    # Half at the edge of what counts, one where it was said just as the template was.
    return Transcript(text, language, 1.0 - 0.5 * distance / strictness.max_distance)


def _spoken_in(known: _Known, language: str | None) -> NDArray[np.bool_]:
    """Return which templates are in ``language``; all, where none is."""
    everything = np.ones(len(known.vocabulary.phrase_of), np.bool_)
    if language is None:
        return everything
    wide = language.lower().partition("-")[0]
    tags = [tag.lower().partition("-")[0] == wide for _, tag in known.vocabulary.phrases]
    wanted = np.array(tags, np.bool_)[known.vocabulary.phrase_of]
    return wanted if wanted.any() else everything
