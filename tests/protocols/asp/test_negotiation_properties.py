"""Negotiation holds what it promises for any request to any server (spec §7)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from palaver.protocols.asp.config import (
    FRAME_DURATIONS_MS,
    SAMPLE_RATES_HZ,
    VAD_RANGES,
    AudioConfig,
    AudioEncoding,
    NegotiatedConfig,
    ProtocolCapabilities,
    VADConfig,
    config_digest,
)
from palaver.protocols.asp.negotiation import (
    ConfigRequest,
    ConfigValidator,
    SessionNegotiator,
    negotiate,
    negotiate_vad,
)
from tests.protocols.asp.strategies import built, capabilities, requests, unhurried


@unhurried
@given(requests, capabilities)
def test_negotiation_is_total(request: ConfigRequest, offered: ProtocolCapabilities) -> None:
    """Any request to any server is accepted with a configuration, or rejected with reasons."""
    outcome = negotiate(request, offered)
    assert (outcome.config is None) is bool(outcome.errors)
    assert outcome.status in {"accepted", "accepted_with_changes", "rejected"}


@unhurried
@given(requests, capabilities)
def test_negotiation_is_idempotent(request: ConfigRequest, offered: ProtocolCapabilities) -> None:
    """Who asks for what was negotiated gets it, with nothing to adjust."""
    config = negotiate(request, offered).config
    if config is None:
        return
    again = negotiate(ConfigRequest(audio=config.audio, vad=config.vad), offered)
    assert again.status == "accepted"
    assert again.config == NegotiatedConfig(audio=config.audio, vad=config.vad)


@unhurried
@given(requests, capabilities)
def test_negotiation_never_leaves_the_capabilities(
    request: ConfigRequest, offered: ProtocolCapabilities
) -> None:
    """Each value of a result is legal, and one that the server lists or has as its own."""
    config = negotiate(request, offered).config
    if config is None:
        return
    audio, vad = config.audio, config.vad
    assert audio.validate() == vad.validate() == []
    assert audio.sample_rate in set(offered.supported_sample_rates) & set(SAMPLE_RATES_HZ)
    assert audio.encoding in set(offered.supported_encodings) & set(AudioEncoding)
    assert audio.frame_duration_ms in set(offered.supported_frame_durations) & set(
        FRAME_DURATIONS_MS
    )
    assert (audio.framing or "hash12") in offered.supported_framings
    fixed = set(VADConfig.model_fields) - set(
        offered.vad_parameters if offered.vad_configurable else ()
    )
    own = negotiate_vad(VADConfig(), offered)[0]
    for name in fixed:
        assert getattr(vad, name) == getattr(own, name)


@unhurried
@given(requests, capabilities)
def test_every_change_is_told(request: ConfigRequest, offered: ProtocolCapabilities) -> None:
    """What was asked for is run, or stands in ``adjustments`` with what is run instead."""
    config = negotiate(request, offered).config
    if config is None:
        return
    told = {item.field: (item.requested, item.applied) for item in config.adjustments}
    assert len(told) == len(config.adjustments)
    for name in request.vad.model_fields_set:
        asked, run = getattr(request.vad, name), getattr(config.vad, name)
        assert told.pop(f"vad.{name}", (asked, asked)) == (asked, run)
    offers = request.offers or (request.audio,)
    if config.audio not in offers:
        for name in AudioConfig.model_fields:
            asked, run = getattr(offers[0], name), getattr(config.audio, name)
            assert told.pop(f"audio.{name}", (asked, asked)) == (asked, run)
    assert told == {}


@unhurried
@given(requests, capabilities)
def test_the_two_other_names_agree(request: ConfigRequest, offered: ProtocolCapabilities) -> None:
    """``ConfigValidator`` and ``SessionNegotiator`` say what ``negotiate`` says."""
    outcome = negotiate(request, offered)
    found = ConfigValidator.negotiate(request, offered)
    assert found == (outcome.errors if outcome.config is None else outcome.config)
    assert SessionNegotiator.negotiate(request, offered) == (
        outcome.config is not None,
        outcome.config,
    )


@unhurried
@given(requests)
def test_ranges_hold_for_any_request(request: ConfigRequest) -> None:
    """A server that lets everything be configured moves each value into its range, no further."""
    vad, _ = negotiate_vad(request.vad, ProtocolCapabilities())
    for name, (least, most) in VAD_RANGES.items():
        asked = getattr(request.vad, name)
        assert getattr(vad, name) == min(max(asked, least), most)


@unhurried
@given(st.data(), st.sampled_from([*AudioConfig.model_fields, *VADConfig.model_fields]))
def test_a_side_that_runs_one_other_value_is_found_out(data: st.DataObject, name: str) -> None:
    """Any one field that differs from what was negotiated gives another digest."""
    request = ConfigRequest(vad=data.draw(built(VADConfig)))
    config = negotiate(request, ProtocolCapabilities()).config
    assert config is not None
    audio, vad = config.audio, config.vad
    model = AudioConfig if name in AudioConfig.model_fields else VADConfig
    other = getattr(data.draw(built(model)), name)
    changed = (
        (audio.model_copy(update={name: other}), vad)
        if model is AudioConfig
        else (audio, vad.model_copy(update={name: other}))
    )
    before = getattr(audio if model is AudioConfig else vad, name)
    differs = config_digest(*changed) != config_digest(audio, vad)
    if isinstance(before, float):
        assert differs is (round(before * 1e6) != round(other * 1e6))
    elif name == "framing":
        assert differs is ((other or "hash12") != "hash12")
    else:
        assert differs is (before != other)
