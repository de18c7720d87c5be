"""The engines by name, and what is said at the start of what calls would lack."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from palaver.agents.demo import agent as demo
from palaver.engine.agent import Agent
from palaver.errors import ConfigError
from palaver.providers.openai_speech import OpenAiSpeech
from palaver.providers.openai_transcription import OpenAiTranscription
from palaver.providers.piper import PiperSpeech
from palaver.speech.open import EngineNames, open_engines


def warnings(names: EngineNames, *agents: Agent) -> list[str]:
    """Return the events that are logged while engines are opened."""
    with capture_logs() as lines:
        open_engines(names, agents)
    return [str(line["event"]) for line in lines if line["log_level"] == "warning"]


def test_an_agent_that_understands_nothing_is_named() -> None:
    """Without phrases the offline recogniser has nothing to compare with; others need none."""
    silent = Agent("silent")
    api = EngineNames(hears="openai", openai_base_url="http://h/v1", openai_transcription_model="m")
    assert warnings(EngineNames(), silent) == ["voice_no_phrases"]
    assert warnings(EngineNames(), demo) == []
    assert warnings(api, silent) == []


def test_what_is_not_installed_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first caller should not have to find out."""
    monkeypatch.setattr("palaver.speech.open.installed", lambda: False)
    assert warnings(EngineNames(), demo) == ["voice_not_ready"]


def test_engines_by_name() -> None:
    """Each name stands for its engine; what it needs must be set."""
    api = {"openai_base_url": "http://h/v1", "openai_speech_model": "s"}
    heard = open_engines(
        EngineNames(hears="openai", speaks="openai", openai_transcription_model="t", **api), ()
    )
    assert isinstance(heard.hears, OpenAiTranscription)
    assert isinstance(heard.speaks, OpenAiSpeech)
    piper = open_engines(EngineNames(speaks="piper", piper_voice="voice.onnx"), ())
    assert isinstance(piper.speaks, PiperSpeech)
    with pytest.raises(ConfigError, match="voice_piper_voice: must be set"):
        open_engines(EngineNames(speaks="piper"), ())
