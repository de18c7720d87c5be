"""Calls with a server from before ASP: how it is found out, and what is said to it."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection as Socket

from palaver.client.asp import AspClient, CallSession, Observed, Verdicts
from palaver.client.transport import Patience
from palaver.errors import PeerRefused, PeerUnreachable
from palaver.protocols.asp.config import AudioConfig, AudioEncoding, Framing, VADConfig
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.events import AudioReceived, MessageReceived, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    ResponseEndMessage,
    ResponseStartMessage,
)
from palaver.testing.fault_proxy import FaultProxy
from tests.client.asp_server import asp_server, listening, until
from tests.client.legacy_server import CHUNK, GREETING, legacy_server

HASTY = Limits(capabilities_timeout=0.2)
PATIENT = Patience(first_delay=0.01, max_delay=0.05, give_up_after=20.0)


async def answer(session: CallSession) -> tuple[str, list[bytes]]:
    """Return what the server says next: its text and its audio."""
    text, audio = "", []
    async with asyncio.timeout(10):
        async for event in session:
            if isinstance(event, AudioReceived):
                audio.append(event.payload)
            elif isinstance(event, MessageReceived):
                if isinstance(event.message, ResponseStartMessage):
                    text = event.message.text
                elif isinstance(event.message, ResponseEndMessage):
                    break
    return text, audio


@pytest.mark.parametrize("first_words", [None, '{"type":"error","session_id":"","code":"BUSY"}'])
async def test_a_whole_call(first_words: str | None) -> None:
    """An old server is found by its silence or by its first word; the call goes all the way."""
    sent: list[str | bytes] = []

    def observe(seen: Observed) -> None:
        if seen.what == "sent" and seen.data is not None:
            sent.append(seen.data)

    async with legacy_server(first_words) as server:
        client = AspClient(server.url, limits=HASTY, verdicts=Verdicts(), observe=observe)
        with capture_logs() as logs:
            async with client:
                assert client.legacy_mode
                assert client.capabilities is None
                session = await client.start_session(session_id="s", call_id="c")
                assert session.legacy_mode
                assert session.features == frozenset()
                assert session.config.audio == AudioConfig()
                text, audio = await answer(session)
                assert text == GREETING
                assert b"".join(audio) == server.greeting_audio
                assert len(audio[0]) == CHUNK
                frame = bytes(range(160)) * 2
                for _ in range(30):
                    await session.send_audio(frame)
                await session.commit()
                text, audio = await answer(session)
                assert (text, b"".join(audio)) == ("9600 bytes", frame * 30)
                assert await session.end("bye") == SessionClosed("s", "bye")
        assert server.complaints == []
        assert server.started == [
            {
                "type": "session.start",
                "session_id": "s",
                "call_id": "c",
                "audio_config": {
                    "sample_rate": 8000,
                    "channels": 1,
                    "sample_width": 2,
                    "frame_duration_ms": 20,
                },
            }
        ]
        assert server.ended == [{"type": "session.end", "session_id": "s", "reason": "bye"}]
        texts = [json.loads(one)["type"] for one in sent if isinstance(one, str)]
        assert texts == ["session.start", "audio.end", "session.end"]
    cause = "timeout" if first_words is None else "first_message"
    legacy = [line for line in logs if line["event"] == "asp_legacy_server"]
    assert [(line["log_level"], line["cause"]) for line in legacy] == [("warning", cause)]
    told = {line["event"]: line["legacy_mode"] for line in logs if "legacy_mode" in line}
    assert told["asp_session_opened"] is True
    # The message by which it was found out is not thrown away.
    assert ("asp_error_received" in told) is (first_words is not None)


async def test_legacy_mode_is_for_legacy_servers_only() -> None:
    """A session with a server that shows capabilities is never in legacy mode."""
    async with asp_server(subprotocol=False) as server, AspClient(server.url) as client:
        session = await client.start_session()
        assert not session.legacy_mode
        assert not client.legacy_mode


async def test_the_wait_is_paid_once() -> None:
    """A URL whose server was a legacy one is not waited for again, by any client."""
    verdicts, loop = Verdicts(), asyncio.get_running_loop()
    async with legacy_server() as server:
        for patience in (0.2, 60.0, 60.0):
            began = loop.time()
            limits = Limits(capabilities_timeout=patience)
            async with AspClient(server.url, limits=limits, verdicts=verdicts) as client:
                session = await client.start_session()
                assert session.legacy_mode
                assert (await answer(session))[0] == GREETING
            assert loop.time() - began < 30
        assert server.complaints == []


async def test_a_server_that_was_renewed() -> None:
    """A server that shows capabilities is not a legacy one any more, whatever is remembered."""
    verdicts = Verdicts()
    async with asp_server(subprotocol=False) as server:
        url = f"{server.url}/asp"
        verdicts.remember(url, asyncio.get_running_loop().time())
        async with AspClient(url, verdicts=verdicts) as client:
            await client.start_session()
            await until(lambda: len(verdicts) == 0)
        async with AspClient(url, verdicts=verdicts) as client:
            assert not (await client.start_session()).legacy_mode


async def test_a_server_that_selects_the_subprotocol_is_none() -> None:
    """A server that selects ``asp.v1`` speaks ASP, whatever is remembered of it."""
    verdicts = Verdicts()
    async with asp_server() as server:
        verdicts.remember(f"{server.url}/asp", asyncio.get_running_loop().time())
        async with AspClient(server.url, verdicts=verdicts) as client:
            assert not (await client.start_session()).legacy_mode
        assert len(verdicts) == 0


async def test_a_server_that_says_nothing_at_all_is_not_remembered() -> None:
    """A server that is silent even after a legacy start is dead, not old."""
    verdicts = Verdicts()
    limits = Limits(capabilities_timeout=0.05, start_timeout=0.05)
    patience = Patience(first_delay=0.01, max_delay=0.01, give_up_after=0.05)
    async with listening(lambda socket: socket.wait_closed()) as port:
        url = f"ws://127.0.0.1:{port}"
        client = AspClient(url, limits=limits, patience=patience, verdicts=verdicts)
        async with client:
            assert client.legacy_mode
            with pytest.raises(PeerUnreachable, match=r"no answer to session.start for 0\.05 s"):
                await client.start_session()
        assert len(verdicts) == 0


def test_what_is_remembered_is_bounded() -> None:
    """Verdicts are kept for a while, and not for more URLs than there is room for."""
    verdicts = Verdicts(ttl=600, max_urls=3)
    for number in range(5):
        verdicts.remember(f"ws://{number}", now=float(number))
        assert verdicts.is_legacy("ws://2", now=5.0) is (number >= 2)
    verdicts.remember("ws://5", now=5.0)
    assert [verdicts.is_legacy(f"ws://{number}", now=6.0) for number in range(6)] == [
        False,
        False,
        True,  # it was asked for
        False,
        True,
        True,
    ]
    assert not verdicts.is_legacy("ws://5", now=605.0)
    verdicts.forget("ws://4")
    verdicts.forget("ws://4")
    assert len(verdicts) == 1


async def test_what_a_legacy_server_does_not_know() -> None:
    """Audio is PCM at the requested rate; the rest of the request, updates and keys stay unsaid."""
    async with legacy_server() as server:
        async with AspClient(server.url, limits=HASTY, verdicts=Verdicts()) as client:
            audio = AudioConfig(
                sample_rate=16_000, encoding=AudioEncoding.MULAW, framing=Framing.ASP16
            )
            session = await client.start_session(audio=audio, vad=VADConfig(threshold=0.9))
            assert session.config.audio == AudioConfig(sample_rate=16_000)
            assert session.config.vad == VADConfig()
            with pytest.raises(Misuse, match=r"a legacy server has no session\.update"):
                await session.update(VADConfig(threshold=0.1))
            assert not await session.press("1")
            assert not await session.cancel_response("r", 0)
            speech = AudioSpeechStartMessage(session_id=session.id)
            assert await session.report_speech(speech) is None
            await answer(session)
            await session.report_speech(AudioSpeechEndMessage(session_id=session.id))
            assert (await answer(session))[0] == "0 bytes"
        assert server.complaints == []


async def test_several_calls_with_a_legacy_server() -> None:
    """Legacy calls share a socket one after the other and side by side."""
    async with (
        legacy_server() as server,
        AspClient(server.url, limits=HASTY, verdicts=Verdicts()) as client,
    ):
        for _ in range(3):
            sessions = [await client.start_session() for _ in range(3)]
            for number, session in enumerate(sessions):
                await answer(session)
                await session.send_audio(bytes([number]) * 320)
                await session.commit()
            for number, session in enumerate(sessions):
                assert (await answer(session))[1] == [bytes([number]) * 320]
                await session.end()
        assert server.sockets == 1
        assert server.complaints == []


async def test_a_legacy_call_that_is_lost() -> None:
    """A legacy session cannot be resumed: it ends, or begins again where that is wanted."""
    async with (
        legacy_server() as server,
        FaultProxy(server.port) as proxy,
        AspClient(
            f"ws://127.0.0.1:{proxy.port}", limits=HASTY, patience=PATIENT, verdicts=Verdicts()
        ) as client,
    ):
        once = await client.start_session(session_id="once")
        again = await client.start_session(session_id="again", restart=True)
        await answer(once)
        await answer(again)
        proxy.reset_all()
        assert [event async for event in once] == [SessionClosed("once", "connection_lost")]
        assert (await answer(again))[0] == GREETING
        assert again.id == "again~2"


async def test_a_legacy_server_that_refuses() -> None:
    """A legacy error in answer to a start is a refusal."""

    async def refuse(socket: Socket) -> None:
        start = json.loads(await socket.recv())
        error = {"type": "error", "session_id": start["session_id"], "code": "FULL"}
        await socket.send(json.dumps(error | {"message": "no line is free"}))
        await socket.wait_closed()

    async with (
        listening(refuse) as port,
        AspClient(f"ws://127.0.0.1:{port}", limits=HASTY, verdicts=Verdicts()) as client,
    ):
        with pytest.raises(PeerRefused, match="no line is free"):
            await client.start_session()


async def test_legacy_on_demand() -> None:
    """A client that is told to speak the old protocol does so with a server that knows the new."""
    async with asp_server() as server, AspClient(server.url, legacy=True) as client:
        session = await client.start_session(session_id="s")
        assert session.legacy_mode
        assert server.session("s").legacy_mode
        await session.send_audio(bytes(320))
        async with asyncio.timeout(5):
            while not isinstance(await anext(session), AudioReceived):
                pass
