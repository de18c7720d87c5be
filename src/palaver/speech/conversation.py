"""What was said in one call, as far as it was really heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from palaver.model.content import Message, Role, TextPart

__all__ = ["Conversation"]

_MAX_MESSAGES: Final = 32
_MAX_CHARACTERS: Final = 16_000


class Conversation:
    """The messages of a call, the oldest first; of a long call, the last ones.

    ``waiting_task`` is the task that has asked the caller something: what is said next answers it.
    """

    def __init__(self, conversation_id: str, new_id: Callable[[str], str]) -> None:
        self.id: Final = conversation_id
        self.waiting_task: str | None = None
        self._new_id = new_id
        self._messages: deque[Message] = deque(maxlen=_MAX_MESSAGES)

    def stop_waiting(self, task_id: str | None) -> bool:
        """Expect no answer for a task any more; tell whether it was the one that had asked."""
        waited = task_id is not None and self.waiting_task == task_id
        if waited:
            self.waiting_task = None
        return waited

    @property
    def context(self) -> tuple[Message, ...]:
        """What an agent is told of the conversation so far."""
        return tuple(self._messages)

    def message(self, role: Role, text: str, language: str | None) -> Message:
        """Return a message of this conversation, without adding it."""
        return Message(
            id=self._new_id("msg"), role=role, parts=(TextPart(text),), language=language
        )

    def add(self, message: Message) -> None:
        """Add what was said."""
        self._messages.append(message)
        while len(self._messages) > 1 and self._characters() > _MAX_CHARACTERS:
            self._messages.popleft()

    def retract(self, message: Message) -> None:
        """Take a message out again: it was a part of what is being said."""
        if message in self._messages:
            self._messages.remove(message)

    def add_answer(self, text: str, language: str | None) -> None:
        """Add what the caller has heard of an answer; of nothing, nothing is added."""
        if text.strip():
            self.add(self.message("agent", text, language))

    def _characters(self) -> int:
        return sum(len(message.text) for message in self._messages)
