"""``palaver asp debug``: the handshake with an ASP server, step by step."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import threading
import wave
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from palaver.cli.asp_audio import frames_of
from palaver.errors import ConfigError
from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig, config_digest
from tests.cli.conftest import Ended, Run
from tests.client.asp_server import CAPABILITIES, asp_server, listening
from tests.client.legacy_server import legacy_server
from tests.conftest import Server

STEPS = [
    "connected (TCP and WebSocket)",
    "protocol.capabilities received",
    "session.start sent",
    "session.started received",
    "session.confirm sent",
    "session.end sent",
    "session.ended received",
]


@contextmanager
def running(server: AbstractAsyncContextManager[Any]) -> Iterator[Any]:
    """Run a server of the tests in a thread of its own, for a command that blocks this one."""
    ready: threading.Event = threading.Event()
    found: list[Any] = []
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def serve() -> None:
        async with server as one:
            found.append(one)
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(20)
        loop.close()


def data(ended: Ended) -> dict[str, Any]:
    """Return what a program reads."""
    found: dict[str, Any] = json.loads(ended.out)
    return found


def row(ended: Ended, name: str) -> list[str]:
    """Return what people read beside a name."""
    return next(line for line in ended.out.splitlines() if line.startswith(name)).split()[1:]


def test_text(run: Run, desk: Server) -> None:
    """People read the steps with their times, and what both sides run."""
    ended = run("asp", "debug", desk.url)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{desk.url.replace('http', 'ws')}/asp\n")
    for words in (*STEPS, "took (ms)", "8000, 16000", "vad.silence_threshold_ms", "500"):
        assert words in ended.out
    assert "digest: the same on both sides, sha256:" in ended.out
    assert "ended after" in ended.out
    assert row(ended, "audio.framing") == ["hash12"]
    assert row(ended, "vad.enabled") == ["true"]
    assert "\x1b" not in ended.out


def test_json(run: Run, desk: Server) -> None:
    """Programs read one object with the same, and every message; no token is among it."""
    found = data(run("asp", "debug", desk.url, "--json", "--session-id", "s", "--call-id", "c"))
    assert (found["result"], found["error"], found["legacy_mode"]) == ("ok", None, False)
    assert [step["name"] for step in found["steps"]] == STEPS
    times = [step["at_ms"] for step in found["steps"]]
    assert times == sorted(times)
    assert sum(step["ms"] for step in found["steps"]) == pytest.approx(times[-1], abs=0.1)
    assert found["session_id"] == "s"
    assert found["capabilities"]["version"] == "1.1.0"
    assert found["negotiated"]["audio"]["sample_rate"] == 8000
    assert found["digest"]["same"] is True
    assert found["ended"]["reason"] == "ended"
    told = [(one["direction"], one["type"]) for one in found["messages"]]
    assert told == [
        ("received", "protocol.capabilities"),
        ("sent", "session.start"),
        ("received", "session.started"),
        ("sent", "session.confirm"),
        ("sent", "session.end"),
        ("received", "session.ended"),
    ]
    assert found["messages"][1]["message"]["call_id"] == "c"
    assert found["messages"][2]["message"]["resume_token"] == "***"


def test_a_rejection(run: Run, desk: Server) -> None:
    """Audio that is not supported is rejected, with what is; that is exit code 4."""
    ended = run("asp", "debug", desk.url, "--sample-rate", "44100")
    assert ended.code == 4
    text = "audio.sample_rate: 44100 is not supported; supported: 8000, 16000"
    assert f"rejected: 2001 unsupported_sample_rate: {text}" in ended.out
    assert ended.err == f"palaver: {text} (code 2001)\n"
    found = data(run("asp", "debug", desk.url, "--sample-rate", "44100", "--json"))
    assert (found["result"], found["error"]["code"]) == ("refused", 2001)
    assert found["error"]["errors"][0]["details"]["supported"] == [8000, 16000]
    assert found["negotiated"] is None


def test_adjustments(run: Run, desk: Server) -> None:
    """What is not as it was asked for stands beside what is, with the reason."""
    ended = run(
        "asp", "debug", desk.url, "--negotiation", "adjust", "--sample-rate", "44100",
        "--vad", "silence_threshold_ms=50", "--vad", "enabled=no",
    )  # fmt: skip
    assert ended.code == 0
    lines = {
        line.split()[0]: line.strip().split(maxsplit=3) for line in ended.out.splitlines() if line
    }
    assert lines["audio.sample_rate"][1:] == [
        "16000", "44100", "44100 is not supported; 16000 is the nearest that is",
    ]  # fmt: skip
    assert lines["vad.silence_threshold_ms"][1:] == ["100", "50", "below the minimum of 100"]
    assert lines["vad.enabled"][1] == "false"


def test_an_update(run: Run, desk: Server) -> None:
    """An update is shown with what it changes, and from when on."""
    args = ("asp", "debug", desk.url, "--update", "threshold=0.7", "--update", "min_speech_ms=1")
    ended = run(*args)
    assert ended.code == 0
    assert (
        "update: min_speech_ms 250 → 100, threshold 0.5 → 0.7, from audio message 0 on" in ended.out
    )
    assert "vad.min_speech_ms: 1 was asked for: below the minimum of 100" in ended.out
    assert "digest: the same on both sides" in ended.out
    assert row(ended, "vad.threshold") == ["0.7"]
    assert row(ended, "vad.min_speech_ms")[:2] == ["100", "1"]
    found = data(run(*args, "--json"))
    assert found["started"]["vad"]["threshold"] == 0.5
    assert found["negotiated"]["vad"]["threshold"] == 0.7
    agreed = found["negotiated"]
    ours = config_digest(
        AudioConfig.model_validate(agreed["audio"]), VADConfig.model_validate(agreed["vad"])
    )
    assert found["digest"]["ours"] == ours
    assert found["update"]["negotiated"]["vad"]["threshold"] == 0.7
    assert found["digest"]["same"] is True
    names = [step["name"] for step in found["steps"]]
    assert names[5:7] == ["session.update sent", "session.updated received"]


def test_what_was_adjusted_before_an_update(run: Run, desk: Server) -> None:
    """Reasons from the start stay beside the values that the update leaves, and only there."""
    ended = run(
        "asp", "debug", desk.url, "--vad", "threshold=2", "--vad", "min_speech_ms=1",
        "--update", "threshold=0.7", "--update", "enabled=false",
    )  # fmt: skip
    assert row(ended, "vad.threshold") == ["0.7"]
    assert row(ended, "vad.min_speech_ms")[:2] == ["100", "1"]
    assert "update: enabled true → false, threshold 1.0 → 0.7, " in ended.out


@pytest.mark.parametrize("encoding", list(AudioEncoding))
def test_audio(run: Run, encoding: str) -> None:
    """A tone goes to the server at the rate of the clock, and what comes back is counted."""
    with running(asp_server()) as server:
        args = (
            "--encoding",
            encoding,
            "--framing",
            "asp16",
            "--frame-ms",
            "10",
            "--timeout",
            "0.3",
        )
        found = data(run("asp", "debug", server.url, "--audio", "0.2", "--json", *args))
        assert found["result"] == "ok"
        assert (found["audio"]["frames_sent"], found["audio"]["frames_received"]) == (20, 20)
        assert found["ended"]["statistics"]["audio_frames_received"] == 20
        step = next(step for step in found["steps"] if step["name"] == "audio sent")
        assert step["ms"] >= 150
        text = run("asp", "debug", server.url, "--audio", "0.1", "--timeout", "0.3").out
        assert "audio: 5 frames sent, 5 received" in text


def test_audio_without_an_answer(run: Run) -> None:
    """Where nothing comes back, that is said."""
    with running(asp_server(echoes=False)) as server:
        ended = run("asp", "debug", server.url, "--audio", "0.1", "--timeout", "0.2")
    assert ended.code == 0
    assert (
        "audio: 5 frames sent, none received: the server did not answer (asp_echo_test makes it)\n"
        in ended.out
    )
    assert "audio sent " in ended.out
    assert "answered" not in ended.out


def test_a_file(run: Run, tmp_path: Path) -> None:
    """A WAV file is sent as it is, where it is of the session's sample rate."""
    file = tmp_path / "hello.wav"
    samples = array("h", range(1_600))
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 8_000, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    frames = frames_of(str(file), AudioConfig())
    assert b"".join(frames) == samples.tobytes()
    with running(asp_server()) as server:
        args = ("asp", "debug", server.url, "--audio", str(file), "--timeout", "0.3")
        assert "audio: 10 frames sent, 10 received" in run(*args).out
        ended = run(*args, "--sample-rate", "16000")
        assert ended.code == 2
        assert (
            "8000 Hz, 16 bits, channels: 1; the session takes 16000 Hz, 16 bits, channels: 1"
            in ended.err
        )


