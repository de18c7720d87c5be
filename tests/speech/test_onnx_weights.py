"""Constants out of ONNX files: what is there is found, what is damaged is refused."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.speech.onnx_weights import Floats, read_constants
from palaver.speech.silero import model_file

FLOAT, INT64 = 1, 7


def varint(value: int) -> bytes:
    """Write a number, seven bits a byte."""
    written = b""
    while value > 0x7F:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return written + bytes([value])


def number(field: int, value: int) -> bytes:
    """Write a field that holds a number."""
    return varint(field << 3) + varint(value)


def piece(field: int, value: bytes) -> bytes:
    """Write a field that holds bytes."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(values: Floats, *, raw: bool = True, data_type: int = FLOAT) -> bytes:
    """Write a tensor, its numbers raw or as floats."""
    dims = b"".join(number(1, size) for size in values.shape)
    return dims + number(2, data_type) + piece(9 if raw else 4, values.astype("<f4").tobytes())


def constant(name: str, value: bytes) -> bytes:
    """Write a node that makes a tensor known under a name."""
    attribute = piece(1, b"value") + piece(5, value) + number(20, 4)
    return piece(1, piece(2, name.encode()) + piece(4, b"Constant") + piece(5, attribute))


def branch(graph: bytes) -> bytes:
    """Write a node that has a graph inside."""
    return piece(1, piece(4, b"If") + piece(5, piece(1, b"then_branch") + piece(6, graph)))


def model(graph: bytes) -> bytes:
    """Write a model, with fields around its graph that nobody needs."""
    return number(1, 8) + piece(2, b"a test") + piece(7, graph)


@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    depth=st.integers(0, 5),
    raw=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_was_written_is_read(shape: list[int], depth: int, raw: bool, seed: int) -> None:  # noqa: FBT001
    """Any shape, raw or as floats, and in branches of branches."""
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    graph = constant("weight", tensor(values, raw=raw))
    for _ in range(depth):
        graph = branch(graph)

    read = read_constants(model(graph))

    assert list(read) == ["weight"]
    assert read["weight"].dtype == np.float32
    assert read["weight"].shape == values.shape
    assert read["weight"].tobytes() == values.tobytes()


def test_repeated_numbers_come_packed_and_one_by_one() -> None:
    """Both ways to write sizes and floats are read; other wire types are passed over."""
    packed = piece(1, varint(2) + varint(300)) + number(2, FLOAT)
    single = b"".join(varint(4 << 3 | 5) + struct.pack("<f", at) for at in range(600))
    unknown = varint(15 << 3 | 1) + bytes(8)

    read = read_constants(model(constant("weight", packed + unknown + single)))

    assert read["weight"].shape == (2, 300)
    assert read["weight"].ravel().tolist() == list(range(600))


def test_other_types_are_left_out() -> None:
    """Integers are not weights."""
    integers = number(1, 1) + number(2, INT64) + piece(9, bytes(8))
    floats = tensor(np.ones(2, np.float32))

    read = read_constants(model(constant("axis", integers) + constant("bias", floats)))

    assert list(read) == ["bias"]


def nested(depth: int) -> bytes:
    """Write graphs within graphs."""
    graph = constant("weight", tensor(np.ones(1, np.float32)))
    for _ in range(depth):
        graph = branch(graph)
    return graph


@pytest.mark.parametrize(
    ("damaged", "text"),
    [
        (b"", "no constants: it is not an ONNX model"),
        (number(1, 8), "no constants: it is not an ONNX model"),
        (b"#!/bin/sh\n", "wire type 3"),
        (b"\xff" * 12, "a number does not end"),
        (b"\x80", "a number does not end"),
        (piece(7, bytes(40))[:-1], "field 7 ends after the end of its message"),
        (varint(7 << 3 | 5) + b"abc", "field 7 ends after the end of its message"),
        (
            model(constant("bias", number(1, 3) + number(2, FLOAT) + piece(9, bytes(8)))),
            r"bias: 8 bytes do not fill the shape \[3\]",
        ),
        (model(nested(17)), "graphs are nested more than 16 deep"),
    ],
)
def test_what_is_damaged_is_refused(damaged: bytes, text: str) -> None:
    """The text says what is wrong."""
    with pytest.raises(ValueError, match=text):
        read_constants(damaged)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but a ValueError comes of bytes that are no model."""
    with contextlib.suppress(ValueError):
        assert list(read_constants(model(constant("weight", data)))) == ["weight"]


@given(cut=st.integers(0, 2_000_000))
def test_a_model_that_was_cut_off_is_refused(cut: int) -> None:
    """Half a download is no model."""
    whole = model_file().read_bytes()
    with pytest.raises(ValueError):
        read_constants(whole[: min(cut, len(whole) - 1)])


def test_the_model_of_silero_has_two_branches() -> None:
    """Both rates have their weights."""
    names = read_constants(model_file().read_bytes())
    assert sum("_then_branch__" in name for name in names) >= 15
    assert sum("_else_branch__" in name for name in names) >= 15
    assert names["If_0_else_branch__Inline_0__decoder.rnn.weight_ih"].shape == (512, 128)
