"""Sessions that go on, on another socket: nothing is lost, nothing comes twice (§5, §13)."""

from __future__ import annotations

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import (
    AudioMissing,
    AudioReceived,
    ErrorSent,
    MessageReceived,
    MessagesLost,
    SessionClosed,
    SessionDetached,
    SessionRejected,
    SessionResumed,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import FRAME, RawClient, RawServer, agree, switches

FRAMINGS = [None, *Framing]


def opened(
    framing: Framing | None = None, limits: Limits | None = None
) -> tuple[AspPair, ClientSession, ServerSession]:
    """Return a pair with a session ``s``, as both sides have it."""
    pair = AspPair(limits=limits)
    audio = AudioConfig(framing=framing)
    session = pair.open(SessionRequest(session_id="s", audio=audio))
    return pair, session, pair.agent("s")


def heard(pair: AspPair, side: Side) -> list[int]:
    """Return the numbers that the audio which a side heard begins with."""
    return [one.payload[0] for one in pair.told(side, AudioReceived)]


def said(number: int) -> bytes:
    """Return a frame that begins with a number."""
    return bytes([number]) + FRAME[1:]


def come_back(pair: AspPair) -> None:
    """Open another socket, go on with the session, and let everything arrive."""
    pair.reconnect()
    pair.pump()


# --- a drop -----------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("arrives", range(4))
def test_audio_in_flight(framing: Framing | None, arrives: int) -> None:
    """However much of it arrived before the drop, each side hears every frame once, in order."""
    pair, session, agent = opened(framing)
    agent.start_response(0.0)
    pair.pump()
    for number in range(3):
        session.send_audio(said(number), 0.0)
        agent.send_audio(said(number), 0.0)
    pair.drop(arrives, 3 - arrives)
    for side in Side:
        assert pair.told(side, SessionDetached) == [SessionDetached("s")]
    session.send_audio(said(3), 0.0)  # they talk on meanwhile
    agent.send_audio(said(3), 0.0)
    come_back(pair)
    session.send_audio(said(4), 0.0)
    agent.send_audio(said(4), 0.0)
    pair.pump()
    for side in Side:
        assert heard(pair, side) == [0, 1, 2, 3, 4]
        assert pair.told(side, AudioMissing) == pair.told(side, MessagesLost) == []
        assert [one.seq for one in pair.told(side, AudioReceived)] == [0, 1, 2, 3, 4]
    assert pair.told(Side.SERVER, SessionResumed) == [SessionResumed("s", arrives + 1)]
    assert pair.told(Side.CLIENT, SessionResumed) == [SessionResumed("s", 4 - arrives)]


def test_a_drop_while_resuming() -> None:
    """A resumption that is lost itself, at any point, is simply tried again."""
    pair, session, agent = opened()
    agent.start_response(0.0)
    session.send_audio(said(0), 0.0)
    for to_server, to_client in ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2)):
        pair.drop()
        agent.send_audio(said(to_server), 0.0)
        pair.reconnect()
        pair.socket.deliver(Side.SERVER, to_server)
        pair.socket.deliver(Side.CLIENT, to_client)
    pair.drop()
    come_back(pair)
    assert heard(pair, Side.SERVER) == [0]
    assert heard(pair, Side.CLIENT) == [0, 1, 1, 2, 2]
    assert (session.received, agent.received) == (
        agent.outgoing.following,
        session.outgoing.following,
    )


@pytest.mark.parametrize("later", [0, 1, 2, 3])
def test_a_server_that_notices_late(later: int) -> None:
    """What still arrives on the old socket belongs to no session, and its end ends nothing."""
    pair, session, _ = opened()
    for number in range(3):
        session.send_audio(said(number), 0.0)
    old = pair.socket
    pair.drop(half_dead=True)
    old.deliver(Side.SERVER, later)  # before the client is back ...
    come_back(pair)
    old.deliver(Side.SERVER)  # ... and after it
    old.end(Side.SERVER)
    session.send_audio(said(3), 0.0)
    pair.pump()
    assert heard(pair, Side.SERVER) == [0, 1, 2, 3]
    assert pair.told(Side.SERVER, SessionDetached) == []
    assert pair.told(Side.SERVER, SessionClosed) == []
    stray = [one.error.code for one in pair.told(Side.SERVER, ErrorSent)]
    assert set(stray) <= {ErrorCode.SESSION_NOT_FOUND}


def test_sessions_that_cannot_be_resumed() -> None:
    """Without the feature, in 1.0.0 and in legacy mode, a lost socket is the end."""
    peer = RawClient()
    peer.start("new", features=[one for one in Feature if one is not Feature.SESSION_RESUME])
    peer.start_old("old")
    peer.start_legacy("legacy")
    peer.closed()
    assert [(one.session_id, one.reason) for one in peer.told(SessionClosed)] == [
        ("new", "connection_lost"),
        ("old", "connection_lost"),
        ("legacy", "connection_lost"),
    ]
    assert len(peer.sessions) == 0
    server = RawServer()
    server.introduce()
    session = server.opened(features=[])
    starting = server.asked("t")
    server.closed()
    assert [one.reason for one in server.told(SessionClosed)] == ["connection_lost"] * 2
    assert session.state is starting.state is SessionState.CLOSED


