"""Calls with a server that speaks ASP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection as Socket

from palaver.client.asp import AspClient, AspRefused, CallSession, SessionOver, fetch_capabilities
from palaver.client.asp_dial import asp_url
from palaver.client.asp_line import MAX_EVENTS
from palaver.client.transport import Patience
from palaver.errors import PeerRefused, PeerUnreachable
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, NegotiatedConfig, VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse, Rejection, protocol_error
from palaver.protocols.asp.events import (
    AudioReceived,
    ConfigMismatched,
    ConfigSwitched,
    ErrorReceived,
    Event,
    MessageReceived,
    SessionClosed,
    SessionOpened,
    UpdateRejected,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioEndMessage,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    CallActionMessage,
    DtmfMessage,
    Feature,
    PlaybackMarkMessage,
    ResponseCancelMessage,
    ResponseEndMessage,
    ResponseStartMessage,
)
from palaver.protocols.asp.session import Applied
from tests.client.asp_server import CAPABILITIES, AspServer, asp_server, listening, until

HASTY = Patience(first_delay=0.01, max_delay=0.02, give_up_after=0.5, connect_timeout=2.0)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AspServer]:
    """Serve ASP, and say again what is heard."""
    async with asp_server() as server:
        yield server


@pytest_asyncio.fixture
async def client(server: AspServer) -> AsyncIterator[AspClient]:
    """Be connected to it."""
    async with AspClient(server.url, patience=HASTY) as client:
        yield client


def frames(session: CallSession, number: int) -> list[bytes]:
    """Return different frames for a session."""
    size = session.config.audio.bytes_per_frame
    return [index.to_bytes(4, "big") * (size // 4) for index in range(number)]


async def heard(session: CallSession, number: int) -> list[bytes]:
    """Return the audio of the next events, until it is that many messages."""
    payloads: list[bytes] = []
    async with asyncio.timeout(30):
        async for event in session:
            if isinstance(event, AudioReceived):
                payloads.append(event.payload)
            if len(payloads) == number:
                break
    return payloads


async def rest(session: CallSession) -> list[Event]:
    """Return the events until the end of the session."""
    async with asyncio.timeout(10):
        return [event async for event in session]  # type: ignore[misc] # no restarts here


# --- the handshake ---------------------------------------------------------------------------


async def test_a_call(server: AspServer, client: AspClient) -> None:
    """A session is negotiated, audio goes both ways, and the end says what the server counted."""
    assert client.capabilities == CAPABILITIES
    assert client.server_id == "tests"
    session = await client.start_session(audio=AudioConfig(sample_rate=16_000), call_id="c1")
    assert session.config.audio.sample_rate == 16_000
    assert session.features == frozenset(Feature)
    assert not session.legacy_mode
    sent = frames(session, 50)
    for number, frame in enumerate(sent):
        assert await session.send_audio(frame) == number
    assert await heard(session, 50) == sent
    closed = await session.end()
    assert closed == session.closed
    assert closed.reason == "ended"
    assert closed.statistics is not None
    assert closed.statistics.audio_frames_received == 50
    assert (await rest(session))[-1] == closed
    assert await session.end() == closed
    assert server.all(SessionClosed)[0].reason == "call_hangup"


@pytest.mark.parametrize("framing", [None, *Framing])
async def test_framings(client: AspClient, framing: Framing | None) -> None:
    """Audio arrives whole in every framing."""
    session = await client.start_session(audio=AudioConfig(framing=framing))
    sent = frames(session, 30)
    for frame in sent:
        await session.send_audio(frame)
    assert await heard(session, 30) == sent


async def test_sessions_share_a_socket(server: AspServer, client: AspClient) -> None:
    """Several calls run on one socket, each with its own audio."""
    audio = [AudioConfig(framing=framing) for framing in (None, Framing.HASH12, Framing.ASP16)]
    sessions = [await client.start_session(audio=one) for one in audio]
    sent = [[bytes([n]) * 320 for _ in range(20)] for n in range(3)]
    for step in range(20):
        for number, session in enumerate(sessions):
            await session.send_audio(sent[number][step])
    assert [await heard(session, 20) for session in sessions] == sent
    assert len(server.links) == 1


async def test_seq14_has_a_socket_of_its_own(server: AspServer, client: AspClient) -> None:
    """A framing that names no session gets a socket alone, and that socket closes with it."""
    first = await client.start_session()
    alone = await client.start_session(audio=AudioConfig(framing=Framing.SEQ14))
    second = await client.start_session()
    assert [len(link.sessions) for link in server.links] == [2, 1]
    for session in (first, alone, second):
        await session.send_audio(frames(session, 1)[0])
        assert len(await heard(session, 1)) == 1
    await alone.end()
    await until(lambda: server.links[1].state == "closed")


async def test_a_full_socket_is_not_used_for_more(server: AspServer) -> None:
    """Where a socket holds as many sessions as it may, the next one gets another socket."""
    async with AspClient(server.url, limits=Limits(max_sessions_per_socket=2)) as client:
        for _ in range(5):
            await client.start_session()
        assert [len(link.sessions) for link in server.links] == [2, 2, 1]


async def test_a_rejection_is_raised_at_once(server: AspServer, client: AspClient) -> None:
    """What the server rejects is not tried again; the error says what is supported."""
    with capture_logs() as logs, pytest.raises(PeerRefused) as refusal:
        await client.start_session(session_id="s", audio=AudioConfig(sample_rate=44_100))
    assert refusal.value.code == 2001
    assert str(refusal.value) == (
        "audio.sample_rate: 44100 is not supported; supported: 8000, 16000 (code 2001)"
    )
    assert isinstance(refusal.value, AspRefused)
    (error,) = refusal.value.errors
    assert error.details is not None
    assert error.details["supported"] == [8000, 16_000]
    assert [line for line in logs if line["event"] == "asp_session_rejected"] == [
        {
            "event": "asp_session_rejected",
            "log_level": "warning",
            "role": "client",
            "session_id": "s",
            "legacy_mode": False,
            "code": 2001,
            "reason": "audio.sample_rate: 44100 is not supported; supported: 8000, 16000",
        }
    ]
    session = await client.start_session(session_id="s")
    assert session.id == "s"


async def test_adjustments_are_told_and_logged(client: AspClient) -> None:
    """What the server adjusts stands in the session's configuration, and in the log."""
    with capture_logs() as logs:
        session = await client.start_session(
            audio=AudioConfig(sample_rate=44_100),
            vad=VADConfig(silence_threshold_ms=9_000),
            negotiation="adjust",
        )
    fields = ["audio.sample_rate", "vad.silence_threshold_ms"]
    assert [one.field for one in session.config.adjustments] == fields
    adjusted = [line for line in logs if line["event"] == "asp_config_adjusted"]
    assert [line["field"] for line in adjusted] == fields
    assert {line["log_level"] for line in adjusted} == {"warning"}
    assert {line["session_id"] for line in adjusted} == {session.id}


