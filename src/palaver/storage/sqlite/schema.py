"""Opening the file: settings, numbered migrations, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import time
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from palaver.errors import StoreUnavailable

__all__ = ["SCHEMA_VERSION", "connect", "roll_back", "unavailable", "upgrade"]

_APPLICATION_ID: Final = 0x50616C76
"""``Palv``: tells our files from other people's."""
_BUSY_TIMEOUT_MS: Final = 10_000
_WAL_ATTEMPTS: Final = 100
_WAL_RETRY_INTERVAL: Final = 0.02
_CHECKPOINT_PAGES: Final = 2000
_CACHE_KIB: Final = 16_000


def _migrations() -> list[tuple[int, str]]:
    """Return the migrations in order: ``0001_tables.sql`` leads to version 1, and so on."""
    folder = resources.files(__package__) / "migrations"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(int(name[:4]), (folder / name).read_text("utf-8")) for name in files]


SCHEMA_VERSION: Final = max(number for number, _ in _migrations())
"""The version of the tables that this release writes."""


def unavailable(path: Path, error: Exception) -> StoreUnavailable:
    """Return what to tell the caller: one line, what is wrong and what to do."""
    if isinstance(error, apsw.NotADBError):
        text = f"{path} is not a SQLite database: name another file, or move this one away"
    elif isinstance(error, apsw.FullError):
        text = f"there is no room left to write {path}: free some space on its disk"
    elif isinstance(error, apsw.BusyError | apsw.LockedError):
        text = f"{path} is locked by another program: find it and end it, then try again"
    elif isinstance(error, apsw.CantOpenError | apsw.PermissionsError | PermissionError):
        text = f"{path} cannot be opened: allow this user to write to it and its directory"
    elif isinstance(error, apsw.ReadOnlyError):
        text = f"{path} is read-only: allow this user to write to it, or name another file"
    elif isinstance(error, apsw.CorruptError):
        text = f"{path} is damaged: restore it from a backup, or name another file"
    elif isinstance(error, OSError):
        text = f"{path} cannot be made ({error.strerror}): name another file"
    else:
        text = f"{path} cannot be used: {error}"
    return StoreUnavailable(text)


def connect(path: Path) -> apsw.Connection:
    """Open the file and set it up; create what is missing, the tables excepted.

    Raises:
        StoreUnavailable: it cannot be opened.

    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What callers say is nobody else's to read; the files beside it take after this one.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(os.fspath(path), statementcachesize=200)
    except (apsw.Error, OSError) as error:
        raise unavailable(path, error) from error
    try:
        connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
        _check_owner(connection, path)
        _use_wal(connection)
        connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except apsw.Error as error:
        connection.close()
        raise unavailable(path, error) from error
    except StoreUnavailable:
        connection.close()
        raise
    return connection


def upgrade(connection: apsw.Connection, path: Path) -> None:
    """Bring the tables to ``SCHEMA_VERSION``; of several processes one does it.

    Raises:
        StoreUnavailable: a newer release made the tables, or they cannot be written.

    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        version = int(connection.pragma("user_version"))
        if version > SCHEMA_VERSION:
            roll_back(connection)
            raise StoreUnavailable(
                f"{path} has tables of version {version}, this release knows {SCHEMA_VERSION}: "
                "use the newer release of Palaver, or name another file"
            )
        for number, script in _migrations():
            if number > version:
                connection.execute(script)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except apsw.Error as error:
        roll_back(connection)
        raise unavailable(path, error) from error


def roll_back(connection: apsw.Connection) -> None:
    """End the transaction, if SQLite has not done so by itself."""
    if connection.in_transaction:
        with contextlib.suppress(apsw.Error):  # then the next BEGIN fails, and says so
            connection.execute("ROLLBACK")


def _check_owner(connection: apsw.Connection, path: Path) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").get
    if tables and connection.pragma("application_id") != _APPLICATION_ID:
        raise StoreUnavailable(
            f"{path} is the database of another program: name another file, or move this one away"
        )


def _use_wal(connection: apsw.Connection) -> None:
    """Switch to the write-ahead log.

    SQLite does not wait for its lock here when several processes open a new file at once.
    """
    for attempt in range(_WAL_ATTEMPTS):
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            time.sleep(_WAL_RETRY_INTERVAL)
        else:
            break
    if mode != "wal":
        raise apsw.CantOpenError(f"its file system keeps no write-ahead log (mode {mode})")
