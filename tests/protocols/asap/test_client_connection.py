"""The client's end of ASAP on WebSockets (spec §7)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.errors import AsapError
from palaver.protocols.asap.events import (
    Acknowledged,
    Close,
    ErrorReceived,
    FrameIgnored,
    GaveUp,
    Pushed,
    ReplyReceived,
    RequestFailed,
)
from palaver.protocols.asap.in_flight import shutting_down
from palaver.protocols.asap.messages import moment
from palaver.protocols.asap.states import LinkState
from tests.protocols.asap.ends import NOW, RawServer, envelope, reply_to


def failure(wire_id: str | None, error: AsapError) -> dict[str, Any]:
    """Return the frame of an error."""
    said = error.object()
    body = {"code": said.code, "message": said.message, "data": said.data}
    return {"jsonrpc": "2.0", "id": wire_id, "error": body}


def sent(raw: RawServer) -> list[tuple[str, str]]:
    """Return the JSON-RPC id and the envelope's id of what the client sent."""
    frames = [frame for frame in raw.heard() if "method" in frame]
    return [(frame["id"], frame["params"]["envelope"]["id"]) for frame in frames]


# --- requests and answers -------------------------------------------------------------------


def test_a_request_and_its_reply() -> None:
    """A reply is told under the id that ``send`` returned."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW, idempotency_key="k")
    [frame] = raw.heard()
    assert frame["id"] == request_id
    assert frame["params"]["idempotency_key"] == "k"
    assert frame["params"]["envelope"]["requires_ack"] is True
    assert raw.client.pending == 1
    reply = reply_to(envelope("e1"))
    assert raw.reply(request_id, reply) == [ReplyReceived(request_id, reply)]
    assert raw.client.idle
    assert raw.client.next_timeout() is None


@pytest.mark.parametrize(
    ("kind", "wanted", "expected"),
    [
        ("TaskRequest", None, True),
        ("task.request", None, True),
        ("task_cancel", None, True),
        ("StateRestore", None, True),
        ("message.send", None, True),
        ("StateQuery", None, False),
        ("TaskUpdate", None, False),
        ("com.example.own", None, False),
        ("TaskRequest", False, False),
        ("StateQuery", True, True),
    ],
)
def test_who_wants_an_acknowledgement(kind: str, wanted: bool | None, expected: bool) -> None:  # noqa: FBT001 -- a case
    """Those types want one that change something; a caller may say otherwise."""
    raw = RawServer()
    raw.client.send(envelope("e1", kind), NOW, requires_ack=wanted)
    [frame] = raw.heard()
    assert ("requires_ack" in frame["params"]["envelope"]) is expected


def test_an_error() -> None:
    """An error is told as the peer said it."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    error = {"code": -32601, "message": "Method not found", "data": {"payload_type": "x"}}
    [event] = raw.say({"jsonrpc": "2.0", "id": request_id, "error": error})
    assert isinstance(event, RequestFailed)
    assert (event.request_id, event.error.code) == (request_id, -32601)
    assert event.error.data() == {"payload_type": "x"}
    assert raw.client.idle


def test_a_second_answer() -> None:
    """Whatever answers a request after its answer is ignored: it is no push."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.reply(request_id, reply_to(envelope("e1")))
    again = f"a second answer to the request {request_id!r}"
    assert raw.reply(request_id, reply_to(envelope("e1"))) == [FrameIgnored(again)]
    assert raw.say(failure(request_id, shutting_down())) == [FrameIgnored(again)]
    [event] = raw.reply(None, reply_to(envelope("e1")))
    assert isinstance(event, FrameIgnored)


def test_settled_requests_are_forgotten() -> None:
    """The memory of what was answered is bounded."""
    raw = RawServer(max_settled=2)
    for name in ("e1", "e2"):
        raw.reply(raw.client.send(envelope(name), NOW), reply_to(envelope(name)))
    assert isinstance(raw.reply(None, reply_to(envelope("e1")))[0], Pushed)
    assert isinstance(raw.reply(None, reply_to(envelope("e2")))[0], FrameIgnored)


@pytest.mark.parametrize("wire_id", ["unknown", None, 7])
def test_a_reply_under_another_id(wire_id: str | int | None) -> None:
    """A response says which envelope it answers; that counts where the id is not known."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    reply = reply_to(envelope("e1"))
    assert raw.reply(wire_id, reply) == [ReplyReceived(request_id, reply)]


def test_news_of_a_request_is_no_answer() -> None:
    """What correlates and is no response is a push; the request still waits."""
    raw = RawServer()
    raw.client.send(envelope("e1"), NOW)
    news = reply_to(
        envelope("e1"),
        payload_type="TaskUpdate",
        payload={"task_id": "t", "update_type": "progress", "status": "working"},
    )
    assert raw.reply(None, news) == [Pushed(news)]
    assert raw.client.pending == 1


