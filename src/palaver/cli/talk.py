"""``palaver talk``: call a server of voice with a file, and hear what it answers."""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from palaver.cli.call_address import call_address
from palaver.cli.exits import Exit
from palaver.cli.talk_report import JsonReport, Report, TextReport
from palaver.cli.timeline import check_timeline, draw_timeline
from palaver.client.asp import AspClient, CallSession, Verdicts, check_request
from palaver.client.asp_config import read_setting
from palaver.client.transport import Patience
from palaver.engine.clock import new_id
from palaver.errors import ConfigError, PeerError, PeerUnreachable
from palaver.media.file_call import CallPatience, FileCall
from palaver.media.frame_source import FileFrames
from palaver.media.happenings import CallEnded, SpeechStarted
from palaver.media.microphone import Microphone, check_microphone
from palaver.media.player import Player
from palaver.media.wave_file import WaveFile, read_wave, write_wave
from palaver.observability.logging import configure_logging
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import AudioConfig, Framing, ProtocolCapabilities, VADConfig
from palaver.protocols.asp.errors import Misuse
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import Feature
from palaver.speech.resample import resample

__all__ = ["talk"]

_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}")
_MAX_TRIES: Final = 3.0
"""Seconds for which a connection is tried again."""
_UNHEARD: Final = (
    "the server has told of no speech: either it found none, or it takes calls in silence "
    "(voice = false)"
)
_LEAD_SLACK: Final = 2.0
"""Seconds by which a call in a hurry stays behind what servers allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to be said to whom, and where it is kept."""

    url: str
    request: SessionRequest
    wave: WaveFile | None
    fast: bool
    save: Path | None
    timeline: Path | None
    patience: CallPatience


_Url = Annotated[str, typer.Argument(help="The server, such as ws://127.0.0.1:8080/asp")]
_File = Annotated[
    str | None, typer.Argument(metavar="FILE.wav", help="What to say; with --mic, none")
]
_Save = Annotated[
    str | None, typer.Option(metavar="OUT.wav", help="Keep the answer, as it was heard")
]
_Rate = Annotated[int, typer.Option(help="Sample rate to ask for (Hz); the file is converted")]
_Encoding = Annotated[str, typer.Option(help="pcm_s16le, mulaw or alaw")]
_FrameMs = Annotated[int, typer.Option(help="Duration of a frame (ms)")]
_Framing = Annotated[
    str | None, typer.Option(help="hash12, seq14 or asp16; if not given, asp16 where there is")
]
_Vad = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A VAD value to ask for, as threshold=0.6"),
]
_Language = Annotated[str | None, typer.Option(metavar="TAG", help="What is spoken, as pt-BR")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, then a summary")]
_Fast = Annotated[
    bool, typer.Option("--fast", help="Do not wait for the clock; for files of one utterance")
]
_Timeline = Annotated[
    str | None, typer.Option(metavar="OUT.png", help="Draw what was said, detected and heard")
]
_Mic = Annotated[bool, typer.Option("--mic", help="Speak and hear yourself; Ctrl-C hangs up")]
_GiveUp = Annotated[
    float, typer.Option(min=0.1, help="Seconds without news until the server counts as lost")
]


def talk(  # noqa: PLR0913 # typer reads the options of a command from its parameters
    url: _Url,
    file: _File = None,
    *,
    save: _Save = None,
    rate: _Rate = 8_000,
    encoding: _Encoding = "pcm_s16le",
    frame_ms: _FrameMs = 20,
    framing: _Framing = None,
    vad: _Vad = None,
    language: _Language = None,
    json: _Json = False,
    fast: _Fast = False,
    timeline: _Timeline = None,
    mic: _Mic = False,
    give_up_after: _GiveUp = 30.0,
) -> None:
    """Call the ASP server at URL, say FILE.wav in real time, and play the answer.

    After the file, silence is sent until the answer is over. Exit code 1: there was no answer.
    """
    _check_source(file, mic=mic, fast=fast)
    address = call_address(url)
    request = SessionRequest(
        session_id=new_id("call"),
        audio=_audio(rate, encoding, frame_ms, framing),
        vad=_detection(vad or []),
        negotiation="strict",
        metadata=None if language is None else {"language": _tag(language)},
    )
    wanted = _Wanted(
        url=address,
        request=_checked(request),
        wave=None if file is None else read_wave(file),
        fast=fast,
        save=None if save is None else _writable(save, "--save"),
        timeline=None if timeline is None else _writable(timeline, "--timeline"),
        patience=CallPatience(give_up_after=give_up_after),
    )
    if timeline is not None:
        check_timeline(timeline)
    configure_logging("critical")
    report: Report = JsonReport(address) if json else TextReport(address)
    ended = asyncio.run(_call(wanted, report))
    _conclude(ended)


def _conclude(ended: CallEnded) -> None:
    if ended.outcome == "lost":
        raise PeerUnreachable(ended.reason)
    if ended.outcome in {"unanswered", "not_understood", "failed"}:
        understood = ended.outcome != "not_understood"
        why = ended.reason if understood else "the server has understood nothing of what was said"
        typer.echo(f"palaver: {why}", err=True)
        raise typer.Exit(Exit.FAILED)


# --- what was asked for ---------------------------------------------------------------------


def _check_source(file: str | None, *, mic: bool, fast: bool) -> None:
    if mic == (file is not None):
        raise ConfigError("name a file to say (FILE.wav), or speak yourself (--mic): one of both")
    if mic and fast:
        raise ConfigError("--fast goes with a file: nobody speaks faster than the clock")
    if mic:
        check_microphone()


def _checked(request: SessionRequest) -> SessionRequest:
    try:
        check_request(request)
    except Misuse as misuse:
        raise ConfigError(str(misuse)) from None
    return request


def _audio(rate: int, encoding: str, frame_ms: int, framing: str | None) -> AudioConfig:
    values: dict[str, Any] = {}
    for option, name, given in (
        ("--rate", "sample_rate", str(rate)),
        ("--encoding", "encoding", encoding),
        ("--frame-ms", "frame_duration_ms", str(frame_ms)),
        ("--framing", "framing", framing),
    ):
        if given is not None:
            values[name] = read_setting(AudioConfig, name, given, option)
    return AudioConfig.model_validate(values)


def _detection(given: list[str]) -> VADConfig:
    values: dict[str, Any] = {}
    for one in given:
        name, equals, text = (part.strip() for part in one.partition("="))
        if name not in VADConfig.model_fields or not equals:
            known = ", ".join(VADConfig.model_fields)
            raise ConfigError(f"--vad {one}: write KEY=VALUE, where KEY is one of {known}")
        values[name] = read_setting(VADConfig, name, text, f"--vad {name}")
    return VADConfig(**values)


def _tag(language: str) -> str:
    if len(language) > 35 or _LANGUAGE.fullmatch(language) is None:
        raise ConfigError(f"--language {language}: write a language tag, such as en or pt-BR")
    return language


def _writable(name: str, option: str) -> Path:
    """Return the path of a file that can be written: that is known before anybody is called."""
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"{option} {name}: is a folder: name a file in it")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{option} {name}: cannot be written: {why}") from None
    return path


