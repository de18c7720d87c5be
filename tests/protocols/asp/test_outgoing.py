"""What is kept for a resumption: numbers, bounds, acknowledgements."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.outgoing import ACK_INTERVAL, Outgoing
from tests.protocols.asp.ends import FRAME, RawClient, RawServer


def filled(count: int, *, most: int = 10, most_bytes: int = 1000) -> Outgoing:
    """Return what is kept of so many messages of one character."""
    outgoing = Outgoing(most, most_bytes)
    for number in range(count):
        outgoing.append(str(number % 10))
    return outgoing


def test_the_first_message_is_number_0() -> None:
    """Nothing was sent: nothing is kept, and the next message is number 0."""
    outgoing = Outgoing(10, 1000)
    assert (outgoing.first, outgoing.following) == (0, 0)
    assert outgoing.since(0) == []
    outgoing.append("a")
    outgoing.append(b"b")
    assert (outgoing.first, outgoing.following) == (0, 2)
    assert outgoing.since(0) == ["a", b"b"]
    assert outgoing.since(1) == [b"b"]
    assert outgoing.since(2) == []


def test_the_oldest_message_goes_first() -> None:
    """Where there is no room for one more, the oldest is let go, by number and by size."""
    outgoing = filled(13)
    assert (outgoing.first, outgoing.following) == (3, 13)
    assert outgoing.since(0) == list("3456789012")
    outgoing = filled(13, most_bytes=5)
    assert (outgoing.first, outgoing.following) == (8, 13)


def test_a_message_without_any_room() -> None:
    """A message that is larger than all the room has its number, and is not kept."""
    outgoing = filled(3, most_bytes=5)
    outgoing.append("too long")
    assert (outgoing.first, outgoing.following) == (4, 4)
    outgoing.append("a")
    assert outgoing.since(0) == ["a"]


def test_what_the_peer_has_is_let_go() -> None:
    """An acknowledgement frees what it covers; an old one frees nothing; one of more is none."""
    outgoing = filled(5)
    assert outgoing.acknowledge(2)
    assert (outgoing.first, outgoing.since(0)) == (2, ["2", "3", "4"])
    assert outgoing.acknowledge(1)
    assert outgoing.acknowledge(0)
    assert outgoing.first == 2
    assert not outgoing.acknowledge(6)
    assert outgoing.first == 2
    assert outgoing.acknowledge(5)
    assert (outgoing.first, outgoing.since(0)) == (5, [])


def test_what_was_promised_is_held() -> None:
    """While a resumption is under way nothing is let go for want of room, afterwards it is."""
    outgoing = filled(10)
    assert outgoing.hold() == 0
    for _ in range(5):
        outgoing.append("x")
    assert (outgoing.first, outgoing.following) == (0, 15)
    outgoing.acknowledge(2)
    outgoing.release()
    assert (outgoing.first, outgoing.following) == (5, 15)
    outgoing.append("x")
    assert (outgoing.first, outgoing.following) == (6, 16)
    assert outgoing.hold() == 6


def test_half_full_is_crowded() -> None:
    """Whoever can wait is told to when half of the room is used, by number or by size."""
    assert not filled(4).crowded
    assert filled(5).crowded
    assert not filled(4, most_bytes=10).crowded
    assert filled(5, most_bytes=10).crowded
    outgoing = filled(5)
    outgoing.acknowledge(1)
    assert not outgoing.crowded


@given(
    st.integers(1, 6),
    st.integers(1, 30),
    st.lists(st.one_of(st.binary(max_size=12), st.integers(0, 20)), max_size=40),
)
def test_a_bounded_tail(most: int, most_bytes: int, steps: list[bytes | int]) -> None:
    """Whatever is sent and acknowledged, what is kept is a tail of it, within both bounds."""
    outgoing, sent = Outgoing(most, most_bytes), list[bytes]()
    for step in steps:
        if isinstance(step, bytes):
            outgoing.append(step)
            sent.append(step)
        else:
            assert outgoing.acknowledge(step) is (step <= len(sent))
        kept = outgoing.since(0)
        assert outgoing.following == len(sent)
        assert kept == sent[outgoing.first :]
        assert len(kept) <= most
        assert sum(map(len, kept)) <= most_bytes
        for number in range(len(sent) + 2):
            assert outgoing.since(number) == sent[max(number, outgoing.first) :]


def test_every_100_messages_are_acknowledged() -> None:
    """Each side says how far it has got after 100 messages of the other; that is not counted."""
    server, client = RawClient(), RawServer()
    server.start()
    client.introduce()
    session = client.opened()
    heard = [server.audio("s") for _ in range(220)]
    assert [number for number, said in enumerate(heard, 1) if said] == [100, 200]
    assert heard[99] == [{"type": "session.ack", "session_id": "s", "received": 100}]
    assert heard[199] == [{"type": "session.ack", "session_id": "s", "received": 200}]
    said = [client.say("response.end", session_id="s") for _ in range(110)]
    assert [number for number, one in enumerate(said, 1) if one] == [ACK_INTERVAL]
    assert said[99] == [{"type": "session.ack", "session_id": "s", "received": 100}]
    for _ in range(3):
        client.say("session.ack", session_id="s", received=1)
    assert session.received == 110


def test_an_acknowledgement_frees_what_it_covers() -> None:
    """On both sides, what was acknowledged is no longer kept."""
    server, client = RawClient(), RawServer()
    server.start()
    client.introduce()
    session = client.opened()
    agent = server.sessions.get("s")
    assert agent is not None
    agent.start_response(0.0)
    for one in (agent, session):
        for _ in range(3):
            one.send_audio(FRAME, 0.0)
    assert (agent.outgoing.following, session.outgoing.following) == (4, 4)  # with one of text
    server.say("session.ack", session_id="s", received=3)
    client.say("session.ack", session_id="s", received=2)
    assert (agent.outgoing.first, session.outgoing.first) == (3, 2)


def test_an_acknowledgement_of_what_was_never_sent() -> None:
    """More than was sent cannot have arrived: 1001, and nothing is let go."""
    server, client = RawClient(), RawServer()
    server.start()
    client.introduce()
    client.opened()
    for peer in (server, client):
        error = peer.say("session.ack", session_id="s", received=99)[0]["error"]
        assert (error["code"], error["details"]) == (1001, {"pointer": "/received"})
        assert error["message"].startswith("received: 99 messages cannot have arrived; ")


def test_a_session_that_cannot_be_resumed_keeps_nothing() -> None:
    """Without the feature no message is kept or counted, and there is no acknowledgement."""
    peer = RawClient()
    peer.start(features=["config_digest"])
    session = peer.sessions.get("s")
    assert session is not None
    session.start_response(0.0)
    assert [peer.audio("s") for _ in range(120)][99] == []
    assert (session.outgoing.following, session.received) == (0, 0)


def test_a_rare_character_widens_a_text() -> None:
    """What is kept is bounded by what it takes in memory: four bytes for each character then."""
    outgoing = Outgoing(100, 1_000)
    for _ in range(10):
        outgoing.append("x" * 99 + "\N{GRINNING FACE}")
    assert (outgoing.first, outgoing.following) == (8, 10)
