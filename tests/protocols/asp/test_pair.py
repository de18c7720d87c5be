"""The joined pair that tests are made of: it fails where the ends fail."""

from __future__ import annotations

import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.events import Close, SessionClosed, SessionOpened
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.states import LinkState
from palaver.testing.asp_pair import AspPair


def test_a_call() -> None:
    """Two live ends open a session, hear each other, and end it."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    session.send_audio(bytes(320), pair.now)
    assert not pair.socket.quiet
    pair.pump()
    assert pair.socket.quiet
    assert pair.agent("s").inbound.frames == 1
    session.end(pair.now)
    pair.pump()
    for side in Side:
        assert len(pair.told(side, SessionOpened)) == len(pair.told(side, SessionClosed)) == 1
    with pytest.raises(LookupError, match="the server has no session 's'"):
        pair.agent("s")


def test_messages_arrive_one_by_one() -> None:
    """So many as a test wants arrive, in order, and the others stay on their way."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    for _ in range(5):
        session.send_audio(bytes(320), pair.now)
    assert pair.socket.deliver(Side.SERVER, 2) == 2
    assert len(pair.socket.in_flight[Side.SERVER]) == 3
    assert pair.agent("s").inbound.frames == 2
    assert pair.socket.deliver(Side.SERVER) == 3
    assert pair.socket.deliver(Side.SERVER) == 0


def test_only_what_can_be_resumed_is_resumed() -> None:
    """After a drop the client goes on with the sessions that it has a token for."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    pair.open(SessionRequest(session_id="old", features=frozenset()))
    pair.drop()
    pair.reconnect()
    pair.pump()
    assert [one.id for one in pair.registry] == ["s"]
    assert list(pair.client.sessions) == ["s"]


def test_a_close_ends_the_socket_for_both() -> None:
    """When a ``Close`` arrives, both ends notice that the socket is gone."""
    pair = AspPair()
    pair.pump()
    pair.server.put(Close(1001, "shutdown"))
    pair.pump()
    assert pair.client.state is pair.server.state is LinkState.CLOSED
    pair.socket.end(Side.CLIENT)
    assert pair.socket.quiet


def test_an_end_that_talks_after_its_close() -> None:
    """What follows a ``Close`` is a failure of the end, and the pair says so."""
    pair = AspPair()
    pair.pump()
    pair.server._output += [Close(1001, "shutdown"), "late"]
    with pytest.raises(AssertionError, match="'late' follows a Close"):
        pair.pump()


def test_ends_that_never_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ends that answer each other for ever are a failure, and the pair says so."""
    monkeypatch.setattr("palaver.testing.pair._MAX_DELIVERIES", 1_000)
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    pair.tamper = lambda _sender, _message: ["{"]  # whatever is said, it is never understood
    pair.client.put("hello")
    with pytest.raises(AssertionError, match="the two ends never come to rest"):
        pair.pump()


def test_an_end_that_is_always_late() -> None:
    """What is due still after it was done is a failure, and the pair says so."""
    pair = AspPair()
    pair.registry.next_timeout = lambda: 1.0  # type: ignore[method-assign] # a broken one
    with pytest.raises(AssertionError, match=r"at 1\.0 something is due at 1\.0 still"):
        pair.wait(2.0)


def test_messages_can_be_damaged_on_their_way() -> None:
    """A test takes away, changes or adds what arrives; the sender does not notice."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    pair.tamper = lambda sender, message: [] if sender is Side.CLIENT else [message]
    session.commit(pair.now)
    pair.pump()
    assert pair.agent("s").received == session.outgoing.following - 1
