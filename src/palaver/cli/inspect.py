"""``palaver inspect``: what a peer says of itself."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx2
import orjson
import typer
from rich.console import Console
from rich.table import Table

from palaver.client.discovery import base_url, fetch_card
from palaver.client.transport import Patience, http_client
from palaver.protocols.a2a.card import PeerCard

__all__ = ["inspect"]


def inspect(
    url: Annotated[str, typer.Argument(help="Where the agent is, such as http://127.0.0.1:8080")],
    *,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object")] = False,
) -> None:
    """Show the card of the agent at URL: its skills, its endpoints, what they speak."""
    card, ready = asyncio.run(_look(url))
    if json:
        typer.echo(orjson.dumps(_as_data(card, ready)).decode())
    else:
        _print(card, ready)


async def _look(url: str) -> tuple[PeerCard, str]:
    async with http_client(Patience()) as http:
        card = await fetch_card(http, url)
        try:
            response = await http.get(f"{base_url(url)}/readyz")
        except httpx2.HTTPError:
            return card, "unknown"
        if response.is_success:
            return card, "ready"
        unready = response.status_code == httpx2.codes.SERVICE_UNAVAILABLE
        return card, "not ready" if unready else "unknown"


def _as_data(card: PeerCard, ready: str) -> dict[str, Any]:
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
    }


def _print(card: PeerCard, ready: str) -> None:
    console = Console(highlight=False)
    console.print(f"{card.name} {card.version}: {card.description}", markup=False)
    console.print(f"streaming: {'yes' if card.streaming else 'no'}; readiness: {ready}")
    table = Table("wire", "endpoint")
    for url, generation in card.interfaces:
        table.add_row(f"A2A {generation}", url)
    console.print(table)
    skills = Table("skill", "what it does")
    for skill in card.skills:
        skills.add_row(skill.id, skill.description)
    console.print(skills)
