"""VAD values for one turn, as either side asks for them (§7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import ConfigSwitched, MessageReceived, UpdateRejected
from palaver.protocols.asp.messages import AudioSpeechEndMessage, Side
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import EVERYTHING, AspPair
from tests.protocols.asp.ends import FRAME, RawClient, RawServer, agree, seqs, switches

FRAMINGS = [None, *Framing]
END = AudioSpeechEndMessage(session_id="s", duration_ms=400)


def opened(framing: Framing | None = None, **members: Any) -> tuple[AspPair, ClientSession]:
    """Return a pair with a session ``s``."""
    pair = AspPair()
    audio = AudioConfig(framing=framing)
    return pair, pair.open(SessionRequest(session_id="s", audio=audio, **members))


ENDS: list[Callable[[ClientSession], ConfigSwitched | None]] = [
    lambda session: session.commit(0.0),
    lambda session: session.report_speech(END, 0.0),
]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("end", ENDS)
def test_values_for_a_turn(
    framing: Framing | None, end: Callable[[ClientSession], ConfigSwitched | None]
) -> None:
    """They hold until the utterance ends; then both sides go back, at the same frame."""
    pair, session = opened(framing, vad=VADConfig(min_speech_ms=300))
    session.update(VADConfig(silence_threshold_ms=1500), 0.0, for_turn=True)
    pair.pump()
    assert session.config.vad == VADConfig(min_speech_ms=300, silence_threshold_ms=1500)
    agree(pair)
    session.send_audio(FRAME, 0.0)
    over = end(session)
    assert over is not None
    assert (over.cause, over.seq, over.vad) == ("turn_over", 1, VADConfig(min_speech_ms=300))
    session.send_audio(FRAME, 0.0)
    assert end(session) is None
    pair.pump()
    assert seqs(pair, Side.SERVER) == [
        (0, 0, "turn", VADConfig(min_speech_ms=300, silence_threshold_ms=1500)),
        (1, 160, "turn_over", VADConfig(min_speech_ms=300)),
    ]
    agree(pair)


def test_speech_that_was_none_ends_no_turn() -> None:
    """Discarded speech leaves the values of the turn as they are."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    pair.pump()
    discarded = END.model_copy(update={"discarded": True})
    assert session.report_speech(discarded, 0.0) is None
    pair.pump()
    assert session.config.vad.threshold == 0.8
    agree(pair)


def test_a_second_override_in_the_same_turn() -> None:
    """It is merged over the first; after the turn, what held before both holds again."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    pair.pump()
    session.update(VADConfig(min_speech_ms=500), 0.0, for_turn=True)
    pair.pump()
    assert session.config.vad == VADConfig(threshold=0.8, min_speech_ms=500)
    session.commit(0.0)
    pair.pump()
    assert session.config.vad == VADConfig()
    agree(pair)


def test_a_session_update_during_an_override() -> None:
    """It holds at once, is merged over what lasts, and ends the override."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    pair.pump()
    session.update(VADConfig(min_speech_ms=500), 0.0)
    pair.pump()
    assert session.config.vad == VADConfig(min_speech_ms=500)
    assert session.commit(0.0) is None
    pair.pump()
    assert session.config.vad == VADConfig(min_speech_ms=500)
    agree(pair)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_turn_that_ends_before_its_override_is_answered(framing: Framing | None) -> None:
    """Both sides run it for the frames between, and go back at the first end of the turn."""
    pair, session = opened(framing)
    session.send_audio(FRAME, 0.0)
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    session.send_audio(FRAME, 0.0)
    assert session.commit(0.0) is None
    session.send_audio(FRAME, 0.0)
    assert session.commit(0.0) is None
    session.send_audio(FRAME, 0.0)
    pair.pump()
    expected = [
        (1, 160, "turn", VADConfig(threshold=0.8)),
        (2, 320, "turn_over", VADConfig()),
    ]
    assert seqs(pair, Side.CLIENT) == expected
    assert seqs(pair, Side.SERVER) == expected
    agree(pair)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_turn_that_ends_while_a_session_update_is_open(framing: Framing | None) -> None:
    """The update ends the override first, as the server sees it: there is nothing to go back to."""
    pair, session = opened(framing)
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    pair.pump()
    session.update(VADConfig(min_speech_ms=500), 0.0)
    session.send_audio(FRAME, 0.0)
    assert session.commit(0.0) is None
    pair.pump()
    expected = [
        (0, 0, "turn", VADConfig(threshold=0.8)),
        (0, 0, "update", VADConfig(min_speech_ms=500)),
    ]
    assert seqs(pair, Side.CLIENT) == expected
    assert seqs(pair, Side.SERVER) == expected
    agree(pair)


