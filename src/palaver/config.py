"""Settings: flags over ``PALAVER_*`` variables over a TOML file over defaults, parsed once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from palaver.engine.limits import Limits
from palaver.errors import ConfigError
from palaver.protocols.asap.limits import Limits as AsapLimits
from palaver.protocols.asap.replay import ReplayLimits
from palaver.protocols.asp.config import SAMPLE_RATES_HZ, AudioEncoding
from palaver.protocols.asp.limits import Limits as AspLimits
from palaver.speech.open import EngineNames
from palaver.speech.options import VoiceOptions

__all__ = ["Settings", "default_store", "load_settings"]

_PREFIX: Final = "PALAVER_"
_CHAT_AGENT: Final = "PALAVER_CHAT_"
"""Variables that ``palaver.agents.chat`` reads for itself."""
_FLAGS: Final = frozenset({"host", "port", "asp_port", "store", "insecure"})
"""Settings that `palaver serve` has a flag for."""
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
PerSecond = Annotated[float, Field(gt=0, le=100_000_000, allow_inf_nan=False)]
_LIMITS: Final = Limits()
_ASAP: Final = AsapLimits()
_REPLAY: Final = ReplayLimits()
_ASP: Final = AspLimits()
_VOICE: Final = VoiceOptions()


def _items(given: Any) -> Any:
    """Take ``a, b`` for a list."""
    if isinstance(given, str):
        return [item.strip() for item in given.split(",") if item.strip()]
    return given


def default_store() -> str:
    """Return the path of the SQLite file in the user's state directory (XDG)."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(state) / "palaver" / "palaver.db")


def _rate(given: int) -> int:
    if given not in SAMPLE_RATES_HZ:
        message = f"must be one of {', '.join(map(str, SAMPLE_RATES_HZ))}"
        raise ValueError(message)
    return given


_Rate = Annotated[int, AfterValidator(_rate)]


