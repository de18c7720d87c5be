"""Deadlines of both ends; no clock but ``now`` (§9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.events import (
    Close,
    ErrorSent,
    HandshakeFailed,
    LegacySuspected,
    RequestTimedOut,
    SessionClosed,
    SessionDetached,
    SessionOpened,
    SessionRejected,
    SessionResumed,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import RawClient, RawServer, registry

# --- the server's -----------------------------------------------------------------------------


def test_a_client_that_starts_nothing() -> None:
    """After 30 s the client is told 1002, and only then is the socket closed with 4002."""
    peer = RawClient()
    peer.wait(5.0)
    assert peer.end.next_timeout() == 30.0
    assert peer.wait(24.9) == []
    heard = peer.wait(0.1)
    assert heard[0]["type"] == "protocol.error"
    assert heard[0]["error"]["code"] == 1002
    assert heard[0]["error"]["message"] == "no session was started within 30 s"
    assert heard[1:] == [Close(4002, "handshake_timeout")]
    error = peer.told(ErrorSent)[0].error
    assert peer.events == [LegacySuspected(), ErrorSent(None, error), HandshakeFailed(error)]
    assert peer.end.next_timeout() is None
    assert peer.say("session.start", session_id="s") == []


@pytest.mark.parametrize("seconds", [0.5, 3.0, 60.0])
def test_the_handshake_has_the_time_that_was_set(seconds: float) -> None:
    """The time limit is the one of the settings, also where it is shorter than the hint."""
    peer = RawClient(registry(limits=Limits(handshake_timeout=seconds)), now=7.0)
    peer.wait(seconds - 0.25)
    assert peer.end.closing is None
    heard = peer.wait(0.25)
    assert heard[0]["error"]["message"] == f"no session was started within {seconds:g} s"
    assert heard[1] == Close(4002, "handshake_timeout")


def test_a_client_that_may_be_a_legacy_one() -> None:
    """Silence for 5 s is told once, and changes nothing."""
    peer = RawClient()
    assert peer.end.next_timeout() == 5.0
    assert peer.wait(4.9) == []
    assert peer.events == []
    assert peer.wait(0.1) == []
    assert peer.wait(10.0) == []
    assert peer.events == [LegacySuspected()]
    assert peer.start()["status"] == "accepted"


def test_a_client_that_says_something_is_not_suspected() -> None:
    """Any message shows who is there, even a wrong one."""
    peer = RawClient()
    peer.say("greeting")
    assert peer.end.next_timeout() == 30.0
    peer.wait(10.0)
    assert peer.told(LegacySuspected) == []


def test_a_late_look_at_the_clock_is_enough() -> None:
    """Where nobody looked for 30 s, the socket is closed at once, without the hint."""
    peer = RawClient()
    heard = peer.wait(31.0)
    assert heard[-1] == Close(4002, "handshake_timeout")
    assert peer.told(LegacySuspected) == []


STARTS: list[Callable[[RawClient], Any]] = [
    RawClient.start,
    RawClient.start_old,
    RawClient.start_legacy,
]


@pytest.mark.parametrize("start", STARTS)
def test_a_session_ends_the_handshake(start: Callable[[RawClient], Any]) -> None:
    """Once a session was accepted, of whichever kind, the socket has all the time there is."""
    peer = RawClient()
    peer.wait(29.0)
    start(peer)
    assert peer.told(SessionOpened)[0].handshake_seconds == 29.0
    assert peer.end.next_timeout() is None
    peer.say("session.end", session_id="s")
    assert peer.end.next_timeout() is None
    assert peer.wait(1000.0) == []
    start(peer)
    assert peer.told(SessionOpened)[1].handshake_seconds is None


def test_a_resumption_ends_the_handshake() -> None:
    """A socket on which a session goes on needs no start."""
    peer = RawClient()
    token = peer.start()["resume_token"]
    other = RawClient(peer.sessions)
    other.say("session.resume", session_id="s", resume_token=token, received=0, sending_from=0)
    assert other.end.next_timeout() is None


def test_a_rejected_start_does_not_end_the_handshake() -> None:
    """What was rejected is no session: the time goes on."""
    peer = RawClient()
    peer.start(audio={"sample_rate": 44100})
    assert peer.end.next_timeout() == 30.0


def test_a_session_without_its_client() -> None:
    """A session whose client says nothing for 5 minutes ends, and the client is told why."""
    peer = RawClient()
    peer.start()
    peer.now = 10.0
    peer.say("session.ack", session_id="s", received=0)
    peer.now = 20.0
    peer.audio("s")
    peer.now = 25.0
    peer.text("{")  # of no session
    sessions = peer.sessions
    assert sessions.next_timeout() == 320.0
    assert sessions.handle_timeout(319.9) == []
    closed = sessions.handle_timeout(320.0)
    assert [event.reason for event in closed if isinstance(event, SessionClosed)] == ["idle"]
    heard = peer.heard()
    assert [one["type"] for one in heard] == ["protocol.error", "session.ended"]
    assert heard[0]["error"]["code"] == 4002
    assert heard[0]["error"]["message"] == "session 's' was idle for 300 s"
    assert heard[1]["reason"] == "idle"
    assert heard[1]["duration_seconds"] == 320.0
    assert sessions.next_timeout() is None


def test_the_longest_session() -> None:
    """However busy, a session ends after its longest time."""
    peer = RawClient(registry(limits=Limits(max_session_seconds=400.0)))
    peer.start()
    for _ in range(3):
        peer.now += 130.0
        peer.audio("s")
    assert peer.sessions.next_timeout() == 400.0
    assert peer.sessions.handle_timeout(399.0) == []
    closed = peer.sessions.handle_timeout(400.0)
    assert [event.reason for event in closed if isinstance(event, SessionClosed)] == [
        "max_duration"
    ]
    heard = peer.heard()
    assert heard[0]["error"]["message"] == "session 's' reached its longest time, 400 s"
    assert heard[1]["reason"] == "max_duration"


def test_a_session_that_nobody_comes_back_for() -> None:
    """A session whose socket was lost waits for 30 s, and ends then."""
    peer = RawClient()
    peer.start()
    peer.now = 100.0
    peer.closed()
    assert peer.told(SessionDetached) == [SessionDetached("s")]
    assert peer.sessions.next_timeout() == 130.0
    assert peer.sessions.handle_timeout(129.0) == []
    closed = peer.sessions.handle_timeout(130.0)
    assert [event.reason for event in closed if isinstance(event, SessionClosed)] == ["not_resumed"]
    assert len(peer.sessions) == 0


def test_a_session_does_not_outlive_its_time_while_it_waits() -> None:
    """Waiting for the client does not prolong the longest time."""
    peer = RawClient(registry(limits=Limits(max_session_seconds=110.0)))
    peer.start()
    peer.now = 100.0
    peer.closed()
    closed = peer.sessions.handle_timeout(110.0)
    assert [event.reason for event in closed if isinstance(event, SessionClosed)] == [
        "max_duration"
    ]


def test_a_session_that_was_resumed_is_not_idle() -> None:
    """A resumption is a sign of life, and ends the waiting."""
    peer = RawClient()
    token = peer.start()["resume_token"]
    peer.now = 290.0
    peer.closed()
    other = RawClient(peer.sessions, now=310.0)
    other.say("session.resume", session_id="s", resume_token=token, received=0, sending_from=0)
    assert peer.sessions.next_timeout() == 610.0


def test_each_session_has_its_own_time() -> None:
    """The next deadline is the earliest one, and only those that are due end."""
    peer = RawClient()
    for number in range(3):
        peer.now = number * 10.0
        peer.start(f"s{number}")
    assert peer.sessions.next_timeout() == 300.0
    ended = peer.sessions.handle_timeout(311.0)
    assert [event.session_id for event in ended if isinstance(event, SessionClosed)] == ["s0", "s1"]
    assert peer.sessions.next_timeout() == 320.0


# --- the client's -----------------------------------------------------------------------------


def ready() -> RawServer:
    """Return a server whose capabilities are there."""
    peer = RawServer()
    peer.introduce()
    peer.heard()
    return peer


def test_capabilities_have_five_seconds() -> None:
    """The wait for capabilities ends with them; afterwards nothing is due."""
    peer = RawServer(limits=Limits(capabilities_timeout=2.0))
    assert peer.end.next_timeout() == 2.0
    peer.wait(1.0)
    peer.introduce()
    assert peer.end.next_timeout() is None
    assert peer.wait(100.0) == []


def test_a_server_of_asp_without_capabilities() -> None:
    """Where ``asp.v1`` was selected, their absence ends the socket with 4002."""
    peer = RawServer(subprotocol=True)
    assert peer.wait(5.0) == [Close(4002, "handshake_timeout")]
    error = peer.told(HandshakeFailed)[0].error
    assert error.code == 1002
    assert error.message == "the server selected asp.v1, but sent no capabilities for 5 s"
    assert peer.end.next_timeout() is None


def test_a_start_without_an_answer() -> None:
    """After 10 s the start is given up, and the server told to end what it may have begun."""
    peer = ready()
    session = peer.asked()
    assert peer.end.next_timeout() == 10.0
    assert peer.wait(9.9) == []
    assert peer.wait(0.1) == [{"type": "session.end", "session_id": "s", "reason": "start_timeout"}]
    assert peer.told(RequestTimedOut) == [RequestTimedOut("s", "session.start")]
    assert session.state is SessionState.ENDING
    assert peer.end.next_timeout() == 15.0
    peer.wait(5.0)
    assert peer.told(SessionClosed) == [SessionClosed("s", "session.end_timeout")]
    assert (peer.end.sessions, peer.end.next_timeout()) == ({}, None)


def test_a_start_that_is_answered_too_late() -> None:
    """A late ``session.started`` opens nothing, and leaves no session at the server."""
    pair = AspPair()
    pair.pump()
    session = pair.request(SessionRequest(session_id="s"))
    pair.wait(10.0)  # the request is still on its way
    pair.pump()
    assert len(pair.registry) == 0
    assert pair.told(Side.CLIENT, SessionOpened) == []
    assert pair.told(Side.CLIENT, RequestTimedOut) == [RequestTimedOut("s", "session.start")]
    closed = pair.told(Side.SERVER, SessionClosed)[0]
    assert closed.reason == "start_timeout"
    assert session.state is SessionState.CLOSED
    assert pair.client.sessions == {}


def test_a_late_rejection() -> None:
    """A late rejection ends the wait for the end: there is nothing to end."""
    peer = ready()
    session = peer.asked()
    peer.wait(10.0)
    error = {"code": 4003, "category": "session", "message": "full", "recoverable": False}
    peer.say("session.started", session_id="s", status="rejected", errors=[error])
    assert peer.told(SessionRejected)[0].errors[0].code == 4003
    assert session.state is SessionState.CLOSED
    assert (peer.end.sessions, peer.end.next_timeout()) == ({}, None)


def test_a_legacy_start_without_an_answer() -> None:
    """A legacy server answers no end: the session is over at once."""
    peer = RawServer(assume_legacy=True)
    peer.wait(0.0)
    peer.asked()
    assert peer.wait(10.0) == [
        {"type": "session.end", "session_id": "s", "reason": "start_timeout"}
    ]
    assert peer.told(SessionClosed) == [SessionClosed("s", "ended")]
    assert (peer.end.sessions, peer.end.next_timeout()) == ({}, None)


def test_an_update_without_an_answer() -> None:
    """After 5 s it is told; a late answer still decides, from the frame on at which it was."""
    peer = ready()
    session = peer.opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    assert peer.end.next_timeout() == 5.0
    peer.wait(5.0)
    assert peer.told(RequestTimedOut) == [RequestTimedOut("s", "session.update")]
    assert peer.end.next_timeout() is None
    assert session.undecided_from == 0
    peer.say(
        "session.updated",
        session_id="s",
        status="accepted",
        negotiated={"audio": {}, "vad": {"threshold": 0.7}, "adjustments": []},
    )
    assert session.undecided_from is None
    assert session.config.vad.threshold == 0.7


def test_an_end_without_an_answer() -> None:
    """After 5 s the session is over, whatever the server says."""
    peer = ready()
    session = peer.opened()
    session.end(0.0)
    assert peer.end.next_timeout() == 5.0
    peer.wait(5.0)
    assert peer.told(RequestTimedOut) == [RequestTimedOut("s", "session.end")]
    assert peer.told(SessionClosed) == [SessionClosed("s", "session.end_timeout")]
    mark = len(peer.events)
    assert peer.say("session.ended", session_id="s") == []
    assert peer.since(mark) == []


def test_the_answer_to_an_update_does_not_stop_the_wait_for_the_end() -> None:
    """An update that is answered while the session ends leaves the end its deadline."""
    peer = ready()
    session = peer.opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    session.end(1.0)
    peer.now = 2.0
    peer.say("session.updated", session_id="s", status="rejected", errors=[])
    assert peer.end.next_timeout() == 6.0
    peer.wait(4.0)
    assert peer.told(SessionClosed) == [SessionClosed("s", "session.end_timeout")]


def test_a_resumption_without_an_answer() -> None:
    """After 10 s the session is given up, and the server told to end what it may have resumed."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    pair.drop()
    pair.reconnect()
    pair.wait(10.0)
    assert pair.told(Side.CLIENT, RequestTimedOut) == [RequestTimedOut("s", "session.resume")]
    assert pair.told(Side.CLIENT, SessionClosed) == [SessionClosed("s", "session.resume_timeout")]
    assert session.state is SessionState.CLOSED
    pair.pump()
    assert len(pair.registry) == 0
    assert pair.told(Side.SERVER, SessionClosed)[0].reason == "session.resume_timeout"