def test_a_request_that_is_forgotten() -> None:
    """Who waits no longer hears no more of it; and may say so twice."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.client.forget(request_id, NOW)
    raw.client.forget(request_id, NOW)
    assert raw.client.idle
    assert isinstance(raw.reply(request_id, reply_to(envelope("e1")))[0], FrameIgnored)


# --- pushes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["id null", "no id", "unknown id", "request", "notification"])
def test_all_shapes_of_a_push(shape: str) -> None:
    """A push is a reply that nobody waits for, or a request of the server."""
    raw = RawServer()
    news = reply_to(envelope("e0"), payload_type="ArtifactNotify", correlation_id=None)
    body = {"envelope": news.wire()}
    frame = {
        "id null": {"jsonrpc": "2.0", "id": None, "result": body},
        "no id": {"jsonrpc": "2.0", "result": body},
        "unknown id": {"jsonrpc": "2.0", "id": "s-1", "result": body},
        "request": {"jsonrpc": "2.0", "id": "s-1", "method": "asap.send", "params": body},
        "notification": {"jsonrpc": "2.0", "method": "asap.send", "params": body},
    }[shape]
    assert raw.say(frame) == [Pushed(news)]
    assert raw.heard() == []


def test_a_push_that_wants_an_acknowledgement() -> None:
    """It is acknowledged as often as it comes, and told once."""
    raw = RawServer()
    news = reply_to(envelope("e0"), payload_type="ArtifactNotify", requires_ack=True)
    assert raw.reply(None, news) == [Pushed(news)]
    assert raw.reply(None, news) == [FrameIgnored("a second copy of the envelope 'reply'")]
    raw.client.processed(news, NOW)
    said = [frame["params"]["envelope"]["payload"]["status"] for frame in raw.heard()]
    assert said == ["received", "received", "processed"]


# --- acknowledgements and time --------------------------------------------------------------


def test_sent_again_until_given_up() -> None:
    """After 30 s, then after 1 and 2, the same envelope goes out anew; 4 s later it is given up."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    copies = sent(raw)
    for seconds in (30.0, 1.0, 2.0):
        assert raw.client.next_timeout() == raw.now + seconds
        assert raw.wait(seconds - 0.1) == []
        assert raw.heard() == []
        assert raw.wait(0.1) == []
        copies += sent(raw)
    assert [one[1] for one in copies] == ["e1"] * 4
    assert len({one[0] for one in copies}) == 4
    assert raw.wait(4.0) == [GaveUp(request_id, "unacknowledged")]
    assert raw.heard() == []
    assert raw.client.idle
    for wire_id, _ in copies:
        assert isinstance(raw.reply(wire_id, reply_to(envelope("e1")))[0], FrameIgnored)


@pytest.mark.parametrize("answered", [0, 1])
def test_each_copy_may_be_answered(answered: int) -> None:
    """The answer counts under whichever of its ids it comes."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.wait(30.0)
    wire_id, _ = sent(raw)[answered]
    reply = reply_to(envelope("e1"))
    assert raw.reply(wire_id, reply) == [ReplyReceived(request_id, reply)]


@pytest.mark.parametrize("status", ["received", "processed"])
def test_an_acknowledgement_stops_it(status: str) -> None:
    """What the server has is not sent again; the answer is waited for."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.heard()
    assert raw.ack(envelope("e1"), status) == [Acknowledged("e1", status, None)]
    assert raw.wait(59.9) == []
    assert raw.heard() == []
    assert raw.wait(0.1) == [GaveUp(request_id, "unanswered")]


def test_an_acknowledgement_of_nothing() -> None:
    """It is told, and changes nothing."""
    raw = RawServer()
    assert raw.ack(envelope("e9"), "rejected", "no") == [Acknowledged("e9", "rejected", "no")]
    assert raw.client.idle


