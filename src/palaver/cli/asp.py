"""``palaver asp debug``: the handshake with an ASP server, step by step, with times."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import typer

from palaver.cli.asp_audio import check_source
from palaver.cli.asp_report import print_json, print_text
from palaver.cli.asp_talk import talk
from palaver.cli.asp_trace import Findings, Trace
from palaver.cli.call_address import call_address
from palaver.client.asp import AspClient, Verdicts, check_request
from palaver.client.asp_config import read_setting
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.errors import ConfigError, PeerError
from palaver.observability.logging import configure_logging
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import (
    AudioConfig,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import SessionStartMessage

__all__ = ["app"]

app = typer.Typer(
    help="Look at servers of calls (the Audio Session Protocol).", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Look at servers of calls (the Audio Session Protocol)."""


@dataclass(frozen=True, slots=True)
class _OddRequest(SessionRequest):
    """A request that says that it is of another version."""

    version: str = ""

    def message(self, capabilities: ProtocolCapabilities) -> SessionStartMessage:
        """Return the start with that version."""
        start = SessionRequest.message(self, capabilities)
        return start.model_copy(update={"version": self.version})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be tried after the handshake."""

    request: SessionRequest
    update: VADConfig | None
    audio: str | None
    legacy: bool
    timeout: float


_Url = Annotated[str, typer.Argument(help="The server, such as ws://127.0.0.1:8080/asp")]
_SampleRate = Annotated[int, typer.Option(help="Sample rate to ask for (Hz)")]
_Encoding = Annotated[str, typer.Option(help="pcm_s16le, mulaw or alaw")]
_FrameMs = Annotated[int, typer.Option(help="Duration of a frame (ms)")]
_Framing = Annotated[str | None, typer.Option(help="hash12, seq14 or asp16")]
_Vad = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A VAD value to ask for")
]
_Negotiation = Annotated[
    str | None,
    typer.Option(help="strict, if not given: audio that is not supported is rejected; or adjust"),
]
_Metadata = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Kept with the session")
]
_CallId = Annotated[str | None, typer.Option(help="Id of the call")]
_SessionId = Annotated[str | None, typer.Option(help="Id of the session")]
_Update = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Then ask for this VAD value (session.update)"),
]
_Audio = Annotated[
    str | None,
    typer.Option(metavar="FILE.wav|SECONDS", help="Then send a file, or a tone, in real time"),
]
_Legacy = Annotated[bool, typer.Option("--legacy", help="Speak the protocol before ASP")]
_Version = Annotated[str | None, typer.Option(help="Say that this is that version, as 2.0.0")]
_Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a step may take")]
_Json = Annotated[bool, typer.Option("--json", help="As one JSON object")]


@app.command("debug")
def debug(  # noqa: PLR0913 # typer reads the options of a command from its parameters
    url: _Url,
    *,
    sample_rate: _SampleRate = 8_000,
    encoding: _Encoding = "pcm_s16le",
    frame_ms: _FrameMs = 20,
    framing: _Framing = None,
    vad: _Vad = None,
    negotiation: _Negotiation = None,
    metadata: _Metadata = None,
    call_id: _CallId = None,
    session_id: _SessionId = None,
    update: _Update = None,
    audio: _Audio = None,
    legacy: _Legacy = False,
    version: _Version = None,
    timeout: _Timeout = 10.0,
    json: _Json = False,
) -> None:
    """Connect to the ASP server at URL, start a session and end it, and show each step.

    What the server shows, what both sides agree on and why, whether both
    run the same, and how long each step took.
    """
    address = call_address(url)
    if legacy:
        _check_legacy(update, vad, framing, negotiation, version)
    request = SessionRequest(
        session_id=new_id("debug") if session_id is None else session_id,
        call_id=call_id,
        audio=_audio(sample_rate, encoding, frame_ms, framing),
        vad=_vad("--vad", vad),
        negotiation=_mode("strict" if negotiation is None else negotiation),
        metadata=dict(_pair("--metadata", one) for one in metadata or []) or None,
    )
    wanted = _Wanted(
        request=_checked(request, version),
        update=_vad("--update", update) if update else None,
        audio=audio,
        legacy=legacy,
        timeout=timeout,
    )
    if audio is not None:
        check_source(audio)
    configure_logging("critical")
    findings = asyncio.run(_look(address, wanted))
    (print_json if json else print_text)(findings)
    if findings.error is not None:
        raise findings.error


def _check_legacy(
    update: list[str] | None,
    vad: list[str] | None,
    framing: str | None,
    negotiation: str | None,
    version: str | None,
) -> None:
    given = {
        "--update": update or None,
        "--vad": vad or None,
        "--framing": framing,
        "--negotiation": negotiation,
        "--version": version,
    }
    names = ", ".join(name for name, value in given.items() if value is not None)
    if names:
        raise ConfigError(f"--legacy does not go with {names}: the protocol before ASP has none")


def _audio(sample_rate: int, encoding: str, frame_ms: int, framing: str | None) -> AudioConfig:
    given = {
        "sample_rate": ("--sample-rate", str(sample_rate)),
        "encoding": ("--encoding", encoding),
        "frame_duration_ms": ("--frame-ms", str(frame_ms)),
        "framing": ("--framing", framing),
    }
    values = {
        name: read_setting(AudioConfig, name, text, option)
        for name, (option, text) in given.items()
        if text is not None
    }
    return AudioConfig.model_validate(values)


def _mode(negotiation: str) -> Literal["strict", "adjust"]:
    if negotiation not in {"strict", "adjust"}:
        raise ConfigError(f"--negotiation {negotiation}: write strict or adjust")
    return cast("Literal['strict', 'adjust']", negotiation)


def _checked(request: SessionRequest, version: str | None) -> SessionRequest:
    try:
        check_request(request)
    except Misuse as misuse:
        raise ConfigError(str(misuse)) from None
    if version is None:
        return request
    members = {name: getattr(request, name) for name in request.__dataclass_fields__}
    return _OddRequest(**members, version=version)


def _vad(option: str, given: list[str] | None) -> VADConfig:
    values = {}
    for one in given or []:
        name, text = _pair(option, one)
        values[name] = read_setting(VADConfig, name, text, f"{option} {name}")
    return VADConfig(**values)


def _pair(option: str, given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not (equals and name):
        raise ConfigError(f"{option} {given}: write NAME=VALUE")
    return name.strip(), value


async def _look(url: str, wanted: _Wanted) -> Findings:
    loop = asyncio.get_running_loop()
    trace = Trace(loop.time())
    findings = Findings(url=url, request=wanted.request, trace=trace)
    seconds = wanted.timeout
    client = AspClient(
        url,
        limits=Limits(
            capabilities_timeout=min(seconds, Limits().capabilities_timeout),
            start_timeout=seconds,
            update_timeout=seconds,
            end_timeout=seconds,
        ),
        patience=Patience(connect_timeout=seconds, silence_timeout=max(seconds, 1.0)),
        reconnect=False,
        legacy=wanted.legacy,
        observe=trace.observe,
        verdicts=Verdicts(),
    )
    try:
        await client.connect()
        await _call(client, wanted, findings)
    except PeerError as error:
        findings.error = error
    except Misuse as misuse:
        findings.error = ConfigError(str(misuse))
    finally:
        findings.capabilities, findings.server_id = client.capabilities, client.server_id
        if findings.config is None:
            findings.legacy_mode = client.legacy_mode
        await client.close()
    return findings


async def _call(client: AspClient, wanted: _Wanted, findings: Findings) -> None:
    if client.legacy_mode:
        what = "the protocol before ASP is spoken"
        if not wanted.legacy:
            what = f"no capabilities came in time: {what}"
        findings.trace.step(what, asyncio.get_running_loop().time())
    session = await client.start_session(wanted.request)
    findings.started(session)
    if wanted.update is not None:
        findings.switched = await session.update(wanted.update)
    if wanted.audio is not None:
        findings.audio = await talk(session, wanted.audio, wanted.timeout, findings.trace.step)
    findings.ended = await session.end("debug_complete")
