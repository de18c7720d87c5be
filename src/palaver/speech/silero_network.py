"""The network of Silero VAD v6, written out as functions on arrays of N windows.

One form serves both rates: a window holds four times ``half`` samples, and goes in between
``half``/2 samples of the window before it and ``half``/2 mirrored ones. Spectrum of four frames,
four convolutions over time that leave one step, an LSTM cell, one output.

Every matrix has a number of columns that BLAS kernels share out evenly (multiples of 16), and no
product has a single row: so the order of additions, and with it each bit of a row, is the same in
a batch of any size (``same_bits`` shows whether that holds on a machine).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from palaver.speech.onnx_weights import Floats

__all__ = ["HIDDEN", "Convolution", "Network", "build", "same_bits", "step"]

HIDDEN = 128
_FRAMES = 4
_STRIDES = (1, 2, 2, 1)
_TAPS = 3
_SIGMOIDS = 3 * HIDDEN  # the columns of the gates that end in a sigmoid
_HALF = np.float32(0.5)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution over time, three taps, one step of padding; rectified."""

    weight: Floats  # [3 * inputs, outputs]
    bias: Floats  # [steps * outputs], of the steps that it leaves
    inputs: int
    stride: int


@dataclass(frozen=True, slots=True)
class Network:
    """The weights for one rate, in the order in which the products read them."""

    half: int  # samples of half a frame: 64 at 8 kHz, 128 at 16 kHz
    cosines: Floats  # [half, half + 16]: the last 15 columns are zero
    sines: Floats  # [half, half]: column 0 is zero
    encoder: tuple[Convolution, ...]
    gates: Floats  # [2 * HIDDEN, 4 * HIDDEN]: input, forget, output, candidate
    gates_bias: Floats  # [4 * HIDDEN]
    output: Floats  # [HIDDEN, 16]: the last 15 columns are zero
    output_bias: Floats  # [1]


def build(weights: Mapping[str, Floats]) -> Network:
    """Arrange the weights of one branch of the model, named as in PyTorch.

    Raises ``KeyError`` for one that is missing and ``ValueError`` where the shapes or the basis
    are not those of Silero v6.
    """
    cosines, sines = _folded(weights["stft.forward_basis_buffer"][:, 0].T)
    encoder = []
    steps = _FRAMES
    for layer, stride in enumerate(_STRIDES):
        steps = _steps_after(steps, stride)
        weight = weights[f"encoder.{layer}.reparam_conv.weight"]  # [outputs, inputs, 3]
        bias = weights[f"encoder.{layer}.reparam_conv.bias"]
        rows = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight)))
        encoder.append(Convolution(rows, np.tile(bias, steps), weight.shape[1], stride))
    joined = np.concatenate(
        [weights["decoder.rnn.weight_ih"], weights["decoder.rnn.weight_hh"]], axis=1
    )  # [4 * HIDDEN, 2 * HIDDEN]: input, forget, candidate, output
    bias = weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"]
    order = np.concatenate([np.arange(256), np.arange(384, 512), np.arange(256, 384)])
    # sigmoid(x) is (tanh(x / 2) + 1) / 2: halved weights let one tanh serve all gates.
    scale = np.where(np.arange(4 * HIDDEN) < _SIGMOIDS, _HALF, np.float32(1))
    return Network(
        half=len(sines),
        cosines=cosines,
        sines=sines,
        encoder=tuple(encoder),
        gates=np.ascontiguousarray((joined[order] * scale[:, None]).T),
        gates_bias=bias[order] * scale,
        output=np.pad(weights["decoder.decoder.2.weight"][0], ((0, 0), (0, 15))),
        output_bias=weights["decoder.decoder.2.bias"],
    )


def _folded(basis: Floats) -> tuple[Floats, Floats]:
    """Return cosines and sines of the second half of the frame, for folded frames.

    The window of the transform is symmetric: sample n and sample 2 * half - n meet the same cosine
    and the opposite sine, so their sum and their difference take half the products.
    """
    half = len(basis) // 2  # basis: [2 * half, 2 * (half + 1)]
    cosine, sine = basis[:, : half + 1], basis[:, half + 1 :]
    mirrored = slice(None, half, -1)
    symmetric = (
        np.array_equal(cosine[1:half], cosine[mirrored])
        and np.array_equal(sine[1:half], -sine[mirrored])
        and not (cosine[0].any() or sine[0].any() or sine[half].any())
        and not (sine[:, 0].any() or sine[:, half].any())
    )
    if not symmetric:
        raise ValueError("the basis of the spectrum is not that of Silero v6")
    cosines: Floats = np.zeros((half, half + 16), np.float32)
    cosines[:, : half + 1] = cosine[1 : half + 1]
    cosines[-1] *= _HALF  # sample ``half`` is its own mirror image: its sum has it twice
    sines: Floats = np.ascontiguousarray(sine[1 : half + 1, :half])
    return cosines, sines


