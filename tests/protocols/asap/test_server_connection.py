"""The server's end of an ASAP socket (spec §7)."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.deliveries import Deliveries
from palaver.protocols.asap.errors import (
    AsapError,
    InvalidNonce,
    InvalidRequest,
    KeyReused,
    MessageRateExceeded,
    ParseError,
    SenderMismatch,
    ServerBusy,
    SkillNotFound,
)
from palaver.protocols.asap.events import (
    AckReceived,
    Close,
    DuplicateReceived,
    FrameRejected,
    PeerStale,
    PongReceived,
    RequestReceived,
)
from palaver.protocols.asap.in_flight import Caller
from palaver.protocols.asap.messages import Envelope
from palaver.protocols.asap.states import LinkState
from tests.protocols.asap.ends import NOW, RawClient, ask, envelope, reply_to

STOPS = Close(1001, "Server shutting down")


def rejection(events: list[Any]) -> AsapError:
    """Return the error of the only event, a rejection."""
    [event] = events
    assert isinstance(event, FrameRejected)
    return event.error


def ids(frames: list[dict[str, Any]]) -> list[Any]:
    """Return the JSON-RPC ids of frames."""
    return [frame.get("id") for frame in frames]


def status(frame: dict[str, Any]) -> tuple[str, str]:
    """Return what an acknowledgement is of, and what it says."""
    assert frame["method"] == "asap.ack"
    payload = frame["params"]["envelope"]["payload"]
    return payload["original_envelope_id"], payload["status"]


# --- requests and answers -------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["a", 0, 7])
def test_a_request_is_answered(request_id: str | int) -> None:
    """A request becomes an event, and its reply goes out under the id of the request."""
    raw = RawClient()
    [event] = raw.say(ask(request_id, "e1"))
    assert event == RequestReceived(request_id, envelope("e1"), None)
    assert not raw.server.idle
    assert raw.server.in_flight == 1
    reply = reply_to(envelope("e1"))
    assert raw.server.respond(request_id, reply, NOW) == []
    assert raw.heard() == [
        {"jsonrpc": "2.0", "result": {"envelope": reply.wire()}, "id": request_id}
    ]
    assert raw.server.idle


def test_answers_in_any_order() -> None:
    """A slow request does not hold back the answer to a fast one."""
    raw = RawClient()
    for number in range(3):
        raw.say(ask(number, f"e{number}"))
    for number in (2, 0, 1):
        raw.server.respond(number, reply_to(envelope(f"e{number}")), NOW)
    assert ids(raw.heard()) == [2, 0, 1]


def test_a_request_fails() -> None:
    """An error goes out under the id of the request, and the sender hears that it was rejected."""
    raw = RawClient()
    raw.say(ask("a", "e1", requires_ack=True))
    raw.heard()
    raw.server.fail("a", SkillNotFound("'sing'"), NOW)
    ack, error = raw.heard()
    assert status(ack) == ("e1", "rejected")
    assert error["id"] == "a"
    assert error["error"]["code"] == -32021


def test_an_answer_to_nothing() -> None:
    """What nobody asked cannot be answered, and nothing can be answered twice."""
    raw = RawClient()
    with pytest.raises(Misuse, match="no request 'a' is owed an answer"):
        raw.server.respond("a", reply_to(envelope("e1")), NOW)
    raw.say(ask("a", "e1"))
    raw.server.fail("a", SkillNotFound(), NOW)
    with pytest.raises(Misuse):
        raw.server.fail("a", SkillNotFound(), NOW)


def test_output_wakes_the_shell_once() -> None:
    """Whoever sends is told that there is something to take, once until it was taken."""
    raw = RawClient()
    raw.server.push(envelope("p1", "TaskUpdate"), NOW)
    raw.server.push(envelope("p2", "TaskUpdate"), NOW)
    assert raw.woken == 1
    raw.heard()
    raw.server.push(envelope("p3", "TaskUpdate"), NOW)
    assert raw.woken == 2


# --- acknowledgements -----------------------------------------------------------------------


def test_received_processed_rejected() -> None:
    """Who wants acknowledgements has them; from the recipient, to the sender."""
    raw = RawClient()
    [event] = raw.say(ask("a", "e1", requires_ack=True))
    assert isinstance(event, RequestReceived)
    raw.server.processed(event.envelope, NOW)
    raw.server.rejected(event.envelope, "no", NOW)
    frames = raw.heard()
    assert [status(frame) for frame in frames] == [
        ("e1", "received"),
        ("e1", "processed"),
        ("e1", "rejected"),
    ]
    said = frames[2]["params"]["envelope"]
    assert said["sender"] == event.envelope.recipient
    assert said["recipient"] == event.envelope.sender
    assert said["payload"]["error"] == "no"


def test_no_acknowledgement_unasked() -> None:
    """Who does not want acknowledgements has none."""
    raw = RawClient()
    [event] = raw.say(ask("a", "e1"))
    assert isinstance(event, RequestReceived)
    raw.server.processed(event.envelope, NOW)
    raw.server.rejected(event.envelope, "no", NOW)
    assert raw.heard() == []


def test_acknowledgements_of_the_client() -> None:
    """What the client acknowledges is told to the application."""
    raw = RawClient()
    payload = {"original_envelope_id": "p1", "status": "rejected", "error": "no"}
    said = envelope("a1", "MessageAck", payload=payload).wire()
    assert raw.say({"jsonrpc": "2.0", "method": "asap.ack", "params": {"envelope": said}}) == [
        AckReceived("p1", "rejected", "no")
    ]
    assert raw.heard() == []


# --- checks ---------------------------------------------------------------------------------


class Guard:
    """Refuses a sender, and what comes a second time."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def identity(self, said: Envelope, _now: float) -> None:
        """Refuse a sender."""
        if said.sender.endswith("eve"):
            raise SenderMismatch

    def freshness(self, said: Envelope, _now: float) -> None:
        """Refuse what was here before."""
        if said.id in self.seen:
            raise InvalidNonce("it was used before")
        self.seen.add(said.id)

    @property
    def caller(self) -> Caller:
        """Return what a connection is given."""
        return Caller("alice", self.identity, self.freshness)


