"""All sessions of a server: ids, streams, limits and tokens (§7, §9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing
from palaver.protocols.asp.errors import ErrorCode, Misuse, Rejection
from palaver.protocols.asp.events import (
    ErrorSent,
    Event,
    SessionClosed,
    SessionRejected,
    SessionResumed,
)
from palaver.protocols.asp.frames import session_hash
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.sessions import Sessions
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import FRAME, RawClient, all_of, registry

# Two texts with the same MD5 (M. Stevens, 2024).
_TEXT = "TEXTCOLLBYfGiJUETHQ4h{}cKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak"
COLLIDING = [_TEXT.format(letter) for letter in "AE"]
ASP16 = {"framing": "asp16"}


def added(sessions: Sessions, session_id: str) -> ServerSession:
    """Return a session that was given its place."""
    session = ServerSession(session_id, sessions, 0.0)
    sessions.admit(session_id)
    session.open_with(session.config, sessions.add(session))
    session.state = SessionState.ACTIVE
    return session


# --- ids and limits -------------------------------------------------------------------------


def test_an_id_that_is_taken_on_the_same_socket() -> None:
    """A second start of a session is 1005, and leaves the first one as it is."""
    peer = RawClient()
    peer.start()
    before = peer.sessions.get("s")
    answer = peer.start()
    assert answer["type"] == "protocol.error"
    assert answer["error"]["code"] == ErrorCode.SESSION_ALREADY_ACTIVE
    assert answer["error"]["message"] == (
        "session 's' is active on this socket: give each session an id of its own"
    )
    assert peer.sessions.get("s") is before
    peer.audio("s")
    assert before is not None
    assert before.inbound.frames == 1


def test_an_id_that_is_taken_on_another_socket() -> None:
    """A start with the id of a session elsewhere is rejected with 1005."""
    first = RawClient()
    first.start()
    second = RawClient(first.sessions)
    answer = second.start()
    assert (answer["status"], answer["errors"][0]["code"]) == ("rejected", 1005)
    assert answer["errors"][0]["message"] == (
        "session 's' is active: give each session an id of its own"
    )
    first.closed()  # it waits to be resumed: the id is still taken
    assert second.start()["errors"][0]["code"] == ErrorCode.SESSION_ALREADY_ACTIVE


def test_an_id_is_free_again() -> None:
    """When a session is over, on whichever side it ended, another one may have its id."""
    peer = RawClient()
    for _ in range(3):
        assert peer.start()["status"] == "accepted"
        peer.say("session.end", session_id="s")
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    session.end(0.0, "hangup")
    peer.heard()
    assert peer.start()["status"] == "accepted"


def test_two_ids_with_one_hash() -> None:
    """In ``hash12`` the second of two ids that share a hash is refused on the same socket."""
    first, second = COLLIDING
    assert session_hash(first) == session_hash(second)
    peer = RawClient()
    assert peer.start(first)["status"] == "accepted"
    answer = peer.start(second)
    assert (answer["status"], answer["errors"][0]["code"]) == ("rejected", 1005)
    assert peer.start(second, audio=ASP16)["status"] == "accepted"
    other = RawClient(peer.sessions)
    assert other.start("other")["status"] == "accepted"
    assert len(peer.sessions) == 3


def test_two_ids_with_one_hash_on_two_sockets() -> None:
    """On sockets of their own they get their own audio; together on one they cannot go on."""
    first, second = COLLIDING
    one = RawClient()
    one.start(first)
    two = RawClient(one.sessions)
    token = two.start(second)["resume_token"]
    one.audio(first)
    heard = {session.id: session.inbound.frames for session in one.sessions}
    assert heard == {first: 1, second: 0}
    answer = one.say(
        "session.resume", session_id=second, resume_token=token, received=0, sending_from=0
    )[0]
    assert (answer["status"], answer["errors"][0]["code"]) == ("rejected", 1005)


@pytest.mark.parametrize("most", [1, 3])
def test_as_many_sessions_as_may_be(most: int) -> None:
    """One more than the server holds is 4003, on whichever socket; those that wait count."""
    sessions = registry(limits=Limits(max_sessions=most))
    for number in range(most):
        peer = RawClient(sessions)
        assert peer.start(f"s{number}")["status"] == "accepted"
        peer.closed()
    peer = RawClient(sessions)
    error = peer.start("one-more")["errors"][0]
    assert error["code"] == ErrorCode.SESSION_LIMIT_REACHED
    assert error["message"] == f"the server holds {most} sessions, which is the limit"
    assert error["details"] == {"limit": most}
    assert error["recoverable"] is False


def test_as_many_sessions_as_may_be_on_a_socket() -> None:
    """One more than a socket may have is 4003, also where it comes back to it; others go on."""
    sessions = registry(limits=Limits(max_sessions_per_socket=2))
    peer, other = RawClient(sessions), RawClient(sessions)
    peer.start("a")
    peer.start("b")
    error = peer.start("c")["errors"][0]
    assert error["code"] == ErrorCode.SESSION_LIMIT_REACHED
    assert error["message"] == "this socket has 2 sessions, which is the limit"
    token = other.start("c")["resume_token"]
    answer = peer.say(
        "session.resume", session_id="c", resume_token=token, received=0, sending_from=0
    )[0]
    assert (answer["status"], answer["errors"][0]["code"]) == ("rejected", 4003)
    peer.say("session.end", session_id="a")
    assert peer.start("d")["status"] == "accepted"


def test_a_server_that_stops_takes_no_session() -> None:
    """While it drains, a server rejects every start with 4003."""
    peer = RawClient()
    peer.sessions.draining = True
    error = peer.start()["errors"][0]
    assert (error["code"], error["message"]) == (4003, "the server is stopping: connect again")


# --- streams --------------------------------------------------------------------------------


def test_streams_are_unique_and_used_again() -> None:
    """No two sessions share a stream, across sockets; one that is free again is used again."""
    sessions = registry()
    assert [added(sessions, name).stream for name in "abc"] == [1, 2, 3]
    sessions._last_stream = 65_535  # as after as many sessions
    assert [added(sessions, name).stream for name in "def"] == [0, 4, 5]
    second = sessions.get("b")
    assert second is not None
    sessions.forget(second, 0.0, "over")
    sessions._last_stream = 65_535
    assert [added(sessions, name).stream for name in "gh"] == [2, 6]


def test_the_last_free_stream_is_found() -> None:
    """Where all numbers but one are in use, that one is given."""
    sessions = registry()
    sessions._streams = set(range(65_536)) - {40_000}
    assert added(sessions, "s").stream == 40_000


def test_there_are_no_more_sessions_than_streams() -> None:
    """Whatever the limit, the 65,536th session at once is refused before the streams run out."""
    sessions = registry(limits=Limits(max_sessions=1_000_000))
    session = added(sessions, "s")
    sessions._by_id |= dict.fromkeys(map(str, range(65_533)), session)
    sessions.admit("one-more")
    sessions._by_id["one-more"] = session
    with pytest.raises(Rejection, match="holds 65535 sessions"):
        sessions.admit("too-many")


def test_streams_on_one_socket() -> None:
    """Audio of ``asp16`` goes to the session of its stream."""
    peer = RawClient()
    streams = {name: peer.start(name, audio=ASP16)["stream"] for name in ("a", "b", "c")}
    assert len(set(streams.values())) == 3
    peer.audio("b", framing=Framing.ASP16, stream=streams["b"])
    assert {one.id: one.inbound.frames for one in peer.sessions} == {"a": 0, "b": 1, "c": 0}


# --- tokens ---------------------------------------------------------------------------------


def resume(peer: RawClient, token: str, session_id: str = "s") -> dict[str, object]:
    """Ask to go on with a session; return the answer."""
    answer: dict[str, object] = peer.say(
        "session.resume", session_id=session_id, resume_token=token, received=0, sending_from=0
    )[0]
    return answer


def test_each_resumption_has_a_token_of_its_own() -> None:
    """The token of an answer is for the next time, and differs from every one before."""
    peer = RawClient()
    tokens = [str(peer.start()["resume_token"])]
    for _ in range(5):
        peer.closed()
        peer = RawClient(peer.sessions)
        tokens.append(str(resume(peer, tokens[-1])["resume_token"]))
    assert len(set(tokens)) == 6


def test_a_token_that_was_used_is_refused() -> None:
    """Once the client has shown that it knows the newest token, the one before it is void."""
    peer = RawClient()
    first = str(peer.start()["resume_token"])
    peer.closed()
    peer = RawClient(peer.sessions)
    assert resume(peer, first)["status"] == "accepted"
    peer.audio("s")
    thief = RawClient(peer.sessions)
    answer = resume(thief, first)
    assert answer["status"] == "rejected"
    error = answer["errors"][0]  # type: ignore[index] # a list
    assert error["code"] == ErrorCode.RESUME_REFUSED
    assert error["message"] == "session 's' cannot be resumed with this token: start a new one"
    assert peer.audio("s") == []


@pytest.mark.parametrize("shown", ["text", "audio"])
def test_the_token_before_holds_until_the_newest_is_known(shown: str) -> None:
    """An answer that was lost with its socket does no harm: the token before still resumes."""
    peer = RawClient()
    first = str(peer.start()["resume_token"])
    for _ in range(3):  # no answer ever arrives
        peer = RawClient(peer.sessions)
        assert resume(peer, first)["status"] == "accepted"
    peer = RawClient(peer.sessions)
    newest = str(resume(peer, first)["resume_token"])
    if shown == "text":
        peer.say("audio.end", session_id="s")
    else:
        peer.audio("s")
    assert resume(RawClient(peer.sessions), first)["status"] == "rejected"
    assert resume(RawClient(peer.sessions), newest)["status"] == "accepted"


def test_a_token_that_was_never_confirmed_is_void() -> None:
    """Of two resumptions with the same token, the second one's answer counts."""
    peer = RawClient()
    first = str(peer.start()["resume_token"])
    lost = str(resume(RawClient(peer.sessions), first)["resume_token"])
    resume(RawClient(peer.sessions), first)
    assert resume(RawClient(peer.sessions), lost)["status"] == "rejected"


