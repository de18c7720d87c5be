"""The picture of a call."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from palaver.cli.timeline import check_timeline, draw_timeline
from palaver.errors import ConfigError
from palaver.media import happenings as happened
from palaver.media.call_record import CallRecord
from palaver.media.detection import detect
from palaver.media.happenings import Happening
from palaver.media.wave_file import write_wave
from palaver.protocols.asp.config import AudioConfig, NegotiatedConfig, VADConfig
from tests.cli.conftest import Run
from tests.media.scripted_call import Script, serving, tone

NOISE = np.random.default_rng(7)


def record(seconds: float = 3.0, vad: VADConfig | None = None, rate_hz: int = 8_000) -> CallRecord:
    """Return a call in which a noise is heard from 0.5 to 1.5 s, and a tone is the answer."""
    audio = AudioConfig(sample_rate=rate_hz)
    call = CallRecord(NegotiatedConfig(audio=audio, vad=vad or VADConfig()))
    size = audio.samples_per_frame
    answer = tone(rate_hz, 600).reshape(-1, size)
    for tick in range(round(seconds * 50)):
        loud = 25 <= tick < 75
        frame = NOISE.normal(0, 6_000 if loud else 3, size)
        call.hear(answer[tick - 100] if 100 <= tick < 130 else None)
        call.send(frame.astype(np.int16), tick * 0.02)
    return call


def note(call: CallRecord, at_ms: int, *happenings: Happening) -> None:
    """Have things happen at a time."""
    call.happenings += [(at_ms, one) for one in happenings]


def everything(call: CallRecord) -> CallRecord:
    """Have everything happen that is drawn."""
    note(
        call, 600, happened.SpeechStarted(500, confirmed=False),
        happened.SpeechStarted(None, confirmed=True),
    )  # fmt: skip
    note(call, 900, happened.SpeechEnded(500, 600, True, "too_short", 300))
    note(call, 2_000, happened.SpeechEnded(500, 1_500, False, "silence", 500))
    note(call, 2_000, happened.SpeechEnded(None, None, False, None, None))
    note(call, 1_800, happened.FileSent(1_800), happened.Committed())
    note(call, 2_000, happened.Transcribed("user", "what is $x^2$ worth \x1b now? " * 4, True))
    note(call, 2_000, happened.Transcribed("agent", "é 漢字 ok", True))
    note(call, 2_010, happened.ResponseBegun("r1", "some"), happened.ResponseBegun(None, ""))
    note(call, 2_300, happened.PlaybackHeld(False), happened.PlaybackHeld(True))
    note(call, 2_400, happened.PlaybackResumed())
    note(call, 2_500, happened.ResponseEnded("r1", True, "barge_in", 400))
    note(call, 2_500, happened.MarkReported("m1", "cleared", 400))
    note(call, 2_500, happened.MarkReported("m2", "played", 400))
    return call


def test_everything_that_can_happen(tmp_path: Path) -> None:
    """A picture of a call is large enough, has both waveforms, and is not empty anywhere."""
    path = tmp_path / "call.png"
    draw_timeline(path, everything(record()), detector="energy")
    picture = imread(path)[:, :, :3].mean(axis=2)
    height, width = picture.shape
    assert (height, width) == (888, 1_680)
    for row in range(3):
        part = picture[row * height // 3 : (row + 1) * height // 3]
        assert (part < 0.5).mean() > 0.004


def test_the_waveforms_are_where_they_were(tmp_path: Path) -> None:
    """What was said stands above, what was heard below, each at its time."""
    path = tmp_path / "call.png"
    draw_timeline(path, record(4.0), detector="energy")
    picture = imread(path)
    blue = picture[:, :, 2] - picture[:, :, 0] > 0.2
    brown = picture[:, :, 0] - picture[:, :, 2] > 0.2
    height, width = blue.shape
    assert not blue[height // 2 :].any()
    assert not brown[: height // 2].any()
    tall = [
        np.flatnonzero(colour.sum(axis=0) > 20) / width * 4 for colour in (blue, brown)
    ]  # seconds, but for the margins
    assert tall[0].min() == pytest.approx(0.5, abs=0.2)
    assert tall[0].max() == pytest.approx(1.5, abs=0.2)
    assert tall[1].min() == pytest.approx(2.0, abs=0.2)
    assert tall[1].max() == pytest.approx(2.6, abs=0.2)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_call_in_which_nothing_happened(tmp_path: Path, suffix: str) -> None:
    """A call that broke at once, or had detection off, has its picture too."""
    for number, call in enumerate((record(0.0), record(0.1, VADConfig(enabled=False)))):
        path = tmp_path / f"{number}{suffix}"
        draw_timeline(path, call)
        assert path.stat().st_size > 1_000


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is gone since it was looked at is named."""
    with pytest.raises(ConfigError, match=r"--timeline .*gone.*: cannot be written: No such file"):
        draw_timeline(tmp_path / "gone" / "call.png", record(0.1), detector="energy")


def test_a_name_that_is_none() -> None:
    """Only pictures that can be drawn are promised."""
    check_timeline("a.PNG")
    with pytest.raises(ConfigError, match=r"--timeline a\.gif: must end in \.png, \.svg, \.pdf"):
        check_timeline("a.gif")


def test_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib, what to install is said before anybody is called."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'palaver\[timeline\]'"):
        check_timeline("a.png")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_detection(rate_hz: int) -> None:
    """Our own detector finds the noise where it is, by the negotiated values."""
    found = detect(record(rate_hz=rate_hz), "energy")
    assert found is not None
    (speech,) = found.spans
    assert not speech.discarded
    assert speech.start_ms == pytest.approx(500, abs=100)
    assert speech.end_ms == pytest.approx(1_500, abs=100)
    assert speech.decided_ms - speech.end_ms == pytest.approx(500, abs=60)
    assert len(found.times) == len(found.probabilities)
    assert 0 <= min(found.probabilities) <= max(found.probabilities) <= 1
    assert found.times[-1] == pytest.approx(3.0, abs=0.1)


def test_detection_is_off() -> None:
    """Where nothing was to be detected, nothing is."""
    assert detect(record(vad=VADConfig(enabled=False)), "energy") is None


def test_the_command_draws_one(run: Run, tmp_path: Path) -> None:
    """``palaver talk --timeline`` leaves a picture of the call, also of one without an answer."""
    write_wave(tmp_path / "said.wav", tone(8_000, 300), 8_000)
    with serving(Script()) as host:
        args = ("talk", f"127.0.0.1:{host.port}", "said.wav", "--fast", "--give-up-after", "0.3")
        ended = run(*args, "--timeline", "call.png")
    assert ended.code == 1
    assert imread(tmp_path / "call.png").shape[:2] == (888, 1_680)