def test_checks_come_before_the_acknowledgement() -> None:
    """What fails a check is refused and rejected; it is never acknowledged as received."""
    raw = RawClient(Guard().caller)
    events = raw.say(ask("a", "e1", sender="urn:asap:agent:eve", requires_ack=True))
    assert isinstance(rejection(events), SenderMismatch)
    error, ack = raw.heard()
    assert error["id"] == "a"
    assert error["error"]["code"] == -32602
    assert status(ack) == ("e1", "rejected")
    assert raw.server.idle


def test_a_copy_is_as_fresh_as_the_first() -> None:
    """What is sent again has its old time and nonce: only the first copy is checked for them."""
    raw = RawClient(Guard().caller)
    raw.say(ask("a", "e1"))
    [event] = raw.say(ask("b", "e1"))
    assert isinstance(event, DuplicateReceived)
    raw.server.fail("a", SkillNotFound(), NOW)
    assert isinstance(rejection(raw.say(ask("c", "e1"))), InvalidNonce)


def test_a_copy_is_checked_for_its_sender() -> None:
    """A copy of somebody else's envelope gives nothing away."""
    guard = Guard()
    deliveries = Deliveries(10, 10_000)
    raw = RawClient(guard.caller, deliveries)
    raw.say(ask("a", "e1"))
    raw.server.respond("a", reply_to(envelope("e1")), NOW)
    assert isinstance(
        rejection(raw.say(ask("b", "e1", sender="urn:asap:agent:eve"))), SenderMismatch
    )
    other = RawClient(Caller("bob"), deliveries)
    [event] = other.say(ask("b", "e1"))
    assert isinstance(event, RequestReceived)


