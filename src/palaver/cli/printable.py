"""What a peer says, made fit for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return the text with ``�`` for what a terminal would obey instead of show.

    Control characters, line ends and marks of direction could move the cursor, set a title, or
    forge a line of our own.
    """
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