def step(
    network: Network, audio: Floats, hidden: Floats, cell: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return probability [N], and the next hidden and cell state [N, HIDDEN]; N is 2 or more.

    ``audio`` has the shape [N, 5 * half]: what came before, the window, its mirrored end.
    """
    features = _magnitudes(network, audio)
    for layer in network.encoder:
        features = _convolved(layer, features)
    hidden, cell = _remembered(network, features, hidden, cell)
    return _probability(network, hidden), hidden, cell


def _magnitudes(network: Network, audio: Floats) -> Floats:
    """Return [N, 4 * (half + 1)]: the magnitudes of four frames, one after the other."""
    half = network.half
    count = len(audio)
    ahead = audio[:, 1 : 1 + _FRAMES * half].reshape(count, _FRAMES, half)
    mirrored = audio[:, half:].reshape(count, _FRAMES, half)[:, :, ::-1]
    sums: Floats = (ahead + mirrored).reshape(-1, half)
    differences: Floats = (ahead - mirrored).reshape(-1, half)
    real, imaginary = sums @ network.cosines, differences @ network.sines
    real = real[:, : half + 1]
    power = real * real  # [4 * N, half + 1]
    imaginary *= imaginary
    power[:, :half] += imaginary
    np.sqrt(power, out=power)
    return power.reshape(count, -1)


def _convolved(layer: Convolution, features: Floats) -> Floats:
    """Return [N, steps * outputs] for features [N, steps * inputs]."""
    inputs, outputs = layer.inputs, layer.weight.shape[1]
    steps = features.shape[1] // inputs
    result = np.empty((len(features), len(layer.bias)), np.float32)
    for at in range(_steps_after(steps, layer.stride)):
        start = at * layer.stride - 1  # what lies outside of the steps is zero: it is left out
        first, last = max(start, 0), min(start + _TAPS, steps)
        weight = layer.weight[(first - start) * inputs : (last - start) * inputs]
        here = result[:, at * outputs : (at + 1) * outputs]
        np.matmul(features[:, first * inputs : last * inputs], weight, out=here)
    result += layer.bias
    return np.maximum(result, 0, out=result)


def _steps_after(steps: int, stride: int) -> int:
    return (steps - 1) // stride + 1


def _remembered(
    network: Network, features: Floats, hidden: Floats, cell: Floats
) -> tuple[Floats, Floats]:
    """Return the next hidden and cell state of the LSTM, [N, HIDDEN] each."""
    gates = np.concatenate([features, hidden], axis=1) @ network.gates
    gates += network.gates_bias
    np.tanh(gates, out=gates)
    sigmoids = gates[:, :_SIGMOIDS]
    sigmoids *= _HALF
    sigmoids += _HALF
    taken, kept, shown = (sigmoids[:, i * HIDDEN : (i + 1) * HIDDEN] for i in range(3))
    cell = kept * cell
    taken *= gates[:, _SIGMOIDS:]
    cell += taken
    hidden = np.tanh(cell)
    hidden *= shown
    return hidden, cell


def _probability(network: Network, hidden: Floats) -> Floats:
    """Return [N]: the rectified state weighed, through a sigmoid."""
    score: Floats = (np.maximum(hidden, 0) @ network.output)[:, 0] + network.output_bias
    probability: Floats = np.tanh(score * _HALF) * _HALF + _HALF
    return probability


def same_bits(network: Network, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return those ``sizes`` of batches that give each row the same bits as the last does.

    The order of additions depends on the shapes alone, not on the numbers, so noise shows whether
    two sizes agree, wherever a row stands.
    """
    largest = sizes[-1]
    noise = np.random.default_rng(0)
    audio = noise.uniform(-1, 1, (largest, 5 * network.half)).astype(np.float32)
    state = noise.uniform(-1, 1, (2, largest, HIDDEN)).astype(np.float32)
    whole = step(network, audio, *state)

    def agrees(size: int) -> bool:
        last = largest - size  # every row of a batch of that size, at both ends of the largest one
        return all(
            np.array_equal(part, all_rows[at : at + size])
            for at in (0, last)
            for part, all_rows in zip(
                step(network, audio[at : at + size], *state[:, at : at + size]), whole, strict=True
            )
        )

    return tuple(size for size in sizes if size == largest or agrees(size))