async def test_what_is_logged(server: AspServer) -> None:
    """The capabilities, the configuration and each message are logged, and never a token."""
    with capture_logs() as logs:
        async with AspClient(server.url) as client:
            session = await client.start_session(session_id="s1")
            await session.press("7")
            await session.end()
    ours = [line for line in logs if line.get("role") == "client"]
    assert [
        (line["event"], line["log_level"]) for line in ours if line["log_level"] != "debug"
    ] == [
        ("asp_capabilities", "info"),
        ("asp_session_opened", "info"),
        ("asp_session_closed", "info"),
        ("asp_socket_closed", "info"),
    ]
    opened = next(line for line in ours if line["event"] == "asp_session_opened")
    assert opened["session_id"] == "s1"
    assert opened["legacy_mode"] is False
    assert opened["vad"]["silence_threshold_ms"] == 500
    told = [(line["event"], line["type"]) for line in ours if line["log_level"] == "debug"]
    assert told == [
        ("asp_received", "protocol.capabilities"),
        ("asp_sent", "session.start"),
        ("asp_received", "session.started"),
        ("asp_sent", "session.confirm"),
        ("asp_sent", "dtmf"),
        ("asp_sent", "session.end"),
        ("asp_received", "session.ended"),
    ]
    assert "token-1" not in str(logs)


