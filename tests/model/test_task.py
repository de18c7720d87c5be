import itertools

import pytest

from palaver.errors import IllegalEvent
from palaver.model.content import Artifact, Message, TextPart
from palaver.model.delivery import Delivery
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.profile import AgentProfile, SkillProfile
from palaver.model.states import INTERRUPTED, TERMINAL, TRANSITIONS, TaskState
from palaver.model.task import Fold, fold

S = TaskState


def said(text: str, role: str = "user") -> Message:
    """Return a message."""
    return Message(id=text, role="agent" if role == "agent" else "user", parts=(TextPart(text),))


def created() -> TaskCreated:
    """Return the first event."""
    return TaskCreated(
        seq=1,
        at=1.0,
        conversation_id="c",
        agent_id="demo",
        message=said("hello"),
        principal="p",
        wire="a2a",
    )


def status(seq: int, state: TaskState, **more: object) -> StatusChanged:
    """Return a change of the state."""
    return StatusChanged(seq=seq, at=float(seq), state=state, **more)  # type: ignore[arg-type]


def chunk(seq: int, text: str, index: int = 0, *, append: bool = True) -> ArtifactUpdated:
    """Return a chunk of the artifact that has that place."""
    artifact = Artifact(id=f"a-{index}", parts=(TextPart(text),))
    return ArtifactUpdated(seq=seq, at=float(seq), artifact=artifact, index=index, append=append)


def in_state(state: TaskState) -> Fold:
    """Return a task in that state."""
    folding = Fold()
    folding.apply("t", created())
    if state is not S.SUBMITTED:
        folding.apply("t", status(2, state))
    return folding


@pytest.mark.parametrize(("before", "after"), list(itertools.product(TaskState, TaskState)))
def test_every_pair_of_states(before: TaskState, after: TaskState) -> None:
    """The table says what may follow; the fold does what the table says."""
    folding = in_state(before)
    event = status(folding.seq + 1, after)
    if after in TRANSITIONS[before]:
        folding.apply("t", event)
        assert folding.state is after
    else:
        with pytest.raises(IllegalEvent, match=f"^task 't' cannot go from {before} to {after}$"):
            folding.apply("t", event)
        assert folding.state is before


def test_the_table() -> None:
    """The table itself, as the documents draw it."""
    assert set(TRANSITIONS) == set(TaskState)
    for state, following in TRANSITIONS.items():
        if state in TERMINAL:
            assert following == frozenset()
        else:
            assert following == {S.WORKING} | INTERRUPTED | TERMINAL


@pytest.mark.parametrize("state", list(TaskState))
def test_every_kind_of_event_in_every_state(state: TaskState) -> None:
    """Output needs a working task, an answer a question, and a task is created once."""
    seq = in_state(state).seq + 1
    working = state is S.WORKING
    allowed: list[tuple[TaskEvent, bool]] = [
        (chunk(seq, "x", append=False), working),
        (CallActionRequested(seq=seq, at=1.0, action="hang_up"), working),
        (MessageReceived(seq=seq, at=1.0, message=said("answer")), state in INTERRUPTED),
    ]
    for event, fine in allowed:
        folding = in_state(state)
        before = folding.task
        if fine:
            folding.apply("t", event)
            assert folding.task.seq == seq
        else:
            with pytest.raises(IllegalEvent):
                folding.apply("t", event)
            assert folding.task is before


def test_a_log_begins_with_its_task() -> None:
    """Without a first event there is no task, and no second first event."""
    with pytest.raises(IllegalEvent, match="a task begins with task_created"):
        fold("t", [])
    for event in (
        status(1, S.WORKING),
        chunk(1, "x"),
        MessageReceived(seq=1, at=1.0, message=said("x")),
    ):
        with pytest.raises(IllegalEvent, match="a task begins with task_created"):
            fold("t", [event])
    folding = in_state(S.SUBMITTED)
    with pytest.raises(IllegalEvent, match="event 1 cannot follow event 1"):
        folding.apply("t", created())
    again = TaskCreated(
        seq=2,
        at=1.0,
        conversation_id="c",
        agent_id="demo",
        message=said("x"),
        principal="p",
        wire="a2a",
    )
    with pytest.raises(IllegalEvent, match="task 't' exists already"):
        folding.apply("t", again)
    assert Fold().state is None
    assert Fold().seq == 0


