"""New ids: ULIDs, made in the order of time."""

from __future__ import annotations

import time

from palaver.engine.clock import new_id

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _value(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 32 + _DIGITS.index(digit)
    return value


def test_ids_are_ulids() -> None:
    """26 digits of Crockford's base 32: 48 bits of the time in ms, and 80 bits that are random."""
    before = time.time_ns() // 1_000_000
    prefix, _, text = new_id("task").partition("_")
    after = time.time_ns() // 1_000_000
    assert (prefix, len(text)) == ("task", 26)
    assert before <= _value(text) >> 80 <= after


def test_no_id_comes_twice() -> None:
    """Of ten thousand made at once no two have the same random part, and each bit of it varies."""
    parts = [_value(new_id("x")[2:]) & (1 << 80) - 1 for _ in range(10_000)]
    assert len(set(parts)) == len(parts)
    ever = never = 0
    for part in parts:
        ever |= part
        never |= ~part
    assert ever == (1 << 80) - 1
    assert never & (1 << 80) - 1 == (1 << 80) - 1


def test_ids_sort_by_time() -> None:
    """An id of a later millisecond is greater."""
    first = new_id("x")
    made = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= made:
        pass
    assert first < new_id("x")
