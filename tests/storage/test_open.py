from pathlib import Path

import pytest

from palaver.errors import ConfigError
from palaver.storage.memory import MemoryStorage
from palaver.storage.open import open_storage
from palaver.storage.sqlite import SqliteStorage

ALLOWED = "memory:, a path, sqlite:///absolute/path.db or sqlite:relative/path.db"


def test_memory() -> None:
    """``memory:`` keeps nothing."""
    assert isinstance(open_storage("memory:"), MemoryStorage)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/var/lib/palaver.db", "/var/lib/palaver.db"),
        ("palaver.db", "palaver.db"),
        ("./a:b.db", "a:b.db"),
        ("dir/with:colon.db", "dir/with:colon.db"),
        ("sqlite:///var/lib/palaver.db", "/var/lib/palaver.db"),
        ("sqlite:/var/lib/palaver.db", "/var/lib/palaver.db"),
        ("sqlite:relative/palaver.db", "relative/palaver.db"),
    ],
)
def test_files(url: str, path: str) -> None:
    """A path, as such or as a URL, is a SQLite file."""
    store = open_storage(url)
    assert isinstance(store, SqliteStorage)
    assert store.name == str(Path(path).absolute())


@pytest.mark.parametrize(
    "url", ["", "memory:x", "sqlite:", "sqlite://host/x.db", "mysql://x", "C:x", "a\0b"]
)
def test_anything_else(url: str) -> None:
    """What is no store is refused with what is allowed."""
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert str(caught.value) == f"store {url!r} is not understood; use {ALLOWED}"


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://x", "postgresql://localhost/db"])
def test_not_yet(url: str) -> None:
    """Engines that come later are said to come later."""
    with pytest.raises(ConfigError, match="is not available in this version; use memory:, a path"):
        open_storage(url)


async def test_what_callers_say_is_for_the_owner_alone(tmp_path: Path) -> None:
    """The file, those beside it and a folder made for them are closed to others."""
    storage = open_storage(str(tmp_path / "new" / "tasks.db"))
    await storage.open()
    try:
        folder = tmp_path / "new"
        assert folder.stat().st_mode & 0o077 == 0
        assert [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077] == []
    finally:
        await storage.close()