async def test_a_server_of_1_0_sees_nothing_of_1_1() -> None:
    """A server that speaks 1.0.0 gets the members and the messages of 1.0.0 only."""
    old = CAPABILITIES.model_copy(update={"version": "1.0.0", "features": ("barge_in",)})
    sent: list[str] = []
    async with asp_server(capabilities=old, subprotocol=False) as server:
        client = AspClient(
            server.url,
            observe=lambda seen: sent.append(str(seen.data)) if seen.what == "sent" else None,
        )
        async with client:
            session = await client.start_session(audio=AudioConfig(framing=Framing.ASP16))
            assert session.features == frozenset()
            assert session.config.audio.framing is None
            await session.send_audio(frames(session, 1)[0])
            assert len(await heard(session, 1)) == 1
            await session.report_speech(AudioSpeechStartMessage(session_id=session.id, start_ms=3))
            await session.update(VADConfig(threshold=0.9))
            with pytest.raises(Misuse, match="the server does not know values for a turn"):
                await session.update(VADConfig(threshold=0.9), for_turn=True)
            assert not await session.cancel_response("r1", 10)
            assert not await session.press("1")
            await session.end()
    assert not any(
        word in message
        for message in sent
        for word in ("version", "features", "framing", "digest", "scope", "start_ms", "session.ack")
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ws://host:1", "ws://host:1/asp"),
        ("wss://host/", "wss://host/asp"),
        ("http://host:8080", "ws://host:8080/asp"),
        ("https://host/agents/x/asp", "wss://host/agents/x/asp"),
        ("host:8080", "ws://host:8080/asp"),
        ("ws://[::1]:9/asp?x=1#y", "ws://[::1]:9/asp?x=1"),
    ],
)
def test_urls(given: str, url: str) -> None:
    """The path is /asp where there is none; http means ws."""
    assert asp_url(given) == url


@pytest.mark.parametrize("url", ["", "ftp://host", "ws://", "ws://host:0", "ws://[", "ws://h:x"])
def test_no_urls(url: str) -> None:
    """What is no address of a server is said to be none."""
    with pytest.raises(PeerUnreachable, match="is no address of an ASP server"):
        AspClient(url)


async def test_nobody_answers() -> None:
    """A server that is not there is tried for as long as patience says, and no longer."""
    async with listening(lambda _: asyncio.sleep(0)) as port:
        pass
    with pytest.raises(PeerUnreachable, match=r"does not answer after \d+ tries: "):
        await AspClient(f"ws://127.0.0.1:{port}", patience=HASTY).connect()
    with pytest.raises(PeerUnreachable, match="does not answer: "):
        await AspClient(f"ws://127.0.0.1:{port}", reconnect=False).connect()


async def test_a_server_that_comes_later(server: AspServer) -> None:
    """The first connection is tried again as well: a server may come up after its client."""
    port = server.port
    patience = Patience(first_delay=0.01, max_delay=0.02, give_up_after=20)
    async with listening(lambda _: asyncio.sleep(0)) as free:
        pass
    waiting = asyncio.create_task(AspClient(f"ws://127.0.0.1:{free}", patience=patience).connect())
    await asyncio.sleep(0)
    assert port != free
    async with asp_server(port=free):
        await waiting


async def test_no_asp_at_that_path() -> None:
    """An HTTP error in place of a WebSocket is a refusal; 503 is not, it may be better later."""
    statuses: list[int] = []

    def refuse(connection: Socket, _: object) -> object:
        return connection.respond(statuses[0], "no\n")

    async with listening(lambda _: asyncio.sleep(0), process_request=refuse) as port:
        statuses[:] = [404]
        with pytest.raises(PeerRefused, match=r"answered HTTP 404 .* there is no ASP there") as no:
            await AspClient(f"ws://127.0.0.1:{port}", patience=HASTY).connect()
        assert no.value.code == 404
        statuses[:] = [302]
        with pytest.raises(PeerRefused, match="HTTP 302"):
            await AspClient(f"ws://127.0.0.1:{port}", patience=HASTY).connect()
        statuses[:] = [503]
        with pytest.raises(PeerUnreachable, match=r"after \d+ tries: .*HTTP 503"):
            await AspClient(f"ws://127.0.0.1:{port}", patience=HASTY).connect()


