"""Palaver: one agent, several wires, one process, one task log."""

from importlib.metadata import version

from palaver.engine.agent import Agent
from palaver.engine.outputs import Failed, Output, Progress, Rejected
from palaver.engine.turn import Turn
from palaver.model.content import Artifact, DataPart, FilePart, Message, TextPart

__all__ = [
    "Agent",
    "Artifact",
    "DataPart",
    "Failed",
    "FilePart",
    "Message",
    "Output",
    "Progress",
    "Rejected",
    "TextPart",
    "Turn",
    "__version__",
]

__version__ = version("palaver")
