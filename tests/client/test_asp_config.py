"""What a media server asks for, fitted to what its server takes."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from palaver.client import AspClient, MediaServerConfigBuilder
from palaver.client.asp_config import ENVIRONMENT, read_setting
from palaver.errors import ConfigError, PeerRefused
from palaver.protocols.asp.config import (
    AudioConfig,
    AudioEncoding,
    Framing,
    ProtocolCapabilities,
    VADConfig,
)
from tests.client.asp_server import CAPABILITIES, asp_server

NARROW = ProtocolCapabilities(
    supported_sample_rates=(8_000,),
    supported_frame_durations=(20,),
    vad_parameters=("silence_threshold_ms", "threshold"),
    vad_defaults=VADConfig(min_speech_ms=150),
)


def test_nothing_set() -> None:
    """Without settings the defaults are asked for, and the server's own for voice detection."""
    builder = MediaServerConfigBuilder()
    request = builder.build(NARROW, session_id="s")
    assert request.session_id == "s"
    assert request.audio == AudioConfig()
    assert request.vad.min_speech_ms == 150
    assert builder.adjustments == ()
    assert builder.build(NARROW).session_id.startswith("call_")


def test_what_is_supported_stays() -> None:
    """Every step sets what it says; the call and its metadata go along."""
    request = (
        MediaServerConfigBuilder()
        .with_audio(sample_rate=16_000)
        .with_audio(encoding="mulaw", framing="asp16")
        .with_vad(threshold=0.6)
        .with_call_id("c1")
        .with_metadata(line=1)
        .with_metadata(source="sip")
        .build(CAPABILITIES)
    )
    assert request.audio == AudioConfig(
        sample_rate=16_000, encoding=AudioEncoding.MULAW, framing=Framing.ASP16
    )
    assert request.vad.threshold == 0.6
    assert (request.call_id, request.metadata) == ("c1", {"line": 1, "source": "sip"})


def test_what_is_not_supported_is_replaced_and_told() -> None:
    """Each value that the server does not take is replaced, kept in the list, and logged."""
    builder = (
        MediaServerConfigBuilder()
        .with_audio(sample_rate=16_000, encoding="alaw", frame_duration_ms=30)
        .with_vad(silence_threshold_ms=5_000, threshold=0.3, speech_ratio=0.7)
    )
    with capture_logs() as logs:
        request = builder.build(NARROW, session_id="s")
    assert request.audio == AudioConfig()
    assert request.vad.silence_threshold_ms == 2_000
    assert request.vad.threshold == 0.3
    assert request.vad.speech_ratio == 0.4
    fields = [
        "audio.sample_rate",
        "audio.encoding",
        "audio.frame_duration_ms",
        "vad.silence_threshold_ms",
        "vad.speech_ratio",
    ]
    assert [one.field for one in builder.adjustments] == fields
    assert [(line["event"], line["log_level"], line["field"]) for line in logs] == [
        ("asp_config_fitted", "warning", field) for field in fields
    ]
    assert logs[0]["session_id"] == "s"
    assert logs[0]["reason"] == "16000 is not supported; 8000 is the nearest that is"
    builder.with_audio(sample_rate=8_000, encoding="pcm_s16le", frame_duration_ms=20)
    builder.with_vad(silence_threshold_ms=500, speech_ratio=0.4).build(NARROW)
    assert builder.adjustments == ()


def test_offers() -> None:
    """Of several offers the first one is asked for that the server takes."""
    offers = [AudioConfig(sample_rate=48_000), AudioConfig(frame_duration_ms=10), AudioConfig()]
    builder = MediaServerConfigBuilder().with_offers(*offers)
    assert builder.build(CAPABILITIES).audio == offers[1]
    assert builder.build(CAPABILITIES).audio_offers == ()
    assert builder.build(NARROW).audio == offers[2]
    assert builder.build(None).audio_offers == tuple(offers)


def test_strict() -> None:
    """Where nothing may be replaced, what is not supported is refused before anything is sent."""
    builder = MediaServerConfigBuilder().with_audio(sample_rate=44_100).with_negotiation("strict")
    with pytest.raises(PeerRefused, match="44100 is not supported; supported: 8000") as refusal:
        builder.build(NARROW)
    assert refusal.value.code == 2001
    with pytest.raises(PeerRefused, match="supported: nothing"):
        MediaServerConfigBuilder().build(ProtocolCapabilities(supported_encodings=("opus",)))


def test_a_legacy_server_is_asked_for_what_was_set() -> None:
    """Where there are no capabilities nothing is fitted."""
    builder = MediaServerConfigBuilder().with_audio(sample_rate=16_000)
    assert builder.build(None).audio.sample_rate == 16_000
    assert builder.adjustments == ()


