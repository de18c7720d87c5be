"""Whether the path still leads to the file that is open."""

from __future__ import annotations

import os
import time
from pathlib import Path

from palaver.errors import StoreUnavailable

__all__ = ["FileIdentity"]

_INTERVAL = 1.0


class FileIdentity:
    """Remembers the file behind a path. May be asked by any thread.

    SQLite goes on with a file that was deleted: what it says is durable would go with the process.
    ``interval`` is how long (seconds) ``check_sometimes`` trusts what it saw.
    """

    def __init__(self, path: Path, *, interval: float = _INTERVAL) -> None:
        self.interval = interval
        self.lost = False
        self._path = path
        self._file = self._look()
        self._looked_at = time.monotonic()

    def check_sometimes(self) -> None:
        """Do as ``check``, unless that was done a moment ago.

        Raises:
            StoreUnavailable: the path leads elsewhere, or nowhere.

        """
        if self.lost or time.monotonic() - self._looked_at >= self.interval:
            self.check()

    def check(self) -> None:
        """Make sure that the path leads to the same file; once it did not, it never does.

        Raises:
            StoreUnavailable: the path leads elsewhere, or nowhere.

        """
        if not self.lost:
            self._looked_at = time.monotonic()
            self.lost = self._look() != self._file
        if self.lost:
            raise StoreUnavailable(
                f"{self._path} was deleted or replaced while it was open: restart this process"
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - as cheap as can be
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # nobody knows: what is open is not lost by that
            return self._file
        return found.st_dev, found.st_ino
