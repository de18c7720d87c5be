"""ASP handshake: from the first byte of the connection to `session.started`.

Each handshake opens a socket and a WebSocket, waits for the capabilities, sends `session.start`
with all that 1.1 has (its features, two offers of audio, every VAD value, metadata), and waits for
`session.started`. Compared with a bare server of websockets, which echoes one message of the same
length over a fresh connection. The client is the one of websockets for both, without compression.
One at a time, the two servers in turn; and 50 at once. What ends a session is not timed, but is in
the CPU time of the server, as the closing handshake of both is.
"""

import asyncio
import importlib.metadata
import itertools
import json
import time
from contextlib import ExitStack
from pathlib import Path

from load import run_client
from report import Budget, Metric, Options, Report, parse_options, percentile
from servers import RunningServer, Server, palaver, pin_client, running, server_core
from websockets.asyncio.client import ClientConnection, connect

from palaver.protocols.asp.messages import Feature

ASP, BASELINE = "palaver", "websockets"
AT_ONCE = 50
ONE, MANY = "one at a time", f"{AT_ONCE} at once"
TIMEOUT = 30.0

METRICS = (
    Metric("handshake p50", "ms", digits=2, with_range=True),
    Metric("handshake p95", "ms", digits=2, with_range=True),
    Metric("handshakes/s", "1/s", with_range=True),
    Metric("server CPU", "µs/handshake"),
    Metric("client busy", "%"),
)
BUDGETS = tuple(
    Budget("handshake p50", load, ASP, BASELINE, 1.5, at_least=False) for load in (ONE, MANY)
)

_AUDIO = {"encoding": "pcm_s16le", "channels": 1, "frame_duration_ms": 20}
_VAD = {
    "enabled": True,
    "silence_threshold_ms": 700,
    "min_speech_ms": 250,
    "threshold": 0.5,
    "ring_buffer_frames": 5,
    "speech_ratio": 0.4,
    "prefix_padding_ms": 300,
}
_numbers = itertools.count(time.time_ns())


class WrongAnswer(Exception):
    """A server answered something else."""


def start_message(session_id: str) -> str:
    """Return a `session.start` with all that 1.1 has; its length is always the same."""
    offers = [_AUDIO | {"sample_rate": rate, "framing": "asp16"} for rate in (16_000, 8_000)]
    return json.dumps(
        {
            "type": "session.start",
            "session_id": session_id,
            "call_id": f"call of {session_id}",
            "version": "1.1.0",
            "features": [str(feature) for feature in Feature],
            "audio": _AUDIO | {"sample_rate": 8_000},
            "audio_offers": offers,
            "negotiation": "strict",
            "vad": _VAD,
            "metadata": {"from": "+49 30 123456", "to": "+49 30 654321", "trunk": "north"},
        }
    )


