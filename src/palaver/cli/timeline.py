"""The picture of a call: what was said, what was detected, what was heard; legible in grey."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from palaver.cli.printable import printable
from palaver.errors import ConfigError
from palaver.media import happenings as happened
from palaver.media.call_record import CallRecord, joined
from palaver.media.detection import Detection, detect
from palaver.speech.detector import Samples

__all__ = ["check_timeline", "draw_timeline"]

_FORMATS: Final = (".png", ".svg", ".pdf")
_COLUMNS: Final = 1_600
"""Columns of a waveform: as many as the picture has, about."""
_INK: Final = "black"
_SAID: Final = "#1f4e79"
_HEARD: Final = "#7a4a00"
_FAINT: Final = "0.45"
_SPAN: Final = "0.85"
_MAX_WORDS: Final = 48
_MAX_LABELS: Final = 40


def check_timeline(name: str) -> None:
    """See that a picture of that name can be drawn.

    Raises:
        ConfigError: the extra is not installed, or the name says no format.

    """
    if Path(name).suffix.lower() not in _FORMATS:
        raise ConfigError(f"--timeline {name}: must end in {', '.join(_FORMATS)}")
    _figure_class()


def draw_timeline(path: Path, record: CallRecord, *, detector: str = "silero") -> None:
    """Draw a call.

    Above what was said, with the speech that the server has reported and when it decided that a
    turn was over; in the middle what our own detector says of the same audio under the negotiated
    values; below what was heard. All of it has one axis: media time of the call.

    Raises:
        ConfigError: it cannot be written, or an engine is not installed.

    """
    audio = record.config.audio
    picture = _Picture(
        said=joined(record.sent, audio.samples_per_frame),
        heard=joined(record.heard, audio.samples_per_frame),
        record=record,
        detection=detect(record, detector),
    )
    figure = _figure_class()(figsize=(14, 7.4), dpi=120, layout="constrained")
    axes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1.15, 0.8, 1.15], "hspace": 0.02}
    )
    picture.draw_said(axes[0])
    picture.draw_detected(axes[1])
    picture.draw_heard(axes[2])
    axes[0].set_xlim(0, max(picture.seconds, 0.1))
    axes[2].set_xlabel("media time of the call (s)")
    figure.suptitle(picture.title, fontsize=10, x=0.01, ha="left", parse_math=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a letter that the font does not have
            figure.savefig(path)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"--timeline {path}: cannot be written: {why}") from None


@dataclass(frozen=True, slots=True)
class _Line:
    """A moment that is marked from top to bottom."""

    at: float
    name: str = ""
    style: str = "-"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Picture:
    """What is drawn."""

    said: Samples
    heard: Samples
    record: CallRecord
    detection: Detection | None

    @property
    def seconds(self) -> float:
        """How long the call was."""
        return len(self.said) / self.record.config.audio.sample_rate

    @property
    def title(self) -> str:
        """What was agreed, and the figure that matters."""
        audio, vad = self.record.config.audio, self.record.config.vad
        waits = [
            f"first audio {turn.first_audio_ms} ms after the end of speech"
            for turn in self.record.turns[:3]
            if turn.first_audio_ms is not None
        ]
        agreed = (
            f"{audio.sample_rate} Hz {audio.encoding}, {audio.frame_duration_ms} ms; "
            f"turn ends after {vad.silence_threshold_ms} ms of silence, "
            f"speech from {vad.min_speech_ms} ms on"
        )
        return " · ".join([agreed, *waits])

    def of(self, *kinds: type[Any]) -> list[tuple[float, Any]]:
        """Return what has happened of some kinds, with the time (s)."""
        happenings = self.record.happenings
        return [(at / 1_000, one) for at, one in happenings if isinstance(one, kinds)]

    # --- the three rows ---------------------------------------------------------------------

    def draw_said(self, axes: Any) -> None:
        """Draw what was sent, and what the server has heard in it."""
        _wave(axes, self.said, self.seconds, _SAID)
        _frame(axes, "said")
        lines = []
        for at, ended in self.of(happened.SpeechEnded):
            if ended.start_ms is not None and ended.end_ms is not None:
                _span(axes, ended.start_ms, ended.end_ms, discarded=ended.discarded)
            if not ended.discarded:
                lines.append(_Line(at, "turn over"))
        lines += [_Line(at, "file over", ":") for at, _ in self.of(happened.FileSent)]
        lines += [_Line(at, "audio.end", "--") for at, _ in self.of(happened.Committed)]
        _lines(axes, sorted(lines, key=_when), self.seconds)
        starts = self.of(happened.SpeechStarted)
        _signs(axes, "^", [(at, started.confirmed) for at, started in starts])
        said = [(at, one) for at, one in self.of(happened.Transcribed) if one.role == "user"]
        _words(axes, [(at, one.text) for at, one in said if one.final], self.seconds)
        _legend(
            axes, "grey: speech as the server reports it (hatched: discarded); △ told (▲ confirmed)"
        )

    def draw_detected(self, axes: Any) -> None:
        """Draw what our own detector says of the same audio."""
        vad, found = self.record.config.vad, self.detection
        axes.set_ylim(-0.16, 1.05)
        axes.set_yticks([0, 0.5, 1])
        _frame(axes, "speech?")
        if found is None:
            axes.text(0.5, 0.5, "detection is off", transform=axes.transAxes, ha="center")
            return
        axes.step(found.times, found.probabilities, where="post", color=_INK, lw=0.9)
        axes.fill_between(
            found.times, 0, found.probabilities, step="post", color=_SPAN, zorder=0, lw=0
        )
        axes.axhline(vad.threshold, color=_FAINT, ls="--", lw=0.9)
        axes.text(
            1.002, vad.threshold, f"{vad.threshold:g}", transform=axes.get_yaxis_transform(),
            va="center", fontsize=8, color=_FAINT,
        )  # fmt: skip
        _legend(axes, "our own detector, the same values; black: speech; line: turn over")
        for span in found.spans:
            axes.broken_barh(
                [(span.start_ms / 1_000, (span.end_ms - span.start_ms) / 1_000)], (-0.13, 0.09),
                facecolor="white" if span.discarded else _INK, edgecolor=_INK,
                hatch="////" if span.discarded else None, lw=0.8,
            )  # fmt: skip
            if not span.discarded:
                axes.axvline(span.decided_ms / 1_000, color=_INK, lw=1.0)

    def draw_heard(self, axes: Any) -> None:
        """Draw what was played, and why not where it was not."""
        _wave(axes, self.heard, self.seconds, _HEARD)
        _frame(axes, "heard")
        kinds = (
            happened.PlaybackHeld,
            happened.PlaybackResumed,
            happened.ResponseEnded,
            happened.ResponseBegun,
        )
        held_at: float | None = None
        lines = []
        for at, one in self.of(*kinds):
            if isinstance(one, happened.PlaybackHeld):
                if held_at is None:
                    held_at = at
                    lines.append(_Line(at, "held", ":"))
                continue
            if held_at is not None:
                axes.axvspan(held_at, at, facecolor="none", edgecolor=_FAINT, hatch="...", lw=0)
                held_at = None
            if isinstance(one, happened.PlaybackResumed):
                lines.append(_Line(at, "goes on", ":"))
            elif isinstance(one, happened.ResponseBegun):
                lines.append(_Line(at, one.response_id or "answer"))
            elif one.interrupted:
                lines.append(_Line(at, f"cancelled after {one.played_ms} ms", weight=1.8))
        _lines(axes, lines, self.seconds)
        marks = self.of(happened.MarkReported)
        _signs(axes, "D", [(at, mark.outcome == "played") for at, mark in marks])
        _words(axes, self._answers(), self.seconds)
        _legend(axes, "dotted: playback held; ◆ mark reported as played, ◇ as cleared")

    def _answers(self) -> list[tuple[float, str]]:
        """Return what the agent said, and when that was told."""
        words = [
            (at, one.text)
            for at, one in self.of(happened.Transcribed)
            if one.role == "agent" and one.final
        ]
        return words or [(at, one.text) for at, one in self.of(happened.ResponseBegun)]


# --- strokes --------------------------------------------------------------------------------


def _wave(axes: Any, samples: Samples, seconds: float, colour: str) -> None:
    """Draw a waveform as the least and the greatest sample of each column."""
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    if not len(samples):
        return
    low, high = _envelope(samples)
    loudest = max(1.0, float(np.abs(samples.astype(np.int32)).max()))
    times = np.linspace(0, seconds, len(low), endpoint=False)
    axes.fill_between(
        times, 0.8 * low / loudest, 0.8 * high / loudest, color=colour, lw=0.3, zorder=2
    )


def _envelope(samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = min(_COLUMNS, len(samples))
    edges = np.linspace(0, len(samples), columns, endpoint=False).astype(np.intp)
    low = np.minimum.reduceat(samples, edges).astype(np.float64)
    high = np.maximum.reduceat(samples, edges).astype(np.float64)
    return low, high


def _frame(axes: Any, name: str) -> None:
    axes.set_ylabel(name)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def _span(axes: Any, start_ms: int, end_ms: int, *, discarded: bool) -> None:
    axes.axvspan(
        start_ms / 1_000, end_ms / 1_000, facecolor="none" if discarded else _SPAN,
        edgecolor=_FAINT, hatch="////" if discarded else None, lw=0.6, zorder=0,
    )  # fmt: skip


def _lines(axes: Any, lines: Sequence[_Line], seconds: float) -> None:
    """Draw lines across, each with its name at the bottom."""
    for line in lines:
        axes.axvline(line.at, color=_INK, ls=line.style, lw=line.weight, zorder=3)
    names = [(line.at, line.name) for line in lines if line.name]
    for at, row, name in _placed(names, seconds, 0.0054):
        axes.text(
            at, -0.97 + 0.11 * row, f" {name}", fontsize=7.5, va="bottom", zorder=4, color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.85},
        )  # fmt: skip


def _signs(axes: Any, sign: str, signs: Sequence[tuple[float, bool]]) -> None:
    """Draw small signs above the names of the lines, filled or empty."""
    for at, filled in signs:
        face = _INK if filled else "white"
        axes.plot([at], [-0.62], sign, color=_INK, mfc=face, ms=5.5, zorder=5)


def _words(axes: Any, words: Sequence[tuple[float, str]], seconds: float) -> None:
    """Write what was said."""
    for at, row, text in _placed(words, seconds, 0.0062):
        axes.text(
            at, 0.97 - 0.17 * row, text, fontsize=8.5, va="top", parse_math=False, zorder=6,
            bbox={"facecolor": "white", "edgecolor": _FAINT, "pad": 1.5, "lw": 0.5},
        )  # fmt: skip


def _placed(
    words: Sequence[tuple[float, str]], seconds: float, letter: float
) -> Iterator[tuple[float, int, str]]:
    """Yield where each text begins, in rows in which they do not run into each other.

    ``letter`` is the width of one, of the whole axis. What finds no room is left out.
    """
    ends = [0.0, 0.0, 0.0]
    for at, text in words[:_MAX_LABELS]:
        shown = printable(" ".join(text.split()))
        shown = shown if len(shown) <= _MAX_WORDS else shown[: _MAX_WORDS - 1] + "…"
        width = max(seconds, 0.1) * letter * (len(shown) + 2)
        start = max(0.0, min(at, seconds - width))
        row = next((index for index, end in enumerate(ends) if end <= start), None)
        if row is not None and shown:
            ends[row] = start + width
            yield start, row, shown


def _legend(axes: Any, text: str) -> None:
    axes.text(
        1.0, 1.0, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=7.5,
        color=_FAINT,
    )  # fmt: skip


def _when(line: _Line) -> float:
    return line.at


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 # an optional extra
    except ModuleNotFoundError:
        raise ConfigError(
            "--timeline needs the extra 'timeline': pip install 'palaver[timeline]'"
        ) from None
    return Figure