class Settings(BaseSettings):
    """Everything that can be set. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one")
    store: str = Field(
        default_factory=default_store,
        min_length=1,
        description="Where tasks are kept: a path of a SQLite file, or memory:",
    )
    insecure: bool = Field(
        default=False, description="Serve others than this machine without asking who they are"
    )
    public_url: AnyHttpUrl | None = Field(
        None, description="The URL that cards name, where it is not the one of the request"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged at least"
    )
    log_format: Literal["console", "json"] = Field("console", description="How logs look")

    max_body_bytes: Count = Field(10 * 1024 * 1024, description="Largest body of a request")
    body_timeout: Seconds = Field(30.0, description="How long a request may take to arrive")
    send_timeout: Seconds = Field(
        120.0, description="How long a blocking send waits before it answers as things stand"
    )
    heartbeat_interval: Seconds = Field(15.0, description="Silence before a heartbeat on a stream")
    stream_silence_timeout: Seconds = Field(
        30.0, description="How long a stream may take nothing, not even a heartbeat, before it ends"
    )
    stream_idle_timeout: float = Field(
        0.0, ge=0, le=31_536_000, description="Ends a stream without task events; 0: never"
    )
    retry_interval: Seconds = Field(1.0, description="When a client should come back to a stream")
    drain_timeout: Seconds = Field(10.0, description="How long tasks may go on after SIGTERM")

    websocket_max_message_bytes: Count = Field(
        16 * 1024 * 1024, description="Largest message through a WebSocket"
    )
    websocket_ping_interval: Seconds = Field(
        30.0, description="How often a WebSocket's client is asked for a sign of life"
    )
    websocket_pong_timeout: Seconds = Field(10.0, description="How long it has to give that")
    websocket_send_timeout: Seconds = Field(
        30.0, description="How long a WebSocket's client may take nothing before it is dropped"
    )
    asp_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None, description="Second port, for calls alone, that takes more of them; 0: a free one"
    )
    asp_sample_rates: Annotated[tuple[_Rate, ...], NoDecode, BeforeValidator(_items)] = Field(
        (8_000, 16_000),
        min_length=1,
        description="Sample rates (Hz) of calls, the preferred one first",
    )
    asp_encodings: Annotated[tuple[AudioEncoding, ...], NoDecode, BeforeValidator(_items)] = Field(
        tuple(AudioEncoding),
        min_length=1,
        description="Encodings of calls, the preferred one first",
    )
    asp_vad_configurable: bool = Field(
        default=True, description="Whether media servers may set VAD values"
    )
    asp_echo_test: bool = Field(
        default=False, description="Answer each utterance of a call with itself, to test the line"
    )
    asp_allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        (), description="Web pages' origins that may connect, beside the server's own"
    )
    asp_max_sockets: Count = Field(1_000, description="WebSockets of media servers at once")
    asp_max_sessions: Annotated[int, Field(ge=1, le=65_000)] = Field(
        _ASP.max_sessions, description="Calls at once, those that wait to be resumed among them"
    )
    asp_max_sessions_per_socket: Count = Field(
        _ASP.max_sessions_per_socket, description="Calls at once on one WebSocket"
    )
    asp_max_failed_starts: Count = Field(
        _ASP.max_failed_starts, description="Rejected starts in a minute on one WebSocket"
    )
    asp_max_audio_lead: Seconds = Field(
        _ASP.max_audio_lead, description="How far audio may run ahead of the clock"
    )
    asp_handshake_timeout: Seconds = Field(
        _ASP.handshake_timeout, description="How long a media server may take to start a call"
    )
    asp_idle_timeout: Seconds = Field(_ASP.idle_timeout, description="Silence that ends a call")
    asp_max_session_seconds: Seconds = Field(
        _ASP.max_session_seconds, description="Longest time of a call"
    )
    asp_resume_window: Seconds = Field(
        _ASP.resume_window, description="How long a call waits for its media server after a drop"
    )

    asap_send_timeout: Seconds = Field(
        55.0, description="How long a peer waits for its task before it hears that it goes on"
    )
    asap_max_calls: Count = Field(
        10_000, description="Requests of peers that wait for their answers at once"
    )
    asap_max_batch_calls: Count = Field(
        16, description="Requests of one batch that are worked on at once"
    )
    asap_max_requests_per_minute: Count | None = Field(
        None, description="Requests of one address over HTTP; none: as many as come"
    )
    asap_max_sockets: Count = Field(1_000, description="WebSockets of peers at once")
    asap_max_in_flight: Count = Field(
        _ASAP.max_in_flight, description="Requests of one WebSocket that are worked on at once"
    )
    asap_max_waiting: Count = Field(
        _ASAP.max_waiting, description="Requests of one WebSocket that wait for their turn"
    )
    asap_max_rate: PerSecond | None = Field(
        _ASAP.max_rate, description="Messages a second that are read from one WebSocket"
    )
    asap_max_burst: Count = Field(
        _ASAP.max_burst, description="Messages of one WebSocket at once, after a silence"
    )
    asap_ping_interval: Seconds = Field(
        _ASAP.ping_interval, description="How often a peer on a WebSocket is asked if it is there"
    )
    asap_stale_after: Seconds = Field(
        _ASAP.stale_after, description="Silence of a peer that closes its WebSocket"
    )
    asap_max_age: Seconds = Field(
        _REPLAY.max_age, description="Age of an envelope that is still taken"
    )
    asap_max_future: Seconds = Field(
        _REPLAY.max_future, description="How far a peer's clock may run ahead of this one"
    )
    asap_check_nonce: bool = Field(
        default=_REPLAY.check_nonce, description="Refuse envelopes whose nonce was used before"
    )
    asap_require_nonce: bool = Field(
        default=_REPLAY.require_nonce, description="Refuse envelopes without a nonce, too"
    )

    voice: bool = Field(
        default=True, description="Hear calls and answer them; false: take them in silence"
    )
    voice_detector: Literal["silero", "webrtc", "energy"] = Field(
        "silero", description="What tells speech from noise: the best first, the lightest last"
    )
    voice_hears: Literal["vocabulary", "openai", "whisper"] = Field(
        "vocabulary",
        description="What makes text of speech: the agent's own phrases offline, or any words",
    )
    voice_speaks: Literal["espeak", "openai", "piper"] = Field(
        "espeak", description="What makes speech of text"
    )
    voice_language: str | None = Field(
        None, max_length=35, description="What callers speak (en, pt-BR …), where calls say nothing"
    )
    voice_greeting: str = Field(
        "", max_length=1_000, description="Said first in each call; empty: the caller speaks first"
    )
    voice_filler_after: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Thinking for so long is filled with a few words; 0: never",
    )
    voice_backchannels: bool = Field(
        default=False, description="Go on speaking where the caller only says uh-huh"
    )
    voice_transcribe_timeout: Seconds = Field(
        _VOICE.transcribe_timeout, description="How long making text of an utterance may take"
    )
    voice_speak_timeout: Seconds = Field(
        _VOICE.speak_timeout, description="How long a sentence may take to its next sound"
    )
    voice_lead_ms: Annotated[int, Field(ge=60, le=5_000)] = Field(
        _VOICE.lead_ms, description="How far (ms) sound is sent ahead of what is heard"
    )
    voice_digits_timeout: Seconds = Field(
        _VOICE.digits_timeout, description="Silence after a key that ends what is keyed in"
    )
    voice_openai_base_url: AnyHttpUrl | None = Field(
        None, description="Speech API, such as https://host/v1, for voice_hears and voice_speaks"
    )
    voice_openai_api_key: str = Field("", max_length=512, description="Its key; empty: none")
    voice_openai_transcription_model: str = Field("whisper-1", description="Its model that hears")
    voice_openai_speech_model: str = Field("tts-1", description="Its model that speaks")
    voice_openai_voice: str = Field("alloy", description="Its voice")
    voice_whisper_model: str = Field("", description="Folder of a faster-whisper model")
    voice_piper_voice: str = Field("", description="File of a piper voice (.onnx)")

    max_running_tasks: Count = Field(_LIMITS.max_running_tasks, description="Handlers at once")
    max_open_tasks: Count = Field(_LIMITS.max_open_tasks, description="Tasks held at once")
    max_task_events: Count = Field(_LIMITS.max_task_events, description="Events of one task")
    max_attempts: Count = Field(_LIMITS.max_attempts, description="Runs of a restartable task")
    max_threads: Annotated[int, Field(ge=1, le=1_024)] = Field(
        _LIMITS.max_threads, description="Threads for plain functions"
    )
    input_timeout: Seconds = Field(_LIMITS.input_timeout, description="How long a task waits")
    store_timeout: Seconds = Field(_LIMITS.store_timeout, description="Patience with the store")
    lease_ttl: Seconds = Field(_LIMITS.lease_ttl, description="Silence that loses a worker's tasks")
    retention: Seconds = Field(_LIMITS.retention, description="How long events are kept")
    task_retention: Seconds = Field(_LIMITS.task_retention, description="How long tasks are kept")
    claim_ttl: Seconds = Field(_LIMITS.claim_ttl, description="How long a message id is known")
    sweep_interval: Seconds = Field(_LIMITS.sweep_interval, description="How often to tidy up")

    def limits(self) -> Limits:
        """Return the bounds of the engine."""
        return _chosen(self, Limits, "")

    def asp_limits(self) -> AspLimits:
        """Return the bounds of calls."""
        return _chosen(self, AspLimits, "asp_")

    def asap_limits(self) -> AsapLimits:
        """Return the bounds of a peer's WebSocket."""
        return _chosen(self, AsapLimits, "asap_")

    def asap_replay_limits(self) -> ReplayLimits:
        """Return what is asked of an envelope's age and nonce."""
        return _chosen(self, ReplayLimits, "asap_")

    def voice_options(self) -> VoiceOptions:
        """Return how calls are heard and answered."""
        return _chosen(self, VoiceOptions, "voice_")

    def voice_engines(self) -> EngineNames:
        """Return what hears and speaks."""
        found = {f.name: getattr(self, f"voice_{f.name}") for f in fields(EngineNames)}
        url = self.voice_openai_base_url
        return EngineNames(**found | {"openai_base_url": "" if url is None else str(url)})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the places that are looked at: flags, the environment, the file."""
        del dotenv_settings, file_secret_settings
        file = settings_cls.model_config.get("toml_file")
        found = () if file is None else (TomlConfigSettingsSource(settings_cls),)
        return (init_settings, env_settings, *found)


_OptionsT = TypeVar("_OptionsT", Limits, AspLimits, AsapLimits, ReplayLimits, VoiceOptions)


def _chosen(settings: Settings, kind: type[_OptionsT], prefix: str) -> _OptionsT:
    """Return the options of that kind: what the settings of that prefix say, else the defaults."""
    known = type(settings).model_fields
    names = [field.name for field in fields(kind) if prefix + field.name in known]
    return kind(**{name: getattr(settings, prefix + name) for name in names})


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Return the settings; ``flags`` are those that were given, by the name of the setting.

    Raises:
        ConfigError: a value is wrong, or a key is unknown; the text names it and its origin.

    """
    in_file = {} if file is None else _read_toml(file)

    class Bound(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(_PREFIX)
        and not name.upper().startswith(_CHAT_AGENT)
        and name[len(_PREFIX) :].lower() not in Settings.model_fields
    )
    if unknown:
        message = f"environment variable {unknown[0]}: there is no such setting"
        raise ConfigError(message)
    try:
        return Settings.model_construct(**dict(Bound(**flags)))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        given = "" if first["type"] == "extra_forbidden" else f", not {first['input']!r}"
        message = f"{_origin(name, flags, in_file, file)}: {first['msg']}{given}"
        raise ConfigError(message) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"configuration file {file}: cannot be read: {error}"
        raise ConfigError(message) from None
    except tomllib.TOMLDecodeError as error:
        message = f"configuration file {file}: {error}"
        raise ConfigError(message) from None


def _origin(
    name: str, flags: Mapping[str, Any], in_file: Mapping[str, Any], file: Path | None
) -> str:
    if name in flags:
        flag = name.replace("_", "-")
        return f"--{flag}" if name in _FLAGS else f"--set {name}"
    for variable in os.environ:
        if variable.upper() == _PREFIX + name.upper():
            return f"environment variable {variable}"
    return f"{file}: {name}" if name in in_file else name
