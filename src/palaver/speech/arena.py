"""What a detector remembers of its streams, as rows of one array.

So the memory of a batch is gathered by one numpy operation and put back by another, and closing a
stream is giving back a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from palaver.speech.detector import Stream

__all__ = ["Arena", "Row", "Rows"]

Rows: TypeAlias = NDArray[np.intp]
_FIRST_CAPACITY = 16


class Row:
    """The memory of one session: a ``Stream``."""

    __slots__ = ("arena", "index")

    def __init__(self, arena: Arena, index: int) -> None:
        self.arena: Arena | None = arena
        """Whose row it is; ``None`` once it is closed."""
        self.index = index

    def reset(self) -> None:
        """Forget what was heard. Raises ``ValueError`` once the stream is closed."""
        if self.arena is None:
            raise ValueError("the stream is closed")
        self.arena.clear(self.index)

    def close(self) -> None:
        """Give the row back. Closing again does nothing."""
        arena, self.arena = self.arena, None
        if arena is not None:
            arena.free(self.index)


class Arena:
    """Rows of float32 that look like ``blank`` when they are new. It grows as streams come.

    It is not for several threads.
    """

    def __init__(self, blank: NDArray[np.float32]) -> None:
        self._blank = blank
        self._values = np.empty((_FIRST_CAPACITY, blank.size), np.float32)
        self._free = list(range(_FIRST_CAPACITY))[::-1]

    @property
    def in_use(self) -> int:
        """How many rows are given out."""
        return len(self._values) - len(self._free)

    def open(self) -> Row:
        """Give out a blank row."""
        if not self._free:
            self._grow()
        row = Row(self, self._free.pop())
        row.reset()
        return row

    def rows(self, streams: Sequence[Stream]) -> Rows:
        """Return the places of ``streams``, shape [N].

        Raises ``ValueError`` where a stream is closed, another detector's, or there twice.
        """
        known = [one for one in streams if isinstance(one, Row)]
        rows = [row.index for row in known if row.arena is self]
        if len(rows) != len(streams):
            if len(known) != len(streams):
                raise TypeError("a stream of another kind of detector")
            if any(row.arena is None for row in known):
                raise ValueError("the stream is closed")
            raise ValueError("the stream belongs to another detector")
        if len(set(rows)) != len(rows):
            raise ValueError("a stream is in the batch twice")
        return np.array(rows, np.intp)

    def gather(self, rows: Rows, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Return a copy of what the rows hold in these columns, shape [N, columns]."""
        # Not ``take`` of a part of the columns: it copies that part of all rows first.
        return self._values[rows, columns]

    def scatter(self, rows: Rows, values: NDArray[np.float32], first: int = 0) -> None:
        """Set what the rows hold, from the column ``first`` on."""
        self._values[rows, first : first + values.shape[1]] = values

    def clear(self, index: int) -> None:
        """Make one row blank."""
        self._values[index] = self._blank

    def free(self, index: int) -> None:
        """Take one row back: ``Row.close`` calls it, once."""
        self._free.append(index)

    def _grow(self) -> None:
        capacity = len(self._values)
        self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._free += range(2 * capacity - 1, capacity - 1, -1)
