"""WAV files as people have them: every width, several channels, cut off, or no WAV at all."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from palaver.errors import ConfigError
from palaver.media.wave_file import read_wave, write_wave
from palaver.protocols.asp.config import AudioEncoding
from palaver.speech.audio import decode
from palaver.speech.detector import Samples

SAMPLES = np.array([0, 256, -256, 32_512, -32_768], np.int16)
EXTENDED = 0xFFFE


def header(
    tag: int = 1, channels: int = 1, rate_hz: int = 8_000, bits: int = 16, more: bytes = b""
) -> bytes:
    """Return a chunk with the format."""
    frame = channels * bits // 8
    body = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame, frame, bits) + more
    return chunk(b"fmt ", body)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """Return a chunk; ``size`` is what it promises, if not what it has."""
    if size is not None:
        return name + struct.pack("<I", size) + body
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    """Return a file of chunks."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def given_file(tmp_path: Path, content: bytes) -> Path:
    """Write a file, however broken."""
    path = tmp_path / "in.wav"
    path.write_bytes(content)
    return path


PCM = SAMPLES.astype("<i2").tobytes()
LONG = SAMPLES.astype("<i4") * 65_536


@pytest.mark.parametrize(
    ("form", "data", "heard"),
    [
        (header(bits=8), bytes([128, 129, 127, 255, 0]), SAMPLES),
        (header(bits=16), PCM, SAMPLES),
        (header(bits=24), b"".join(one.tobytes()[1:] for one in LONG), SAMPLES),
        (header(bits=32), LONG.tobytes(), SAMPLES),
        (header(tag=3, bits=32), (SAMPLES / np.float32(32_768)).astype("<f4").tobytes(), SAMPLES),
        (
            header(tag=3, bits=32),
            np.array([np.nan, np.inf, -np.inf, 7.5, -1.5, 0.5], "<f4").tobytes(),
            [0, 32_767, -32_768, 32_767, -32_768, 16_384],
        ),
        (header(tag=7, bits=8), bytes(range(9)), decode(bytes(range(9)), AudioEncoding.MULAW)),
        (header(tag=6, bits=8), bytes(range(9)), decode(bytes(range(9)), AudioEncoding.ALAW)),
        (
            header(tag=EXTENDED, more=struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)),
            PCM,
            SAMPLES,
        ),
    ],
    ids=["8", "16", "24", "32", "float", "wild floats", "mu-law", "A-law", "extended"],
)
def test_each_way_to_write_samples_is_read(
    tmp_path: Path, form: bytes, data: bytes, heard: Samples | list[int]
) -> None:
    """Each width and format gives the int16 samples that it stands for."""
    found = read_wave(given_file(tmp_path, riff(form, chunk(b"data", data))))

    assert found.samples.dtype == np.int16
    assert found.samples.tolist() == np.asarray(heard).tolist()
    assert (found.rate_hz, found.warnings) == (8_000, ())


@given(
    samples=arrays.arrays(np.int16, st.integers(1, 50), elements=st.integers(-32_768, 32_767)),
    rate_hz=st.integers(1_000, 192_000),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, samples: Samples, rate_hz: int
) -> None:
    """Samples and rate come back, through us and through Python's own reader."""
    path = tmp_path_factory.getbasetemp() / "again.wav"
    write_wave(path, samples, rate_hz)
    found = read_wave(path)
    with wave.open(str(path)) as file:
        theirs = file.readframes(file.getnframes()), file.getframerate(), file.getnchannels()

    assert (found.samples.tolist(), found.rate_hz) == (samples.tolist(), rate_hz)
    assert theirs == (samples.tobytes(), rate_hz, 1)
    assert found.seconds == len(samples) / rate_hz


def test_channels_are_mixed_and_it_is_said(tmp_path: Path) -> None:
    """Two channels become their mean, without wrapping."""
    both = np.array([[100, 300], [32_767, 32_767], [-32_768, -32_768], [5, -5]], "<i2").tobytes()
    found = read_wave(given_file(tmp_path, riff(header(channels=2), chunk(b"data", both))))

    assert found.samples.tolist() == [200, 32_767, -32_768, 0]
    assert found.warnings == ("its 2 channels were mixed into one",)


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    """What editors leave in a file, of odd size too, is no sound."""
    content = riff(
        chunk(b"LIST", b"INFOx"), header(), chunk(b"fact", b"1234"), chunk(b"data", PCM), b"more"
    )

    assert read_wave(given_file(tmp_path, content)).samples.tolist() == SAMPLES.tolist()


def test_a_file_that_was_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    """Where the header promises more, whole samples are taken and the rest is told."""
    content = riff(header(), chunk(b"data", bytes(8_001), size=32_000))
    found = read_wave(given_file(tmp_path, content))

    assert len(found.samples) == 4_000
    assert found.warnings == ("it ends after 0.50 s, though its header says 2.00 s",)