class Handshake:
    """One, with what follows it; `seconds` is how long it took."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session_id = f"session-{next(_numbers)}"
        self._socket: ClientConnection
        self.seconds = 0.0

    async def run(self) -> None:
        """Connect and do what is timed."""
        message = start_message(self._session_id)
        started = time.perf_counter()
        self._socket = await connect(
            f"ws://127.0.0.1:{self._port}/asp", compression=None, proxy=None
        )
        answers = await self._exchange(self._socket, message)
        self.seconds = time.perf_counter() - started
        self._check(message, answers)

    async def end(self) -> None:
        """Leave."""
        await self._socket.close()

    async def _exchange(self, socket: ClientConnection, message: str) -> list[str | bytes]:
        await socket.send(message)
        return [await socket.recv()]

    def _check(self, message: str, answers: list[str | bytes]) -> None:
        if answers != [message]:
            raise WrongAnswer(f"{answers}")


class AspHandshake(Handshake):
    """Starts a session, and ends it."""

    async def end(self) -> None:
        """End the session, and leave."""
        await self._socket.send(json.dumps({"type": "session.end", "session_id": self._session_id}))
        await self._socket.recv()
        await super().end()

    async def _exchange(self, socket: ClientConnection, message: str) -> list[str | bytes]:
        capabilities = await socket.recv()
        await socket.send(message)
        return [capabilities, await socket.recv()]

    def _check(self, message: str, answers: list[str | bytes]) -> None:
        capabilities, started = (json.loads(answer) for answer in answers)
        if capabilities["type"] != "protocol.capabilities":
            raise WrongAnswer(f"{capabilities}")
        if started.get("status") != "accepted" or len(started["features"]) != len(Feature):
            raise WrongAnswer(f"{started} to {message}")


HANDSHAKES: dict[str, type[Handshake]] = {ASP: AspHandshake, BASELINE: Handshake}


def contestants() -> list[Server]:
    """Return the servers, Palaver first."""
    frames = str(Path(__file__).with_name("asp_frames.py"))
    return [
        palaver(ASP, "answering", "memory:"),
        Server(BASELINE, (frames, "--serve", "websockets", "--port", "{port}"), "/ready"),
    ]


class Tally:
    """What one server did in one round."""

    def __init__(self, name: str, server: RunningServer) -> None:
        self._type = HANDSHAKES[name]
        self._server = server
        self._times: list[float] = []
        self._client = self._elapsed = 0.0
        self._cpu_before = server.cpu_seconds()

    async def run(self, at_once: int) -> None:
        """Shake hands so many times at once, and part again."""
        handshakes = [self._type(self._server.port) for _ in range(at_once)]
        async with asyncio.timeout(TIMEOUT):
            own, started = time.process_time(), time.monotonic()
            await asyncio.gather(*(handshake.run() for handshake in handshakes))
            self._elapsed += time.monotonic() - started
            self._client += time.process_time() - own
            await asyncio.gather(*(handshake.end() for handshake in handshakes))
        self._times += [handshake.seconds for handshake in handshakes]

    def figures(self) -> dict[str, float]:
        """Return figures by metric name."""
        count = len(self._times)
        return {
            "handshake p50": percentile(self._times, 50) * 1e3,
            "handshake p95": percentile(self._times, 95) * 1e3,
            "handshakes/s": count / self._elapsed,
            "server CPU": (self._server.cpu_seconds() - self._cpu_before) / count * 1e6,
            "client busy": self._client / self._elapsed * 100,
        }


async def measure(
    servers: dict[str, RunningServer], at_once: int, times: int
) -> dict[str, dict[str, float]]:
    """Have the servers take turns; figures by server and metric name."""
    tallies = {name: Tally(name, server) for name, server in servers.items()}
    for _ in range(times):
        for tally in tallies.values():
            await tally.run(at_once)
    return {name: tally.figures() for name, tally in tallies.items()}


def _measure_rounds(options: Options, report: Report) -> None:
    wanted = options.wanted(list(HANDSHAKES))
    loads = {ONE: (1, 40 if options.quick else 300), MANY: (AT_ONCE, 3 if options.quick else 12)}
    with ExitStack() as stack:
        servers = {
            server.name: stack.enter_context(running(server))
            for server in contestants()
            if server.name in wanted
        }
        run_client(measure(servers, 5, 4))  # until code is warm
        for _ in range(options.rounds):
            for load, (at_once, times) in loads.items():
                for name, figures in run_client(measure(servers, at_once, times)).items():
                    report.add(load, name, figures)


def main() -> None:
    """Measure and report."""
    options, _ = parse_options(__doc__, rounds=5)
    report = Report("ASP handshake", METRICS, BUDGETS)
    report.settings |= {
        "rounds": options.rounds,
        "bytes_of_session_start": len(start_message(f"session-{next(_numbers)}")),
        "client_core": pin_client(),
        "server_core": server_core(),
        "websockets": importlib.metadata.version("websockets"),
    }
    _measure_rounds(options, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