async def test_fetch_capabilities(server: AspServer) -> None:
    """The capabilities can be looked at without a call; a legacy server has none."""
    assert await fetch_capabilities(server.url) == CAPABILITIES
    async with listening(lambda socket: socket.wait_closed()) as port:
        assert await fetch_capabilities(f"ws://127.0.0.1:{port}", 0.05) is None


async def test_a_session_id_is_used_once(client: AspClient) -> None:
    """Two sessions of one client cannot have the same id."""
    await client.start_session(session_id="one")
    with pytest.raises(Misuse, match="session 'one' is one of this client's already"):
        await client.start_session(SessionRequest(session_id="one"))


# --- what is said ----------------------------------------------------------------------------


async def test_what_a_caller_does_reaches_the_server(server: AspServer, client: AspClient) -> None:
    """Speech, keys, marks, cancellations and the end of an utterance arrive as they were said."""
    session = await client.start_session(session_id="s")
    await session.report_speech(AudioSpeechStartMessage(session_id="s", start_ms=20))
    await session.report_speech(AudioSpeechEndMessage(session_id="s", duration_ms=100))
    await session.press("#", 80)
    await session.commit()
    await server.until(MessageReceived, 4)
    theirs = server.session("s")
    theirs.start_response(server.now(), "yes")
    theirs.mark(server.now())
    theirs.act("hangup", server.now(), reason="done")
    events = [await anext(session) for _ in range(3)]
    messages = [event.message for event in events if isinstance(event, MessageReceived)]
    response, mark, action = messages
    assert isinstance(response, ResponseStartMessage)
    assert isinstance(mark, PlaybackMarkMessage)
    assert isinstance(action, CallActionMessage)
    assert await session.report_mark(mark, "cleared", 40)
    assert await session.cancel_response(response.response_id or "", 40)
    end = await anext(session)
    assert isinstance(end, MessageReceived)
    assert isinstance(end.message, ResponseEndMessage)
    assert end.message.interrupted
    assert [type(event.message) for event in server.all(MessageReceived)] == [
        AudioSpeechStartMessage,
        AudioSpeechEndMessage,
        DtmfMessage,
        AudioEndMessage,
        PlaybackMarkMessage,
        ResponseCancelMessage,
    ]


async def test_misuse_is_told(client: AspClient) -> None:
    """Bytes that are no whole frames are not sent."""
    session = await client.start_session()
    with pytest.raises(Misuse, match="7 bytes are not 1 to 10 frames of 320 bytes"):
        await session.send_audio(b"1234567")
    await session.end()
    with pytest.raises(SessionOver, match=r"session 'call_.*' is over: ended"):
        await session.send_audio(bytes(320))
    with pytest.raises(SessionOver):
        await session.commit()
    with pytest.raises(SessionOver):
        await session.update(VADConfig(threshold=0.1))


async def test_renegotiation_in_mid_stream(server: AspServer) -> None:
    """Of 10,000 frames none is lost or doubled while the values change under them, 20 times."""
    async with AspClient(server.url) as client:
        session = await client.start_session(audio=AudioConfig(framing=Framing.ASP16))
        sent = frames(session, 10_000)
        hearing = asyncio.create_task(heard(session, 10_000))
        switches: list[ConfigSwitched] = []

        async def renegotiate() -> None:
            for step in range(20):
                switched = await session.update(VADConfig(silence_threshold_ms=300 + step))
                switches.append(switched)

        changing = asyncio.create_task(renegotiate())
        for frame in sent:
            await session.send_audio(frame)
        await changing
        assert await hearing == sent
        assert session.config.vad.silence_threshold_ms == 319
        assert [(one.seq, one.samples) for one in server.all(ConfigSwitched)] == [
            (one.seq, one.samples) for one in switches
        ]
        assert [one.payload for one in server.all(AudioReceived)] == sent


async def test_an_update_for_one_turn(server: AspServer, client: AspClient) -> None:
    """Values for a turn hold until its end, which both sides see at the same frame."""
    session = await client.start_session()
    switched = await session.update(VADConfig(silence_threshold_ms=1500), for_turn=True)
    assert switched.cause == "turn"
    assert session.config.vad.silence_threshold_ms == 1500
    await session.send_audio(bytes(320))
    over = await session.commit()
    assert over is not None
    assert (over.cause, over.seq) == ("turn_over", 1)
    assert session.config.vad.silence_threshold_ms == 500
    theirs = await server.until(ConfigSwitched, 2)
    assert (theirs[1].cause, theirs[1].seq) == ("turn_over", 1)
    events = [await anext(session) for _ in range(4)]
    assert over in events


