"""What a handler is given: what was said, who says it, and what it can do beside answering."""

from __future__ import annotations

from typing import Literal, Protocol

from palaver.engine.outputs import Output
from palaver.model.content import Message, Metadata, Part, TextPart, text_of
from palaver.model.task import Task

__all__ = ["Turn", "TurnActions"]


class TurnActions(Protocol):
    """What a turn asks of whoever runs it."""

    @property
    def stopped(self) -> bool:
        """Whether the task was cancelled or ran out of time."""
        ...

    async def ask(self, question: tuple[Part, ...]) -> Message:
        """Ask the caller, and return the answer."""
        ...

    async def emit(self, item: Output) -> None:
        """Put out ``item``."""
        ...

    def call_action(self, action: Literal["hang_up", "transfer"], target: str | None) -> None:
        """Have something done to the call."""
        ...

    def carry_on(self) -> str:
        """Keep what an earlier attempt wrote, and return its text."""
        ...


class Turn:
    """One message to an agent, and the task that answers it.

    Attributes:
        text: The text of the message, without the word that named the skill.
        message: The message as it came.
        task_id: The id of the task.
        conversation_id: The id that groups tasks of one conversation.
        principal: The id of the caller (``anonymous`` where nobody is asked who they are).
        wire: How the message came (``a2a-1.0`` …); for logs, not for decisions.
        skill_id: The skill that was chosen.
        attempt: 1, or more where an earlier worker died and the task runs again.
        metadata: What the caller attached to the request.
        language: The BCP 47 tag of the message's text, or of the phrase of the agent that it
            equals; ``None`` where nobody knows.
        context: What was said in the conversation before this message, as far as the caller
            really heard it; empty where the caller does not tell.

    """

    __slots__ = (
        "_actions",
        "_history",
        "attempt",
        "context",
        "conversation_id",
        "language",
        "message",
        "metadata",
        "principal",
        "skill_id",
        "task_id",
        "text",
        "wire",
    )

    def __init__(
        self,
        task: Task,
        *,
        text: str,
        skill_id: str,
        language: str | None,
        attempt: int,
        actions: TurnActions,
    ) -> None:
        self.text = text
        self.message = task.history[0]
        self.task_id = task.id
        self.conversation_id = task.conversation_id
        self.principal = task.principal
        self.wire = task.wire
        self.skill_id = skill_id
        self.attempt = attempt
        self.metadata: Metadata = task.metadata or {}
        self.language = language
        self.context = task.context
        self._history = [task.history[0]]
        self._actions = actions

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the message: text, files, data."""
        return self.message.parts

    @property
    def history(self) -> tuple[Message, ...]:
        """The message, then each answer that ``ask`` returned."""
        return tuple(self._history)

    @property
    def stopped(self) -> bool:
        """Whether the task was cancelled or ran out of time: for plain functions, to look at."""
        return self._actions.stopped

    async def ask(self, *question: str | Part) -> str:
        """Ask the caller, wait for the answer, and return its text.

        The whole answer is the last of ``history``. In a later attempt, answers that were given
        before are returned at once, in order.

        Raises:
            TimeoutError: nobody answered in time. Left alone, it fails the task.

        """
        answer = await self._actions.ask(as_parts(question))
        self._history.append(answer)
        return text_of(answer.parts)

    async def emit(self, item: Output) -> None:
        """Put out ``item`` now, as a yield of an async generator would."""
        await self._actions.emit(item)

    def hang_up(self) -> None:
        """End the voice call after what was said so far; nothing on wires without a call."""
        self._actions.call_action("hang_up", None)

    def transfer(self, target: str) -> None:
        """Hand the voice call to ``target`` after what was said so far."""
        self._actions.call_action("transfer", target)

    def carry_on(self) -> str:
        """Keep the text that an earlier attempt wrote, and return it (empty in the first).

        Without this call the text of a later attempt replaces the earlier one. Call it before
        anything is put out.
        """
        return self._actions.carry_on()


def as_parts(items: tuple[str | Part, ...]) -> tuple[Part, ...]:
    """Return ``items`` as parts; text becomes a text part."""
    return tuple(TextPart(item) if isinstance(item, str) else item for item in items)