# --- what comes again -----------------------------------------------------------------------


def test_a_request_that_is_worked_on_comes_again() -> None:
    """It runs once; each of its ids is answered."""
    raw = RawClient()
    raw.say(ask("a", "e1", requires_ack=True))
    assert raw.say(ask("b", "e1", requires_ack=True)) == [
        DuplicateReceived("b", envelope("e1", requires_ack=True), answered=False)
    ]
    assert [status(frame) for frame in raw.heard()] == [("e1", "received")] * 2
    raw.server.respond("a", reply_to(envelope("e1")), NOW)
    assert ids(raw.heard()) == ["a", "b"]


def test_the_same_frame_twice() -> None:
    """The same id is answered once."""
    raw = RawClient()
    raw.say(ask("a", "e1"))
    raw.say(ask("a", "e1"))
    raw.server.respond("a", reply_to(envelope("e1")), NOW)
    assert ids(raw.heard()) == ["a"]


def test_a_request_that_was_answered_comes_again() -> None:
    """The kept reply is sent again, after the acknowledgement."""
    raw = RawClient()
    raw.say(ask("a", "e1"))
    raw.server.respond("a", reply_to(envelope("e1")), NOW)
    raw.heard()
    again = envelope("e1", requires_ack=True)
    assert raw.say(ask("b", "e1", requires_ack=True)) == [
        DuplicateReceived("b", again, answered=True)
    ]
    ack, reply = raw.heard()
    assert status(ack) == ("e1", "received")
    assert reply["id"] == "b"
    assert reply["result"]["envelope"]["id"] == "reply"
    assert raw.server.idle


def test_a_request_that_failed_comes_again() -> None:
    """It is a new one: what failed may be tried again."""
    raw = RawClient()
    raw.say(ask("a", "e1"))
    raw.server.fail("a", ServerBusy(), NOW)
    assert raw.say(ask("b", "e1")) == [RequestReceived("b", envelope("e1"), None)]


@pytest.mark.parametrize("answered", [False, True])
def test_an_id_that_comes_with_other_content(answered: bool) -> None:  # noqa: FBT001 -- a case
    """It is refused: neither is it run, nor is it answered with what another one was."""
    raw = RawClient()
    raw.say(ask("a", "e1"))
    if answered:
        raw.server.respond("a", reply_to(envelope("e1")), NOW)
    raw.heard()
    error = rejection(raw.say(ask("b", "e1", payload={"other": 1})))
    assert isinstance(error, KeyReused)
    assert error.details == {"envelope_id": "e1"}
    assert ids(raw.heard()) == ["b"]


def test_a_socket_lost_and_another() -> None:
    """What was asked on one socket is answered on the next; the answer is not lost meanwhile."""
    deliveries = Deliveries(10, 10_000)
    first, second = (RawClient(deliveries=deliveries) for _ in range(2))
    first.say(ask("a", "e1"))
    first.say(ask("b", "e2"))
    first.server.push(envelope("p", "TaskUpdate"), NOW)
    assert first.server.closed(NOW) == []
    assert first.heard() == []
    assert isinstance(second.say(ask("x", "e1"))[0], DuplicateReceived)
    first.server.respond("a", reply_to(envelope("e1")), NOW)
    first.server.respond("b", reply_to(envelope("e2")), NOW)
    assert isinstance(second.say(ask("y", "e2"))[0], DuplicateReceived)
    assert ids(second.heard()) == ["x", "y"]
    assert first.heard() == []


def test_a_failure_reaches_all_who_asked() -> None:
    """An error is told on every socket that asked."""
    deliveries = Deliveries(10, 10_000)
    first, second = (RawClient(deliveries=deliveries) for _ in range(2))
    first.say(ask("a", "e1"))
    second.say(ask("x", "e1"))
    first.server.closed(NOW)
    first.server.fail("a", SkillNotFound(), NOW)
    assert first.heard() == []
    assert ids(second.heard()) == ["x"]