async def test_an_override_by_the_server(server: AspServer, client: AspClient) -> None:
    """What the agent asks for in the next turn is asked for by the client, and told."""
    session = await client.start_session(session_id="s")
    server.session("s").override_turn(VADConfig(min_speech_ms=100), server.now())
    override = await anext(session)
    assert isinstance(override, MessageReceived)
    update = await session.update(VADConfig(threshold=0.6))  # waits its turn
    switched = await anext(session)
    assert isinstance(switched, ConfigSwitched)
    assert (switched.cause, switched.vad.min_speech_ms) == ("turn", 100)
    assert update.cause == "update"


async def test_updates_wait_for_each_other(client: AspClient) -> None:
    """Updates that are asked for at once are sent one after the other."""
    session = await client.start_session()
    wanted = [VADConfig(silence_threshold_ms=200 + step) for step in range(5)]
    switched = await asyncio.gather(*(session.update(vad) for vad in wanted))
    assert [one.vad.silence_threshold_ms for one in switched] == [200, 201, 202, 203, 204]


async def test_a_rejected_update() -> None:
    """A server that lets nobody configure VAD says so, and all stays as it was."""
    fixed = CAPABILITIES.model_copy(update={"vad_configurable": False})
    async with asp_server(capabilities=fixed) as server, AspClient(server.url) as client:
        session = await client.start_session()
        with pytest.raises(PeerRefused) as refusal:
            await session.update(VADConfig(threshold=0.1))
        assert refusal.value.code == 3002
        assert isinstance(await anext(session), UpdateRejected)
        assert session.config.vad == VADConfig()
        await session.send_audio(bytes(320))
        assert len(await heard(session, 1)) == 1


async def test_an_update_without_an_answer(server: AspServer) -> None:
    """An update that the server does not answer is given up in time; audio goes on meanwhile."""
    hasty = Limits(update_timeout=0.05, end_timeout=0.05)
    async with AspClient(server.url, limits=hasty) as client:
        session = await client.start_session(session_id="s")
        theirs = server.session("s")
        theirs.link = None  # whatever it says is heard by nobody
        with pytest.raises(PeerUnreachable, match=r"'s': no answer to session.update for 0\.05 s"):
            await session.update(VADConfig(threshold=0.1))
        await session.send_audio(bytes(320))
        await server.until(AudioReceived)


# --- what goes wrong -------------------------------------------------------------------------


async def test_a_digest_that_differs(server: AspServer) -> None:
    """A client that runs other values than were negotiated is found out; both sides log it."""

    def run_something_else(_: str, config: NegotiatedConfig) -> Applied:
        return Applied(config.audio, config.vad.model_copy(update={"threshold": 0.51}))

    with capture_logs() as logs:
        async with AspClient(server.url, configure=run_something_else) as client:
            with pytest.raises(PeerRefused, match=r"the server runs sha256:.*, the client") as no:
                await client.start_session()
    assert no.value.code == ErrorCode.CONFIG_DIGEST_MISMATCH
    assert "asp_config_mismatched" in [line["event"] for line in logs]
    (theirs,) = await server.until(ErrorReceived)
    assert theirs.error.code == 4005
    assert (await server.until(SessionClosed))[0].reason == "config_digest_mismatch"


async def test_a_digest_that_differs_after_an_update(server: AspServer) -> None:
    """The same holds for an update: it fails, and the session ends."""

    def stay_as_it_was(_: str, config: NegotiatedConfig) -> Applied:
        return Applied(config.audio, VADConfig())

    async with AspClient(server.url, configure=stay_as_it_was) as client:
        session = await client.start_session()
        with pytest.raises(PeerRefused) as refusal:
            await session.update(VADConfig(threshold=0.1))
        assert refusal.value.code == 4005
        events = await rest(session)
        assert [type(event) for event in events] == [ConfigMismatched, SessionClosed]


