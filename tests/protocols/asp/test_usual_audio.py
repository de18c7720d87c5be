"""Audio that is the next in its time is taken by a shorter way: it makes no difference (§6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import AudioMissing, AudioReceived, ErrorSent
from palaver.protocols.asp.frames import AudioFrame, FrameFlags, pack
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.outgoing import ACK_INTERVAL
from palaver.testing.asp_pair import Side
from tests.protocols.asp.ends import FRAME, RawClient, registry

LEAD = Limits(max_audio_lead=1.0)
ASP16 = {"audio": {"framing": "asp16"}}


@dataclass
class Caller:
    """A raw client in ``asp16``; without ``shortcut`` each of its frames goes the long way."""

    shortcut: bool
    sessions: int = 1
    features: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peer = RawClient(registry(limits=LEAD))
        self.names = [f"s{number}" for number in range(self.sessions)]
        self.streams = [
            self.peer.start(name, **ASP16, **self.features)["stream"] for name in self.names
        ]
        self.next = [(0, 0)] * self.sessions
        self._see()

    def frame(self, which: int = 0, *, payload: bytes = FRAME, ahead: int = 0, **more: Any) -> Any:
        """Say the next frame of a session, or one that is ``ahead`` of it; return the answers."""
        seq, samples = self.next[which]
        sent = AudioFrame(
            Framing.ASP16,
            more.pop("stream", self.streams[which]),
            payload,
            seq + ahead,
            samples=samples + 160 * ahead,
            **more,
        )
        answers = self.peer.data(pack(sent, Side.CLIENT))
        if ahead >= 0:
            self.next[which] = (seq + ahead + 1, samples + 160 * ahead + len(payload) // 2)
        self._see()
        return answers

    def _see(self) -> None:
        if not self.shortcut:
            for session in self.peer.sessions:
                session.inbound.usual = False

    def state(self) -> list[tuple[object, ...]]:
        """Return all that is counted."""
        found = []
        for name in self.names:
            session = self.peer.sessions.get(name)
            if session is not None:
                one = session.inbound
                counted = (one.received, one.frames, one.expected_seq, one.samples_received)
                found.append((*counted, one.heard_at, session.state))
        return found


def test_a_frame_that_is_the_next() -> None:
    """From the second on each goes the short way, and is counted as well."""
    caller = Caller(shortcut=True)
    session = caller.peer.sessions.get("s0")
    assert session is not None
    assert not session.inbound.usual
    for number in range(2 * ACK_INTERVAL + 1):
        answers = caller.frame()
        assert [one["type"] for one in answers] == (
            ["session.ack"] if number % ACK_INTERVAL == ACK_INTERVAL - 1 else []
        )
        caller.peer.now += 0.02
        assert session.inbound.usual
    heard = caller.peer.told(AudioReceived)
    assert [one.seq for one in heard] == list(range(2 * ACK_INTERVAL + 1))
    assert heard[-1].samples == 160 * 2 * ACK_INTERVAL


def test_a_flood_is_refused() -> None:
    """A second of audio may come before its time; more is not heard, whichever way it came."""
    caller = Caller(shortcut=True)
    for _ in range(80):
        caller.frame()
    assert len(caller.peer.told(AudioReceived)) == 50
    codes = {one.error.code for one in caller.peer.told(ErrorSent)}
    assert codes == {ErrorCode.AUDIO_RATE_EXCEEDED}


def test_sessions_that_share_a_socket() -> None:
    """Each is found by how its messages begin; the other goes on when one has ended."""
    caller = Caller(shortcut=True, sessions=3)
    for _ in range(5):
        for which in range(3):
            assert caller.frame(which) == []
    caller.peer.say("session.end", session_id="s1")
    assert caller.frame(1)[0]["type"] == "protocol.error"
    assert caller.frame(0) == caller.frame(2) == []
    heard = [(one.session_id, one.seq) for one in caller.peer.told(AudioReceived)]
    assert heard[-2:] == [("s0", 5), ("s2", 5)]
    caller.peer.say("session.end", session_id="s2")
    caller.frame(0)
    caller.frame(0)
    assert caller.peer.told(AudioReceived)[-1].seq == 7


def test_what_is_missing_before_a_refused_frame_is_told() -> None:
    """The next good frame tells of it, and does not go the short way for that."""
    caller = Caller(shortcut=True)
    caller.frame()
    [refused] = caller.frame(ahead=1, payload=bytes(1))
    assert refused["error"]["code"] == ErrorCode.AUDIO_PROCESSING_ERROR
    caller.frame()
    assert [one.count for one in caller.peer.told(AudioMissing)] == [1]
    caller.frame()
    assert len(caller.peer.told(AudioMissing)) == 1


STEPS = st.one_of(
    st.tuples(st.just("frames"), st.integers(1, 3 * ACK_INTERVAL // 2)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.02, 0.5, 3.0])),
    st.tuples(st.just("ahead"), st.sampled_from([-3, -1, 1, 40])),
    st.tuples(st.just("size"), st.sampled_from([0, 1, 320, 640, 3_200, 3_520])),
    st.tuples(st.just("flags"), st.integers(0, 15)),
    st.tuples(st.just("stream"), st.integers(0, 5)),
    st.tuples(
        st.just("text"),
        st.sampled_from(["audio.end", "session.update", "session.end", "dtmf", "nonsense"]),
    ),
)


@given(
    st.integers(1, 3),
    st.sampled_from([{}, {"features": []}]),
    st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=25),
)
def test_both_ways_are_one(
    sessions: int, features: dict[str, Any], steps: list[tuple[int, tuple[str, Any]]]
) -> None:
    """Whatever comes between: the same answers, events and counts."""
    one, other = (Caller(shortcut, sessions, features) for shortcut in (True, False))
    for which, (kind, value) in steps:
        said = [_take(caller, which % sessions, kind, value) for caller in (one, other)]
        assert said[0] == said[1]
        assert one.state() == other.state()
    assert one.peer.events == other.peer.events


def _take(caller: Caller, which: int, kind: str, value: Any) -> list[Any]:
    peer = caller.peer
    if kind == "frames":
        answers = []
        for _ in range(value):
            answers += caller.frame(which)
            peer.now += 0.019
        return answers
    if kind == "wait":
        return peer.wait(value)
    if kind != "text":
        more = {
            "ahead": {"ahead": value},
            "size": {"payload": bytes(max(0, value))},
            "flags": {"flags": FrameFlags(value & 15), "generation": value & 15},
            "stream": {"stream": value},
        }
        return list(caller.frame(which, **more[kind]))
    members: dict[str, Any] = {"session_id": caller.names[which]}
    if value == "session.update":
        members["vad"] = {"threshold": 0.6}
    if value == "dtmf":
        members["digit"] = "5"
    answers = peer.say(value, **members)
    caller._see()
    return answers
