"""WAV files: what people have at hand, read as mono int16; and written so that no half file stays.

Python's ``wave`` would read linear PCM only, refuse the extended header that recorders write for
24 bits, and believe each size that a header promises: so the reading is done here.
"""

from __future__ import annotations

import secrets
import struct
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from palaver.errors import ConfigError
from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.audio import decode
from palaver.speech.detector import Samples
from palaver.speech.resample import MAX_RATE_HZ, MIN_RATE_HZ

__all__ = ["MAX_SECONDS", "WaveFile", "read_wave", "write_wave"]

MAX_SECONDS: Final = 600.0
"""The longest file that is read unless more is asked for (s)."""

_MAX_CHUNKS: Final = 1_000
_MAX_CHANNELS: Final = 32
_UNKNOWN_SIZE: Final = 0xFFFF_FFFF
"""What a writer into a pipe gives as the size of its data: up to the end."""

_LINEAR, _FLOAT, _ALAW, _MULAW, _EXTENDED = 1, 3, 6, 7, 0xFFFE
_FORMATS: Final = {
    (_LINEAR, 8), (_LINEAR, 16), (_LINEAR, 24), (_LINEAR, 32), (_FLOAT, 32), (_ALAW, 8), (_MULAW, 8)
}  # fmt: skip
_CONVERT: Final = "convert it, for example with: sox IN -b 16 OUT.wav"


@dataclass(frozen=True, slots=True)
class WaveFile:
    """The audio of a file: mono, int16, at ``rate_hz``; and in what it is not what was recorded."""

    samples: Samples = field(repr=False)
    rate_hz: int
    warnings: tuple[str, ...] = ()
    """In words: that channels were mixed, that the file ends before its header says."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate_hz


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    rate_hz: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def read_wave(path: str | Path, *, max_seconds: float = MAX_SECONDS) -> WaveFile:
    """Return the audio of a WAV file.

    Linear PCM of 8, 16, 24 or 32 bits, floats of 32, and G.711 are read; channels are mixed.

    Raises:
        ConfigError: it is none of these, longer than ``max_seconds``, holds no sound, or cannot be
            read; the text says what to do.

    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: is no file: name a WAV file")
    try:
        with path.open("rb") as file:
            return _read(path, file, max_seconds)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {why}: name a WAV file") from None


def write_wave(path: str | Path, samples: Samples, rate_hz: int) -> None:
    """Write mono int16 samples as a WAV file; what was there stays until all is written.

    Raises:
        ConfigError: it cannot be written there.
        ValueError: the samples are no int16 in one dimension.

    """
    if samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(
            f"samples must be int16 of one dimension, not {samples.dtype} of {samples.ndim}"
        )
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("xb") as raw, wave.open(raw, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(rate_hz)
                file.writeframes(samples.astype("<i2", copy=False).tobytes())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be written: {why}: choose another place") from None


def _read(path: Path, file: BinaryIO, max_seconds: float) -> WaveFile:
    riff, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if (riff, kind) != (b"RIFF", b"WAVE"):
        raise ConfigError(f"{path}: is no WAV file: {_CONVERT}")
    audio: _Format | None = None
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if audio is None:
                break
            return _data(path, file, size, audio, max_seconds)
        next_chunk = file.tell() + size + size % 2
        if name == b"fmt ":
            audio = _format(path, file.read(min(size, 40)))
        file.seek(next_chunk)
    what = "its format" if audio is None else "its sound"
    raise ConfigError(f"{path}: is damaged: {what} is missing: record or convert it again")


def _format(path: Path, chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise ConfigError(f"{path}: is damaged: its format is missing: record or convert it again")
    tag, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == _EXTENDED and len(chunk) == 40:
        (tag,) = struct.unpack("<H", chunk[24:26])
    if (tag, bits) not in _FORMATS:
        raise ConfigError(f"{path}: {bits} bits in format {tag} cannot be read: {_CONVERT}")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ConfigError(
            f"{path}: {rate_hz} Hz cannot be read, only {MIN_RATE_HZ}-{MAX_RATE_HZ} Hz: "
            "convert it, for example with: sox IN -r 16000 OUT.wav"
        )
    if not 1 <= channels <= _MAX_CHANNELS:
        raise ConfigError(
            f"{path}: {channels} channels cannot be read, only 1-{_MAX_CHANNELS}: "
            "convert it, for example with: sox IN -c 1 OUT.wav"
        )
    return _Format(tag, channels, rate_hz, bits)


def _data(path: Path, file: BinaryIO, size: int, audio: _Format, max_seconds: float) -> WaveFile:
    most = int(max_seconds * audio.rate_hz) * audio.frame_bytes
    data = file.read(min(size, most + audio.frame_bytes))
    if len(data) > most:
        raise ConfigError(
            f"{path}: is longer than {max_seconds:g} s: "
            f"cut it, for example with: sox IN OUT.wav trim 0 {max_seconds:g}"
        )
    whole = len(data) // audio.frame_bytes * audio.frame_bytes
    if not whole:
        raise ConfigError(f"{path}: holds no sound: record or convert it again")
    warnings = []
    if len(data) < size != _UNKNOWN_SIZE:
        promised = size / audio.frame_bytes / audio.rate_hz
        there = whole / audio.frame_bytes / audio.rate_hz
        warnings.append(f"it ends after {there:.2f} s, though its header says {promised:.2f} s")
    samples = _samples(data[:whole], audio)
    if audio.channels > 1:
        warnings.append(f"its {audio.channels} channels were mixed into one")
        mixed = samples.reshape(-1, audio.channels).mean(axis=1, dtype=np.float64)
        samples = np.rint(mixed).astype(np.int16)
    return WaveFile(samples, audio.rate_hz, tuple(warnings))


def _samples(data: bytes, audio: _Format) -> Samples:
    """Return the samples of all channels, one after the other, as int16."""
    if audio.tag == _MULAW:
        return decode(data, AudioEncoding.MULAW)
    if audio.tag == _ALAW:
        return decode(data, AudioEncoding.ALAW)
    if audio.tag == _FLOAT:
        return _from_floats(np.frombuffer(data, "<f4"))
    if audio.bits == 8:  # the only width without a sign
        return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8
    # Little endian: the loudest two bytes of a sample are its last.
    width = audio.bits // 8
    loud = np.frombuffer(data, np.uint8).reshape(-1, width)[:, width - 2 :]
    return decode(loud.tobytes(), AudioEncoding.PCM_S16LE)


def _from_floats(floats: NDArray[np.float32]) -> Samples:
    scaled = np.nan_to_num(floats, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float64) * 32_768
    return np.clip(np.rint(scaled), -32_768, 32_767).astype(np.int16)
