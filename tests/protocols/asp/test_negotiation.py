"""Negotiation (spec §7): one request and one server give one outcome."""

from __future__ import annotations

from typing import Any

import pytest

from palaver.protocols.asp.config import (
    Adjustment,
    AudioConfig,
    Framing,
    NegotiatedConfig,
    ProtocolCapabilities,
    VADConfig,
    config_digest,
)
from palaver.protocols.asp.negotiation import (
    ConfigRequest,
    negotiate,
    negotiate_vad,
)

SERVER = ProtocolCapabilities(
    supported_sample_rates=(8000, 16000),
    supported_encodings=("pcm_s16le", "mulaw"),
    supported_frame_durations=(20, 30),
    supported_framings=("asp16", "hash12"),
)

# What is asked for → code, what is supported, what ``adjust`` takes instead (None: it is taken).
AUDIO: list[tuple[dict[str, Any], int | None, list[Any], Any]] = [
    ({"sample_rate": 8000}, None, [], None),
    ({"sample_rate": 16000}, None, [], None),
    ({"sample_rate": 24000}, 2001, [8000, 16000], 16000),
    ({"sample_rate": 44100}, 2001, [8000, 16000], 16000),
    ({"sample_rate": 11999}, 2001, [8000, 16000], 8000),
    ({"sample_rate": 12000}, 2001, [8000, 16000], 8000),
    ({"sample_rate": 12001}, 2001, [8000, 16000], 16000),
    ({"sample_rate": 0}, 2001, [8000, 16000], 8000),
    ({"sample_rate": -(2**53)}, 2001, [8000, 16000], 8000),
    ({"sample_rate": 2**53}, 2001, [8000, 16000], 16000),
    ({"encoding": "pcm_s16le"}, None, [], None),
    ({"encoding": "mulaw"}, None, [], None),
    ({"encoding": "alaw"}, 2002, ["pcm_s16le", "mulaw"], "pcm_s16le"),
    ({"encoding": "opus"}, 2002, ["pcm_s16le", "mulaw"], "pcm_s16le"),
    ({"frame_duration_ms": 20}, None, [], None),
    ({"frame_duration_ms": 30}, None, [], None),
    ({"frame_duration_ms": 10}, 2003, [20, 30], 20),
    ({"frame_duration_ms": 25}, 2003, [20, 30], 20),
    ({"frame_duration_ms": 40}, 2003, [20, 30], 30),
    ({"channels": 1}, None, [], None),
    ({"channels": 2}, 2006, [1], 1),
    ({"channels": 0}, 2006, [1], 1),
    ({}, None, [], None),
    ({"framing": "hash12"}, None, [], None),
    ({"framing": "asp16"}, None, [], None),
    ({"framing": "seq14"}, 2007, ["asp16", "hash12"], "asp16"),
    ({"framing": "rtp"}, 2007, ["asp16", "hash12"], "asp16"),
]


@pytest.mark.parametrize(("asked", "code", "supported", "instead"), AUDIO)
def test_audio_that_is_not_supported_is_rejected(
    asked: dict[str, Any], code: int | None, supported: list[Any], instead: Any
) -> None:
    """Section 7, rule 2: the error names the field, and the values that the server takes."""
    audio = AudioConfig(**asked)
    outcome = negotiate(ConfigRequest(audio=audio), SERVER)
    if code is None:
        assert outcome.config is not None
        assert (outcome.status, outcome.config.audio, outcome.errors) == ("accepted", audio, ())
        return
    assert (outcome.status, outcome.config) == ("rejected", None)
    (error,) = outcome.errors
    ((name, value),) = asked.items()
    assert (error.code, error.category, error.recoverable) == (code, "audio", True)
    words = ", ".join(str(one) for one in supported)
    assert error.message == f"audio.{name}: {value} is not supported; supported: {words}"
    assert error.details == {
        "pointer": f"/audio/{name}",
        "field": f"audio.{name}",
        "requested": value,
        "supported": supported,
    }


