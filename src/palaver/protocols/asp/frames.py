"""The binary messages: a header in one of three framings, then whole frames of audio.

=========  ===================================================================================
framing    header (little endian)
=========  ===================================================================================
``hash12``  u8 ``0x01`` · u8 direction (0 to the server, 1 to the client) · the first 8 bytes of
            the MD5 of the session id · u16 zero
``seq14``   u16 ``1`` · u32 number · u64 microseconds since the session began: to the server.
            u16 ``2`` · the same · u8 flags: to the client (15 bytes). One session a socket
``asp16``   u8 ``0xA5`` · u8 ``0x11`` to the server, ``0x12`` to the client (version, kind) ·
            u16 stream · u32 number · u32 media time in samples · u8 flags · u8 zero ·
            u16 generation of the answer
=========  ===================================================================================

``hash12`` is what 1.0.0 really puts on the wire, ``seq14`` what its document says.
"""

from __future__ import annotations

from enum import IntFlag
from hashlib import md5
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.errors import ErrorCode, Rejection, protocol_error
from palaver.protocols.asp.messages import Side

__all__ = [
    "ASP16_SIZE",
    "FLAGS",
    "AudioFrame",
    "FrameFlags",
    "FrameKey",
    "frame_head",
    "frame_key",
    "pack",
    "session_hash",
    "unpack",
]

_HASH12: Final = Struct("<BB8sH")
_SEQ14_IN: Final = Struct("<HIQ")
_SEQ14_OUT: Final = Struct("<HIQB")
_ASP16: Final = Struct("<BBHIIBBH")

_HASH12_MAGIC: Final = 0x01
_ASP16_MAGIC: Final = 0xA5
_ASP16_KIND: Final = {Side.CLIENT: 0x11, Side.SERVER: 0x12}
_SEQ14_TYPE: Final = {Side.CLIENT: 1, Side.SERVER: 2}
_U32: Final = 0xFFFF_FFFF

FrameKey: TypeAlias = bytes | int | None
"""What in a header names the session: its hash, its stream, or nothing (``seq14``)."""


class FrameFlags(IntFlag):
    """Bits of ``flags``; ``seq14`` has room for the first two, ``hash12`` for none."""

    NONE = 0
    FINAL = 1
    """The last audio of an answer."""
    BARGE_IN = 2
    """The answer is to an interruption."""
    DISCONTINUITY = 4
    """Media time jumps here."""
    DTX = 8
    """Comfort noise for silence that was not sent."""


ASP16_SIZE: Final = _ASP16.size
_read_asp16: Final = _ASP16.unpack_from
_FRAMING_16: Final = Framing.ASP16
_CLIENT: Final = Side.CLIENT
_KIND_OF_CLIENT: Final = _ASP16_KIND[Side.CLIENT]
_KIND_OF_SERVER: Final = _ASP16_KIND[Side.SERVER]
FLAGS: Final = tuple(FrameFlags(bits) for bits in range(16))
"""By their bits: a look into the enum costs ten times as much."""


class AudioFrame(NamedTuple):
    """One binary message.

    ``samples`` is the media time of its first sample, counted from the beginning of the session;
    in ``seq14`` the wire has microseconds, so it takes the sample rate to tell. ``seq`` and
    ``samples`` are ``None`` where the framing has none.
    """

    framing: Framing
    key: FrameKey
    payload: bytes
    seq: int | None = None
    time_us: int | None = None
    samples: int | None = None
    flags: FrameFlags = FrameFlags.NONE
    generation: int = 0


def session_hash(session_id: str) -> bytes:
    """Return the 8 bytes that name a session in ``hash12``."""
    # No secret: MD5 is what 1.0.0 has, and saying so keeps it where FIPS forbids it otherwise.
    return md5(session_id.encode(), usedforsecurity=False).digest()[:8]


def frame_key(framing: Framing, session_id: str, stream: int) -> FrameKey:
    """Return what names a session in the headers of that framing."""
    if framing is Framing.HASH12:
        return session_hash(session_id)
    return stream if framing is Framing.ASP16 else None


