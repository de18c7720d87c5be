"""How unlike two utterances are, whatever their pace: dynamic time warping, many at once.

The path goes from the first pair of rows to the last by steps (1, 1), (1, 0) and (0, 1). A pair
costs the distance between its rows, twice where it is reached by (1, 1), so that every path has
the weight of both lengths together; by that the total is divided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palaver.providers.mfcc import Features

__all__ = ["Templates", "distances", "distances_in_any_order", "distances_on_path"]

_MAX_CELLS: Final = 4_000_000
"""Pairs of rows that are held in memory at once: 16 MB."""


class Templates:
    """Utterances to compare with, laid out for that. Rows: time; columns: features."""

    def __init__(self, utterances: Sequence[Features]) -> None:
        """Take them; each has a row at least.

        Raises:
            ValueError: one has none.

        """
        if any(len(utterance) == 0 for utterance in utterances):
            message = "a template needs a row of features at least"
            raise ValueError(message)
        self.utterances: Final = tuple(utterances)
        self.lengths: Final = np.array([len(item) for item in utterances], np.int64)


def distances(
    heard: Features, templates: Templates, chosen: Sequence[int], *, band: float = 0.2
) -> NDArray[np.float32]:
    """Return how far ``heard`` is from each of the ``chosen`` templates.

    ``band`` is how far the path may leave the straight one, in parts of the whole.

    Raises:
        ValueError: ``heard`` has no rows.

    """
    if len(heard) == 0:
        message = "an utterance needs a row of features at least"
        raise ValueError(message)
    found = np.empty(len(chosen), np.float32)
    # Those of like length together: shorter ones are filled up to the longest of their batch.
    order = sorted(range(len(chosen)), key=lambda place: int(templates.lengths[chosen[place]]))
    while order:
        longest = int(templates.lengths[chosen[order[-1]]])
        count = max(1, _MAX_CELLS // (longest * len(heard)))
        batch, order = order[-count:], order[:-count]
        some = [templates.utterances[chosen[place]] for place in batch]
        found[batch] = _batch(heard, some, band)
    return found


def distances_on_path(heard: Features, template: Features, *, band: float = 0.2) -> Features:
    """Return how far each row of ``heard`` is from those of ``template`` that the path lays by it.

    Where these are several it is their mean.

    Raises:
        ValueError: one of both has no rows.

    """
    if len(heard) == 0 or len(template) == 0:
        message = "an utterance and a template need a row of features at least"
        raise ValueError(message)
    costs = _costs(heard, [template], np.array([len(template)]), band)
    totals = [cells[:, 0] for cells in _diagonals(costs)]
    sums, counts = np.zeros(len(heard), np.float32), np.zeros(len(heard), np.float32)
    row, column = len(heard) - 1, len(template) - 1
    while True:
        cost = costs[row, column, 0]
        sums[row] += cost
        counts[row] += 1
        if row == column == 0:
            return sums / counts
        from_before = totals[row + column - 1]
        straight = np.inf
        if row and column:
            straight = totals[row + column - 2][row] + 2 * cost
        if straight <= min(from_before[row], from_before[row + 1]) + cost:
            row, column = row - 1, column - 1
        elif from_before[row] <= from_before[row + 1]:
            row -= 1
        else:
            column -= 1


def distances_in_any_order(heard: Features, sounds: Features) -> Features:
    """Return how far each row of ``heard`` is from the nearest of ``sounds``, in any order."""
    squares = np.square(heard).sum(axis=1)[:, None] + np.square(sounds).sum(axis=1)
    squares -= 2.0 * (heard @ sounds.T)
    nearest: Features = np.sqrt(np.maximum(squares.min(axis=1), 0.0))
    return nearest


def _batch(heard: Features, templates: Sequence[Features], band: float) -> NDArray[np.float32]:
    lengths = np.array([len(template) for template in templates])
    total = np.empty(len(templates), np.float32)
    costs = _costs(heard, templates, lengths, band)
    for diagonal, cells in enumerate(_diagonals(costs)):
        ended = np.flatnonzero(lengths + len(heard) - 2 == diagonal)
        total[ended] = cells[len(heard), ended]
    total /= len(heard) + lengths
    return total


def _diagonals(costs: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the total costs, one anti-diagonal after the other: its cells do not need each other.

    Cell (i, j) of diagonal i + j stands at i + 1; at 0 is the border.
    """
    rows, columns, count = costs.shape
    before = np.full((rows + 1, count), np.inf, np.float32)
    last = before.copy()
    for diagonal in range(rows + columns - 1):
        first, end = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        at = np.arange(first, end)
        cost = costs[at, diagonal - at]
        now = np.full_like(last, np.inf)
        if diagonal == 0:
            now[1] = 2 * cost[0]
        else:
            straight = before[first:end] + 2 * cost
            turned = np.minimum(last[first:end], last[first + 1 : end + 1]) + cost
            now[first + 1 : end + 1] = np.minimum(straight, turned)
        yield now
        before, last = last, now


def _costs(
    heard: Features, templates: Sequence[Features], lengths: NDArray[np.int64], band: float
) -> NDArray[np.float32]:
    """Return the distance of each row heard (axis 0) to each row (1) of each template (2)."""
    columns = int(lengths.max())
    known = np.zeros((columns, len(templates), heard.shape[1]), np.float32)
    for place, template in enumerate(templates):
        known[: len(template), place] = template
    flat = known.reshape(-1, heard.shape[1])
    squares = np.square(heard).sum(axis=1)[:, None] + np.square(flat).sum(axis=1)
    squares -= 2.0 * (heard @ flat.T)
    costs: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0.0)).reshape(
        len(heard), columns, len(templates)
    )
    across = np.arange(len(heard))[:, None, None] * (lengths - 1)
    along = np.arange(columns)[None, :, None] * (len(heard) - 1)
    wide = np.maximum(band * (lengths - 1) * (len(heard) - 1), np.maximum(lengths, len(heard)))
    costs[np.abs(across - along) > wide] = np.inf
    return costs
