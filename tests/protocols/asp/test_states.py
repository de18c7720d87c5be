"""What may follow: every pair of state and message, on both sides (§4, §9)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Final

import pytest

from palaver.protocols.asp.config import VADConfig
from palaver.protocols.asp.errors import ErrorCode, Misuse, Rejection
from palaver.protocols.asp.events import CapabilitiesReceived, ErrorSent, LegacyDetected
from palaver.protocols.asp.frames import FrameFlags
from palaver.protocols.asp.messages import (
    MESSAGES,
    AudioSpeechEndMessage,
    AudioSpeechStartMessage,
    Feature,
    PlaybackMarkMessage,
    SessionMessage,
    Side,
)
from palaver.protocols.asp.server_session import ServerSession
from palaver.protocols.asp.session import Session
from palaver.protocols.asp.states import (
    AUDIO,
    LINK,
    MUTE,
    REJECTED,
    SESSION,
    UNNUMBERED,
    LinkState,
    SessionState,
    may_send,
)
from tests.protocols.asp.ends import FRAME, RawClient, RawServer, registry
from tests.protocols.asp.samples import REJECTED as REJECTED_SAMPLES
from tests.protocols.asp.samples import SAMPLES

IDLE, NEGOTIATING, ACTIVE, UPDATING, ENDING, CLOSED = SessionState
STEPS = [
    AUDIO,
    "session.started" + REJECTED,
    *(kind for kind, message in MESSAGES.items() if issubclass(message, SessionMessage)),
    "protocol.error",
]
PAIRS = list(product(Side, SessionState, STEPS))
SAMPLE_ID = "call-7f3a"

WALK: Final[dict[Side, dict[SessionState, set[SessionState]]]] = {
    Side.CLIENT: {
        IDLE: {NEGOTIATING},
        NEGOTIATING: {ACTIVE, IDLE, ENDING, CLOSED},
        ACTIVE: {ACTIVE, UPDATING, ENDING, CLOSED},
        UPDATING: {UPDATING, ACTIVE, ENDING, CLOSED},
        ENDING: {ENDING, CLOSED},
        CLOSED: set(),
    },
    Side.SERVER: {
        IDLE: {NEGOTIATING},
        NEGOTIATING: {ACTIVE, IDLE},
        ACTIVE: {ACTIVE, UPDATING, ENDING, CLOSED},
        UPDATING: {ACTIVE},
        ENDING: {CLOSED},
        CLOSED: set(),
    },
}
"""Side → state → the states that may follow, as the diagram of the specification has them."""


def in_state(side: Side, state: SessionState) -> Session[Any]:
    """Return a session of that side in that state."""
    session: Session[Any] = (
        RawServer().session() if side is Side.CLIENT else ServerSession("s", registry(), 0.0)
    )
    session.open_with(session.config, 0)
    session.state = state
    return session


@pytest.mark.parametrize(("side", "state", "step"), PAIRS)
def test_every_message_in_every_state(side: Side, state: SessionState, step: str) -> None:
    """A message that the table has steps as it says; one that it has not is 4004, or a misuse."""
    following = SESSION[side][state].get(step)
    received, sent = in_state(side, state), in_state(side, state)
    if following is not None:
        received.received_step(step)
        sent.sent_step(step)
        assert (received.state, sent.state) == (following, following)
        return
    with pytest.raises(Rejection) as refused:
        received.received_step(step)
    assert refused.value.error.code == ErrorCode.SESSION_UPDATE_NOT_ALLOWED
    assert refused.value.error.details == {"state": str(state)}
    assert refused.value.error.message == f"{step} is not allowed while the session is {state}"
    assert refused.value.session_id == "s"
    with pytest.raises(Misuse, match=f"is {state}"):
        sent.sent_step(step)
    assert (received.state, sent.state) == (state, state)


@pytest.mark.parametrize("side", Side)
def test_the_walk_is_the_one_of_the_diagram(side: Side) -> None:
    """The states that can follow a state are those of the diagram, and all are reached."""
    walk = {state: set(steps.values()) for state, steps in SESSION[side].items()}
    assert walk == WALK[side]
    assert set().union(*walk.values()) | {IDLE} == set(SessionState)


def test_the_tables_know_every_message() -> None:
    """Every message of a session stands in both tables, and nothing else does."""
    for side in Side:
        known = {step for steps in SESSION[side].values() for step in steps}
        assert known == set(STEPS)
    assert set(STEPS) > UNNUMBERED


# --- live ends ------------------------------------------------------------------------------


def said_to(side: Side) -> list[str]:
    """Return the messages of the peer that go by the table, and by nothing else."""
    other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
    special = {"session.start", "session.resume", "session.resumed", "protocol.error"}
    return [
        kind
        for kind in STEPS
        if kind in MESSAGES and other in MESSAGES[kind].sender and kind not in special
    ]


@pytest.mark.parametrize(
    ("state", "kind"), list(product([ACTIVE, UPDATING, ENDING, CLOSED], said_to(Side.SERVER)))
)
def test_what_a_server_is_told(state: SessionState, kind: str) -> None:
    """A live server's end answers 4004 to what its table does not have, and takes the rest."""
    peer = RawClient()
    peer.start(SAMPLE_ID)
    session = peer.sessions.get(SAMPLE_ID)
    assert session is not None
    session.state = state
    peer.say(kind, **{name: value for name, value in SAMPLES[kind].items() if name != "type"})
    codes = [event.error.code for event in peer.told(ErrorSent)]
    allowed = kind in SESSION[Side.SERVER][state]
    assert (ErrorCode.SESSION_UPDATE_NOT_ALLOWED in codes) is not allowed


