"""Hears the phrases of a closed vocabulary, offline: each is compared with how a voice says it.

Every phrase is spoken beforehand by text to speech. What is heard is laid beside all of that by
dynamic time warping, behind the noise that the utterance has. It is the nearest phrase where the
order of its sounds explains what was heard about as well as the same sounds in any order would;
otherwise it is *not understood*: an empty transcript. There is no language model, and nothing
outside of the vocabulary is ever written down.
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
from threadpoolctl import ThreadpoolController

from palaver.errors import ProviderError
from palaver.providers.background import Background, Heard, hear
from palaver.providers.dtw import (
    Templates,
    distances,
    distances_in_any_order,
    distances_on_path,
)
from palaver.providers.interfaces import TextToSpeech, Transcript
from palaver.providers.mfcc import SAMPLE_RATE_HZ, Bands, Features
from palaver.providers.templates import (
    PhraseLike,
    Vocabulary,
    cache_folder,
    speak_vocabulary,
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
_SOUNDS: Final = 100
"""Templates whose rows are the sounds that come in any order: some from all over the vocabulary."""
_BLOCK: Final = 200
"""Templates that are put behind noise at once: 10 MB."""
_MAX_SECONDS: Final = 60.0
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Strictness:
    """When the nearest phrase counts as understood. Lower is stricter.

    ``max_order_share`` is how far what was heard is from its nearest template, in parts of how far
    it is from the same sounds, and all others of the vocabulary, in any order: a sentence that
    shares words with a phrase is as near to the sounds, but not to their order. ``max_rival_share``
    is the distance in parts of that of the nearest other phrase. ``max_distance`` is for
    vocabularies so small that there is little else to compare with.
    """

    max_order_share: float = 1.15
    max_rival_share: float = 0.98
    max_distance: float = 3.4


@dataclass(frozen=True, slots=True)
class _Known:
    """A vocabulary that is ready; ``lengths`` are those of its templates, ``threads`` BLAS's."""

    vocabulary: Vocabulary
    lengths: NDArray[np.int64]
    sounds: tuple[Bands, ...]
    threads: ThreadpoolController

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> _Known:
        templates = vocabulary.templates
        some = np.linspace(0, len(templates) - 1, min(_SOUNDS, len(templates))).astype(np.int64)
        lengths = np.array([len(template) for template in templates], np.int64)
        threads = ThreadpoolController().select(user_api="blas")
        return cls(vocabulary, lengths, tuple(templates[place] for place in some), threads)

    def behind(
        self, background: Background, chosen: NDArray[np.int64], *, every: int = 1
    ) -> list[Features]:
        """Return the features of the chosen templates behind a noise."""
        parts = []
        for start in range(0, len(chosen), _BLOCK):
            block = [self.vocabulary.templates[place] for place in chosen[start : start + _BLOCK]]
            parts += background.of(block, every=every)
        return parts


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
    # Another thread, for products as small as these, made it three times the work.
    with known.threads.limit(limits=1):
        return _compared(known, strictness, audio, language, stopped)


def _compared(
    known: _Known,
    strictness: Strictness,
    audio: bytes,
    language: str | None,
    stopped: Callable[[], bool],
) -> Transcript:
    heard = hear(np.frombuffer(audio, "<i2").astype(np.int16, copy=False))
    if heard is None or len(heard.features) < _FEWEST_ROWS:
        return _NOTHING
    rows = len(heard.features)
    # Noise makes templates shorter, never longer: this leaves out what cannot fit.
    possible = np.flatnonzero((known.lengths * _PACE >= rows) & _spoken_in(known, language))
    halves = known.behind(heard.background, possible, every=2)
    lengths = 2 * np.array([len(half) for half in halves], np.int64)
    fitting = np.flatnonzero((lengths * _PACE >= rows) & (lengths <= rows * _PACE))
    if stopped() or not len(fitting):
        return _NOTHING
    some = Templates([halves[place] for place in fitting])
    rough = distances(heard.features[::2], some, range(len(fitting)))
    if stopped():
        return _NOTHING
    nearest = possible[fitting[np.argsort(rough)[:_SHORTLIST]]]
    return _judge(known, strictness, heard, nearest)


def _judge(
    known: _Known, strictness: Strictness, heard: Heard, nearest: NDArray[np.int64]
) -> Transcript:
    phrases = known.vocabulary.phrase_of[nearest]
    templates = known.behind(heard.background, nearest)
    found = distances(heard.features, Templates(templates), range(len(templates)))
    best = int(np.argmin(found))
    distance = float(found[best])
    rivals = found[phrases != phrases[best]]
    rival_share = distance / float(rivals.min()) if len(rivals) else 0.0
    # The noise may cover all of the sounds but for the nearest template's.
    sounds = np.concatenate([*heard.background.of(known.sounds, every=2), templates[best][:1]])
    in_order = float(distances_on_path(heard.features, templates[best]).mean())
    in_any_order = float(distances_in_any_order(heard.features, sounds).mean())
    order_share = in_order / max(in_any_order, 1e-6)
    reach = max(
        distance / strictness.max_distance,
        order_share / strictness.max_order_share,
        rival_share / strictness.max_rival_share,
    )
    text, language = known.vocabulary.phrases[phrases[best]]
    # Not which phrase it is: what callers say is not logged.
    _log.debug(
        "vocabulary_compared",
        distance=distance,
        order_share=order_share,
        rival_share=rival_share,
    )
    if reach > 1.0:
        return _NOTHING
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
