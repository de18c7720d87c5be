"""Calls whose socket is lost: they go on, without a frame lost or doubled, or begin again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from palaver.client.asp import AspClient, CallSession, SessionRestarted
from palaver.client.transport import Patience
from palaver.errors import PeerUnreachable
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.events import (
    AudioReceived,
    ConfigSwitched,
    MessagesLost,
    SessionClosed,
    SessionDetached,
    SessionOpened,
    SessionRejected,
    SessionResumed,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.client.asp_server import CAPABILITIES, AspServer, asp_server, until

PATIENT = Patience(first_delay=0.01, max_delay=0.05, give_up_after=20.0)
WITHOUT_RESUMPTION = CAPABILITIES.model_copy(
    update={"features": tuple(set(Feature) - {Feature.SESSION_RESUME})}
)


@asynccontextmanager
async def proxied(
    server: AspServer, faults: Callable[[int], Fault] | None = None
) -> AsyncIterator[tuple[FaultProxy, AspClient]]:
    """Put a proxy that fails on purpose between a server and a client."""
    async with (
        FaultProxy(server.port, faults) as proxy,
        AspClient(f"ws://127.0.0.1:{proxy.port}", patience=PATIENT) as client,
    ):
        yield proxy, client


async def collect(session: CallSession, messages: int) -> tuple[list[bytes], list[type]]:
    """Return the audio of the next events, until it is that much, and what else came."""
    payloads: list[bytes] = []
    others: list[type] = []
    async with asyncio.timeout(40):
        async for event in session:
            if isinstance(event, AudioReceived):
                payloads.append(event.payload)
            else:
                others.append(type(event))
            if len(payloads) == messages:
                break
    return payloads, others


async def until_event(session: CallSession, kind: type) -> object:
    """Return the next event of a kind."""
    async with asyncio.timeout(15):
        async for event in session:
            if isinstance(event, kind):
                return event
    raise AssertionError(kind)


def numbered(count: int, size: int = 320) -> list[bytes]:
    """Return that many different frames."""
    return [index.to_bytes(4, "big") * (size // 4) for index in range(count)]


# --- resumption ------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [Framing.HASH12, Framing.SEQ14, Framing.ASP16])
async def test_no_frame_is_lost_or_doubled(framing: Framing) -> None:
    """Ten times the socket is reset under a stream; each side hears each frame once, in order."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        session = await client.start_session(audio=AudioConfig(framing=framing))
        sent = numbered(2_000)
        hearing = asyncio.create_task(collect(session, len(sent)))
        for number, frame in enumerate(sent):
            if number % 200 == 100:
                proxy.reset_all()
            await session.send_audio(frame)
            if number % 20 == 0:
                await asyncio.sleep(0)
        said, others = await hearing
        assert said == sent
        assert [event.payload for event in server.all(AudioReceived)] == sent
        assert others.count(SessionDetached) == others.count(SessionResumed) >= 2
        assert MessagesLost not in others
        assert server.all(SessionClosed) == []
        closed = await session.end()
        assert closed.statistics is not None
        assert closed.statistics.audio_frames_received == 2_000


@pytest.mark.parametrize("cut", [1_600, 2_111, 5_003, 9_999, 30_001])
async def test_cuts_in_the_middle_of_a_frame(cut: int) -> None:
    """Wherever in the bytes the connection breaks, nothing is lost or doubled."""

    def fault(number: int) -> Fault:
        return Fault(reset_after=cut + number) if number < 5 else Fault()

    async with asp_server() as server, proxied(server, fault) as (proxy, client):
        session = await client.start_session()
        sent = numbered(500)
        hearing = asyncio.create_task(collect(session, len(sent)))
        for frame in sent:
            await session.send_audio(frame)
            await asyncio.sleep(0)
        said, _ = await hearing
        assert said == sent
        assert [event.payload for event in server.all(AudioReceived)] == sent
        assert proxy.resets >= 1


