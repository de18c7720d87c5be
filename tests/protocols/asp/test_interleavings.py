"""Drops at any moment, in any order: what one side says, the other hears once, in order (§5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, VADConfig
from palaver.protocols.asp.events import (
    AudioReceived,
    ConfigSwitched,
    MessageReceived,
    MessagesLost,
    UpdateRejected,
)
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import CallActionMessage, DtmfMessage, Side
from palaver.protocols.asp.states import SessionState
from palaver.testing.asp_pair import AspMemorySocket, AspPair
from tests.protocols.asp.ends import FRAME

IDS = ("a", "b")
EVER = 1e9


@dataclass
class Story:
    """Two sessions on sockets that come and go; what each side said, by session."""

    framing: Framing | None
    limits: Limits
    pair: AspPair = field(init=False)
    said: dict[tuple[Side, str], list[int]] = field(init=False)
    ghosts: list[AspMemorySocket] = field(default_factory=list)
    connected: bool = True
    number: int = 0

    def __post_init__(self) -> None:
        """Open the sessions; an answer of the agent goes on all the time."""
        self.pair = AspPair(limits=self.limits)
        ids = IDS[:1] if self.framing is Framing.SEQ14 else IDS
        for session_id in ids:
            audio = AudioConfig(framing=self.framing)
            self.pair.open(SessionRequest(session_id=session_id, audio=audio))
            self.pair.agent(session_id).start_response(0.0)
        self.pair.pump()
        self.said = {(side, session_id): [] for side in Side for session_id in ids}

    # --- what the two sides say ---------------------------------------------------------------

    def _say(self, side: Side, pick: int) -> tuple[str, int]:
        ids = list(self.pair.calls)
        session_id = ids[pick % len(ids)]
        self.number += 1
        self.said[side, session_id].append(self.number)
        return session_id, self.number

    def client_audio(self, pick: int) -> None:
        """Say a frame for the caller."""
        session_id, number = self._say(Side.CLIENT, pick)
        self.pair.calls[session_id].send_audio(number.to_bytes(4) + FRAME[4:], 0.0)

    def client_text(self, pick: int) -> None:
        """Say a message for the caller."""
        session_id, number = self._say(Side.CLIENT, pick)
        self.pair.calls[session_id].press("1", 0.0, number)

    def agent_audio(self, pick: int) -> None:
        """Say a frame for the agent."""
        session_id, number = self._say(Side.SERVER, pick)
        assert self.pair.agent(session_id).send_audio(number.to_bytes(4) + FRAME[4:], 0.0)

    def agent_text(self, pick: int) -> None:
        """Say a message for the agent."""
        session_id, number = self._say(Side.SERVER, pick)
        self.pair.agent(session_id).act("transfer", 0.0, target=str(number))

    def update(self, pick: int) -> None:
        """Ask for other values, unless that was asked already."""
        session = list(self.pair.calls.values())[pick % len(self.pair.calls)]
        if session.state is SessionState.ACTIVE:
            session.update(VADConfig(min_speech_ms=100 + pick), 0.0, for_turn=pick >= 3)

    def commit(self, pick: int) -> None:
        """End the turn of a caller."""
        session = list(self.pair.calls.values())[pick % len(self.pair.calls)]
        over = session.commit(0.0)
        if over is not None:
            self.pair.record(Side.CLIENT, [over])

    # --- what happens to the sockets ----------------------------------------------------------

    def to_server(self, most: int) -> None:
        """Have so much arrive at the server."""
        self.pair.socket.deliver(Side.SERVER, most)

    def to_client(self, most: int) -> None:
        """Have so much arrive at the client."""
        self.pair.socket.deliver(Side.CLIENT, most)

    def drop(self, _: int) -> None:
        """Lose the socket on both sides."""
        self.pair.drop()
        self.connected = False

    def die(self, _: int) -> None:
        """Lose the socket on the client's side; the server does not notice."""
        self.ghosts.append(self.pair.socket)
        self.pair.drop(half_dead=True)
        self.connected = False

    def haunt(self, most: int) -> None:
        """Have something arrive that was sent on a socket of before."""
        if self.ghosts:
            self.ghosts[most % len(self.ghosts)].deliver(Side.SERVER, most)

    def lay(self, pick: int) -> None:
        """Have the server notice that a socket of before is gone."""
        if self.ghosts:
            self.ghosts.pop(pick % len(self.ghosts)).end(Side.SERVER)

    def reconnect(self, _: int) -> None:
        """Go on, on another socket."""
        if not self.connected:
            self.pair.reconnect()
            self.connected = True

    def finish(self) -> None:
        """Let everything come to rest."""
        self.reconnect(0)
        self.pair.pump()
        for ghost in self.ghosts:
            ghost.deliver(Side.SERVER)
            ghost.end(Side.SERVER)
        self.pair.pump()

    # --- what was heard -----------------------------------------------------------------------

    def heard(self, side: Side, session_id: str) -> list[int]:
        """Return the numbers that a side heard in a session, in order."""
        numbers = []
        for event in self.pair.events[side]:
            if isinstance(event, AudioReceived) and event.session_id == session_id:
                numbers.append(int.from_bytes(event.payload[:4]))
            elif isinstance(event, MessageReceived) and event.session_id == session_id:
                if isinstance(event.message, DtmfMessage):
                    numbers.append(event.message.duration_ms or 0)
                elif isinstance(event.message, CallActionMessage):
                    numbers.append(int(event.message.target or 0))
        return numbers

    def lost(self, side: Side, session_id: str) -> int:
        """Return how many messages a side was told that it will never get."""
        return sum(
            event.count
            for event in self.pair.told(side, MessagesLost)
            if event.session_id == session_id
        )

    def switches(self, side: Side, session_id: str) -> list[tuple[int, VADConfig]]:
        """Return where a side switched, and to what, in the order of the frames."""
        return [
            (event.seq, event.vad)
            for event in self.pair.told(side, ConfigSwitched)
            if event.session_id == session_id
        ]