@pytest.mark.parametrize(
    ("why", "text"), [("no such skill", "no such skill"), (None, "the server gave no reason")]
)
def test_a_rejection_without_an_error(why: str | None, text: str) -> None:
    """A server that rejects and does not answer has rejected: after 5 seconds that is told."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    assert raw.ack(envelope("e1"), "rejected", why) == [Acknowledged("e1", "rejected", why)]
    assert raw.wait(4.9) == []
    [event] = raw.wait(0.1)
    assert isinstance(event, RequestFailed)
    assert (event.request_id, event.error.message) == (request_id, text)


def test_a_rejection_and_its_error() -> None:
    """The error that follows is what counts."""
    raw = RawServer()
    raw.client.send(envelope("e1"), NOW)
    [(wire_id, _)] = sent(raw)
    raw.ack(envelope("e1"), "rejected", "no")
    [event] = raw.say({"id": wire_id, "error": {"code": -32021, "message": "Skill not found"}})
    assert isinstance(event, RequestFailed)
    assert event.error.code == -32021


def test_a_rejection_on_a_socket_that_is_lost() -> None:
    """What was rejected is not sent again."""
    raw = RawServer()
    raw.client.send(envelope("e1"), NOW)
    raw.ack(envelope("e1"), "rejected", "no")
    raw.client.connection_lost(NOW)
    raw.client.connected(NOW)
    assert raw.heard() == []
    assert isinstance(raw.wait(5.0)[0], RequestFailed)


@pytest.mark.parametrize(
    ("timeout", "default", "expected"), [(5.0, 60.0, 5.0), (None, 7.0, 7.0), (None, None, None)]
)
def test_how_long_an_answer_is_waited_for(
    timeout: float | None, default: float | None, expected: float | None
) -> None:
    """As long as the caller says, or the limits; or for ever."""
    raw = RawServer(reply_timeout=default)
    request_id = raw.client.send(envelope("e1"), NOW, timeout=timeout, requires_ack=False)
    if expected is None:
        assert raw.client.next_timeout() is None
        assert raw.wait(1_000_000.0) == []
    else:
        assert raw.client.next_timeout() == NOW + expected
        assert raw.wait(expected) == [GaveUp(request_id, "unanswered")]


def test_time_goes_on_without_a_socket() -> None:
    """What cannot be sent is given up when its time is over."""
    raw = RawServer(attached=False)
    request_id = raw.client.send(envelope("e1"), NOW)
    assert raw.wait(60.0) == [GaveUp(request_id, "unanswered")]
    raw.client.connected(raw.now)
    assert raw.heard() == []


# --- sockets --------------------------------------------------------------------------------


def test_without_a_socket_it_waits() -> None:
    """What is asked before there is a socket goes out when there is one."""
    raw = RawServer(attached=False)
    request_id = raw.client.send(envelope("e1"), NOW)
    assert raw.heard() == []
    assert raw.client.connected(NOW) == []
    assert sent(raw) == [(request_id, "e1")]


def test_a_socket_is_lost() -> None:
    """All that has no answer goes to the next one, in its order; its age is that of the sending."""
    raw = RawServer()
    first, second = (raw.client.send(envelope(name), NOW) for name in ("e1", "e2"))
    raw.client.send(envelope("e3"), NOW)
    raw.ack(envelope("e1"), "received")
    raw.reply(second, reply_to(envelope("e2")))
    raw.client.connection_lost(NOW)
    assert raw.heard() == []
    raw.client.send(envelope("e4"), NOW + 10.0)
    raw.now += 40.0
    assert raw.client.connected(raw.now) == []
    frames = raw.heard()
    assert [one["params"]["envelope"]["id"] for one in frames] == ["e1", "e3", "e4"]
    assert frames[0]["id"] != first
    time = moment(raw.now).isoformat().replace("+00:00", "Z")
    assert {one["params"]["envelope"]["timestamp"] for one in frames} == {time}
    reply = reply_to(envelope("e1"))
    assert raw.reply(frames[0]["id"], reply) == [ReplyReceived(first, reply)]


def test_an_old_id_on_a_new_socket() -> None:
    """The ids of a lost socket mean nothing on the next; what an envelope answers does."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.client.connected(NOW)
    news = reply_to(envelope("e9"), payload_type="ArtifactNotify")
    assert raw.reply(request_id, news) == [Pushed(news)]
    assert raw.client.pending == 1


