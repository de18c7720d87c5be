"""``palaver doctor``: whether this machine can serve, and what to do where it cannot."""

from __future__ import annotations

import asyncio
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import apsw
import orjson
import typer

from palaver import __version__
from palaver.cli.exits import Exit
from palaver.config import load_settings
from palaver.errors import ConfigError, StorageError
from palaver.server.listener import bind
from palaver.storage.open import open_storage

__all__ = ["doctor"]


@dataclass(frozen=True, slots=True)
class _Check:
    what: str
    good: bool
    detail: str


def doctor(
    *,
    store: Annotated[str | None, typer.Option(help="The store to look at")] = None,
    port: Annotated[int | None, typer.Option(help="The port to look at")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings")] = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON array")] = False,
) -> None:
    """Check Python, the settings, the store and the port; exit 1 where something is wrong."""
    given = {"store": store, "port": port}
    flags = {name: value for name, value in given.items() if value is not None}
    checks = [_Check("palaver", good=True, detail=__version__), _python()]
    try:
        settings = load_settings(flags, config)
    except ConfigError as error:
        checks.append(_Check("settings", good=False, detail=str(error)))
    else:
        checks.append(_Check("settings", good=True, detail="all values are legal"))
        checks.append(_Check("SQLite", good=True, detail=f"{apsw.sqlite_lib_version()} (apsw)"))
        checks.append(asyncio.run(_store(settings.store)))
        checks.append(_port(settings.host, settings.port))
    if json:
        typer.echo(orjson.dumps(checks).decode())
    else:
        for check in checks:
            typer.echo(f"{'ok  ' if check.good else 'BAD '} {check.what}: {check.detail}")
    if not all(check.good for check in checks):
        raise typer.Exit(Exit.FAILED)


def _python() -> _Check:
    detail = f"{platform.python_version()} on {platform.platform()}"
    return _Check("Python", good=sys.version_info >= (3, 11), detail=detail)


async def _store(url: str) -> _Check:
    try:
        storage = open_storage(url)
        await storage.open()
        try:
            await storage.ping()
            stats = await storage.events.stats()
        finally:
            await storage.close()
    except (StorageError, ConfigError) as error:
        return _Check("store", good=False, detail=str(error))
    detail = f"{url}: {stats.tasks} tasks, {stats.open_tasks} of them open"
    return _Check("store", good=True, detail=detail)


def _port(host: str, port: int) -> _Check:
    try:
        bind(host, port).close()
    except ConfigError as error:
        return _Check("port", good=False, detail=str(error))
    return _Check("port", good=True, detail=f"{host} port {port} is free")
