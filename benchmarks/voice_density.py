"""Calls that one core can hear: audio in, detection, and what was heard said back.

N callers say 20 ms of 8 kHz PCM fifty times a second, in real time: speech and pauses over noise,
each from a place of its own. The server takes it at its main port or at the dense one. With
`hears` every window of 32 ms is judged by the neural detector, and starts and ends of speech are
told to the caller; `receives` is the same calls with nobody listening. The detector's delay is the
time from when the frame that completes a window was read to when the window was judged; it is
taken of one call in eight, for the clock costs something too.

`voice_density.py --serve NAME --port P` is one of the servers.
"""

import argparse
import asyncio
import gc
import http.client
import importlib.metadata
import itertools
import json
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import picows
import uvloop
from load import run_client
from picows import WSFrame, WSListener, WSMsgType, WSTransport
from report import Budget, Metric, Options, Report, parse_options, percentile
from servers import RunningServer, Server, pin_client, running, server_core
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from palaver.media.wave_file import read_wave
from palaver.observability.logging import configure_logging
from palaver.protocols.asp.call import Call, CallListener, Silence
from palaver.protocols.asp.config import Framing, ProtocolCapabilities
from palaver.protocols.asp.events import AudioMissing, AudioReceived, Event, SessionClosed
from palaver.protocols.asp.limits import Limits
from palaver.protocols.asp.messages import AudioSpeechEndMessage, AudioSpeechStartMessage, Feature
from palaver.server.admission import Admission
from palaver.server.asp import AspEndpoint
from palaver.server.asp_dense import DensePort
from palaver.server.drain import Drain
from palaver.server.listener import Listener, bind
from palaver.server.picows_socket import SocketLimits
from palaver.speech.batch import Batch
from palaver.speech.compiled import compiled
from palaver.speech.detector import Probabilities, Samples, Stream
from palaver.speech.energy import EnergyDetector
from palaver.speech.heard import Heard, SpeechEnded, SpeechStarted
from palaver.speech.resample import resample
from palaver.speech.silero import SileroDetector

CALLS, READY, FIGURES = "/asp", "/ready", "/figures"
SPEECH = Path(__file__).parents[1] / "tests/speech/sounds/requests_in_two_languages.wav"

RATE_HZ = 8_000
SAMPLES = 160
WINDOW = 256
MESSAGES_PER_SECOND = 50
ACK_INTERVAL = 100
NOISE = 120.0  # some -49 dBFS: a quiet line
PAUSE_SECONDS = 4
WARM_UP_SECONDS = 2.0
TIMEOUT = 60.0
TIMED = 8
BUDGET, BUDGET_CALLS, MAX_DELAY_MS = "budget", 1_000, 60.0

HEAD = struct.Struct("<BBHIIBBH")

METRICS = (
    Metric("server busy", "%", with_range=True),
    Metric("server CPU", "µs/message", digits=1, with_range=True),
    Metric("delay p50", "ms", digits=1),
    Metric("delay p99", "ms", digits=1, with_range=True),
    Metric("lost", "messages"),
    Metric("fallen back", "calls"),
    Metric("utterances", ""),
    Metric("client busy", "%"),
)


# --- the servers ----------------------------------------------------------------------------


class Timed:
    """A detector that knows when the windows it judges were complete."""

    def __init__(self, detector: SileroDetector) -> None:
        self.name = detector.name
        self.sample_rate_hz = detector.sample_rate_hz
        self.window_samples = detector.window_samples
        self.judged: dict[Stream, list[float]] = {}
        self._detector = detector

    def open(self) -> Stream:
        """Return the memory of a new session."""
        return self._detector.open()

    def detect(self, streams: Sequence[Stream], windows: Samples) -> Probabilities:
        """Judge, and note when."""
        probabilities = self._detector.detect(streams, windows)
        now = time.monotonic()
        for stream in self.judged.keys() & set(streams):
            self.judged[stream].append(now)
        return probabilities


