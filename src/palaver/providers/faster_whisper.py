"""Whisper on this machine, by faster-whisper: ``pip install 'palaver[whisper]'``.

The model computes in a thread of its own, one utterance after the other. A computation cannot be
stopped from outside: one that is given up goes on to the end of its segment (30 seconds of audio
at most), and those behind it wait so long.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from palaver.errors import ProviderError
from palaver.providers.interfaces import Transcript
from palaver.providers.whisper_segments import SegmentScore, confidence, only_noise

__all__ = ["WhisperRecogniser"]

_T = TypeVar("_T")
_RATE_HZ: Final = 16_000
_FULL_SCALE: Final = 32_768.0
_NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")


class WhisperRecogniser:
    """A ``SpeechToText``: a Whisper model that is on this machine. Times are in seconds.

    Args:
        model: The folder of a model in the format of CTranslate2, or the name of one that
            faster-whisper knows, such as ``small``.
        download: Whether a named model may be fetched from the network. Without it, only what is
            there is used.
        device: ``cpu``, ``cuda``, or ``auto`` for what there is.
        compute_type: How numbers are kept: ``int8`` is fastest on a CPU; ``default`` is the
            model's own. How many threads compute is for ``OMP_NUM_THREADS`` to say.
        beam_size: 1 is fastest; 5 errs a little less.
        deadline: For one utterance, the time that it waits for others included.
        load_timeout: For the model to be loaded, and fetched, where it may be.
        max_waiting: Utterances at once; more are refused.

    """

    def __init__(
        self,
        model: str | Path,
        *,
        download: bool = False,
        device: str = "auto",
        compute_type: str = "default",
        beam_size: int = 1,
        deadline: float = 30.0,
        load_timeout: float = 300.0,
        max_waiting: int = 16,
    ) -> None:
        self._name = model
        self._download = download
        self._device = {"device": device, "compute_type": compute_type}
        self._beam_size = beam_size
        self._deadline = deadline
        self._load_timeout = load_timeout
        self._max_waiting = max_waiting
        self._waiting = 0
        self._model: Any = None
        self._opening = asyncio.Lock()
        self._closed = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="whisper")

    @property
    def sample_rate_hz(self) -> int:
        """The rate at which it wants its audio: 16 kHz."""
        return _RATE_HZ

    async def open(self) -> None:
        """Load the model; done once, however often it is asked for.

        Raises:
            ProviderError: faster-whisper is not installed, the model is not on this machine,
                cannot be loaded, or takes too long.

        """
        async with self._opening:
            if self._model is None:
                late = f"was not loaded within {self._load_timeout:g} s"
                self._model = await self._run(self._load, self._load_timeout, late)

    async def transcribe(self, audio: bytes, *, language: str | None = None) -> Transcript:
        """Return what was said in one utterance: mono int16 at 16 kHz.

        Raises:
            ProviderError: as ``open``, or the model failed, or took too long, or too many wait.
            ValueError: the audio does not consist of whole samples.

        """
        if len(audio) % 2:
            message = f"audio of {len(audio)} bytes does not consist of whole samples"
            raise ValueError(message)
        if not audio:
            return Transcript("", language)
        if self._waiting >= self._max_waiting:
            message = f"{self._shown} has {self._waiting} utterances to hear, which is the limit"
            raise ProviderError(message)
        given_up = threading.Event()
        self._waiting += 1
        try:
            await self.open()
            late = f"was not done within {self._deadline:g} s"
            hear = partial(self._hear, audio, language, given_up)
            return await self._run(hear, self._deadline, late)
        finally:
            given_up.set()
            self._waiting -= 1

    async def close(self) -> None:
        """Take no more utterances; those that wait fail, and the model is let go."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._model = None

    @property
    def _shown(self) -> str:
        return f"the Whisper model {str(self._name)!r}"

    async def _run(self, work: Callable[[], _T], patience: float, late: str) -> _T:
        """Do ``work`` in the thread, once it is its turn."""
        if self._closed.is_set():
            message = f"{self._shown} was closed"
            raise ProviderError(message)
        try:
            async with asyncio.timeout(patience):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError:
            message = f"{self._shown} {late}"
            raise ProviderError(message) from None
        except asyncio.CancelledError:
            if self._closed.is_set() and not _cancelled():
                message = f"{self._shown} was closed"
                raise ProviderError(message) from None
            raise

    # --- in the thread ---

    def _load(self) -> Any:
        try:
            library = importlib.import_module("faster_whisper")
        except ImportError as error:
            message = f"faster-whisper is missing: pip install 'palaver[whisper]' ({error})"
            raise ProviderError(message) from error
        where = self._located(library)
        try:
            return library.WhisperModel(where, local_files_only=not self._download, **self._device)
        except Exception as error:
            message = f"{self._shown} cannot be loaded: {_line(error)}"
            raise ProviderError(message) from error

    def _located(self, library: Any) -> str:
        """Return the folder of the model, or its name where it may be fetched."""
        name = str(self._name)
        folder = Path(name).expanduser()
        if folder.is_dir():
            missing = [file for file in _NEEDED if not (folder / file).is_file()]
            if missing:
                # The library would look for some of them on the network.
                message = f"{self._shown} is not complete: {missing[0]} is missing in its folder"
                raise ProviderError(message)
            return str(folder)
        if isinstance(self._name, Path) or name.startswith(("/", ".", "~")):
            message = f"{self._shown} cannot be loaded: there is no such folder"
            raise ProviderError(message)
        if self._download:
            return name
        try:
            return str(library.download_model(name, local_files_only=True))
        except Exception as error:
            message = (
                f"{self._shown} is not on this machine: give the path of its folder, or allow it "
                "to be downloaded"
            )
            raise ProviderError(message) from error

    def _hear(self, audio: bytes, language: str | None, given_up: threading.Event) -> Transcript:
        samples = np.frombuffer(audio, dtype="<i2").astype(np.float32) / _FULL_SCALE
        said: list[str] = []
        scores: list[SegmentScore] = []
        model = self._model
        try:
            segments, info = model.transcribe(
                samples,
                language=None if language is None else language.partition("-")[0].lower(),
                beam_size=self._beam_size,
                temperature=0.0,  # further tries, at higher ones, would cost as much each
                condition_on_previous_text=False,  # utterances have nothing to do with each other
                without_timestamps=True,
                vad_filter=False,  # what comes here is speech
            )
            for segment in segments:  # computed one by one, as they are asked for
                if given_up.is_set():
                    break
                said.append(segment.text)
                seconds = segment.end - segment.start
                scores.append(SegmentScore(seconds, segment.avg_logprob, segment.no_speech_prob))
        except Exception as error:
            message = f"{self._shown} failed: {_line(error)}"
            raise ProviderError(message) from error
        text = "" if only_noise(scores) else "".join(said).strip()
        return Transcript(text, language or info.language, confidence(scores))


def _cancelled() -> bool:
    """Return whether the caller was cancelled, not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
