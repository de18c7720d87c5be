"""What is printed of each event, word for word."""

from __future__ import annotations

import json

import pytest

from palaver.cli.transcript import JsonTranscript, TextTranscript
from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    MessageReplied,
    StatusReceived,
    TaskReceived,
    Update,
)
from palaver.protocols.a2a.stream import Received


def chunk(*parts: str | Part, name: str = "a", append: bool = True) -> ArtifactReceived:
    """Return a chunk of an artifact."""
    made = tuple(TextPart(part) if isinstance(part, str) else part for part in parts)
    artifact = Artifact(id=name, parts=made)
    return ArtifactReceived(task_id="T", conversation_id="C", artifact=artifact, append=append)


def status(state: TaskState, text: str | None = None) -> StatusReceived:
    """Return a status."""
    said = None if text is None else Message(id="m", role="agent", parts=(TextPart(text),))
    return StatusReceived(task_id="T", conversation_id="C", state=state, message=said)


def task(state: TaskState, *artifacts: ArtifactReceived) -> TaskReceived:
    """Return a whole task."""
    found = tuple(received.artifact for received in artifacts)
    return TaskReceived(task_id="T", conversation_id="C", state=state, artifacts=found)


FILE = FilePart(filename="a.png", media_type="image/png", uri="https://example.test/a.png")
BYTES = FilePart(base64="aGVsbG8h")
WORKING, DONE = TaskState.WORKING, TaskState.COMPLETED


@pytest.mark.parametrize(
    ("updates", "out", "err"),
    [
        ([chunk("a", append=False), chunk(" b")], "a b\n", ""),
        ([chunk("a\n")], "a\n", ""),
        ([chunk("a"), chunk("b", name="other")], "a\nb\n", ""),
        ([chunk("a"), status(WORKING, "half"), chunk("b")], "a\nb\n", "half\n"),
        ([chunk("a b"), chunk("x", append=False)], "a b\nx\n", "(the agent starts again)\n"),
        ([chunk("a"), task(WORKING, chunk("a", " b"))], "a b\n", ""),
        ([chunk("a"), task(WORKING, chunk("x"))], "a\nx\n", ""),
        ([task(DONE, chunk("a"))], "a\n", ""),
        ([status(TaskState.CANCELED)], "", "(canceled)\n"),
        ([status(TaskState.FAILED, "oh")], "", "oh\n"),
        ([status(TaskState.INPUT_REQUIRED, "Which?")], "", "Which?\n(answer with --task T)\n"),
        ([chunk(DataPart({"n": 1}))], '{"n":1}\n', ""),
        ([chunk(FILE)], "[a.png, image/png: https://example.test/a.png]\n", ""),
        ([chunk(BYTES)], "[file, unknown type: 6 bytes]\n", ""),
        (
            [MessageReplied(message=Message(id="m", role="agent", parts=(TextPart("hello"),)))],
            "hello\n",
            "",
        ),
    ],
)
def test_text(
    capsys: pytest.CaptureFixture[str], updates: list[Update], out: str, err: str
) -> None:
    """What the agent puts out goes to standard output, what is said about it to standard error."""
    transcript = TextTranscript()
    for number, update in enumerate(updates, 1):
        transcript.add(Received(number, update))
    transcript.end()
    assert capsys.readouterr() == (out, err)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is one line: its number, its type, and what it says."""
    transcript = JsonTranscript()
    transcript.add(Received(None, task(WORKING)))
    transcript.add(Received(2, chunk(BYTES)))
    transcript.end()
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["seq"], first["type"], first["state"]) == (None, "task", "working")
    assert (second["seq"], second["type"]) == (2, "artifact")
    assert second["artifact"]["parts"][0]["base64"] == "aGVsbG8h"
    assert transcript.state is WORKING
    assert transcript.task_id == "T"