def test_one_drop_for_many_sessions() -> None:
    """All sessions of a socket wait, and go on, each with its own numbers."""
    pair = AspPair()
    calls = [pair.open(SessionRequest(session_id=f"s{number}")) for number in range(3)]
    for call in calls:
        for number in range(3):
            call.send_audio(said(number), 0.0)
    pair.drop(to_server=5)
    come_back(pair)
    for call in calls:
        received = [
            one.payload[0]
            for one in pair.told(Side.SERVER, AudioReceived)
            if one.session_id == call.id
        ]
        assert received == [0, 1, 2]


# --- what is under way ------------------------------------------------------------------------


@pytest.mark.parametrize("to_server", [0, 1, 2])
@pytest.mark.parametrize("to_client", [0, 1])
def test_an_update_in_flight(to_server: int, to_client: int) -> None:
    """It is answered once, and both sides switch at the same frame."""
    pair, session, _ = opened()
    session.send_audio(FRAME, 0.0)
    session.update(VADConfig(threshold=0.7), 0.0)
    session.send_audio(FRAME, 0.0)
    pair.drop(to_server, to_client)
    assert session.undecided_from == (None if (to_server, to_client) == (2, 1) else 1)
    session.send_audio(FRAME, 0.0)
    come_back(pair)
    for side in Side:
        assert [(one.seq, one.cause) for one in switches(pair, side)] == [(1, "update")]
    agree(pair)


@pytest.mark.parametrize("to_server", [0, 1])
def test_an_end_in_flight(to_server: int) -> None:
    """An end that was lost is said again; one whose answer was lost leaves no session behind."""
    pair, session, _ = opened()
    session.end(0.0)
    pair.drop(to_server)
    assert session.state is SessionState.ENDING
    assert len(pair.registry) == 1 - to_server
    come_back(pair)
    assert len(pair.registry) == 0
    assert session.state is SessionState.CLOSED
    for side in Side:
        assert len(pair.told(side, SessionClosed)) == 1
    reason = pair.told(Side.CLIENT, SessionClosed)[0].reason
    assert reason == ("resume_refused" if to_server else "ended")


def test_an_end_of_the_agent_in_flight() -> None:
    """A session that the agent ended while its client was away is refused to it."""
    pair, session, agent = opened()
    pair.drop()
    agent.end(0.0, "hangup")
    come_back(pair)
    assert pair.told(Side.CLIENT, SessionClosed) == [SessionClosed("s", "resume_refused")]
    assert session.state is SessionState.CLOSED
    rejected = pair.told(Side.SERVER, SessionRejected)[0]
    assert rejected.errors[0].code == ErrorCode.RESUME_REFUSED


@pytest.mark.parametrize("to_client", range(5))
def test_a_response_in_flight(to_client: int) -> None:
    """It is heard once from start to end, and the audio of before and after is one piece."""
    pair, _, agent = opened(Framing.ASP16)
    agent.start_response(0.0, "hello")
    agent.send_audio(said(0), 0.0)
    pair.drop(0, to_client)
    agent.send_audio(said(1), 0.0)
    agent.mark(0.0)
    agent.end_response(0.0)
    come_back(pair)
    kinds = [
        one.message.message_type if isinstance(one, MessageReceived) else one.payload[0]
        for one in pair.events[Side.CLIENT]
        if isinstance(one, MessageReceived | AudioReceived)
    ]
    assert kinds == ["response.start", 0, 1, "playback.mark", "response.end"]
    assert [one.samples for one in pair.told(Side.CLIENT, AudioReceived)] == [0, 160]


def test_a_cancellation_in_flight() -> None:
    """A cancellation that was lost is said again, and cancels the answer it was of."""
    pair, session, agent = opened()
    agent.start_response(0.0)
    pair.pump()
    session.cancel_response("r1", 0, 0.0)
    pair.drop()
    assert agent.send_audio(FRAME, 0.0)
    come_back(pair)
    assert not agent.send_audio(FRAME, 0.0)
    assert agent.barge_ins == 1


def test_nobody_comes_back() -> None:
    """A session that waited in vain is refused afterwards, and its id is free."""
    pair, session, _ = opened()
    pair.drop()
    pair.wait(31.0)
    assert pair.told(Side.SERVER, SessionClosed)[0].reason == "not_resumed"
    come_back(pair)
    assert pair.told(Side.CLIENT, SessionClosed) == [SessionClosed("s", "resume_refused")]
    assert session.state is SessionState.CLOSED
    assert pair.open(SessionRequest(session_id="s")).state is SessionState.ACTIVE