@pytest.mark.parametrize(("asked", "code", "supported", "instead"), AUDIO)
def test_audio_that_is_not_supported_is_adjusted(
    asked: dict[str, Any], code: int | None, supported: list[Any], instead: Any
) -> None:
    """Section 7, rule 2: in mode ``adjust`` the nearest, or the preferred, takes its place."""
    audio = AudioConfig(**asked)
    outcome = negotiate(ConfigRequest(audio=audio, mode="adjust"), SERVER)
    assert outcome.config is not None
    if code is None:
        assert (outcome.status, outcome.config.audio) == ("accepted", audio)
        assert outcome.config.adjustments == ()
        return
    ((name, value),) = asked.items()
    assert outcome.status == "accepted_with_changes"
    assert outcome.config.audio == AudioConfig(**{name: instead})
    kind = "what the server prefers" if isinstance(value, str) else "the nearest that is"
    assert outcome.config.adjustments == (
        Adjustment(
            field=f"audio.{name}",
            requested=value,
            applied=instead,
            reason=f"{value} is not supported; {instead} is {kind}",
        ),
    )


def test_of_two_rates_as_near_the_one_listed_first_is_taken() -> None:
    """Section 7: 12000 becomes 8000, or 16000 where the server prefers that."""
    request = ConfigRequest(audio=AudioConfig(sample_rate=12000), mode="adjust")
    rates = {
        listed: negotiate(request, ProtocolCapabilities(supported_sample_rates=listed)).config
        for listed in ((8000, 16000), (16000, 8000))
    }
    assert {
        listed: config.audio.sample_rate for listed, config in rates.items() if config is not None
    } == {(8000, 16000): 8000, (16000, 8000): 16000}


def test_everything_that_is_not_supported_is_told() -> None:
    """One error for each value, in the order of the fields."""
    audio = AudioConfig(
        sample_rate=44100, encoding="opus", channels=2, frame_duration_ms=60, framing="rtp"
    )
    rejected = negotiate(ConfigRequest(audio=audio), SERVER)
    assert [error.code for error in rejected.errors] == [2001, 2002, 2006, 2003, 2007]
    adjusted = negotiate(ConfigRequest(audio=audio, mode="adjust"), SERVER)
    assert adjusted.config is not None
    assert [item.field for item in adjusted.config.adjustments] == [
        "audio.sample_rate",
        "audio.encoding",
        "audio.channels",
        "audio.frame_duration_ms",
        "audio.framing",
    ]


EMPTY: list[tuple[str, dict[str, Any], int]] = [
    ("supported_sample_rates", {}, 2001),
    ("supported_encodings", {}, 2002),
    ("supported_frame_durations", {}, 2003),
    ("supported_framings", {}, 2007),
    ("supported_framings", {"framing": "asp16"}, 2007),
]


@pytest.mark.parametrize("listed", ["nothing", "nonsense"])
@pytest.mark.parametrize("mode", ["strict", "adjust"])
@pytest.mark.parametrize(("name", "asked", "code"), EMPTY)
def test_a_server_that_takes_nothing_is_no_reason_to_fail(
    name: str, asked: dict[str, Any], code: int, mode: Any, listed: str
) -> None:
    """Where a list is empty, or holds nothing that is legal, each request is rejected."""
    nonsense = (-1, 0, 44100) if name.endswith(("rates", "durations")) else ("", "opus")
    offered = ProtocolCapabilities(**{name: () if listed == "nothing" else nonsense})
    outcome = negotiate(ConfigRequest(audio=AudioConfig(**asked), mode=mode), offered)
    (error,) = [error for error in outcome.errors if error.code == code]
    assert outcome.status == "rejected"
    assert error.message.endswith(" is not supported; supported: nothing")


@pytest.mark.parametrize("mode", ["strict", "adjust"])
def test_a_client_that_names_no_framing_means_the_first_one(mode: Any) -> None:
    """Section 6: no framing is ``hash12``; a client that may know no other gets no other."""
    only_asp16 = ProtocolCapabilities(supported_framings=("asp16",))
    (error,) = negotiate(ConfigRequest(mode=mode), only_asp16).errors
    assert error.message == "audio.framing: hash12 is not supported; supported: asp16"
    named = ConfigRequest(audio=AudioConfig(framing=Framing.HASH12), mode="adjust")
    config = negotiate(named, only_asp16).config
    assert config is not None
    assert config.audio.framing is Framing.ASP16


# --- offers ---------------------------------------------------------------------------------

WIDE, NARROW, OPUS = (
    AudioConfig(sample_rate=48000),
    AudioConfig(sample_rate=16000, framing=Framing.ASP16),
    AudioConfig(encoding="opus", channels=2),
)
OFFERS: list[tuple[tuple[AudioConfig, ...], AudioConfig | None]] = [
    ((NARROW, AudioConfig()), NARROW),
    ((AudioConfig(), NARROW), AudioConfig()),
    ((WIDE, NARROW), NARROW),
    ((WIDE, OPUS, AudioConfig()), AudioConfig()),
    ((WIDE,), None),
    ((WIDE, OPUS), None),
]


