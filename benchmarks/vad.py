"""Hearing speech: what 20 ms of audio cost a call, from its bytes to the decision.

Calls of 8 kHz PCM, 1, 32 and 256 at once, hear frame by frame a recording of speech and pauses,
each from another place on. Ours are the batch that serves all calls of a process, with each of its
detectors. The peers are Pipecat's `SileroVADAnalyzer` and LiveKit's Silero plugin, in an
environment of their own (they bring a hundred packages):

    python -m venv build/vad-peers
    build/vad-peers/bin/pip install 'pipecat-ai[silero]==1.14.*' 'livekit-plugins-silero==1.8.*'

Without it they are left out. Every subject is a process on the same core, and they take turns.
`CPU` is a process's CPU time over frames, so it feels little of what else the machine does; `calls
a core` is what that leaves room for. `starts` counts how often somebody was found to begin to
speak, per call and minute: it shows that a subject hears at all. (Pipecat ends speech after a pause
of 0.2 s, the others after half a second, so it finds more beginnings.) `--quick` leaves out 256
calls.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from hearing import RATE_HZ, Subject, answer_requests
from report import Budget, Metric, Options, Report, parse_options
from servers import server_core

from palaver.protocols.asp.config import AudioConfig, AudioEncoding, VADConfig
from palaver.speech.batch import Batch, BatchOptions, Timer
from palaver.speech.engines import open_detector
from palaver.speech.heard import Heard, SpeechStarted
from palaver.speech.resample import resample

HERE = Path(__file__).parent
RECORDING = HERE.parent / "tests" / "speech" / "sounds" / "requests_in_two_languages.wav"
PEERS = HERE.parent / "build" / "vad-peers" / "bin" / "python"
PEER_PACKAGES = ("pipecat-ai", "livekit-agents", "livekit-plugins-silero", "onnxruntime", "numpy")
FRAMES_A_SECOND = 50

OURS = {f"palaver {name}": name for name in ("silero", "silero-onnx", "webrtc", "energy")}
PIPECAT, LIVEKIT = "Pipecat Silero", "LiveKit Silero"
THEIRS = {
    PIPECAT: ("pipecat_silero.py",),
    "Pipecat, no thread": ("pipecat_silero.py", "--direct"),
    LIVEKIT: ("livekit_silero.py",),
}
METRICS = (
    Metric("CPU", "µs/frame", digits=2, with_range=True),
    Metric("time", "µs/frame", digits=2, with_range=True),
    Metric("calls a core", "", digits=0),
    Metric("starts", "1/min", digits=1),
)
BUDGETS = (
    Budget("CPU", "256 calls", "palaver silero", PIPECAT, 0.1, at_least=False),
    Budget("CPU", "256 calls", "palaver silero", LIVEKIT, 0.12, at_least=False),
)


# --- ours -------------------------------------------------------------------------------------


class Palaver:
    """The batch of a server, ticked as soon as a frame of each call is there."""

    def __init__(self, calls: int, detector: str) -> None:
        self.starts = 0
        self._due: list[Callable[[], None]] = []
        self._batch = Batch(
            {RATE_HZ: open_detector(detector, RATE_HZ)},
            {RATE_HZ: open_detector("energy", RATE_HZ)},
            options=BatchOptions(clock=time.monotonic, later=self._later),
        )
        audio = AudioConfig(sample_rate=RATE_HZ, encoding=AudioEncoding.PCM_S16LE)
        self._ears = [
            self._batch.open(f"call {call}", audio, VADConfig(), self._heard)
            for call in range(calls)
        ]
        self._samples = 0

    def _later(self, _: float, call: Callable[[], None]) -> Timer:
        self._due.append(call)
        return _Never()

    def _heard(self, events: list[Heard]) -> None:
        self.starts += sum(isinstance(event, SpeechStarted) for event in events)

    async def hear(self, frames: Sequence[bytes]) -> None:
        """Push a frame into each ear, and let the line pass."""
        for ear, frame in zip(self._ears, frames, strict=True):
            ear.push(frame, self._samples)
        self._samples += len(frames[0]) // 2
        while self._due:
            self._due.pop()()

    async def close(self) -> None:
        """Close the ears. None of them may have been given to the cheaper detector."""
        assert not self._batch.fallen_back
        self._batch.close()


class _Never:
    """A timer that the benchmark fires itself."""

    def cancel(self) -> None:
        """Stay as it is: a tick that has nothing to do costs nothing."""


def be_ours(detector: str, audio: Path, core: int | None) -> None:
    """Answer the benchmark, as one of our detectors."""

    async def open_subject(calls: int) -> Subject:
        return Palaver(calls, detector)

    answer_requests(open_subject, audio, core)


# --- the comparison ---------------------------------------------------------------------------


def write_recording(path: Path) -> None:
    """Write what calls say: the recording at 8 kHz over a quiet line, and a pause after it."""
    with wave.open(str(RECORDING)) as file:
        spoken = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        said = resample(spoken, file.getframerate(), RATE_HZ)
    line = np.concatenate([said, np.zeros(2 * RATE_HZ, np.int16)])
    noise = np.random.default_rng(1).normal(scale=20, size=len(line))
    path.write_bytes((line + noise).clip(-32768, 32767).astype("<i2").tobytes())


class RunningSubject:
    """A subject's process."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name = name
        self._process = process

    def measure(self, calls: int, warm_up: int, frames: int) -> dict[str, float]:
        """Let it hear, and return its figures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"calls": calls, "warm_up": warm_up, "frames": frames}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait(10)}; see above")
        seen = json.loads(line)
        cpu = seen["cpu"] / (calls * frames)
        return {
            "CPU": cpu * 1e6,
            "time": seen["wall"] / (calls * frames) * 1e6,
            "calls a core": 1 / (cpu * FRAMES_A_SECOND),
            "starts": seen["starts"] / calls / (frames / FRAMES_A_SECOND / 60),
        }


@contextmanager
def running(name: str, audio: Path, peers: Path) -> Iterator[RunningSubject]:
    """Start the process of a subject, and end it."""
    if name in OURS:
        command = [sys.executable, __file__, "--be", OURS[name], "--audio", str(audio)]
    else:
        program, *modes = THEIRS[name]
        command = [str(peers), str(HERE / "peers" / program), str(audio), *modes]
    core = server_core()
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    with process:
        try:
            yield RunningSubject(name, process)
        finally:
            process.terminate()


def peer_versions(peers: Path) -> dict[str, str]:
    """Return the versions of what stands in the peers' environment; empty if it is not there."""
    if not peers.exists():
        return {}
    asked = (
        "import importlib.metadata as m, json;"
        f"print(json.dumps({{name: m.version(name) for name in {PEER_PACKAGES}}}))"
    )
    return dict(json.loads(subprocess.check_output([str(peers), "-c", asked], text=True)))


