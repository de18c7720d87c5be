"""What a handler puts out becomes events of its task."""

from __future__ import annotations

from typing import Final, cast

from palaver.engine.log import TaskWriter
from palaver.engine.outputs import Output, Progress
from palaver.errors import PalaverError
from palaver.model.content import Artifact, DataPart, FilePart, Message, Part, TextPart
from palaver.model.encoding import detached_artifact, detached_part
from palaver.model.ids import IdSource
from palaver.model.task import Task, TaskState

__all__ = ["RESPONSE", "Response", "TooManyEvents", "sound"]

RESPONSE: Final = "response"
"""The id of the artifact that gathers the text and the parts which a handler puts out."""


class TooManyEvents(PalaverError):
    """The handler wants to put out more than one task may hold."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The task put out more than {limit} events.")


class Response:
    """Turns outputs into writes: text and parts become chunks of one artifact, ``response``."""

    __slots__ = ("_appending", "_earlier", "_max_events", "_new_id", "_writer")

    def __init__(
        self, writer: TaskWriter, task: Task, new_id: IdSource, *, max_events: int
    ) -> None:
        self._writer = writer
        self._new_id = new_id
        self._max_events = max_events
        self._earlier: Artifact | None = None
        if task.artifacts:
            self._earlier = next((a for a in task.artifacts if a.id == RESPONSE), None)
        self._appending = False

    def put(self, item: Output) -> None:
        """Write ``item``.

        Raises:
            TooManyEvents: the task is full.
            TypeError: ``item`` is nothing that a handler may put out.
            IllegalEvent: the task does not work now.

        """
        if self._writer.seq >= self._max_events:
            raise TooManyEvents(self._max_events)
        if isinstance(item, str):
            if item:
                self._chunk(TextPart(sound(item)))
        elif isinstance(item, (TextPart, FilePart, DataPart)):
            self._chunk(detached_part(item))
        elif isinstance(item, Progress):
            note = self.say(item.note) if item.note else None
            self._writer.status(TaskState.WORKING, message=note, percent=item.percent)
        elif isinstance(item, Artifact):
            self._writer.artifact(detached_artifact(item), append=False, last=True)
        elif isinstance(cast("object", item), dict):
            self._chunk(detached_part(DataPart(item)))
        else:
            message = (
                f"a handler may put out text, a part, an artifact, progress or a dict, "
                f"not {type(item).__name__}"
            )
            raise TypeError(message)

    def carry_on(self) -> str:
        """Append to the text of an earlier attempt instead of replacing it; return that text."""
        if self._earlier is None:
            return ""
        self._appending = True
        return self._earlier.text

    def say(self, text: str) -> Message:
        """Return a message of the agent with that text."""
        return self.message((TextPart(text),))

    def message(self, parts: tuple[Part, ...]) -> Message:
        """Return a message of the agent; errors are those of ``put``."""
        said = tuple(
            TextPart(sound(part.text)) if isinstance(part, TextPart) else detached_part(part)
            for part in parts
        )
        return Message(id=self._new_id("msg"), role="agent", parts=said)

    def _chunk(self, part: Part) -> None:
        artifact = Artifact(id=RESPONSE, parts=(part,))
        self._writer.artifact(artifact, append=self._appending, last=False)
        self._appending = True


def sound(text: str) -> str:
    """Return ``text`` without lone surrogates, which no JSON may carry."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
