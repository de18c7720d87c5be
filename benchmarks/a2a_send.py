"""A2A blocking send: requests per second, and time to the whole answer.

Each request is a SendMessage that starts a task and gets one short answer. Compared in
interleaved rounds: Palaver with its memory store and with its SQLite store (durable before
visible), the a2a-sdk server at its best settings with its default and its legacy request handler
(a task with an artifact, as ours; and, as its cheapest, a message without any task), a bare
Starlette application that parses the request and answers with JSON of the same length, and a
server that answers with ready bytes (the ceiling of the load client).
"""

from answers import check_reply, check_task_reply
from interleave import Plan, measure_all
from load import ReplyConnection
from report import Budget, Metric, Report, parse_options
from servers import Server, palaver, peer

LOADS = (1, 16)
METRICS = (
    Metric("requests/s", "1/s", with_range=True),
    Metric("answer p50", "ms", digits=2),
    Metric("answer p95", "ms", digits=2, with_range=True),
    Metric("server CPU", "µs/request", digits=1),
    Metric("size", "bytes/answer"),
    Metric("client busy", "%"),
)
BUDGETS = (
    Budget("requests/s", "16 connections", "palaver memory", "a2a-sdk", 8),
    Budget("requests/s", "16 connections", "palaver memory", "a2a-sdk legacy", 8),
)
WITHOUT_TASK = "a2a-sdk message"


def contestants() -> list[Server]:
    """Return the servers, Palaver first."""
    return [
        palaver("palaver memory", "answering", "memory:"),
        palaver("palaver sqlite", "answering", "{folder}/palaver.db"),
        peer("a2a-sdk", "a2a_sdk.py", "reply"),
        peer("a2a-sdk legacy", "a2a_sdk.py", "reply", "--handler", "legacy"),
        peer(WITHOUT_TASK, "a2a_sdk.py", "message"),
        peer("starlette echo", "bare_starlette.py", "reply"),
        peer("client ceiling", "ready_bytes.py", "reply"),
    ]


def main() -> None:
    """Measure and report."""
    options, _ = parse_options(__doc__, rounds=5)
    plan = Plan(
        method="SendMessage",
        connection_type=ReplyConnection,
        check=check_task_reply,
        first_check=check_task_reply,
        loads={f"{count} connection{'s' if count > 1 else ''}": count for count in LOADS},
        seconds=0.4 if options.quick else 1.5,
        events_per_answer=1,
        rate_name="requests/s",
        first_name="answer",
        checks={WITHOUT_TASK: check_reply},
    )
    report = Report("A2A blocking send with a short answer", METRICS, BUDGETS)
    measure_all(plan, contestants(), options, report)
    report.print(as_json=options.as_json)


if __name__ == "__main__":
    main()