def measure_rounds(options: Options, names: Sequence[str], peers: Path, report: Report) -> None:
    """Let all subjects hear, in turns."""
    loads = (1, 32) if options.quick else (1, 32, 256)
    warm_up, per_load = (5, 1_600) if options.quick else (25, 12_800)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        audio = Path(folder) / "calls.pcm"
        write_recording(audio)
        subjects = {name: stack.enter_context(running(name, audio, peers)) for name in names}
        for _ in range(options.rounds):
            for calls in loads:
                load = "1 call" if calls == 1 else f"{calls} calls"
                frames = per_load // max(calls, 8)
                for name, subject in subjects.items():
                    report.add(load, name, subject.measure(calls, warm_up, frames))


def main() -> None:
    """Measure and report; or be one of our detectors."""

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--peers", type=Path, default=PEERS, help="Python with the peers")
        parser.add_argument("--be", choices=list(OURS.values()), help=argparse.SUPPRESS)
        parser.add_argument("--audio", type=Path, help=argparse.SUPPRESS)
        parser.add_argument("--core", type=int, help=argparse.SUPPRESS)

    options, given = parse_options(__doc__, rounds=3, extend=extend)
    if given.be:
        be_ours(given.be, given.audio, given.core)
        return
    versions = peer_versions(given.peers)
    there = [*OURS, *(THEIRS if versions else ())]
    report = Report("Hearing speech, per 20 ms of a call at 8 kHz", METRICS, BUDGETS)
    report.settings |= {"rounds": options.rounds, "core": server_core()}
    report.settings |= versions or {"peers": f"left out: there is no {given.peers}"}
    measure_rounds(options, options.wanted(there), given.peers, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
