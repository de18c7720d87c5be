"""A media server from before ASP, written from what such ones put on the wire.

It knows no capabilities, no negotiation and no acknowledgement. It says ``session.start`` at once,
sends 100 ms of audio in each message, ends an utterance with ``audio.end``, and hangs up with
``session.end`` without waiting for an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

BATCH = 1_600
"""Bytes of audio in one message."""
TIMEOUT = 10.0
_SHAPES = {
    "session.started": {"type", "session_id"},
    "response.start": {"type", "session_id", "text"},
    "response.end": {"type", "session_id"},
    "error": {"type", "session_id", "code", "message"},
}


class LegacyClient:
    """One socket with any number of calls."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: ClientConnection | None = None
        self.unknown: list[str] = []
        """Types of messages that it does not know: it goes on."""

    async def __aenter__(self) -> Self:
        """Connect."""
        self._socket = await connect(self._url, proxy=None, max_size=10 * 1024 * 1024)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.socket.close()

    @property
    def socket(self) -> ClientConnection:
        """The socket."""
        assert self._socket is not None
        return self._socket

    async def start(self, session_id: str, **audio: int) -> dict[str, Any]:
        """Begin a call; return the answer, which is one of the session."""
        config = {
            "sample_rate": 8_000,
            "channels": 1,
            "sample_width": 2,
            "frame_duration_ms": 20,
        } | audio
        await self._send(
            "session.start", session_id, call_id=f"call-{session_id}", audio_config=config
        )
        return await self.message()

    async def say(self, session_id: str, audio: bytes) -> None:
        """Send the audio, and that the utterance is over."""
        # u8 magic, u8 direction, 8 bytes of the hash of the session, u16 zero.
        name = hashlib.md5(session_id.encode(), usedforsecurity=False).digest()[:8]
        header = struct.pack("<BB8sH", 1, 0, name, 0)
        for start in range(0, len(audio), BATCH):
            await self.socket.send(header + audio[start : start + BATCH])
        await self._send("audio.end", session_id)

    async def response(self, session_id: str) -> tuple[str, bytes]:
        """Return the text and the audio of the next answer."""
        begun = await self.message()
        assert (begun["type"], begun["session_id"]) == ("response.start", session_id)
        audio = b""
        name = hashlib.md5(session_id.encode(), usedforsecurity=False).digest()[:8]
        while isinstance(data := await self._receive(), bytes):
            magic, direction, whose, zero = struct.unpack_from("<BB8sH", data)
            assert (magic, direction, whose, zero) == (1, 1, name, 0)
            audio += data[12:]
        assert json.loads(data) == {"type": "response.end", "session_id": session_id}
        return begun["text"], audio

    async def hang_up(self, session_id: str) -> None:
        """End a call; nothing answers."""
        await self._send("session.end", session_id, reason="hangup")

    async def message(self) -> dict[str, Any]:
        """Return the next message that it knows; each has the members that it has always had."""
        while True:
            data = await self._receive()
            assert isinstance(data, str), "audio where a message was due"
            found: dict[str, Any] = json.loads(data)
            shape = _SHAPES.get(found["type"])
            if shape is not None:
                assert found.keys() == shape, found
                return found
            self.unknown.append(found["type"])

    async def _receive(self) -> str | bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.socket.recv()

    async def _send(self, kind: str, session_id: str, **members: Any) -> None:
        message = {"type": kind, "session_id": session_id, **members}
        await self.socket.send(json.dumps(message))
