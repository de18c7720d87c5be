"""Peers that send too much: errors, audio, starts (§7, §8)."""

from __future__ import annotations

import pytest

from palaver.protocols.asp.config import Framing
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import (
    AudioReceived,
    Close,
    ErrorSent,
    HandshakeFailed,
    SessionOpened,
    SessionRejected,
)
from palaver.protocols.asp.frames import session_hash
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.states import SessionState
from palaver.protocols.asp.text_frames import MAX_TEXT
from tests.protocols.asp.ends import FRAME, RawClient, RawPeer, RawServer, registry

# --- errors -----------------------------------------------------------------------------------


def ends() -> list[RawPeer]:
    """Return a raw peer of each live end, with a session."""
    client, server = RawClient(), RawServer()
    client.start()
    server.introduce()
    server.opened()
    return [client, server]


@pytest.mark.parametrize("index", [0, 1])
def test_bad_audio_of_a_session_is_told_once_a_second(index: int) -> None:
    """Of a flood of bad frames one a second is answered; the next answer counts the others."""
    peer = ends()[index]
    answers = []
    for number in range(300):  # three seconds
        peer.now = number * 0.01
        answers += peer.audio("s", b"odd")
    told = peer.told(ErrorSent)
    errors = [one["error"]["code"] for one in answers if one["type"] == "protocol.error"]
    assert errors == [2004] * 3
    assert [one.quiet for one in told] == [0, 99, 99]
    assert {one.session_id for one in told} == {"s"}


