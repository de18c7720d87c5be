"""ASAP: what a request costs, over WebSocket and HTTP, by hand-made frames and by `AsapClient`.

Each request is a `TaskRequest` with a new envelope id, whose task answers shortly and is kept in a
store in memory; the answer is checked: completed, and the right text. Compared in interleaved
rounds with a raw server of websockets that answers each frame of the same length with one as long
as ours: no protocol, no task. One request at a time, and 16 in flight (one socket; or HTTP
connections of one client). The plain clients are those of websockets and httpx2, without
acknowledgements; `AsapClient` wants each request acknowledged twice, as it does by default. And
connecting: TCP, WebSocket, until the first frame may be sent.
"""

import asyncio
import importlib.metadata
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace

import httpx2
import orjson
from load import run_client
from report import Budget, Metric, Options, Report, parse_options, percentile
from servers import RunningServer, Server, palaver, peer, pin_client, running, server_core
from websockets.asyncio.client import ClientConnection, connect
from workload import ANSWER_TEXT, PROMPT

from palaver.client.asap import AsapClient

Ask = Callable[[], Awaitable[None]]

ECHO = "raw echo"
SOCKET, SOCKET_CLIENT = "ws plain", "ws AsapClient"
HTTP, HTTP_CLIENT = "http plain", "http AsapClient"
ONE, MANY, CONNECT = "one at a time", "16 in flight", "connect"
IN_FLIGHT = 16
TIMEOUT = 60.0
AGENT = "urn:asap:agent:answering"
SENDER = "urn:asap:agent:palaver-client"

METRICS = (
    Metric("p50", "ms", digits=2, with_range=True),
    Metric("p95", "ms", digits=2, with_range=True),
    Metric("rate", "1/s", with_range=True),
    Metric("server CPU", "µs/request"),
    Metric("client busy", "%"),
)
BUDGETS = (
    Budget("p50", ONE, SOCKET, ECHO, 2.0, at_least=False),
    Budget("p50", ONE, SOCKET_CLIENT, ECHO, 2.5, at_least=False),
    Budget("p50", ONE, HTTP, ECHO, 6.0, at_least=False),
    Budget("rate", MANY, SOCKET, ECHO, 0.25),
    Budget("rate", MANY, SOCKET_CLIENT, ECHO, 0.25),
)

_numbers = itertools.count(time.time_ns())


class WrongAnswer(Exception):
    """A server answered something else."""


def frame() -> tuple[str, bytes]:
    """Return the id of a new request, and the request; its length is always the same."""
    number = f"{next(_numbers):026d}"
    envelope = {
        "id": f"env_{number}",
        "asap_version": "0.1",
        "sender": SENDER,
        "recipient": AGENT,
        "payload_type": "TaskRequest",
        "payload": {
            "conversation_id": f"conv_{number}",
            "skill_id": "answer",
            "input": {"text": PROMPT},
        },
    }
    request_id = f"req_{number}"
    call = {
        "jsonrpc": "2.0",
        "method": "asap.send",
        "params": {"envelope": envelope},
        "id": request_id,
    }
    return request_id, orjson.dumps(call)


def check(answer: str | bytes) -> str:
    """See that an answer is that of a task which is done; return the id of its request."""
    value = orjson.loads(answer)
    payload = value.get("result", {}).get("envelope", {}).get("payload", {})
    if payload.get("status") != "completed" or payload["result"] != {"text": ANSWER_TEXT}:
        raise WrongAnswer(f"{value}")
    return str(value["id"])


class SocketFrames:
    """Ready frames over one socket, and whoever waits for their answers."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._reading = asyncio.create_task(self._read())

    async def ask(self) -> None:
        """Ask, and wait for the answer."""
        request_id, request = frame()
        future = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        await self._socket.send(request, text=True)
        await future

    async def close(self) -> None:
        """Read no more."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for answer in self._socket:
                self._waiting.pop(check(answer)).set_result(None)
        except Exception as error:  # noqa: BLE001 - told to all who wait
            for future in self._waiting.values():
                future.set_exception(error)


class EchoFrames(SocketFrames):
    """Frames that come back, in order and with another length."""

    def __init__(self, socket: ClientConnection, length: int) -> None:
        super().__init__(socket)
        self._length = length

    async def _read(self) -> None:
        async for answer in self._socket:
            if len(answer) != self._length:
                raise WrongAnswer(f"{len(answer)} characters")
            self._waiting.pop(next(iter(self._waiting))).set_result(None)


def plain_socket(url: str) -> connect:
    """Return a WebSocket to be entered."""
    return connect(url, compression=None, proxy=None, ping_interval=None)


@asynccontextmanager
async def asking(name: str, port: int, answer_length: int) -> AsyncIterator[Ask]:
    """Connect; within the block, ask one thing with each call."""
    local = f"127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        if name == ECHO:
            socket = await stack.enter_async_context(
                plain_socket(f"ws://{local}/?n={answer_length}")
            )
            echo = EchoFrames(socket, answer_length)
            stack.push_async_callback(echo.close)
            yield echo.ask
        elif name == SOCKET:
            socket = await stack.enter_async_context(plain_socket(f"ws://{local}/asap/ws"))
            frames = SocketFrames(socket)
            stack.push_async_callback(frames.close)
            yield frames.ask
        elif name == HTTP:
            http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
            yield lambda: _post(http, f"http://{local}/asap")
        else:
            url = f"ws://{local}/asap/ws" if name == SOCKET_CLIENT else f"http://{local}"
            client = AsapClient(url, sender=SENDER, recipient=AGENT)
            await stack.enter_async_context(client)
            yield lambda: _request(client)