def test_from_a_mapping() -> None:
    """A file of settings has the same names."""
    request = MediaServerConfigBuilder.from_mapping(
        {
            "audio": {"sample_rate": 16_000, "framing": "asp16"},
            "vad": {"enabled": False},
            "audio_offers": [{"encoding": "alaw"}],
            "call_id": "c",
            "metadata": {"a": 1},
            "negotiation": "strict",
        }
    ).build(CAPABILITIES)
    assert request.audio == AudioConfig(encoding=AudioEncoding.ALAW)
    assert not request.vad.enabled
    assert (request.call_id, request.metadata, request.negotiation) == ("c", {"a": 1}, "strict")
    assert MediaServerConfigBuilder.from_mapping({}).build(None).metadata is None


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"adio": {}}, "adio: unknown; there are: audio, vad, audio_offers, call_id, "),
        ({"audio": []}, "audio: must be an object"),
        ({"audio": {"rate": 1}}, "audio.rate: unknown; there are: sample_rate, encoding, "),
        ({"audio": {"sample_rate": "8000"}}, "audio.sample_rate: must be an integer"),
        ({"vad": {"enabled": 1}}, "vad.enabled: must be true or false"),
        ({"vad": {"threshold": None}}, "vad.threshold: must be a number"),
        ({"audio_offers": {}}, "audio_offers: must be a list of objects"),
        ({"audio_offers": [7]}, "audio_offers.0: must be an object"),
        (
            {"audio_offers": [{}, {"channels": "1"}]},
            "audio_offers.1.channels: must be an integer",
        ),
        ({"call_id": 7}, "call_id: must be a string"),
        ({"call_id": "x" * 257}, "call_id: must have at most 256 characters"),
        ({"metadata": 7}, "metadata: must be an object"),
        ({"negotiation": "maybe"}, "negotiation: must be adjust or strict, not 'maybe'"),
    ],
)
def test_wrong_mappings(mapping: dict[str, Any], text: str) -> None:
    """An error names the key and says what is allowed."""
    with pytest.raises(ConfigError) as wrong:
        MediaServerConfigBuilder.from_mapping(mapping)
    assert str(wrong.value).startswith(text)


def test_from_the_environment() -> None:
    """Each value has a name in the environment; what is not there is not set."""
    assert set(ENVIRONMENT) == {
        "ASP_SAMPLE_RATE",
        "ASP_ENCODING",
        "ASP_FRAME_DURATION_MS",
        "ASP_FRAMING",
        "ASP_VAD_ENABLED",
        "ASP_VAD_SILENCE_THRESHOLD_MS",
        "ASP_VAD_MIN_SPEECH_MS",
        "ASP_VAD_THRESHOLD",
        "ASP_VAD_RING_BUFFER_FRAMES",
        "ASP_VAD_SPEECH_RATIO",
        "ASP_VAD_PREFIX_PADDING_MS",
    }
    request = MediaServerConfigBuilder.from_environment(
        {
            "ASP_SAMPLE_RATE": " 16000 ",
            "ASP_ENCODING": "mulaw",
            "ASP_VAD_ENABLED": "off",
            "ASP_VAD_SILENCE_THRESHOLD_MS": "700",
            "ASP_VAD_THRESHOLD": "0.75",
            "ASP_NEGOTIATION": "strict",
            "ASP_SOMETHING_ELSE": "1",
            "PATH": "/bin",
        }
    ).build(CAPABILITIES)
    assert request.audio == AudioConfig(sample_rate=16_000, encoding=AudioEncoding.MULAW)
    assert request.vad == VADConfig(enabled=False, silence_threshold_ms=700, threshold=0.75)
    assert request.negotiation == "strict"


@pytest.mark.parametrize(
    ("key", "text", "wrong"),
    [
        ("ASP_SAMPLE_RATE", "8k", "ASP_SAMPLE_RATE: must be an integer, not '8k'"),
        ("ASP_SAMPLE_RATE", "9" * 30, "ASP_SAMPLE_RATE: must be at most "),
        ("ASP_ENCODING", "x" * 40, "ASP_ENCODING: must be 'pcm_s16le', 'mulaw' or 'alaw'"),
        ("ASP_VAD_THRESHOLD", "nan", "ASP_VAD_THRESHOLD: must be a number, not 'nan'"),
        ("ASP_VAD_THRESHOLD", "", "ASP_VAD_THRESHOLD: must be a number, not ''"),
        ("ASP_VAD_ENABLED", "maybe", "ASP_VAD_ENABLED: must be true or false, not 'maybe'"),
        ("ASP_VAD_TRESHOLD", "1", "ASP_VAD_TRESHOLD: there is no such setting; there are: "),
        ("ASP_NEGOTIATION", "x", "ASP_NEGOTIATION: must be adjust or strict, not 'x'"),
    ],
)
def test_wrong_environments(key: str, text: str, wrong: str) -> None:
    """An error names the variable."""
    with pytest.raises(ConfigError) as error:
        MediaServerConfigBuilder.from_environment({key: text})
    assert str(error.value).startswith(wrong)


def test_a_setting_that_is_none() -> None:
    """A name that is no field is told with those that are."""
    with pytest.raises(ConfigError, match="volume: there is no such value; there are: enabled, "):
        read_setting(VADConfig, "volume", "11")


async def test_a_call_with_what_was_built() -> None:
    """The server has nothing to adjust in what was built for it."""
    async with (
        asp_server(capabilities=NARROW) as server,
        AspClient(server.url) as client,
    ):
        builder = MediaServerConfigBuilder().with_audio(sample_rate=44_100).with_vad(threshold=3.0)
        request = builder.build(client.capabilities)
        session = await client.start_session(request)
        assert session.config.adjustments == ()
        assert session.config.vad == request.vad
        assert len(builder.adjustments) == 2
