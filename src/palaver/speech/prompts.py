"""What a call says by itself, when it is not the agent that speaks: in the caller's language."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["Prompt", "prompt"]


class Prompt(StrEnum):
    """An occasion to say something."""

    NOT_UNDERSTOOD = "not_understood"
    NOT_HEARD = "not_heard"
    """The engine that hears failed."""
    FAILED = "failed"
    BUSY = "busy"
    FILLER = "filler"
    NO_TRANSFER = "no_transfer"


_ENGLISH: Final[Mapping[Prompt, str]] = MappingProxyType(
    {
        Prompt.NOT_UNDERSTOOD: "Sorry, I did not understand that.",
        Prompt.NOT_HEARD: "Sorry, I could not hear you. Please say it again.",
        Prompt.FAILED: "Sorry, something went wrong.",
        Prompt.BUSY: "Sorry, I am too busy at the moment. Please try again.",
        Prompt.FILLER: "One moment, please.",
        Prompt.NO_TRANSFER: "Sorry, I cannot transfer this call.",
    }
)
_PORTUGUESE: Final[Mapping[Prompt, str]] = MappingProxyType(
    {
        Prompt.NOT_UNDERSTOOD: "Desculpe, não entendi.",
        Prompt.NOT_HEARD: "Desculpe, não consegui ouvir. Por favor, repita.",
        Prompt.FAILED: "Desculpe, algo deu errado.",
        Prompt.BUSY: "Desculpe, estou muito ocupado no momento. Tente de novo, por favor.",
        Prompt.FILLER: "Um momento, por favor.",
        Prompt.NO_TRANSFER: "Desculpe, não posso transferir esta ligação.",
    }
)


def prompt(occasion: Prompt, language: str | None) -> str:
    """Return what to say; in English where the language is another one, or not known."""
    portuguese = (language or "").lower().partition("-")[0] == "pt"
    return (_PORTUGUESE if portuguese else _ENGLISH)[occasion]