@pytest.mark.parametrize(("max_kept", "max_bytes"), [(2, 10_000), (10, 800)])
def test_kept_replies_are_bounded(max_kept: int, max_bytes: int) -> None:
    """The oldest replies are forgotten; their requests are new ones when they come again."""
    deliveries = Deliveries(max_kept, max_bytes)
    raw = RawClient(deliveries=deliveries)
    for number in range(5):
        raw.say(ask(number, f"e{number}"))
        raw.server.respond(number, reply_to(envelope(f"e{number}")), NOW)
    assert deliveries.kept == 2
    assert isinstance(raw.say(ask("x", "e4"))[0], DuplicateReceived)
    assert isinstance(raw.say(ask("y", "e2"))[0], RequestReceived)


def test_copies_are_bounded() -> None:
    """A request that comes over and over while it is worked on, or waits, is refused."""
    raw = RawClient(max_repeats=2, max_in_flight=1)
    raw.say(ask("a", "e1"))
    raw.say(ask("b", "e2"))
    for number, envelope_id in enumerate(["e1", "e1", "e2", "e2", "e2"]):
        events = raw.say(ask(number, envelope_id))
    assert "it came 2 times more while it is worked on; 2 are allowed" in str(rejection(events))
    error = rejection(raw.say(ask(9, "e1")))
    assert isinstance(error, ServerBusy)
    assert error.retry_after == 1.0


# --- bounds ---------------------------------------------------------------------------------


def test_what_is_too_much_waits() -> None:
    """Beyond the bound requests are taken and wait; they go on one by one, in their order."""
    raw = RawClient(max_in_flight=2)
    told = [raw.say(ask(number, f"e{number}", requires_ack=True)) for number in range(5)]
    assert [len(events) for events in told] == [1, 1, 0, 0, 0]
    assert len(raw.heard()) == 5
    assert raw.server.wants_more
    [event] = raw.server.respond(1, reply_to(envelope("e1")), NOW)
    assert isinstance(event, RequestReceived)
    assert event.request_id == 2
    [event] = raw.server.fail(0, SkillNotFound(), NOW)
    assert isinstance(event, RequestReceived)
    assert event.request_id == 3
    assert raw.server.in_flight == 2


def test_a_copy_of_what_waits() -> None:
    """It is joined with the one that waits; each of its ids is answered, once."""
    raw = RawClient(max_in_flight=1)
    raw.say(ask("a", "e1"))
    raw.say(ask("b", "e2"))
    for request_id in ("c", "c", "b"):
        assert raw.say(ask(request_id, "e2")) == [
            DuplicateReceived(request_id, envelope("e2"), answered=False)
        ]
    [event] = raw.server.respond("a", reply_to(envelope("e1")), NOW)
    assert event == RequestReceived("b", envelope("e2"), None)
    raw.server.respond("b", reply_to(envelope("e2")), NOW)
    assert ids(raw.heard()) == ["a", "b", "c"]


@pytest.mark.parametrize("answered", [False, True])
def test_what_waits_is_begun_elsewhere(answered: bool) -> None:  # noqa: FBT001 -- a case
    """What waited here, and came on another socket too, runs once."""
    deliveries = Deliveries(10, 10_000)
    here, there = (RawClient(deliveries=deliveries, max_in_flight=1) for _ in range(2))
    here.say(ask("a", "e1"))
    assert here.say(ask("b", "e2")) == []
    assert isinstance(there.say(ask("x", "e2"))[0], RequestReceived)
    if answered:
        there.server.respond("x", reply_to(envelope("e2")), NOW)
    assert here.server.respond("a", reply_to(envelope("e1")), NOW) == [
        DuplicateReceived("b", envelope("e2"), answered=answered)
    ]
    if not answered:
        assert not here.server.idle
        there.server.respond("x", reply_to(envelope("e2")), NOW)
    assert ids(here.heard()) == ["a", "b"]
    assert here.server.idle


