"""What may follow at an end of a socket: every pair of state and step, on both sides (spec §7)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import product

import pytest

from palaver.protocols.asap.connection import Misuse
from palaver.protocols.asap.events import Close, DuplicateReceived, RequestReceived
from palaver.protocols.asap.states import LINK, LinkState, Side, Step
from tests.protocols.asap.ends import RawClient, RawServer, ask, envelope, reply_to

OPEN, DRAINING, CLOSED = LinkState


def test_a_row_for_each_state() -> None:
    """Both tables say of each state what may follow; only what is closed stays so."""
    for side in Side:
        assert set(LINK[side]) == set(LinkState)
        assert set(LINK[side][CLOSED].values()) == {CLOSED}
        assert OPEN not in LINK[side][DRAINING].values()


def server_in(state: LinkState) -> RawClient:
    """Return a server in that state, which works on ``e1`` (``a``)."""
    raw = RawClient()
    raw.say(ask("a", "e1"))
    if state is DRAINING:
        raw.server.shut_down(raw.now)
    elif state is CLOSED:
        raw.server.close(Close(1001, ""))
    assert raw.server.state is state
    raw.heard()
    return raw


def _ack() -> str:
    payload = {"original_envelope_id": "p", "status": "received"}
    frame = ask("x", "k", "MessageAck", payload=payload)
    return frame.replace("asap.send", "asap.ack").replace(',"id":"x"}', "}")


SERVER_STEPS: dict[Step, Callable[[RawClient], bool]] = {
    Step.REQUEST: lambda raw: any(isinstance(e, RequestReceived) for e in raw.say(ask("b", "e2"))),
    Step.REPEAT: lambda raw: any(isinstance(e, DuplicateReceived) for e in raw.say(ask("b", "e1"))),
    Step.ANSWER: lambda raw: raw.server.respond("a", reply_to(envelope("e1")), raw.now) == [],
    Step.PUSH: lambda raw: raw.server.push(envelope("p", "TaskUpdate"), raw.now) is None,
    Step.ACK: lambda raw: raw.say(_ack()) != [],
    Step.PING: lambda raw: raw.wait(30.0) == [] and raw.heard() != [],
    Step.PONG: lambda raw: raw.say({"type": "pong"}) != [],
    Step.LOST: lambda raw: raw.server.closed(raw.now) == [],
    Step.SHUT_DOWN: lambda raw: raw.server.shut_down(raw.now) is None,
    Step.CLOSE: lambda raw: raw.server.close(Close(1008, "")) is None and raw.heard() == [],
}


@pytest.mark.parametrize(("state", "step"), list(product(LinkState, SERVER_STEPS)))
def test_every_step_of_a_server(state: LinkState, step: Step) -> None:
    """It does what its table says, and goes where that says."""
    raw = server_in(state)
    allowed = LINK[Side.SERVER][state].get(step)
    done = False
    with suppress(Misuse):
        done = SERVER_STEPS[step](raw)
    if step is Step.CLOSE:  # a second close is no misuse: it does nothing
        done = raw.close is not None and raw.close.code == 1008
    assert done is (allowed is not None)
    if step is Step.ANSWER and state is DRAINING:
        assert raw.server.state is CLOSED  # it was the last
    else:
        assert raw.server.state is (allowed or state)


def client_in(state: LinkState) -> RawServer:
    """Return a client in that state, which waits for ``e1`` unless it is closed."""
    raw = RawServer()
    if state is not CLOSED:
        raw.client.send(envelope("e1"), raw.now)
    if state is not OPEN:
        raw.client.shut_down(raw.now)
    assert raw.client.state is state
    raw.heard()
    return raw


CLIENT_STEPS: dict[Step, Callable[[RawServer], bool]] = {
    Step.REQUEST: lambda raw: raw.client.send(envelope("e2"), raw.now) != "",
    Step.ANSWER: lambda raw: raw.reply(None, reply_to(envelope("e1"))) != [],
    Step.PUSH: lambda raw: raw.reply(None, envelope("p", "TaskUpdate")) != [],
    Step.ACK: lambda raw: raw.ack(envelope("e1"), "received") != [],
    Step.PING: lambda raw: raw.say({"type": "ping"}) == [] and raw.heard() == [{"type": "pong"}],
    Step.CONNECTED: lambda raw: raw.client.connected(raw.now) == [],
    Step.LOST: lambda raw: raw.client.connection_lost(raw.now) == [],
    Step.SHUT_DOWN: lambda raw: raw.client.shut_down(raw.now) is None,
}


@pytest.mark.parametrize(("state", "step"), list(product(LinkState, CLIENT_STEPS)))
def test_every_step_of_a_client(state: LinkState, step: Step) -> None:
    """It does what its table says, and goes where that says."""
    raw = client_in(state)
    allowed = LINK[Side.CLIENT][state].get(step)
    done = False
    with suppress(Misuse):
        done = CLIENT_STEPS[step](raw)
    assert done is (allowed is not None)
    if step is Step.ANSWER and state is DRAINING:
        assert raw.client.state is CLOSED  # it was the last
    else:
        assert raw.client.state is (allowed or state)
