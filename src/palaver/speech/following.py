"""A task as a voice follows it: the text to say, as it comes, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from palaver.engine.engine import Engine
from palaver.model.events import ArtifactUpdated, CallActionRequested, StatusChanged, TaskEvent
from palaver.model.states import INTERRUPTED, TERMINAL, TaskState
from palaver.model.task import Task

__all__ = ["Action", "Ended", "Following", "News", "Text", "follow"]


@dataclass(frozen=True, slots=True)
class Text:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The task came to its end, or waits for the caller; ``text`` is what it says about that."""

    state: TaskState
    text: str = ""

    @property
    def asks(self) -> bool:
        """Whether the caller is to answer."""
        return self.state in INTERRUPTED


@dataclass(frozen=True, slots=True)
class Action:
    """Something is to be done with the call, after what is being said."""

    action: Literal["hang_up", "transfer"]
    target: str | None


News: TypeAlias = Text | Action | Ended


async def follow(engine: Engine, task: Task, after: int) -> AsyncGenerator[News, None]:
    """Yield what there is to say of a task behind event ``after``; ``Ended`` is the last.

    Raises:
        CursorExpired, NotFound, StoreUnavailable: the log cannot be read.

    """
    following = Following()
    with engine.subscribe(task.id, after) as subscription:
        while True:
            for event in await subscription.next():
                for news in following.take(event):
                    yield news
                    if isinstance(news, Ended):
                        return


class Following:
    """Makes news of events: pure, so that a test can read a log to it."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def take(self, event: TaskEvent) -> list[News]:
        """Return what an event means for the caller."""
        if isinstance(event, ArtifactUpdated):
            text = self._more(event)
            return [Text(text)] if text else []
        if isinstance(event, CallActionRequested):
            return [Action(event.action, event.target)]
        if isinstance(event, StatusChanged) and event.state in TERMINAL | INTERRUPTED:
            said = event.message.text if event.message is not None else ""
            # Of what broke, the caller hears nothing but that it did, in their own language.
            for_callers = event.state is not TaskState.FAILED or event.reason == "failed"
            return [Ended(event.state, said if for_callers else "")]
        return []

    def _more(self, event: ArtifactUpdated) -> str:
        """Return the text that an event adds to what was said.

        What a later attempt writes again is not said again; what it writes otherwise is.
        """
        text = event.artifact.text
        before = self._texts.get(event.index)
        if before is None:
            self._texts[event.index] = text
            # Another artifact is another paragraph.
            return f"\n{text}" if event.index and text else text
        if event.append:
            self._texts[event.index] = before + text
            return text
        self._texts[event.index] = text
        return text.removeprefix(before) if text.startswith(before) else f"\n{text}"
