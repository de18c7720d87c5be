"""What a voice says of a task: each text once, in order, and then how it ended."""

from __future__ import annotations

import pytest

from palaver.model.content import Artifact, Message, TextPart
from palaver.model.events import ArtifactUpdated, CallActionRequested, StatusChanged, TaskEvent
from palaver.model.states import TaskState
from palaver.speech.following import Action, Ended, Following, News, Text


def chunk(text: str, *, append: bool = True, index: int = 0) -> ArtifactUpdated:
    """Return an event with a piece of text."""
    artifact = Artifact(id=f"a{index}", parts=(TextPart(text),))
    return ArtifactUpdated(seq=2, at=0.0, artifact=artifact, index=index, append=append)


def status(state: TaskState, text: str = "", reason: str | None = None) -> StatusChanged:
    """Return an event with a state, and what the agent says of it."""
    message = Message(id="m", role="agent", parts=(TextPart(text),)) if text else None
    return StatusChanged(seq=3, at=0.0, state=state, message=message, reason=reason)


CASES: dict[str, tuple[list[TaskEvent], list[News]]] = {
    "chunks are said as they come": (
        [chunk("Good ", append=False), chunk("morning."), status(TaskState.COMPLETED)],
        [Text("Good "), Text("morning."), Ended(TaskState.COMPLETED)],
    ),
    "progress is not said": ([status(TaskState.WORKING, "50 %")], []),
    "a question ends the answer": (
        [status(TaskState.INPUT_REQUIRED, "For which day?")],
        [Ended(TaskState.INPUT_REQUIRED, "For which day?")],
    ),
    "a failure says what may be said": (
        [status(TaskState.FAILED, "The model cannot be reached.", "failed")],
        [Ended(TaskState.FAILED, "The model cannot be reached.")],
    ),
    "what broke is not read out": (
        [status(TaskState.FAILED, "The agent failed.", "agent_error")],
        [Ended(TaskState.FAILED)],
    ),
    "an action is told": (
        [CallActionRequested(seq=2, at=0.0, action="transfer", target="100")],
        [Action("transfer", "100")],
    ),
    "a second artifact is another paragraph": (
        [chunk("One.", append=False), chunk("Two.", append=False, index=1)],
        [Text("One."), Text("\nTwo.")],
    ),
    "a later attempt goes on behind what was said": (
        [chunk("1 2 ", append=False), chunk("1 2 3 4", append=False)],
        [Text("1 2 "), Text("3 4")],
    ),
    "a later attempt that writes something else is said": (
        [chunk("It is", append=False), chunk("No.", append=False)],
        [Text("It is"), Text("\nNo.")],
    ),
    "a chunk without text says nothing": ([chunk("", append=False)], []),
    "a task that is joined late goes on with its chunks": (
        [chunk("and so on")],
        [Text("and so on")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_news(case: str) -> None:
    """Each event means what the table says."""
    events, expected = CASES[case]
    following = Following()
    assert [news for event in events for news in following.take(event)] == expected