SPEAK = [Story.client_audio, Story.client_text, Story.agent_audio, Story.agent_text]
MOVE = [
    *(Story.to_server, Story.to_client, Story.drop, Story.die),
    *(Story.haunt, Story.lay, Story.reconnect, Story.reconnect),
]
CONFIGURE = [
    *(Story.client_audio, Story.update, Story.update, Story.commit, Story.commit),
    *(Story.to_server, Story.to_client, Story.to_server, Story.to_client),
    *(Story.drop, Story.reconnect),
]
Step = tuple[Callable[[Story, int], None], int]


def steps(*kinds: Callable[[Story, int], None]) -> st.SearchStrategy[list[Step]]:
    """Return stories made of steps of those kinds, each with a small number."""
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 5)), min_size=10, max_size=60)


def after(framing: Framing | None, limits: Limits, told: list[Step]) -> Story:
    """Return a story that was told to its end."""
    story = Story(framing, limits)
    for step, number in told:
        step(story, number)
    story.finish()
    return story


PATIENT = Limits(resume_window=EVER, update_timeout=EVER, start_timeout=EVER)
BUDGET = settings(max_examples=600, deadline=None)


@given(st.sampled_from([None, *Framing]), steps(*SPEAK, *MOVE))
@BUDGET
def test_nothing_is_lost_and_nothing_comes_twice(framing: Framing | None, told: list[Step]) -> None:
    """Both directions, audio and text, any number of sockets: exactly what was said, in order."""
    story = after(framing, PATIENT, told)
    for (side, session_id), numbers in story.said.items():
        other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
        assert story.heard(other, session_id) == numbers
    for session_id, session in story.pair.calls.items():
        agent = story.pair.agent(session_id)
        assert session.received == agent.outgoing.following
        assert agent.received == session.outgoing.following
        assert session.state is agent.state is SessionState.ACTIVE


@given(st.sampled_from([None, *Framing]), st.integers(1, 6), steps(*SPEAK, *MOVE))
@BUDGET
def test_what_is_lost_is_told(framing: Framing | None, kept: int, told: list[Step]) -> None:
    """With little room, each side hears part of what was said, in order, and how much was lost."""
    limits = Limits(max_kept_messages=kept, resume_window=EVER, start_timeout=EVER)
    story = after(framing, limits, told)
    for (side, session_id), numbers in story.said.items():
        other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
        heard = story.heard(other, session_id)
        assert [number for number in numbers if number in set(heard)] == heard
        assert len(heard) + story.lost(other, session_id) == len(numbers)


@given(st.sampled_from([None, *Framing]), steps(*CONFIGURE))
@BUDGET
def test_both_sides_run_the_same_on_every_frame(framing: Framing | None, told: list[Step]) -> None:
    """However updates and ends of turns meet drops, both sides switch at the same frames."""
    story = after(framing, PATIENT, told)
    pair = story.pair
    assert pair.told(Side.CLIENT, UpdateRejected) == []
    for session_id, session in pair.calls.items():
        agent = pair.agent(session_id)
        assert session.applied == agent.applied
        assert session.applied.vad == session.config.vad == agent.config.vad
        assert session.undecided_from is None
        client, server = (
            story.switches(Side.CLIENT, session_id),
            story.switches(Side.SERVER, session_id),
        )
        assert client == server
        assert client == sorted(client, key=lambda one: one[0])
