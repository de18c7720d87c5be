"""Several processes on one file, and processes that die."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from palaver.errors import StaleWriter
from palaver.model.events import ArtifactUpdated
from palaver.storage.sqlite import SqliteStorage
from palaver.testing.samples import chunks, created

PREAMBLE = """
import asyncio, sys
from palaver.errors import StaleWriter
from palaver.storage.sqlite import SqliteStorage
from palaver.testing.samples import chunks, created, finished

def say(*words):
    print(*words, flush=True)

async def heard():
    return await asyncio.to_thread(sys.stdin.readline)
"""
TIMEOUT = 20.0

Start = Callable[[str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file will be."""
    return tmp_path / "palaver.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStorage]:
    """Return an open store."""
    store = SqliteStorage(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def start(path: Path) -> AsyncIterator[Start]:
    """Start programs in other processes; ``store`` is a name in them."""
    started: list[asyncio.subprocess.Process] = []

    async def start(body: str) -> asyncio.subprocess.Process:
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        program = (
            f"{PREAMBLE}\nasync def main():\n    store = SqliteStorage({str(path)!r})\n"
            f"    await store.open()\n{lines}\n    await store.close()\n\nasyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(process: asyncio.subprocess.Process) -> str:
    """Return the next line that the process says."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), TIMEOUT)).decode().strip()


def tell(process: asyncio.subprocess.Process, line: str = "") -> None:
    """Say a line to the process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())


STREAMING = """
async def stream(name):
    await store.events.append(name, 0, [created()])
    head = 1
    while True:
        await store.events.append(name, head, chunks(head, 1 + head % 7))
        head += 1 + head % 7
        say(name, head)
await asyncio.gather(*(stream(f"t-{number}") for number in range(8)))
"""


@pytest.mark.parametrize("seed", range(10))
async def test_nothing_acknowledged_is_lost(path: Path, start: Start, seed: int) -> None:
    """A process is killed as it writes: what it had acknowledged is there, without a gap."""
    lines = random.Random(seed).randint(1, 400)
    process = await start(STREAMING)
    acknowledged: dict[str, int] = {}

    def note(line: str) -> None:
        name, _, head = line.partition(" ")
        acknowledged[name] = int(head)

    for _ in range(lines):
        note(await line_of(process))
    process.send_signal(signal.SIGKILL)
    rest, _ = await process.communicate()
    for line in rest.decode().split("\n")[:-1]:
        note(line)
    store = SqliteStorage(path)
    await store.open()
    for name, head in acknowledged.items():
        events = await store.events.read(name, 0, 1_000_000)
        assert events == [created(), *chunks(1, len(events) - 1)]
        assert len(events) >= head
        assert await store.events.head(name) == len(events)
        await store.events.append(name, len(events), chunks(len(events)))
    await store.close()
    assert not list(path.parent.glob("*-wake/*")), "the socket of the dead process is left"


async def test_an_append_wakes_the_watchers_elsewhere(
    store: SqliteStorage, start: Start, record_property: Callable[[str, object], None]
) -> None:
    """Two processes, one file: what one appends, the other's reader has within milliseconds."""
    process = await start(
        """
await store.events.append("t", 0, [created()])
say("ready")
head = 1
while await heard() == "next\\n":
    await store.events.append("t", head, chunks(head, 3))
    head += 3
"""
    )
    assert await line_of(process) == "ready"
    assert await store.events.head("t") == 1
    delays: list[float] = []
    for head in range(1, 61, 3):
        waiting = asyncio.ensure_future(store.events.wait("t", head))
        await asyncio.sleep(0)
        asked_at = time.perf_counter()
        tell(process, "next")
        await asyncio.wait_for(waiting, TIMEOUT)
        delays.append((time.perf_counter() - asked_at) * 1000)
        assert await store.events.read("t", head) == chunks(head, 3)
    tell(process, "end")
    assert await asyncio.wait_for(process.wait(), TIMEOUT) == 0
    delays.sort()
    record_property("asked, appended, woken, p50 ms", round(delays[10], 2))
    assert delays[10] < 100, "slower than polling: no datagram arrived"


async def test_each_number_has_one_writer(store: SqliteStorage, start: Start) -> None:
    """Processes that race on one task: every number is won once, and what was won is stored."""
    await store.events.append("t", 0, [created()])
    body = """
await heard()
won = 0
while won < 40:
    head = await store.events.head("t")
    text = f"NAME {head} "
    try:
        await store.events.append("t", head, chunks(head, 1, text))
    except StaleWriter:
        continue
    won += 1
    say(f"{text}{head + 1}")
"""
    processes = [await start(body.replace("NAME", name)) for name in ("a", "b")]
    for process in processes:
        tell(process)
    outputs = [await asyncio.wait_for(process.communicate(), TIMEOUT) for process in processes]
    won = [line for output, _ in outputs for line in output.decode().splitlines()]
    events = await store.events.read("t", 1, 1000)
    stored = [event.artifact.text for event in events if isinstance(event, ArtifactUpdated)]
    assert [event.seq for event in events] == list(range(2, 82))
    assert sorted(stored) == sorted(won)


async def test_an_acknowledged_append_is_seen_at_once(store: SqliteStorage, start: Start) -> None:
    """A read that starts after another process's append was acknowledged has its events.

    Also where this process wrote to the task a moment ago and has its end in memory.
    """
    process = await start(
        """
say("ready")
while (line := await heard()) != "end\\n":
    head = int(line)
    await store.events.append("t", head, chunks(head))
    say("done")
"""
    )
    await store.events.append("t", 0, [created()])
    assert await line_of(process) == "ready"
    for head in range(1, 61, 2):
        tell(process, str(head))
        assert await line_of(process) == "done"
        if head % 3:
            assert await store.events.head("t") == head + 1
        assert await store.events.read("t", head) == chunks(head)
        with pytest.raises(StaleWriter):
            await store.events.append("t", head, chunks(head))
        await store.events.append("t", head + 1, chunks(head + 1))
    tell(process, "end")


async def test_a_new_file_opened_by_many(start: Start) -> None:
    """Processes that come to a new file at once agree who makes its tables."""
    body = 'await store.events.append("NAME", 0, [created()])\nsay(await store.events.head("NAME"))'
    processes = [await start(body.replace("NAME", f"t-{number}")) for number in range(6)]
    for process in processes:
        output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
        assert (process.returncode, output) == (0, b"1\n")
