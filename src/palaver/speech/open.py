"""The engines of speech by name, as the settings have them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from palaver.engine.agent import Agent
from palaver.errors import ConfigError
from palaver.providers.espeak import EspeakSpeech, installed
from palaver.providers.faster_whisper import WhisperRecogniser
from palaver.providers.interfaces import SpeechToText, TextToSpeech
from palaver.providers.openai_endpoint import OpenAiOptions
from palaver.providers.openai_speech import OpenAiSpeech
from palaver.providers.openai_transcription import OpenAiTranscription
from palaver.providers.piper import PiperSpeech
from palaver.providers.vocabulary import VocabularyRecogniser

__all__ = ["EngineNames", "Engines", "open_engines"]

_log = structlog.get_logger("palaver.voice")


@dataclass(frozen=True, slots=True)
class Engines:
    """One to hear and one to speak; ``also`` are those that these use, and that are closed too."""

    hears: SpeechToText
    speaks: TextToSpeech
    also: tuple[TextToSpeech, ...] = ()

    async def close(self) -> None:
        """Close all of them."""
        speaking = (self.speaks, *self.also)
        closing = [self.hears.close(), *(engine.close() for engine in speaking)]
        await asyncio.gather(*closing, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNames:
    """Which engines, and where they are; the fields are the settings of that name (``voice_…``)."""

    hears: Literal["vocabulary", "openai", "whisper"] = "vocabulary"
    speaks: Literal["espeak", "openai", "piper"] = "espeak"
    openai_base_url: str = ""
    openai_api_key: str = ""
    openai_transcription_model: str = ""
    openai_speech_model: str = ""
    openai_voice: str = ""
    whisper_model: str = ""
    piper_voice: str = ""


def open_engines(names: EngineNames, agents: Sequence[Agent]) -> Engines:
    """Return the engines; nothing is loaded or started before they are opened.

    Raises:
        ConfigError: a setting that the engine needs is missing.

    """
    espeak = EspeakSpeech()
    _warn(names, agents)
    return Engines(_hears(names, agents, espeak), _speaks(names, espeak), (espeak,))


def _warn(names: EngineNames, agents: Sequence[Agent]) -> None:
    """Say at the start what calls would lack: the first caller should not have to find out."""
    if (names.hears == "vocabulary" or names.speaks == "espeak") and not installed():
        _log.warning("voice_not_ready", reason="install palaver[espeak] or espeak-ng")
    if names.hears == "vocabulary":
        silent = [agent.id for agent in agents if not agent.phrases]
        if silent:
            _log.warning("voice_no_phrases", agents=silent, reason="nothing said is understood")


def _hears(names: EngineNames, agents: Sequence[Agent], espeak: EspeakSpeech) -> SpeechToText:
    if names.hears == "openai":
        return OpenAiTranscription(_openai(names, names.openai_transcription_model))
    if names.hears == "whisper":
        model = _needed(names.whisper_model, "whisper_model")
        return WhisperRecogniser(model, compute_type="int8")
    phrases = [phrase for agent in agents for phrase in agent.phrases]
    return VocabularyRecogniser(phrases, espeak.unlike_voices())


def _speaks(names: EngineNames, espeak: EspeakSpeech) -> TextToSpeech:
    if names.speaks == "openai":
        options = _openai(names, names.openai_speech_model)
        return OpenAiSpeech(options, names.openai_voice)
    if names.speaks == "piper":
        return PiperSpeech(_needed(names.piper_voice, "piper_voice"))
    return espeak


def _openai(names: EngineNames, model: str) -> OpenAiOptions:
    base_url = _needed(names.openai_base_url, "openai_base_url")
    return OpenAiOptions(base_url=base_url, model=model, api_key=names.openai_api_key)


def _needed(value: str, name: str) -> str:
    if not value:
        raise ConfigError(f"voice_{name}: must be set for the engine that is to hear or speak")
    return value