def open_requests() -> list[tuple[str, Callable[[ClientSession, float], None], float]]:
    """Return requests that have no answer when the socket is lost, with their time limits."""
    return [
        ("update", lambda session, now: session.update(VADConfig(threshold=0.7), now), 5.0),
        ("end", lambda session, now: session.end(now), 5.0),
        ("nothing", lambda session, now: None, 0.0),
    ]


@pytest.mark.parametrize(("_name", "ask", "seconds"), open_requests())
def test_open_requests_get_their_time_again(
    _name: str, ask: Callable[[ClientSession, float], None], seconds: float
) -> None:
    """What was asked before a drop has its whole time after the resumption."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    ask(session, pair.now)
    pair.drop()
    pair.wait(20.0)
    assert pair.told(Side.CLIENT, RequestTimedOut) == []
    pair.reconnect()
    pair.wait(1.0)
    pair.socket.deliver(Side.SERVER, 1)
    pair.socket.deliver(Side.CLIENT, 1)
    assert len(pair.told(Side.CLIENT, SessionResumed)) == 1
    assert pair.client.next_timeout() == (21.0 + seconds if seconds else None)


@pytest.mark.parametrize(("_name", "ask", "_seconds"), open_requests())
def test_what_is_asked_while_resuming_does_not_stop_the_wait(
    _name: str, ask: Callable[[ClientSession, float], None], _seconds: float
) -> None:
    """A resumption without an answer is given up in time, whatever was asked for meanwhile."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    pair.drop()
    pair.reconnect()
    ask(session, pair.now)
    assert pair.client.next_timeout() == 10.0
    pair.wait(10.0)
    assert pair.told(Side.CLIENT, RequestTimedOut) == [RequestTimedOut("s", "session.resume")]
    assert session.state is SessionState.CLOSED
    assert pair.client.sessions == {}


def test_a_client_knows_how_long_its_session_waits() -> None:
    """From the loss of the socket on, for as long as the server said; a second loss adds none."""
    pair = AspPair(limits=Limits(resume_window=12.0))
    session = pair.open(SessionRequest(session_id="s"))
    assert session.resume_until is None
    pair.wait(1.0)
    pair.drop()
    assert session.resume_until == 13.0
    pair.wait(5.0)
    pair.reconnect()
    pair.drop()
    assert session.resume_until == 13.0
    pair.reconnect()
    pair.pump()
    assert session.resume_until is None


def test_time_without_messages() -> None:
    """A pair that nobody touches comes to rest, and nothing is due any more."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="a"))
    pair.open(SessionRequest(session_id="b", features=frozenset({Feature.CONFIG_DIGEST})))
    pair.wait(100_000.0)
    pair.pump()
    assert len(pair.registry) == 0
    assert pair.client.sessions == {}
    assert list(filter(None, pair.deadlines())) == []
    assert [one.reason for one in pair.told(Side.CLIENT, SessionClosed)] == ["idle", "idle"]
