"""Interleaved rounds: in each round every server takes every load in turn (A B C, A B C, …).

All servers run from the first round to the last, idle but for their turn, so that a slow minute
of the machine falls on all of them alike.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from answers import WrongAnswer
from load import Check, LoadConnection, Outcome, apply_load, run_client
from report import Options, Report, percentile
from servers import RunningServer, Server, folder_facts, pin_client, running, server_core
from workload import requests

WARM_UP_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """What the load client asks, and what its figures are called in the report.

    `loads` maps a load's name to its number of connections; `seconds` is the time per load.
    `checks` gives servers that answer differently a check of their own, by server name.
    """

    method: str
    connection_type: type[LoadConnection]
    check: Check
    first_check: Check
    loads: dict[str, int]
    seconds: float
    events_per_answer: int
    rate_name: str
    first_name: str
    checks: dict[str, Check]

    def check_for(self, server_name: str) -> Check:
        """Return the check that every answer of this server has to pass."""
        return self.checks.get(server_name, self.check)


def measure_all(plan: Plan, servers: Sequence[Server], options: Options, report: Report) -> None:
    """Run all rounds against all wanted servers and put the figures into `report`."""
    wanted = options.wanted([server.name for server in servers])
    report.settings |= {
        "rounds": options.rounds,
        "seconds_per_load": plan.seconds,
        "client_core": pin_client(),
        "server_core": server_core(),
    } | folder_facts()
    with contextlib.ExitStack() as stack:
        started = {
            server.name: stack.enter_context(running(server))
            for server in servers
            if server.name in wanted
        }
        for name, server in started.items():
            _warm_up(plan, name, server)
        for _ in range(options.rounds):
            for load, connections in plan.loads.items():
                for name, server in started.items():
                    report.add(load, name, _measure(plan, name, server, connections))


def _warm_up(plan: Plan, name: str, server: RunningServer) -> None:
    """Check one answer thoroughly, then run until code and buffers are warm."""
    first = _load(plan, name, server, connections=1, seconds=0)
    if name not in plan.checks:
        plan.first_check(first.last_answer)
    _load(plan, name, server, connections=4, seconds=WARM_UP_SECONDS)


def _measure(plan: Plan, name: str, server: RunningServer, connections: int) -> dict[str, float]:
    cpu_before = server.cpu_seconds()
    outcome = _load(plan, name, server, connections=connections, seconds=plan.seconds)
    cpu = server.cpu_seconds() - cpu_before
    events = outcome.answers * plan.events_per_answer
    return {
        plan.rate_name: events / outcome.elapsed,
        f"{plan.first_name} p50": percentile(outcome.first, 50) * 1e3,
        f"{plan.first_name} p95": percentile(outcome.first, 95) * 1e3,
        "server CPU": cpu / events * 1e6,
        "size": outcome.received / outcome.answers,
        "client busy": outcome.client_busy * 100,
    }


def _load(
    plan: Plan, name: str, server: RunningServer, *, connections: int, seconds: float
) -> Outcome:
    try:
        return run_client(
            apply_load(
                plan.connection_type,
                server.port,
                requests(plan.method),
                plan.check_for(name),
                connections=connections,
                seconds=seconds,
            )
        )
    except (WrongAnswer, ConnectionError) as error:
        error.add_note(f"answered by {name}, {connections} connections")
        raise
