"""What ``palaver talk`` prints: lines for people as the call goes on, or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from palaver.cli.printable import printable
from palaver.client.asp import AspRefused
from palaver.errors import PeerError, PeerRefused, PeerUnreachable
from palaver.media import happenings as happened
from palaver.media.call_record import Figures
from palaver.media.happenings import CallEnded, Happening
from palaver.protocols.asp.config import Framing, NegotiatedConfig
from palaver.protocols.asp.messages import Feature

__all__ = ["JsonReport", "Report", "TextReport"]

_NAMES: Final = {
    happened.ActionAsked: "call.action",
    happened.AudioHeard: "audio.first",
    happened.CallEnded: "call.ended",
    happened.Committed: "audio.end",
    happened.ErrorTold: "protocol.error",
    happened.FileSent: "file.sent",
    happened.LineChanged: "line",
    happened.MarkReported: "playback.mark",
    happened.Negotiated: "negotiated",
    happened.PlaybackHeld: "playback.held",
    happened.PlaybackResumed: "playback.resumed",
    happened.ResponseBegun: "response.start",
    happened.ResponseEnded: "response.end",
    happened.SpeechEnded: "audio.speech_end",
    happened.SpeechStarted: "audio.speech_start",
    happened.Transcribed: "transcript",
}
"""What has happened → its ``type`` in JSON: the word of the protocol, where it has one."""


class Report(Protocol):
    """Shows a call. It is the audience of the call, and is told how it came out."""

    def take(self, at_ms: int, happening: Happening) -> None:
        """Take what has happened."""
        ...

    def ticked(self, now_ms: int) -> None:
        """Take that the call has gone on."""
        ...

    def expect(self, duration_ms: int) -> None:
        """Take how long the file is."""
        ...

    def warn(self, text: str) -> None:
        """Take what is odd, and hinders nothing."""
        ...

    def failed(self, error: PeerError) -> None:
        """Take that the call could not be made, or broke."""
        ...

    def conclude(self, ended: CallEnded | None, figures: Figures, saved: str | None) -> None:
        """Take how it came out, and where the answer was kept; ``None``: it was broken off."""
        ...

    def close(self) -> None:
        """Give the terminal back."""
        ...


class JsonReport:
    """One JSON object a line: ``t_ms``, ``type``, and what it says; the last one is a summary."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._now_ms = 0

    def take(self, at_ms: int, happening: Happening) -> None:
        """Print it."""
        members = asdict(happening)
        if isinstance(happening, happened.Negotiated):
            members["config"] = happening.config.model_dump(mode="json")
        self._print(at_ms, _NAMES[type(happening)], members)

    def ticked(self, now_ms: int) -> None:
        """Print nothing."""
        self._now_ms = now_ms

    def expect(self, duration_ms: int) -> None:
        """Print nothing."""

    def warn(self, text: str) -> None:
        """Print it."""
        self._print(self._now_ms, "warning", {"message": text})

    def failed(self, error: PeerError) -> None:
        """Print what the server, or the way to it, says."""
        errors = error.errors if isinstance(error, AspRefused) else ()
        members = {
            "url": self._url,
            "result": "unreachable" if isinstance(error, PeerUnreachable) else "refused",
            "code": error.code if isinstance(error, PeerRefused) else None,
            "message": str(error),
            "errors": [one.model_dump(mode="json", exclude_none=True) for one in errors],
        }
        self._print(self._now_ms, "error", members)

    def conclude(self, ended: CallEnded | None, figures: Figures, saved: str | None) -> None:
        """Print the summary."""
        how = {"outcome": "broken_off", "reason": ""} if ended is None else asdict(ended)
        members = {"url": self._url, **how, **asdict(figures), "saved": saved}
        members["responses"] = [
            {
                "response_id": one.response_id,
                "received_ms": one.received_ms,
                "played_ms": one.played_ms,
                "interrupted": one.interrupted,
                "heard_from_ms": one.first_ms,
            }
            for one in figures.responses
        ]
        self._print(figures.duration_ms, "summary", members)

    def close(self) -> None:
        """Do nothing."""

    def _print(self, at_ms: int, kind: str, members: dict[str, Any]) -> None:
        sys.stdout.write(orjson.dumps({"t_ms": at_ms, "type": kind} | members).decode() + "\n")
        sys.stdout.flush()