@pytest.mark.parametrize("limits", [{"max_waiting": 2}, {"max_waiting_bytes": 500}])
def test_reading_stops(limits: dict[str, int]) -> None:
    """Where as many wait as may, no more is read; what comes all the same hears of the limit."""
    raw = RawClient(max_in_flight=1, **limits)
    for number in range(3):
        assert raw.server.wants_more
        raw.say(ask(number, f"e{number}"))
    assert not raw.server.wants_more
    error = rejection(raw.say(ask(3, "e3")))
    assert isinstance(error, ServerBusy)
    assert "1 requests of this connection are worked on and 2 wait, of at most" in str(error)
    raw.server.respond(0, reply_to(envelope("e0")), NOW)
    assert raw.server.wants_more


def test_a_cancellation_overtakes() -> None:
    """A cancellation is begun with though others wait, and though nothing more may; a few are."""
    raw = RawClient(max_in_flight=1, max_waiting=1, max_urgent=1)
    raw.say(ask(1, "e1"))
    raw.say(ask(2, "e2"))
    assert not raw.server.wants_more
    [event] = raw.say(ask(3, "e3", "task.cancel", payload={"task_id": "t"}))
    assert isinstance(event, RequestReceived)
    assert isinstance(rejection(raw.say(ask(4, "e4", "TaskCancel"))), ServerBusy)
    # It makes no room: the others wait on.
    assert raw.server.respond(3, reply_to(envelope("e3")), NOW) == []


def test_an_id_in_use() -> None:
    """A JSON-RPC id that is not answered yet cannot be used for another request."""
    raw = RawClient(max_in_flight=1)
    raw.say(ask("a", "e1"))
    raw.say(ask("b", "e2"))
    for used in "ab":
        error = rejection(raw.say(ask(used, "e3")))
        assert isinstance(error, InvalidRequest)
        assert f"id '{used}' is that of a request which is not answered yet" in str(error)


def test_a_congested_socket() -> None:
    """Nothing is read of a client that does not take what it is sent, and it is not pinged."""
    raw = RawClient()
    raw.server.congested = True
    assert not raw.server.wants_more
    assert raw.wait(200.0) == []
    assert raw.heard() == []
    raw.server.congested = False
    assert raw.wait(59.0) == []
    assert raw.heard() == [{"type": "ping"}]


# --- rate -----------------------------------------------------------------------------------


def test_a_fast_client_is_slowed() -> None:
    """After a burst it is read at the rate; who reads on all the same refuses, with the limit."""
    raw = RawClient(max_rate=10.0, max_burst=2)
    for number in range(2):
        raw.say(ask(number, f"e{number}"))
        assert raw.server.resume_at is None
    raw.say(ask(2, "e2"))
    assert raw.server.resume_at == pytest.approx(NOW + 0.1)
    raw.say("{")
    assert raw.server.resume_at == pytest.approx(NOW + 0.2)
    raw.heard()
    error = rejection(raw.say(ask(4, "e4", requires_ack=True)))
    assert isinstance(error, MessageRateExceeded)
    assert "at most 10 a second and 2 at once are taken" in str(error)
    assert error.retry_after == pytest.approx(0.2)
    for bad in ("{", '{"id": 6}'):
        assert isinstance(rejection(raw.say(bad)), MessageRateExceeded)
    assert isinstance(rejection(raw.server.receive_binary(b"", NOW)), MessageRateExceeded)
    assert raw.say({"type": "ping"}) != []
    assert ids(raw.heard()) == [None, 4, None, 6, None, None]
    raw.wait(0.3)
    assert isinstance(raw.say(ask(9, "e9"))[0], RequestReceived)


def test_pongs_are_free() -> None:
    """A client that does what it is asked for is not slowed for it."""
    raw = RawClient(max_rate=1.0, max_burst=1)
    for _ in range(10):
        assert raw.say({"type": "pong"}) == [PongReceived()]
    assert raw.server.resume_at is None


