"""Histories of tasks, legal and illegal: what the fold takes, and what the encoding keeps."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.errors import IllegalEvent
from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.encoding import decode_events, encode_events, task_from_data, task_to_data
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
    TaskEvent,
)
from palaver.model.states import INTERRUPTED, TERMINAL, TRANSITIONS, TaskState
from palaver.model.task import Fold, Task, fold

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
metadata = st.none() | st.dictionaries(st.text(max_size=4), json_values, max_size=2)
optional = st.none() | st.text(max_size=8)
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.text(), optional, optional, metadata),
    st.builds(FilePart, st.just("AAAA"), st.none(), optional, optional, metadata),
    st.builds(FilePart, st.none(), st.just("https://x.test/f"), optional, optional, metadata),
    st.builds(DataPart, json_values, optional, optional, metadata),
)
some_parts = st.lists(parts, max_size=3).map(tuple)
names = st.lists(st.text(max_size=4), max_size=2).map(tuple)
messages = st.builds(
    Message,
    id=st.text(min_size=1, max_size=5),
    role=st.sampled_from(["user", "agent"]),
    parts=some_parts,
    metadata=metadata,
    extensions=names,
    reference_task_ids=names,
    language=optional,
)
artifacts = st.builds(
    Artifact,
    id=st.sampled_from(["a-1", "a-2"]),
    parts=some_parts,
    name=optional,
    description=optional,
    metadata=metadata,
    extensions=names,
)
clock = st.floats(0, 1e10, allow_nan=False)


def created(seq: int) -> st.SearchStrategy[TaskEvent]:
    """Return first events."""
    return st.builds(
        TaskCreated,
        seq=st.just(seq),
        at=clock,
        conversation_id=st.text(max_size=5),
        agent_id=st.text(max_size=5),
        message=messages,
        principal=st.text(max_size=5),
        wire=st.text(max_size=5),
        skill_id=optional,
        restartable=st.booleans(),
        metadata=metadata,
        context=st.lists(messages, max_size=2).map(tuple),
    )


def following(seq: int) -> st.SearchStrategy[TaskEvent]:
    """Return events of every kind, legal after what came before or not."""
    number = st.just(seq)
    return st.one_of(
        st.builds(
            StatusChanged,
            seq=number,
            at=clock,
            state=st.sampled_from([TaskState.WORKING] * 6 + list(TaskState)),
            message=st.none() | messages,
            reason=optional,
            percent=st.none() | st.floats(0, 100),
            attempt=st.none() | st.integers(1, 9),
        ),
        st.builds(MessageReceived, seq=number, at=clock, message=messages),
        st.builds(
            ArtifactUpdated,
            seq=number,
            at=clock,
            artifact=artifacts,
            index=st.integers(0, 2),
            append=st.booleans(),
            last=st.booleans(),
        ),
        st.builds(
            CallActionRequested,
            seq=number,
            at=clock,
            action=st.sampled_from(["hang_up", "transfer"]),
            target=optional,
        ),
        created(seq),
    )


def _numbered(count: int) -> st.SearchStrategy[list[TaskEvent]]:
    return st.tuples(created(1), *(following(seq) for seq in range(2, count + 1))).map(list)


histories = st.integers(1, 7).flatmap(_numbered)


def legal(events: list[TaskEvent]) -> list[TaskEvent]:
    """Return those events that may follow each other, numbered anew."""
    folding = Fold()
    accepted: list[TaskEvent] = []
    for event in events:
        numbered = replace(event, seq=len(accepted) + 1)
        if isinstance(numbered, ArtifactUpdated):
            known = [] if not accepted else [a.id for a in folding.task.artifacts]
            name = numbered.artifact.id
            place = known.index(name) if name in known else len(known)
            numbered = replace(numbered, index=place, append=numbered.append and name in known)
        try:
            folding.apply("t", numbered)
        except IllegalEvent:
            continue
        accepted.append(numbered)
    return accepted


@settings(max_examples=40, deadline=None)
@given(histories)
def test_what_is_encoded_comes_back(events: list[TaskEvent]) -> None:
    """Events of every kind, with parts of every kind, survive being written down."""
    assert decode_events(encode_events(events)) == events


def test_what_an_earlier_version_stored_is_read() -> None:
    """An event from before languages and context were known: they are absent, not wrong."""
    stored = (
        b'[{"seq":1,"at":1.0,"conversation_id":"c","agent_id":"a","message":{"id":"m",'
        b'"role":"user","parts":[{"text":"hi","kind":"text"}]},"principal":"p","wire":"w",'
        b'"kind":"task_created"}]'
    )
    task = fold("t", decode_events(stored))
    assert (task.history[0].language, task.context) == (None, ())


@settings(max_examples=40, deadline=None)
@given(histories)
def test_a_task_comes_back(events: list[TaskEvent]) -> None:
    """So does the task that they fold to."""
    task = fold("t", legal(events))
    assert task_from_data(task_to_data(task)) == task


@settings(max_examples=40, deadline=None)
@given(histories)
def test_a_fold_goes_by_the_table_alone(events: list[TaskEvent]) -> None:
    """Whatever is accepted leads along the table; what is refused changes nothing."""
    folding = Fold()
    before: Task | None = None
    seq = 0
    for event in events:
        numbered = replace(event, seq=seq + 1)
        try:
            folding.apply("t", numbered)
        except IllegalEvent:
            assert folding.seq == seq
            assert before is not None
            assert folding.task == before
            continue
        seq += 1
        task = folding.task
        assert (task.seq, folding.seq, folding.state) == (seq, seq, task.state)
        assert task.terminal == (task.state in TERMINAL)
        assert task.settled == (task.state in TERMINAL | INTERRUPTED)
        if before is None:
            assert task.state is TaskState.SUBMITTED
        else:
            assert not before.terminal
            if isinstance(event, MessageReceived):
                assert before.state in INTERRUPTED
                assert task.state is TaskState.WORKING
            elif isinstance(event, StatusChanged):
                assert task.state is event.state
                assert task.state in TRANSITIONS[before.state]
            else:
                assert task.state is before.state
        before = task


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(0, 8))
def test_a_fold_may_go_on_from_a_snapshot(events: list[TaskEvent], cut: int) -> None:
    """From any point in a history the snapshot and the rest lead to the same text and state."""
    accepted = legal(events)
    cut = min(cut, len(accepted))
    whole = fold("t", accepted)
    start = fold("t", accepted[:cut]) if cut else None
    assert fold("t", accepted[cut:], start) == whole


@settings(max_examples=40, deadline=None)
@given(histories, following(1))
def test_a_terminal_task_never_changes(events: list[TaskEvent], late: TaskEvent) -> None:
    """Nothing follows the end, of whatever kind."""
    folding = Fold()
    for event in legal(events):
        folding.apply("t", event)
    if folding.task.terminal:
        frozen = folding.task
        try:
            folding.apply("t", replace(late, seq=folding.seq + 1))
        except IllegalEvent:
            assert folding.task == frozen
        else:
            raise AssertionError(late)
