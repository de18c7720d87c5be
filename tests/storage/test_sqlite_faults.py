"""What goes wrong with files and disks, and what the user is told."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest

from palaver.errors import DamagedEvent, IllegalEvent, NotFound, StaleWriter, StoreUnavailable
from palaver.model.content import Artifact, DataPart, TextPart
from palaver.model.events import ArtifactUpdated
from palaver.storage.sqlite import SqliteStorage
from palaver.storage.sqlite.identity import FileIdentity
from palaver.storage.sqlite.jobs import Append, Operation
from palaver.storage.sqlite.queries import head
from palaver.storage.sqlite.schema import SCHEMA_VERSION, unavailable
from palaver.testing.samples import chunks, created


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


async def refusal(path: Path) -> str:
    """Return why a store over that path does not open: one line."""
    with pytest.raises(StoreUnavailable) as caught:
        await SqliteStorage(path).open()
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path))


# --- opening ---


async def test_makes_missing_directories(tmp_path: Path) -> None:
    """A store opens where nothing was, and says where it is."""
    path = tmp_path / "a" / "b" / "palaver.db"
    store = SqliteStorage(path)
    await store.open()
    await store.ping()
    await store.close()
    assert (store.name, store.durable, path.exists()) == (str(path), True, True)


async def test_is_not_open_before_it_is_opened(path: Path) -> None:
    """A call before ``open`` says so."""
    with pytest.raises(StoreUnavailable, match="is not open"):
        await SqliteStorage(path).events.head("t")


async def test_opens_again_after_it_was_closed(store: SqliteStorage) -> None:
    """A store that was closed, or is open, can be opened; what it held is there."""
    await store.events.append("t", 0, [created()])
    await store.close()
    for _ in range(2):
        await store.open()
        assert await store.events.head("t") == 1


async def test_refuses_what_is_no_database(path: Path) -> None:
    """Somebody's text is left as it is."""
    text = "dear diary, " * 1000
    await asyncio.to_thread(path.write_text, text)
    assert (await refusal(path)).startswith(" is not a SQLite database: name another file")
    assert await asyncio.to_thread(path.read_text) == text


async def test_refuses_the_database_of_another_program(path: Path) -> None:
    """Somebody's tables are left as they are."""
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    assert (await refusal(path)).startswith(" is the database of another program: name another")


async def test_refuses_a_newer_schema(store: SqliteStorage, path: Path) -> None:
    """Tables of a later release are left to it."""
    await store.close()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    assert await refusal(path) == (
        f" has tables of version {SCHEMA_VERSION + 1}, this release knows {SCHEMA_VERSION}: "
        "use the newer release of Palaver, or name another file"
    )


async def test_refuses_a_directory(tmp_path: Path) -> None:
    """A directory is no file."""
    assert " cannot be opened: " in await refusal(tmp_path)


async def test_refuses_a_file_as_directory(tmp_path: Path) -> None:
    """A path through a file leads nowhere."""
    (tmp_path / "file").touch()
    text = await refusal(tmp_path / "file" / "palaver.db")
    assert " cannot be made (" in text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (apsw.FullError("x"), "there is no room left to write /p: free some space on its disk"),
        (apsw.ReadOnlyError("x"), "/p is read-only: allow this user to write to it"),
        (apsw.CorruptError("x"), "/p is damaged: restore it from a backup"),
        (apsw.IOError("disk I/O error"), "/p cannot be used: disk I/O error"),
        (PermissionError(13, "x"), "/p cannot be opened: allow this user to write to it"),
    ],
)
def test_says_what_to_do(error: Exception, text: str) -> None:
    """Every way in which a disk fails has words of its own."""
    assert str(unavailable(Path("/p"), error)).startswith(text)


# --- writing ---