async def test_a_black_hole() -> None:
    """A connection that stays up and brings nothing is left in time, and the session goes on."""
    faults = [Fault(silent_after=2_500), Fault()]
    patience = Patience(silence_timeout=0.3, first_delay=0.01)
    async with asp_server() as server, FaultProxy(server.port, lambda n: faults[n]) as proxy:
        client = AspClient(f"ws://127.0.0.1:{proxy.port}", patience=patience)
        async with client:
            session = await client.start_session()
            sent = numbered(50)
            for frame in sent:
                await session.send_audio(frame)
            said, others = await collect(session, 50)
            assert said == sent
            assert SessionResumed in others


async def test_an_idle_connection_is_kept() -> None:
    """A server that has nothing to say answers pings: its socket is not taken for dead."""
    patience = Patience(silence_timeout=0.2)
    async with asp_server() as server, AspClient(server.url, patience=patience) as client:
        session = await client.start_session()
        loop = asyncio.get_running_loop()
        long_enough = loop.create_future()
        loop.call_later(0.8, long_enough.set_result, None)
        await long_enough
        await session.send_audio(bytes(320))
        said, others = await collect(session, 1)
        assert len(said) == 1
        assert SessionDetached not in others
        assert len(server.links) == 1


async def test_sessions_come_back_together() -> None:
    """All sessions of a lost socket are resumed on one new socket."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        sessions = [await client.start_session() for _ in range(20)]
        proxy.reset_all()
        for number, session in enumerate(sessions):
            await session.send_audio(bytes([number]) * 320)
        for number, session in enumerate(sessions):
            said, others = await collect(session, 1)
            assert said == [bytes([number]) * 320]
            assert others[:2] == [SessionDetached, SessionResumed]
        assert proxy.connections == 2
        assert len(server.links[1].sessions) == 20


async def test_audio_waits_for_a_server_that_is_away() -> None:
    """While the server is away audio is kept; where the room is half used up, more has to wait."""
    limits = Limits(max_kept_messages=100)
    async with asp_server() as server, FaultProxy(server.port) as proxy:
        client = AspClient(f"ws://127.0.0.1:{proxy.port}", limits=limits, patience=PATIENT)
        async with client:
            session = await client.start_session(session_id="s")
            proxy.upstream_port = 1
            proxy.reset_all()
            await until_event(session, SessionDetached)
            sent = numbered(300)
            done: list[bytes] = []

            async def speak() -> None:
                for frame in sent:
                    await session.send_audio(frame)
                    done.append(frame)

            speaking = asyncio.create_task(speak())
            await until(lambda: len(done) == 48)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(done) == 48
            proxy.upstream_port = server.port
            said, others = await collect(session, 300)
            await speaking
            assert said == sent
            assert others[0] is SessionResumed
            assert [event.payload for event in server.all(AudioReceived)] == sent


async def test_an_update_while_the_socket_is_lost() -> None:
    """A request that was made in between is answered when the session is back."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        session = await client.start_session()
        proxy.reset_all()
        await until_event(session, SessionDetached)
        switched = await session.update(VADConfig(threshold=0.7))
        assert switched.vad.threshold == 0.7
        assert len(server.all(ConfigSwitched)) == 1


async def test_an_end_while_the_socket_is_lost() -> None:
    """A session that is ended in between is ended at the server when it is back."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        session = await client.start_session()
        proxy.reset_all()
        await until_event(session, SessionDetached)
        closed = await session.end("hung_up")
        assert closed.statistics is not None
        assert server.all(SessionClosed)[0].reason == "hung_up"


async def test_an_end_while_nobody_is_there() -> None:
    """Where the server does not come back the end is not waited for longer than the limit."""
    async with asp_server() as server, FaultProxy(server.port) as proxy:
        limits = Limits(end_timeout=0.05)
        client = AspClient(f"ws://127.0.0.1:{proxy.port}", limits=limits, patience=PATIENT)
        async with client:
            session = await client.start_session()
            proxy.upstream_port = 1
            proxy.reset_all()
            await until_event(session, SessionDetached)
            assert (await session.end()).reason == "session.end_timeout"


async def test_a_server_that_does_not_come_back() -> None:
    """A session is over when its server has kept it for as long as it would."""
    async with (
        asp_server(limits=Limits(resume_window=0.2)) as server,
        proxied(server) as (proxy, client),
    ):
        session = await client.start_session()
        proxy.upstream_port = 1
        proxy.reset_all()
        closed = await until_event(session, SessionClosed)
        assert closed == SessionClosed(session.id, "not_resumed")


async def test_a_resumption_that_is_refused() -> None:
    """A session that the server does not know any more is over."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        session = await client.start_session(session_id="s")
        server.sessions.forget(server.session("s"), server.now(), "forgotten")
        proxy.reset_all()
        closed = await until_event(session, SessionClosed)
        assert closed == SessionClosed("s", "resume_refused")