# --- the call -------------------------------------------------------------------------------


async def _call(wanted: _Wanted, report: Report) -> CallEnded:
    patience = Patience(give_up_after=min(_MAX_TRIES, wanted.patience.give_up_after))
    try:
        async with AspClient(wanted.url, patience=patience, verdicts=Verdicts()) as client:
            request = _numbered(wanted.request, client.capabilities)
            session = await client.start_session(request)
            return await _converse(session, wanted, report)
    except Misuse as misuse:
        raise ConfigError(str(misuse)) from None
    except PeerError as error:
        report.failed(error)
        raise
    finally:
        report.close()


def _numbered(request: SessionRequest, capabilities: ProtocolCapabilities | None) -> SessionRequest:
    """Ask for frames that say of which answer they are, where the server has them."""
    offered = () if capabilities is None else capabilities.supported_framings
    if request.audio.framing is not None or Framing.ASP16 not in offered:
        return request
    return replace(request, audio=request.audio.model_copy(update={"framing": Framing.ASP16}))


async def _converse(session: CallSession, wanted: _Wanted, report: Report) -> CallEnded:
    audio = session.config.audio
    rate_hz, frame_ms = audio.sample_rate, audio.frame_duration_ms
    player = Player(rate_hz, frame_ms)
    frames: FileFrames | Microphone
    if wanted.wave is None:
        frames = Microphone(rate_hz, frame_ms)
    else:
        for warning in wanted.wave.warnings:
            report.warn(warning)
        samples = resample(wanted.wave.samples, wanted.wave.rate_hz, rate_hz)
        lead = Limits().max_audio_lead - _LEAD_SLACK if wanted.fast else 0.0
        frames = FileFrames(samples, rate_hz, frame_ms, max_lead=lead)
        report.expect(frames.duration_ms)
    speaker = frames if isinstance(frames, Microphone) else None
    call = FileCall(session, frames, player, wanted.patience, audience=report, speaker=speaker)
    if isinstance(frames, FileFrames):
        frames.hurry = call.hurries
    ended: CallEnded | None = None
    try:
        with frames if isinstance(frames, Microphone) else nullcontext():
            ended = await call.run()
            if speaker is not None:
                await speaker.drain()
    finally:
        report.close()
        saved = _keep(wanted, call)
        with suppress(BrokenPipeError):
            report.conclude(ended, call.figures(), saved)
    if ended.outcome == "unanswered" and _unheard(session, call):
        return replace(ended, reason=f"{ended.reason}; {_UNHEARD}")
    return ended


def _unheard(session: CallSession, call: FileCall) -> bool:
    """Tell whether the server would have told of speech, and has not."""
    if not session.config.vad.enabled or Feature.SPEECH_EVENTS not in session.features:
        return False
    return not any(isinstance(one, SpeechStarted) for _, one in call.record.happenings)


def _keep(wanted: _Wanted, call: FileCall) -> str | None:
    """Write what is to be kept; return where the answer is, if there was one."""
    if wanted.timeline is not None:
        draw_timeline(wanted.timeline, call.record)
    reply = call.record.reply()
    if wanted.save is None or not len(reply):
        return None
    write_wave(wanted.save, reply, call.record.config.audio.sample_rate)
    return str(wanted.save)
