"""``palaver doctor``: whether this machine can serve, and what to do where it cannot."""

from __future__ import annotations

import asyncio
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import apsw
import httpx2
import orjson
import typer

from palaver import __version__
from palaver.cli.exits import Exit
from palaver.client.transport import Patience, http_client
from palaver.config import Settings, load_settings
from palaver.errors import ConfigError, ProviderError, StorageError
from palaver.observability.logging import configure_logging
from palaver.server.listener import bind
from palaver.speech.compiled import compiled
from palaver.speech.engines import open_detector
from palaver.speech.open import open_engines
from palaver.storage.open import open_storage

__all__ = ["doctor"]

_VOICE_TIMEOUT: Final = 30.0
_ASK_TIMEOUT: Final = 1.0
_MAX_METRICS_BYTES: Final = 65_536


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
    """Check Python, the settings, the store, the port and the voice; exit 1 if one is wrong."""
    configure_logging("error")
    given = {"store": store, "port": port}
    flags = {name: value for name, value in given.items() if value is not None}
    checks = [_Check("palaver", good=True, detail=__version__), _python(), _audio_path()]
    try:
        settings = load_settings(flags, config)
    except ConfigError as error:
        checks.append(_Check("settings", good=False, detail=str(error)))
    else:
        checks.append(_Check("settings", good=True, detail="all values are legal"))
        checks.append(_Check("SQLite", good=True, detail=f"{apsw.sqlite_lib_version()} (apsw)"))
        checks.append(asyncio.run(_store(settings.store)))
        checks.append(asyncio.run(_port(settings.host, settings.port)))
        checks.append(asyncio.run(_voice(settings)))
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


def _audio_path() -> _Check:
    return _Check("audio path", good=True, detail="compiled" if compiled() else "interpreted")


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


async def _port(host: str, port: int) -> _Check:
    try:
        bind(host, port).close()
    except ConfigError as error:
        if await _is_palaver(host, port):
            return _Check("port", good=True, detail=f"{host} port {port}: Palaver serves there")
        return _Check("port", good=False, detail=str(error))
    return _Check("port", good=True, detail=f"{host} port {port} is free")


async def _is_palaver(host: str, port: int) -> bool:
    """Tell whether what has the port shows the metrics of Palaver."""
    url = f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
    read = b""
    try:
        async with (
            asyncio.timeout(_ASK_TIMEOUT),
            http_client(Patience()) as http,
            http.stream("GET", url) as response,
        ):
            async for piece in response.aiter_bytes():
                read += piece
                if b"palaver_" in read or len(read) > _MAX_METRICS_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return False
    return b"palaver_" in read


async def _voice(settings: Settings) -> _Check:
    """See whether calls can be heard and answered."""
    if not settings.voice:
        return _Check("voice", good=True, detail="off: calls are taken in silence")
    try:
        for rate_hz in settings.asp_sample_rates:
            open_detector(settings.voice_detector, 8_000 if rate_hz == 8_000 else 16_000)
        engines = open_engines(settings.voice_engines(), ())
        try:
            async with asyncio.timeout(_VOICE_TIMEOUT):
                await engines.speaks.open()
                await engines.hears.open()
        finally:
            await engines.close()
    except (ConfigError, ProviderError) as error:
        return _Check("voice", good=False, detail=str(error))
    except TimeoutError:
        detail = f"the engines were not ready after {_VOICE_TIMEOUT:g} s"
        return _Check("voice", good=False, detail=detail)
    names = f"{settings.voice_detector}, {settings.voice_hears}, {settings.voice_speaks}"
    return _Check("voice", good=True, detail=f"ready: {names}")