async def test_no_reconnecting() -> None:
    """Without reconnecting a lost socket is the end of its sessions."""
    async with (
        asp_server() as server,
        FaultProxy(server.port) as proxy,
        AspClient(f"ws://127.0.0.1:{proxy.port}", reconnect=False) as client,
    ):
        session = await client.start_session(restart=True)
        proxy.reset_all()
        closed = await until_event(session, SessionClosed)
        assert closed == SessionClosed(session.id, "connection_lost")


# --- restarts --------------------------------------------------------------------------------


async def test_a_call_begins_again_where_it_cannot_be_resumed() -> None:
    """With ``restart`` the call goes on with a new session, which says that it is a second try."""
    async with (
        asp_server(capabilities=WITHOUT_RESUMPTION) as server,
        proxied(server) as (proxy, client),
    ):
        with capture_logs() as logs:
            session = await client.start_session(
                session_id="s", restart=True, call_id="c", metadata={"line": 7}
            )
            proxy.reset_all()
            restarted = await until_event(session, SessionRestarted)
            assert restarted == SessionRestarted("s", "s~2")
            opened = await anext(session)
            assert isinstance(opened, SessionOpened)
            assert session.id == opened.session_id == "s~2"
        theirs = server.session("s~2")
        assert theirs.call_id == "c"
        assert theirs.metadata == {"line": 7, "transfer_retry": True}
        assert [
            (line["session_id"], line["old_session_id"])
            for line in logs
            if "old_session_id" in line
        ] == [("s~2", "s")]
        await session.send_audio(bytes(320))
        assert (await collect(session, 1))[0] == [bytes(320)]
        proxy.reset_all()
        assert await until_event(session, SessionRestarted) == SessionRestarted("s~2", "s~3")
        assert (await session.end()).reason == "ended"


async def test_a_call_begins_again_where_resumption_is_refused() -> None:
    """The same holds where the server has lost the session."""
    async with asp_server() as server, proxied(server) as (proxy, client):
        session = await client.start_session(session_id="s", restart=True)
        server.sessions.forget(server.session("s"), server.now(), "forgotten")
        proxy.reset_all()
        assert await until_event(session, SessionRestarted) == SessionRestarted("s", "s~2")
        await session.send_audio(bytes(320))
        assert len((await collect(session, 1))[0]) == 1


async def test_a_call_begins_again_at_another_server() -> None:
    """A server that stops ends its sessions; with ``restart`` they go on at the next one."""
    async with asp_server() as old, asp_server() as new, proxied(old) as (proxy, client):
        session = await client.start_session(session_id="s", restart=True)
        proxy.upstream_port = new.port
        old.take(old.links[0].shut_down(old.now()))
        assert await until_event(session, SessionRestarted) == SessionRestarted("s", "s~2")
        assert new.session("s~2").metadata["transfer_retry"] is True


async def test_without_restart_a_call_is_over() -> None:
    """Without ``restart`` a session that cannot be resumed ends with its socket."""
    async with (
        asp_server(capabilities=WITHOUT_RESUMPTION) as server,
        proxied(server) as (proxy, client),
    ):
        session = await client.start_session()
        proxy.reset_all()
        assert [event async for event in session] == [SessionClosed(session.id, "connection_lost")]


async def test_what_is_said_between_two_sessions() -> None:
    """While no session is there audio is thrown away, and whoever sends it is told."""
    async with (
        asp_server(capabilities=WITHOUT_RESUMPTION) as server,
        proxied(server) as (proxy, client),
    ):
        session = await client.start_session(restart=True)
        proxy.upstream_port = 1
        proxy.reset_all()
        sending = 0
        while await session.send_audio(bytes(320)) is not None:
            sending += 1
        assert await session.commit() is None
        assert not await session.press("1")
        with pytest.raises(PeerUnreachable, match="is being restarted"):
            await session.update(VADConfig(threshold=0.1))
        proxy.upstream_port = server.port
        await until_event(session, SessionRestarted)
        assert await session.send_audio(bytes(320)) == 0


