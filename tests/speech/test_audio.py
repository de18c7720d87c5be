"""How samples are written: linear PCM and G.711, against what Python itself knows of them."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.audio import decode, encode

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)
EVERY_BYTE = bytes(range(256))
LAWS = [AudioEncoding.MULAW, AudioEncoding.ALAW]


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    """Python's own G.711, which is going to leave it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip("audioop", reason="this Python has no audioop to compare with")


@pytest.mark.parametrize(
    ("encoding", "write"), [(AudioEncoding.MULAW, "lin2ulaw"), (AudioEncoding.ALAW, "lin2alaw")]
)
def test_each_sample_is_written_as_python_writes_it(
    oracle: Any, encoding: AudioEncoding, write: str
) -> None:
    """All 65,536 samples become the bytes that audioop gives for them."""
    assert encode(EVERY_SAMPLE, encoding) == getattr(oracle, write)(EVERY_SAMPLE.tobytes(), 2)


@pytest.mark.parametrize(
    ("encoding", "read"), [(AudioEncoding.MULAW, "ulaw2lin"), (AudioEncoding.ALAW, "alaw2lin")]
)
def test_each_byte_is_read_as_python_reads_it(
    oracle: Any, encoding: AudioEncoding, read: str
) -> None:
    """All 256 bytes become the samples that audioop gives for them."""
    assert decode(EVERY_BYTE, encoding).tobytes() == getattr(oracle, read)(EVERY_BYTE, 2)


def test_a_law_of_each_byte_is_that_byte_again() -> None:
    """A-law has one way to write each of its 256 values."""
    assert encode(decode(EVERY_BYTE, AudioEncoding.ALAW), AudioEncoding.ALAW) == EVERY_BYTE


def test_mu_law_of_each_byte_is_that_byte_again_but_for_minus_zero() -> None:
    """µ-law writes zero as 0xFF; the other zero, 0x7F, is read and never written."""
    again = encode(decode(EVERY_BYTE, AudioEncoding.MULAW), AudioEncoding.MULAW)

    assert again == EVERY_BYTE.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize(
    ("encoding", "code", "sample"),
    [
        # The ends and the middle, as G.711 has them in its tables (14 and 13 bits, in 16 here).
        (AudioEncoding.MULAW, 0x80, 8_031 * 4),
        (AudioEncoding.MULAW, 0x00, -8_031 * 4),
        (AudioEncoding.MULAW, 0xFF, 0),
        (AudioEncoding.MULAW, 0xFE, 2 * 4),
        (AudioEncoding.ALAW, 0xAA, 4_032 * 8),
        (AudioEncoding.ALAW, 0x2A, -4_032 * 8),
        (AudioEncoding.ALAW, 0xD5, 1 * 8),
        (AudioEncoding.ALAW, 0x55, -1 * 8),
    ],
)
def test_known_values(encoding: AudioEncoding, code: int, sample: int) -> None:
    """The values that the recommendation prints are read, and written back."""
    assert decode(bytes([code]), encoding).tolist() == [sample]
    assert encode(np.array([sample], np.int16), encoding) == bytes([code])


@pytest.mark.parametrize("encoding", LAWS)
def test_what_is_lost_is_in_proportion_to_loudness(encoding: AudioEncoding) -> None:
    """No sample moves by more than 1/32 of its size, or half of the finest step."""
    before = EVERY_SAMPLE.astype(np.int64)
    moved = np.abs(decode(encode(EVERY_SAMPLE, encoding), encoding) - before)

    assert (moved <= np.maximum(16, (np.abs(before) + 132) / 32 + 4)).all()


@given(st.binary(max_size=400).filter(lambda payload: len(payload) % 2 == 0))
def test_linear_pcm_is_written_as_it_was_read(payload: bytes) -> None:
    """Linear PCM loses nothing in either direction."""
    samples = decode(payload, AudioEncoding.PCM_S16LE)

    assert samples.dtype == np.int16
    assert len(samples) == len(payload) // 2
    assert encode(samples, AudioEncoding.PCM_S16LE) == payload


@pytest.mark.parametrize("encoding", list(AudioEncoding))
def test_nothing_is_nothing(encoding: AudioEncoding) -> None:
    """No bytes are no samples, and the other way round."""
    assert len(decode(b"", encoding)) == 0
    assert encode(np.zeros(0, np.int16), encoding) == b""


@pytest.mark.parametrize("encoding", list(AudioEncoding))
def test_samples_may_be_every_second_of_an_array(encoding: AudioEncoding) -> None:
    """A view with gaps, one channel of two, is written as its own samples."""
    assert encode(EVERY_SAMPLE[::2], encoding) == encode(EVERY_SAMPLE[::2].copy(), encoding)


def test_half_a_sample_is_refused() -> None:
    """An odd number of bytes is no linear PCM."""
    with pytest.raises(ValueError, match=r"^321 bytes of pcm_s16le: a sample has 2 bytes"):
        decode(bytes(321), AudioEncoding.PCM_S16LE)


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        (np.zeros(4, np.float32), "float32 of 1"),
        (np.zeros((2, 2), np.int16), "int16 of 2"),
        (np.zeros(4, np.int32), "int32 of 1"),
    ],
)
@pytest.mark.parametrize("encoding", list(AudioEncoding))
def test_other_arrays_are_refused(samples: Any, what: str, encoding: AudioEncoding) -> None:
    """What is no row of int16 is not written, rather than written wrongly."""
    with pytest.raises(ValueError, match=f"^samples must be int16 of one dimension, not {what}$"):
        encode(samples, encoding)
