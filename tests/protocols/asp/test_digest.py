"""Both sides run the same configuration, or the session ends (§1, §7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from palaver.protocols.asp.client_session import ClientSession, SessionRequest
from palaver.protocols.asp.config import AudioConfig, NegotiatedConfig, VADConfig, config_digest
from palaver.protocols.asp.errors import ErrorCode
from palaver.protocols.asp.events import (
    ConfigMismatched,
    ErrorReceived,
    MessageReceived,
    SessionClosed,
    SessionOpened,
)
from palaver.protocols.asp.messages import Feature, Side
from palaver.protocols.asp.session import Applied, Configure, apply_as_negotiated
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspPair
from tests.protocols.asp.ends import RawClient, RawServer, agree

REQUEST = SessionRequest(session_id="s")


def stubborn(**fixed: Any) -> Configure:
    """Return a pipeline that runs some values of its own, whatever was negotiated."""

    def configure(_session_id: str, config: NegotiatedConfig) -> Applied:
        return Applied(config.audio, config.vad.model_copy(update=fixed))

    return configure


def between(side: Side, pipeline: Configure) -> AspPair:
    """Return a pair of which one side has that pipeline, and the other runs what it should."""
    pipelines = {Side.CLIENT: apply_as_negotiated, Side.SERVER: apply_as_negotiated} | {
        side: pipeline
    }
    return AspPair(client_configure=pipelines[Side.CLIENT], server_configure=pipelines[Side.SERVER])


def over(pair: AspPair) -> None:
    """See that the session is over on both sides, because of the difference."""
    assert len(pair.registry) == 0
    assert pair.client.sessions == {}
    assert pair.calls["s"].state is SessionState.CLOSED
    for side in Side:
        assert [one.reason for one in pair.told(side, SessionClosed)] == ["config_digest_mismatch"]
    found = pair.told(Side.CLIENT, ConfigMismatched) + pair.told(Side.SERVER, ConfigMismatched)
    assert found
    assert all(one.ours != one.theirs for one in found)


# --- the evidence: what two modules ran that were configured apart ----------------------------

# Parameter, what the media server ran, what the agent ran.
EVIDENCE: list[tuple[str, Any, Any]] = [
    ("silence_threshold_ms", 300, 300),
    ("min_speech_ms", 200, 300),
    ("ring_buffer_frames", 3, 5),
    ("speech_ratio", 0.4, 0.5),
]


@pytest.mark.parametrize(("parameter", "media_server", "agent"), EVIDENCE)
def test_values_that_were_set_apart(parameter: str, media_server: Any, agent: Any) -> None:
    """Where each module runs its own value, the session does not begin; the same value is fine."""
    pair = AspPair(
        client_configure=stubborn(**{parameter: media_server}),
        server_configure=stubborn(**{parameter: agent}),
    )
    pair.open(REQUEST)
    if media_server == agent:
        agree_on = pair.agent("s").applied.vad
        assert getattr(agree_on, parameter) == media_server
        assert pair.told(Side.CLIENT, ConfigMismatched) == []
    else:
        over(pair)


def test_the_values_of_the_evidence_are_negotiated() -> None:
    """Asked for, each of them is run by both sides: nothing is left to a default of one of them."""
    asked = VADConfig(**{name: value for name, value, _ in EVIDENCE})
    pair = AspPair()
    session = pair.open(SessionRequest(session_id="s", vad=asked))
    assert session.applied.vad == pair.agent("s").applied.vad == asked
    agree(pair)


# --- at the start -----------------------------------------------------------------------------

MUTATIONS: list[dict[str, Any]] = [
    {"enabled": False},
    {"silence_threshold_ms": 501},
    {"min_speech_ms": 251},
    {"threshold": 0.500001},
    {"ring_buffer_frames": 6},
    {"speech_ratio": 0.400001},
    {"prefix_padding_ms": 301},
]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_side_that_runs_something_else(side: Side, mutation: dict[str, Any]) -> None:
    """One value that differs, on either side, ends the session before any audio."""
    pair = between(side, stubborn(**mutation))
    pair.open(REQUEST)
    assert pair.told(Side.CLIENT, SessionOpened) == []
    over(pair)
    error = pair.told(Side.SERVER, ErrorReceived)[0].error
    assert error.code == ErrorCode.CONFIG_DIGEST_MISMATCH
    assert error.recoverable is False


@pytest.mark.parametrize(
    "audio",
    [
        AudioConfig(sample_rate=16000),
        AudioConfig(encoding="mulaw"),
        AudioConfig(frame_duration_ms=30),
        AudioConfig(framing="asp16"),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_other_audio_is_noticed_as_well(side: Side, audio: AudioConfig) -> None:
    """The digest is over the audio, too: rate, encoding, frames, framing."""
    pair = between(side, lambda _session_id, config: Applied(audio, config.vad))
    pair.open(REQUEST)
    over(pair)


def test_a_client_that_compares_nothing() -> None:
    """The server compares what the client confirms: it notices by itself."""
    peer = RawClient()
    ours = peer.start()["config_digest"]
    heard = peer.say("session.confirm", session_id="s", config_digest="sha256:other")
    assert [one["type"] for one in heard] == ["protocol.error", "session.ended"]
    assert heard[0]["error"]["code"] == ErrorCode.CONFIG_DIGEST_MISMATCH
    assert heard[0]["error"]["message"] == f"the client runs sha256:other, the server {ours}"
    assert heard[0]["error"]["details"] == {"ours": ours, "theirs": "sha256:other"}
    assert heard[1]["reason"] == "config_digest_mismatch"
    assert peer.told(ConfigMismatched) == [ConfigMismatched("s", ours, "sha256:other")]
    assert len(peer.told(SessionClosed)) == 1
    assert len(peer.sessions) == 0


def test_a_server_that_compares_nothing() -> None:
    """The client compares what the server answers: it notices by itself, and says so."""
    peer = RawServer()
    peer.introduce()
    session = peer.asked()
    said = peer.accept(config_digest="sha256:other")
    ours = config_digest(AudioConfig(), VADConfig())
    assert [one["type"] for one in said] == ["protocol.error"]
    assert said[0]["error"]["message"] == f"the server runs sha256:other, the client {ours}"
    assert peer.told(ConfigMismatched) == [ConfigMismatched("s", ours, "sha256:other")]
    assert session.state is SessionState.CLOSED
    assert peer.end.sessions == {}


def test_the_same_configuration_is_confirmed() -> None:
    """The client says what it runs, and the server goes on without a word."""
    peer = RawServer()
    peer.introduce()
    peer.asked()
    ours = config_digest(AudioConfig(), VADConfig())
    assert peer.accept(config_digest=ours) == [
        {"type": "session.confirm", "session_id": "s", "config_digest": ours}
    ]
    client = RawClient()
    assert client.start()["config_digest"] == ours
    assert client.say("session.confirm", session_id="s", config_digest=ours) == []
    assert client.told(MessageReceived) == []


def test_a_digest_that_was_not_agreed_on() -> None:
    """Without the feature nothing is compared or confirmed, whatever the other side says."""
    peer = RawServer()
    peer.introduce()
    session = peer.asked(features=frozenset({Feature.DTMF}))
    assert peer.accept(config_digest="sha256:other") == []
    assert session.state is SessionState.ACTIVE
    assert session.digest is None


# --- later ------------------------------------------------------------------------------------

UPDATES: list[Callable[[ClientSession], None]] = [
    lambda session: session.update(VADConfig(threshold=0.7), 0.0),
    lambda session: session.update(VADConfig(threshold=0.7), 0.0, for_turn=True),
]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("update", UPDATES)
def test_a_side_that_does_not_follow_an_update(
    side: Side, update: Callable[[ClientSession], None]
) -> None:
    """A pipeline that keeps its old value is noticed at the update, on either side."""
    pair = between(side, stubborn(threshold=0.5))
    session = pair.open(REQUEST)
    assert session.state is SessionState.ACTIVE
    update(session)
    pair.pump()
    over(pair)


@pytest.mark.parametrize("side", Side)
def test_a_side_that_does_not_go_back_after_a_turn(side: Side) -> None:
    """A pipeline that keeps the values of the turn is noticed at the next update."""
    last = VADConfig()

    def sticky(_session_id: str, config: NegotiatedConfig) -> Applied:
        nonlocal last
        if config.vad.threshold != 0.5:
            last = config.vad
        return Applied(config.audio, last)

    pair = between(side, sticky)
    session = pair.open(REQUEST)
    session.update(VADConfig(threshold=0.7), 0.0, for_turn=True)
    pair.pump()
    session.commit(0.0)
    pair.pump()
    assert session.state is SessionState.ACTIVE
    session.update(VADConfig(min_speech_ms=250), 0.0)
    pair.pump()
    over(pair)


@pytest.mark.parametrize("drop", [True, False])
def test_a_confirmation_in_flight(*, drop: bool) -> None:
    """A confirmation that meets a second update, or a drop, is compared with what it was of."""
    pair = AspPair()
    session = pair.open(REQUEST)
    session.update(VADConfig(threshold=0.6), 0.0)
    pair.socket.deliver(Side.SERVER)
    pair.socket.deliver(Side.CLIENT)
    session.update(VADConfig(threshold=0.7), 0.0)
    if drop:
        pair.drop()
        pair.reconnect()
    pair.pump()
    assert session.state is SessionState.ACTIVE
    agree(pair)


def test_a_turn_that_ends_around_its_confirmation() -> None:
    """What is confirmed after the turn is what runs after it."""
    pair = AspPair()
    session = pair.open(REQUEST)
    session.update(VADConfig(threshold=0.6), 0.0, for_turn=True)
    session.commit(0.0)
    pair.pump()
    session.update(VADConfig(threshold=0.6), 0.0, for_turn=True)
    pair.socket.deliver(Side.SERVER)
    pair.socket.deliver(Side.CLIENT)
    session.commit(0.0)
    pair.pump()
    assert session.state is SessionState.ACTIVE
    assert session.config.vad == VADConfig()
    agree(pair)
