"""Characters that nobody can say: no client, no store and no voice should be given them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["printable"]

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
"""Control characters, which may mean something to a terminal, and halves of characters."""


def printable(text: str) -> str:
    """Return the text with a space in place of what cannot be said."""
    return _UNPRINTABLE.sub(" ", text).strip()