async def test_a_full_disk_reaches_the_caller(store: SqliteStorage, path: Path) -> None:
    """Appends fail while there is no room, leave nothing, and go on once there is."""
    await store.events.append("t", 0, [created()])
    big = ArtifactUpdated(
        seq=2, at=2.0, artifact=Artifact(id="a", parts=(TextPart("x" * 500_000),)), index=0
    )

    def limit(pages: int) -> Any:
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").get

    await store.file.write(limit(40))
    with pytest.raises(StoreUnavailable, match="there is no room left to write"):
        await store.events.append("t", 1, [big])
    assert await store.events.head("t") == 1
    # What is small still fits, though it stood in one transaction with what is not.
    results = await asyncio.gather(
        store.events.append("small-1", 0, [created()]),
        store.events.append("t", 1, [big]),
        store.events.append("small-2", 0, [created()]),
        store.events.append("t", 1, chunks(1)),
        store.events.append("t", 7, chunks(7)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        type(None),
        StoreUnavailable,
        type(None),
        type(None),
        StaleWriter,
    ]
    await store.file.write(limit(1_000_000))
    await store.events.append("t", 2, [big_after(big)])
    assert await store.events.read("t", 0) == [created(), *chunks(1), big_after(big)]
    assert await store.events.head("small-2") == 1


def big_after(big: ArtifactUpdated) -> ArtifactUpdated:
    """Return the event as the third of its task."""
    return ArtifactUpdated(seq=3, at=2.0, artifact=big.artifact, index=0)


async def test_a_locked_file_reaches_the_caller(store: SqliteStorage, path: Path) -> None:
    """Who cannot get the lock in time is told; the next one gets it."""
    await store.file.write(lambda connection: connection.set_busy_timeout(1))
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="is locked by another program"):
        await store.events.append("t", 0, [created()])
    holder.execute("ROLLBACK")
    holder.close()
    await store.events.append("t", 0, [created()])


async def test_a_failed_commit_fails_all_of_its_group(store: SqliteStorage) -> None:
    """Where the commit itself fails nobody is told that something is stored."""

    def refuse_commits(connection: apsw.Connection) -> None:
        connection.set_commit_hook(lambda: True)

    with pytest.raises(StoreUnavailable):
        await store.file.write(refuse_commits)
    with pytest.raises(StoreUnavailable):
        await store.events.append("t", 0, [created()])
    with pytest.raises(NotFound):
        await store.events.head("t")
    # The hook itself is removed where it does not have to commit: in a job that fails.
    with pytest.raises(StoreUnavailable):
        await store.file.write(lambda connection: connection.set_commit_hook(None) or _broken())
    await store.events.append("t", 0, [created()])


def _broken() -> None:
    raise apsw.SQLError("broken")


async def test_a_value_that_sqlite_cannot_hold(store: SqliteStorage) -> None:
    """A caller's mistake reaches this caller alone."""
    good = store.events.append("t", 0, [created()])
    bad = store.file.write(lambda connection: connection.execute("SELECT ?", (10**30,)))
    results = await asyncio.gather(good, bad, return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], OverflowError)


async def test_an_event_that_json_cannot_say(store: SqliteStorage) -> None:
    """It is refused before it reaches the disk."""
    event = ArtifactUpdated(
        seq=2, at=2.0, artifact=Artifact(id="a", parts=(DataPart({1, 2}),)), index=0
    )
    await store.events.append("t", 0, [created()])
    with pytest.raises(IllegalEvent, match="cannot be written as JSON"):
        await store.events.append("t", 1, [event])
    assert await store.events.head("t") == 1


async def test_a_damaged_file_reaches_the_reader(store: SqliteStorage) -> None:
    """A question that SQLite cannot answer is no answer."""
    with pytest.raises(StoreUnavailable, match="cannot be used: no such table"):
        await store.file.query(lambda connection: connection.execute("SELECT 1 FROM missing"))


