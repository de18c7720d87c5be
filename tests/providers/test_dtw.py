"""Time warping of many at once, against the plain recurrence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.providers.dtw import (
    Templates,
    distances,
    distances_in_any_order,
    distances_on_path,
)
from palaver.providers.mfcc import Features


def rows(length: int, seed: int) -> Features:
    """Return so many rows of features."""
    return np.random.default_rng(seed).normal(size=(length, 5)).astype(np.float32)


def reference(one: Features, other: Features, band: float) -> float:
    """Return the distance as the recurrence says it, cell by cell."""
    height, width = len(one), len(other)
    most = max(band * (width - 1) * (height - 1), height, width)
    total = np.full((height, width), np.inf)
    for i in range(height):
        for j in range(width):
            if abs(i * (width - 1) - j * (height - 1)) > most:
                continue
            cost = float(np.linalg.norm(one[i] - other[j]))
            ways = [2 * cost] if i == j == 0 else []
            if i and j:
                ways.append(total[i - 1, j - 1] + 2 * cost)
            if i:
                ways.append(total[i - 1, j] + cost)
            if j:
                ways.append(total[i, j - 1] + cost)
            total[i, j] = min(ways)
    return float(total[-1, -1]) / (height + width)


@settings(max_examples=60)
@given(
    heard=st.integers(1, 20),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    band=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    seed=st.integers(0, 1_000),
)
def test_it_is_the_recurrence(heard: int, lengths: list[int], band: float, seed: int) -> None:
    """For every length and band; a path always exists."""
    utterance = rows(heard, seed)
    templates = [rows(length, seed + place + 1) for place, length in enumerate(lengths)]
    chosen = list(range(len(templates)))[::-1]
    found = distances(utterance, Templates(templates), chosen, band=band)
    expected = [reference(utterance, templates[place], band) for place in chosen]
    assert np.isfinite(found).all()
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_pace_costs_nothing() -> None:
    """The same rows, each held for twice as long, are no further away."""
    slow = np.repeat(rows(30, 1), 2, axis=0)
    found = distances(rows(30, 1), Templates([slow, rows(60, 2)]), [0, 1])
    assert found[0] == pytest.approx(0.0, abs=1e-2)
    assert found[1] > 1.0


def test_many_long_ones_are_compared_in_batches() -> None:
    """What does not fit into memory at once gives the same answer."""
    heard = rows(600, 1)
    templates = Templates([rows(600 - place % 7, place) for place in range(30)])
    found = distances(heard, templates, range(30))
    assert found[1] == pytest.approx(distances(heard, templates, [1])[0], rel=1e-5)
    assert found[13] == pytest.approx(distances(heard, templates, [13])[0], rel=1e-5)


def test_nothing_to_compare() -> None:
    """No templates give no distances; utterances without a row are refused."""
    assert distances(rows(3, 1), Templates([rows(3, 2)]), []).shape == (0,)
    with pytest.raises(ValueError, match="an utterance needs a row"):
        distances(rows(0, 1), Templates([rows(3, 1)]), [0])
    with pytest.raises(ValueError, match="a template needs a row"):
        Templates([rows(3, 1), rows(0, 1)])
    for heard, template in ((rows(0, 1), rows(3, 1)), (rows(3, 1), rows(0, 1))):
        with pytest.raises(ValueError, match="need a row of features at least"):
            distances_on_path(heard, template)


@settings(max_examples=60)
@given(heard=st.integers(1, 15), length=st.integers(1, 15), seed=st.integers(0, 1_000))
def test_a_path_costs_what_its_rows_cost(heard: int, length: int, seed: int) -> None:
    """Each row is as far as those beside it: never nearer than the nearest of all rows."""
    utterance, template = rows(heard, seed), rows(length, seed + 1)
    found = distances_on_path(utterance, template, band=1.0)
    nearest = distances_in_any_order(utterance, template)
    every = np.linalg.norm(utterance[:, None] - template[None], axis=2)
    assert nearest == pytest.approx(every.min(axis=1), rel=1e-3, abs=1e-3)
    assert (found >= nearest - 1e-3).all()
    assert (found <= every.max(axis=1) + 1e-3).all()


def test_order_is_what_tells_a_path_from_sounds() -> None:
    """The rows of a template shuffled are as near to its sounds, and far from its order."""
    template = rows(40, 1)
    shuffled = template[np.random.default_rng(2).permutation(40)]
    slow = np.repeat(template, 2, axis=0)
    assert distances_in_any_order(shuffled, template) == pytest.approx(np.zeros(40), abs=1e-2)
    assert distances_on_path(shuffled, template).mean() > 1.0
    assert distances_on_path(slow, template) == pytest.approx(np.zeros(80), abs=1e-2)
    # A row that is new is far, and those that are not beside it stay where they are.
    changed = np.concatenate([template[:20], template[20:21] + 9.0, template[21:]])
    found = distances_on_path(changed, template)
    assert found.argmax() == 20
    assert np.delete(found, [19, 20, 21]) == pytest.approx(np.zeros(37), abs=1e-2)