@pytest.mark.parametrize("mode", ["strict", "adjust"])
@pytest.mark.parametrize(("offers", "chosen"), OFFERS)
def test_the_first_offer_that_is_supported_is_taken(
    offers: tuple[AudioConfig, ...], chosen: AudioConfig | None, mode: Any
) -> None:
    """Section 7, rule 7: in the client's order, unchanged; ``audio`` counts no longer."""
    outcome = negotiate(ConfigRequest(audio=OPUS, offers=offers, mode=mode), SERVER)
    if chosen is not None:
        assert outcome.config is not None
        assert (outcome.status, outcome.config.audio) == ("accepted", chosen)
    elif mode == "adjust":
        assert outcome.config is not None
        assert outcome.config.audio == AudioConfig(sample_rate=16000)
        assert [item.requested for item in outcome.config.adjustments] == [48000]
    else:
        assert outcome.status == "rejected"


def test_of_refused_offers_each_is_told() -> None:
    """An error says which of the offers it is about."""
    errors = negotiate(ConfigRequest(offers=(WIDE, OPUS)), SERVER).errors
    assert [error.details["field"] for error in errors if error.details] == [
        "audio_offers.0.sample_rate",
        "audio_offers.1.encoding",
        "audio_offers.1.channels",
    ]
    assert errors[0].message == (
        "audio_offers.0.sample_rate: 48000 is not supported; supported: 8000, 16000"
    )


def test_no_more_errors_are_told_than_a_message_takes() -> None:
    """Sixteen offers can be wrong in eighty ways: sixty-four of them are told."""
    worst = AudioConfig(sample_rate=1, encoding="x", channels=2, frame_duration_ms=1, framing="x")
    assert len(negotiate(ConfigRequest(offers=(worst,) * 16), SERVER).errors) == 64


# --- voice detection ------------------------------------------------------------------------