class TextReport:
    """A line per happening, with the time of the call; on a terminal, a bar for the file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._console = Console(highlight=False, soft_wrap=True)
        terminal = self._console if self._console.is_terminal else Console(stderr=True)
        self._bar: Progress | None = None
        if terminal.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[at]}"),
                console=terminal,
                transient=True,
            )
        self._features: tuple[str, ...] = ()
        self._tasks: set[str] = set()
        self._partial: happened.Transcribed | None = None

    def take(self, at_ms: int, happening: Happening) -> None:
        """Print it, where people want to know."""
        if isinstance(happening, happened.Negotiated):
            self._features = happening.features
            self._negotiated(happening)
        elif isinstance(happening, happened.Transcribed):
            self._transcribed(at_ms, happening)
        else:
            if isinstance(happening, happened.ResponseEnded):
                self._flush_partial(at_ms)
            said = self._said(happening)
            if said is not None:
                self._line(at_ms, *said)

    def ticked(self, now_ms: int) -> None:
        """Move the bar."""
        if self._bar is not None and self._bar.tasks:
            task = self._bar.tasks[0]
            what = "saying" if task.total is not None and now_ms < task.total else "hearing"
            at = f"{now_ms / 1_000:.1f} s"
            self._bar.update(task.id, description=what, completed=now_ms, at=at)

    def expect(self, duration_ms: int) -> None:
        """Show a bar."""
        if self._bar is not None:
            self._bar.add_task("saying", total=duration_ms, at="")
            self._bar.start()

    def warn(self, text: str) -> None:
        """Print it."""
        self._print(f"note: {text}", "yellow")

    def failed(self, error: PeerError) -> None:
        """Print nothing: the error is a line of its own."""

    def conclude(self, ended: CallEnded | None, figures: Figures, saved: str | None) -> None:
        """Print the summary."""
        self._flush_partial(figures.duration_ms)
        good = ended is not None and ended.outcome in {"answered", "transferred"}
        how = (
            "broken off" if ended is None else f"{ended.outcome.replace('_', ' ')}: {ended.reason}"
        )
        self._print(how, "green" if good else "red")
        for turn in figures.turns:
            parts = [f"  the caller's speech ended at {_seconds(turn.end_ms)}"]
            if turn.decided_after_ms is not None:
                parts.append(f"decided {turn.decided_after_ms} ms later")
            if turn.first_audio_ms is not None:
                parts.append(f"first audio after {turn.first_audio_ms} ms")
            self._print(", ".join(parts))
        heard = (
            f"  sent {figures.frames_sent} frames; received {_seconds(figures.received_ms)}, "
            f"played {_seconds(figures.played_ms)}, cleared {_seconds(figures.cleared_ms)}"
        )
        if figures.late_frames or figures.lost_messages:
            heard += f"; {figures.late_frames} frames late, {figures.lost_messages} lost"
        self._print(heard)
        if saved is not None:
            self._print(f"  the answer as it was heard: {saved}")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    # --- the lines --------------------------------------------------------------------------

    def _negotiated(self, begun: happened.Negotiated) -> None:
        self._print(_shown_url(self._url), "bold")
        for line in _configuration(begun.config, legacy=begun.legacy_mode):
            self._print(f"  {line}")
        for one in begun.config.adjustments:
            changed = f"{one.field}: {one.applied}, not {one.requested}: {one.reason}"
            self._print(f"  {changed}", "yellow")
        if begun.legacy_mode:
            self._print("  the server speaks the protocol before ASP", "yellow")

    def _transcribed(self, at_ms: int, said: happened.Transcribed) -> None:
        if said.task_id is not None and said.task_id not in self._tasks and len(self._tasks) < 100:
            self._tasks.add(said.task_id)
            follow = f"palaver call {_http_url(self._url)} --task {said.task_id}"
            self._line(at_ms, f"task {said.task_id} (follow it: {follow})", "dim")
        if not said.final:
            self._partial = said
            return
        if self._partial is not None and self._partial.role == said.role:
            self._partial = None
        self._words(at_ms, said.role, said.text)

    def _flush_partial(self, at_ms: int) -> None:
        """Print what nothing has taken the place of."""
        if self._partial is not None:
            self._words(at_ms, self._partial.role, self._partial.text)
            self._partial = None

    def _words(self, at_ms: int, role: str, text: str) -> None:
        if text.strip():
            who = "you" if role == "user" else "agent"
            self._line(at_ms, f"{who}: {' '.join(text.split())}", "bold")

    def _said(self, happening: Happening) -> tuple[str, str] | None:
        if isinstance(happening, happened.ResponseBegun):
            written = happening.text.strip() and Feature.TRANSCRIPTS not in self._features
            return (f"agent: {' '.join(happening.text.split())}", "bold") if written else None
        if isinstance(happening, happened.ErrorTold):
            who = "the server says" if happening.side == "server" else "the server is wrong"
            return f"{who}: {happening.message} (code {happening.code})", "red"
        show = _LINES.get(type(happening))
        line = None if show is None else show(happening)
        return None if line is None else (line, "")

    def _line(self, at_ms: int, text: str, style: str = "") -> None:
        self._print(f"{at_ms / 1_000:8.2f} s  {text}", style)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text), style=style))


def _start_of_speech(started: happened.SpeechStarted) -> str:
    where = "" if started.start_ms is None else f" at {_seconds(started.start_ms)}"
    return f"speech{where}" + (": confirmed" if started.confirmed else "")


def _end_of_speech(ended: happened.SpeechEnded) -> str:
    where = "" if ended.end_ms is None else f" at {_seconds(ended.end_ms)}"
    if ended.discarded:
        return f"end of speech{where}: discarded ({ended.reason or 'too short'})"
    late = "" if ended.decided_after_ms is None else f", decided {ended.decided_after_ms} ms later"
    return f"end of speech{where}{late}"


def _action(asked: happened.ActionAsked) -> str:
    why = "" if asked.reason is None else f": {asked.reason}"
    if asked.action == "hangup":
        return f"hang up{why}"
    return f"transfer the call to {asked.target or 'somebody else'}{why}"


def _end_of_response(ended: happened.ResponseEnded) -> str | None:
    if not ended.interrupted:
        return None
    why = ended.reason or "no reason given"
    return f"the answer is interrupted ({why}) after {_seconds(ended.played_ms)}"


def _first_audio(heard: happened.AudioHeard) -> str:
    waited = heard.first_audio_ms
    return "first audio" + ("" if waited is None else f", {waited} ms after the end of speech")


_LINES: Final[dict[type[Happening], Callable[[Any], str | None]]] = {
    happened.ActionAsked: lambda asked: f"the server asks to {_action(asked)}",
    happened.AudioHeard: _first_audio,
    happened.Committed: lambda _: "asked for the answer (audio.end)",
    happened.FileSent: lambda sent: f"all said ({_seconds(sent.duration_ms)}); now silence",
    happened.LineChanged: lambda line: f"the connection is {'lost' if line.lost else 'back'}",
    happened.PlaybackHeld: lambda held: None if held.confirmed else "playback is held",
    happened.PlaybackResumed: lambda _: "playback goes on",
    happened.ResponseEnded: _end_of_response,
    happened.SpeechEnded: _end_of_speech,
    happened.SpeechStarted: _start_of_speech,
}
"""What has happened → its line; nothing, where that is not worth one."""


def _configuration(config: NegotiatedConfig, *, legacy: bool) -> list[str]:
    audio = config.audio
    framing = audio.framing or Framing.HASH12
    lines = [
        f"audio: {audio.sample_rate} Hz, {audio.encoding}, {audio.frame_duration_ms} ms, {framing}"
    ]
    if not legacy:
        values = config.vad.model_dump(mode="json")
        vad = ", ".join(f"{name} {str(value).lower()}" for name, value in values.items())
        lines.append(f"VAD: {vad}")
    return lines


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1_000:.2f} s"


def _http_url(url: str) -> str:
    """Return where the same server takes tasks."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}"


def _shown_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