def test_metadata_reaches_the_server(run: Run) -> None:
    """What is given to be kept with the session is there."""
    with running(asp_server()) as server:
        ended = run("asp", "debug", server.url, "--metadata", "a=b=c", "--json")
        start = next(one for one in data(ended)["messages"] if one["type"] == "session.start")
        assert start["message"]["metadata"] == {"a": "b=c"}


def test_another_version(run: Run, desk: Server) -> None:
    """A client of another major version is refused, with exit code 4."""
    ended = run("asp", "debug", desk.url, "--version", "2.0.0")
    assert ended.code == 4
    assert "rejected: 1004 version_mismatch: version: 2.0.0 cannot be understood" in ended.out


def test_legacy(run: Run, desk: Server) -> None:
    """The protocol before ASP can be spoken on purpose."""
    ended = run("asp", "debug", desk.url, "--legacy")
    assert ended.code == 0
    assert "the protocol before ASP is spoken" in ended.out
    assert "legacy mode: nothing is negotiated\n" in ended.out
    assert "digest: not compared: not in legacy mode" in ended.out
    assert "audio.sample_rate" in ended.out
    assert "vad." not in ended.out
    assert "no capabilities" not in ended.out
    found = data(run("asp", "debug", desk.url, "--legacy", "--json"))
    assert found["legacy_mode"] is True
    assert found["negotiated"]["vad"] is None
    start = next(one["message"] for one in found["messages"] if one["direction"] == "sent")
    assert set(start) == {"type", "session_id", "call_id", "audio_config"}


