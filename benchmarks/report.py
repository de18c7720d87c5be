"""The report of a benchmark: figures per subject and load over interleaved rounds, and budgets.

Printed as tables (median and, in brackets, minimum to maximum over the rounds), and as JSON.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = (
    "palaver",
    "a2a-sdk",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "orjson",
    "protobuf",
    "sse-starlette",
    "apsw",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure: a name with its unit, digits after the point, main ones with range."""

    name: str
    unit: str
    digits: int = 0
    with_range: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the ratio of two subjects' medians of one metric under one load.

    `at_least` tells whether the ratio has to reach the limit or must not pass it.
    """

    metric: str
    load: str
    subject: str
    baseline: str
    limit: float
    at_least: bool = True


@dataclass(slots=True)
class Report:
    """Collects the figures of all rounds, then prints them."""

    title: str
    metrics: Sequence[Metric]
    budgets: Sequence[Budget] = ()
    settings: dict[str, object] = field(default_factory=dict)
    _values: dict[tuple[str, str], dict[str, list[float]]] = field(default_factory=dict)

    def add(self, load: str, subject: str, figures: dict[str, float]) -> None:
        """Add the figures, by metric name, of `subject` in one round of `load`."""
        series = self._values.setdefault((load, subject), {})
        for name, value in figures.items():
            series.setdefault(name, []).append(value)

    def print(self, *, as_json: bool) -> None:
        """Print tables to standard output; with `as_json` JSON there and the tables to stderr."""
        tables = sys.stderr if as_json else sys.stdout
        print(self.as_text(), file=tables)
        if as_json:
            print(json.dumps(self.as_dict(), indent=2))

    def as_dict(self) -> dict[str, object]:
        """Everything that was measured, ready for JSON."""
        return {
            "benchmark": self.title,
            "machine": machine(),
            "versions": versions(),
            "settings": self.settings,
            "units": {metric.name: metric.unit for metric in self.metrics},
            "results": [
                {"load": load, "subject": subject}
                | {name: _spread(values) for name, values in series.items()}
                for (load, subject), series in self._values.items()
            ],
            "budgets": [self._verdict(budget) for budget in self._applicable()],
        }

    def as_text(self) -> str:
        """Return the tables, with machine, versions and settings above and budgets below."""
        lines = [self.title, _named(machine()), _named(versions()), _named(self.settings)]
        for load in dict.fromkeys(load for load, _ in self._values):
            rows = [[metric_title(metric) for metric in self.metrics]]
            subjects = [subject for at, subject in self._values if at == load]
            for subject in subjects:
                series = self._values[load, subject]
                rows.append([_cell(metric, series.get(metric.name)) for metric in self.metrics])
            names = [load, *subjects]
            lines += ["", *_aligned([[name, *row] for name, row in zip(names, rows, strict=True)])]
        verdicts = [self._verdict(budget) for budget in self._applicable()]
        if verdicts:
            lines += ["", *(_verdict_line(verdict) for verdict in verdicts)]
        return "\n".join(lines)

    def _applicable(self) -> list[Budget]:
        return [
            budget
            for budget in self.budgets
            if {(budget.load, budget.subject), (budget.load, budget.baseline)} <= set(self._values)
        ]

    def _verdict(self, budget: Budget) -> dict[str, object]:
        ours = self._values[budget.load, budget.subject][budget.metric]
        theirs = self._values[budget.load, budget.baseline][budget.metric]
        ratio = statistics.median(ours) / statistics.median(theirs)
        by_round = [our / their for our, their in zip(ours, theirs, strict=True) if their]
        return {
            "metric": budget.metric,
            "load": budget.load,
            "subject": budget.subject,
            "baseline": budget.baseline,
            "ratio": ratio,
            "ratio_min": min(by_round, default=ratio),
            "ratio_max": max(by_round, default=ratio),
            "budget": f"{'≥' if budget.at_least else '≤'} {budget.limit:g}",
            "met": ratio >= budget.limit if budget.at_least else ratio <= budget.limit,
        }


def metric_title(metric: Metric) -> str:
    """Return the column title of a metric: its name and unit."""
    return f"{metric.name} [{metric.unit}]" if metric.unit else metric.name


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not pass (nearest rank), or NaN."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> dict[str, object]:
    """Processor, cores that this process may use at its start, system, Python, load average."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return the installed version of each package that takes part."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    quick: bool
    as_json: bool
    rounds: int
    only: frozenset[str]

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are to be measured."""
        unknown = self.only - set(names)
        if unknown:
            raise SystemExit(f"--only: unknown {sorted(unknown)}; there are: {', '.join(names)}")
        return [name for name in names if not self.only or name in self.only]


def parse_options(
    description: str | None,
    *,
    rounds: int,
    extend: Callable[[argparse.ArgumentParser], None] | None = None,
) -> tuple[Options, argparse.Namespace]:
    """Read the options that all benchmarks share, and those that `extend` adds to the parser."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one short round, under 20 s")
    parser.add_argument("--json", action="store_true", help="JSON to stdout, tables to stderr")
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved rounds")
    parser.add_argument("--only", default="", help="comma-separated subjects; default: all")
    if extend is not None:
        extend(parser)
    given = parser.parse_args()
    only = frozenset(name.strip() for name in given.only.split(",") if name.strip())
    rounds = 1 if given.quick else given.rounds
    return Options(given.quick, given.json, rounds, only), given


def _cpu_model() -> str:
    cpu_info = Path("/proc/cpuinfo")
    for line in cpu_info.read_text().splitlines() if cpu_info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _named(facts: dict[str, object] | dict[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in facts.items())


def _spread(values: list[float]) -> dict[str, object]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": values,
    }


def _cell(metric: Metric, values: list[float] | None) -> str:
    if not values:
        return "-"
    text = f"{statistics.median(values):,.{metric.digits}f}"
    if metric.with_range and len(values) > 1:
        text += f" ({min(values):,.{metric.digits}f}..{max(values):,.{metric.digits}f})"
    return text


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _verdict_line(verdict: dict[str, object]) -> str:
    mark = "met   " if verdict["met"] else "MISSED"
    return (
        f"{mark} {verdict['metric']}, {verdict['load']}: {verdict['subject']} is "
        f"{verdict['ratio']:.2f} x {verdict['baseline']} "
        f"({verdict['ratio_min']:.2f}..{verdict['ratio_max']:.2f}), budget {verdict['budget']} x"
    )