def test_a_silence_saves_up_one_burst() -> None:
    """However long nothing came, no more than a burst comes at once."""
    raw = RawClient(max_rate=10.0, max_burst=2)
    raw.say({"type": "ping"})
    raw.now += 60.0
    resume_at = []
    for _ in range(3):
        raw.say({"type": "ping"})
        resume_at.append(raw.server.resume_at)
    assert resume_at == [None, None, pytest.approx(raw.now + 0.1)]


def test_any_rate() -> None:
    """Without a limit nobody is slowed."""
    raw = RawClient(max_rate=None)
    for _ in range(3_000):
        raw.say({"type": "ping"})
    assert raw.server.resume_at is None


# --- bad frames -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("{", -32700, None),
        ("7", -32600, None),
        ("[]", -32600, None),
        ('"x"', -32600, None),
        ('{"jsonrpc":"2.0","method":"asap.send","params":{},"id":null}', -32600, None),
        ('{"jsonrpc":"2.0","method":"asap.send","params":{},"id":"a"}', -32602, "a"),
        ('{"jsonrpc":"2.0","method":"asap.sing","params":{},"id":5}', -32601, 5),
        ('{"jsonrpc":"2.0","method":"asap.ack","params":{}}', -32602, None),
    ],
)
def test_bad_frames_are_answered(text: str, code: int, request_id: Any) -> None:
    """Each has its error, with its id where that can be read; the connection goes on."""
    raw = RawClient()
    error = rejection(raw.say(text))
    [frame] = raw.heard()
    assert (error.code, frame["error"]["code"], frame["id"]) == (code, code, request_id)
    assert isinstance(raw.say(ask("a", "e1"))[0], RequestReceived)


def test_binary_frames() -> None:
    """There are none in ASAP: that is said, and the connection goes on."""
    raw = RawClient()
    error = rejection(raw.server.receive_binary(b"abc", NOW))
    assert isinstance(error, InvalidRequest)
    assert "a binary frame of 3 bytes; JSON in a text frame is taken here" in str(error)
    assert ids(raw.heard()) == [None]
    assert not isinstance(error, ParseError)
    assert raw.server.state is LinkState.OPEN


# --- heartbeat ------------------------------------------------------------------------------


def test_pings_and_pongs() -> None:
    """The server asks each 30 seconds; who answers stays."""
    raw = RawClient()
    for _ in range(10):
        assert raw.server.next_timeout() == raw.now + 30.0
        assert raw.wait(30.0) == []
        assert raw.heard() == [{"type": "ping"}]
        assert raw.say({"type": "pong"}) == [PongReceived()]


def test_a_ping_of_the_client() -> None:
    """It is answered, though clients need not send any."""
    raw = RawClient()
    assert raw.say({"type": "ping"}) == []
    assert raw.heard() == [{"type": "pong"}]


def test_a_silent_client() -> None:
    """After 90 seconds without a word the socket closes."""
    raw = RawClient()
    assert [raw.wait(30.0), raw.wait(30.0), raw.wait(29.5)] == [[], [], []]
    assert raw.server.next_timeout() == NOW + 90.0
    assert raw.wait(0.5) == [PeerStale(90.0)]
    assert raw.heard() == [{"type": "ping"}] * 2
    assert raw.close == Close(1001, "Nothing was received for 90 s")
    assert raw.server.next_timeout() is None


def test_nobody_is_silent_who_is_not_read() -> None:
    """While nothing is read, and for a while after that, silence says nothing."""
    raw = RawClient(max_in_flight=1, max_waiting=1)
    raw.say(ask(1, "e1"))
    raw.say(ask(2, "e2"))
    for _ in range(10):
        assert raw.wait(30.0) == []
    raw.now += 29.0
    raw.server.respond(1, reply_to(envelope("e1")), raw.now)
    assert raw.wait(89.0) == []
    assert raw.wait(1.0) == [PeerStale(90.0)]


