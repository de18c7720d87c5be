"""What ``palaver asp debug`` prints: tables for people, or one JSON object for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from palaver.cli.asp_trace import Findings
from palaver.cli.printable import printable
from palaver.client.asp import AspRefused
from palaver.errors import ConfigError, PalaverError, PeerRefused, PeerUnreachable
from palaver.protocols.asp.config import Framing, NegotiatedConfig, ProtocolCapabilities

__all__ = ["capability_rows", "print_json", "print_text"]

_CHANGED: Final = "yellow"
_GOOD: Final = "green"
_BAD: Final = "red"


def print_json(findings: Findings) -> None:
    """Print all of it as one object."""
    typer.echo(orjson.dumps(_as_data(findings)).decode())


def print_text(findings: Findings) -> None:
    """Print tables; in colour, where they go to a terminal."""
    console = Console(highlight=False)
    console.print(_text(findings.url, style="bold"), soft_wrap=True)
    if findings.trace.steps:
        steps = Table("step", "took (ms)", "at (ms)", box=None, pad_edge=False)
        for step in findings.trace.steps:
            steps.add_row(step.name, f"{step.ms:.1f}", f"{step.at_ms:.1f}")
        console.print(steps)
    if findings.capabilities is not None:
        shown = Table("the server takes", "", box=None, pad_edge=False)
        for name, value in capability_rows(findings.capabilities, findings.server_id):
            shown.add_row(name, _text(value))
        console.print(shown)
    if findings.final is not None:
        console.print(_negotiated(findings.final, legacy=findings.legacy_mode))
    for text in _conclusions(findings):
        console.print(text, soft_wrap=True)
    # On a terminal the error's own line, on stderr, says it right below.
    told = console.is_terminal and sys.stderr.isatty()
    if isinstance(findings.error, AspRefused) and not told:
        for error in findings.error.errors:
            line = f"rejected: {error.code} {error.name or ''}: {error.message}"
            console.print(_text(line, style=_BAD), soft_wrap=True)


def capability_rows(
    capabilities: ProtocolCapabilities, server_id: str | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what a server takes, name and value."""
    if server_id is not None:
        yield "server", server_id
    yield "version", capabilities.version
    yield "sample rates", _list(capabilities.supported_sample_rates)
    yield "encodings", _list(capabilities.supported_encodings)
    yield "frames (ms)", _list(capabilities.supported_frame_durations)
    yield "framings", _list(capabilities.supported_framings)
    parameters = _list(capabilities.vad_parameters)
    yield "VAD", parameters if capabilities.vad_configurable else "not configurable"
    yield "features", _list(capabilities.features)
    yield "longest session (s)", str(capabilities.max_session_duration_seconds)


def _list(values: tuple[Any, ...]) -> str:
    return ", ".join(str(one) for one in values) or "none"


