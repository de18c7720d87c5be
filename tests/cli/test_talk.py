"""``palaver talk``: a call with a file, as people and programs see it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palaver.media.wave_file import read_wave, write_wave
from palaver.protocols.asp.call import Call
from palaver.server.asp_echo import EchoTest
from tests.cli.conftest import Ended, Run
from tests.media.scripted_call import (
    Script,
    begin,
    each,
    end,
    mark,
    say,
    say_slowly,
    serving,
    silence,
    speech,
    tone,
)
from tests.server.asp_host import Host


def words(role: Any, text: str, *, final: bool = True) -> Callable[[Call], None]:
    """Send a transcript."""

    def act(call: Call) -> None:
        call.session.report_transcript(role, text, call.now(), final=final, task_id="task_7")

    return act


def answering() -> Script:
    """Return a server that hears 300 ms of speech, and answers in tone and word."""
    return Script(
        [
            (60, speech(20, confirmed=False)),
            (280, speech(20, confirmed=True)),
            (
                800,
                each(
                    silence(20, 300),
                    words("user", "what time is it"),
                    begin("It is"),
                    words("agent", "It is", final=False),
                    words("agent", "It is\x1b[2J noon"),
                    say(200),
                    mark,
                    end(),
                ),
            ),
        ]
    )


@pytest.fixture
def spoken(tmp_path: Path) -> str:
    """Return a file of 300 ms at 16 kHz."""
    write_wave(tmp_path / "said.wav", tone(16_000, 300, 300.0), 16_000)
    return "said.wav"


def lines(ended: Ended) -> list[dict[str, Any]]:
    """Return what a program reads."""
    return [json.loads(line) for line in ended.out.splitlines()]


def test_text(run: Run, spoken: str) -> None:
    """People read what was agreed, what was said on both sides, and how long it took."""
    with serving(answering()) as host:
        ended = run("talk", f"ws://127.0.0.1:{host.port}", spoken, "--fast", "--vad", "threshold=2")
    assert (ended.code, ended.err) == (0, "")
    for text in (
        f"ws://127.0.0.1:{host.port}/asp\n",
        "audio: 8000 Hz, pcm_s16le, 20 ms, asp16\n",
        "vad.threshold: 1.0, not 2.0: ",
        "speech at 0.02 s\n",
        "speech at 0.02 s: confirmed\n",
        "end of speech at 0.30 s, decided ",
        f"task task_7 (follow it: palaver call http://127.0.0.1:{host.port} --task task_7)",
        "you: what time is it\n",
        "agent: It is�[2J noon\n",
        "answered: the answer is complete\n",
        "received 0.20 s, played 0.20 s, cleared 0.00 s\n",
    ):
        assert text in ended.out
    assert ended.out.count("agent: ") == 1  # the piece was taken the place of
    assert ended.out.count("task_7 (") == 1
    assert "\x1b" not in ended.out


def test_json(run: Run, spoken: str, tmp_path: Path) -> None:
    """Programs read one object a line, with the time of the call, and a summary at the end."""
    with serving(answering()) as host:
        args = ("talk", f"ws://127.0.0.1:{host.port}", spoken, "--fast", "--json")
        ended = run(*args, "--save", "out.wav", "--language", "pt-BR")
    assert (ended.code, ended.err) == (0, "")
    found = lines(ended)
    assert [one["type"] for one in found if one["type"] != "file.sent"] == [
        "negotiated", "audio.speech_start", "audio.speech_start", "audio.speech_end", "transcript",
        "response.start", "transcript", "transcript", "audio.first", "response.end",
        "playback.mark", "call.ended", "summary",
    ]  # fmt: skip
    assert [one["t_ms"] for one in found] == sorted(one["t_ms"] for one in found)
    assert found[0]["config"]["audio"]["sample_rate"] == 8_000
    summary = found[-1]
    assert (summary["outcome"], summary["played_ms"], summary["cleared_ms"]) == ("answered", 200, 0)
    assert summary["frames_sent"] * 20 == summary["duration_ms"] == summary["t_ms"]
    (turn,) = summary["turns"]
    assert summary["first_audio_ms"] == turn["first_audio_ms"] >= turn["decided_after_ms"] >= 0
    (response,) = summary["responses"]
    assert (response["response_id"], response["interrupted"]) == ("r1", False)
    assert summary["saved"] == "out.wav"
    saved = read_wave(tmp_path / "out.wav")
    assert (saved.rate_hz, saved.samples.tolist()) == (8_000, tone(8_000, 200).tolist())


def test_what_is_kept_starts_and_ends_with_sound(run: Run, spoken: str, tmp_path: Path) -> None:
    """Silence is kept where it was heard between two answers, not before or behind them."""
    script = Script(
        [
            (100, each(begin("one"), say(200), end())),
            (900, each(begin("two"), say(200), end())),
        ]
    )
    with serving(script) as host:
        args = ("talk", f"ws://127.0.0.1:{host.port}", spoken, "--save", "out.wav", "--rate")
        assert run(*args, "16000", "--frame-ms", "10").code == 0
    saved = read_wave(tmp_path / "out.wav")
    assert saved.rate_hz == 16_000
    sound = np.flatnonzero(saved.samples)
    assert sound[0] <= 1  # a tone begins with a zero
    assert len(saved.samples) - sound[-1] <= 2
    assert 0.6 < saved.seconds < 1.6
    assert not saved.samples[3_200:6_400].any()


def test_no_answer(run: Run, spoken: str, tmp_path: Path) -> None:
    """Without an answer the exit code is 1, and nothing is written over what was kept before."""
    (tmp_path / "out.wav").write_text("before")
    with serving(Script()) as host:
        args = ("talk", f"127.0.0.1:{host.port}", spoken, "--save", "out.wav")
        ended = run(*args, "--give-up-after", "0.3", "--fast")
    why = "palaver: no answer for 0.3 s; the server has told of no speech: either it found none, "
    assert (ended.code, ended.err) == (1, f"{why}or it takes calls in silence (voice = false)\n")
    assert "unanswered: no answer for 0.3 s\n" in ended.out
    assert (tmp_path / "out.wav").read_text() == "before"


def test_nothing_is_understood(run: Run, spoken: str) -> None:
    """An answer that only says that nothing was understood is exit code 1, and is heard."""
    acts = (begin("Pardon?"), words("agent", "Pardon?"), say(100), end())
    script = Script([(100, each(speech(0, confirmed=True), silence(0, 90), *acts))])
    with serving(script) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", spoken, "--fast")
    assert ended.code == 1
    assert "agent: Pardon?\n" in ended.out
    assert "not understood: the answer is complete\n" in ended.out
    assert ended.err == "palaver: the server has understood nothing of what was said\n"


def test_a_rate_that_the_server_does_not_take(run: Run, spoken: str) -> None:
    """The refusal says what is supported, for people and for programs; exit code 4."""
    text = "audio.sample_rate: 48000 is not supported; supported: 8000, 16000"
    with serving(answering()) as host:
        args = ("talk", f"127.0.0.1:{host.port}", spoken, "--rate", "48000")
        ended = run(*args)
        assert (ended.code, ended.out, ended.err) == (4, "", f"palaver: {text} (code 2001)\n")
        (error,) = lines(run(*args, "--json"))
    assert (error["type"], error["result"], error["code"]) == ("error", "refused", 2001)
    assert error["errors"][0]["details"]["supported"] == [8_000, 16_000]


def test_nobody_is_there(run: Run, spoken: str) -> None:
    """A server that cannot be reached is exit code 3."""
    ended = run("talk", "ws://127.0.0.1:1", spoken, "--give-up-after", "0.2")
    assert ended.code == 3
    assert ended.err.startswith("palaver: ws://127.0.0.1:1/asp does not answer")


def test_the_server_stops_in_the_middle(run: Run, spoken: str, tmp_path: Path) -> None:
    """What was heard until then is kept; exit code 3."""
    hosts: list[Host] = []

    def stop(_: Call) -> None:
        hosts[0].listener.should_exit = True

    script = Script([(100, each(begin("long"), say_slowly(2_000, 0.02))), (600, stop)])
    with serving(script) as host:
        hosts.append(host)
        ended = run("talk", f"127.0.0.1:{host.port}", spoken, "--save", "out.wav")
    assert ended.code == 3
    assert "the session was lost: " in ended.err
    assert read_wave(tmp_path / "out.wav").seconds > 0.1
    assert "the answer as it was heard: out.wav\n" in ended.out


def test_the_agent_fails(run: Run, spoken: str) -> None:
    """An agent that breaks is exit code 1."""
    script = Script([(100, _fail)])
    with serving(script) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", spoken)
    assert ended.code == 1
    assert "the server says: broken (code 1006)\n" in ended.out
    assert ended.err == "palaver: the agent failed, and the server has ended the session\n"


def _fail(call: Call) -> None:
    call.session.fail(call.now(), "broken")


def test_an_interruption_is_told(run: Run, spoken: str) -> None:
    """People read that an answer was held and cancelled, and what was asked for with the call."""

    def hang_up(call: Call) -> None:
        call.session.act("hangup", call.now(), reason="bye")

    script = Script(
        [
            (100, each(begin("long"), say(3_000), mark)),
            (300, speech(280, confirmed=False)),
            (500, each(speech(280, confirmed=True), end(interrupted=True, reason="barge_in"))),
            (700, each(silence(280, 600), begin("short"), say(100), end(), hang_up)),
        ]
    )
    with serving(script) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", spoken)
    assert ended.code == 0
    for text in (
        "playback is held\n",
        "the answer is interrupted (barge_in) after 0.",
        "the server asks to hang up: bye\n",
        "answered: the server has hung up\n",
    ):
        assert text in ended.out


def test_an_echo(run: Run, spoken: str) -> None:
    """A server that only says again what it hears is asked to, and answers."""
    with serving(EchoTest) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", spoken, "--vad", "enabled=no", "--fast")
    assert ended.code == 0
    assert "asked for the answer (audio.end)\n" in ended.out
    assert "agent: echo test\n" not in ended.out  # the server has transcripts, and sent none


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "name a file to say (FILE.wav), or speak yourself (--mic): one of both"),
        (["said.wav", "--mic"], "name a file to say (FILE.wav), or speak yourself (--mic)"),
        (["--mic", "--fast"], "--fast goes with a file"),
        (["none.wav"], "none.wav: cannot be read: No such file or directory"),
        (["empty.wav"], "empty.wav: "),
        (["cut.wav"], "cut.wav: "),
        (["text.wav"], "text.wav: is no WAV file"),
        (["said.wav", "--vad", "volume=1"], "--vad volume=1: write KEY=VALUE, where KEY is one of"),
        (["said.wav", "--vad", "threshold"], "--vad threshold: write KEY=VALUE"),
        (["said.wav", "--vad", "threshold=loud"], "--vad threshold: must be a number, not 'loud'"),
        (["said.wav", "--vad", "min_speech_ms=1.5"], "--vad min_speech_ms: must be an integer"),
        (["said.wav", "--vad", "enabled=maybe"], "--vad enabled: must be true or false"),
        (["said.wav", "--language", "pt BR"], "--language pt BR: write a language tag"),
        (["said.wav", "--save", "no/such/out.wav"], "--save no/such/out.wav: cannot be written: "),
        (["said.wav", "--save", "."], "--save .: is a folder: name a file in it"),
        (["said.wav", "--timeline", "out.bmp"], "--timeline out.bmp: must end in .png, .svg, .pdf"),
        (["said.wav", "--timeline", "no/out.png"], "--timeline no/out.png: cannot be written: "),
    ],
)  # fmt: skip
def test_wrong_usage(run: Run, spoken: str, tmp_path: Path, args: list[str], text: str) -> None:
    """What cannot be done is exit code 2, and is known before anybody is called."""
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("what time is it? " * 10)
    (tmp_path / "cut.wav").write_bytes((tmp_path / spoken).read_bytes()[:40])
    ended = run("talk", "ws://127.0.0.1:1", *args)
    assert ended.code == 2
    assert ended.err.startswith(f"palaver: {text}")
    assert ended.out == ""


def test_no_address(run: Run, spoken: str) -> None:
    """An address that is none is exit code 2."""
    ended = run("talk", "ftp://somewhere", spoken)
    assert ended.code == 2
    assert "is no address of an ASP server: write ws://HOST:PORT" in ended.err


@pytest.mark.parametrize("path", ["/asap/ws", "/asap", "/a2a"])
def test_an_address_for_text(run: Run, spoken: str, path: str) -> None:
    """There, nobody would answer a call: that is said at once."""
    url = f"ws://127.0.0.1:1{path}"
    for ended in (run("talk", url, spoken), run("asp", "debug", url)):
        assert ended.code == 2
        text = f"palaver: {url} takes text, not calls: palaver call says it; calls are taken at "
        assert ended.err == f"{text}ws://HOST:PORT/asp\n"


def test_a_stereo_file(run: Run, tmp_path: Path) -> None:
    """Any WAV file is brought to what the session takes; what was changed in it is told."""
    samples = np.repeat(tone(48_000, 300, 300.0), 2)
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setparams((2, 2, 48_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    script = answering()
    with serving(script) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", "stereo.wav", "--fast")
    assert ended.code == 0
    assert "note: " in ended.out
    heard = np.frombuffer(bytes(script.heard), "<i2")[:2_400]
    strength = np.abs(np.fft.rfft(heard)) / len(heard)
    assert np.argmax(strength) * 8_000 / len(heard) == 300
    assert strength.max() == pytest.approx(4_000, rel=0.05)  # half of its amplitude


def test_a_microphone_needs_an_extra(run: Run) -> None:
    """Without the package nobody is called, and what to install is said."""
    ended = run("talk", "ws://127.0.0.1:1", "--mic")
    assert ended.code == 2
    assert "pip install 'palaver[microphone]'" in ended.err


SOUNDDEVICE = '''
"""A device that records a tone, and keeps what it plays."""

import threading
import numpy as np

class PortAudioError(Exception):
    pass

class Stream:
    played = []

    def __init__(self, samplerate, blocksize, channels, dtype, latency, callback,
                 finished_callback):
        if samplerate == 16_000:
            raise PortAudioError("Invalid sample rate")
        self._size, self._rate, self._callback = blocksize, samplerate, callback
        self._finished, self._over = finished_callback, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def abort(self):
        self._over.set()
        self._thread.join(5)

    stop = abort

    def close(self):
        assert not self._thread.is_alive()

    def _run(self):
        number = 0
        while number < 200 and not self._over.wait(self._size / self._rate):
            recorded = np.full((self._size, 1), number, np.int16)
            to_play = np.ones((self._size, 1), np.int16)
            self._callback(recorded, to_play, self._size, None, None)
            Stream.played.append(to_play[:, 0].copy())
            number += 1
        self._finished()
'''


def test_a_microphone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device records is said, what is answered sounds in it; a rate it has not is told."""
    (tmp_path / "sounddevice.py").write_text(SOUNDDEVICE)
    monkeypatch.syspath_prepend(tmp_path)

    def hang_up(call: Call) -> None:
        call.session.act("hangup", call.now())

    script = Script([(200, each(begin("yes"), say(200), end(), hang_up))])
    with serving(script) as host:
        ended = run("talk", f"127.0.0.1:{host.port}", "--mic", "--save", "out.wav")
        assert (ended.code, ended.err) == (0, "")
        played = np.concatenate(sys.modules["sounddevice"].Stream.played)
        refused = run("talk", f"127.0.0.1:{host.port}", "--mic", "--rate", "16000")
    heard = np.frombuffer(bytes(script.heard), "<i2")
    assert heard[::160][:10].tolist() == list(range(10))
    sound = np.flatnonzero(played)
    whole = tone(8_000, 200)
    assert played[sound[0] - 1 : sound[0] + 1_599].tolist() == whole.tolist()
    assert read_wave(tmp_path / "out.wav").samples.tolist() == whole.tolist()
    assert (refused.code, refused.err) == (
        2,
        "palaver: --mic: no device for 16000 Hz: Invalid sample rate\n",
    )


