"""Other VAD values while a session runs: merged, atomic, for a turn (§7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import (
    AudioConfig,
    Framing,
    NegotiatedConfig,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import ErrorCode, Misuse
from palaver.protocols.asp.events import (
    AudioReceived,
    ErrorSent,
    RequestTimedOut,
    SessionClosed,
    UpdateRejected,
)
from palaver.protocols.asp.messages import Side
from palaver.protocols.asp.session import Applied, apply_as_negotiated
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import EVERYTHING, AspPair
from tests.protocols.asp.ends import (
    FRAME,
    RawClient,
    RawServer,
    agree,
    registry,
    seqs,
    switches,
)

FRAMINGS = [None, *Framing]


def opened(framing: Framing | None = None, **members: Any) -> tuple[AspPair, ClientSession]:
    """Return a pair with a session ``s``."""
    pair = AspPair()
    audio = AudioConfig(framing=framing)
    return pair, pair.open(SessionRequest(session_id="s", audio=audio, **members))


# --- what is asked for ------------------------------------------------------------------------


def test_what_is_left_out_stays() -> None:
    """An update is merged over what runs now, not over the defaults."""
    pair, session = opened(vad=VADConfig(silence_threshold_ms=800, threshold=0.3))
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.pump()
    session.update(VADConfig(min_speech_ms=400), 0.0)
    pair.pump()
    expected = VADConfig(silence_threshold_ms=800, threshold=0.7, min_speech_ms=400)
    assert session.config.vad == expected
    agree(pair)


def test_an_empty_update_changes_nothing() -> None:
    """``vad: {}`` is accepted, and everything stays."""
    peer = RawClient()
    peer.start(vad={"threshold": 0.3})
    answer = peer.say("session.update", session_id="s", vad={})[0]
    assert answer["status"] == "accepted"
    assert answer["negotiated"]["vad"]["threshold"] == 0.3
    answer = peer.say("session.update", session_id="s")[0]
    assert answer["negotiated"]["vad"]["threshold"] == 0.3


def test_values_out_of_range_are_moved_and_named() -> None:
    """Of an update only what was asked for is adjusted; earlier adjustments are not repeated."""
    peer = RawClient()
    peer.start(vad={"silence_threshold_ms": 3000})
    answer = peer.say("session.update", session_id="s", vad={"threshold": 1.5})[0]
    assert answer["status"] == "accepted_with_changes"
    assert answer["negotiated"]["vad"]["silence_threshold_ms"] == 2000
    assert answer["negotiated"]["adjustments"] == [
        {
            "field": "vad.threshold",
            "requested": 1.5,
            "applied": 1.0,
            "reason": "above the maximum of 1",
        }
    ]


def test_what_a_client_may_not_set_stays() -> None:
    """A parameter that the server keeps for itself keeps its value, and says so."""
    capabilities = EVERYTHING.model_copy(update={"vad_parameters": ("threshold",)})
    peer = RawClient(registry(capabilities))
    peer.start()
    answer = peer.say(
        "session.update", session_id="s", vad={"threshold": 0.6, "min_speech_ms": 900}
    )[0]
    assert answer["negotiated"]["vad"]["threshold"] == 0.6
    assert answer["negotiated"]["vad"]["min_speech_ms"] == 250
    assert [one["field"] for one in answer["negotiated"]["adjustments"]] == ["vad.min_speech_ms"]


def test_an_update_that_is_rejected() -> None:
    """A server that lets nobody configure VAD answers 3002; both sides go on as they were."""
    pair = AspPair(EVERYTHING.model_copy(update={"vad_configurable": False}))
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.pump()
    for side in Side:
        rejected = pair.told(side, UpdateRejected)[0]
        assert rejected.errors[0].code == ErrorCode.VAD_NOT_CONFIGURABLE
        assert rejected.errors[0].message == "vad: the server does not let clients configure it"
        assert switches(pair, side) == []
    assert session.state is SessionState.ACTIVE
    agree(pair)


def test_a_wrong_type_is_refused() -> None:
    """A value of the wrong type is rejected with 3001, points at the field, and changes nothing."""
    peer = RawClient()
    peer.start()
    answer = peer.say("session.update", session_id="s", vad={"threshold": "high"})[0]
    assert (answer["type"], answer["status"]) == ("session.updated", "rejected")
    error = answer["errors"][0]
    assert (error["code"], error["details"]) == (3001, {"pointer": "/vad/threshold"})
    session = peer.sessions.get("s")
    assert session is not None
    assert (session.state, session.config.vad) == (SessionState.ACTIVE, VADConfig())


def test_an_update_that_cannot_be_read_is_counted() -> None:
    """It is answered as an update, and counted as a message of the session."""
    peer = RawClient()
    peer.start()
    session = peer.sessions.get("s")
    assert session is not None
    before = session.received
    peer.say("session.update", session_id="s", vad={"threshold": "high"})
    assert session.received == before + 1
    peer.say("session.update", session_id="s", vad={"threshold": 0.7})
    assert session.config.vad.threshold == 0.7


def test_an_update_of_no_session() -> None:
    """An update of a session that is not there is 4001."""
    error = RawClient().say("session.update", session_id="s", vad={})[0]
    assert (error["session_id"], error["error"]["code"]) == ("s", ErrorCode.SESSION_NOT_FOUND)


def test_one_update_at_a_time() -> None:
    """A second update before the answer to the first is our own mistake; nothing is sent."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    with pytest.raises(Misuse, match="updating"):
        session.update(VADConfig(threshold=0.8), 0.0)
    pair.pump()
    assert session.config.vad.threshold == 0.7
    session.update(VADConfig(threshold=0.8), 0.0)
    pair.pump()
    agree(pair)


