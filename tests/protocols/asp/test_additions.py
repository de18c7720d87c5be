"""What the features of 1.1 do, from one end to the other (§4, §11)."""

from __future__ import annotations

import orjson
import pytest

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.events import MessageReceived, PeerGoingAway
from palaver.protocols.asp.messages import (
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    CallActionMessage,
    Feature,
    PlaybackMarkMessage,
    ResponseEndMessage,
    Side,
    TranscriptMessage,
)
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import FRAME, RawClient

START = AudioSpeechStartMessage(session_id="s", start_ms=1, prefix_ms=2, confirmed=True)
END = AudioSpeechEndMessage(
    session_id="s", duration_ms=5, start_ms=1, end_ms=6, discarded=True, reason="too_short"
)


def test_actions_on_the_call() -> None:
    """A transfer reaches the client with its target and its reason, in order with the answer."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    agent.start_response(0.0, "One moment.")
    assert agent.act("transfer", 0.0, target="desk", reason="asked for it")
    agent.end_response(0.0)
    pair.pump()
    received = [one.message for one in pair.told(Side.CLIENT, MessageReceived)]
    assert [one.message_type for one in received] == [
        "response.start",
        "call.action",
        "response.end",
    ]
    action = received[1]
    assert isinstance(action, CallActionMessage)
    assert (action.action, action.target, action.reason) == ("transfer", "desk", "asked for it")


def test_a_server_that_goes_away() -> None:
    """The client is told once, starts nothing more there, and its calls go on."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    pair.server.go_away(pair.now, 20.0)
    pair.pump()
    assert pair.told(Side.CLIENT, PeerGoingAway) == [PeerGoingAway("shutdown", 20_000)]
    with pytest.raises(Misuse, match="the server is not ready for one"):
        pair.request(SessionRequest(session_id="t"))
    session.send_audio(FRAME, pair.now)
    pair.pump()
    assert pair.agent("s").inbound.frames == 1


def test_a_server_that_goes_away_before_anybody_understands_it() -> None:
    """Who begins or goes on with a session there later is told then, with the time that is left."""
    sessions = RawClient().sessions
    first = RawClient(sessions)
    first.start("old", features=[])
    first.end.go_away(0.0, 20.0, "update")
    assert first.heard() == []
    first.now = 5.0
    heard = first.say("session.start", session_id="s", version="1.1.0", features=list(Feature))
    assert heard[1] == {"type": "protocol.go_away", "reason": "update", "grace_ms": 15_000}
    second = RawClient(sessions)
    second.end.go_away(0.0, 20.0)
    second.now = 30.0
    heard = second.say(
        "session.resume",
        session_id="s",
        resume_token=heard[0]["resume_token"],
        received=0,
        sending_from=0,
    )
    assert heard[1] == {"type": "protocol.go_away", "reason": "shutdown", "grace_ms": 0}
    assert second.say("session.start", session_id="u", features=list(Feature))[1:] == []


def test_speech_of_a_server() -> None:
    """What the server's own detector found reaches a client that knows such messages."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    assert pair.agent("s").report_speech(START, 0.0)
    assert pair.agent("s").report_speech(END, 0.0)
    pair.pump()
    received = [one.message for one in pair.told(Side.CLIENT, MessageReceived)]
    assert [one.model_copy(update={"timestamp": None}) for one in received] == [START, END]


def test_transcripts() -> None:
    """What was said comes in words, in order with the answer; of a long text, the beginning."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    assert agent.report_transcript("user", "good m", 0.0, final=False)
    assert agent.report_transcript("user", "Good morning.", 0.0, task_id="t1", language="en-GB")
    response = agent.start_response(0.0)
    assert agent.report_transcript("agent", "\0" * 20_000, 0.0, response_id=response.id)
    agent.end_response(0.0)
    pair.pump()
    received = [one.message for one in pair.told(Side.CLIENT, MessageReceived)]
    heard = [one for one in received if isinstance(one, TranscriptMessage)]
    assert [one.message_type for one in received] == [
        "transcript",
        "transcript",
        "response.start",
        "transcript",
        "response.end",
    ]
    assert [(one.role, one.final, one.task_id, one.language) for one in heard] == [
        ("user", False, None, None),
        ("user", True, "t1", "en-GB"),
        ("agent", True, None, None),
    ]
    assert (heard[1].text, heard[2].text) == ("Good morning.", "\0" * 10_000)
    assert [one.response_id for one in heard] == [None, None, "r1"]


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"language": "pt_BR"}, "language: must match"),
        ({"language": "en" + "-x" * 17}, "language: must have at most 35 characters"),
        ({"task_id": "x" * 129}, "task_id: must have at most 128 characters"),
        ({"response_id": ""}, "response_id: must not be empty"),
    ],
)
def test_transcripts_that_cannot_be(members: dict[str, str], wrong: str) -> None:
    """An id or a language that is none is a misuse; the client hears nothing of it."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    with pytest.raises(Misuse, match=wrong):
        pair.agent("s").report_transcript("user", "yes", 0.0, **members)  # type: ignore[arg-type]
    pair.pump()
    assert pair.told(Side.CLIENT, MessageReceived) == []


def test_transcripts_that_nobody_reads() -> None:
    """A client that does not know them is sent none, and the agent is told so."""
    for start in ({"features": ["dtmf"]}, {"version": None, "features": None}):
        peer = RawClient()
        peer.start(**start)
        session = peer.sessions.get("s")
        assert session is not None
        assert not session.report_transcript("user", "yes", 0.0, task_id="")
        assert peer.heard() == []


def test_keys_and_marks() -> None:
    """Keys reach the agent; marks come back with what became of them."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    agent.start_response(0.0)
    assert agent.mark(0.0) == "m1"
    agent.end_response(0.0)
    assert agent.mark(0.0) == "m2"
    pair.pump()
    marks = [
        one.message
        for one in pair.told(Side.CLIENT, MessageReceived)
        if isinstance(one.message, PlaybackMarkMessage)
    ]
    assert [(mark.mark_id, mark.response_id) for mark in marks] == [("m1", "r1"), ("m2", None)]
    assert session.report_mark(marks[0], "cleared", 40, 0.0)
    assert session.press("#", 0.0, 120)
    pair.pump()
    said = [one.message for one in pair.told(Side.SERVER, MessageReceived)]
    assert orjson.loads(said[0].to_json()) == {
        "type": "playback.mark",
        "timestamp": "1970-01-01T00:00:00Z",
        "session_id": "s",
        "mark_id": "m1",
        "response_id": "r1",
        "outcome": "cleared",
        "played_ms": 40,
    }
    assert said[1].model_dump()["digit"] == "#"


