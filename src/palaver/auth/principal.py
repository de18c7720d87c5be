"""The caller, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ANONYMOUS", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request. ``id`` owns the tasks that it creates: others do not see them."""

    id: str


ANONYMOUS: Final = Principal("anonymous")
"""Every caller of a server that asks nobody who they are."""
