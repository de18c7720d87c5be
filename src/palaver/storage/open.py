"""From what a user writes to a store."""

from __future__ import annotations

from typing import Final

from palaver.errors import ConfigError
from palaver.storage.interfaces import Storage
from palaver.storage.memory import MemoryStorage
from palaver.storage.sqlite import SqliteStorage

__all__ = ["open_storage"]

_ALLOWED: Final = "memory:, a path, sqlite:///absolute/path.db or sqlite:relative/path.db"
_NOT_YET: Final = ("redis", "rediss", "postgres", "postgresql")


def open_storage(url: str) -> Storage:
    """Return the store that ``url`` names; it is opened with ``await storage.open()``.

    Raises:
        ConfigError: it names none; the text says what is allowed.

    """
    scheme, colon, rest = url.partition(":")
    if url == "memory:":
        return MemoryStorage()
    if colon and scheme == "sqlite":
        path = rest.removeprefix("//") if rest.startswith("///") else rest
        if path and not path.startswith("//"):
            return SqliteStorage(path)
    elif colon and scheme in _NOT_YET:
        message = f"store {url!r}: {scheme} is not available in this version; use {_ALLOWED}"
        raise ConfigError(message)
    elif url and "\0" not in url and (not colon or "/" in scheme or url.startswith(".")):
        return SqliteStorage(url)
    message = f"store {url!r} is not understood; use {_ALLOWED}"
    raise ConfigError(message)
