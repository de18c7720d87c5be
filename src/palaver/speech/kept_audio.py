"""The audio of a session that is kept: as it came, by position, as long as it may be needed."""

from __future__ import annotations

from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.audio import decode
from palaver.speech.detector import Samples

__all__ = ["KeptAudio"]


class KeptAudio:
    """Audio in the session's encoding; a position counts all samples that ever came."""

    __slots__ = ("data", "encoding", "first", "sample_bytes")

    def __init__(self, encoding: AudioEncoding) -> None:
        self.encoding = encoding
        self.sample_bytes = encoding.sample_bytes
        self.data = bytearray()
        """Append to it; it is always the same object."""
        self.first = 0
        """Position of its first sample."""

    def raw(self, start: int, end: int) -> bytearray:
        """Return what is kept from position ``start`` to ``end``, as it came."""
        first, size = self.first, self.sample_bytes
        return self.data[max(0, start - first) * size : max(0, end - first) * size]

    def samples(self, start: int, end: int) -> Samples:
        """Return what is kept from position ``start`` to ``end``."""
        return decode(bytes(self.raw(start, end)), self.encoding)

    def let_go(self, before: int) -> None:
        """Keep nothing from before a position."""
        if before > self.first:
            del self.data[: (before - self.first) * self.sample_bytes]
            self.first = before
