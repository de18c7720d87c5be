"""Clients of ASP as any house could write them: the shapes of the wire, and no code of ours.

A ``Peer`` is one socket, a ``Call`` one session on it. What comes is kept until a test takes it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import md5
from struct import Struct
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

T = TypeVar("T")
TIMEOUT = 15.0
SUBPROTOCOL = "asp.v1"
FEATURES = (
    "audio_offers",
    "config_digest",
    "speech_events",
    "response_control",
    "playback_marks",
    "session_resume",
    "turn_overrides",
    "dtmf",
    "call_action",
    "go_away",
    "transcripts",
)
FRAMINGS = ("hash12", "seq14", "asp16")
FRAME = 320
"""Bytes of 20 ms at 8 kHz in 16 bits."""
_UNNUMBERED = {
    "session.start",
    "session.started",
    "session.ack",
    "session.resume",
    "session.resumed",
}
_HASH12 = Struct("<BB8sH")
_SEQ14_IN = Struct("<HIQ")
_SEQ14_OUT = Struct("<HIQB")
_ASP16 = Struct("<BBHIIBBH")


@dataclass(frozen=True, slots=True)
class Heard:
    """One binary message of the server."""

    key: bytes | int | None
    payload: bytes
    seq: int | None = None
    samples: int | None = None
    flags: int = 0
    generation: int = 0


def hash12(session_id: str, payload: bytes) -> bytes:
    """Return audio to the server with the hash of its session."""
    return _HASH12.pack(1, 0, md5(session_id.encode()).digest()[:8], 0) + payload


def seq14(seq: int, microseconds: int, payload: bytes) -> bytes:
    """Return numbered audio to the server of the only session of the socket."""
    return _SEQ14_IN.pack(1, seq, microseconds) + payload


def asp16(stream: int, seq: int, samples: int, payload: bytes, flags: int = 0) -> bytes:
    """Return numbered audio to the server of that stream."""
    return _ASP16.pack(0xA5, 0x11, stream, seq, samples, flags, 0, 0) + payload


def read_audio(data: bytes) -> Heard:
    """Return what a binary message of the server holds."""
    if data[0] == 0xA5:
        _, kind, stream, seq, samples, flags, zero, generation = _ASP16.unpack_from(data)
        assert (kind, zero) == (0x12, 0), data[:16]
        return Heard(stream, data[16:], seq, samples, flags, generation)
    if data[0] == 2:
        kind, seq, _, flags = _SEQ14_OUT.unpack_from(data)
        assert kind == 2, data[:15]
        return Heard(None, data[15:], seq, None, flags)
    magic, direction, key, zero = _HASH12.unpack_from(data)
    assert (magic, direction, zero) == (1, 1, 0), data[:12]
    return Heard(key, data[12:])


def utterance(frames: int, size: int = FRAME) -> list[bytes]:
    """Return so many frames, each of them full of its number."""
    return [(number + 1).to_bytes(4, "little") * (size // 4) for number in range(frames)]


def numbers(audio: bytes, size: int = FRAME) -> list[int]:
    """Return the numbers that the frames are full of; each of them whole."""
    frames = [audio[start : start + size] for start in range(0, len(audio), size)]
    assert all(one == one[:4] * (size // 4) for one in frames)
    return [int.from_bytes(one[:4], "little") - 1 for one in frames]


@dataclass(slots=True, eq=False)
class Call:
    """One session; with ``token`` it can be taken to another socket."""

    peer: Peer
    id: str
    started: dict[str, Any]
    items: list[dict[str, Any] | Heard] = field(default_factory=list)
    """What came, texts and audio in their order, and was not taken yet."""
    kept: list[str | bytes] = field(default_factory=list)
    """What was said and not acknowledged."""
    first: int = 0
    """Number of the oldest that is kept."""
    received: int = 0
    seq: int = 0
    samples: int = 0

    @property
    def framing(self) -> str:
        """How its audio is framed."""
        found: str = self.audio.get("framing", "hash12")
        return found

    @property
    def audio(self) -> dict[str, Any]:
        """The negotiated audio."""
        found: dict[str, Any] = self.started["negotiated"]["audio"]
        return found

    @property
    def key(self) -> bytes | int | None:
        """What names it in the header of its audio."""
        if self.framing == "asp16":
            stream: int = self.started["stream"]
            return stream
        return None if self.framing == "seq14" else md5(self.id.encode()).digest()[:8]

    @property
    def numbered(self) -> bool:
        """Whether its messages are counted."""
        return "resume_token" in self.started

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors of the session that were told and not taken."""
        return [one["error"] for one in self.texts("protocol.error")]

    def texts(self, kind: str) -> list[dict[str, Any]]:
        """Return the texts of that type that were not taken."""
        return [one for one in self.items if isinstance(one, dict) and one["type"] == kind]

    def pack(self, payload: bytes, flags: int = 0) -> bytes:
        """Return the next audio message."""
        width = 2 if self.audio["encoding"] == "pcm_s16le" else 1
        rate: int = self.audio["sample_rate"]
        if self.framing == "asp16":
            data = asp16(self.started["stream"], self.seq, self.samples, payload, flags)
        elif self.framing == "seq14":
            data = seq14(self.seq, self.samples * 1_000_000 // rate, payload)
        else:
            data = hash12(self.id, payload)
        self.seq += 1
        self.samples += len(payload) // width
        return data

    async def put(self, message: str | bytes) -> None:
        """Send a numbered message; where the socket is lost, keep it."""
        if self.numbered:
            self.kept.append(message)
        try:
            await self.peer.socket.send(message)
        except ConnectionClosed:
            if not self.numbered:
                raise

    async def send(self, kind: str, **members: Any) -> None:
        """Send a text of the session."""
        await self.put(json.dumps({"type": kind, "session_id": self.id, **members}))

    async def say(self, *payloads: bytes) -> None:
        """Send each as an audio message."""
        for payload in payloads:
            await self.put(self.pack(payload))

    async def take(self, kind: str) -> dict[str, Any]:
        """Return the next text of that type, once it has come."""
        texts = await self.peer.wait(lambda: self.texts(kind))
        self.items.remove(texts[0])
        return texts[0]

    async def take_from(self, kind: str) -> int:
        """Take the next text of that type; return its place among what came."""
        texts = await self.peer.wait(lambda: self.texts(kind))
        place = self.items.index(texts[0])
        del self.items[place]
        return place

    async def answer(self) -> bytes:
        """Return the audio between the next start of a response and its end."""
        await self.take("response.start")
        end = await self.take_from("response.end")
        before, self.items = self.items[:end], self.items[end:]
        self.items[:0] = [one for one in before if not isinstance(one, Heard)]
        return b"".join(one.payload for one in before if isinstance(one, Heard))

    async def echo(self, payloads: Sequence[bytes]) -> bytes:
        """Say it, end the utterance, and return what is said again."""
        await self.say(*payloads)
        await self.send("audio.end")
        return await self.answer()

    async def hang_up(self) -> dict[str, Any]:
        """End the session; return what the server says of it."""
        await self.send("session.end", reason="call_hangup")
        return await self.take("session.ended")

    async def resume_on(self, peer: Peer, token: str | None = None) -> dict[str, Any]:
        """Go on, on another socket; return what the server says to that."""
        stale = self.texts("session.resumed")  # of an attempt that was given up
        self.items = [one for one in self.items if one not in stale]
        self.peer = peer
        peer.calls[self.id] = self
        resume = {
            "type": "session.resume",
            "session_id": self.id,
            "resume_token": token or self.started["resume_token"],
            "received": self.received,
            "sending_from": self.first,
        }
        await peer.send(resume)
        resumed = await self.take("session.resumed")
        if resumed["status"] == "accepted":
            self.started["resume_token"] = resumed["resume_token"]
            self.acknowledge(resumed["received"])
            self.received = max(self.received, resumed["sending_from"])  # the rest is lost
            for message in tuple(self.kept):
                await peer.socket.send(message)
        return resumed

    def acknowledge(self, received: int) -> None:
        """Let go of what the server has."""
        assert self.first <= received <= self.first + len(self.kept), (received, self.first)
        del self.kept[: received - self.first]
        self.first = received

    def came(self, item: dict[str, Any] | Heard) -> None:
        """Take what the socket has read."""
        kind = "" if isinstance(item, Heard) else item["type"]
        self.received += self.numbered and kind not in _UNNUMBERED
        if isinstance(item, dict) and kind == "session.ack":
            self.acknowledge(item["received"])
        else:
            self.items.append(item)


class Peer:
    """One socket, and the calls on it; ``other`` holds what belongs to none of them."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.calls: dict[str, Call] = {}
        self.other: list[dict[str, Any] | Heard] = []
        self.capabilities: dict[str, Any] = {}
        self.over = False
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def send(self, message: Any) -> None:
        """Send text as it is, bytes as they are, anything else as JSON."""
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def ask(self, session_id: str, **members: Any) -> dict[str, Any]:
        """Send ``session.start``; return the answer."""
        await self.send({"type": "session.start", "session_id": session_id, **members})
        return await self.told("session.started", session_id)

    async def start(self, session_id: str, framing: str = "asp16", **members: Any) -> Call:
        """Start a session of 1.1 with all features, unless the members say otherwise."""
        given = {
            "version": "1.1.0",
            "features": FEATURES,
            "audio": {"framing": framing},
        } | members
        return await self._started(session_id, given)

    async def start_old(self, session_id: str, **members: Any) -> Call:
        """Start a session of 1.0.0."""
        given: dict[str, Any] = {"call_id": "c", "audio": {}, "vad": {}} | members
        return await self._started(session_id, given)

    async def _started(self, session_id: str, members: dict[str, Any]) -> Call:
        started = await self.ask(session_id, **members)
        assert started["status"] != "rejected", started
        return self.calls[session_id]

    async def told(self, kind: str, session_id: str | None = None) -> dict[str, Any]:
        """Return the next text of that type that belongs to no call."""

        def found() -> dict[str, Any] | None:
            for one in self.other:
                if isinstance(one, dict) and (one["type"], one.get("session_id")) == (
                    kind,
                    session_id,
                ):
                    self.other.remove(one)
                    return one
            return None

        answer = await self.wait(found)
        assert answer is not None
        return answer

    async def wait(self, test: Callable[[], T]) -> T:
        """Return what the test returns once it is something."""
        async with asyncio.timeout(TIMEOUT):
            while not (found := test()):
                assert not self.over, f"closed with {self.closed_with}, not asked: {self.other}"
                self._news.clear()
                await self._news.wait()
        return found

    async def closed(self) -> tuple[int, str]:
        """Return what the server closes with."""
        async with asyncio.timeout(TIMEOUT):
            await asyncio.shield(self._reading)
        return self.closed_with

    async def settled(self) -> None:
        """Return when the server has read all that was sent before."""
        async with asyncio.timeout(TIMEOUT):
            await (await self.socket.ping())

    @property
    def closed_with(self) -> tuple[int, str]:
        """Code and reason of the end; 1006 where there was none."""
        received = self.socket.protocol.close_rcvd
        return (1006, "") if received is None else (received.code, received.reason)

    def drop(self) -> None:
        """Leave without a word; what is not sent yet is lost."""
        self.socket.transport.abort()

    async def leave(self) -> None:
        """Close, and wait for the end of reading."""
        with suppress(TimeoutError):
            await self.socket.close()
        self.drop()
        await self._reading

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                self._sort(await self.socket.recv())
                self._news.set()
        self.over = True
        self._news.set()

    def _sort(self, data: str | bytes) -> None:
        item = json.loads(data) if isinstance(data, str) else read_audio(data)
        if isinstance(item, Heard):
            found = [one for one in self.calls.values() if one.key == item.key]
            call = found[0] if found else None
        else:
            session_id = item.get("session_id", "")
            if item["type"] == "session.started" and item["status"] != "rejected":
                self.calls[session_id] = Call(self, session_id, item)
                self.other.append(item)
                return
            call = self.calls.get(session_id)
        if call is None or call.peer is not self:
            self.other.append(item)
        else:
            call.came(item)


@asynccontextmanager
async def dialled(
    port: int,
    path: str = "/asp",
    *,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    **options: Any,
) -> AsyncIterator[Peer]:
    """Open a WebSocket, and take the capabilities."""
    peer = Peer(await opened(port, path, subprotocols=subprotocols, **options))
    try:
        peer.capabilities = await peer.told("protocol.capabilities")
        yield peer
    finally:
        await peer.leave()


async def opened(port: int, path: str = "/asp", **options: Any) -> ClientConnection:
    """Return a WebSocket to the server; a refusal raises ``InvalidStatus``."""
    given: dict[str, Any] = {
        "subprotocols": (SUBPROTOCOL,),
        "compression": None,
        "max_size": None,
        "max_queue": None,
        "ping_interval": None,
        "proxy": None,
        "close_timeout": 2,
    } | options
    given["subprotocols"] = list(given["subprotocols"]) or None
    return await connect(f"ws://127.0.0.1:{port}{path}", **given)


async def deaf_peer(port: int) -> Peer:
    """Return a client that holds as little as it can of what it has not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return Peer(await opened(port, sock=raw))
