"""Servers that do not speak as they should: always an error of ours, in time, and never a hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection as Socket
from websockets.exceptions import ConnectionClosed

from palaver.client.asp import AspClient, AspRefused, CallSession, Verdicts
from palaver.client.transport import Patience
from palaver.errors import PeerError, PeerRefused, PeerUnreachable
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.errors import ErrorCode, close_code
from palaver.protocols.asp.events import AudioReceived, ErrorSent, SessionClosed
from palaver.protocols.asp.limits import Limits
from tests.client.asp_server import listening

HASTY = Patience(first_delay=0.01, max_delay=0.02, give_up_after=0.3)
SHORT = Limits(capabilities_timeout=0.1, start_timeout=0.2, update_timeout=0.1, end_timeout=0.1)
IN_A_CALL = Limits(update_timeout=0.1, end_timeout=0.1)
CAPABILITIES: dict[str, Any] = {
    "type": "protocol.capabilities",
    "version": "1.1.0",
    "capabilities": {"version": "1.1.0", "features": ["config_digest", "session_resume"]},
}
STARTED: dict[str, Any] = {
    "type": "session.started",
    "session_id": "s",
    "status": "accepted",
    "version": "1.1.0",
    "negotiated": {"audio": {}, "vad": {}},
}
Answer = Callable[[Socket], Awaitable[None]]


def says(*messages: object, after: str | None = None) -> Answer:
    """Return what says the messages, each after one of the client's, and then listens."""

    async def answer(socket: Socket) -> None:
        try:
            for number, message in enumerate(messages):
                if number:
                    await socket.recv()
                raw = message if isinstance(message, str | bytes) else json.dumps(message)
                await socket.send(raw)
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass

    return answer


async def start(port: int) -> CallSession:
    """Try to start a session there, for half a minute at most."""
    async with asyncio.timeout(30):
        client = AspClient(
            f"ws://127.0.0.1:{port}", limits=SHORT, patience=HASTY, verdicts=Verdicts()
        )
        async with client:
            return await client.start_session(session_id="s")