def test_a_recorder_into_a_pipe_cannot_know_the_size(tmp_path: Path) -> None:
    """The greatest size stands for all that follows: that is no damage."""
    content = riff(header(), chunk(b"data", PCM, size=0xFFFF_FFFF))
    found = read_wave(given_file(tmp_path, content))

    assert (found.samples.tolist(), found.warnings) == (SAMPLES.tolist(), ())


NOT_WAV = "is no WAV file: convert it, for example with: sox IN -b 16 OUT.wav"
NO_SOUND = "holds no sound: record or convert it again"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", NOT_WAV),
        (b"ID3\x04\x00\x00\x00\x00\x00", NOT_WAV),
        (b"RIFF\x00\x00\x00\x00AVI LIST", NOT_WAV),
        (riff(), "is damaged: its format is missing: record or convert it again"),
        (
            riff(chunk(b"data", PCM)),
            "is damaged: its format is missing: record or convert it again",
        ),
        (riff(chunk(b"fmt ", bytes(15))), "is damaged: its format is missing: record or"),
        (riff(header()), "is damaged: its sound is missing: record or convert it again"),
        (riff(header(), chunk(b"data", b"")), NO_SOUND),
        (riff(header(), chunk(b"data", b"\1", size=9_000)), NO_SOUND),
        (riff(header(tag=2, bits=4), chunk(b"data", PCM)), "4 bits in format 2 cannot be read: co"),
        (riff(header(tag=3, bits=64), chunk(b"data", PCM)), "64 bits in format 3 cannot be read"),
        (riff(header(tag=EXTENDED), chunk(b"data", PCM)), "16 bits in format 65534 cannot be read"),
        (riff(header(bits=0), chunk(b"data", PCM)), "0 bits in format 1 cannot be read"),
        (riff(header(channels=0), chunk(b"data", PCM)), "0 channels cannot be read, only 1-32"),
        (riff(header(channels=33), chunk(b"data", PCM)), "33 channels cannot be read, only 1-32"),
        (riff(header(rate_hz=0), chunk(b"data", PCM)), "0 Hz cannot be read, only 1000-192000 Hz"),
        (riff(header(rate_hz=192_001), chunk(b"data", PCM)), "192001 Hz cannot be read, only"),
        (riff(*[chunk(b"junk", b"")] * 1_001, header(), chunk(b"data", PCM)), "is damaged: its"),
        (
            riff(header(), chunk(b"data", bytes(8_002 * 2))),
            "is longer than 1 s: cut it, for example with: sox IN OUT.wav trim 0 1",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    """The error names the file, what is wrong with it, and what to do."""
    path = given_file(tmp_path, content)
    with pytest.raises(ConfigError) as error:
        read_wave(path, max_seconds=1.0)

    assert str(error.value).startswith(f"{path}: {why}")
    assert "\n" not in str(error.value)


@given(cut=st.integers(0, 60), junk=st.binary(max_size=30))
def test_any_damage_is_a_file_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes
) -> None:
    """A file with anything in place of its end gives samples, or one error of ours."""
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(riff(header(), chunk(b"data", PCM))[:cut] + junk)
    try:
        outcome = str(len(read_wave(path).samples))
    except ConfigError as error:
        outcome = str(error)

    assert outcome.startswith(f"{path}: ") or 0 < int(outcome) <= 30


def test_the_limit_is_the_time_and_not_the_promise(tmp_path: Path) -> None:
    """A file of exactly the limit is read; a lie about gigabytes costs no memory."""
    second = riff(header(), chunk(b"data", bytes(16_000), size=0xFFFF_FFF0))

    assert read_wave(given_file(tmp_path, second), max_seconds=1.0).seconds == 1.0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.wav", "cannot be read: No such file or directory: name a WAV file"),
        (".", "is no file: name a WAV file"),
        ("/dev/zero", "is no file: name a WAV file"),
    ],
)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str, why: str) -> None:
    """A place, a device, or nothing at all is an error at once."""
    path = tmp_path / name
    with pytest.raises(ConfigError) as error:
        read_wave(path)

    assert str(error.value) == f"{path}: {why}"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """Writing over a file leaves nothing else beside it; what failed leaves the old one."""
    path = tmp_path / "out.wav"
    write_wave(path, SAMPLES, 8_000)
    write_wave(path, SAMPLES[::-1], 16_000)
    with pytest.raises(ValueError, match=r"^samples must be int16 of one dimension, not"):
        write_wave(path, np.zeros(3), 8_000)  # type: ignore[arg-type]

    assert read_wave(path).samples.tolist() == SAMPLES[::-1].tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says where and why, and no part of a file stays."""
    (tmp_path / "folder").mkdir()
    for path, why in (
        (tmp_path / "none" / "out.wav", "No such file or directory"),
        (tmp_path / "folder", "Is a directory"),
    ):
        with pytest.raises(ConfigError) as error:
            write_wave(path, SAMPLES, 8_000)
        assert str(error.value) == f"{path}: cannot be written: {why}: choose another place"

    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
