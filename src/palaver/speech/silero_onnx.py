"""Silero VAD v6 run by onnxruntime: a second opinion on the numpy form, at twice its cost.

It needs the extra ``onnx``. Use it where numpy has no fast BLAS, and to check the other one.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from palaver.errors import ConfigError
from palaver.speech.detector import Probabilities, Samples
from palaver.speech.onnx_weights import Floats
from palaver.speech.silero import model_file
from palaver.speech.silero_network import HIDDEN
from palaver.speech.silero_streams import REFRESH_MS, SileroStreams
from palaver.speech.windows import SCALE, check_rate

__all__ = ["SileroOnnxDetector"]


class SileroOnnxDetector(SileroStreams):
    """A ``Detector``: windows of 32 ms at 8 or 16 kHz. What it spares itself: ``SileroStreams``.

    It is not for several threads. Raises ``ConfigError`` for another rate, and where onnxruntime
    or the model is not installed.
    """

    def __init__(
        self, sample_rate_hz: int, *, refresh_ms: int | None = REFRESH_MS, gated: bool = True
    ) -> None:
        check_rate("Silero", sample_rate_hz)
        super().__init__(sample_rate_hz, refresh_ms=refresh_ms, gated=gated)
        self._session = _session(str(model_file()))

    def _compute(self, before: Floats, windows: Samples) -> tuple[Probabilities, Floats]:
        heard = np.concatenate([before[:, 2 * HIDDEN :], windows * SCALE], axis=1)
        state = before[:, : 2 * HIDDEN].reshape(-1, 2, HIDDEN).transpose(1, 0, 2)
        probability, state = self._session.run(
            None, {"input": heard, "state": state, "sr": np.array(self.sample_rate_hz)}
        )
        return probability[:, 0], np.concatenate([state[0], state[1]], axis=1)


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