def test_a_second_resumption_on_the_same_socket_shows_the_newest_token() -> None:
    """On the socket that has the session, only the newest token resumes."""
    peer = RawClient()
    first = str(peer.start()["resume_token"])
    newest = str(resume(peer, first)["resume_token"])
    assert resume(peer, first)["status"] == "rejected"
    assert resume(peer, newest)["status"] == "accepted"
    assert peer.audio("s") == []


WRONG: list[tuple[str, str, str]] = [
    ("s", "guess", "a token that was never given"),
    ("s", "é", "one that is no ASCII"),
    ("gone", "token-1", "the token of another session"),
    ("other", "token-1", "the token of another session that is there"),
    ("old", "token-1", "a session that cannot be resumed"),
    ("legacy", "token-1", "a legacy session"),
]


@pytest.mark.parametrize(("session_id", "token", "_what"), WRONG)
def test_a_wrong_token(session_id: str, token: str, _what: str) -> None:
    """Whatever is wrong, the answer is the same, and the session stays with its client."""
    peer = RawClient()
    peer.start("s")
    peer.start("other")
    peer.start_old("old")
    peer.start_legacy("legacy")
    thief = RawClient(peer.sessions)
    answer = resume(thief, token, session_id)
    assert answer["status"] == "rejected"
    assert answer["errors"][0]["message"] == (  # type: ignore[index] # a list
        f"session {session_id!r} cannot be resumed with this token: start a new one"
    )
    assert thief.told(SessionRejected)[0].session_id == session_id
    assert thief.end.sessions == {}
    assert peer.audio("s") == []
    assert peer.audio("old") == []


