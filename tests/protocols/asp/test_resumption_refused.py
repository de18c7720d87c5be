"""Resumptions that cannot be: wrong numbers, wrong answers, wrong moments (§5, §7)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing
from palaver.protocols.asp.errors import ErrorCode, Misuse
from palaver.protocols.asp.events import (
    ErrorSent,
    MessagesLost,
    SessionClosed,
    SessionResumed,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import FRAME, RawClient, RawServer


def opened(
    framing: Framing | None = None, limits: Limits | None = None
) -> tuple[AspPair, ClientSession, ServerSession]:
    """Return a pair with a session ``s``, as both sides have it."""
    pair = AspPair(limits=limits)
    audio = AudioConfig(framing=framing)
    session = pair.open(SessionRequest(session_id="s", audio=audio))
    return pair, session, pair.agent("s")


def resume(token: object, **members: Any) -> dict[str, Any]:
    """Return the members of a resumption."""
    return {"session_id": "s", "resume_token": token, "received": 0, "sending_from": 0} | members


WRONG: list[tuple[dict[str, int], str]] = [
    ({"received": 5}, "received: 5 messages cannot have arrived; 0 were sent"),
    (
        {"sending_from": 2**53},
        f"sending_from: {2**53} messages cannot have been sent",
    ),
]


@pytest.mark.parametrize(("members", "message"), WRONG)
def test_numbers_that_cannot_be_of_a_client(members: dict[str, int], message: str) -> None:
    """They are refused with 1001, and the session stays where it was, with its token."""
    peer = RawClient()
    token = peer.start()["resume_token"]
    other = RawClient(peer.sessions)
    answer = other.say("session.resume", **resume(token, **members))[0]
    assert (answer["status"], answer["errors"][0]["code"]) == ("rejected", 1001)
    assert answer["errors"][0]["message"] == message
    assert peer.audio("s") == []
    assert other.say("session.resume", **resume(token))[0]["status"] == "accepted"


def test_numbers_of_a_client_at_their_bound() -> None:
    """Whoever says that 2^52 messages were lost is told how far that is, again and again."""
    peer = RawClient()
    answer = peer.start()
    for _ in range(3):
        peer.closed()
        peer = RawClient(peer.sessions)
        answer = peer.say("session.resume", **resume(answer["resume_token"], sending_from=2**52))[0]
        heard = [one for _ in range(110) for one in peer.audio("s")]
        assert {one["type"] for one in heard} == {"session.ack"}
        assert heard[0]["received"] > 2**52
    assert peer.told(MessagesLost) == []


def detached() -> tuple[ClientSession, RawServer]:
    """Return a session whose client has asked a raw server to go on with it."""
    first = RawServer()
    first.introduce()
    session = first.opened()
    first.closed()
    second = RawServer()
    second.introduce()
    second.end.resume(session, 0.0)
    assert second.heard() == [{"type": "session.resume", **resume("token-1")}]
    return session, second


@pytest.mark.parametrize("members", [{"received": 9}, {"received": 0, "sending_from": 2**53}])
def test_numbers_that_cannot_be_of_a_server(members: dict[str, int]) -> None:
    """The client gives the session up, and tells the server to do so, too."""
    session, peer = detached()
    said = peer.say("session.resumed", session_id="s", status="accepted", **members)
    assert said == [{"type": "session.end", "session_id": "s", "reason": "resume_refused"}]
    assert [one.error.code for one in peer.told(ErrorSent)] == [1001]
    assert peer.told(SessionClosed) == [SessionClosed("s", "resume_refused")]
    assert session.state is SessionState.CLOSED
    assert peer.end.sessions == {}


@pytest.mark.parametrize("members", [{"status": "rejected"}, {"status": "accepted"}])
def test_a_server_that_does_not_go_on(members: dict[str, str]) -> None:
    """A refusal, or an answer without numbers, is the end of the session."""
    session, peer = detached()
    assert peer.say("session.resumed", session_id="s", **members) == []
    assert peer.told(SessionClosed) == [SessionClosed("s", "resume_refused")]
    assert session.state is SessionState.CLOSED


def test_an_answer_that_says_no_more_than_it_must() -> None:
    """Without ``sending_from`` nothing is lost; without a token the one before is tried again."""
    session, peer = detached()
    peer.say("session.resumed", session_id="s", status="accepted", received=0)
    assert peer.told(SessionResumed) == [SessionResumed("s", 1)]  # its confirmation
    assert peer.told(MessagesLost) == []
    assert (session.received, session.token) == (0, "token-1")


def test_a_resumption_that_nobody_asked_for() -> None:
    """It is 4004: nothing is sent again, and the token stays."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    session.send_audio(FRAME, 0.0)
    peer.heard()
    said = peer.say("session.resumed", session_id="s", status="accepted", received=0)
    assert [one["error"]["code"] for one in said] == [ErrorCode.SESSION_UPDATE_NOT_ALLOWED]
    assert session.token == "token-1"


# --- misuse -----------------------------------------------------------------------------------


def test_what_cannot_be_resumed() -> None:
    """A session on a live socket, one without a token, and one that is over."""
    pair, session, _ = opened()
    with pytest.raises(Misuse, match="is on a socket already"):
        pair.client.resume(session, 0.0)
    fresh = RawServer().session()
    with pytest.raises(Misuse, match="cannot be resumed"):
        pair.client.resume(fresh, 0.0)
    pair.drop()
    pair.connect()
    with pytest.raises(Misuse, match="cannot be resumed"):  # the capabilities have not come
        pair.client.resume(session, 0.0)
    pair.socket.deliver(Side.CLIENT, 1)
    pair.client.resume(session, 0.0)
    with pytest.raises(Misuse, match="is on a socket already"):
        pair.client.resume(session, 0.0)
    pair.pump()
    session.end(0.0)
    pair.pump()
    with pytest.raises(Misuse, match="closed"):
        pair.client.resume(session, 0.0)
