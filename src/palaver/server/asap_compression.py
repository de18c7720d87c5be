"""Bodies that come compressed, made plain again without ever holding more than is allowed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from palaver.errors import PalaverError
from palaver.server.http import BodyTooLarge

try:  # needs an extra
    import brotli
except ModuleNotFoundError:
    brotli = None

__all__ = ["ENCODINGS", "BadCompression", "UnknownEncoding", "inflate"]

_STEP: Final = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_MAX_MEMBERS: Final = 1_000
"""Members of one gzip: an empty one has 20 bytes, and costs as much as a full one to begin."""


class UnknownEncoding(PalaverError):
    """The body is in a ``Content-Encoding`` that is not taken: 415."""


class BadCompression(PalaverError):
    """The body is not what its ``Content-Encoding`` says: 400."""


def inflate(encoding: str, data: bytes, max_bytes: int) -> bytes:
    """Return what ``data`` holds; it is no longer looked at once that is more than ``max_bytes``.

    Raises:
        UnknownEncoding: the encoding is not taken here.
        BadCompression: the data is damaged, or cut off.
        BodyTooLarge: it holds more than ``max_bytes``.

    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return data
    unpack = _UNPACK.get(name)
    if unpack is None:
        message = f"Content-Encoding {encoding[:64]!r}: taken are {', '.join(ENCODINGS)}"
        raise UnknownEncoding(message)
    return unpack(data, max_bytes)


def _gunzip(data: bytes, max_bytes: int) -> bytes:
    """Inflate one member of gzip after the other (RFC 1952 2.2)."""
    if not data:
        raise _damaged("gzip", "it is empty")
    plain = bytearray()
    view = memoryview(data)
    at = 0
    for _ in range(_MAX_MEMBERS):
        try:
            at = _gunzip_member(view, at, plain, max_bytes)
        except zlib.error as error:
            raise _damaged("gzip", str(error)) from None
        if at == len(view):
            return bytes(plain)
    raise _damaged("gzip", f"it has more than {_MAX_MEMBERS} members")


def _gunzip_member(view: memoryview, at: int, plain: bytearray, max_bytes: int) -> int:
    """Add what the member that begins ``at`` holds to ``plain``; return where it ends."""
    member = zlib.decompressobj(_GZIP)
    while not member.eof:
        # In steps: what zlib leaves of a piece is copied each time.
        piece = view[at : at + _STEP]
        made = member.decompress(piece, _STEP)
        _extend(plain, made, max_bytes)
        if not piece and not made and not member.eof:
            raise _damaged("gzip", "it is cut off")
        at += len(piece) - len(member.unconsumed_tail) - len(member.unused_data)
    return at


def _unbrotli(data: bytes, max_bytes: int) -> bytes:
    assert brotli is not None  # noqa: S101 -- else it would not be in the table
    stream = brotli.Decompressor()
    plain = bytearray()
    rest = data
    try:
        while not stream.is_finished():
            piece = stream.process(rest, output_buffer_limit=_STEP)
            rest = b""
            _extend(plain, piece, max_bytes)
            if not piece and stream.can_accept_more_data():
                raise _damaged("br", "it is cut off")
    except brotli.error as error:
        raise _damaged("br", str(error)) from None
    return bytes(plain)


def _extend(plain: bytearray, piece: bytes, max_bytes: int) -> None:
    plain += piece
    if len(plain) > max_bytes:
        message = f"the body inflates to more than {max_bytes} bytes, which is the limit"
        raise BodyTooLarge(message)


def _damaged(name: str, why: str) -> BadCompression:
    return BadCompression(f"the body is no {name} that can be read: {why}")


_UNPACK: Final[Mapping[str, Callable[[bytes, int], bytes]]] = MappingProxyType(
    {"gzip": _gunzip, "x-gzip": _gunzip} | ({} if brotli is None else {"br": _unbrotli})
)
ENCODINGS: Final = ("gzip", *(() if brotli is None else ("br",)), "identity")
"""What bodies may be encoded in; ``br`` where the library for it is installed."""