def test_a_server_answers_updates_one_after_the_other() -> None:
    """A raw client that does not wait gets an answer to each, in order."""
    peer = RawClient()
    peer.start()
    values = []
    for value in (0.6, 0.7):
        answer = peer.say("session.update", session_id="s", vad={"threshold": value})[0]
        values.append(answer["negotiated"]["vad"]["threshold"])
    assert values == [0.6, 0.7]


def test_an_answer_to_nothing() -> None:
    """A ``session.updated`` that nobody asked for is 4004."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    error = peer.say(
        "session.updated",
        session_id="s",
        status="accepted",
        negotiated={"audio": {}, "vad": {"threshold": 0.9}},
    )[0]["error"]
    assert error["code"] == ErrorCode.SESSION_UPDATE_NOT_ALLOWED
    assert session.config.vad == VADConfig()


UNUSABLE: list[tuple[str, dict[str, Any], str]] = [
    ("nothing", {}, "negotiated: missing"),
    (
        "illegal",
        {"negotiated": {"audio": {}, "vad": {"threshold": 7.0}}},
        "negotiated: threshold must be 0-1, not 7.0",
    ),
]


@pytest.mark.parametrize(("_what", "members", "message"), UNUSABLE)
def test_an_answer_that_cannot_be_run(_what: str, members: dict[str, Any], message: str) -> None:
    """The client tells the server, runs what it ran, and waits for nothing more."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    peer.heard()
    said = peer.say("session.updated", session_id="s", status="accepted", **members)
    assert said[0]["error"]["message"] == message
    assert peer.told(UpdateRejected)[0].errors[0].message == message
    assert session.config.vad == VADConfig()
    assert (session.state, session.undecided_from) == (SessionState.ACTIVE, None)
    assert peer.end.next_timeout() is None


