"""The detector of WebRTC behind our interface."""

from __future__ import annotations

import numpy as np
import pytest
import webrtcvad
from hypothesis import given
from hypothesis import strategies as st

from palaver.errors import ConfigError
from palaver.speech.detector import Samples
from palaver.speech.energy import EnergyDetector
from palaver.speech.webrtc import WebrtcDetector, webrtc_mode
from tests.speech.recordings import sounds, windows


def listen(detector: WebrtcDetector, samples: Samples) -> list[float]:
    """Return the probabilities of a call that is alone."""
    stream = detector.open()
    return [
        float(detector.detect([stream], one[None])[0])
        for one in windows(samples, detector.window_samples)
    ]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("mode", range(4))
def test_it_says_what_the_library_says(rate_hz: int, mode: int) -> None:
    """1 for speech and 0 for none, for each of many calls that are judged together."""
    detector = WebrtcDetector(rate_hz, mode)
    heard = list(sounds(rate_hz).values())
    cut = np.stack([windows(one, detector.window_samples) for one in heard])
    streams = [detector.open() for _ in heard]
    said = np.stack([detector.detect(streams, at) for at in cut.transpose(1, 0, 2)], axis=1)
    for samples, ours in zip(cut, said, strict=True):
        library = webrtcvad.Vad(mode)
        theirs = [library.is_speech(one.tobytes(), rate_hz) for one in samples]
        assert ours.tolist() == [1.0 if one else 0.0 for one in theirs]
    assert 0 < said.mean() < 1


@pytest.mark.parametrize(
    ("threshold", "mode"),
    [(0.0, 0), (0.24, 0), (0.25, 1), (0.49, 1), (0.5, 2), (0.74, 2), (0.75, 3), (1.0, 3)],
)
def test_a_threshold_has_a_mode(threshold: float, mode: int) -> None:
    """The higher the threshold, the more it takes to be speech."""
    assert webrtc_mode(threshold) == mode


@given(forgotten=st.integers(0, 100))
def test_a_reset_stream_is_a_new_one(forgotten: int) -> None:
    """Nothing of what was heard before is left."""
    detector = WebrtcDetector(8_000)
    samples = sounds(8_000)["speech over white noise, 10 dB"]
    stream = detector.open()
    for one in windows(samples, 160)[:forgotten]:
        detector.detect([stream], one[None])
    stream.reset()
    again = [float(detector.detect([stream], one[None])[0]) for one in windows(samples, 160)]
    assert again == listen(detector, samples)


def test_a_closed_stream_is_refused() -> None:
    """Closing twice is harmless; anything else says what is wrong."""
    detector = WebrtcDetector(8_000)
    stream = detector.open()
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match="the stream is closed"):
        detector.detect([stream], np.zeros((1, 160), np.int16))
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.reset()


def test_what_is_not_its_own_is_refused() -> None:
    """Other windows, and streams of another kind of detector."""
    detector = WebrtcDetector(16_000)
    with pytest.raises(ValueError, match=r"wanted is int16 of the shape \(1, 320\)"):
        detector.detect([detector.open()], np.zeros((1, 160), np.int16))
    with pytest.raises(TypeError, match="a stream of another kind of detector"):
        detector.detect([EnergyDetector(16_000).open()], np.zeros((1, 320), np.int16))


@pytest.mark.parametrize(
    ("rate_hz", "mode", "text"),
    [
        (44_100, 2, "webrtc hears 8000 or 16000 Hz, not 44100"),
        (8_000, 4, "webrtc has the modes 0 to 3, not 4"),
        (8_000, -1, "webrtc has the modes 0 to 3, not -1"),
    ],
)
def test_other_settings_are_refused(rate_hz: int, mode: int, text: str) -> None:
    """The text says what there is."""
    with pytest.raises(ConfigError, match=text):
        WebrtcDetector(rate_hz, mode)
