"""The constants of an ONNX file, read without the ``onnx`` package.

An ONNX file is one Protocol Buffers message. Of its wire format this reader knows what it takes to
find the nodes of a graph, the graphs inside a node (the branches of an ``If``) and the tensors of
``Constant`` nodes; all else is skipped by its length. The numbers below are the field numbers of
``onnx.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Constants", "Floats", "read_constants"]

Floats: TypeAlias = NDArray[np.float32]
Constants: TypeAlias = dict[str, Floats]

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_NODE_OUTPUT, _NODE_ATTRIBUTE = 2, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 6
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_RAW = 1, 2, 4, 9
_TYPE_FLOAT = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_DEPTH = 16  # graphs within graphs; Silero's have five

_Field: TypeAlias = tuple[int, int | memoryview]


def read_constants(model: bytes) -> Constants:
    """Return the float32 tensors of all ``Constant`` nodes, by the name of the node's output.

    Other types of tensors are left out. Raises ``ValueError`` where ``model`` is no ONNX file or
    is damaged.
    """
    found: Constants = {}
    for number, value in _fields(memoryview(model)):
        if number == _MODEL_GRAPH and isinstance(value, memoryview):
            _read_graph(value, found, depth=0)
    if not found:
        raise ValueError("no constants: it is not an ONNX model")
    return found


def _read_graph(graph: memoryview, found: Constants, *, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"graphs are nested more than {_MAX_DEPTH} deep")
    for number, node in _fields(graph):
        if number == _GRAPH_NODE and isinstance(node, memoryview):
            _read_node(node, found, depth=depth)


def _read_node(node: memoryview, found: Constants, *, depth: int) -> None:
    output = ""
    for number, value in _fields(node):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_OUTPUT:
            output = output or bytes(value).decode("utf-8", "replace")
        elif number == _NODE_ATTRIBUTE:
            for kind, member in _fields(value):
                if kind == _ATTRIBUTE_GRAPH and isinstance(member, memoryview):
                    _read_graph(member, found, depth=depth + 1)
                elif kind == _ATTRIBUTE_TENSOR and isinstance(member, memoryview):
                    tensor = _read_tensor(member, output)
                    if tensor is not None:
                        found[output] = tensor


def _read_tensor(tensor: memoryview, name: str) -> Floats | None:
    """Return the tensor, or None where it holds no float32 numbers."""
    shape: list[int] = []
    data_type = 0
    numbers = b""
    for number, value in _fields(tensor):
        if number == _TENSOR_DIMS:
            shape += _varints(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            data_type = value
        elif number in {_TENSOR_FLOATS, _TENSOR_RAW} and isinstance(value, memoryview):
            numbers += value  # little endian in both; unpacked floats come as pieces of four bytes
    if data_type != _TYPE_FLOAT:
        return None
    if len(numbers) != 4 * math.prod(shape):
        raise ValueError(f"{name}: {len(numbers)} bytes do not fill the shape {shape}")
    return np.frombuffer(numbers, "<f4").astype(np.float32).reshape(shape)


def _varints(value: int | memoryview) -> list[int]:
    """Return the numbers of a repeated field: one, or many packed together."""
    if isinstance(value, int):
        return [value]
    numbers = []
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield each field of a message: its number, and an integer or its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, at = _varint(message, at)
        elif wire_type in {_FIXED32, _FIXED64}:
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has wire type {wire_type}: it is not an ONNX model")
        if size > len(message) - at:
            raise ValueError(f"field {number} ends after the end of its message")
        yield number, message[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the number at ``at``, seven bits a byte, and the place after it."""
    value = 0
    for shift, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise ValueError("a number does not end")