async def test_a_configuration_that_cannot_be_applied(server: AspServer) -> None:
    """What the application raises when it is to configure itself ends that session alone."""

    def refuse_one(session_id: str, config: NegotiatedConfig) -> Applied:
        if session_id == "bad" or config.vad.threshold == 0.9:
            raise RuntimeError("no such detector")
        return Applied(config.audio, config.vad)

    async with AspClient(server.url, configure=refuse_one) as client:
        good = await client.start_session(session_id="good")
        with pytest.raises(RuntimeError, match="no such detector"):
            await client.start_session(session_id="bad")
        assert (await server.until(SessionClosed))[0].session_id == "bad"
        await good.send_audio(bytes(320))
        assert len(await heard(good, 1)) == 1
        with pytest.raises(RuntimeError, match="no such detector"):
            await good.update(VADConfig(threshold=0.9))
        closed = (await rest(good))[-1]
        assert isinstance(closed, SessionClosed)
        assert closed.reason == "vad_initialization_error"
        assert [event.error.code for event in await server.until(ErrorReceived, 2)] == [3003, 3003]


async def test_a_configuration_that_is_refused(server: AspServer) -> None:
    """An application may refuse a configuration in the words of the protocol."""

    def refuse(session_id: str, _: NegotiatedConfig) -> Applied:
        error = protocol_error(ErrorCode.VAD_INITIALIZATION_ERROR, "no model is loaded")
        raise Rejection(error, session_id)

    async with AspClient(server.url, configure=refuse) as client:
        with pytest.raises(PeerRefused, match="no model is loaded") as refusal:
            await client.start_session()
    assert refusal.value.code == 3003


async def test_values_that_cannot_be_gone_back_to(server: AspServer) -> None:
    """Where the end of a turn cannot be applied the session ends, and whoever ended it is told."""
    ran: list[float] = []

    def once(_: str, config: NegotiatedConfig) -> Applied:
        if config.vad.threshold in ran:
            raise RuntimeError("it is gone")
        ran.append(config.vad.threshold)
        return Applied(config.audio, config.vad)

    async with AspClient(server.url, configure=once) as client:
        session = await client.start_session()
        await session.update(VADConfig(threshold=0.9), for_turn=True)
        with pytest.raises(RuntimeError, match="it is gone"):
            await session.commit()
        assert isinstance((await rest(session))[-1], SessionClosed)


async def test_the_server_ends_a_session(server: AspServer, client: AspClient) -> None:
    """An end that the server decides on is told, with its reason."""
    session = await client.start_session(session_id="s")
    server.session("s").end(server.now(), "max_duration")
    (closed,) = await rest(session)
    assert isinstance(closed, SessionClosed)
    assert closed.reason == "max_duration"


async def test_an_end_without_an_answer(server: AspServer) -> None:
    """A server that does not answer the end is not waited for longer than the limit says."""
    async with AspClient(server.url, limits=Limits(end_timeout=0.05)) as client:
        session = await client.start_session(session_id="s")
        server.session("s").link = None
        assert (await session.end()).reason == "session.end_timeout"


async def test_a_slow_reader_holds_up_the_socket(server: AspServer) -> None:
    """Whoever does not read the events stops the socket from being read, at 256 of them."""
    async with AspClient(server.url) as client:
        session = await client.start_session(
            session_id="s", audio=AudioConfig(framing=Framing.ASP16)
        )
        theirs, size = server.session("s"), session.config.audio.bytes_per_frame
        theirs.start_response(server.now())
        sent = [bytes([step % 256]) * size for step in range(3_000)]
        for payload in sent:
            theirs.send_audio(payload, server.now())
        waiting = session._line.inbox._waiting
        await until(lambda: len(waiting) == MAX_EVENTS)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert len(waiting) == MAX_EVENTS
        # An update is answered all the same, and the end, though audio is in their way.
        assert (await session.update(VADConfig(threshold=0.8))).cause == "update"
        assert await heard(session, 3_000) == sent
        for payload in sent:
            theirs.send_audio(payload, server.now())
        assert (await session.end()).reason == "ended"


async def test_a_slow_reader_does_not_hold_up_the_end_of_the_client(server: AspServer) -> None:
    """A client closes in time though nobody reads its events."""
    async with asyncio.timeout(10), AspClient(server.url) as client:
        session = await client.start_session(session_id="s")
        theirs = server.session("s")
        theirs.start_response(server.now())
        for _ in range(3_000):
            theirs.send_audio(bytes(320), server.now())
        await until(lambda: not session._line.inbox.room.is_set())
    assert session.closed is not None


