"""What ``palaver call`` prints: text for people on two channels, or JSON lines for programs."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import orjson

from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.states import TaskState
from palaver.protocols.a2a.commands import (
    ArtifactReceived,
    MessageReplied,
    StatusReceived,
    TaskReceived,
)
from palaver.protocols.a2a.stream import Received

__all__ = ["JsonTranscript", "TextTranscript", "Transcript"]

_NAMES = {
    TaskReceived: "task",
    StatusReceived: "status",
    ArtifactReceived: "artifact",
    MessageReplied: "message",
}


class Transcript(Protocol):
    """Takes what comes, in order; knows the task and its state after it."""

    state: TaskState | None
    task_id: str | None

    def add(self, received: Received) -> None:
        """Take one event."""
        ...

    def end(self) -> None:
        """Take that the stream ended."""
        ...


class JsonTranscript:
    """One JSON object a line: ``seq``, ``type``, and what the event says."""

    def __init__(self) -> None:
        self.state: TaskState | None = None
        self.task_id: str | None = None

    def add(self, received: Received) -> None:
        """Print the event."""
        _note(self, received)
        said: dict[str, Any] = orjson.loads(orjson.dumps(received.update))
        line = {"seq": received.seq, "type": _NAMES[type(received.update)], **said}
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Print nothing more."""


class TextTranscript:
    """What the agent puts out goes to standard output, what is said about it to standard error."""

    def __init__(self) -> None:
        self.state: TaskState | None = None
        self.task_id: str | None = None
        self._printed: dict[str, str] = {}
        self._current: str | None = None
        self._line_open = False

    def add(self, received: Received) -> None:
        """Print what is new in the event."""
        _note(self, received)
        update = received.update
        if isinstance(update, ArtifactReceived):
            self._chunk(update.artifact, append=update.append)
        elif isinstance(update, MessageReplied):
            self._out(_shown(update.message.parts))
        elif isinstance(update, TaskReceived):
            for artifact in update.artifacts:
                self._catch_up(artifact)
            self._status(update.state, update.message)
        else:
            self._status(update.state, update.message)

    def end(self) -> None:
        """End the line, and say what to do where the task waits."""
        if self._line_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._line_open = False
        if self.state is TaskState.INPUT_REQUIRED:
            sys.stderr.write(f"(answer with --task {self.task_id})\n")

    def _chunk(self, artifact: Artifact, *, append: bool) -> None:
        if not append and artifact.id in self._printed:
            self._aside("(the agent starts again)")
            self._printed[artifact.id] = ""
        if self._current not in {None, artifact.id} and self._line_open:
            self._out("\n")
        self._current = artifact.id
        text = _shown(artifact.parts)
        self._printed[artifact.id] = self._printed.get(artifact.id, "") + text
        self._out(text)

    def _catch_up(self, artifact: Artifact) -> None:
        """Print what of a whole artifact was not printed yet."""
        text = _shown(artifact.parts)
        known = self._printed.get(artifact.id, "")
        self._printed[artifact.id] = text
        self._out(text[len(known) :] if text.startswith(known) else f"\n{text}")

    def _status(self, state: TaskState, message: Message | None) -> None:
        if message is not None:
            self._aside(_shown(message.parts))
        elif state in {TaskState.FAILED, TaskState.REJECTED, TaskState.CANCELED}:
            self._aside(f"({state})")

    def _out(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._line_open = not text.endswith("\n")

    def _aside(self, text: str) -> None:
        if self._line_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._line_open = False
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _note(transcript: Transcript, received: Received) -> None:
    update = received.update
    if isinstance(update, TaskReceived | StatusReceived):
        transcript.state = update.state
        transcript.task_id = update.task_id


def _shown(parts: tuple[Part, ...]) -> str:
    return "".join(_shown_part(part) for part in parts)


def _shown_part(part: Part) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, DataPart):
        return orjson.dumps(part.data).decode() + "\n"
    return _shown_file(part)


def _shown_file(part: FilePart) -> str:
    where = part.uri or f"{len(part.base64 or '') * 3 // 4} bytes"
    return f"[{part.filename or 'file'}, {part.media_type or 'unknown type'}: {where}]\n"
