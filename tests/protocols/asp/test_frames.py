"""The binary messages, byte by byte (spec §6)."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.errors import ErrorCode, Rejection
from palaver.protocols.asp.frames import (
    AudioFrame,
    FrameFlags,
    frame_key,
    pack,
    session_hash,
    unpack,
)
from palaver.protocols.asp.messages import Side
from tests.protocols.asp.strategies import unhurried

CLIENT, SERVER = Side.CLIENT, Side.SERVER
HASH12, SEQ14, ASP16 = Framing

# The first half of the MD5 of "test-session-123", by md5sum.
HASH = bytes.fromhex("ad7f9c0ddb71b626")

VECTORS: list[tuple[Side, AudioFrame, str]] = [
    (CLIENT, AudioFrame(HASH12, HASH, b"\x01\x02"), f"01 00 {HASH.hex(' ')} 00 00 01 02"),
    (SERVER, AudioFrame(HASH12, HASH, b"\xff"), f"01 01 {HASH.hex(' ')} 00 00 ff"),
    (
        CLIENT,
        AudioFrame(SEQ14, None, b"\xaa\xbb", seq=1, time_us=20_000),
        "01 00 01 00 00 00 20 4e 00 00 00 00 00 00 aa bb",
    ),
    (
        CLIENT,
        AudioFrame(SEQ14, None, b"", seq=0xFFFF_FFFF, time_us=2**64 - 1),
        "01 00 ff ff ff ff ff ff ff ff ff ff ff ff",
    ),
    (
        SERVER,
        AudioFrame(SEQ14, None, b"\xaa", seq=0x01020304, time_us=0x0102030405060708),
        "02 00 04 03 02 01 08 07 06 05 04 03 02 01 00 aa",
    ),
    (
        SERVER,
        AudioFrame(SEQ14, None, b"", seq=0, time_us=0, flags=FrameFlags.FINAL),
        "02 00 00 00 00 00 00 00 00 00 00 00 00 00 01",
    ),
    (
        SERVER,
        AudioFrame(
            SEQ14, None, b"", seq=0, time_us=0, flags=FrameFlags.FINAL | FrameFlags.BARGE_IN
        ),
        "02 00 00 00 00 00 00 00 00 00 00 00 00 00 03",
    ),
    (
        CLIENT,
        AudioFrame(ASP16, 7, b"\x10\x20", seq=1, samples=320),
        "a5 11 07 00 01 00 00 00 40 01 00 00 00 00 00 00 10 20",
    ),
    (
        SERVER,
        AudioFrame(
            ASP16,
            0x0102,
            b"\x00",
            seq=0x03040506,
            samples=0x0708090A,
            flags=FrameFlags.FINAL | FrameFlags.DTX,
            generation=0x0B0C,
        ),
        "a5 12 02 01 06 05 04 03 0a 09 08 07 09 00 0c 0b 00",
    ),
    (
        SERVER,
        AudioFrame(
            ASP16,
            0xFFFF,
            b"",
            seq=0xFFFF_FFFF,
            samples=0xFFFF_FFFF,
            flags=FrameFlags(15),
            generation=0xFFFF,
        ),
        "a5 12 ff ff ff ff ff ff ff ff ff ff 0f 00 ff ff",
    ),
]


@pytest.mark.parametrize(("sender", "frame", "written"), VECTORS)
def test_frames_byte_by_byte(sender: Side, frame: AudioFrame, written: str) -> None:
    """Section 6: each framing in each direction, as it stands on the wire."""
    data = bytes.fromhex(written)
    assert pack(frame, sender) == data
    assert unpack(data, sender, numbered=frame.framing is SEQ14) == frame


def test_headers_have_the_sizes_in_their_names() -> None:
    """12, 14 and 16 bytes; the numbered one has a byte of flags on the way to the client."""
    sizes = {
        (framing, sender): len(pack(AudioFrame(framing, frame_key(framing, "s", 1), b""), sender))
        for framing, sender in product(Framing, Side)
    }
    assert sizes == {
        (HASH12, CLIENT): 12,
        (HASH12, SERVER): 12,
        (SEQ14, CLIENT): 14,
        (SEQ14, SERVER): 15,
        (ASP16, CLIENT): 16,
        (ASP16, SERVER): 16,
    }


def test_keys_name_the_session() -> None:
    """A session is named by the hash of its id, by its stream, or by the socket alone."""
    assert session_hash("test-session-123") == HASH
    assert frame_key(HASH12, "test-session-123", 7) == HASH
    assert frame_key(SEQ14, "test-session-123", 7) is None
    assert frame_key(ASP16, "test-session-123", 7) == 7
    assert session_hash("sitzung-ä") == bytes.fromhex("c460b29bd1c8f5d6")


def test_numbers_wrap() -> None:
    """Number and media time are written modulo 2**32; what has none is written as 0."""
    late = AudioFrame(ASP16, 1, b"", seq=2**32 + 5, samples=2**32 * 3 + 6)
    assert pack(late, CLIENT).hex(" ") == "a5 11 01 00 05 00 00 00 06 00 00 00 00 00 00 00"
    late = AudioFrame(SEQ14, None, b"", seq=2**32)
    assert pack(late, CLIENT).hex(" ") == "01 00 00 00 00 00 00 00 00 00 00 00 00 00"
    assert pack(AudioFrame(ASP16, 0, b""), SERVER).hex(" ") == "a5 12" + " 00" * 14


def test_flags_that_a_framing_has_no_room_for_are_left_out() -> None:
    """``seq14`` carries two flags and only to the client; ``hash12`` carries none."""
    every = FrameFlags(15)
    assert pack(AudioFrame(SEQ14, None, b"", flags=every), SERVER)[-1] == 3
    assert pack(AudioFrame(SEQ14, None, b"", flags=every), CLIENT)[0] == 1
    assert pack(AudioFrame(HASH12, HASH, b"", flags=every), SERVER)[10:] == b"\0\0"


def test_bits_of_a_later_version_are_ignored() -> None:
    """Flags and reserved bytes that this version does not know change nothing."""
    asp16 = unpack(bytes.fromhex("a5 11 00 00 00 00 00 00 00 00 00 00 f1 ff 00 00"), CLIENT)
    assert asp16.flags is FrameFlags.FINAL
    data = bytes.fromhex("02 00 00 00 00 00 00 00 00 00 00 00 00 00 fe")
    assert unpack(data, SERVER, numbered=True).flags is FrameFlags.BARGE_IN
    assert unpack(b"\x01\x00" + HASH + b"\xff\xff", CLIENT) == AudioFrame(HASH12, HASH, b"")


CUT: list[tuple[str, bytes, Side, bool, int]] = [
    ("hash12", b"\x01\x00" + HASH + b"\0\0", CLIENT, False, 12),
    ("hash12", b"\x01\x01" + HASH + b"\0\0", SERVER, False, 12),
    ("seq14", b"\x01" + b"\0" * 13, CLIENT, True, 14),
    ("seq14", b"\x02" + b"\0" * 14, SERVER, True, 15),
    ("asp16", b"\xa5\x11" + b"\0" * 14, CLIENT, False, 16),
    ("asp16", b"\xa5\x12" + b"\0" * 14, SERVER, True, 16),
]


@pytest.mark.parametrize(
    ("name", "data", "sender", "numbered", "size", "length"),
    [(*row, length) for row in CUT for length in range(1, row[-1])],
)
def test_a_header_that_is_cut_short_is_refused(
    name: str, data: bytes, sender: Side, size: int, length: int, *, numbered: bool
) -> None:
    """Section 6: 2004 at each length below that of the header, and audio from there on."""
    assert len(data) == size
    assert unpack(data, sender, numbered=numbered).payload == b""
    with pytest.raises(Rejection) as caught:
        unpack(data[:length], sender, numbered=numbered)
    assert caught.value.error.code == ErrorCode.AUDIO_PROCESSING_ERROR
    assert caught.value.error.message == (
        f"the binary message has {length} bytes; a header of {name} has {size}"
    )


@pytest.mark.parametrize(("numbered", "name", "size"), [(False, "hash12", 12), (True, "seq14", 14)])
def test_an_empty_message_is_refused(name: str, size: int, *, numbered: bool) -> None:
    """Section 6: a binary message without a byte has no header."""
    with pytest.raises(Rejection) as caught:
        unpack(b"", CLIENT, numbered=numbered)
    assert caught.value.error.message == (
        f"the binary message has 0 bytes; a header of {name} has {size}"
    )


NO_HEADERS: list[tuple[str, Side, bool]] = [
    # wrong magic
    ("00 00", CLIENT, False),
    ("02 00", CLIENT, False),
    ("ff ff", CLIENT, False),
    ("a4 11", CLIENT, False),
    ("00 00", CLIENT, True),
    ("01 01", CLIENT, True),
    ("03 00", SERVER, True),
    # another version of asp16, or a kind that is none
    ("a5 00", CLIENT, False),
    ("a5 21", CLIENT, False),
    ("a5 13", SERVER, False),
    # the other direction
    ("01 01", CLIENT, False),
    ("01 00", SERVER, False),
    ("01 02", SERVER, False),
    ("02 00", CLIENT, True),
    ("01 00", SERVER, True),
    ("a5 12", CLIENT, False),
    ("a5 11", SERVER, False),
    ("a5 11", SERVER, True),
]


@pytest.mark.parametrize(("start", "sender", "numbered"), NO_HEADERS)
def test_what_is_no_header_of_that_side_is_refused(
    start: str, sender: Side, *, numbered: bool
) -> None:
    """Section 6: 2004 for another magic, another kind, or the other direction."""
    with pytest.raises(Rejection) as caught:
        unpack(bytes.fromhex(start) + b"\0" * 30, sender, numbered=numbered)
    error = caught.value.error
    assert (error.code, error.recoverable) == (ErrorCode.AUDIO_PROCESSING_ERROR, True)
    assert error.message == (
        f"the binary message begins with {start}: that is no header of this side"
    )


_payloads = st.binary(max_size=40)
_u16, _u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
_flags = st.integers(0, 15).map(FrameFlags)
_no_flags = st.just(FrameFlags.NONE)


def _frame(*values: Any, **more: Any) -> AudioFrame:
    """Make a frame of what is given alone: hypothesis would make up the rest of a tuple."""
    return AudioFrame(*values, **more)


_frames = st.one_of(
    st.tuples(
        st.sampled_from(Side),
        st.builds(_frame, st.just(HASH12), st.text(max_size=9).map(session_hash), _payloads),
    ),
    st.tuples(
        st.just(CLIENT),
        st.builds(
            _frame,
            st.just(SEQ14),
            st.none(),
            _payloads,
            seq=_u32,
            time_us=st.integers(0, 2**64 - 1),
        ),
    ),
    st.tuples(
        st.just(SERVER),
        st.builds(
            _frame,
            st.just(SEQ14),
            st.none(),
            _payloads,
            seq=_u32,
            time_us=st.integers(0, 2**64 - 1),
            flags=st.integers(0, 3).map(FrameFlags),
        ),
    ),
    st.tuples(
        st.sampled_from(Side),
        st.builds(
            _frame,
            st.just(ASP16),
            _u16,
            _payloads,
            seq=_u32,
            samples=_u32,
            flags=_flags,
            generation=_u16,
        ),
    ),
)


@unhurried
@given(_frames)
def test_frames_come_back_as_they_went(sent: tuple[Side, AudioFrame]) -> None:
    """A frame that was packed is unpacked as the same frame, and the other side refuses it."""
    sender, frame = sent
    data = pack(frame, sender)
    numbered = frame.framing is SEQ14
    assert unpack(data, sender, numbered=numbered) == frame
    with pytest.raises(Rejection):
        unpack(data, SERVER if sender is CLIENT else CLIENT, numbered=numbered)


@unhurried
@given(
    st.binary(max_size=40)
    | st.builds(
        bytes.__add__,
        st.sampled_from([b"\xa5\x11", b"\xa5\x12", b"\1\0", b"\1\1", b"\2\0"]),
        st.binary(min_size=8, max_size=30),
    ),
    st.sampled_from(Side),
    st.booleans(),
)
def test_any_bytes_are_a_frame_or_refused(data: bytes, sender: Side, numbered: Any) -> None:
    """Whatever a peer sends, it is a frame that can be packed again, or 2004."""
    try:
        frame = unpack(data, sender, numbered=numbered)
    except Rejection as rejection:
        code = rejection.error.code
    else:
        code = None
        again = pack(frame, sender)
        assert len(again) == len(data)
        assert unpack(again, sender, numbered=numbered) == frame
    assert code in {None, ErrorCode.AUDIO_PROCESSING_ERROR}