def test_nobody_is_silent_who_is_slowed() -> None:
    """The time until the next message is read is no silence."""
    raw = RawClient(max_rate=0.01, max_burst=1)
    raw.say(ask(1, "e1"))
    raw.say(ask(2, "e2"))
    assert raw.wait(189.0) == []
    assert raw.wait(1.0) == [PeerStale(190.0)]


# --- shutdown -------------------------------------------------------------------------------


def test_an_idle_socket_is_closed_at_once() -> None:
    """Where nothing is owed, a shutdown closes (1001); once."""
    raw = RawClient()
    raw.server.shut_down(NOW)
    raw.server.shut_down(NOW)
    assert raw.heard() == []
    assert raw.close == STOPS
    assert raw.server.state is LinkState.CLOSED


def test_a_shutdown_loses_nothing() -> None:
    """What was taken is answered, what waits too; new requests are told to come again elsewhere."""
    raw = RawClient(max_in_flight=1)
    raw.say(ask(1, "e1"))
    raw.say(ask(2, "e2"))
    raw.server.shut_down(NOW)
    error = rejection(raw.say(ask(3, "e3")))
    assert isinstance(error, ServerBusy)
    assert "it is shutting down: connect again, and send the request again" in str(error)
    assert error.details == {"reason": "shutting_down"}
    assert isinstance(raw.say(ask(4, "e1"))[0], DuplicateReceived)
    raw.server.push(envelope("p", "TaskUpdate"), NOW)
    assert len(raw.server.respond(1, reply_to(envelope("e1")), NOW)) == 1
    assert ids(raw.heard()) == [3, None, 1, 4]
    assert raw.close is None
    raw.server.respond(2, reply_to(envelope("e2")), NOW)
    assert ids(raw.heard()) == [2]
    assert raw.close == STOPS


def test_a_shutdown_after_a_failure() -> None:
    """The last answer may be an error; its acknowledgement goes before it."""
    raw = RawClient()
    raw.say(ask(1, "e1", requires_ack=True))
    raw.server.shut_down(NOW)
    raw.server.fail(1, SkillNotFound(), NOW)
    frames = raw.heard()
    assert [frame.get("method") for frame in frames] == ["asap.ack", "asap.ack", None]
    assert raw.close == STOPS


def test_a_shutdown_waits_for_what_was_joined() -> None:
    """A reply that is worked on for another socket is waited for as well."""
    deliveries = Deliveries(10, 10_000)
    first, second = (RawClient(deliveries=deliveries) for _ in range(2))
    first.say(ask("a", "e1"))
    second.say(ask("x", "e1"))
    second.server.shut_down(NOW)
    assert second.close is None
    first.server.respond("a", reply_to(envelope("e1")), NOW)
    assert ids(second.heard()) == ["x"]
    assert second.close == STOPS


def test_a_socket_is_closed_with_a_reason() -> None:
    """The application may close whatever is owed; what waits is nobody's, and nothing follows."""
    raw = RawClient(max_in_flight=1)
    raw.say(ask(1, "e1"))
    raw.say(ask(2, "e2"))
    raw.server.close(Close(4401, "token expired"))
    raw.server.close(STOPS)
    assert raw.server.respond(1, reply_to(envelope("e1")), NOW) == []
    raw.server.processed(envelope("e1", requires_ack=True), NOW)
    assert raw.heard() == []
    assert raw.close == Close(4401, "token expired")
    assert raw.say(ask(3, "e3")) == []
    assert raw.server.receive_binary(b"", NOW) == []
    assert raw.wait(1_000.0) == []
    assert not raw.server.wants_more
    with pytest.raises(Misuse, match="a server that is closed allows no push"):
        raw.server.push(envelope("p", "TaskUpdate"), NOW)
    assert raw.server.closed(NOW) == []
