"""Negotiation: what a client asks for and what a server takes give what both run. A pure function.

Audio that is not supported is rejected, or in mode ``adjust`` replaced by the nearest that is. VAD
values out of their range are moved to its end; values that the server does not let anybody change
are its own. Whatever is not as it was asked for stands in ``adjustments``. Negotiating a result
again changes nothing, and no result leaves the capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from palaver.protocols.asp.config import (
    FRAME_DURATIONS_MS,
    SAMPLE_RATES_HZ,
    VAD_RANGES,
    Adjustment,
    AudioConfig,
    AudioEncoding,
    Framing,
    NegotiatedConfig,
    NegotiationMode,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.errors import ErrorCode, ProtocolError, protocol_error

__all__ = [
    "ConfigRequest",
    "ConfigValidator",
    "Negotiation",
    "SessionNegotiator",
    "Status",
    "negotiate",
    "negotiate_vad",
]

Status: TypeAlias = Literal["accepted", "accepted_with_changes", "rejected"]


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """What a client asks for. ``offers``, where there are some, stand in place of ``audio``."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    vad: VADConfig = field(default_factory=VADConfig)
    offers: tuple[AudioConfig, ...] = ()
    mode: NegotiationMode = "strict"


@dataclass(frozen=True, slots=True)
class Negotiation:
    """The outcome: ``config`` where it was accepted, ``errors`` where it was not."""

    config: NegotiatedConfig | None
    errors: tuple[ProtocolError, ...] = ()

    @property
    def status(self) -> Status:
        """How ``session.started`` spells it."""
        if self.config is None:
            return "rejected"
        return "accepted_with_changes" if self.config.adjustments else "accepted"


_AUDIO_ERRORS: Final[Mapping[str, ErrorCode]] = MappingProxyType(
    {
        "sample_rate": ErrorCode.UNSUPPORTED_SAMPLE_RATE,
        "encoding": ErrorCode.UNSUPPORTED_ENCODING,
        "channels": ErrorCode.UNSUPPORTED_CHANNELS,
        "frame_duration_ms": ErrorCode.INVALID_FRAME_DURATION,
        "framing": ErrorCode.UNSUPPORTED_FRAMING,
    }
)


def negotiate(request: ConfigRequest, capabilities: ProtocolCapabilities) -> Negotiation:
    """Return what both sides run, or why there is nothing that both can run.

    Of several offers the first one wins that is supported as it stands; if none is, the first is
    adjusted, or all of them are rejected.
    """
    supported = _supported(capabilities)
    offers = request.offers or (request.audio,)
    refused: list[ProtocolError] = []
    chosen: AudioConfig | None = None
    adjustments: list[Adjustment] = []
    for index, offer in enumerate(offers):
        where = f"audio_offers.{index}" if request.offers else "audio"
        errors = _unsupported(offer, supported, where)
        if not errors:
            chosen = offer
            break
        refused += errors
    if chosen is None and request.mode == "adjust" and _adjustable(offers[0], supported):
        chosen, adjustments = _nearest(offers[0], supported)
    if chosen is None:
        return Negotiation(None, tuple(refused[:64]))
    vad, vad_adjustments = negotiate_vad(request.vad, capabilities)
    return Negotiation(
        NegotiatedConfig(audio=chosen, vad=vad, adjustments=(*adjustments, *vad_adjustments))
    )


def negotiate_vad(
    requested: VADConfig, capabilities: ProtocolCapabilities
) -> tuple[VADConfig, list[Adjustment]]:
    """Return the VAD values that are run, and each one that is not as it was requested.

    What was not requested is the server's own; nothing is out of its range.
    """
    applied: dict[str, Any] = {}
    adjustments = []
    for name in VADConfig.model_fields:
        given = name in requested.model_fields_set
        asked, own = getattr(requested, name), getattr(capabilities.vad_defaults, name)
        if not capabilities.vad_configurable or name not in capabilities.vad_parameters:
            value, _ = _within(name, own)
            reason = "the server does not let clients set it (3002 vad_not_configurable)"
        else:
            value, reason = _within(name, asked if given else own)
        applied[name] = value
        if given and value != asked:
            adjustments.append(
                Adjustment(field=f"vad.{name}", requested=asked, applied=value, reason=reason)
            )
    return VADConfig(**applied), adjustments


