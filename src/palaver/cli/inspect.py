"""``palaver inspect``: what a peer says of itself."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import httpx2
import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from palaver.cli.asp_report import capability_rows
from palaver.client.asp import fetch_capabilities
from palaver.client.asp_dial import asp_url, shown
from palaver.client.discovery import base_url, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.errors import PeerError
from palaver.observability.logging import configure_logging
from palaver.protocols.a2a.card import PeerCard
from palaver.protocols.asp.config import ProtocolCapabilities

__all__ = ["inspect"]

_PATIENCE: Final = 1.0
"""Seconds for a server of calls to be reached, and again to show what it takes."""


def inspect(
    url: Annotated[str, typer.Argument(help="Where the agent is, such as http://127.0.0.1:8080")],
    *,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object")] = False,
) -> None:
    """Show what the agent at URL says of itself: its skills, its endpoints, the calls it takes."""
    configure_logging("critical")
    card, ready, calls = asyncio.run(_look(url))
    if json:
        typer.echo(orjson.dumps(_as_data(card, ready, calls)).decode())
    else:
        _print(url, card, ready, calls)


async def _look(url: str) -> tuple[PeerCard, str, ProtocolCapabilities | None]:
    async with http_client(Patience()) as http:
        card = await fetch_card(http, url)
        ready, calls = await asyncio.gather(_readiness(http, url), _capabilities(url))
    return card, ready, calls


async def _readiness(http: httpx2.AsyncClient, url: str) -> str:
    try:
        response = await http.get(f"{base_url(url)}/readyz")
    except httpx2.HTTPError:
        return "unknown"
    if response.is_success:
        return "ready"
    unready = response.status_code == httpx2.codes.SERVICE_UNAVAILABLE
    return "not ready" if unready else "unknown"


async def _capabilities(url: str) -> ProtocolCapabilities | None:
    try:
        return await fetch_capabilities(_calls_url(url), _PATIENCE)
    except PeerError:
        return None


def _calls_url(url: str) -> str:
    return asp_url(f"{base_url(url)}/asp")


def _as_data(card: PeerCard, ready: str, calls: ProtocolCapabilities | None) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": card.description,
        "version": card.version,
        "streaming": card.streaming,
        "readiness": ready,
        "interfaces": [
            {"url": url, "protocol": "a2a", "version": str(generation)}
            for url, generation in card.interfaces
        ],
        "skills": [
            {"id": skill.id, "name": skill.name, "description": skill.description}
            for skill in card.skills
        ],
        "asp": None if calls is None else calls.model_dump(mode="json"),
    }


def _print(url: str, card: PeerCard, ready: str, calls: ProtocolCapabilities | None) -> None:
    console = Console(highlight=False)
    console.print(f"{card.name} {card.version}: {card.description}", markup=False)
    console.print(f"streaming: {'yes' if card.streaming else 'no'}; readiness: {ready}")
    table = Table("wire", "endpoint")
    for endpoint, generation in card.interfaces:
        table.add_row(f"A2A {generation}", endpoint)
    console.print(table)
    skills = Table("skill", "what it does")
    for skill in card.skills:
        skills.add_row(skill.id, skill.description)
    console.print(skills)
    if calls is not None:
        takes = Table("calls (ASP)", "")
        takes.add_row("address", Text(shown(_calls_url(url))))
        for name, value in capability_rows(calls):
            takes.add_row(name, Text(value))
        console.print(takes)
