"""Two live ends of ASAP over sockets that drop at any moment: nothing is lost, nothing doubled."""

from __future__ import annotations

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.errors import SkillNotFound
from palaver.protocols.asap.events import (
    ErrorReceived,
    FrameRejected,
    GaveUp,
    Pushed,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
)
from palaver.protocols.asap.limits import Limits
from palaver.protocols.asap.states import LinkState, Side
from palaver.testing.asap_pair import AsapPair
from tests.protocols.asap.ends import NOW, RawClient, ask, envelope, reply_to

KINDS = ["TaskRequest", "task.request", "StateQuery", "TaskCancel", "com.example.own"]
LIMITS = Limits(
    max_in_flight=3,
    max_urgent=2,
    max_waiting=3,
    max_outstanding=6,
    max_rate=None,
    max_pending=20,
    max_repeats=1_000,
)
few = st.integers(0, 3)


class Pair(RuleBasedStateMachine):
    """A client asks, a server answers, and the sockets between them come and go."""

    @initialize()
    def begin(self) -> None:
        """Join the ends."""
        self.pair = AsapPair(LIMITS)
        self.asked: dict[str, str] = {}
        """Request id → envelope id."""
        self.failed: set[str] = set()
        self.pushed: list[str] = []
        self.waited = False

    # --- what happens -----------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS))
    def ask(self, kind: str) -> None:
        """Ask something."""
        pair = self.pair
        asked = pair.envelope(kind, {"input": len(self.asked)})
        try:
            self.asked[pair.client.send(asked, pair.now)] = asked.id
        except Misuse:
            assert pair.client.pending == LIMITS.max_pending

    @rule(to=st.sampled_from(Side), most=few)
    def arrive(self, to: Side, most: int) -> None:
        """Have some frames arrive."""
        self.pair.socket.deliver(to, most)

    @rule(which=st.integers(0, 30), well=st.booleans())
    @precondition(lambda self: self.pair.owed)
    def answer(self, which: int, well: bool) -> None:  # noqa: FBT001 -- drawn
        """Answer one of those that are worked on."""
        envelope_id = list(self.pair.owed)[which % len(self.pair.owed)]
        if well:
            self.pair.respond(envelope_id, text=envelope_id)
        else:
            self.failed.add(envelope_id)
            self.pair.fail(envelope_id, SkillNotFound(envelope_id))

    @rule(to_server=few, to_client=few, half_dead=st.booleans())
    def drop(self, to_server: int, to_client: int, half_dead: bool) -> None:  # noqa: FBT001 -- drawn
        """Lose the socket, and open another."""
        self.pair.drop(to_server, to_client, half_dead=half_dead)
        self.pair.connect()

    @rule(which=st.integers(0, 30), most=few)
    def arrive_late(self, which: int, most: int) -> None:
        """Have some frames arrive on a socket that only the server still has; then it ends."""
        old = self.pair.sockets[which % len(self.pair.sockets)]
        if old is not self.pair.socket:
            old.deliver(Side.SERVER, most)
            old.end(Side.SERVER)

    @rule()
    def shut_down(self) -> None:
        """Have the server drain the socket; it closes when all is answered."""
        if self.pair.server.state is not LinkState.CLOSED:
            self.pair.server.shut_down(self.pair.now)

    @rule()
    def push(self) -> None:
        """Have the server send news, on a socket that it has."""
        pair = self.pair
        if pair.server.state is not LinkState.CLOSED:
            news = pair.envelope("TaskUpdate", {"task_id": "t"})
            self.pushed.append(news.id)
            pair.server.push(news, pair.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.waited = True
        self.pair.wait(seconds)
        if not self.pair.client.attached:
            self.pair.connect()

    @rule()
    def reconnect(self) -> None:
        """Open a socket where there is none."""
        if not self.pair.client.attached:
            self.pair.connect()

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def within_bounds(self) -> None:
        """No end holds more than it may; what is owed is owed once."""
        pair = self.pair
        for socket in pair.sockets:
            assert socket.server.in_flight <= LIMITS.max_in_flight + LIMITS.max_urgent
        assert pair.client.pending <= LIMITS.max_pending
        assert (pair.client.next_timeout() is None) == pair.client.idle
        assert pair.told(Side.CLIENT, ErrorReceived) == []

    @invariant()
    def nothing_is_doubled(self) -> None:
        """Each request runs once, unless it failed; each ends once, with what belongs to it."""
        pair = self.pair
        begun = [event.envelope.id for event in pair.told(Side.SERVER, RequestReceived)]
        once = [one for one in begun if one not in self.failed]
        assert len(once) == len(set(once))
        replies = pair.told(Side.CLIENT, ReplyReceived)
        failures = pair.told(Side.CLIENT, RequestFailed)
        ends = [
            event.request_id for event in (*replies, *failures, *pair.told(Side.CLIENT, GaveUp))
        ]
        assert len(ends) == len(set(ends))
        for reply in replies:
            asked = self.asked[reply.request_id]
            assert reply.envelope.correlation_id == asked
            assert reply.envelope.payload["result"] == {"text": asked}
        told = [event.envelope.id for event in pair.told(Side.CLIENT, Pushed)]
        assert told == [one for one in self.pushed if one in told]

    def waiting(self) -> list[str]:
        """Return the envelopes that the client has no answer to."""
        kinds = (ReplyReceived, RequestFailed, GaveUp)
        done = {event.request_id for kind in kinds for event in self.pair.told(Side.CLIENT, kind)}
        return [asked for request_id, asked in self.asked.items() if request_id not in done]

    def teardown(self) -> None:
        """Give it a socket and time to come to rest: then every request has had its end."""
        pair = self.pair
        for _ in range(200):
            if not pair.client.attached:
                pair.connect()
            pair.pump()
            for envelope_id in list(pair.owed):
                pair.respond(envelope_id, text=envelope_id)
            pair.pump()
            if pair.client.idle and not pair.owed:
                break
            if all(one in self.failed for one in self.waiting()):
                pair.wait(LIMITS.rejected_grace)  # the errors of those may be lost
        assert pair.client.idle
        assert pair.owed == {}
        assert all(socket.server.idle for socket in pair.sockets)
        self.nothing_is_doubled()
        ends = (
            *pair.told(Side.CLIENT, ReplyReceived),
            *pair.told(Side.CLIENT, RequestFailed),
            *pair.told(Side.CLIENT, GaveUp),
        )
        assert {event.request_id for event in ends} == set(self.asked)
        if not self.waited:
            assert pair.told(Side.CLIENT, GaveUp) == []
        for event in pair.told(Side.CLIENT, RequestFailed):
            assert event.error.code in {-32021, -32031, -32603}


Pair.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPair = Pair.TestCase


# --- one end, and anything --------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "answer", "fail", "drain", "wait"]),
        st.integers(0, 4),
        st.sampled_from(["TaskRequest", "TaskRequest", "TaskCancel"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=150, deadline=None)
def test_each_request_has_one_answer(story: list[tuple[str, int, str, int]]) -> None:
    """Whatever is asked, again or anew, in whatever order it is answered: each id has an answer."""
    raw = RawClient(max_in_flight=2, max_urgent=1, max_waiting=2, max_repeats=2)
    owed: dict[str | int, str] = {}
    asked: list[int] = []

    def take(events: list[object]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                assert event.envelope.id not in owed.values()
                owed[event.request_id] = event.envelope.id

    def settle(number: int, *, well: bool) -> None:
        request_id = list(owed)[number % len(owed)]
        envelope_id = owed.pop(request_id)
        if well:
            take([*raw.server.respond(request_id, reply_to(envelope(envelope_id)), raw.now)])
        else:
            take([*raw.server.fail(request_id, SkillNotFound(), raw.now)])

    for number, (what, pick, kind, content) in enumerate(story):
        if what == "ask" and raw.server.state is not LinkState.CLOSED:
            asked.append(number)
            payload = {"input": content == 0}
            take([*raw.say(ask(number, f"{kind}-{pick}", kind, payload=payload))])
        elif what == "drain":
            raw.server.shut_down(raw.now)
        elif what == "wait":
            raw.wait(1.0)
        elif owed and what != "ask":
            settle(pick, well=what == "answer")
    while owed:
        settle(0, well=True)
    answered = [frame["id"] for frame in raw.heard()]
    assert sorted(answered) == asked
    assert raw.server.idle


texts = st.one_of(
    st.text(max_size=30),
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "method", "params", "result", "error", "type", "envelope"]),
                inner | st.sampled_from(["asap.send", "asap.ack", "ping", "pong"]),
                max_size=5,
            )
        ),
        max_leaves=12,
    ).map(lambda value: orjson.dumps(value).decode()),
)


@given(st.lists(texts, max_size=10), st.binary(max_size=9))
@settings(max_examples=150, deadline=None)
def test_nothing_that_arrives_ends_an_end(frames: list[str], data: bytes) -> None:
    """No frame raises, and none keeps the next request from being taken, at either end."""
    raw = RawClient()
    pair = AsapPair()
    request_id = pair.client.send(envelope("e1"), NOW)
    for text in frames:
        raw.say(text)
        pair.client.receive_text(text, NOW)
    assert isinstance(raw.server.receive_binary(data, raw.now)[0], FrameRejected)
    pair.client.receive_binary(data, NOW)
    assert isinstance(raw.say(ask("a", "e1"))[0], RequestReceived)
    if pair.client.pending:
        pair.drop()
        pair.connect()
        pair.pump()
        pair.respond("e1")
        pair.pump()
        assert [event.request_id for event in pair.told(Side.CLIENT, ReplyReceived)] == [request_id]
