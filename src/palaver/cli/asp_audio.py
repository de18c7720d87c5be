"""Audio to try a line with: a tone, or a file, as frames of a negotiated configuration."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Final

import numpy as np

from palaver.errors import ConfigError
from palaver.protocols.asp.config import AudioConfig, AudioEncoding
from palaver.speech.audio import decode, encode
from palaver.speech.detector import Samples

__all__ = ["MAX_SECONDS", "check_source", "frames_of"]

MAX_SECONDS: Final = 600.0
_HERTZ: Final = 440.0
_LOUDNESS: Final = 8_000


def frames_of(source: str, audio: AudioConfig) -> list[bytes]:
    """Return the frames of a tone of ``source`` seconds, or of the WAV file of that name.

    Raises:
        ConfigError: it is neither, or not of the session's sample rate.

    """
    seconds = _number(source)
    samples = _file(source, audio) if seconds is None else _tone(seconds, audio)
    encoded = encode(samples, AudioEncoding(audio.encoding))
    size = audio.bytes_per_frame
    whole = len(encoded) // size * size
    return [encoded[start : start + size] for start in range(0, whole, size)]


def check_source(source: str) -> None:
    """See that ``source`` is a number of seconds, or a WAV file.

    Raises:
        ConfigError: it is neither.

    """
    if _number(source) is None:
        _read(source, 0.0)


def _number(source: str) -> float | None:
    try:
        seconds = float(source)
    except ValueError:
        return None
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"--audio {source}: must be a file, or up to {MAX_SECONDS:g} seconds")
    return seconds


def _tone(seconds: float, audio: AudioConfig) -> Samples:
    at = np.arange(round(seconds * audio.sample_rate)) / audio.sample_rate
    tone: Samples = np.rint(_LOUDNESS * np.sin(2 * np.pi * _HERTZ * at)).astype(np.int16)
    return tone


def _file(source: str, audio: AudioConfig) -> Samples:
    (rate, channels, width), data = _read(source, MAX_SECONDS)
    if (rate, channels, width) != (audio.sample_rate, 1, 2):
        raise ConfigError(
            f"--audio {source}: {rate} Hz, {8 * width} bits, channels: {channels}; "
            f"the session takes {audio.sample_rate} Hz, 16 bits, channels: 1"
        )
    whole = len(data) // 2 * 2  # a file that was cut off may end within a sample
    return decode(data[:whole], AudioEncoding.PCM_S16LE)


def _read(source: str, seconds: float) -> tuple[tuple[int, int, int], bytes]:
    try:
        with wave.open(str(Path(source)), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            return (rate, channels, width), file.readframes(round(seconds * rate))
    except (OSError, EOFError, wave.Error) as error:
        why = str(error) or "it ends too early"
        raise ConfigError(f"--audio {source}: cannot be read as a WAV file: {why}") from None