NO_CAPABILITIES = [
    pytest.param("", id="empty"),
    pytest.param("no JSON", id="no JSON"),
    pytest.param("[1, 2]", id="an array"),
    pytest.param("{}", id="no type"),
    pytest.param({"type": 7}, id="a type of the wrong type"),
    pytest.param({"type": "protocol.capabilities"}, id="no capabilities"),
    pytest.param(
        CAPABILITIES | {"capabilities": {"supported_sample_rates": ["8000"]}}, id="words for rates"
    ),
    pytest.param(CAPABILITIES | {"version": "x" * 100}, id="a long version"),
    pytest.param("[" * 100_000, id="deep"),
    pytest.param(json.dumps({"type": "x", "pad": "y" * 10_000_000}), id="10 MB"),
    pytest.param(b"\x00" * 10_000_000, id="10 MB of audio"),
    pytest.param(b"", id="empty audio"),
    pytest.param('{"type":"protocol.capabilities","capabilities":{"x":1e999}}', id="infinity"),
    pytest.param("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), id="odd text"),
]


@pytest.mark.parametrize("junk", NO_CAPABILITIES)
async def test_no_capabilities(junk: object) -> None:
    """What is not the capabilities does not pass for them: the start fails, and in time."""
    async with listening(says(junk)) as port:
        with pytest.raises(PeerError):
            await start(port)


@pytest.mark.parametrize(
    "subprotocol", [pytest.param(True, id="asp.v1"), pytest.param(False, id="none")]
)
async def test_another_major_version(subprotocol: bool) -> None:  # noqa: FBT001 # a column
    """A server of another major version is refused, and not tried again."""
    sockets = 0

    async def answer(socket: Socket) -> None:
        nonlocal sockets
        sockets += 1
        await says(CAPABILITIES | {"version": "2.0.0"})(socket)

    async with listening(answer, subprotocol=subprotocol) as port:
        with pytest.raises(PeerRefused, match=r"the server speaks 2\.0\.0; this is 1\.1\.0") as no:
            await start(port)
    assert no.value.code == 1004
    assert sockets == 1


async def test_the_subprotocol_without_capabilities() -> None:
    """A server that selects ``asp.v1`` and shows nothing is an error, not a legacy server."""
    async with listening(says(), subprotocol=True) as port:
        with pytest.raises(PeerRefused, match=r"selected asp\.v1, but sent no capabilities") as no:
            await start(port)
    assert no.value.code == 1002


NO_STARTS = [
    pytest.param(STARTED | {"negotiated": None}, id="nothing negotiated"),
    pytest.param(
        STARTED | {"negotiated": {"audio": {"sample_rate": 11_025}, "vad": {}}}, id="rate"
    ),
    pytest.param(
        STARTED | {"negotiated": {"audio": {}, "vad": {"threshold": 7.5}}}, id="out of range"
    ),
    pytest.param(
        STARTED | {"negotiated": {"audio": {"framing": "asp16"}, "vad": {}}}, id="no stream"
    ),
    pytest.param(
        STARTED | {"negotiated": {"audio": {"framing": "huge99"}, "vad": {}}}, id="framing"
    ),
    pytest.param(STARTED | {"negotiated": {"audio": {}, "vad": {"threshold": "1"}}}, id="a word"),
    pytest.param(STARTED | {"negotiated": {"audio": {}}}, id="no vad"),
    pytest.param(STARTED | {"status": "perhaps"}, id="status"),
    pytest.param(STARTED | {"status": "rejected"}, id="rejected without a reason"),
    pytest.param(
        STARTED | {"features": ["config_digest"], "config_digest": "sha256:0"}, id="digest"
    ),
    pytest.param({"type": "session.ended", "session_id": "s"}, id="ended"),
    pytest.param(
        {
            "type": "protocol.error",
            "session_id": "s",
            "error": {"code": 1006, "category": "x", "message": "m"},
        },
        id="an error",
    ),
]


@pytest.mark.parametrize("junk", NO_STARTS)
async def test_no_session(junk: object) -> None:
    """An answer that cannot be used is an error at once: no more tries, no waiting."""
    sockets = 0

    async def answer(socket: Socket) -> None:
        nonlocal sockets
        sockets += 1
        await says(CAPABILITIES, junk)(socket)

    async with listening(answer) as port:
        with pytest.raises(PeerError) as no:
            await start(port)
    assert not isinstance(no.value, PeerUnreachable)
    assert sockets == 1


@pytest.mark.parametrize(
    "junk",
    [
        "",
        "null",
        {"type": "session.started"},
        {"type": "session.started", "session_id": "another", "status": "accepted"},
        {"type": "session.updated", "session_id": "s", "status": "accepted"},
        {"type": "session.resumed", "session_id": "s", "status": "accepted", "received": 9},
        {"type": "audio.speech_start", "session_id": "s"},
        {"type": "new.thing", "session_id": "s"},
        {"type": "session.start", "session_id": "s"},
        b"\x01\x01not yet a session of ours",
        b"\xa5\x12",
    ],
)
async def test_junk_in_place_of_an_answer(junk: object) -> None:
    """What is no answer is none: the start is tried again until there is no more patience."""
    async with listening(says(CAPABILITIES, junk)) as port:
        with pytest.raises(PeerUnreachable, match=r"no answer to session.start for 0\.2 s"):
            await start(port)


@pytest.mark.parametrize(
    "junk",
    [
        "no JSON",
        {"type": "session.started", "session_id": "s", "status": "accepted"},
        STARTED,
        {"type": "session.updated", "session_id": "s", "status": "accepted"},
        {"type": "session.resumed", "session_id": "s", "status": "accepted", "received": 0},
        {"type": "session.ack", "session_id": "s", "received": 10**9},
        {"type": "session.ack", "session_id": "s", "received": -1},
        {"type": "turn.override", "session_id": "s", "vad": {}},
        {"type": "response.start", "session_id": "s", "text": "x" * 20_000},
        {"type": "response.end", "session_id": "s", "sent_ms": -5},
        {"type": "call.action", "session_id": "s", "action": "explode"},
        {"type": "protocol.error", "error": {"code": "1"}},
        {"type": "protocol.capabilities", "capabilities": {"version": "9.0.0"}, "version": "1.1.0"},
        {"type": "protocol.go_away", "grace_ms": -1},
        {"type": "audio.end", "session_id": "s"},
        b"",
        b"\x01\x00 wrong direction",
        b"\x01\x01" + bytes(8) + b"\0\0" + bytes(320),
        b"\xa5\x12" + bytes(14),
    ],
)
async def test_junk_in_a_call(junk: object) -> None:
    """A call survives what it cannot use; the audio behind it is heard."""
    good = b"\x01\x01" + bytes.fromhex("03c7c0ace395d801") + b"\0\0" + bytes(320)

    async def answer(socket: Socket) -> None:
        await socket.send(json.dumps(CAPABILITIES))
        await socket.recv()
        await socket.send(json.dumps(STARTED))
        await socket.send(junk if isinstance(junk, str | bytes) else json.dumps(junk))
        await socket.send(good)
        async for _ in socket:
            pass

    async with listening(answer) as port, asyncio.timeout(30):
        client = AspClient(f"ws://127.0.0.1:{port}", limits=IN_A_CALL, patience=HASTY)
        async with client:
            session = await client.start_session(session_id="s")
            async for event in session:
                if isinstance(event, AudioReceived):
                    assert event.payload == bytes(320)
                    break
                assert isinstance(event, ErrorSent) or "junk" not in str(event)
            assert session.closed is None


async def test_a_wrong_answer_to_an_update() -> None:
    """An update whose answer cannot be used is not left without an end."""
    wrong = {"type": "session.updated", "session_id": "s", "status": "accepted"}
    async with listening(says(CAPABILITIES, STARTED, wrong)) as port, asyncio.timeout(30):
        client = AspClient(f"ws://127.0.0.1:{port}", limits=IN_A_CALL, patience=HASTY)
        async with client:
            session = await client.start_session(session_id="s")
            with pytest.raises(PeerError):
                await session.update(VADConfig(threshold=0.1))


async def test_a_flood_of_junk() -> None:
    """A server that floods the client and reads none of its complaints is dropped in time."""

    async def answer(socket: Socket) -> None:
        await socket.send(json.dumps(CAPABILITIES))
        await socket.recv()
        await socket.send(json.dumps(STARTED))
        socket.transport.pause_reading()
        try:
            while True:
                await socket.send("{}" * 100)
        except ConnectionClosed:
            pass

    patience = Patience(silence_timeout=0.5, give_up_after=0.1)
    async with listening(answer) as port, asyncio.timeout(40):
        client = AspClient(f"ws://127.0.0.1:{port}", limits=IN_A_CALL, patience=patience)
        async with client:
            session = await client.start_session(session_id="s")
            events = [event async for event in session]
    assert isinstance(events[-1], SessionClosed)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (close_code(ErrorCode.HANDSHAKE_TIMEOUT), 1002),
        (close_code(ErrorCode.SESSION_LIMIT_REACHED), 4003),
        (close_code(ErrorCode.VERSION_MISMATCH), 1004),
        (1011, None),
        (1000, None),
    ],
)
@pytest.mark.parametrize("when", ["at once", "on start"])
async def test_close_codes(code: int, error: int | None, when: str) -> None:
    """A close code of the protocol becomes its error; any other is a lost connection."""

    async def answer(socket: Socket) -> None:
        if when == "on start":
            await socket.send(json.dumps(CAPABILITIES))
            await socket.recv()
        await socket.close(code, "as it says")

    async with listening(answer) as port:
        with pytest.raises(PeerError) as no:
            await start(port)
    if error is None:
        assert isinstance(no.value, PeerUnreachable)
        assert f"the server closed it: {code} as it says" in str(no.value)
    else:
        assert isinstance(no.value, AspRefused)
        assert no.value.code == error
        assert str(no.value) == f"the server closed the socket: as it says (code {error})"


async def test_no_websocket_server() -> None:
    """What answers with anything but HTTP, or with nothing, is not there."""
    answers = [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(current[0])
        writer.close()

    current = [b""]
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for current[0] in answers:
            with pytest.raises(PeerError):
                await start(port)