def _within(name: str, value: Any) -> tuple[Any, str]:
    """Return the value moved into its range, and why it was moved."""
    if name not in VAD_RANGES:
        return value, ""
    least, most = VAD_RANGES[name]
    if value < least:
        return type(value)(least), f"below the minimum of {least:g}"
    if value > most:
        return type(value)(most), f"above the maximum of {most:g}"
    return value, ""


@lru_cache(maxsize=16)
def _supported(capabilities: ProtocolCapabilities) -> dict[str, tuple[Any, ...]]:
    """Return what may stand in each field of the audio: what is listed, and legal."""
    return {
        "sample_rate": tuple(
            rate for rate in capabilities.supported_sample_rates if rate in SAMPLE_RATES_HZ
        ),
        "encoding": tuple(
            AudioEncoding(word)
            for word in capabilities.supported_encodings
            if word in list(AudioEncoding)
        ),
        "channels": (1,),
        "frame_duration_ms": tuple(
            ms for ms in capabilities.supported_frame_durations if ms in FRAME_DURATIONS_MS
        ),
        "framing": tuple(
            Framing(word) for word in capabilities.supported_framings if word in list(Framing)
        ),
    }


def _unsupported(
    offer: AudioConfig, supported: Mapping[str, tuple[Any, ...]], where: str
) -> list[ProtocolError]:
    """Return an error for each value of the offer that the server does not take."""
    errors = []
    for name, code in _AUDIO_ERRORS.items():
        value, values = getattr(offer, name), supported[name]
        if value is None:
            value = Framing.HASH12  # what a client means that names no framing
        if value in values:
            continue
        allowed = ", ".join(str(one) for one in values) or "nothing"
        path = f"{where}.{name}"
        errors.append(
            protocol_error(
                code,
                f"{path}: {value} is not supported; supported: {allowed}",
                pointer="/" + path.replace(".", "/"),
                field=path,
                requested=value,
                supported=list(values),
            )
        )
    return errors


def _adjustable(offer: AudioConfig, supported: Mapping[str, tuple[Any, ...]]) -> bool:
    """Tell whether each value can be replaced; a client that names no framing knows only one."""
    known = offer.framing is not None or Framing.HASH12 in supported["framing"]
    return known and all(supported.values())


def _nearest(
    offer: AudioConfig, supported: Mapping[str, tuple[Any, ...]]
) -> tuple[AudioConfig, list[Adjustment]]:
    """Return the offer with the nearest supported values; of two as near, the one listed first."""
    applied: dict[str, Any] = offer.model_dump()
    adjustments = []
    for name, values in supported.items():
        asked = applied[name]
        if asked in values or asked is None:
            continue
        if isinstance(asked, int):
            value = min(values, key=lambda one: abs(one - asked))
            reason = f"{asked} is not supported; {value} is the nearest that is"
        else:
            value = values[0]
            reason = f"{asked} is not supported; {value} is what the server prefers"
        applied[name] = value
        adjustments.append(
            Adjustment(field=f"audio.{name}", requested=asked, applied=value, reason=reason)
        )
    return AudioConfig(**applied), adjustments


class ConfigValidator:
    """``negotiate`` under the name that validates one configuration against a server."""

    @staticmethod
    def negotiate(
        client_config: ConfigRequest, server_capabilities: ProtocolCapabilities
    ) -> NegotiatedConfig | tuple[ProtocolError, ...]:
        """Return the negotiated configuration, or each incompatibility."""
        outcome = negotiate(client_config, server_capabilities)
        return outcome.errors if outcome.config is None else outcome.config


class SessionNegotiator:
    """``negotiate`` under the name that decides whether a session is accepted."""

    @staticmethod
    def negotiate(
        requested: ConfigRequest, capabilities: ProtocolCapabilities
    ) -> tuple[bool, NegotiatedConfig | None]:
        """Return whether it is accepted, and the effective configuration if it is."""
        outcome = negotiate(requested, capabilities)
        return outcome.config is not None, outcome.config