async def _post(http: httpx2.AsyncClient, url: str) -> None:
    request_id, request = frame()
    answer = await http.post(url, content=request, headers={"Content-Type": "application/json"})
    if check(answer.content) != request_id:
        raise WrongAnswer(f"{answer.content!r}")


async def _request(client: AsapClient) -> None:
    answer = await client.request_task("answer", {"text": PROMPT})
    if answer.status != "completed" or answer.result != {"text": ANSWER_TEXT}:
        raise WrongAnswer(f"{answer}")


async def length_of_answer(port: int) -> int:
    """Return how many characters an answer has."""
    async with plain_socket(f"ws://127.0.0.1:{port}/asap/ws") as socket:
        await socket.send(frame()[1], text=True)
        answer = await socket.recv()
        check(answer)
        return len(answer)


class Tally:
    """What came of one load on one server."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._times: list[float] = []
        self._cpu = server.cpu_seconds()
        self._own, self._began = time.process_time(), time.perf_counter()

    async def timed(self, work: Ask) -> None:
        """Do one thing."""
        began = time.perf_counter()
        await work()
        self._times.append(time.perf_counter() - began)

    def figures(self) -> dict[str, float]:
        """Return figures by metric name."""
        elapsed = time.perf_counter() - self._began
        count = len(self._times)
        return {
            "p50": percentile(self._times, 50) * 1e3,
            "p95": percentile(self._times, 95) * 1e3,
            "rate": count / elapsed,
            "server CPU": (self._server.cpu_seconds() - self._cpu) / count * 1e6,
            "client busy": (time.process_time() - self._own) / elapsed * 100,
        }


async def measure_asking(
    name: str, server: RunningServer, length: int, *, at_once: int, count: int
) -> dict[str, float]:
    """Ask `count` things, so many at once; return figures by metric name."""
    async with asking(name, server.port, length) as ask:
        await ask()
        left = iter(range(count))
        tally = Tally(server)

        async def one_after_the_other() -> None:
            for _ in left:
                await tally.timed(ask)

        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return tally.figures()


async def measure_connecting(name: str, server: RunningServer, count: int) -> dict[str, float]:
    """Connect `count` times, one after the other; return figures by metric name."""
    path = "" if name == ECHO else "asap/ws"
    url = f"ws://127.0.0.1:{server.port}/{path}"
    tally = Tally(server)
    for _ in range(count):
        if name == SOCKET_CLIENT:
            client = AsapClient(url, sender=SENDER, recipient=AGENT)
            await tally.timed(client.connect)
            await client.close()
            continue
        opened: list[ClientConnection] = []

        async def dial(opened: list[ClientConnection] = opened) -> None:
            opened.append(await plain_socket(url))

        await tally.timed(dial)
        await opened[0].close()
    return tally.figures()


def contestants() -> list[Server]:
    """Return the servers, Palaver first."""
    ours = palaver("palaver", "answering", "memory:")
    # One socket sends all that there is: more than the 1,000 messages a second that it may.
    ours = replace(ours, arguments=(*ours.arguments, "--set", "asap_max_rate=1000000"))
    return [ours, peer(ECHO, "echo_frames.py", "websockets")]


def _measure_rounds(options: Options, report: Report) -> None:
    wanted = options.wanted([ECHO, SOCKET, SOCKET_CLIENT, HTTP, HTTP_CLIENT])
    count = 300 if options.quick else 1_500
    with ExitStack() as stack:
        ours, echo = (stack.enter_context(running(server)) for server in contestants())
        length = run_client(length_of_answer(ours.port))
        report.settings |= {"request_bytes": len(frame()[1]), "answer_bytes": length}
        servers = {name: echo if name == ECHO else ours for name in wanted}
        for name, server in servers.items():  # until code is warm
            run_client(measure_asking(name, server, length, at_once=IN_FLIGHT, count=300))
        for _ in range(options.rounds):
            for load, at_once in ((ONE, 1), (MANY, IN_FLIGHT)):
                for name, server in servers.items():
                    asked = measure_asking(name, server, length, at_once=at_once, count=count)
                    report.add(load, name, run_client(asked))
            for name in wanted:
                if name not in {HTTP, HTTP_CLIENT}:
                    connecting = measure_connecting(name, servers[name], count // 10)
                    report.add(CONNECT, name, run_client(connecting))


def main() -> None:
    """Measure and report."""
    options, _ = parse_options(__doc__, rounds=5)
    report = Report("ASAP", METRICS, BUDGETS)
    report.settings |= {
        "rounds": options.rounds,
        "client_core": pin_client(),
        "server_core": server_core(),
        "websockets": importlib.metadata.version("websockets"),
        "httpx2": importlib.metadata.version("httpx2"),
    }
    _measure_rounds(options, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
