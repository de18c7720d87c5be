"""Audio to try a line with: a tone, or a file, as frames of a negotiated configuration."""

from __future__ import annotations

import math
import wave
from array import array
from pathlib import Path
from typing import Final

from palaver.errors import ConfigError
from palaver.protocols.asp.config import AudioConfig, AudioEncoding

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
    encoded = _encoded(samples, AudioEncoding(audio.encoding))
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


def _tone(seconds: float, audio: AudioConfig) -> array[int]:
    step = 2 * math.pi * _HERTZ / audio.sample_rate
    count = round(seconds * audio.sample_rate)
    return array("h", (round(_LOUDNESS * math.sin(step * n)) for n in range(count)))


def _file(source: str, audio: AudioConfig) -> array[int]:
    (rate, channels, width), data = _read(source, MAX_SECONDS)
    if (rate, channels, width) != (audio.sample_rate, 1, 2):
        raise ConfigError(
            f"--audio {source}: {rate} Hz, {8 * width} bits, channels: {channels}; "
            f"the session takes {audio.sample_rate} Hz, 16 bits, channels: 1"
        )
    return array("h", data)


def _read(source: str, seconds: float) -> tuple[tuple[int, int, int], bytes]:
    try:
        with wave.open(str(Path(source)), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            return (rate, channels, width), file.readframes(round(seconds * rate))
    except (OSError, EOFError, wave.Error) as error:
        why = str(error) or "it ends too early"
        raise ConfigError(f"--audio {source}: cannot be read as a WAV file: {why}") from None


def _encoded(samples: array[int], encoding: AudioEncoding) -> bytes:
    if encoding is AudioEncoding.PCM_S16LE:
        return samples.tobytes()
    spell = _mulaw if encoding is AudioEncoding.MULAW else _alaw
    known: dict[int, int] = {}
    for sample in samples:
        if sample not in known:
            known[sample] = spell(sample)
    return bytes(known[sample] for sample in samples)


def _mulaw(sample: int) -> int:
    """Return a sample in µ-law (G.711)."""
    sign = 0x80 if sample < 0 else 0
    size = min(abs(sample >> 2), 8_158) + 33
    exponent = size.bit_length() - 6
    return ~(sign | exponent << 4 | size >> (exponent + 1) & 0x0F) & 0xFF


def _alaw(sample: int) -> int:
    """Return a sample in A-law (G.711)."""
    sign = 0x80 if sample >= 0 else 0
    size = min(sample if sample >= 0 else ~sample, 32_767) >> 3
    exponent = max(0, size.bit_length() - 5)
    mantissa = size >> max(1, exponent) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55