def test_guessing_tokens_ends_the_socket() -> None:
    """The sixth wrong token within a minute closes the socket."""
    peer = RawClient()
    peer.start()
    thief = RawClient(peer.sessions)
    for _ in range(5):
        assert (
            thief.say(
                "session.resume", session_id="s", resume_token="x", received=0, sending_from=0
            )[1:]
            == []
        )
    assert thief.end.closing is None
    resume(thief, "x")
    assert thief.end.closing is not None
    assert thief.end.closing.code == 4403


def test_resuming_takes_a_session_off_its_socket() -> None:
    """The old socket, dead or not, has no part in the session any more."""
    old = RawClient()
    token = str(old.start()["resume_token"])
    new = RawClient(old.sessions)
    assert resume(new, token)["status"] == "accepted"
    assert old.end.sessions == {}
    assert old.audio("s")[0]["error"]["code"] == ErrorCode.SESSION_NOT_FOUND
    assert old.say("session.end", session_id="s")[0]["error"]["code"] == 4001
    old.closed()
    assert [type(event) for event in new.events] == [SessionResumed]
    assert new.audio("s") == []


# --- messages for sessions of other sockets -------------------------------------------------

FOREIGN: list[tuple[str, dict[str, object]]] = [
    ("session.end", {}),
    ("session.update", {"vad": {"threshold": 0.9}}),
    ("session.confirm", {"config_digest": "x"}),
    ("session.ack", {"received": 0}),
    ("audio.end", {}),
    ("audio.speech_start", {}),
    ("audio.speech_end", {}),
    ("response.cancel", {"response_id": "r1"}),
    ("playback.mark", {"mark_id": "m1"}),
    ("dtmf", {"digit": "1"}),
]


@pytest.mark.parametrize(("kind", "members"), FOREIGN)
@pytest.mark.parametrize("exists", [True, False])
def test_messages_of_a_session_elsewhere(
    kind: str, members: dict[str, object], *, exists: bool
) -> None:
    """A message of a session of another socket is 4001, as that of one that never was."""
    peer = RawClient()
    if exists:
        peer.start()
    other = RawClient(peer.sessions)
    error = other.say(kind, session_id="s", **members)[0]
    assert error["session_id"] == "s"
    assert error["error"]["code"] == ErrorCode.SESSION_NOT_FOUND
    assert error["error"]["message"] == "there is no session 's' on this socket"
    assert other.told(ErrorSent)[0].error.code == ErrorCode.SESSION_NOT_FOUND
    session = peer.sessions.get("s")
    assert session is None or session.state is SessionState.ACTIVE