def test_a_turn_that_ends_while_an_update_is_rejected() -> None:
    """What was not changed is gone back to all the same, where the turn ended."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    negotiated = {"audio": {}, "vad": {"threshold": 0.8}}
    peer.say("session.updated", session_id="s", status="accepted", negotiated=negotiated)
    assert session.applied.vad.threshold == 0.8
    session.update(VADConfig(min_speech_ms=500), 0.0)
    session.send_audio(FRAME, 0.0)
    assert session.commit(0.0) is None
    mark = len(peer.events)
    peer.say("session.updated", session_id="s", status="rejected", errors=[])
    over, rejected = peer.since(mark)
    assert isinstance(over, ConfigSwitched)
    assert (over.seq, over.cause, over.vad) == (1, "turn_over", VADConfig())
    assert rejected == UpdateRejected("s", ())
    assert session.applied.vad == session.config.vad == VADConfig()


# --- what the server asks for -----------------------------------------------------------------


def test_the_server_asks_for_values_for_a_turn() -> None:
    """The client asks for them itself, so that it is its frame at which they begin."""
    pair, session = opened()
    session.send_audio(FRAME, 0.0)
    pair.pump()
    assert pair.agent("s").override_turn(VADConfig(silence_threshold_ms=1500), 0.0)
    pair.pump()
    expected = [(1, 160, "turn", VADConfig(silence_threshold_ms=1500))]
    assert seqs(pair, Side.CLIENT) == expected
    assert seqs(pair, Side.SERVER) == expected
    agree(pair)
    assert len(pair.told(Side.CLIENT, MessageReceived)) == 1


@pytest.mark.parametrize("configurable", [True, False])
def test_the_server_asks_while_an_update_is_open(*, configurable: bool) -> None:
    """What it asks for waits for the answer, whatever that is; of two wishes the last counts."""
    pair = AspPair(EVERYTHING.model_copy(update={"vad_configurable": configurable}))
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(min_speech_ms=500), 0.0)
    pair.agent("s").override_turn(VADConfig(threshold=0.7), 0.0)
    pair.agent("s").override_turn(VADConfig(threshold=0.8), 0.0)
    pair.pump()
    agree(pair)
    if configurable:
        assert session.config.vad == VADConfig(min_speech_ms=500, threshold=0.8)
        session.commit(0.0)
        pair.pump()
        assert session.config.vad == VADConfig(min_speech_ms=500)
        agree(pair)
    else:
        assert len(pair.told(Side.CLIENT, UpdateRejected)) == 2


def test_the_server_asks_while_the_session_ends() -> None:
    """There is no turn any more: nothing is asked for."""
    pair, session = opened()
    pair.agent("s").override_turn(VADConfig(threshold=0.7), 0.0)
    session.end(0.0)
    pair.pump()
    assert switches(pair, Side.CLIENT) == []
    assert session.state is SessionState.CLOSED


def test_the_server_asks_while_the_session_ends_with_an_update_open() -> None:
    """What waited for the answer is forgotten with the session."""
    pair, session = opened()
    session.update(VADConfig(min_speech_ms=500), 0.0)
    pair.agent("s").override_turn(VADConfig(threshold=0.7), 0.0)
    pair.socket.deliver(Side.CLIENT)
    session.end(0.0)
    pair.pump()
    assert [one.cause for one in switches(pair, Side.CLIENT)] == ["update"]


def test_a_client_that_takes_no_wishes() -> None:
    """Where the feature was not agreed on, nothing is sent."""
    pair = AspPair()
    pair.open(SessionRequest(session_id="s", features=frozenset()))
    assert not pair.agent("s").override_turn(VADConfig(threshold=0.7), 0.0)
    assert pair.socket.quiet


def test_a_scope_that_was_not_agreed_on() -> None:
    """``scope: turn`` of a client without the feature is refused: it must not last for the call."""
    peer = RawClient()
    peer.start(features=[])
    heard = peer.say("session.update", session_id="s", vad={"threshold": 0.7}, scope="turn")
    assert heard[0]["status"] == "rejected"
    assert heard[0]["errors"][0]["code"] == ErrorCode.INVALID_MESSAGE_TYPE
    assert heard[0]["errors"][0]["details"] == {"pointer": "/scope"}
    session = peer.sessions.get("s")
    assert session is not None
    assert session.config.vad.threshold == 0.5