async def test_a_server_that_takes_nothing() -> None:
    """Audio waits while the server takes none, and the socket is given up in the end."""
    capabilities = '{"type":"protocol.capabilities","capabilities":{}}'

    async def stop_reading(socket: Socket) -> None:
        await socket.send(capabilities)
        session_id = json.loads(await socket.recv())["session_id"]
        started = {"type": "session.started", "session_id": session_id, "status": "accepted"}
        await socket.send(json.dumps(started | {"negotiated": {"audio": {}, "vad": {}}}))
        socket.transport.pause_reading()
        await socket.wait_closed()

    patience = Patience(silence_timeout=0.3, give_up_after=0.1)
    async with (
        asyncio.timeout(20),
        listening(stop_reading) as port,
        AspClient(f"ws://127.0.0.1:{port}", patience=patience) as client,
    ):
        session = await client.start_session()

        async def speak() -> None:
            while True:
                await session.send_audio(bytes(3200))

        with pytest.raises(SessionOver):
            await speak()
        assert session.closed is not None
        assert session.closed.reason == "connection_lost"


async def test_close_during_connect(server: AspServer) -> None:
    """A client that is closed while it connects does not connect, and says why."""
    async with listening(lambda socket: socket.wait_closed()) as port:
        client = AspClient(f"ws://127.0.0.1:{port}", patience=HASTY)
        connecting = asyncio.create_task(client.connect())
        starting = asyncio.create_task(client.start_session())
        await asyncio.sleep(0)
        await client.close()
        for waiting in (connecting, starting):
            with pytest.raises(PeerUnreachable, match="the client is closed"):
                await waiting
        with pytest.raises(PeerUnreachable, match="the client is closed"):
            await client.connect()


async def test_close_during_start(server: AspServer) -> None:
    """A session that is being started when the client closes is not left behind."""
    started = asyncio.Event()

    async def say_nothing(socket: Socket) -> None:
        await socket.send('{"type":"protocol.capabilities","capabilities":{}}')
        await socket.recv()
        started.set()
        await socket.wait_closed()

    async with listening(say_nothing) as port:
        client = AspClient(f"ws://127.0.0.1:{port}", patience=HASTY)
        starting = asyncio.create_task(client.start_session())
        await started.wait()
        await client.close()
        with pytest.raises(PeerUnreachable):
            await starting


async def test_a_start_that_is_cancelled(server: AspServer, client: AspClient) -> None:
    """A session that nobody waits for any more is ended at the server."""
    starting = asyncio.create_task(client.start_session(session_id="s"))
    await until(lambda: "s" in client._lines)
    await until(lambda: client._lines["s"].core.state == "negotiating")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    (closed,) = await server.until(SessionClosed)
    assert closed.reason == "abandoned"
    await client.start_session(session_id="s")


async def test_two_clients_at_once(server: AspServer) -> None:
    """Two clients of one process have nothing to do with each other."""
    async with AspClient(server.url) as one, AspClient(server.url) as two:
        sessions = [await one.start_session(), await two.start_session()]
        for number, session in enumerate(sessions):
            await session.send_audio(bytes([number]) * 320)
        assert [await heard(session, 1) for session in sessions] == [[bytes(320)], [b"\1" * 320]]
        await one.close()
        await sessions[1].send_audio(bytes(320))
        assert len(await heard(sessions[1], 1)) == 1


async def test_a_late_start_leaves_nothing_behind(server: AspServer) -> None:
    """A server that starts a session too late is told to end it, and another try is made."""
    limits = Limits(start_timeout=0.05)
    async with AspClient(server.url, limits=limits, patience=HASTY) as client:
        link = server.links[0]
        held: list[str] = []

        def hold(text: str, _: float) -> list[Event]:
            held.append(text)
            return []

        link.receive_text = hold  # type: ignore[method-assign] # it is late, not silent
        session = await client.start_session(session_id="s")
        assert session.id == "s"
        assert len(server.links) == 2
        assert [json.loads(text)["type"] for text in held] == ["session.start", "session.end"]
        assert len(server.all(SessionOpened)) == 1
