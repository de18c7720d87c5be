"""Memory per idle open stream: what 500 open A2A streams cost the server that holds them.

Each stream's agent sends one text and then waits. The server's memory (PSS and RSS of the
process, from smaps_rollup) is read before and after the streams are opened; the difference is
divided by their number. A fresh server for each round; compared in interleaved rounds: Palaver
with its memory and its SQLite store, the a2a-sdk server with both of its request handlers, a
bare Starlette stream of ready bytes, and the same without Starlette (what uvicorn alone needs).
"""

import asyncio

from load import open_idle_streams, run_client
from report import Budget, Metric, Options, Report, parse_options
from servers import RunningServer, Server, palaver, peer, pin_client, running, server_core
from workload import CHUNK_MARK, requests

STREAMS = 500
QUICK_STREAMS = 100
WARM_UP_STREAMS = 10
SETTLE_SECONDS = 0.5
METRICS = (
    Metric("PSS", "KiB/stream", digits=1, with_range=True),
    Metric("RSS", "KiB/stream", digits=1, with_range=True),
    Metric("server before", "MiB PSS", digits=1),
    Metric("opening", "ms/stream", digits=2),
)


def contestants() -> list[Server]:
    """Return the servers, Palaver first."""
    return [
        palaver("palaver memory", "waiting", "memory:"),
        palaver("palaver sqlite", "waiting", "{folder}/palaver.db"),
        peer("a2a-sdk", "a2a_sdk.py", "idle"),
        peer("a2a-sdk legacy", "a2a_sdk.py", "idle", "--handler", "legacy"),
        peer("starlette bytes", "bare_starlette.py", "idle"),
        peer("asgi bytes", "bare_starlette.py", "idle-asgi"),
    ]


async def _measure(server: RunningServer, count: int) -> dict[str, float]:
    """Open `count` streams beside a few that warm the server up; figures by metric name."""
    asked = requests("SendStreamingMessage")
    loop = asyncio.get_running_loop()
    connections = await open_idle_streams(server.port, asked, CHUNK_MARK, WARM_UP_STREAMS)
    await asyncio.sleep(SETTLE_SECONDS)
    before = {line: server.memory_kib(line) for line in ("Pss", "Rss")}
    started = loop.time()
    connections += await open_idle_streams(server.port, asked, CHUNK_MARK, count)
    opening = loop.time() - started
    await asyncio.sleep(SETTLE_SECONDS)
    after = {line: server.memory_kib(line) for line in ("Pss", "Rss")}
    still_open = sum(connection.is_open for connection in connections)
    if still_open != count + WARM_UP_STREAMS:
        raise RuntimeError(f"only {still_open} of {count + WARM_UP_STREAMS} streams stayed open")
    for connection in connections:
        connection.close()
    return {
        "PSS": (after["Pss"] - before["Pss"]) / count,
        "RSS": (after["Rss"] - before["Rss"]) / count,
        "server before": before["Pss"] / 1024,
        "opening": opening / count * 1e3,
    }


def _measure_rounds(options: Options, report: Report, count: int, load: str) -> None:
    servers = contestants()
    wanted = options.wanted([server.name for server in servers])
    for _ in range(options.rounds):
        for server in servers:
            if server.name in wanted:
                with running(server) as started:
                    report.add(load, server.name, run_client(_measure(started, count)))


def main() -> None:
    """Measure and report."""
    options, _ = parse_options(__doc__, rounds=3)
    count = QUICK_STREAMS if options.quick else STREAMS
    load = f"{count} open streams"
    budgets = [
        Budget("PSS", load, "palaver memory", baseline, 0.2, at_least=False)
        for baseline in ("a2a-sdk", "a2a-sdk legacy")
    ]
    report = Report("Memory per idle open stream", METRICS, budgets)
    report.settings |= {
        "rounds": options.rounds,
        "client_core": pin_client(),
        "server_core": server_core(),
    }
    _measure_rounds(options, report, count, load)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