async def test_a_call_that_ends_while_it_begins_again() -> None:
    """Hanging up ends the restart."""
    async with (
        asp_server(capabilities=WITHOUT_RESUMPTION) as server,
        proxied(server) as (proxy, client),
    ):
        session = await client.start_session(session_id="s", restart=True)
        proxy.upstream_port = 1
        proxy.reset_all()
        while await session.send_audio(bytes(320)) is not None:
            pass
        assert await session.end("hung_up") == SessionClosed("s", "hung_up")
        proxy.upstream_port = server.port
        await client.start_session(session_id="t")
        await until(lambda: len(server.sessions) == 1)


async def test_a_restart_that_fails() -> None:
    """A server that rejects the new session, or is not there, ends the call."""
    async with (
        asp_server(capabilities=WITHOUT_RESUMPTION, limits=Limits(max_sessions=1)) as server,
        proxied(server) as (proxy, client),
    ):
        session = await client.start_session(session_id="s", restart=True)
        async with AspClient(server.url) as other:
            server.take(server.links[0].shut_down(server.now(), "shutdown"))
            await other.start_session()
            closed = await until_event(session, SessionClosed)
        assert closed == SessionClosed("s", "restart_failed")
        assert proxy.connections >= 1
        assert server.all(SessionRejected)[0].errors[0].code == 4003


# --- starting --------------------------------------------------------------------------------


async def test_a_start_is_tried_again() -> None:
    """A socket that is lost while a session starts is replaced; the id of the call stays."""
    async with asp_server(capabilities=WITHOUT_RESUMPTION) as server:
        server.starts_to_drop = 2
        async with AspClient(server.url, patience=PATIENT) as client:
            session = await client.start_session(session_id="s")
            assert session.id == "s"
            assert len(server.links) == 3


async def test_a_start_whose_answer_was_lost() -> None:
    """Where the server holds a session that the client never got, another id is taken."""
    async with asp_server() as server:
        server.starts_to_drop = 1
        async with AspClient(server.url, patience=PATIENT) as client:
            session = await client.start_session(session_id="s")
            assert session.id == "s~2"
            assert [type(event) for event in server.events] == [
                SessionOpened,
                SessionDetached,
                SessionRejected,
                SessionOpened,
            ]


async def test_a_server_that_drops_every_start() -> None:
    """A server that never lets a session start is given up in time."""
    patience = Patience(first_delay=0.01, max_delay=0.02, give_up_after=0.3)
    async with asp_server(capabilities=WITHOUT_RESUMPTION) as server:
        server.starts_to_drop = 10_000
        async with AspClient(server.url, patience=patience) as client:
            with pytest.raises(PeerUnreachable, match=r"does not answer after \d+ tries"):
                await client.start_session()


async def test_an_idle_socket_that_the_server_closed() -> None:
    """A socket that the server closed for want of a session is replaced when there is one."""
    async with asp_server() as server, AspClient(server.url, patience=PATIENT) as client:
        link = server.links[0]
        server.take(link.handle_timeout(server.now() + 31))
        await until(lambda: link.state == "closed")
        session = await client.start_session()
        assert session.config.audio == AudioConfig()
        assert len(server.links) == 2


# --- going away ------------------------------------------------------------------------------


async def test_a_server_that_goes_away() -> None:
    """Its sessions end on their socket; new ones are started on another one."""
    async with asp_server() as old, asp_server() as new, proxied(old) as (proxy, client):
        session = await client.start_session(session_id="old")
        proxy.upstream_port = new.port
        with capture_logs() as logs:
            old.links[0].go_away(old.now(), 5.0)
            await until(lambda: any(line["event"] == "asp_server_going_away" for line in logs))
        await client.start_session(session_id="new")
        assert new.session("new").open
        await session.send_audio(bytes(320))
        assert (await collect(session, 1))[0] == [bytes(320)]
        await session.end()
        await until(lambda: old.links[0].state == "closed")
