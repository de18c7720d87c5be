"""The embedded store: one SQLite file, durable before visible, shared by several processes."""

from palaver.storage.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
