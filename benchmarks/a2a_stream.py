"""A2A streaming: text chunks per second to the client, and time to the first event.

Each stream carries 100 short text chunks (one event each) between a task, a "working" and a
"completed" status. Compared in interleaved rounds: Palaver with its memory store, Palaver with
its SQLite store (durable before visible), the a2a-sdk server at its best settings with its
default and with its faster legacy request handler, a bare Starlette stream of ready bytes, and a
server that writes a whole stream of ready bytes at once (the ceiling of the load client). Events
per second count the text chunks only.
"""

import argparse

from answers import check_stream, check_stream_thoroughly
from interleave import Plan, measure_all
from load import StreamConnection
from report import Budget, Metric, Report, parse_options
from servers import Server, palaver, peer
from workload import CHUNKS_PER_STREAM

LOADS = (1, 16, 64)
METRICS = (
    Metric("events/s", "1/s", with_range=True),
    Metric("first event p50", "ms", digits=2),
    Metric("first event p95", "ms", digits=2, with_range=True),
    Metric("server CPU", "µs/event", digits=1),
    Metric("size", "bytes/stream"),
    Metric("client busy", "%"),
)
BUDGETS = (
    Budget("events/s", "64 streams", "palaver memory", "a2a-sdk", 10),
    Budget("events/s", "64 streams", "palaver memory", "a2a-sdk legacy", 10),
    Budget("events/s", "64 streams", "palaver memory", "starlette bytes", 0.5),
    Budget("first event p95", "64 streams", "palaver memory", "a2a-sdk", 0.2, at_least=False),
    Budget(
        "first event p95", "64 streams", "palaver memory", "a2a-sdk legacy", 0.2, at_least=False
    ),
    Budget("events/s", "64 streams", "palaver sqlite", "palaver memory", 0.5),
)


def contestants(*, yielding: bool) -> list[Server]:
    """Return the servers; with `yielding` their agents give way after each chunk."""
    agent = "yielding" if yielding else "streaming"
    mode = "stream-yielding" if yielding else "stream"
    return [
        palaver("palaver memory", agent, "memory:"),
        palaver("palaver sqlite", agent, "{folder}/palaver.db"),
        peer("a2a-sdk", "a2a_sdk.py", mode),
        peer("a2a-sdk legacy", "a2a_sdk.py", mode, "--handler", "legacy"),
        peer("starlette bytes", "bare_starlette.py", mode),
        peer("client ceiling", "ready_bytes.py", mode),
    ]


def _extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--yielding",
        action="store_true",
        help="agents give way to the event loop after each chunk, as a model's stream would",
    )


def main() -> None:
    """Measure and report."""
    options, given = parse_options(__doc__, rounds=5, extend=_extend)
    plan = Plan(
        method="SendStreamingMessage",
        connection_type=StreamConnection,
        check=check_stream,
        first_check=check_stream_thoroughly,
        loads={f"{count} stream{'s' if count > 1 else ''}": count for count in LOADS},
        seconds=0.4 if options.quick else 1.5,
        events_per_answer=CHUNKS_PER_STREAM,
        rate_name="events/s",
        first_name="first event",
        checks={},
    )
    report = Report("A2A stream of 100 text chunks", METRICS, BUDGETS)
    report.settings["agents"] = "give way after each chunk" if given.yielding else "do not pause"
    measure_all(plan, contestants(yielding=given.yielding), options, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