def test_errors_of_two_kinds_have_their_own_second() -> None:
    """One kind of error does not silence another, and one session not another."""
    peer = RawClient(registry(limits=Limits(max_audio_lead=0.01)))
    peer.start("a")
    peer.start("b")
    heard = []
    for _ in range(3):
        for name in ("a", "b"):
            heard += peer.audio(name, b"odd")
            heard += peer.audio(name)
    assert [(one["session_id"], one["error"]["code"]) for one in heard] == [
        ("a", 2004),
        ("a", 2005),
        ("b", 2004),
        ("b", 2005),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_binary_messages_without_a_header(index: int) -> None:
    """What cannot be read at all belongs to no session, and is told once a second, too."""
    peer = ends()[index]
    for number in range(300):
        peer.now = number * 0.01
        peer.data(b"\x07")
    told = peer.told(ErrorSent)
    assert [(one.session_id, one.error.code, one.quiet) for one in told] == [
        (None, 2004, 0),
        (None, 2004, 99),
        (None, 2004, 99),
    ]


def test_audio_of_no_session_at_the_server() -> None:
    """Audio of an unknown hash, stream or framing is 4001, once a second."""
    peer = RawClient()
    peer.start()
    heard = peer.audio("gone")
    assert heard[0]["error"]["message"] == (
        f"audio of hash {session_hash('gone').hex()} (hash12): "
        "there is no such session on this socket"
    )
    assert peer.audio("s", framing=Framing.ASP16, stream=9) == []
    peer.now = 1.0
    heard = peer.audio("s", framing=Framing.ASP16, stream=9)
    assert heard[0]["error"]["code"] == ErrorCode.SESSION_NOT_FOUND
    assert heard[0]["error"]["message"] == (
        "audio of stream 9 (asp16): there is no such session on this socket"
    )
    assert "session_id" not in heard[0]
    assert [one.quiet for one in peer.told(ErrorSent)] == [0, 1]


def test_audio_of_no_session_at_the_client() -> None:
    """The server may not have heard yet that a session is over: its audio is left alone."""
    peer = ends()[1]
    assert peer.audio("gone") == []
    assert peer.told(ErrorSent) == []


def test_a_message_that_is_too_long() -> None:
    """A text of more than 64 KiB is refused unread, one of just so much is read."""
    peer = RawClient()
    error = peer.text(" " * (MAX_TEXT + 1))[0]["error"]
    assert (error["code"], error["message"]) == (
        1001,
        f"the message has {MAX_TEXT + 1} characters; {MAX_TEXT} are allowed",
    )
    start = '{"type":"session.start","session_id":"s"}'
    assert peer.text(start.ljust(MAX_TEXT))[0]["status"] == "accepted"


@pytest.mark.parametrize("index", [0, 1])
def test_bad_messages_are_answered_and_counted(index: int) -> None:
    """Each wrong text is answered; of a flood, 20 a second are told one by one, then counted."""
    peer = ends()[index]
    answers = []
    for number in range(200):  # two seconds
        peer.now = number * 0.01
        answers += peer.text("{")
    assert len(answers) == 200
    told = peer.told(ErrorSent)
    assert len(told) == 40
    assert [one.quiet for one in told if one.quiet] == [80]


# --- audio ------------------------------------------------------------------------------------


def test_audio_faster_than_the_clock() -> None:
    """More than 30 s ahead of the clock audio is dropped (2005); the session goes on."""
    peer = RawClient()
    peer.start()
    for _ in range(150):  # 200 ms each
        peer.audio("s", FRAME * 10)
    assert peer.told(ErrorSent) == []
    heard = peer.audio("s")
    assert heard[0]["error"]["code"] == ErrorCode.AUDIO_RATE_EXCEEDED
    assert heard[0]["error"]["message"] == "audio is more than 30 s ahead of the clock"
    assert heard[0]["error"]["details"] == {"max_lead_ms": 30_000}
    session = peer.sessions.get("s")
    assert session is not None
    assert session.state is SessionState.ACTIVE
    assert len(peer.told(AudioReceived)) == 150
    assert session.inbound.frames == 1500
    for _ in range(1000):
        peer.audio("s", FRAME * 10)
    assert len(peer.told(AudioReceived)) == 150
    assert len(peer.told(ErrorSent)) == 1


def test_the_clock_catches_up() -> None:
    """What was dropped is not counted: as soon as there is room, audio is taken again."""
    peer = RawClient(registry(limits=Limits(max_audio_lead=1.0)))
    peer.start()
    for _ in range(200):
        peer.audio("s")
    assert len(peer.told(AudioReceived)) == 50
    peer.now = 0.5
    for _ in range(200):
        peer.audio("s")
    assert len(peer.told(AudioReceived)) == 75
    assert peer.told(AudioReceived)[-1].seq == 224  # dropped messages have their numbers


def test_a_legacy_client_is_told_in_its_shape() -> None:
    """Audio that is too fast is an ``error`` there, once a second."""
    peer = RawClient(registry(limits=Limits(max_audio_lead=0.05)))
    peer.start_legacy()
    heard = [one for _ in range(10) for one in peer.audio("s")]
    assert heard == [
        {
            "type": "error",
            "session_id": "s",
            "code": "AUDIO_RATE_EXCEEDED",
            "message": "audio is more than 0.05 s ahead of the clock",
        }
    ]


def test_small_messages_are_not_taken_for_frames() -> None:
    """A 1.0.0 client may send less than a frame at a time: it is its samples that count."""
    peer = RawClient(registry(limits=Limits(max_audio_lead=1.0)))
    peer.start_old()
    for _ in range(100):  # 10 ms each: one second
        peer.audio("s", FRAME[:160])
    assert peer.told(ErrorSent) == []
    session = peer.sessions.get("s")
    assert session is not None
    assert session.inbound.frames == 50


# --- starts -----------------------------------------------------------------------------------


def fail(peer: RawClient, number: int) -> str:
    """Ask for what cannot be had; return what the last answer is."""
    peer.say("session.start", session_id=f"bad{number}", version="1.1.0", audio={"channels": 2})
    return "closed" if peer.end.closing is not None else "open"


@pytest.mark.parametrize("most", [0, 1, 5])
def test_starts_that_fail_too_often(most: int) -> None:
    """One more than so many in a minute is 4003, and the socket is closed with 4403."""
    peer = RawClient(registry(limits=Limits(max_failed_starts=most)))
    assert [fail(peer, number) for number in range(most)] == ["open"] * most
    heard = peer.say("session.start", session_id="s", version="1.1.0", audio={"channels": 2})
    assert heard[0]["status"] == "rejected"
    assert heard[1]["error"]["code"] == ErrorCode.SESSION_LIMIT_REACHED
    assert heard[1]["error"]["message"] == f"more than {most} starts failed within a minute"
    assert heard[2:] == [Close(4403, "session_limit_reached")]
    assert len(peer.told(SessionRejected)) == most + 1
    assert len(peer.told(HandshakeFailed)) == 1
    assert fail(peer, 99) == "closed"
    assert peer.heard() == []


def test_failed_starts_are_forgotten_after_a_minute() -> None:
    """Five a minute are forgiven, for ever."""
    peer = RawClient()
    for number in range(30):
        peer.now = number * 12.01
        assert fail(peer, number) == "open"


def test_failed_starts_do_not_cut_off_other_calls() -> None:
    """While other sessions live on the socket it is told, and not closed."""
    peer = RawClient()
    peer.start("alive")
    assert [fail(peer, number) for number in range(20)] == ["open"] * 20
    assert len([one for one in peer.told(ErrorSent) if one.error.code == 4003]) == 15
    assert peer.audio("alive") == []
    peer.say("session.end", session_id="alive")
    assert fail(peer, 99) == "closed"


def test_a_start_that_succeeds_after_some_that_failed() -> None:
    """After a rejection the same socket may try again."""
    peer = RawClient()
    fail(peer, 0)
    assert peer.start()["status"] == "accepted"
    assert len(peer.told(SessionOpened)) == 1


def test_what_is_final_closes_the_socket() -> None:
    """A server that is full closes the socket of a client that has nothing else there."""
    sessions = registry(limits=Limits(max_sessions=1))
    busy, late = RawClient(sessions), RawClient(sessions)
    busy.start()
    heard = late.say("session.start", session_id="t", version="1.1.0")
    assert heard[0]["errors"][0]["code"] == 4003
    assert heard[1] == Close(4403, "session_limit_reached")
    assert late.told(HandshakeFailed)[0].error.code == 4003
    assert busy.start("t")["status"] == "rejected"
    assert busy.end.closing is None


def test_errors_are_never_answered() -> None:
    """However wrong an error is itself, it is told and not answered: two ends never quarrel."""
    for peer in ends():
        assert peer.say("protocol.error", session_id="s", error={"code": "?"}) == []
        assert peer.say("protocol.error") == []
        assert peer.say("error", session_id="s", code=7) == []
        assert [one.error.code for one in peer.told(ErrorSent)] == [1001, 1001, 1003]
        error = {"code": 1001, "category": "protocol", "message": "what?"}
        assert peer.say("protocol.error", session_id="s", error=error) == []
        assert peer.say("protocol.error", error=error) == []
        assert peer.say("protocol.error", session_id="gone", error=error) == []
