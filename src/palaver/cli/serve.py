"""``palaver serve``: one agent, one process, one port."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import orjson
import typer
import uvloop

from palaver import __version__
from palaver.app import App, create_app
from palaver.cli.target import load_agent
from palaver.config import Settings, load_settings
from palaver.errors import ConfigError
from palaver.observability.logging import configure_logging
from palaver.server.listener import Listener, bind

__all__ = ["serve"]

_LAST_BREATH: Final = 1.0
"""Seconds for what still runs at the end to let go."""
_SECRET = ("token", "secret", "password", "key")


_Target = Annotated[str | None, typer.Argument(help="module:agent to serve; none: the demo agent")]
_Host = Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1]")]
_Port = Annotated[int | None, typer.Option(help="Port; 0 takes a free one [8080]")]
_AspPort = Annotated[
    int | None, typer.Option(help="Second port, for calls alone, that takes more of them")
]
_Store = Annotated[
    str | None, typer.Option(help="Path of a SQLite file, or memory: to keep nothing")
]
_Config = Annotated[Path | None, typer.Option(help="TOML file with settings")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; see --print-config"),
]
_Insecure = Annotated[
    bool, typer.Option("--insecure", help="Serve other machines without authentication")
]
_PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Show the settings as they are, and end")
]


def serve(  # noqa: PLR0913 # typer reads the options of a command from its parameters
    target: _Target = None,
    *,
    host: _Host = None,
    port: _Port = None,
    asp_port: _AspPort = None,
    store: _Store = None,
    config: _Config = None,
    option: _Set = None,
    insecure: _Insecure = False,
    print_config: _PrintConfig = False,
) -> None:
    """Serve an agent over A2A, ASAP and, for calls, ASP, until SIGTERM or Ctrl-C."""
    flags: dict[str, Any] = dict(_pair(given) for given in option or [])
    given = {
        "host": host,
        "port": port,
        "asp_port": asp_port,
        "store": store,
        "insecure": insecure or None,
    }
    flags |= {name: value for name, value in given.items() if value is not None}
    settings = load_settings(flags, config)
    if print_config:
        typer.echo(_shown(settings))
        return
    configure_logging(settings.log_level, settings.log_format)
    _check_exposure(settings)
    agent = load_agent(target)
    app = create_app([agent], settings)
    listening = bind(settings.host, settings.port)
    url = _url(settings.host, listening.getsockname()[1])
    calls = app.bind()
    where = "" if calls is None else f"Calls are taken at {_url(*calls, 'ws')}/asp as well.\n"
    kept = "in memory, and lost at the end" if not app.storage.durable else f"in {settings.store}"
    greeting = (
        f"Palaver {__version__} serves {agent.name!r} at {url}\n"
        f"{where}Tasks are kept {kept}. Stop with Ctrl-C."
    )
    listener = _listener(app, settings, greeting)
    _spare_collections()
    with listening:
        uvloop.run(_run(listener, app, [listening]))


def _listener(app: App, settings: Settings, greeting: str) -> Listener:
    return Listener(
        app,
        app.drain,
        head_timeout=settings.body_timeout,
        announce=lambda: _say(greeting),
        max_message_bytes=settings.websocket_max_message_bytes,
        send_timeout=settings.websocket_send_timeout,
        ping_interval=settings.websocket_ping_interval,
        pong_timeout=settings.websocket_pong_timeout,
    )


async def _run(listener: Listener, app: App, sockets: list[Any]) -> None:
    # Opened here first: what is wrong with the store is told in one line, not in a traceback.
    await app.storage.open()
    await listener.serve(sockets=sockets)
    await _end_rest()


async def _end_rest() -> None:
    """Cancel what still runs; what does not let go is left behind, with the process.

    Its tasks have failed already, or wait for another worker, and the store is closed.
    """
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    stubborn = (await asyncio.wait(rest, timeout=_LAST_BREATH))[1] if rest else ()
    # Python would wait for every thread that a handler began, however long it takes.
    if stubborn or any(
        not thread.daemon and thread is not threading.main_thread()
        for thread in threading.enumerate()
    ):
        _exit_now()


def _spare_collections() -> None:
    """Let the cyclic collector run less often.

    What a task leaves behind is freed by reference counting; looking through all finished tasks
    of a memory store for cycles took a tenth of the time of short requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _pair(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in Settings.model_fields:
        message = f"--set {given}: write NAME=VALUE with a NAME from --print-config"
        raise ConfigError(message)
    return name, value


def _shown(settings: Settings) -> str:
    values = settings.model_dump(mode="json")
    hidden = {
        name: "***" if value and any(word in name for word in _SECRET) else value
        for name, value in values.items()
    }
    return orjson.dumps(hidden, option=orjson.OPT_INDENT_2).decode()


def _check_exposure(settings: Settings) -> None:
    """Refuse to be open to others without being told to."""
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        local = settings.host == "localhost"
    if local:
        return
    if not settings.insecure:
        message = (
            f"{settings.host} can be reached from other machines, and nobody would be asked who "
            "they are: listen on 127.0.0.1 behind a proxy that does, or say --insecure"
        )
        raise ConfigError(message)
    _say(f"Warning: everybody who reaches {settings.host} may use this agent.")


def _url(host: str, port: int, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _exit_now() -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
