"""The detectors by name, as settings and the command line have them."""

from __future__ import annotations

from collections.abc import Callable

from palaver.errors import ConfigError
from palaver.speech.detector import Detector
from palaver.speech.energy import EnergyDetector
from palaver.speech.silero import SileroDetector
from palaver.speech.silero_onnx import SileroOnnxDetector
from palaver.speech.webrtc import WebrtcDetector, webrtc_mode

__all__ = ["DETECTORS", "open_detector"]

_ENGINES: dict[str, Callable[[int, float], Detector]] = {
    "silero": lambda rate, _: SileroDetector(rate),
    "silero-onnx": lambda rate, _: SileroOnnxDetector(rate),
    "webrtc": lambda rate, threshold: WebrtcDetector(rate, webrtc_mode(threshold)),
    "energy": lambda rate, _: EnergyDetector(rate),
}
DETECTORS = tuple(_ENGINES)
"""The names: the best first, the lightest last."""


def open_detector(name: str, sample_rate_hz: int, threshold: float = 0.5) -> Detector:
    """Return a new detector for 8000 or 16000 Hz.

    ``threshold`` matters to ``webrtc`` alone, which hears through one of four modes. Raises
    ``ConfigError`` for an unknown name, a rate that the detector does not hear, and where something
    is not installed: the text says what to install.
    """
    engine = _ENGINES.get(name)
    if engine is None:
        raise ConfigError(f"there is no detector {name!r}; there are: {', '.join(DETECTORS)}")
    return engine(sample_rate_hz, threshold)
