"""What a handler may put out, and how it says that it will not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from palaver.errors import AgentError
from palaver.model.content import Artifact, Part

__all__ = ["Failed", "Output", "Progress", "Rejected"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a handler has come: 0 to 100, and a note for people."""

    percent: float | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        """Refuse a percentage outside of 0 to 100."""
        if self.percent is not None and not 0 <= self.percent <= 100:
            message = f"percent must be 0 to 100, not {self.percent!r}"
            raise ValueError(message)


class Rejected(AgentError):
    """Raised by a handler that will not do the task; the text is shown to the caller."""


class Failed(AgentError):
    """Raised by a handler that cannot do the task; the text is shown, its cause is in the log."""


Output: TypeAlias = str | Part | Artifact | Progress | dict[str, Any]
"""What a handler may yield or return: text, a part, an artifact, progress, or a JSON object."""