def test_nothing_arrives_without_a_socket() -> None:
    """What a lost socket still holds is not read."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.client.connection_lost(NOW)
    assert raw.reply(request_id, reply_to(envelope("e1"))) == []
    assert raw.client.pending == 1


def test_a_server_that_shuts_down() -> None:
    """What it does not take goes to the next socket, and so does what is asked meanwhile."""
    raw = RawServer()
    first = raw.client.send(envelope("e1"), NOW)
    raw.heard()
    raw.ack(envelope("e1"), "rejected", "it is shutting down")
    assert raw.say(failure(first, shutting_down())) == []
    raw.ack(envelope("e1"), "rejected", "it is shutting down")
    raw.client.send(envelope("e2"), NOW)
    raw.client.send(envelope("e3", "TaskCancel"), NOW)
    assert raw.heard() == []
    raw.client.connected(NOW)
    assert [one[1] for one in sent(raw)] == ["e1", "e2", "e3"]


# --- bounds and misuse ----------------------------------------------------------------------


def test_a_window() -> None:
    """As many are sent as may be without an answer; a cancellation goes out at once."""
    raw = RawServer(max_outstanding=2)
    ids = [raw.client.send(envelope(f"e{number}"), NOW) for number in range(4)]
    assert [one[1] for one in sent(raw)] == ["e0", "e1"]
    raw.client.send(envelope("stop", "task.cancel"), NOW)
    assert [one[1] for one in sent(raw)] == ["stop"]
    raw.reply(ids[0], reply_to(envelope("e0")))
    assert sent(raw) == []
    raw.reply(ids[1], reply_to(envelope("e1")))
    assert [one[1] for one in sent(raw)] == ["e2"]
    raw.reply(None, reply_to(envelope("stop")))
    assert [one[1] for one in sent(raw)] == ["e3"]


def test_as_many_as_may() -> None:
    """Requests without an answer are bounded; one more is refused before anything is sent."""
    raw = RawServer(max_pending=2, attached=False)
    for number in range(2):
        raw.client.send(envelope(f"e{number}"), NOW)
    with pytest.raises(Misuse, match="2 requests have no answer: as many as may"):
        raw.client.send(envelope("e2"), NOW)
    assert raw.client.pending == 2


def test_an_envelope_twice() -> None:
    """An envelope that has no answer yet cannot be asked again."""
    raw = RawServer()
    raw.client.send(envelope("e1"), NOW)
    with pytest.raises(Misuse, match="a request with the envelope id 'e1' has no answer yet"):
        raw.client.send(envelope("e1"), NOW)


# --- other frames ---------------------------------------------------------------------------


def test_pings() -> None:
    """Each is answered; a pong, which nobody asked for, is not."""
    raw = RawServer()
    assert raw.say({"type": "ping"}) == []
    assert raw.say({"type": "pong"}) == []
    assert raw.heard() == [{"type": "pong"}]


@pytest.mark.parametrize("text", ["{", "[]", "7", "{}", '{"id":"x","result":{}}', '{"method":"x"}'])
def test_bad_frames_are_ignored(text: str) -> None:
    """None ends the connection, none is answered."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.heard()
    [event] = raw.say(text)
    assert isinstance(event, FrameIgnored)
    assert raw.heard() == []
    assert isinstance(raw.reply(request_id, reply_to(envelope("e1")))[0], ReplyReceived)


def test_a_bad_answer() -> None:
    """A reply that is none, under the id of a request, is the end of that request."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    [event] = raw.say({"jsonrpc": "2.0", "id": request_id, "result": {"envelope": {}}})
    assert isinstance(event, RequestFailed)
    assert event.error.code == -32602
    assert raw.client.idle


def test_binary_frames_are_ignored() -> None:
    """There are none in ASAP."""
    raw = RawServer()
    assert raw.client.receive_binary(b"abc", NOW) == [FrameIgnored("a binary frame of 3 bytes")]


def test_an_error_of_nothing() -> None:
    """What the server could not name is told as it is."""
    raw = RawServer()
    [event] = raw.say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no"}})
    assert isinstance(event, ErrorReceived)
    assert event.error.code == -32700


# --- shutdown -------------------------------------------------------------------------------


def test_a_client_shuts_down() -> None:
    """Nothing new is asked; after the last answer the socket closes (1000)."""
    raw = RawServer()
    request_id = raw.client.send(envelope("e1"), NOW)
    raw.client.shut_down(NOW)
    with pytest.raises(Misuse, match="a client that is draining allows no request"):
        raw.client.send(envelope("e2"), NOW)
    raw.heard()
    assert raw.close is None
    assert isinstance(raw.reply(request_id, reply_to(envelope("e1")))[0], ReplyReceived)
    raw.heard()
    assert raw.close == Close(1000, "")
    assert raw.reply(None, reply_to(envelope("e1"))) == []
    raw.client.connection_lost(NOW)
    assert raw.client.state is LinkState.CLOSED
    with pytest.raises(Misuse, match="a client that is closed allows no connected"):
        raw.client.connected(NOW)


def test_a_client_shuts_down_without_a_socket() -> None:
    """Where nothing is waited for there is nothing to close; else a socket is still of use."""
    idle, busy = RawServer(attached=False), RawServer(attached=False)
    idle.client.shut_down(NOW)
    assert idle.client.state is LinkState.CLOSED
    assert idle.heard() == []
    busy.client.send(envelope("e1"), NOW)
    busy.client.shut_down(NOW)
    busy.client.connected(NOW)
    assert [one[1] for one in sent(busy)] == ["e1"]