@pytest.mark.parametrize(
    ("body", "seq"),
    [
        ("'['", 2),
        ("'[]'", 2),
        ("x'ff'", 2),
        ("replace(body, '\"seq\":2', '\"seq\":7')", 2),
        ('replace(body, \'"seq":3\', \'"seq":"x"\')', 3),
        ("replace(body, 'artifact', 'artefact')", 2),
    ],
)
async def test_a_damaged_event_is_named(
    store: SqliteStorage, path: Path, body: str, seq: int
) -> None:
    """It reaches its own readers, by number, and later readers see what was written since."""
    await store.events.append("t", 0, [created()])
    await store.events.append("t", 1, chunks(1, 2))
    await store.events.append("u", 0, [created()])
    await store.file.write(
        lambda connection: connection.execute(
            f"UPDATE segments SET body = CAST({body} AS BLOB) WHERE last_seq = 3"
        ).fetchall()
    )
    await store.close()
    await store.open()
    assert await store.events.read("t", 0, 1) == [created()]
    with pytest.raises(DamagedEvent, match=f"^task 't': event {seq} is damaged") as caught:
        await store.events.read("t", 0)
    assert (caught.value.task_id, caught.value.seq) == ("t", seq)
    with apsw.Connection(str(path)) as other:
        other.execute("UPDATE tasks SET head = 9 WHERE task_id = 'u'")
    other.close()
    assert await store.file.query(head, "u") == 9


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_deleted_file_takes_no_appends(
    store: SqliteStorage, path: Path, *, replaced: bool
) -> None:
    """What would be written to a file that nobody finds again is refused, and so is all else."""
    await store.events.append("t", 0, [created()])
    store.file.identity.interval = 0.0
    await asyncio.to_thread(path.rename, path.with_suffix(".old"))
    if replaced:
        other = SqliteStorage(path)
        await other.open()
        await other.close()
    text = f"^{path} was deleted or replaced while it was open: restart this process$"
    results = await asyncio.gather(
        *(store.events.append("t", 1, chunks(1)) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    with pytest.raises(StoreUnavailable, match=text):
        await store.events.head("t")
    await asyncio.to_thread(path.with_suffix(".old").rename, path)
    with pytest.raises(StoreUnavailable, match=text):
        await store.ping()
    await store.close()
    await store.open()
    await store.ping()


async def test_a_ping_finds_out_that_the_file_is_gone(store: SqliteStorage, path: Path) -> None:
    """It does not wait for the next regular look."""
    store.file.identity.interval = 3600.0
    await store.ping()
    await asyncio.to_thread(path.unlink)
    with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
        await store.ping()
    with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
        await store.events.append("t", 0, [created()])


async def test_a_file_that_cannot_be_looked_at_is_not_lost(tmp_path: Path) -> None:
    """Only what is known to be gone is given up."""
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "file").touch()
    identity = FileIdentity(folder / "file")
    identity.check()
    folder.rename(tmp_path / "e")
    folder.symlink_to(folder)  # a circle: neither there nor missing
    identity.check()
    folder.unlink()
    folder.touch()
    with pytest.raises(StoreUnavailable):
        identity.check()


async def test_closes_while_no_thread_is_free(path: Path) -> None:
    """Threads that users block do not keep a store from closing."""
    store = SqliteStorage(path)
    await store.open()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    release = threading.Event()
    blocked = loop.run_in_executor(None, release.wait)
    try:
        async with asyncio.timeout(10):
            await store.close()
    finally:
        release.set()
        await blocked


async def test_a_cancelled_caller_leaves_the_rest_alone(store: SqliteStorage) -> None:
    """Its own events may be stored or not; everybody else's are."""
    calls = [
        asyncio.ensure_future(store.events.append(f"t-{number}", 0, [created()]))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[1::2] == [None] * 10
    for number in range(1, 20, 2):
        assert await store.events.head(f"t-{number}") == 1


async def test_writers_wait_for_room(path: Path) -> None:
    """More callers than may wait hold back, and all have their turn; closing frees them."""
    store = SqliteStorage(path, max_waiting=3)
    await store.open()
    appends = [store.events.append(f"t-{number}", 0, [created()]) for number in range(50)]
    await asyncio.gather(*appends)
    assert (await store.events.stats()).tasks == 50
    late = [
        asyncio.ensure_future(store.events.append(f"u-{number}", 0, [created()]))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await store.close()
    results = await asyncio.gather(*late, return_exceptions=True)
    assert any(isinstance(result, StoreUnavailable) for result in results)
    await store.open()
    stored = (await store.events.stats()).tasks - 50
    assert stored == sum(result is None for result in results)
    await store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_fails_leaves_nobody_waiting(store: SqliteStorage) -> None:
    """What must not happen, an error that nobody foresaw, ends in errors and not in silence."""

    def explode(_connection: apsw.Connection) -> None:
        raise SystemExit

    calls = [store.file.write(explode), store.events.append("t", 0, [created()])]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 2
    with pytest.raises(StoreUnavailable, match="restart"):
        await store.events.append("t", 0, [created()])


def test_jobs_are_told_apart_by_identity() -> None:
    """Two equal appends are two appends."""
    assert Append.__hash__ is object.__hash__
    assert Operation.__eq__ is object.__eq__