class Hearing:
    """The ears of all calls, and what they cost."""

    def __init__(self) -> None:
        self.detector = Timed(SileroDetector(RATE_HZ))
        self.fallen: set[str] = set()
        self.batch = Batch(
            {RATE_HZ: self.detector},
            {RATE_HZ: EnergyDetector(RATE_HZ)},
            on_fallback=lambda session_id, _: self.fallen.add(session_id),
        )
        self.calls = 0
        self.times: dict[str, list[float]] = {}
        """When the windows of the calls that are timed were judged, by session."""
        self.missing = 0
        self.utterances = 0

    def __call__(self, call: Call) -> CallListener:
        """Listen to one more call."""
        self.calls += 1
        return (Listening if self.calls % TIMED else TimedListening)(self, call)


class Listening:
    """Hears one call, and tells its caller what."""

    def __init__(self, hearing: Hearing, call: Call) -> None:
        self._hearing = hearing
        self._call = call
        config = call.session.config
        self._ear = hearing.batch.open(call.session.id, config.audio, config.vad, self._tell)

    def heard(self, event: Event) -> None:
        """Take audio."""
        if type(event) is AudioReceived:
            self._ear.push(event.payload, event.samples)
        elif isinstance(event, AudioMissing):
            self._hearing.missing += event.count

    def closed(self, event: SessionClosed) -> None:
        """Let go."""
        del event
        self._ear.close()

    def _tell(self, events: list[Heard]) -> None:
        session, now = self._call.session, self._call.now()
        for event in events:
            if isinstance(event, SpeechEnded):
                self._hearing.utterances += not event.discarded
                end = AudioSpeechEndMessage(
                    session_id=session.id,
                    duration_ms=event.duration_ms,
                    start_ms=event.start_ms,
                    end_ms=event.end_ms,
                    discarded=event.discarded,
                    reason=event.reason,
                )
                session.report_speech(end, now)
                continue
            start = AudioSpeechStartMessage(
                session_id=session.id,
                start_ms=event.start_ms,
                prefix_ms=event.prefix_ms,
                confirmed=not isinstance(event, SpeechStarted),
            )
            session.report_speech(start, now)


class TimedListening(Listening):
    """Notes when windows were judged, too."""

    def __init__(self, hearing: Hearing, call: Call) -> None:
        super().__init__(hearing, call)
        times: list[float] = []
        hearing.times[call.session.id] = times
        hearing.detector.judged[self._ear.buffer.stream] = times


async def serve_calls(name: str, port: int) -> None:
    """Serve calls at the main port and at the dense one, where anybody listens or not."""
    hearing = Hearing() if name.endswith("hears") else None
    endpoint = AspEndpoint(
        ProtocolCapabilities(supported_framings=tuple(Framing), features=tuple(Feature)),
        Limits(max_sessions=10_000, max_audio_lead=30.0),
        Admission(Drain(), max_sockets=10_000),
        answer=hearing or Silence,
    )
    calls = WebSocketRoute(CALLS, endpoint)
    dense = DensePort(
        endpoint,
        [calls],
        limits=SocketLimits(),
        handshake_timeout=TIMEOUT,
        on_round=(lambda: None) if hearing is None else hearing.batch.hurry,
    )
    dense_socket = bind("127.0.0.1", 0)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        endpoint.start()
        await dense.start(dense_socket)
        yield
        await dense.stop()

    async def ready(_: Request) -> PlainTextResponse:
        return PlainTextResponse(str(dense_socket.getsockname()[1]))

    async def figures(_: Request) -> JSONResponse:
        if hearing is None:
            return JSONResponse({})
        found = {
            "times": hearing.times,
            "missing": hearing.missing,
            "fallen back": len(hearing.fallen),
            "utterances": hearing.utterances,
        }
        hearing.utterances = 0
        return JSONResponse(found)

    async def drain() -> None:
        pass

    app = Starlette(routes=[Route(READY, ready), Route(FIGURES, figures), calls], lifespan=lifespan)
    listener = Listener(app, drain, head_timeout=TIMEOUT, announce=lambda: None)
    with bind("127.0.0.1", port) as listening:
        await listener.serve(sockets=[listening])


SUBJECTS = ("dense port hears", "main port hears", "dense port receives", "main port receives")


def run_server(name: str, port: int) -> None:
    """Serve until the process is told to stop."""
    configure_logging("warning")
    gc.collect()  # as `palaver serve` does
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_calls(name, port))


