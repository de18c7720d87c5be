"""Events as small as the model allows, for tests that only care for their order."""

from __future__ import annotations

from palaver.model.content import Artifact, Message, TextPart
from palaver.model.events import ArtifactUpdated, StatusChanged, TaskCreated, TaskEvent
from palaver.model.states import TaskState

__all__ = ["chunks", "created", "finished"]


def created(at: float = 1.0) -> TaskCreated:
    """Return the first event of a log."""
    message = Message(id="m-1", role="user", parts=(TextPart("Good morning"),))
    return TaskCreated(
        seq=1,
        at=at,
        conversation_id="c-1",
        agent_id="demo",
        message=message,
        principal="anonymous",
        wire="a2a",
    )


def chunks(after: int, count: int = 1, text: str = "word ") -> list[TaskEvent]:
    """Return ``count`` events that follow event ``after``."""
    return [
        ArtifactUpdated(
            seq=seq,
            at=float(seq),
            artifact=Artifact(id="a-1", parts=(TextPart(f"{text}{seq}"),)),
            index=0,
            append=seq > 2,
        )
        for seq in range(after + 1, after + count + 1)
    ]


def finished(
    after: int, at: float = 100.0, state: TaskState = TaskState.COMPLETED
) -> StatusChanged:
    """Return the terminal event that follows event ``after``."""
    return StatusChanged(seq=after + 1, at=at, state=state)
