"""Values and events of the model, at random, and the dialects to say them in."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from palaver.model.content import Artifact, DataPart, FilePart, Message, TextPart
from palaver.model.events import (
    ArtifactUpdated,
    CallActionRequested,
    MessageReceived,
    StatusChanged,
    TaskCreated,
)
from palaver.model.task import Task, TaskState
from palaver.protocols.a2a.mapping import V01, V03, V10

DIALECTS = [V10, V03, V01]
every_dialect = pytest.mark.parametrize("spoken", DIALECTS, ids=lambda d: str(d.generation))

ids = st.text("abc-/ é", min_size=1, max_size=12)
texts = st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
metadata = st.none() | st.dictionaries(texts, json_values, min_size=1, max_size=3)
optional = st.none() | texts
base64s = st.sampled_from(["", "aGk=", "AAEC"])
parts = st.one_of(
    st.builds(TextPart, texts, optional, optional, metadata),
    st.builds(DataPart, json_values, optional, optional, metadata),
    st.builds(
        FilePart,
        base64=base64s,
        media_type=optional,
        filename=optional,
        metadata=metadata,
    ),
    st.builds(FilePart, uri=st.just("https://example.org/a"), metadata=metadata),
)
some_parts = st.lists(parts, max_size=4).map(tuple)
agent_messages = st.builds(Message, id=ids, role=st.just("agent"), parts=some_parts)
user_messages = st.builds(
    Message,
    id=ids,
    role=st.just("user"),
    parts=st.lists(parts, min_size=1, max_size=4).map(tuple),
    metadata=metadata,
    extensions=st.lists(st.just("https://example.org/x"), max_size=2).map(tuple),
    reference_task_ids=st.lists(ids, max_size=2).map(tuple),
)
times = st.floats(0, 4e9)
percents = st.none() | st.floats(0, 100)
attempts = st.none() | st.integers(1, 5)
reasons = st.none() | st.just("worker_lost")
artifacts = st.builds(
    Artifact,
    id=ids,
    parts=some_parts,
    name=optional,
    description=optional,
    metadata=metadata,
    extensions=st.lists(st.just("https://example.org/x"), max_size=1).map(tuple),
)
events = st.one_of(
    st.builds(
        TaskCreated,
        seq=st.just(1),
        at=times,
        conversation_id=st.just("c"),
        agent_id=ids,
        message=user_messages,
        principal=ids,
        wire=st.just("a2a-1.0"),
        metadata=metadata,
    ),
    st.builds(
        StatusChanged,
        seq=st.just(2),
        at=times,
        state=st.sampled_from(TaskState),
        message=st.none() | agent_messages,
        reason=reasons,
        percent=percents,
        attempt=attempts,
    ),
    st.builds(MessageReceived, seq=st.just(2), at=times, message=user_messages),
    st.builds(
        ArtifactUpdated,
        seq=st.just(2),
        at=times,
        artifact=artifacts,
        index=st.integers(0, 20),
        append=st.booleans(),
        last=st.booleans(),
    ),
    st.builds(
        CallActionRequested,
        seq=st.just(2),
        at=times,
        action=st.sampled_from(["hang_up", "transfer"]),
        target=optional,
    ),
)
tasks = st.builds(
    Task,
    id=st.just("t"),
    conversation_id=st.just("c"),
    agent_id=ids,
    principal=ids,
    wire=st.just("a2a-1.0"),
    seq=st.integers(1, 100),
    created_at=times,
    state=st.sampled_from(TaskState),
    state_at=times,
    history=st.lists(user_messages | agent_messages, max_size=3).map(tuple),
    artifacts=st.lists(artifacts, max_size=3).map(tuple),
    status_message=st.none() | agent_messages,
    reason=reasons,
    percent=percents,
    attempt=st.integers(0, 3),
    metadata=metadata,
)
