"""Server-sent events: blocks out, events in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from palaver.errors import PalaverError

HEARTBEAT: Final = b": hb\n"


class SseError(PalaverError):
    """The stream holds an event larger than is taken."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    data: str
    event: str = "message"
    id: str | None = None
    retry_ms: int | None = None


def encode_block(data: bytes, event_id: int | None = None, retry_ms: int | None = None) -> bytes:
    raise NotImplementedError


def retry_hint(ms: int) -> bytes:
    raise NotImplementedError


class Decoder:
    def __init__(self, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        raise NotImplementedError
