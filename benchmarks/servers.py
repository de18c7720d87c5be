"""Servers under test: processes of their own on one core, with their CPU time and memory.

The client runs in the benchmark's own process, pinned to another core where there is one.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is started; `{port}` and `{folder}` in its arguments are filled in.

    `ready_path` answers 200 to a GET once the server serves.
    """

    name: str
    arguments: tuple[str, ...]
    ready_path: str


def palaver(name: str, agent: str, store: str) -> Server:
    """Describe Palaver serving `agent` of `bench_agents`, with `store` as its task store."""
    return Server(
        name,
        ("-m", "palaver", "serve", f"bench_agents:{agent}", "--port", "{port}", "--store", store),
        "/healthz",
    )


def peer(name: str, program: str, *modes: str) -> Server:
    """Describe a peer's server: a program of the folder `peers`, started in `modes`."""
    return Server(name, (str(HERE / "peers" / program), *modes, "--port", "{port}"), "/ready")


def server_core() -> int | None:
    """Return the core that servers are pinned to; None where the system cannot pin."""
    cores = _cores()
    return cores[-1] if cores else None


def pin_client() -> int | None:
    """Pin this process to a core other than the servers', where there is one; return the core."""
    cores = _cores()
    if not cores:
        return None
    os.sched_setaffinity(0, {cores[0]})
    return cores[0]


_ALL_CORES: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _cores() -> list[int]:
    return _ALL_CORES


class RunningServer:
    """A started server process: its port, CPU time and memory, with all its child processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = process

    def cpu_seconds(self) -> float:
        """CPU time used so far, user and system, in seconds; NaN where there is no /proc."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def memory_kib(self, line: str = "Pss") -> float:
        """Resident memory in KiB: a `line` ("Pss", "Rss") of smaps_rollup; NaN without /proc."""
        return sum(_memory_kib(pid, line) for pid in self._pids())

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def _pids(self) -> list[int]:
        return _with_children(self._process.pid)


@contextlib.contextmanager
def running(server: Server) -> Iterator[RunningServer]:
    """Start `server` on a free port, wait until it is ready, and stop it in the end."""
    with tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder:
        port = _free_port()
        arguments = [part.format(port=port, folder=folder) for part in server.arguments]
        log = Path(folder, "server.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": _python_path()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            core = server_core()
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            _wait_until_ready(server, process, port, log)
            yield RunningServer(process, port)
        except Exception as error:
            if _tail(log):
                error.add_note(f"output of {server.name}: {_tail(log)}")
            raise
        finally:
            _stop(process)


def folder_facts() -> dict[str, object]:
    """Where stores are kept, and the median time of a 4 KiB write with fsync there, in ms."""
    with tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder:
        times = []
        with Path(folder, "probe").open("wb", buffering=0) as probe:
            for _ in range(50):
                started = time.perf_counter()
                probe.write(bytes(4096))
                os.fsync(probe.fileno())
                times.append(time.perf_counter() - started)
    return {"store_folder": tempfile.gettempdir(), "fsync_ms": round(sorted(times)[25] * 1e3, 3)}


def _python_path() -> str:
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(HERE), given] if given else [str(HERE)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(
    server: Server, process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise RuntimeError(f"{server.name} ended with code {process.returncode}: {_tail(log)}")
        if _answers_ok(port, server.ready_path):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{server.name} was not ready within {START_TIMEOUT:.0f} s: {_tail(log)}")


def _answers_ok(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:].strip()


def _with_children(pid: int) -> list[int]:
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                pids += _with_children(int(child))
    return pids


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_kib(pid: int, line: str) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return float("nan")
    found = [row for row in text.splitlines() if row.startswith(f"{line}:")]
    return float(found[0].split()[1]) if found else float("nan")
