"""Server-sent events (the HTML standard, 9.2): blocks out, events in.

What is written suits the strictest reader met so far, one that parses the data of every event that
it is given: ``id`` and ``retry`` share the block of the data that they belong to, and what carries
no data (a heartbeat, a hint) is a line that no blank line follows, so that it ends no block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from palaver.errors import PalaverError

__all__ = [
    "HEARTBEAT",
    "MAX_EVENT_BYTES",
    "Decoder",
    "ServerSentEvent",
    "SseError",
    "encode_block",
    "retry_hint",
]

HEARTBEAT: Final = b": hb\n"
"""A comment line, without a blank line after it."""

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"
_MAX_RETRY_DIGITS: Final = 9


class SseError(PalaverError):
    """The stream holds an event that is larger than taken; drop the connection."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. ``id`` and ``retry_ms`` are set where its own block has them."""

    data: str
    event: str = "message"
    id: str | None = None
    retry_ms: int | None = None


def encode_block(data: bytes, event_id: int | None = None, retry_ms: int | None = None) -> bytes:
    """Return the block of one event, blank line included."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    block = b"data: %b\n\n" % data
    if event_id is not None:
        block = b"id: %d\n%b" % (event_id, block)
    if retry_ms is not None:
        block = b"retry: %d\n%b" % (retry_ms, block)
    return block


def retry_hint(ms: int) -> bytes:
    """Return a lone ``retry`` line, for the end of a stream.

    A browser's EventSource takes it when the line ends; no reader makes an event of it, because no
    blank line follows.
    """
    return b"retry: %d\n" % ms


class Decoder:
    """Takes the bytes of a stream in chunks of any size and returns the events that they complete.

    ``last_event_id`` is what a reconnecting client sends; ``retry_ms`` how long it waits before.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        """Take events of at most ``max_event_bytes``, a line that is not ended yet included."""
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._max_event_bytes = max_event_bytes
        self._pieces: list[bytes] = []  # of the line that is not ended yet
        self._pending_bytes = 0
        self._after_cr = False
        self._at_start = True
        self._id_buffer = ""
        # Of the block that is not ended yet:
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that ``chunk`` completes; what is left waits for more.

        Raises:
            SseError: an event is larger than taken.

        """
        if self._after_cr and chunk:
            # A CR ended the line before: an LF that follows belongs to it.
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        block = b"".join((*self._pieces, chunk))
        self._pieces, self._pending_bytes = [], 0
        lines = block.splitlines()  # of bytes: ends lines at LF, CR and CR LF, and nowhere else
        rest = b"" if block.endswith((b"\n", b"\r")) else lines.pop()
        self._after_cr = block.endswith(b"\r")
        events = []
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._pending_bytes += len(piece)
            self._bound(self._pending_bytes)

    def _bound(self, more: int) -> None:
        if self._data_bytes + more > self._max_event_bytes:
            message = f"an event has more than {self._max_event_bytes} bytes, which is the limit"
            raise SseError(message)

    def _take(self, line: bytes) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._bound(len(value) + 1)
            self._data_bytes += len(value) + 1
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = self._id_buffer = value.decode(errors="replace")
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self._retry = self.retry_ms = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        self._at_start = False
        self.last_event_id = self._id_buffer
        event = None
        if self._data:
            data = b"\n".join(self._data).decode(errors="replace")
            event = ServerSentEvent(data, self._event or "message", self._id, self._retry)
        self._reset()
        return event

    def _reset(self) -> None:
        self._data = []
        self._data_bytes = 0
        self._event = ""
        self._id = self._retry = None
