"""Whatever comes, in whatever order: nothing raises, and every state stays a legal one (§4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.protocols.asp.client import ClientConnection
from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.connection import Connection
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.events import Close, Event, SessionClosed, SessionOpened
from palaver.protocols.asp.frames import AudioFrame, frame_key, pack
from palaver.protocols.asp.legacy import read_error
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    Feature,
    PlaybackMarkMessage,
    Side,
    parse_message,
)
from palaver.protocols.asp.server import ServerConnection
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.states import SESSION, LinkState, SessionState
from palaver.protocols.asp.text_frames import MAX_TEXT, read_object
from palaver.testing.asp_pair import EVERYTHING, stamp
from tests.protocols.asp.ends import FRAME, OLD, capabilities_of, registry
from tests.protocols.asp.samples import REJECTED, SAMPLES
from tests.protocols.asp.strategies import json_values

IDS = ("a", "b", "c")
LIMITS = Limits(
    max_sessions=3,
    max_sessions_per_socket=2,
    max_kept_messages=6,
    max_kept_bytes=2_000,
    max_audio_lead=0.2,
    max_session_seconds=400.0,
)
LEGACY = {"type": "session.start", "call_id": "c", "audio_config": {"sample_rate": 8000}}
LEGACY_TYPES = {
    Side.CLIENT: {"session.start", "audio.end", "session.end"},
    Side.SERVER: {"session.started", "response.start", "response.end", "error"},
}

# --- what comes -------------------------------------------------------------------------------

MEMBERS = sorted({name for sample in SAMPLES.values() for name in sample} - {"type"})
framings = st.sampled_from([None, *Framing])
features = st.one_of(
    st.just([str(one) for one in Feature]),
    st.lists(st.sampled_from([str(one) for one in Feature]), max_size=5),
)
tokens = st.integers(1, 6).map("token-{}".format)
small = st.integers(0, 12)
samples = st.builds(
    lambda sample, changes: sample | changes,
    st.sampled_from([*SAMPLES.values(), *REJECTED.values()]),
    st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=1)
    | st.just({})
    | st.fixed_dictionaries({"received": small, "sending_from": small, "resume_token": tokens}),
)
starts = st.builds(
    lambda version, known, framing, vad: {
        "type": "session.start",
        "version": version,
        "features": known,
        "audio": {} if framing is None else {"framing": framing},
        "vad": vad,
    },
    st.sampled_from(["1.1.0", "1.1.0", None, "2.0.0"]),
    features,
    framings,
    st.dictionaries(st.sampled_from(["threshold", "min_speech_ms"]), small, max_size=2),
)
resumptions = st.builds(
    lambda token, received, first: {
        "type": "session.resume",
        "resume_token": token,
        "received": received,
        "sending_from": first,
    },
    tokens,
    small | st.just(2**53),
    small | st.just(2**53),
)
answers = st.builds(
    lambda kind, status, numbers, framing, known: (
        {
            "type": kind,
            "status": status,
            "negotiated": {"audio": {} if framing is None else {"framing": framing}, "vad": {}},
            "version": "1.1.0",
            "features": known,
            "resume_token": "token-1",
            "resume_window_ms": 1000,
        }
        | numbers
    ),
    st.sampled_from(["session.started", "session.updated", "session.resumed"]),
    st.sampled_from(["accepted", "accepted", "rejected"]),
    st.fixed_dictionaries({}, optional={"stream": small, "received": small, "sending_from": small}),
    framings,
    features,
)
objects = st.builds(
    lambda found, session_id: found | {"session_id": session_id},
    st.one_of(samples, starts, resumptions, answers, st.just(LEGACY)),
    st.sampled_from(IDS),
)
texts = st.one_of(
    objects.map(orjson.dumps).map(bytes.decode),
    objects.map(orjson.dumps).map(bytes.decode),
    st.builds(lambda found, cut: orjson.dumps(found).decode()[:cut], objects, st.integers(0, 80)),
    json_values.map(orjson.dumps).map(bytes.decode),
    st.text(max_size=20),
    st.just(orjson.dumps(capabilities_of(OLD) | {"type": "protocol.capabilities"}).decode()),
)


def framed(framing: Framing, session_id: str, seq: int, payload: bytes, sender: Side) -> bytes:
    """Return a binary message as a peer would send it."""
    key = frame_key(framing, session_id, seq)
    frame = AudioFrame(framing, key, payload, seq=seq, samples=seq * 160, time_us=seq * 20_000)
    return pack(frame, sender)


payloads = st.sampled_from([FRAME, FRAME * 10, FRAME * 11, FRAME[:-1], b""])
numbers = small | st.sampled_from([2**31, 2**32 - 1])
binaries = st.one_of(
    st.builds(
        framed,
        st.sampled_from(Framing),
        st.sampled_from(IDS),
        small,
        payloads,
        st.sampled_from(Side),
    ),
    st.builds(
        framed,
        st.sampled_from([Framing.SEQ14, Framing.HASH12]),
        st.sampled_from(IDS),
        numbers,
        payloads,
        st.sampled_from(Side),
    ),
    st.binary(max_size=40),
)


# --- what is held -----------------------------------------------------------------------------


def check_output(end: Connection[Any], *, closing: bool) -> None:
    """See that what an end says can be read, and that nothing follows a ``Close``."""
    output = end.take_output()
    assert not (closing and output)
    for index, one in enumerate(output):
        if isinstance(one, Close):
            assert index == len(output) - 1
        elif isinstance(one, str):
            assert len(one) <= MAX_TEXT
            found = read_object(one)
            if "timestamp" in found:
                assert end.side in parse_message(one).sender
            else:
                assert found["type"] in LEGACY_TYPES[end.side]
                assert found["type"] != "error" or read_error(one) is not None


def check_session(session: Any, side: Side) -> None:
    """See that a session is within its bounds."""
    assert session.state in SESSION[side]
    kept = session.outgoing.since(0)
    if not session.outgoing._held:
        assert len(kept) <= LIMITS.max_kept_messages
        assert sum(map(len, kept)) <= LIMITS.max_kept_bytes
    assert session.inbound.expected_seq >= 0
    assert len(session.told._told) <= 4


def agent_commands(session: ServerSession, now: float) -> list[Callable[[], object]]:
    """Return what an agent may do."""
    end = AudioSpeechEndMessage(session_id=session.id)
    return [
        lambda: session.start_response(now, "hi"),
        lambda: session.send_audio(bytes(session.config.audio.bytes_per_frame), now),
        lambda: session.end_response(now, interrupted=True),
        lambda: session.mark(now),
        lambda: session.override_turn(VADConfig(threshold=0.9), now),
        lambda: session.act("hangup", now),
        lambda: session.report_transcript("agent", "hi", now),
        lambda: session.end(now, "hangup"),
        lambda: session.fail(now, "broke"),
        lambda: session.report_speech(end, now),
        lambda: session.send_audio(b"odd", now),
    ]


def caller_commands(session: ClientSession, now: float) -> list[Callable[[], object]]:
    """Return what a media server may do."""
    mark = PlaybackMarkMessage(session_id=session.id, mark_id="m")
    end = AudioSpeechEndMessage(session_id=session.id)
    return [
        lambda: session.send_audio(bytes(session.config.audio.bytes_per_frame), now),
        lambda: session.commit(now),
        lambda: session.report_speech(end, now),
        lambda: session.update(VADConfig(threshold=0.9), now),
        lambda: session.update(VADConfig(threshold=0.9), now, for_turn=True),
        lambda: session.end(now),
        lambda: session.cancel_response("r1", 0, now),
        lambda: session.report_mark(mark, "played", 0, now),
        lambda: session.press("1", now),
        lambda: session.send_audio(b"odd", now),
    ]


class ServerWorld:
    """A server with sockets of raw clients, and an agent that says what it likes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sessions = registry(EVERYTHING, LIMITS)
        self.sockets: list[ServerConnection] = []
        self.open_ids: list[str] = []
        self.connect()

    def connect(self) -> None:
        """Open a socket."""
        self.sockets.append(ServerConnection(self.sessions, self.now))

    def step(self, kind: str, pick: int, text: str, data: bytes) -> None:
        """Do one thing."""
        socket = self.sockets[pick % len(self.sockets)]
        closing = socket.closing is not None or socket.state is LinkState.CLOSED
        socket.take_output()
        if kind == "text":
            self.take(socket.receive_text(text, self.now))
        elif kind == "data":
            self.take(socket.receive_bytes(data, self.now))
        elif kind == "time":
            self.pass_time([0.02, 1.0, 6.0, 29.0, 31.0, 200.0, 500.0][pick % 7])
        elif kind == "drop":
            self.take(socket.closed(self.now))
            self.connect()
        elif kind == "go":
            socket.go_away(self.now, float(pick))
            if pick == 0:
                self.take(socket.shut_down(self.now))
                assert socket.sessions == {}
        else:
            self.command(pick)
        check_output(socket, closing=closing)
        self.check()

    def pass_time(self, seconds: float) -> None:
        """Let time go by, and do what is due."""
        self.now += seconds
        for one in (*self.sockets, self.sessions):
            self.take(one.handle_timeout(self.now))
            due = one.next_timeout()
            assert due is None or due > self.now

    def command(self, pick: int) -> None:
        """Have the agent do something, in some session."""
        for session in list(self.sessions)[:1]:
            with suppress(Misuse):
                agent_commands(session, self.now)[pick % 10]()

    def take(self, events: list[Event]) -> None:
        """See that sessions open and close in turn."""
        for event in events:
            if isinstance(event, SessionOpened):
                self.open_ids.append(event.session_id)
            elif isinstance(event, SessionClosed):
                self.open_ids.remove(event.session_id)

    def check(self) -> None:
        """See that what belongs together is together."""
        sessions = self.sessions
        assert len(sessions) <= LIMITS.max_sessions
        assert sessions._streams == {one.stream for one in sessions}
        assert len(sessions._streams) == len(sessions)
        untold = [one.session_id for one in sessions._untold.values()]
        assert sorted(self.open_ids) == sorted([*(one.id for one in sessions), *untold])
        for session in sessions:
            check_session(session, Side.SERVER)
            assert session.state is SessionState.ACTIVE
            if session.link is None:
                assert session.detached_at is not None
            else:
                assert session.link.sessions[session.id] is session  # type: ignore[attr-defined]
        for socket in self.sockets:
            assert len(socket.sessions) <= LIMITS.max_sessions_per_socket
            assert {one.key for one in socket.sessions.values()} == set(socket._keys)
            for session in socket.sessions.values():
                assert session.link is socket
                assert sessions.get(session.id) is session


