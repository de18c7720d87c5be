"""An agent whose process gets SIGTERM in the middle of a line of the log."""

from __future__ import annotations

import signal
import sys

import structlog

from palaver.engine.agent import Agent
from palaver.engine.turn import Turn

_MARK = "interrupt me"


class Interrupted:
    """Standard error; whoever writes the mark gets the signal before the line is out."""

    def write(self, text: str) -> int:
        """Write."""
        if _MARK in text:
            signal.raise_signal(signal.SIGTERM)
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush."""
        sys.stderr.flush()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=Interrupted()))  # type: ignore[arg-type]
agent = Agent("interrupted", description="Logs, and is stopped meanwhile")


@agent.skill("log", default=True)
async def log(turn: Turn) -> str:
    """Log the mark, and answer."""
    structlog.get_logger("agent").warning(_MARK)
    return turn.text
