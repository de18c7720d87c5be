"""Ids: opaque strings, checked where they come in, made by a source that is handed in."""

from __future__ import annotations

from typing import Final, Protocol

from palaver.errors import InvalidId

__all__ = ["MAX_ID_LENGTH", "IdSource", "check_id", "slug"]

MAX_ID_LENGTH: Final = 256
"""Characters that an id from outside may have at most."""


class IdSource(Protocol):
    """Makes ids that were never used before."""

    def __call__(self, prefix: str) -> str:
        """Return ``prefix`` + ``_`` + something unique."""
        ...


def check_id(value: str, what: str = "id") -> str:
    """Return ``value`` if it may be an id; every id from outside passes here once.

    An id is opaque: any printable text of 1 to 256 characters, slashes and spaces inside
    included. It never becomes part of a path or of a query.

    Raises:
        InvalidId: it is empty, too long, or holds control characters or lone surrogates.

    """
    if not value:
        message = f"{what} must not be empty"
        raise InvalidId(message)
    if len(value) > MAX_ID_LENGTH:
        message = f"{what} has {len(value)} characters; at most {MAX_ID_LENGTH} are allowed"
        raise InvalidId(message)
    if not value.isascii() or not value.isprintable():
        for position, char in enumerate(value):
            if not (char.isprintable() and not "\ud800" <= char <= "\udfff"):
                message = f"{what} holds the character U+{ord(char):04X} at position {position}"
                raise InvalidId(message)
    return value


def slug(name: str) -> str:
    """Return ``name`` as an id that is safe in a path: lower-case letters, digits and hyphens."""
    words = "".join(char if char.isascii() and char.isalnum() else " " for char in name.lower())
    return "-".join(words.split())
