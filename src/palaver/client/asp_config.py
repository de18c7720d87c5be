"""What a media server asks for: local configuration, fitted to what its server takes."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from types import MappingProxyType
from typing import Any, Final, Self, cast

from pydantic import BaseModel, ValidationError

from palaver.client.asp_log import log_fitted
from palaver.client.asp_socket import AspRefused
from palaver.engine.clock import new_id
from palaver.errors import ConfigError
from palaver.protocols.asp.client_session import SessionRequest
from palaver.protocols.asp.config import (
    Adjustment,
    AudioConfig,
    NegotiationMode,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import field_error
from palaver.protocols.asp.negotiation import ConfigRequest, negotiate

__all__ = ["ENVIRONMENT", "MediaServerConfigBuilder", "read_setting"]

_AUDIO_NAMES: Final = ("sample_rate", "encoding", "frame_duration_ms", "framing")
_VAD_PREFIX: Final = "ASP_VAD_"
_MAX_CALL_ID: Final = 256
_MODES: Final = ("adjust", "strict")
_MEMBERS: Final = ("audio", "vad", "audio_offers", "call_id", "metadata", "negotiation")
_WORDS: Final[Mapping[str, bool]] = MappingProxyType(
    dict.fromkeys(("true", "1", "yes", "on"), True)
    | dict.fromkeys(("false", "0", "no", "off"), False)
)

ENVIRONMENT: Final[Mapping[str, tuple[type[AudioConfig | VADConfig], str]]] = MappingProxyType(
    {f"ASP_{name.upper()}": (AudioConfig, name) for name in _AUDIO_NAMES}
    | {f"{_VAD_PREFIX}{name.upper()}": (VADConfig, name) for name in VADConfig.model_fields}
)
"""Name in the environment → what it sets. ``ASP_NEGOTIATION`` is read as well."""


class MediaServerConfigBuilder:
    """Builds the request of a session, step by step.

    ::

        builder = MediaServerConfigBuilder.from_environment(os.environ).with_vad(threshold=0.6)
        session = await client.start_session(builder.build(client.capabilities))

    What the server does not take is replaced by the nearest that it does, so that it has nothing
    left to adjust or to reject; what that was stands in ``adjustments``, and in the log.
    """

    def __init__(self) -> None:
        self.adjustments: tuple[Adjustment, ...] = ()
        """What the last ``build`` had to change."""
        self._audio = AudioConfig()
        self._vad = VADConfig()
        self._offers: tuple[AudioConfig, ...] = ()
        self._negotiation: NegotiationMode = "adjust"
        self._call_id: str | None = None
        self._metadata: dict[str, Any] = {}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return one with ``audio``, ``vad``, ``audio_offers`` … as a file of settings has them.

        Raises:
            ConfigError: a key is unknown, or its value is of the wrong type; the text names it.

        """
        _known("", mapping, _MEMBERS)
        builder = cls()
        builder.with_audio(**_object("audio", mapping.get("audio", {})))
        builder.with_vad(**_object("vad", mapping.get("vad", {})))
        offers = mapping.get("audio_offers", ())
        if not isinstance(offers, list | tuple):
            raise ConfigError("audio_offers: must be a list of objects")
        builder.with_offers(
            *(
                cast("AudioConfig", _parsed(AudioConfig, f"audio_offers.{index}", offer))
                for index, offer in enumerate(offers)
            )
        )
        call_id = mapping.get("call_id")
        if isinstance(call_id, str):
            builder.with_call_id(call_id)
        elif call_id is not None:
            raise ConfigError("call_id: must be a string")
        builder.with_metadata(**_object("metadata", mapping.get("metadata", {})))
        return builder.with_negotiation(mapping.get("negotiation", "adjust"))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Return one with what ``ASP_SAMPLE_RATE``, ``ASP_VAD_THRESHOLD`` … say (``ENVIRONMENT``).

        Other names are left alone, but for ``ASP_VAD_``, where they are taken for a slip.

        Raises:
            ConfigError: a value is none, or no VAD parameter has that name; the text names it.

        """
        for key in environ:
            if key.startswith(_VAD_PREFIX) and key not in ENVIRONMENT:
                known = ", ".join(name for name in ENVIRONMENT if name.startswith(_VAD_PREFIX))
                raise ConfigError(f"{key}: there is no such setting; there are: {known}")
        given: dict[type[BaseModel], dict[str, Any]] = {AudioConfig: {}, VADConfig: {}}
        for key, (model, name) in ENVIRONMENT.items():
            if key in environ:
                given[model][name] = read_setting(model, name, environ[key], key)
        builder = cls().with_audio(**given[AudioConfig]).with_vad(**given[VADConfig])
        return builder.with_negotiation(
            environ.get("ASP_NEGOTIATION", "adjust"), key="ASP_NEGOTIATION"
        )

    # --- steps ------------------------------------------------------------------------------

    def with_audio(self, **values: Any) -> Self:
        """Set values of the audio: ``sample_rate``, ``encoding`` …; the others stay.

        Raises:
            ConfigError: there is no such value, or it is of the wrong type.

        """
        self._audio = cast("AudioConfig", _changed(self._audio, "audio", values))
        return self

    def with_vad(self, **values: Any) -> Self:
        """Set values of voice detection; those that are never set are left to the server.

        Raises:
            ConfigError: there is no such value, or it is of the wrong type.

        """
        self._vad = cast("VADConfig", _changed(self._vad, "vad", values))
        return self

    def with_offers(self, *offers: AudioConfig) -> Self:
        """Offer audio in this order of preference, in place of ``with_audio``."""
        self._offers = offers
        return self

    def with_negotiation(self, mode: str, *, key: str = "negotiation") -> Self:
        """Have audio that is not supported replaced (``adjust``), or refused (``strict``).

        Raises:
            ConfigError: it is neither.

        """
        if mode not in _MODES:
            raise ConfigError(f"{key}: must be {' or '.join(_MODES)}, not {mode!r}")
        self._negotiation = cast("NegotiationMode", mode)
        return self

    def with_call_id(self, call_id: str) -> Self:
        """Name the call.

        Raises:
            ConfigError: it is too long.

        """
        if len(call_id) > _MAX_CALL_ID:
            raise ConfigError(f"call_id: must have at most {_MAX_CALL_ID} characters")
        self._call_id = call_id
        return self

    def with_metadata(self, **values: Any) -> Self:
        """Keep something with the session; what was given before stays, under other names."""
        self._metadata |= values
        return self

    # --- the end ----------------------------------------------------------------------------

    def build(
        self, capabilities: ProtocolCapabilities | None, *, session_id: str | None = None
    ) -> SessionRequest:
        """Return the request, fitted to a server; for a legacy one (``None``) as it stands.

        Raises:
            PeerRefused: the server takes nothing that could be asked for; the errors say why.

        """
        session_id = session_id or new_id("call")
        audio, vad, offers = self._audio, self._vad, self._offers
        self.adjustments = ()
        if capabilities is not None:
            outcome = negotiate(ConfigRequest(audio, vad, offers, self._negotiation), capabilities)
            if outcome.config is None:
                raise AspRefused(outcome.errors)
            audio, vad, offers = outcome.config.audio, outcome.config.vad, ()
            self.adjustments = outcome.config.adjustments
            log_fitted(session_id, self.adjustments)
        return SessionRequest(
            session_id=session_id,
            call_id=self._call_id,
            audio=audio,
            vad=vad,
            audio_offers=offers,
            negotiation=self._negotiation,
            metadata=dict(self._metadata) or None,
        )


def read_setting(
    model: type[AudioConfig | VADConfig], name: str, text: str, key: str | None = None
) -> Any:
    """Return the value that ``text`` spells for a field of a configuration.

    Raises:
        ConfigError: there is no such field, or the text spells nothing that fits it; ``key`` is
            what the text calls it.

    """
    key = key or name
    if name not in model.model_fields:
        known = ", ".join(model.model_fields)
        raise ConfigError(f"{key}: there is no such value; there are: {known}")
    default = model.model_fields[name].get_default()
    if isinstance(default, bool):
        found = _WORDS.get(text.strip().lower())
        if found is None:
            raise ConfigError(f"{key}: must be true or false, not {text!r}")
        return found
    kind = type(default) if isinstance(default, int | float) else str
    try:
        value = kind(text.strip())
    except ValueError:
        value = nan
    if value != value:  # noqa: PLR0124 # not a number
        what = "an integer" if kind is int else "a number"
        raise ConfigError(f"{key}: must be {what}, not {text!r}")
    _parsed(model, key, {name: value}, leaf=True)
    return value


def _changed(config: BaseModel, where: str, values: Mapping[str, Any]) -> BaseModel:
    _known(f"{where}.", values, tuple(type(config).model_fields))
    given = {name: getattr(config, name) for name in config.model_fields_set}
    return _parsed(type(config), where, given | dict(values))


def _known(where: str, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in values:
        if name not in names:
            raise ConfigError(f"{where}{name}: unknown; there are: {', '.join(names)}")


def _object(where: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: must be an object")
    return dict(found)


def _parsed(model: type[BaseModel], where: str, values: Any, *, leaf: bool = False) -> BaseModel:
    try:
        return model.model_validate(_object(where, values))
    except ValidationError as error:
        text = field_error(error).message
        where = where if leaf else f"{where}.{text.partition(':')[0]}"
        raise ConfigError(f"{where}: {text.partition(': ')[2] or text}") from None