@pytest.mark.parametrize(
    ("state", "kind", "rejected"),
    [
        (state, kind, rejected)
        for state, kind in product(SessionState, said_to(Side.CLIENT))
        for rejected in (False, True)
        if not rejected or kind in REJECTED_SAMPLES
    ],
)
def test_what_a_client_is_told(state: SessionState, kind: str, *, rejected: bool) -> None:
    """A live client's end answers 4004 to what its table does not have, and takes the rest."""
    peer = RawServer()
    peer.introduce()
    session = peer.opened(SAMPLE_ID)
    session.state = state
    sample = (REJECTED_SAMPLES if rejected else SAMPLES)[kind]
    peer.say(kind, **{name: value for name, value in sample.items() if name != "type"})
    codes = [event.error.code for event in peer.told(ErrorSent)]
    step = kind + REJECTED if rejected and kind == "session.started" else kind
    allowed = step in SESSION[Side.CLIENT][state]
    assert (ErrorCode.SESSION_UPDATE_NOT_ALLOWED in codes) is not allowed


@pytest.mark.parametrize("state", SessionState)
def test_audio_that_arrives(state: SessionState) -> None:
    """Audio goes by the table as well, on both sides."""
    server = RawClient()
    server.start()
    agent = server.sessions.get("s")
    assert agent is not None
    client = RawServer()
    client.introduce()
    session = client.opened()
    agent.state = session.state = state
    for peer, side in ((server, Side.SERVER), (client, Side.CLIENT)):
        peer.audio("s")
        codes = [event.error.code for event in peer.told(ErrorSent)]
        assert codes == ([] if AUDIO in SESSION[side][state] else [4004])


# --- commands -------------------------------------------------------------------------------

_START = AudioSpeechStartMessage(session_id="s")
_END = AudioSpeechEndMessage(session_id="s")
_MARK = PlaybackMarkMessage(session_id="s", mark_id="m1")

CLIENT_COMMANDS: dict[str, Callable[[Any], object]] = {
    "audio.end": lambda session: session.commit(0.0),
    "audio.speech_start": lambda session: session.report_speech(_START, 0.0),
    "audio.speech_end": lambda session: session.report_speech(_END, 0.0),
    "session.update": lambda session: session.update(VADConfig(threshold=0.4), 0.0),
    "session.end": lambda session: session.end(0.0),
    "session.confirm": lambda session: session.confirm(0.0),
    "response.cancel": lambda session: session.cancel_response("r1", 0, 0.0),
    "playback.mark": lambda session: session.report_mark(_MARK, "played", 0, 0.0),
    "dtmf": lambda session: session.press("1", 0.0),
}
SERVER_COMMANDS: dict[str, Callable[[Any], object]] = {
    "response.start": lambda session: session.start_response(0.0),
    "playback.mark": lambda session: session.mark(0.0),
    "turn.override": lambda session: session.override_turn(VADConfig(threshold=0.4), 0.0),
    "transcript": lambda session: session.report_transcript("user", "yes", 0.0),
    "call.action": lambda session: session.act("hangup", 0.0),
    "audio.speech_start": lambda session: session.report_speech(_START, 0.0),
    "audio.speech_end": lambda session: session.report_speech(_END, 0.0),
}