class ClientWorld:
    """A client on a socket of a raw server; the sessions of before may come back."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ids = count(1)
        self.calls: list[ClientSession] = []
        self.connect(0)

    def connect(self, pick: int) -> None:
        """Open a socket."""
        self.end = ClientConnection(
            self.now, LIMITS, stamp=stamp, subprotocol=pick % 3 == 1, assume_legacy=pick % 3 == 2
        )
        if pick > 5:
            message = capabilities_of(EVERYTHING) | {"type": "protocol.capabilities"}
            self.end.receive_text(orjson.dumps(message).decode(), self.now)

    def step(self, kind: str, pick: int, text: str, data: bytes) -> None:
        """Do one thing."""
        end = self.end
        closing = end.closing is not None or end.state is LinkState.CLOSED
        end.take_output()
        if kind == "text":
            end.receive_text(text, self.now)
        elif kind == "data":
            end.receive_bytes(data, self.now)
        elif kind == "time":
            self.now += [0.02, 1.0, 5.0, 6.0, 11.0, 200.0][pick % 6]
            end.handle_timeout(self.now)
            due = end.next_timeout()
            assert due is None or due > self.now
        elif kind == "drop":
            end.closed(self.now)
            assert end.sessions == {}
            self.connect(pick)
        elif kind == "go":
            self.begin(pick)
        else:
            self.command(pick)
        check_output(end, closing=closing)
        self.check()

    def begin(self, pick: int) -> None:
        """Ask for a session, or go on with one."""
        with suppress(Misuse):
            if pick % 2:
                self.end.resume(
                    self.calls[pick % len(self.calls)] if self.calls else self.call(0), 0
                )
            else:
                self.end.start(self.call(pick), self.now)

    def call(self, pick: int) -> ClientSession:
        """Return a session that nobody has asked for yet."""
        framing = [None, *Framing][pick % 4]
        request = SessionRequest(
            session_id=IDS[pick % 3], audio=AudioConfig(framing=framing), negotiation="adjust"
        )
        self.calls = [*self.calls[-5:], ClientSession(request, LIMITS, stamp)]
        return self.calls[-1]

    def command(self, pick: int) -> None:
        """Have the media server do something, in its last sessions."""
        for session in self.calls[-3:]:
            with suppress(Misuse):
                caller_commands(session, self.now)[pick % 10]()

    def check(self) -> None:
        """See that what belongs together is together."""
        for session in self.calls:
            check_session(session, Side.CLIENT)
        for session_id, session in self.end.sessions.items():
            assert session.id == session_id
            assert session.link is self.end or session.waiting is not None
            assert session.state not in {SessionState.CLOSED, SessionState.IDLE}
            if session.waiting is not None and self.end.closing is None:
                assert self.end.next_timeout() is not None
        assert set(self.end._keys.values()) <= set(self.end.sessions.values())


KINDS = ["text", "text", "text", "text", "data", "data", "time", "drop", "go", "command", "command"]
stories = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 10), texts, binaries), min_size=5, max_size=60
)
BUDGET = settings(max_examples=600, deadline=None)


@given(stories)
@BUDGET
def test_a_server_holds_against_anything(story: list[tuple[str, int, str, bytes]]) -> None:
    """No message, time or command breaks the server's end, its sessions or their bounds."""
    world = ServerWorld()
    for step in story:
        world.step(*step)
    world.pass_time(1_000.0)
    world.check()
    assert len(world.sessions) == 0
    assert world.open_ids == []


@given(stories)
@BUDGET
def test_a_client_holds_against_anything(story: list[tuple[str, int, str, bytes]]) -> None:
    """No message, time or command breaks the client's end, its sessions or their bounds."""
    world = ClientWorld()
    for step in story:
        world.step(*step)
    world.end.closed(world.now)
    assert world.end.sessions == {}
    assert world.end._keys == {}