def ask(port: int, path: str) -> bytes:
    """Return what the server says there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


# --- the callers ----------------------------------------------------------------------------


class CallFailed(Exception):
    """The server did not do its part."""


def conversation() -> list[bytes]:
    """Return the frames of speech with pauses between, over noise: the same in each run."""
    wave = read_wave(SPEECH)
    speech = resample(wave.samples, wave.rate_hz, RATE_HZ).astype(np.float32)
    pause = np.zeros(PAUSE_SECONDS * RATE_HZ, np.float32)
    third = len(speech) // 3
    parts = [speech[start : start + third] for start in range(0, len(speech), third)]
    clean = np.concatenate([one for part in parts for one in (part, pause)])
    noise = np.random.default_rng(7).normal(0.0, NOISE, len(clean))
    data = np.clip(clean + noise, -32_768, 32_767).astype("<i2").tobytes()
    size = 2 * SAMPLES
    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]


class Caller(WSListener):
    """Says its frames, acknowledges what comes, and counts."""

    ids = itertools.count(time.time_ns())

    def __init__(self, frames: list[bytes], at: int) -> None:
        super().__init__()
        self.transport: WSTransport
        self.said = 0
        self.problem: str | None = None
        self._frames = frames
        self._at = at
        self.session_id = f"call-{next(self.ids)}"
        self.sent: list[float] = []
        self._stream = 0
        self._received = 0
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def say(self) -> None:
        """Say the next frame."""
        number = self.said
        self.said = number + 1
        self.sent.append(time.monotonic())
        head = HEAD.pack(0xA5, 0x11, self._stream, number, number * SAMPLES & 0xFFFF_FFFF, 0, 0, 0)
        frame = self._frames[(self._at + number) % len(self._frames)]
        self.transport.send(WSMsgType.BINARY, head + frame)

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        """Take what the server says."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        text = frame.get_payload_as_utf8_text()
        if '"session.ack"' in text:
            return
        if '"protocol.error"' in text:
            self.problem = text
        elif '"audio.speech_' in text:
            self._received += 1
            if self._received % ACK_INTERVAL == 0:
                self._send(type="session.ack", received=self._received)
        else:
            self._texts.put_nowait(text)

    async def start(self) -> None:
        """Start a session."""
        await self._answer("protocol.capabilities")
        self._send(
            type="session.start",
            version="1.1.0",
            features=[str(feature) for feature in Feature],
            audio={"sample_rate": RATE_HZ, "frame_duration_ms": 20, "framing": "asp16"},
        )
        self._stream = (await self._answer("session.started"))["stream"]

    async def end(self) -> int:
        """End the session, leave, and return how many messages were lost."""
        self._send(type="session.end")
        found = await self._answer("session.ended")
        self.transport.disconnect()
        await self.transport.wait_disconnected()
        statistics: dict[str, int] = found["statistics"]
        return self.said - statistics["audio_frames_received"]

    def _send(self, **members: object) -> None:
        text = json.dumps(members | {"session_id": self.session_id})
        self.transport.send(WSMsgType.TEXT, text.encode())

    async def _answer(self, kind: str) -> dict[str, int | dict[str, int]]:
        async with asyncio.timeout(TIMEOUT):
            found = json.loads(await self._texts.get())
        if found["type"] != kind or found.get("status") == "rejected":
            raise CallFailed(f"{found} in place of {kind}")
        return found  # type: ignore[no-any-return]


async def speak(callers: Sequence[Caller], seconds: float) -> None:
    """Let each caller say its frames in time, spread evenly over each 20 ms."""
    ticks = 1_000 // MESSAGES_PER_SECOND
    groups = [callers[tick::ticks] for tick in range(ticks)]
    loop = asyncio.get_running_loop()
    started = loop.time()
    for tick in range(round(seconds * 1_000)):
        # Once late, it catches up: a slow server gets no fewer messages.
        await asyncio.sleep(max(0.0, started + tick / 1_000 - loop.time()))
        for caller in groups[tick % ticks]:
            caller.say()
    # A pong comes behind all that was said before.
    await asyncio.gather(*(caller.transport.measure_roundtrip_time(1) for caller in callers))