def test_a_legacy_server(run: Run) -> None:
    """A server that shows no capabilities is shown as what it is."""
    with running(legacy_server()) as server:
        args = ("asp", "debug", server.url, "--timeout", "0.3")
        found = data(run(*args, "--json"))
        assert (found["result"], found["legacy_mode"], found["capabilities"]) == ("ok", True, None)
        ended = run(*args)
        assert (ended.code, ended.err) == (0, "")
        assert "no capabilities came in time: the protocol before ASP is spoken" in ended.out


def test_digests_that_differ(run: Run) -> None:
    """A server that runs something else than it says is found out."""

    def other(_: str, config: Any) -> Any:
        return type("Applied", (), {"digest": "sha256:0"})()

    with running(asp_server(configure=other)) as server:
        ended = run("asp", "debug", server.url)
        assert ended.code == 4
        assert "rejected: 4005 config_digest_mismatch: the server runs sha256:0" in ended.out


def test_an_update_that_is_rejected(run: Run) -> None:
    """What came before the rejection is shown."""
    fixed = CAPABILITIES.model_copy(update={"vad_configurable": False})
    with running(asp_server(capabilities=fixed)) as server:
        ended = run("asp", "debug", server.url, "--update", "threshold=0.1")
        assert ended.code == 4
        assert "not configurable" in ended.out
        assert "session.updated received" in ended.out
        assert "rejected: 3002" in ended.out
        assert "digest: the same on both sides" in ended.out


@asynccontextmanager
async def junk() -> AsyncIterator[int]:
    """Serve what is no JSON."""

    async def answer(socket: Any) -> None:
        await socket.send("hello")
        await socket.wait_closed()

    async with listening(answer) as port:
        yield port


def test_junk(run: Run) -> None:
    """A server that speaks something else is an error in time, and its words are shown."""
    with running(junk()) as port:
        ended = run("asp", "debug", f"ws://127.0.0.1:{port}", "--timeout", "0.2", "--json")
        assert ended.code == 3
        found = data(ended)
        assert found["result"] == "unreachable"
        assert found["messages"][0]["message"] == "hello"


def test_nobody_there(run: Run) -> None:
    """Exit code 3 says that nobody answers."""
    ended = run("asp", "debug", "ws://127.0.0.1:1", "--timeout", "1")
    assert ended.code == 3
    assert ended.err.startswith("palaver: ws://127.0.0.1:1/asp does not answer: ")
    assert ended.out == "ws://127.0.0.1:1/asp\n"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "ws://", "ws://127.0.0.1:x"])
