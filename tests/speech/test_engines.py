"""Detectors by name."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest

from palaver.errors import ConfigError
from palaver.speech.engines import DETECTORS, open_detector
from palaver.speech.webrtc import WebrtcDetector


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_every_name_opens_a_detector(name: str, rate_hz: int) -> None:
    """It hears at the rate that was asked for, and finds silence silent."""
    if name == "silero-onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    detector = open_detector(name, rate_hz)
    assert name.startswith(detector.name)
    assert detector.sample_rate_hz == rate_hz
    assert detector.window_samples in {rate_hz * 20 // 1000, rate_hz * 32 // 1000}
    streams = [detector.open() for _ in range(3)]
    for _ in range(5):
        said = detector.detect(streams, np.zeros((3, detector.window_samples), np.int16))
        assert said.shape == (3,)
        assert said.dtype == np.float32
        assert said.max() < 0.1
    for stream in streams:
        stream.close()


def test_a_threshold_chooses_the_mode_of_webrtc() -> None:
    """The other detectors have no use for it."""
    strict = open_detector("webrtc", 8_000, 0.9)
    assert isinstance(strict, WebrtcDetector)
    assert strict.mode == 3


def test_an_unknown_name_is_refused() -> None:
    """The text lists what there is."""
    text = "there is no detector 'ears'; there are: silero, silero-onnx, webrtc, energy"
    with pytest.raises(ConfigError, match=text):
        open_detector("ears", 8_000)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime the text says which extra brings it."""
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ConfigError, match=r"install palaver\[onnx\]"):
        open_detector("silero-onnx", 8_000)