def window_delays(
    callers: Sequence[Caller], times: dict[str, list[float]], first: int
) -> Iterator[float]:
    """Yield the seconds until windows were judged that message ``first`` or a later one ends.

    Of a call that fell back only those before that are known.
    """
    for caller in callers:
        for window, judged in enumerate(times.get(caller.session_id, ())):
            message = ((window + 1) * WINDOW - 1) // SAMPLES
            if message >= first:
                yield judged - caller.sent[message]


async def measure(server: RunningServer, name: str, count: int, seconds: float) -> dict[str, float]:
    """Run one load against one server; figures by metric name."""
    frames = conversation()
    port = server.port
    if name.startswith("dense"):
        port = int(await asyncio.to_thread(ask, server.port, READY))
    callers: list[Caller] = []
    for number in range(count):
        at = number * 7_919 % len(frames)
        url = f"ws://127.0.0.1:{port}{CALLS}"
        _, caller = await picows.ws_connect(lambda at=at: Caller(frames, at), url)
        await caller.start()
        callers.append(caller)
    await speak(callers, WARM_UP_SECONDS)
    await asyncio.to_thread(ask, server.port, FIGURES)
    before = sum(caller.said for caller in callers)
    gc.collect()
    gc.disable()
    cpu, own, started = server.cpu_seconds(), time.process_time(), time.monotonic()
    try:
        await speak(callers, seconds)
    finally:
        gc.enable()
    elapsed = time.monotonic() - started
    cpu, own = server.cpu_seconds() - cpu, time.process_time() - own
    messages = sum(caller.said for caller in callers) - before
    found = json.loads(await asyncio.to_thread(ask, server.port, FIGURES))
    lost = sum([await caller.end() for caller in callers])
    problems = [caller.problem for caller in callers if caller.problem]
    if problems:
        raise CallFailed(problems[0])
    figures = {
        "server busy": cpu / elapsed * 100,
        "server CPU": cpu / messages * 1e6,
        "lost": float(lost),
        "client busy": own / elapsed * 100,
    }
    if found:
        if not found["utterances"]:
            raise CallFailed("nothing was heard")
        delays = list(window_delays(callers, found["times"], before // count))
        figures |= {
            "delay p50": percentile(delays, 50) * 1e3,
            "delay p99": percentile(delays, 99) * 1e3,
            "fallen back": float(found["fallen back"]),
            "utterances": float(found["utterances"]),
        }
    return figures


def _measure_rounds(options: Options, counts: Sequence[int], report: Report) -> None:
    wanted = options.wanted(SUBJECTS)
    seconds = 2.0 if options.quick else 10.0
    report.settings["seconds_per_load"] = seconds
    for _ in range(options.rounds):
        for count in counts:
            for name in wanted:
                with ExitStack() as stack:
                    arguments = (str(Path(__file__)), "--serve", name, "--port", "{port}")
                    server = stack.enter_context(running(Server(name, arguments, READY)))
                    figures = run_client(measure(server, name, count, seconds))
                report.add(f"{count} calls", name, figures)
            if count == BUDGET_CALLS:
                report.add(f"{count} calls", BUDGET, {"delay p99": MAX_DELAY_MS})


def main() -> None:
    """Measure and report; or be one of the servers."""

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--calls", default="", help="how many; default 100,250,500,1000")
        parser.add_argument("--serve", choices=SUBJECTS, help=argparse.SUPPRESS)
        parser.add_argument("--port", type=int, help=argparse.SUPPRESS)

    options, given = parse_options(__doc__, rounds=3, extend=extend)
    if given.serve:
        run_server(given.serve, given.port)
        return
    known = "50" if options.quick else "100,250,500,1000"
    counts = [int(count) for count in (given.calls or known).split(",")]
    load = f"{BUDGET_CALLS} calls"
    budgets = [
        Budget("delay p99", load, name, BUDGET, 1.0, at_least=False)
        for name in SUBJECTS
        if name.endswith("hears")
    ]
    report = Report("Calls that are heard, 8 kHz, 20 ms", METRICS, budgets)
    report.settings |= {
        "rounds": options.rounds,
        "client_core": pin_client(),
        "server_core": server_core(),
        "audio_path": "compiled" if compiled() else "interpreted",
    } | {package: importlib.metadata.version(package) for package in ("numpy", "picows")}
    _measure_rounds(options, counts, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