def _said(value: Any) -> str:
    """Return a value as a configuration spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _negotiated(config: NegotiatedConfig, *, legacy: bool) -> Table:
    table = Table("both run", "", "asked for", "why", box=None, pad_edge=False)
    changed = {one.field: one for one in config.adjustments}
    values = config.model_dump(mode="json")
    values["audio"]["framing"] = config.audio.framing or Framing.HASH12
    for group in ("audio",) if legacy else ("audio", "vad"):
        for name, value in values[group].items():
            field = f"{group}.{name}"
            one = changed.get(field)
            if one is None:
                table.add_row(field, _text(_said(value)), "", "")
            else:
                asked = _text(_said(one.requested), style=_CHANGED)
                applied = _text(_said(value), style=_CHANGED)
                table.add_row(field, applied, asked, _text(one.reason, style=_CHANGED))
    return table


def _conclusions(findings: Findings) -> Iterator[Text]:
    if findings.config is None:
        return
    if findings.legacy_mode:
        yield _text("legacy mode: nothing is negotiated", style=_CHANGED)
    digests = findings.digests
    if findings.legacy_mode:
        yield _text("digest: not compared: not in legacy mode", style=_CHANGED)
    elif digests is None:
        yield _text("digest: not compared; the server does not know it", style=_CHANGED)
    elif digests["same"]:
        yield _text(f"digest: the same on both sides, {digests['ours']}", style=_GOOD)
    else:
        why = f"digest: {digests['ours']} here, {digests['theirs']} there"
        yield _text(why, style=_BAD)
    if findings.features:
        yield _text(f"features: {_list(tuple(sorted(findings.features)))}")
    yield from _update(findings)
    if findings.audio is not None:
        yield _text(_heard(findings.audio))
    if findings.ended is not None:
        counted = findings.ended.statistics is not None
        after = f" after {findings.ended.duration_seconds:g} s" if counted else ""
        yield _text(f"session {findings.session_id} ended{after}")


def _update(findings: Findings) -> Iterator[Text]:
    switched = findings.switched
    if switched is None or findings.config is None:
        return
    before, after = findings.config.vad, switched.vad
    changes = [
        f"{name} {_said(getattr(before, name))} → {_said(getattr(after, name))}"
        for name in type(after).model_fields
        if getattr(before, name) != getattr(after, name)
    ]
    what = ", ".join(changes) or "nothing changes"
    yield _text(f"update: {what}, from audio message {switched.seq} on")
    for one in switched.config.adjustments:
        why = f"  {one.field}: {_said(one.requested)} was asked for: {one.reason}"
        yield _text(why, style=_CHANGED)


def _heard(audio: dict[str, Any]) -> str:
    sent, received = audio["frames_sent"], audio["frames_received"]
    if received == 0:
        why = "the server did not answer (asp_echo_test makes it)"
        return f"audio: {sent} frames sent, none received: {why}"
    first = audio["first_audio_ms"]
    delay = "" if first is None else f", the first {first:.0f} ms after the end of what was said"
    return f"audio: {sent} frames sent, {received} received{delay}"


def _as_data(findings: Findings) -> dict[str, Any]:
    ended, switched = findings.ended, findings.switched
    capabilities = findings.capabilities
    return {
        "url": findings.url,
        "result": _result(findings.error),
        "error": None if findings.error is None else _error(findings.error),
        "server_id": findings.server_id,
        "session_id": findings.session_id,
        "legacy_mode": findings.legacy_mode,
        "steps": [
            {"name": step.name, "ms": step.ms, "at_ms": step.at_ms} for step in findings.trace.steps
        ],
        "capabilities": None if capabilities is None else capabilities.model_dump(mode="json"),
        "started": _config(findings.config, legacy=findings.legacy_mode),
        "negotiated": _config(findings.final, legacy=findings.legacy_mode),
        "features": sorted(findings.features),
        "digest": findings.digests,
        "update": None
        if switched is None
        else {
            "seq": switched.seq,
            "samples": switched.samples,
            "negotiated": switched.config.model_dump(mode="json"),
        },
        "audio": findings.audio,
        "ended": None
        if ended is None
        else {
            "reason": ended.reason,
            "duration_seconds": ended.duration_seconds,
            "statistics": None if ended.statistics is None else ended.statistics.model_dump(),
        },
        "messages": findings.trace.messages,
    }


def _config(config: NegotiatedConfig | None, *, legacy: bool) -> dict[str, Any] | None:
    if config is None:
        return None
    shown = config.model_dump(mode="json")
    return shown | {"vad": None} if legacy else shown


def _result(error: PalaverError | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, PeerUnreachable):
        return "unreachable"
    return "usage" if isinstance(error, ConfigError) else "refused"


def _error(error: PalaverError) -> dict[str, Any]:
    errors = error.errors if isinstance(error, AspRefused) else ()
    return {
        "code": error.code if isinstance(error, PeerRefused) else None,
        "message": error.message if isinstance(error, PeerRefused) else str(error),
        "errors": [one.model_dump(mode="json", exclude_none=True) for one in errors],
    }


def _text(said: str, style: str = "") -> Text:
    return Text(printable(said), style=style)