PRESETS: dict[str, VADConfig] = {
    "quiet office": VADConfig(
        silence_threshold_ms=500, min_speech_ms=200, threshold=0.4, speech_ratio=0.3
    ),
    "noisy call centre": VADConfig(
        silence_threshold_ms=700, min_speech_ms=300, threshold=0.6, speech_ratio=0.5
    ),
    "reflective support": VADConfig(
        silence_threshold_ms=800, min_speech_ms=250, threshold=0.5, speech_ratio=0.4
    ),
    "quick answers": VADConfig(
        silence_threshold_ms=400, min_speech_ms=150, threshold=0.5, speech_ratio=0.4
    ),
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_presets_are_accepted_unchanged(preset: VADConfig) -> None:
    """Section 3: what is recommended can be asked for as it stands."""
    outcome = negotiate(ConfigRequest(vad=preset), ProtocolCapabilities())
    assert outcome.config == NegotiatedConfig(audio=AudioConfig(), vad=preset)
    assert outcome.status == "accepted"


CLAMPED: list[tuple[str, Any, Any, str]] = [
    ("silence_threshold_ms", 99, 100, "below the minimum of 100"),
    ("silence_threshold_ms", 2001, 2000, "above the maximum of 2000"),
    ("silence_threshold_ms", -(2**53), 100, "below the minimum of 100"),
    ("min_speech_ms", 0, 100, "below the minimum of 100"),
    ("min_speech_ms", 1001, 1000, "above the maximum of 1000"),
    ("threshold", -0.1, 0.0, "below the minimum of 0"),
    ("threshold", 1.01, 1.0, "above the maximum of 1"),
    ("threshold", 1e9, 1.0, "above the maximum of 1"),
    ("ring_buffer_frames", 2, 3, "below the minimum of 3"),
    ("ring_buffer_frames", 11, 10, "above the maximum of 10"),
    ("speech_ratio", 0.1, 0.2, "below the minimum of 0.2"),
    ("speech_ratio", 1.0, 0.8, "above the maximum of 0.8"),
    ("prefix_padding_ms", -1, 0, "below the minimum of 0"),
    ("prefix_padding_ms", 501, 500, "above the maximum of 500"),
]


@pytest.mark.parametrize(("name", "asked", "applied", "reason"), CLAMPED)
def test_vad_out_of_range_is_moved_to_its_end(
    name: str, asked: Any, applied: Any, reason: str
) -> None:
    """Section 7, rule 3: in either mode the end of the range takes its place, and it is told."""
    for mode in ("strict", "adjust"):
        outcome = negotiate(ConfigRequest(vad=VADConfig(**{name: asked}), mode=mode), SERVER)  # type: ignore[arg-type] # each word
        assert outcome.config is not None
        assert outcome.status == "accepted_with_changes"
        assert outcome.config.vad == VADConfig(**{name: applied})
        assert type(getattr(outcome.config.vad, name)) is type(applied)
        assert outcome.config.adjustments == (
            Adjustment(field=f"vad.{name}", requested=asked, applied=applied, reason=reason),
        )


OWN = VADConfig(
    enabled=False,
    silence_threshold_ms=900,
    min_speech_ms=400,
    threshold=0.7,
    ring_buffer_frames=8,
    speech_ratio=0.6,
    prefix_padding_ms=200,
)


def test_what_was_not_asked_for_is_the_servers() -> None:
    """Section 7, rule 5: values that a client leaves out are those of ``vad_defaults``."""
    offered = ProtocolCapabilities(vad_defaults=OWN)
    outcome = negotiate(ConfigRequest(vad=VADConfig(threshold=0.5, enabled=True)), offered)
    assert outcome.config is not None
    assert outcome.status == "accepted"
    assert outcome.config.vad == OWN.model_copy(update={"threshold": 0.5, "enabled": True})


def test_defaults_out_of_range_are_moved_without_a_word() -> None:
    """What a client did not ask for is no adjustment, but it is legal all the same."""
    offered = ProtocolCapabilities(vad_defaults=VADConfig(threshold=7.0, min_speech_ms=1))
    vad, adjustments = negotiate_vad(VADConfig(), offered)
    assert (vad, adjustments) == (VADConfig(threshold=1.0, min_speech_ms=100), [])


@pytest.mark.parametrize(
    "offered",
    [
        ProtocolCapabilities(vad_configurable=False, vad_defaults=OWN),
        ProtocolCapabilities(vad_parameters=(), vad_defaults=OWN),
        ProtocolCapabilities(vad_parameters=("volume", ""), vad_defaults=OWN),
    ],
)
def test_vad_that_cannot_be_configured_is_the_servers(offered: ProtocolCapabilities) -> None:
    """Section 7, rule 4: the server's value, and the code 3002 in the reason of each change."""
    asked = VADConfig(threshold=0.5, min_speech_ms=5000, speech_ratio=0.6)
    outcome = negotiate(ConfigRequest(vad=asked), offered)
    assert outcome.config is not None
    assert outcome.config.vad == OWN
    reason = "the server does not let clients set it (3002 vad_not_configurable)"
    assert outcome.config.adjustments == (
        Adjustment(field="vad.min_speech_ms", requested=5000, applied=400, reason=reason),
        Adjustment(field="vad.threshold", requested=0.5, applied=0.7, reason=reason),
    )


def test_only_listed_parameters_can_be_configured() -> None:
    """Section 7, rule 4: one that is not in ``vad_parameters`` is the server's."""
    offered = ProtocolCapabilities(vad_parameters=("threshold",))
    vad, adjustments = negotiate_vad(VADConfig(threshold=0.9, enabled=False), offered)
    assert vad == VADConfig(threshold=0.9)
    assert [(item.field, item.requested, item.applied) for item in adjustments] == [
        ("vad.enabled", False, True)
    ]


# --- one configuration ----------------------------------------------------------------------

MEDIA_SERVER = VADConfig(
    silence_threshold_ms=300, min_speech_ms=200, ring_buffer_frames=3, speech_ratio=0.4
)
AGENT = VADConfig(
    silence_threshold_ms=300, min_speech_ms=300, ring_buffer_frames=5, speech_ratio=0.5
)


def test_two_sides_that_differed_run_one_configuration() -> None:
    """The two sides of the audit, each with values of its own, have one digest once agreed."""
    assert config_digest(AudioConfig(), MEDIA_SERVER) != config_digest(AudioConfig(), AGENT)
    offered = ProtocolCapabilities(vad_defaults=AGENT)
    asked = negotiate(ConfigRequest(vad=MEDIA_SERVER), offered).config
    assert asked is not None
    assert asked.vad == MEDIA_SERVER
    told = NegotiatedConfig.model_validate_json(asked.model_dump_json())
    assert config_digest(told.audio, told.vad) == config_digest(asked.audio, asked.vad)
    left_open = negotiate(ConfigRequest(), offered).config
    assert left_open is not None
    assert left_open.vad == AGENT