def test_an_error_is_never_answered() -> None:
    """An error of a session that is not here is told; an answer would begin a quarrel."""
    peer = RawClient()
    error = {"code": 4001, "category": "session", "message": "what?", "recoverable": False}
    assert peer.say("protocol.error", session_id="gone", error=error) == []
    assert peer.say("protocol.error", error=error) == []


# --- sessions that the agent ends -----------------------------------------------------------

ENDS: list[tuple[Callable[[ServerSession], object], str, list[str]]] = [
    (lambda session: session.end(3.0, "hangup"), "hangup", ["session.ended"]),
    (lambda session: session.fail(3.0, "broke"), "error", ["protocol.error", "session.ended"]),
]


@pytest.mark.parametrize(("end", "reason", "said"), ENDS)
def test_a_session_that_the_agent_ends(
    end: Callable[[ServerSession], object], reason: str, said: list[str]
) -> None:
    """It is gone at once from its socket and the server; ``SessionClosed`` comes when asked."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    assert end(session)
    assert [one["type"] for one in peer.heard()] == said
    assert (len(peer.sessions), peer.end.sessions, session.link) == (0, {}, None)
    assert session.state is SessionState.CLOSED
    assert peer.say("audio.end", session_id="s")[0]["error"]["code"] == 4001
    assert peer.sessions.next_timeout() == 3.0
    assert peer.sessions.handle_timeout(3.0) == [
        SessionClosed("s", reason, 3.0, session.statistics)
    ]
    assert peer.sessions.next_timeout() is None
    assert not end(session)
    assert peer.heard() == []


def test_whoever_ended_a_session_is_told_first() -> None:
    """Who forgets a session that it has ended gets the event, and nobody gets it twice."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    session.fail(1.0, "broke")
    assert all_of(peer.sessions.forget(session, 1.0, "other"), SessionClosed)[0].reason == "error"
    assert peer.sessions.forget(session, 1.0, "other") == []
    assert peer.sessions.handle_timeout(1.0) == []


def test_what_cannot_be_done_with_a_session_that_is_over() -> None:
    """The agent's next command is a misuse; nothing of it reaches the wire."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    session.start_response(0.0)
    session.end(0.0, "hangup")
    peer.heard()
    with pytest.raises(Misuse):
        session.send_audio(FRAME, 0.0)
    with pytest.raises(Misuse):
        session.start_response(0.0)
    with pytest.raises(Misuse):
        session.act("hangup", 0.0)
    assert peer.heard() == []


def test_a_session_is_closed_once() -> None:
    """However its end is asked for, there is one ``SessionClosed``."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    events: list[Event] = peer.sessions.close(session, 0.0, "hangup")
    events += peer.sessions.close(session, 0.0, "again")
    events += peer.end.closed(0.0)
    events += peer.sessions.handle_timeout(0.0)
    assert [event.reason for event in all_of(events, SessionClosed)] == ["hangup"]


def test_iteration_goes_on_while_sessions_end() -> None:
    """Ending sessions while going through them misses none."""
    sessions = registry()
    for number in range(5):
        added(sessions, f"s{number}")
    for session in sessions:
        sessions.close(session, 0.0, "over")
    assert len(sessions) == 0


def test_sockets_of_one_server_do_not_mix() -> None:
    """Many sessions on two sockets get their own audio, in ``hash12`` and in ``asp16``."""
    pair = AspPair()
    calls = []
    for number, framing in enumerate([None, Framing.ASP16, Framing.HASH12, Framing.ASP16]):
        audio = AudioConfig(framing=framing)
        calls.append(pair.open(SessionRequest(session_id=f"s{number}", audio=audio)))
        if number == 1:
            pair.connect()
    for number, call in enumerate(calls):
        for _ in range(number + 1):
            call.send_audio(FRAME, pair.now)
    for socket in pair.sockets:
        socket.deliver(Side.SERVER)
    assert [pair.agent(f"s{number}").inbound.frames for number in range(4)] == [1, 2, 3, 4]


def test_a_resumption_that_the_client_has_given_up() -> None:
    """A token of before that arrives late on an older socket takes the session from nobody."""
    peer = RawClient()
    first = str(peer.start()["resume_token"])
    older, newer = RawClient(peer.sessions), RawClient(peer.sessions)
    newest = str(resume(newer, first)["resume_token"])
    assert resume(older, first)["status"] == "rejected"
    assert newer.audio("s") == []
    newer.closed()
    assert resume(older, first)["status"] == "rejected"
    assert resume(older, newest)["status"] == "accepted"
