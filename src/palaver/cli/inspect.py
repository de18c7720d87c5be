"""``palaver inspect``: what a peer says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import httpx2
import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from palaver.cli.asp_report import capability_rows
from palaver.client.asap_discovery import Health, asap_address, fetch_health, fetch_manifest
from palaver.client.asp import fetch_capabilities
from palaver.client.asp_dial import asp_url, shown
from palaver.client.discovery import base_url, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.errors import PeerError
from palaver.observability.logging import configure_logging
from palaver.protocols.a2a.card import PeerCard
from palaver.protocols.asap.manifest import Manifest
from palaver.protocols.asp.config import ProtocolCapabilities

__all__ = ["inspect"]

_PATIENCE: Final = 1.0
"""Seconds for a server of calls to be reached, and again to show what it takes."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found at ``base``: at least a card, or a manifest."""

    base: str
    card: PeerCard | None
    ready: str
    manifest: Manifest | None
    health: Health | None
    calls: ProtocolCapabilities | None


def inspect(
    url: Annotated[str, typer.Argument(help="Where the agent is, such as http://127.0.0.1:8080")],
    *,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object")] = False,
) -> None:
    """Show what the agent at URL says of itself: its skills, its endpoints, the calls it takes."""
    configure_logging("critical")
    found = asyncio.run(_look(url))
    if json:
        typer.echo(orjson.dumps(_as_data(found)).decode())
    else:
        _print(found)


# --- looking --------------------------------------------------------------------------------


async def _look(url: str) -> _Found:
    """Return what is there.

    Raises:
        PeerError: there is neither a card nor a manifest; the text says what became of the card.

    """
    base = base_url(asap_address(url, insecure=True).base_url)
    async with http_client(Patience()) as http:
        card, manifest = await asyncio.gather(
            fetch_card(http, base), fetch_manifest(http, base), return_exceptions=True
        )
        if isinstance(card, BaseException) and isinstance(manifest, BaseException):
            raise card
        for result in (card, manifest):
            if isinstance(result, BaseException) and not isinstance(result, PeerError):
                raise result
        ready, health, calls = await asyncio.gather(
            _readiness(http, base), _health(http, base), _capabilities(base)
        )
    return _Found(
        base,
        None if isinstance(card, BaseException) else card,
        ready,
        None if isinstance(manifest, BaseException) else manifest,
        health,
        calls,
    )


async def _readiness(http: httpx2.AsyncClient, base: str) -> str:
    try:
        response = await http.get(f"{base}/readyz")
    except httpx2.HTTPError:
        return "unknown"
    if response.is_success:
        return "ready"
    unready = response.status_code == httpx2.codes.SERVICE_UNAVAILABLE
    return "not ready" if unready else "unknown"


async def _health(http: httpx2.AsyncClient, base: str) -> Health | None:
    try:
        return await fetch_health(http, base)
    except PeerError:
        return None


async def _capabilities(base: str) -> ProtocolCapabilities | None:
    try:
        return await fetch_capabilities(_calls_url(base), _PATIENCE)
    except PeerError:
        return None


def _calls_url(base: str) -> str:
    return asp_url(f"{base}/asp")


# --- showing --------------------------------------------------------------------------------


def _as_data(found: _Found) -> dict[str, Any]:
    card, calls = found.card, found.calls
    return {
        **_as_card(found),
        "readiness": found.ready,
        "interfaces": [
            {"url": url, "protocol": "a2a", "version": str(generation)}
            for url, generation in (() if card is None else card.interfaces)
        ],
        "asap": None if found.manifest is None else _as_asap(found.manifest, found.health),
        "asp": None if calls is None else calls.model_dump(mode="json"),
    }


def _as_card(found: _Found) -> dict[str, Any]:
    card, manifest = found.card, found.manifest
    if card is not None:
        skills: list[dict[str, str]] = [
            {"id": skill.id, "name": skill.name, "description": skill.description}
            for skill in card.skills
        ]
        name, description, version = card.name, card.description, card.version
        streaming = card.streaming
    else:
        assert manifest is not None  # noqa: S101 -- one of the two was found
        skills = [
            {"id": skill.id, "name": skill.id, "description": skill.description}
            for skill in manifest.capabilities.skills
        ]
        name, description, version = manifest.name, manifest.description, manifest.version
        streaming = manifest.capabilities.streaming
    return {
        "name": name,
        "description": description,
        "version": version,
        "streaming": streaming,
        "skills": skills,
    }


def _as_asap(manifest: Manifest, health: Health | None) -> dict[str, Any]:
    said = manifest.model_dump(mode="json")
    return {
        "id": said["id"],
        "version": said["version"],
        "asap_version": said["capabilities"]["asap_version"],
        "skills": [skill["id"] for skill in said["capabilities"]["skills"]],
        "endpoints": said["endpoints"],
        "auth": said["auth"],
        "health": None if health is None else asdict(health),
    }


def _print(found: _Found) -> None:
    console = Console(highlight=False)
    said = _as_card(found)
    console.print(f"{said['name']} {said['version']}: {said['description']}", markup=False)
    console.print(f"streaming: {'yes' if said['streaming'] else 'no'}; readiness: {found.ready}")
    if found.card is not None:
        table = Table("wire", "endpoint")
        for endpoint, generation in found.card.interfaces:
            table.add_row(f"A2A {generation}", endpoint)
        console.print(table)
    skills = Table("skill", "what it does")
    for skill in said["skills"]:
        skills.add_row(Text(skill["id"]), Text(skill["description"]))
    console.print(skills)
    if found.manifest is not None:
        console.print(_asap_table(found.manifest, found.health))
    if found.calls is not None:
        takes = Table("calls (ASP)", "")
        takes.add_row("address", Text(shown(_calls_url(found.base))))
        for name, value in capability_rows(found.calls):
            takes.add_row(name, Text(value))
        console.print(takes)


def _asap_table(manifest: Manifest, health: Health | None) -> Table:
    table = Table("agent to agent (ASAP)", "")
    rows = {
        "id": manifest.id,
        "version": f"{manifest.version}, ASAP {manifest.capabilities.asap_version}",
        "HTTP": shown(manifest.endpoints.asap),
        "WebSocket": "none" if manifest.endpoints.events is None else manifest.endpoints.events,
        "skills": ", ".join(skill.id for skill in manifest.capabilities.skills) or "none",
        "callers show": "nothing" if manifest.auth is None else ", ".join(manifest.auth.schemes),
        "health": "unknown" if health is None else _felt(health),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _felt(health: Health) -> str:
    up = "" if health.uptime_seconds is None else f", up for {health.uptime_seconds:.0f} s"
    return f"{health.status}{up}"