def frame_head(framing: Framing, stream: int, sender: Side) -> int | None:
    """Return the first 32 bits of all messages of a session, where its framing is ``asp16``."""
    if framing is not Framing.ASP16:
        return None
    return _ASP16_MAGIC | _ASP16_KIND[sender] << 8 | stream << 16


def pack(frame: AudioFrame, sender: Side) -> bytes:
    """Return the binary message that ``sender`` puts on the wire."""
    if frame.framing is Framing.HASH12:
        header = _HASH12.pack(_HASH12_MAGIC, sender is Side.SERVER, frame.key, 0)
    elif frame.framing is Framing.SEQ14:
        start = (_SEQ14_TYPE[sender], (frame.seq or 0) & _U32, frame.time_us or 0)
        if sender is Side.CLIENT:
            header = _SEQ14_IN.pack(*start)
        else:
            header = _SEQ14_OUT.pack(*start, frame.flags & 3)
    else:
        header = _ASP16.pack(
            _ASP16_MAGIC,
            _ASP16_KIND[sender],
            frame.key,
            (frame.seq or 0) & _U32,
            (frame.samples or 0) & _U32,
            frame.flags,
            0,
            frame.generation,
        )
    return header + frame.payload


def unpack(data: bytes, sender: Side, *, numbered: bool = False) -> AudioFrame:
    """Return what a binary message of ``sender`` holds.

    ``numbered`` says that the socket's only session uses ``seq14``, whose first bytes are those
    of ``hash12``.

    Raises:
        Rejection: 2004, the header is none, or is cut short.

    """
    if data[:1] != b"\xa5":
        return _unpack_seq14(data, sender) if numbered else _unpack_hash12(data, sender)
    if len(data) < ASP16_SIZE:
        raise _cut_short(data, Framing.ASP16, ASP16_SIZE)
    _, kind, stream, seq, samples, flags, _, generation = _read_asp16(data)
    if kind != (_KIND_OF_CLIENT if sender is _CLIENT else _KIND_OF_SERVER):
        raise _no_header(data)
    # By position, and without a look into the enum: fifty times a second for each call.
    return AudioFrame(
        _FRAMING_16, stream, data[ASP16_SIZE:], seq, None, samples, FLAGS[flags & 15], generation
    )


def _unpack_hash12(data: bytes, sender: Side) -> AudioFrame:
    if len(data) < _HASH12.size:
        raise _cut_short(data, Framing.HASH12, _HASH12.size)
    magic, direction, key, _ = _HASH12.unpack_from(data)
    if magic != _HASH12_MAGIC or direction != (sender is Side.SERVER):
        raise _no_header(data)
    return AudioFrame(Framing.HASH12, key, data[_HASH12.size :])


def _unpack_seq14(data: bytes, sender: Side) -> AudioFrame:
    layout = _SEQ14_IN if sender is Side.CLIENT else _SEQ14_OUT
    if len(data) < layout.size:
        raise _cut_short(data, Framing.SEQ14, layout.size)
    kind, seq, time_us, *rest = layout.unpack_from(data)
    if kind != _SEQ14_TYPE[sender]:
        raise _no_header(data)
    flags = FLAGS[rest[0] & 3] if rest else FrameFlags.NONE
    return AudioFrame(Framing.SEQ14, None, data[layout.size :], seq, time_us, flags=flags)


def _cut_short(data: bytes, framing: Framing, size: int) -> Rejection:
    return Rejection(
        protocol_error(
            ErrorCode.AUDIO_PROCESSING_ERROR,
            f"the binary message has {len(data)} bytes; a header of {framing} has {size}",
        )
    )


def _no_header(data: bytes) -> Rejection:
    return Rejection(
        protocol_error(
            ErrorCode.AUDIO_PROCESSING_ERROR,
            f"the binary message begins with {data[:2].hex(' ')}: that is no header of this side",
        )
    )