# --- answers ----------------------------------------------------------------------------------


def ends_of(pair: AspPair) -> list[ResponseEndMessage]:
    """Return the ends of answers that the client was told."""
    received = [one.message for one in pair.told(Side.CLIENT, MessageReceived)]
    return [one for one in received if isinstance(one, ResponseEndMessage)]


def test_an_answer_from_start_to_end() -> None:
    """Each answer has an id and a generation; its end says how much was sent."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    for number in (1, 2):
        response = agent.start_response(0.0, "hi")
        assert (response.id, response.generation) == (f"r{number}", number)
        assert agent.send_audio(FRAME * 5, 0.0)
        assert agent.end_response(0.0)
    assert not agent.end_response(0.0)
    assert not agent.send_audio(FRAME, 0.0)
    pair.pump()
    assert [(one.response_id, one.sent_ms, one.interrupted) for one in ends_of(pair)] == [
        ("r1", 100, False),
        ("r2", 100, False),
    ]


def test_an_answer_that_is_cancelled() -> None:
    """The agent's next audio is not sent; the end says how much was heard, and why it ended."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    response = agent.start_response(0.0)
    for _ in range(10):
        agent.send_audio(FRAME * 10, 0.0)
    pair.pump()
    assert session.cancel_response(response.id, 60, 0.0)
    pair.pump()
    assert not agent.send_audio(FRAME, 0.0)
    end = ends_of(pair)[0]
    assert (end.interrupted, end.sent_ms, end.played_ms, end.reason) == (
        True,
        2000,
        60,
        "barge_in",
    )
    assert agent.barge_ins == 1


def test_a_cancellation_that_comes_too_late() -> None:
    """An answer that has ended meanwhile is not cancelled, and neither is the next one."""
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    agent.start_response(0.0)
    pair.pump()
    session.cancel_response("r1", 0, 0.0, "manual")
    agent.end_response(0.0)
    agent.start_response(0.0)
    pair.pump()
    assert [one.interrupted for one in ends_of(pair)] == [False]
    assert agent.send_audio(FRAME, 0.0)
    assert pair.told(Side.SERVER, MessageReceived) == []


def test_an_answer_that_is_superseded() -> None:
    """A new answer interrupts the one before it."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s"))
    agent = pair.agent("s")
    agent.start_response(0.0)
    agent.start_response(0.0)
    pair.pump()
    assert [(one.response_id, one.interrupted, one.reason) for one in ends_of(pair)] == [
        ("r1", True, "superseded")
    ]


def test_a_very_long_answer() -> None:
    """Of a text without end the client is told the beginning, in a message that it takes."""
    for text in ("x" * 100_000, "\x01" * 100_000):
        pair = AspPair()
        pair.open(SessionRequest(session_id="s"))
        pair.agent("s").start_response(0.0, text)
        pair.pump()
        said = pair.told(Side.CLIENT, MessageReceived)[0].message.model_dump()["text"]
        assert said == text[:10_000]


def test_generations_come_round() -> None:
    """The 65,537th answer has the number of the first; its id is still its own."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    session._responses = 65_535
    response = session.start_response(0.0)
    assert (response.id, response.generation) == ("r65536", 0)
    assert peer.heard()[0]["generation"] == 0
