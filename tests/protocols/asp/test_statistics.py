"""What the server counts of a session."""

from __future__ import annotations

import pytest

from palaver.protocols.asp.config import SessionStatistics
from palaver.protocols.asp.events import SessionClosed
from palaver.protocols.asp.messages import SessionEndedMessage
from palaver.protocols.asp.server_session import ServerSession
from tests.protocols.asp.ends import FRAME, RawClient


def talking() -> tuple[RawClient, ServerSession]:
    """Return a client with a session, and the session as the agent has it."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    return peer, session


def test_nothing_has_happened() -> None:
    """A session in which nobody said anything counts nothing, and divides by nothing."""
    _, session = talking()
    assert session.statistics == SessionStatistics()


def test_frames_both_ways() -> None:
    """Frames are counted, however many of them stand in one message; refused ones are not."""
    peer, session = talking()
    peer.audio("s", FRAME * 5)
    peer.audio("s", FRAME)
    peer.audio("s", FRAME[:100])
    session.start_response(0.0)
    session.send_audio(FRAME * 10, 0.0)
    session.send_audio(FRAME, 0.0)
    assert session.statistics.audio_frames_received == 6
    assert session.statistics.audio_frames_sent == 11


def test_starts_of_speech() -> None:
    """A start and its confirmation are one; each utterance is another."""
    peer, session = talking()
    for _ in range(2):
        peer.say("audio.speech_start", session_id="s", start_ms=0, confirmed=False)
        peer.say("audio.speech_start", session_id="s", start_ms=0, confirmed=True)
        peer.say("audio.speech_end", session_id="s", duration_ms=500)
    peer.say("audio.speech_start", session_id="s")
    peer.say("audio.end", session_id="s")
    peer.say("audio.speech_start", session_id="s")
    assert session.statistics.vad_speech_events == 4
    assert session.speaking


def test_barge_ins() -> None:
    """An answer that was interrupted counts; one that was stopped by hand does not."""
    peer, session = talking()
    for reason in ("barge_in", "manual", "barge_in"):
        response = session.start_response(0.0)
        peer.say("response.cancel", session_id="s", response_id=response.id, reason=reason)
        assert session.response is None
    peer.say("response.cancel", session_id="s", response_id="r3", reason="barge_in")
    assert session.statistics.barge_in_count == 2


def test_how_long_answers_take() -> None:
    """From the end of the utterance to the first audio of an answer that began afterwards."""
    peer, session = talking()
    for begin, latency in ((10.0, 0.7), (20.0, 0.2)):
        peer.now = begin
        peer.say("audio.end", session_id="s")
        session.start_response(begin)
        session.send_audio(FRAME, begin + latency)
        session.send_audio(FRAME, begin + 5.0)
        session.end_response(begin + 6.0)
    assert session.statistics.average_response_latency_ms == 450.0


def test_an_answer_from_before_the_utterance_is_no_answer_to_it() -> None:
    """While the agent still talks, the end of an utterance waits for the next answer."""
    peer, session = talking()
    session.start_response(0.0)
    peer.now = 1.0
    peer.say("audio.speech_end", session_id="s", duration_ms=300)
    session.send_audio(FRAME, 1.1)
    assert session.statistics.average_response_latency_ms == 0.0
    session.start_response(1.5)
    session.send_audio(FRAME, 3.0)
    assert session.statistics.average_response_latency_ms == 2000.0


def test_speech_that_was_none_needs_no_answer() -> None:
    """Discarded speech does not start the clock."""
    peer, session = talking()
    peer.say("audio.speech_end", session_id="s", discarded=True, reason="too_short")
    session.start_response(1.0)
    session.send_audio(FRAME, 9.0)
    assert session.statistics.average_response_latency_ms == 0.0


@pytest.mark.parametrize("ended_by", ["client", "agent", "nobody"])
def test_the_end_tells_what_was_counted(ended_by: str) -> None:
    """``session.ended`` and ``SessionClosed`` have the same figures, whoever ended the session."""
    peer, session = talking()
    peer.audio("s", FRAME * 3)
    peer.now = 2.5
    if ended_by == "client":
        heard = peer.say("session.end", session_id="s", reason="call_hangup")
    elif ended_by == "agent":
        session.end(2.5, "hangup")
        heard = peer.heard()
    else:
        peer.now = 300.0
        peer.events += peer.sessions.handle_timeout(300.0)
        heard = peer.heard()[1:]
    peer.events += peer.sessions.handle_timeout(peer.now)
    ended = SessionEndedMessage.model_validate(heard[0])
    closed = peer.told(SessionClosed)
    assert ended.statistics == SessionStatistics(audio_frames_received=3)
    assert ended.duration_seconds == peer.now
    assert [(one.statistics, one.duration_seconds) for one in closed] == [
        (ended.statistics, ended.duration_seconds)
    ]
