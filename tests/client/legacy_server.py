"""A server from before ASP, written from recorded calls: it knows nothing of this package.

It shows no capabilities, answers ``session.start`` with a bare ``session.started``, greets, and
answers what it heard when ``audio.end`` comes, in pieces of 2000 bytes. It never says
``session.ended``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

CHUNK = 2000
GREETING = "Hello, how can I help?"
AUDIO_KEYS = {"sample_rate", "channels", "sample_width", "frame_duration_ms"}


@dataclass
class LegacyServer:
    """What the old server has seen."""

    greeting_audio: bytes = bytes(range(250)) * 20
    first_words: str | None = None
    """Something that it says before anything was asked."""
    port: int = 0
    sockets: int = 0
    started: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What came in that it does not understand."""
    heard: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"ws://127.0.0.1:{self.port}/"

    async def answer(self, socket: ServerConnection) -> None:
        """Serve one connection."""
        self.sockets += 1
        try:
            if self.first_words is not None:
                await socket.send(self.first_words)
            async for data in socket:
                if isinstance(data, bytes):
                    self._hear(data)
                else:
                    await self._obey(socket, json.loads(data))
        except ConnectionClosed:
            pass

    def _hear(self, data: bytes) -> None:
        if data[0] != 0x01 or data[1] != 0x00 or data[10:12] != b"\0\0":
            self.complaints.append(f"bad audio header {data[:12].hex()}")
        key = data[2:10]
        if key not in self.heard:
            self.complaints.append(f"audio of an unknown session {key.hex()}")
        self.heard[key] = self.heard.get(key, b"") + data[12:]

    async def _obey(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        kind, session_id = message.get("type"), str(message.get("session_id"))
        if kind == "session.start":
            config = message.get("audio_config")
            if (
                not isinstance(config, dict)
                or set(config) != AUDIO_KEYS
                or "call_id" not in message
            ):
                self.complaints.append(f"bad start {message}")
                return
            self.started.append(message)
            self.heard[_hash(session_id)] = b""
            await _send(socket, "session.started", session_id)
            await self._say(socket, session_id, GREETING, self.greeting_audio)
        elif kind == "audio.end":
            heard = self.heard[_hash(session_id)]
            self.heard[_hash(session_id)] = b""
            await self._say(socket, session_id, f"{len(heard)} bytes", heard)
        elif kind == "session.end":
            self.ended.append(message)
        else:
            self.complaints.append(f"unknown message type {kind}")

    async def _say(
        self, socket: ServerConnection, session_id: str, text: str, audio: bytes
    ) -> None:
        await _send(socket, "response.start", session_id, text=text)
        for start in range(0, len(audio), CHUNK):
            header = b"\x01\x01" + _hash(session_id) + b"\0\0"
            await socket.send(header + audio[start : start + CHUNK])
        await _send(socket, "response.end", session_id)


def _hash(session_id: str) -> bytes:
    return hashlib.md5(session_id.encode()).digest()[:8]


async def _send(socket: ServerConnection, kind: str, session_id: str, **more: str) -> None:
    await socket.send(json.dumps({"type": kind, "session_id": session_id, **more}))


@asynccontextmanager
async def legacy_server(first_words: str | None = None) -> AsyncIterator[LegacyServer]:
    """Serve on a free port."""
    server = LegacyServer(first_words=first_words)
    async with serve(server.answer, "127.0.0.1", 0, compression=None, close_timeout=1) as listening:
        server.port = next(iter(listening.sockets)).getsockname()[1]
        yield server