def test_a_gap_is_refused() -> None:
    """Events are numbered without a gap."""
    with pytest.raises(IllegalEvent, match="task 't': event 3 cannot follow event 1"):
        in_state(S.SUBMITTED).apply("t", status(3, S.WORKING))


def test_questions_and_answers_become_history() -> None:
    """A question joins the history once it is answered or dropped; answers follow it."""
    question = said("which date?", "agent")
    events: list[TaskEvent] = [
        created(),
        status(2, S.WORKING, attempt=1, percent=10.0),
        status(3, S.INPUT_REQUIRED, message=question, reason="asked"),
        MessageReceived(seq=4, at=4.0, message=said("monday")),
        status(5, S.AUTH_REQUIRED, message=said("who?", "agent")),
        status(6, S.WORKING),
        status(7, S.COMPLETED, message=said("done", "agent")),
    ]
    asked = fold("t", events[:3])
    assert asked.history == (said("hello"),)
    assert (asked.status_message, asked.reason, asked.settled) == (question, "asked", True)
    answered = fold("t", events[:4])
    assert (answered.status_message, answered.reason) == (None, None)
    done = fold("t", events)
    assert [message.text for message in done.history] == [
        "hello",
        "which date?",
        "monday",
        "who?",
    ]
    assert [message.text for message in done.answers] == ["monday"]
    assert (done.attempt, done.percent, done.terminal) == (1, 10.0, True)
    assert done.status_message == said("done", "agent")


def test_artifacts_grow_and_are_replaced() -> None:
    """Chunks are joined, each artifact keeps its place, and a whole one replaces what was."""
    folding = in_state(S.WORKING)
    folding.apply("t", chunk(3, "one ", append=False))
    folding.apply("t", chunk(4, "other", 1, append=False))
    folding.apply("t", chunk(5, "two"))
    assert [artifact.text for artifact in folding.task.artifacts] == ["one two", "other"]
    assert [artifact.id for artifact in folding.task.artifacts] == ["a-0", "a-1"]
    folding.apply("t", chunk(6, "new", append=False))
    assert [artifact.text for artifact in folding.task.artifacts] == ["new", "other"]
    with pytest.raises(IllegalEvent, match="artifact 'a-5' has the place 2, not 5"):
        folding.apply("t", chunk(7, "x", 5, append=False))
    with pytest.raises(IllegalEvent, match="has no artifact 'a-2' to append to"):
        folding.apply("t", chunk(7, "x", 2))


def test_a_snapshot_with_artifacts_goes_on() -> None:
    """Chunks are appended to what the snapshot holds, at the same place."""
    folding = in_state(S.WORKING)
    folding.apply("t", chunk(3, "one ", append=False))
    resumed = Fold(folding.task)
    resumed.apply("t", chunk(4, "two"))
    assert [artifact.text for artifact in resumed.task.artifacts] == ["one two"]


def test_a_long_stream_stays_small() -> None:
    """Thousands of chunks are one text, in the end and on the way."""
    folding = in_state(S.WORKING)
    folding.apply("t", chunk(3, "0 ", append=False))
    for number in range(1, 2000):
        folding.apply("t", chunk(number + 3, f"{number} "))
    [artifact] = folding.task.artifacts
    assert artifact.parts == (TextPart("".join(f"{number} " for number in range(2000))),)


def test_values_are_frozen() -> None:
    """Profiles and deliveries are values."""
    skill = SkillProfile(id="s", name="S", description="d")
    profile = AgentProfile(id="a", name="A", description="d", version="1", skills=(skill,))
    owed = Delivery(id="d", task_id="t", seq=1, subscriber="s", body=b"", due_at=1.0)
    for value, name in ((skill, "id"), (profile, "id"), (owed, "attempts")):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")