def on_a_terminal(*args: str, interrupt: bytes | None = None) -> tuple[int, str]:
    """Run ``palaver talk`` on a terminal, with Ctrl-C once it has said ``interrupt``."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "palaver", "talk", *args],
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65_536):
            said += piece
            if interrupt is not None and interrupt in said:
                process.send_signal(signal.SIGINT)
                interrupt = None
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(20), said.decode()


def test_a_bar_on_a_terminal(run: Run, spoken: str, tmp_path: Path) -> None:
    """A terminal shows how far the file is, and takes it away at the end."""
    with serving(answering()) as host:
        code, said = on_a_terminal(f"127.0.0.1:{host.port}", str(tmp_path / spoken))
    assert code == 0
    assert "saying" in said
    assert "hearing" in said
    assert "\x1b[1m" in said
    assert said.rstrip().endswith("cleared 0.00 s")


def test_broken_off(run: Run, spoken: str, tmp_path: Path) -> None:
    """Ctrl-C hangs up, and keeps what was heard; exit code 130."""
    out = tmp_path / "out.wav"
    script = Script([(100, each(begin("long"), say_slowly(8_000, 0.02)))])
    with serving(script) as host:
        args = (f"127.0.0.1:{host.port}", str(tmp_path / spoken), "--save", str(out))
        code, said = on_a_terminal(*args, interrupt=b"all said")
    assert code == 130
    assert "broken off" in said
    assert "Traceback" not in said
    assert out.exists()
    assert script.closed