def command(
    session: Session[Any], side: Side, kind: str, commands: dict[str, Callable[[Any], object]]
) -> None:
    """See that a command is sent where the table has it, and is a misuse elsewhere."""
    session.features = frozenset(Feature)
    state = session.state
    following = None if state in MUTE else SESSION[side][state].get(kind)
    if following is None:
        with pytest.raises(Misuse):
            commands[kind](session)
        assert session.state is state
        assert session.outgoing.following == 0
        return
    commands[kind](session)
    assert session.state is following
    assert session.outgoing.following == 1


@pytest.mark.parametrize(("state", "kind"), list(product(SessionState, CLIENT_COMMANDS)))
def test_every_command_of_a_client(state: SessionState, kind: str) -> None:
    """What the media server does is sent where the table has it, and is a misuse elsewhere."""
    command(in_state(Side.CLIENT, state), Side.CLIENT, kind, CLIENT_COMMANDS)


@pytest.mark.parametrize(("state", "kind"), list(product(SessionState, SERVER_COMMANDS)))
def test_every_command_of_a_server(state: SessionState, kind: str) -> None:
    """What the agent does is sent where the table has it, and is a misuse elsewhere."""
    command(in_state(Side.SERVER, state), Side.SERVER, kind, SERVER_COMMANDS)


@pytest.mark.parametrize(("side", "state"), list(product(Side, SessionState)))
def test_audio_that_is_sent(side: Side, state: SessionState) -> None:
    """Audio is sent while the session is open; otherwise that is a misuse."""
    session = in_state(side, state)
    if session.open:
        assert session.pack_audio(FRAME, FrameFlags.NONE, 0)[12:] == FRAME
        assert session.next_seq == 1
        return
    with pytest.raises(Misuse, match=f"is {state}: it takes no audio"):
        session.pack_audio(FRAME, FrameFlags.NONE, 0)
    assert session.next_seq == 0


@pytest.mark.parametrize(
    ("side", "kind", "declared"),
    [(side, kind, declared) for side, kind in product(Side, MESSAGES) for declared in (0, 1)],
)
def test_who_may_send_what(side: Side, kind: str, declared: int) -> None:
    """A side sends its own messages, those of a feature only where that was agreed on."""
    message = MESSAGES[kind]
    features = frozenset(Feature) if declared else frozenset()
    allowed = side in message.sender and (message.feature is None or bool(declared))
    assert may_send(side, kind, features) is allowed


# --- sockets --------------------------------------------------------------------------------


def test_the_states_of_a_socket() -> None:
    """Every pair: capabilities or the legacy verdict make it ready, its end closes it."""
    connected, ready, closed = LinkState
    assert {state: dict(steps) for state, steps in LINK.items()} == {
        connected: {"protocol.capabilities": ready, "legacy": ready, "closed": closed},
        ready: {"protocol.capabilities": ready, "closed": closed},
        closed: {},
    }


@pytest.mark.parametrize("state", LinkState)
@pytest.mark.parametrize("step", ["protocol.capabilities", "legacy", "closed"])
def test_a_client_walks_the_states_of_a_socket(state: LinkState, step: str) -> None:
    """A live client's end steps as the table says, and stays where it has no entry."""
    peer = RawServer()
    if state is LinkState.CAPS_RECEIVED:
        peer.introduce()
    elif state is LinkState.CLOSED:
        peer.closed()
    assert peer.end.state is state
    mark = len(peer.events)
    if step == "protocol.capabilities":
        peer.introduce()
    elif step == "legacy":
        peer.wait(5.0)
    else:
        peer.closed()
    assert peer.end.state is LINK[state].get(step, state)
    told = [type(event) for event in peer.since(mark)]
    expected = {"protocol.capabilities": [CapabilitiesReceived], "legacy": [LegacyDetected]}
    assert told == (expected.get(step, []) if step in LINK[state] else [])


def test_nothing_is_taken_or_sent_after_the_end() -> None:
    """An end whose socket is gone takes nothing in and puts nothing out."""
    for peer in (RawClient(), RawServer()):
        peer.closed()
        assert peer.text("{") == []
        assert peer.data(b"\x07") == []
        peer.end.put("late")
        assert peer.heard() == []
        assert peer.wait(100.0) == []
        assert peer.end.next_timeout() is None
        assert peer.events == []
