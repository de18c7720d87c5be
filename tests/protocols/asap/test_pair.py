"""Two live ends of ASAP, joined by sockets that drop; and the pair that tests are made of."""

from __future__ import annotations

import pytest

from palaver.protocols.asap.errors import SkillNotFound
from palaver.protocols.asap.events import (
    Acknowledged,
    Close,
    DuplicateReceived,
    FrameIgnored,
    GaveUp,
    PeerStale,
    PongReceived,
    Pushed,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
)
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.messages import Envelope
from palaver.protocols.asap.states import LinkState, Side
from palaver.testing.asap_pair import AsapPair


def task(pair: AsapPair) -> Envelope:
    """Return an envelope that asks for something."""
    return pair.envelope("TaskRequest", {"conversation_id": "c", "skill_id": "s", "input": {}})


def test_a_request() -> None:
    """It is received, acknowledged, worked on, and answered."""
    pair = AsapPair()
    asked = task(pair)
    request_id = pair.client.send(asked, pair.now)
    assert not pair.socket.quiet
    pair.pump()
    assert pair.told(Side.CLIENT, Acknowledged) == [Acknowledged(asked.id, "received", None)]
    pair.respond(asked.id, text="hello")
    pair.pump()
    [event] = pair.told(Side.CLIENT, ReplyReceived)
    assert event.request_id == request_id
    assert event.envelope.payload["result"] == {"text": "hello"}
    assert pair.server.idle
    assert pair.client.idle


def test_a_failure() -> None:
    """An error crosses as it is."""
    pair = AsapPair()
    asked = task(pair)
    pair.client.send(asked, pair.now)
    pair.pump()
    pair.fail(asked.id, SkillNotFound("'sing'"))
    pair.pump()
    [event] = pair.told(Side.CLIENT, RequestFailed)
    assert event.error.data() == SkillNotFound("'sing'").data()


def test_a_push() -> None:
    """News arrives between the answers."""
    pair = AsapPair()
    news = pair.envelope("ArtifactNotify", {"artifact_id": "a", "task_id": "t"})
    pair.server.push(news, pair.now)
    pair.pump()
    assert pair.told(Side.CLIENT, Pushed) == [Pushed(news)]


@pytest.mark.parametrize("answer_before", [False, True])
@pytest.mark.parametrize("half_dead", [False, True])
@pytest.mark.parametrize(("to_server", "to_client"), [(0, 0), (1, 0), (1, 1)])
def test_a_socket_drops(
    to_server: int,
    to_client: int,
    half_dead: bool,  # noqa: FBT001 -- a case
    answer_before: bool,  # noqa: FBT001 -- a case
) -> None:
    """Whenever it drops, the request runs once and is answered once."""
    pair = AsapPair()
    asked = task(pair)
    pair.client.send(asked, pair.now)
    pair.drop(to_server, to_client, half_dead=half_dead)
    if answer_before and asked.id in pair.owed:
        pair.respond(asked.id)
    pair.connect()
    pair.pump()
    if asked.id in pair.owed:
        pair.respond(asked.id)
    pair.pump()
    assert len(pair.told(Side.SERVER, RequestReceived)) == 1
    assert len(pair.told(Side.CLIENT, ReplyReceived)) == 1
    assert len(pair.told(Side.SERVER, DuplicateReceived)) == to_server


def test_a_half_dead_socket_delivers_late() -> None:
    """What still arrives on the old socket is joined with what came on the new one."""
    pair = AsapPair()
    asked = task(pair)
    pair.client.send(asked, pair.now)
    pair.drop(half_dead=True)
    pair.connect()
    pair.pump()
    old = pair.sockets[0]
    assert old.deliver(Side.SERVER) == 1
    pair.respond(asked.id)
    old.end(Side.SERVER)
    pair.pump()
    assert len(pair.told(Side.SERVER, RequestReceived)) == 1
    assert len(pair.told(Side.CLIENT, ReplyReceived)) == 1
    assert [socket.is_open(Side.SERVER) for socket in pair.sockets] == [False, True]


def test_a_frame_is_lost() -> None:
    """What is not acknowledged is sent again; what is acknowledged and lost after that is not."""
    pair = AsapPair()
    asked = task(pair)
    pair.client.send(asked, pair.now)
    pair.tamper = lambda sender, text: [] if sender is Side.CLIENT else [text]
    pair.pump()
    pair.tamper = lambda _sender, text: [text, text]
    pair.wait(30.0)
    pair.pump()
    pair.respond(asked.id)
    pair.pump()
    assert len(pair.told(Side.SERVER, RequestReceived)) == 1
    assert len(pair.told(Side.CLIENT, ReplyReceived)) == 1
    assert pair.told(Side.CLIENT, FrameIgnored) != []


