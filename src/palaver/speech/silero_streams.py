"""What Silero remembers of its streams, and which of their windows the network has to judge.

Two things spare it work and wear. A ``noise_gate`` keeps still windows of a pause away from it.
And noise without speech wears out the network's memory: after a minute of it at 0 dB, speech at
8 kHz was not found any more. So after eight seconds, in the next clear pause, a stream begins with
a blank memory: then 78 % of the same speech was found, and nothing that was none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np

from palaver.speech import noise_gate
from palaver.speech.arena import Arena, Rows
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.onnx_weights import Floats
from palaver.speech.silero_network import HIDDEN
from palaver.speech.windows import SCALE, check_windows

__all__ = ["REFRESH_MS", "WINDOW_MS", "SileroStreams"]

WINDOW_MS: Final = 32
REFRESH_MS: Final = 8_000
"""How old a stream's memory may be when a pause comes. A younger one ends turns later in noise."""
_STATES: Final = 2 * HIDDEN
_BLOCK: Final = 128
"""Windows that are judged at once: their numbers stay in a core's cache."""


class SileroStreams(ABC):
    """The part of a detector that does not depend on who computes the network.

    With ``gated`` false every window is judged, and ``refresh_ms`` None lets streams keep their
    memory for ever: so does the bare model.
    """

    name = "silero"

    def __init__(self, sample_rate_hz: int, *, refresh_ms: int | None, gated: bool) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.window_samples = sample_rate_hz * WINDOW_MS // 1000
        self._refresh_ms = refresh_ms
        self._gated = gated
        # A row: hidden and cell state, the samples heard last, the age of the states, the gate's.
        self._heard = slice(_STATES, _STATES + self.window_samples // 8)
        self._marks = slice(self._heard.stop, self._heard.stop + 1 + noise_gate.COLUMNS)
        self._arena = Arena(np.zeros(self._marks.stop, np.float32))

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return self._arena.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Return the probability of speech for the next window of each stream, shape [N].

        Raises ``ValueError`` where ``windows`` is not int16 of the shape [N, window_samples], or a
        stream is closed, another detector's or there twice; then nothing was heard.
        """
        rows = self._arena.rows(streams)
        check_windows(windows, len(rows), self.window_samples)
        if not len(rows):
            return np.empty(0, np.float32)
        marks = self._arena.gather(rows, self._marks)
        gate = marks[:, 1:]
        if not self._gated:
            self._judge(rows, windows, marks, None)
        else:
            levels = noise_gate.levels(windows)
            at = np.flatnonzero(~noise_gate.still(gate, levels))
            if len(at) == len(rows):
                self._judge(rows, windows, marks, levels)
            elif len(at):
                judged = marks[at]
                self._judge(rows[at], windows[at], judged, levels[at])
                marks[at] = judged
        heard = windows[:, self._heard.start - self._heard.stop :] * SCALE
        self._arena.scatter(rows, np.concatenate([heard, marks], axis=1), self._heard.start)
        return noise_gate.last(gate)

    def _judge(self, rows: Rows, windows: Samples, marks: Floats, levels: Floats | None) -> None:
        """Let the network judge windows; what comes of it goes to ``marks`` and the states."""
        count = len(rows)
        marks[:, 0] += 1
        probability = np.empty(count, np.float32)
        with self._computing():
            size = -(-count // -(-count // _BLOCK))  # blocks of about one size
            for at in range(0, count, size):
                block = slice(at, at + size)
                before = self._arena.gather(rows[block], slice(0, self._heard.stop))
                probability[block], states = self._compute(before, windows[block])
                self._arena.scatter(rows[block], states)
        noise_gate.note(marks[:, 1:], levels, probability)
        if self._refresh_ms is not None:
            tired = marks[:, 0] * WINDOW_MS >= self._refresh_ms
            tired &= noise_gate.pauses(marks[:, 1:])
            if tired.any():
                noise_gate.forget(marks[:, 1:], tired)
                marks[tired, 0] = 0
                self._arena.scatter(rows[tired], np.zeros((tired.sum(), _STATES), np.float32))

    def _computing(self) -> AbstractContextManager[object]:
        """Return what to be in while the network is computed."""
        return nullcontext()

    @abstractmethod
    def _compute(self, before: Floats, windows: Samples) -> tuple[Probabilities, Floats]:
        """Return probabilities [N], and the states after [N, 2 * HIDDEN].

        ``before`` is the states, hidden and cell, and the samples heard last, from -1 to 1.
        """