# --- too much to keep -------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_could_not_be_kept(framing: Framing | None) -> None:
    """Each side is told how many messages it will never get, and hears the rest."""
    pair, session, agent = opened(framing, Limits(max_kept_messages=4))
    agent.start_response(0.0)
    pair.pump()
    for number in range(3):
        session.send_audio(said(number), 0.0)
        agent.send_audio(said(number), 0.0)
    pair.drop(to_server=1, to_client=2)
    for number in range(3, 9):
        session.send_audio(said(number), 0.0)
    for number in range(3, 12):
        agent.send_audio(said(number), 0.0)
    come_back(pair)
    assert pair.told(Side.SERVER, MessagesLost) == [MessagesLost("s", 4)]
    assert pair.told(Side.CLIENT, MessagesLost) == [MessagesLost("s", 6)]
    assert heard(pair, Side.SERVER) == [0, 5, 6, 7, 8]
    assert heard(pair, Side.CLIENT) == [0, 1, 8, 9, 10, 11]
    if framing in {Framing.SEQ14, Framing.ASP16}:
        assert pair.told(Side.SERVER, AudioMissing) == [AudioMissing("s", 5, 4)]
        assert [one.samples for one in pair.told(Side.SERVER, AudioReceived)] == [
            number * 160 for number in (0, 5, 6, 7, 8)
        ]
    assert (session.received, agent.received) == (
        agent.outgoing.following,
        session.outgoing.following,
    )


def test_messages_of_several_frames_that_were_lost() -> None:
    """Where the header has the time, media time is right again after what is missing."""
    for framing in (Framing.SEQ14, Framing.ASP16):
        pair, session, _ = opened(framing, Limits(max_kept_messages=1))
        pair.drop()
        for frames in (3, 5, 1):
            session.send_audio(FRAME * frames, 0.0)
        come_back(pair)
        received = pair.told(Side.SERVER, AudioReceived)
        assert [(one.seq, one.samples) for one in received] == [(2, 8 * 160)]


@pytest.mark.parametrize("meanwhile", [0, 1, 20])
def test_what_was_promised_is_sent(meanwhile: int) -> None:
    """What is said while a resumption is under way pushes nothing out that was promised."""
    pair, session, _ = opened(limits=Limits(max_kept_messages=4))
    pair.drop()
    for number in range(10):
        session.send_audio(said(number), 0.0)
    pair.reconnect()
    for number in range(10, 10 + meanwhile):
        session.send_audio(said(number), 0.0)
    assert len(session.outgoing.since(0)) == 4 + meanwhile
    pair.pump()
    assert pair.told(Side.SERVER, MessagesLost) == [MessagesLost("s", 6)]
    assert heard(pair, Side.SERVER) == list(range(6, 10 + meanwhile))
    assert len(session.outgoing.since(0)) <= 4


def test_a_resumption_that_is_given_up_holds_nothing() -> None:
    """A drop in the middle of a resumption, and the bound holds again."""
    pair, session, _ = opened(limits=Limits(max_kept_messages=4))
    pair.drop()
    pair.reconnect()
    pair.drop()
    for number in range(10):
        session.send_audio(said(number), 0.0)
    assert len(session.outgoing.since(0)) == 4


# --- refused messages count -------------------------------------------------------------------

REFUSED: list[str | bytes] = [
    '{"type":"greeting","session_id":"s"}',
    '{"type":"dtmf","session_id":"s","digit":"x"}',
    '{"type":"session.updated","session_id":"s"}',
    '{"type":"protocol.error","session_id":"s"}',
    '{"type":"session.ack","session_id":"s","received":1}',
    '{"type":"session.ack","session_id":"s","received":1000}',
]


@pytest.mark.parametrize("message", REFUSED)
def test_what_was_refused_was_received(message: str) -> None:
    """A message that the server refuses is counted all the same: its sender has counted it."""
    pair, session, agent = opened()
    for number in range(3):
        session.send_audio(said(number), 0.0)
    pair.pump()
    before = agent.received
    pair.tamper = lambda sender, one: [message] if sender is Side.CLIENT else [one]
    session.commit(0.0)
    pair.pump()
    unnumbered = "session.ack" in message
    assert agent.received == before + (not unnumbered)


def test_the_legacy_error_counts() -> None:
    """A server may still say ``error`` in a session: it is a message of it as any other."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    peer.say("error", session_id="s", code="STT", message="failed")
    peer.say("error", session_id="s", code=7)
    peer.say("error", code="STT")
    assert session.received == 2


def test_refused_messages_and_a_drop() -> None:
    """Refused audio and text before a drop neither lose nor double what comes after it."""
    pair, session, _ = opened()

    def damage(sender: Side, message: str | bytes) -> list[str | bytes]:
        if sender is Side.SERVER:
            return [message]
        if isinstance(message, bytes):
            return [message[:-1]] if message[12] % 2 else [message]
        return [message.replace('"digit":"1"', '"digit":"x"')]

    pair.tamper = damage
    for number in range(6):
        session.send_audio(said(number), 0.0)
        session.press("1", 0.0)
    pair.drop(to_server=7)
    pair.tamper = lambda _sender, message: [message]
    come_back(pair)
    assert heard(pair, Side.SERVER) == [0, 2, 4, 5]
    received = pair.told(Side.SERVER, MessageReceived)
    assert len(received) == 3
    assert pair.agent("s").received == session.outgoing.following