def test_a_deaf_server_is_given_up() -> None:
    """Where nothing arrives, the request is given up after 37 seconds."""
    pair = AsapPair()
    pair.tamper = lambda sender, text: [] if sender is Side.CLIENT else [text]
    request_id = pair.client.send(task(pair), pair.now)
    pair.pump()
    pair.wait(36.9)
    pair.pump()
    assert pair.told(Side.CLIENT, GaveUp) == []
    pair.wait(0.1)
    assert pair.told(Side.CLIENT, GaveUp) == [GaveUp(request_id, "unacknowledged")]


def test_heartbeat() -> None:
    """A client that is there answers each ping; one that is not is closed after 90 seconds."""
    pair = AsapPair()
    for _ in range(5):
        pair.wait(30.0)
        pair.pump()
    assert len(pair.told(Side.SERVER, PongReceived)) == 5
    pair.wait(90.0)
    assert pair.told(Side.SERVER, PeerStale) == [PeerStale(90.0)]
    pair.pump()
    assert not pair.client.attached
    assert pair.server.state is LinkState.CLOSED


def test_a_shutdown_loses_nothing() -> None:
    """What was taken is answered before the socket closes; what was not goes to the next."""
    pair = AsapPair()
    taken, late = task(pair), task(pair)
    pair.client.send(taken, pair.now)
    pair.pump()
    pair.server.shut_down(pair.now)
    pair.client.send(late, pair.now)
    pair.pump()
    assert list(pair.owed) == [taken.id]
    pair.respond(taken.id)
    pair.pump()
    assert not pair.client.attached
    pair.connect()
    pair.pump()
    pair.respond(late.id)
    pair.pump()
    assert len(pair.told(Side.CLIENT, ReplyReceived)) == 2
    assert pair.client.idle


def test_a_server_restarts() -> None:
    """What it had not answered is asked again; what it had is known to the client."""
    pair = AsapPair()
    done, lost = task(pair), task(pair)
    for asked in (done, lost):
        pair.client.send(asked, pair.now)
    pair.pump()
    pair.respond(done.id)
    pair.pump()
    pair.restart()
    assert pair.owed == {}
    pair.connect()
    pair.pump()
    assert list(pair.owed) == [lost.id]


def test_more_than_a_server_works_on() -> None:
    """A thousand requests through a narrow door: each runs once, none is refused."""
    pair = AsapPair(Limits(max_in_flight=4, max_waiting=4, max_outstanding=8, max_rate=None))
    for _ in range(1_000):
        pair.client.send(task(pair), pair.now)
    pair.pump()
    while pair.owed:
        assert len(pair.owed) <= 4
        pair.respond(next(iter(pair.owed)))
        pair.pump()
    assert len(pair.told(Side.CLIENT, ReplyReceived)) == 1_000
    assert pair.told(Side.CLIENT, RequestFailed) == []


# --- the pair itself ------------------------------------------------------------------------


def test_an_end_that_talks_after_its_close() -> None:
    """What follows a ``Close`` is a failure of the end, and the pair says so."""
    pair = AsapPair()
    pair.server._output += [Close(1001, ""), "late"]
    with pytest.raises(AssertionError, match="'late' follows a Close"):
        pair.pump()


def test_ends_that_never_come_to_rest() -> None:
    """Two ends that answer each other for ever are a failure, and the pair says so."""
    pair = AsapPair(Limits(max_rate=None))
    pair.tamper = lambda _sender, _text: ['{"type":"ping"}']
    pair.server.push(task(pair), pair.now)
    with pytest.raises(AssertionError, match="the two ends never come to rest"):
        pair.pump()


def test_an_end_that_is_always_late() -> None:
    """What is due still after it was done is a failure, and the pair says so."""
    pair = AsapPair()
    due = pair.now + 1.0
    pair.client.next_timeout = lambda: due  # type: ignore[method-assign] # a broken one
    with pytest.raises(AssertionError, match="something is due at"):
        pair.wait(2.0)


def test_a_request_that_is_worked_on_twice() -> None:
    """A server that runs a request twice at once is a failure, and the pair says so."""
    pair = AsapPair()
    asked = task(pair)
    pair.client.send(asked, pair.now)
    pair.pump()
    with pytest.raises(AssertionError, match=f"{asked.id} is worked on twice"):
        pair.take(pair.server, [RequestReceived("x", asked, None)])