def test_no_address(run: Run, url: str) -> None:
    """What is no address of a server is wrong usage."""
    ended = run("asp", "debug", url)
    text = f"palaver: {url!r} is no address of an ASP server: write ws://HOST:PORT\n"
    assert (ended.code, ended.out, ended.err) == (2, "", text)


@pytest.mark.parametrize(
    "args",
    [
        ["--update", "threshold=0.7"],
        ["--vad", "threshold=0.7"],
        ["--framing", "asp16"],
        ["--negotiation", "strict"],
        ["--version", "2.0.0"],
    ],
)
def test_what_legacy_does_not_know(run: Run, args: list[str]) -> None:
    """What only ASP has makes no sense with the protocol before it."""
    ended = run("asp", "debug", "ws://127.0.0.1:1", "--legacy", *args)
    text = f"palaver: --legacy does not go with {args[0]}: the protocol before ASP has none\n"
    assert (ended.code, ended.out, ended.err) == (2, "", text)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--vad", "volume=1"], "--vad volume: there is no such value; there are: enabled, "),
        (["--vad", "threshold=loud"], "--vad threshold: must be a number, not 'loud'"),
        (["--vad", "threshold"], "--vad threshold: write NAME=VALUE"),
        (["--update", "enabled=7"], "--update enabled: must be true or false, not '7'"),
        (["--metadata", "=1"], "--metadata =1: write NAME=VALUE"),
        (["--negotiation", "no"], "--negotiation no: write strict or adjust"),
        (["--audio", "none.wav"], "--audio none.wav: cannot be read as a WAV file: "),
        (["--audio", "-1"], "--audio -1: must be a file, or up to 600 seconds"),
        (["--encoding", "x" * 40], "--encoding: must be 'pcm_s16le', 'mulaw' or 'alaw'"),
        (["--sample-rate", "9" * 20], "--sample-rate: must be at most "),
        (["--session-id", ""], "session_id: must not be empty"),
        (["--session-id", "x" * 129], "session_id: must have at most 128 characters"),
    ],
)
def test_wrong_usage(run: Run, args: list[str], text: str) -> None:
    """A wrong option is exit code 2, and says what is right; nothing is connected to."""
    ended = run("asp", "debug", "ws://127.0.0.1:1", *args)
    assert ended.code == 2
    assert text in ended.err


def on_a_terminal(*args: str) -> tuple[int, str]:
    """Run ``palaver asp debug`` on a terminal; return its exit code and all that is read there."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "palaver", "asp", "debug", *args],
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65_536):
            said += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(20), said.decode()


def test_colour_on_a_terminal(desk: Server) -> None:
    """A terminal gets colours."""
    code, said = on_a_terminal(desk.url, "--vad", "threshold=2")
    assert code == 0
    assert "\x1b[33m" in said
    assert "\x1b[32mdigest: the same on both sides" in said


def test_a_rejection_on_a_terminal(desk: Server) -> None:
    """A terminal shows a rejection once: on the line that every error has."""
    code, said = on_a_terminal(desk.url, "--sample-rate", "44100")
    assert code == 4
    assert said.count("44100 is not supported") == 1
    assert "palaver: audio.sample_rate: 44100 is not supported" in said


def test_tones() -> None:
    """A tone has the frames of its seconds, in each encoding."""
    for encoding in AudioEncoding:
        audio = AudioConfig(sample_rate=16_000, encoding=encoding, frame_duration_ms=30)
        frames = frames_of("0.3", audio)
        assert [len(frame) for frame in frames] == [audio.bytes_per_frame] * 10
    with pytest.raises(ConfigError):
        frames_of("601", AudioConfig())
    assert VADConfig() == VADConfig()


def test_g711() -> None:
    """Known samples have the codes of the standard: silence, full scale and a few between."""
    audio = AudioConfig(encoding=AudioEncoding.MULAW, frame_duration_ms=10)
    assert set(frames_of("0.01", audio)[0][:1]) == {0xFF}
    audio = AudioConfig(encoding=AudioEncoding.ALAW, frame_duration_ms=10)
    assert set(frames_of("0.01", audio)[0][:1]) == {0xD5}
