"""Silero VAD v6 run by onnxruntime: a second opinion on the numpy form, at twice its cost.

It needs the extra ``onnx``. Use it where numpy has no fast BLAS, and to check the other one.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from palaver.errors import ConfigError
from palaver.speech.arena import Arena
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.silero import REFRESH_MS, WINDOW_MS, model_file, refresh
from palaver.speech.silero_network import HIDDEN
from palaver.speech.windows import check_windows

__all__ = ["SileroOnnxDetector"]

_RATES_HZ = (8000, 16000)
_BLOCK = 128
_SCALE = np.float32(1 / 32768)


class SileroOnnxDetector:
    """A ``Detector``: windows of 32 ms at 8 or 16 kHz; ``refresh_ms`` as in ``SileroDetector``.

    It is not for several threads. Raises ``ConfigError`` for another rate, and where onnxruntime
    or the model is not installed.
    """

    name = "silero"

    def __init__(self, sample_rate_hz: int, *, refresh_ms: int | None = REFRESH_MS) -> None:
        if sample_rate_hz not in _RATES_HZ:
            raise ConfigError(f"Silero hears 8000 or 16000 Hz, not {sample_rate_hz}")
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = sample_rate_hz * WINDOW_MS // 1000
        self._refresh_ms = refresh_ms
        self._context_samples = self.window_samples // 8
        self._arena = Arena(np.zeros(2 * HIDDEN + self._context_samples + 2, np.float32))
        self._session = _session(str(model_file()))

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
        for at in range(0, len(rows), _BLOCK):
            block = slice(at, at + _BLOCK)
            before = self._arena.gather(rows[block])
            heard = np.concatenate([before[:, 2 * HIDDEN : -2], windows[block] * _SCALE], axis=1)
            state = before[:, : 2 * HIDDEN].reshape(-1, 2, HIDDEN).transpose(1, 0, 2)
            probability, state = self._session.run(
                None, {"input": heard, "state": state, "sr": np.array(self.sample_rate_hz)}
            )
            heard_last = heard[:, -self._context_samples :]
            after = np.concatenate([state[0], state[1], heard_last, before[:, -2:]], axis=1)
            refresh(after, probability[:, 0], self._refresh_ms)
            self._arena.scatter(rows[block], after)
            result[block] = probability[:, 0]
        return result


def _session(path: str) -> Any:
    """Return onnxruntime's session, of one thread."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError("silero-onnx needs onnxruntime: install palaver[onnx]") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