def test_the_audio_of_a_session_stays() -> None:
    """An update is of VAD alone: other audio in its answer changes nothing."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    negotiated = {"audio": {"sample_rate": 16000}, "vad": {"threshold": 0.7}}
    peer.say("session.updated", session_id="s", status="accepted", negotiated=negotiated)
    assert session.config.audio == AudioConfig()
    assert session.config.vad.threshold == 0.7


# --- where it begins --------------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("meanwhile", [0, 1, 7])
def test_both_sides_switch_at_the_same_frame(
    framing: Framing | None, before: int, meanwhile: int
) -> None:
    """The frame after the update is the first under the new values, on both sides."""
    pair, session = opened(framing)
    for _ in range(before):
        session.send_audio(FRAME * 3, 0.0)
    session.update(VADConfig(threshold=0.7), 0.0)
    assert session.undecided_from == before
    for _ in range(meanwhile):
        session.send_audio(FRAME * 2, 0.0)
    assert switches(pair, Side.CLIENT) == []
    assert session.undecided_from == before
    pair.pump()
    expected = [(before, before * 480, "update", VADConfig(threshold=0.7))]
    assert seqs(pair, Side.CLIENT) == expected
    assert seqs(pair, Side.SERVER) == expected
    agree(pair)
    heard = [one.seq for one in pair.told(Side.SERVER, AudioReceived)]
    assert heard == list(range(before + meanwhile))


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("wrong", [b"", b"\x00", bytes(319), bytes(11 * 320)])
def test_refused_audio_has_its_number(framing: Framing | None, wrong: bytes) -> None:
    """What was refused before an update counts, so that both sides mean the same frame."""
    pair, session = opened(framing)
    header = {None: 12, Framing.HASH12: 12, Framing.SEQ14: 14, Framing.ASP16: 16}[framing]

    def damage(sender: Side, message: str | bytes) -> list[str | bytes]:
        if sender is Side.CLIENT and isinstance(message, bytes) and message.endswith(b"\x07"):
            return [message[:header] + wrong]
        return [message]

    pair.tamper = damage
    session.send_audio(FRAME, 0.0)
    session.send_audio(bytes(319) + b"\x07", 0.0)
    session.update(VADConfig(threshold=0.7), 0.0)
    session.send_audio(FRAME, 0.0)
    pair.pump()
    assert [one.error.code for one in pair.told(Side.SERVER, ErrorSent)] == [2004]
    assert [one.seq for one in pair.told(Side.SERVER, AudioReceived)] == [0, 2]
    for side in Side:
        assert [one.seq for one in switches(pair, side)] == [2]
    agree(pair)


def test_the_answer_names_the_frame() -> None:
    """``effective_seq`` and ``effective_samples`` say where the server begins."""
    peer = RawClient()
    peer.start()
    for _ in range(4):
        peer.audio("s", FRAME * 2)
    answer = peer.say("session.update", session_id="s", vad={"threshold": 0.7})[0]
    assert (answer["effective_seq"], answer["effective_samples"]) == (4, 1280)


def test_an_update_while_the_session_ends() -> None:
    """What was asked before the end is still answered and switched to; nothing breaks."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    session.end(0.0)
    pair.pump()
    assert len(switches(pair, Side.CLIENT)) == 1
    assert session.state is SessionState.CLOSED
    assert len(pair.told(Side.CLIENT, SessionClosed)) == 1


def test_the_pipeline_is_configured_once() -> None:
    """Each side tells its audio pipeline of a switch, and once."""
    told: list[tuple[str, VADConfig]] = []

    def hook(side: str) -> Callable[[str, NegotiatedConfig], Applied]:
        def configure(session_id: str, config: NegotiatedConfig) -> Applied:
            told.append((side, config.vad))
            return apply_as_negotiated(session_id, config)

        return configure

    pair = AspPair(client_configure=hook("client"), server_configure=hook("server"))
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.pump()
    session.update(VADConfig(threshold=0.8), 0.0, for_turn=True)
    pair.pump()
    session.commit(0.0)
    pair.pump()
    expected = [VADConfig(), *(VADConfig(threshold=value) for value in (0.7, 0.8, 0.7))]
    for side in ("client", "server"):
        assert [vad for one, vad in told if one == side] == expected


def test_configure_is_told_what_a_late_answer_brings() -> None:
    """An update whose time was over is answered late: both sides run the new values then."""
    pair, session = opened()
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.wait(6.0)
    assert pair.told(Side.CLIENT, RequestTimedOut) == [RequestTimedOut("s", "session.update")]
    pair.pump()
    agree(pair)
    assert session.config.vad.threshold == 0.7


# --- capabilities -----------------------------------------------------------------------------


def test_an_update_of_a_server_with_its_own_defaults() -> None:
    """What nobody asked for stays the server's own value, whatever the update."""
    defaults = VADConfig(silence_threshold_ms=900)
    capabilities = ProtocolCapabilities(vad_defaults=defaults, features=EVERYTHING.features)
    pair = AspPair(capabilities)
    session = pair.open(SessionRequest(session_id="s"))
    session.update(VADConfig(threshold=0.7), 0.0)
    pair.pump()
    assert session.config.vad == VADConfig(silence_threshold_ms=900, threshold=0.7)
    agree(pair)
