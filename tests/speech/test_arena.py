"""Rows of memory: given out blank, given back once, and whose they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from palaver.speech.arena import Arena, Row
from palaver.speech.webrtc import WebrtcStream

BLANK = np.array([7, 0, -1], np.float32)


class Rows(RuleBasedStateMachine):
    """An arena beside a plain dict of what each stream should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena(BLANK)
        self.held: dict[Row, list[float]] = {}
        self.closed: list[Row] = []

    @rule(count=st.integers(1, 30))
    def open(self, count: int) -> None:
        """Open streams: they are blank."""
        for _ in range(count):
            self.held[self.arena.open()] = BLANK.tolist()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), value=st.integers(-9, 9))
    def write(self, data: st.DataObject, value: int) -> None:
        """Let some of them, in any order, remember something."""
        some = data.draw(st.lists(st.sampled_from(list(self.held)), unique=True))
        values = value + np.arange(3 * len(some), dtype=np.float32).reshape(-1, 3)
        self.arena.scatter(self.arena.rows(some), values)
        for row, kept in zip(some, values.tolist(), strict=True):
            self.held[row] = kept

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        """Let one forget."""
        row = data.draw(st.sampled_from(list(self.held)))
        row.reset()
        self.held[row] = BLANK.tolist()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 3))
    def close(self, data: st.DataObject, times: int) -> None:
        """Close one; to close it again does nothing."""
        row = data.draw(st.sampled_from(list(self.held)))
        for _ in range(times):
            row.close()
        del self.held[row]
        self.closed.append(row)

    @precondition(lambda self: self.closed)
    @rule(data=st.data())
    def use_a_closed_one(self, data: st.DataObject) -> None:
        """Try to: it is refused, and does not harm who has the row now."""
        row = data.draw(st.sampled_from(self.closed))
        row.close()
        with pytest.raises(ValueError, match="the stream is closed"):
            row.reset()
        with pytest.raises(ValueError, match="the stream is closed"):
            self.arena.rows([*self.held, row])

    @invariant()
    def all_is_remembered(self) -> None:
        """Find in each stream what was written for it last."""
        rows = self.arena.rows(list(self.held))
        assert self.arena.gather(rows).tolist() == list(self.held.values())
        assert self.arena.in_use == len(self.held)


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_rows_are_given_out_again() -> None:
    """A thousand calls one after the other need no more memory than one."""
    arena = Arena(BLANK)
    first = arena.open()
    first.close()
    for _ in range(1_000):
        row = arena.open()
        row.close()
    assert arena.in_use == 0
    assert len(arena.gather(arena.rows([arena.open() for _ in range(16)]))) == 16


def test_no_row_is_there_twice() -> None:
    """A stream cannot hear two windows at once."""
    arena = Arena(BLANK)
    row, other = arena.open(), arena.open()
    with pytest.raises(ValueError, match="a stream is in the batch twice"):
        arena.rows([row, other, row])


def test_another_detectors_stream_is_refused() -> None:
    """Its row would be somebody else's memory."""
    with pytest.raises(ValueError, match="the stream belongs to another detector"):
        Arena(BLANK).rows([Arena(BLANK).open()])
    with pytest.raises(TypeError, match="a stream of another kind of detector"):
        Arena(BLANK).rows([WebrtcStream(2)])
