"""Finding out what a peer speaks: its agent card, whichever generation wrote it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx2

from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.a2a.card import PeerCard, parse_card
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import A2aError

__all__ = ["CARD_PATHS", "base_url", "choose_interface", "fetch_card"]

CARD_PATHS: Final = ("/.well-known/agent-card.json", "/.well-known/agent.json")
_MAX_CARD_BYTES: Final = 1024 * 1024


def base_url(url: str) -> str:
    """Return ``url`` without a trailing slash, or a known endpoint's path at its end.

    Raises:
        PeerUnreachable: it is no http(s) URL.

    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"{url!r} is no address of an agent: write http://HOST:PORT"
        raise PeerUnreachable(message)
    path = parts.path.rstrip("/").removesuffix("/a2a")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


async def fetch_card(http: httpx2.AsyncClient, url: str) -> PeerCard:
    """Return the card of the agent at ``url``.

    Raises:
        PeerUnreachable: nobody answers there.
        PeerError: there is no card, or it cannot be read.

    """
    base = base_url(url)
    last = "no card was found"
    for path in CARD_PATHS:
        try:
            response = await http.get(base + path)
        except httpx2.HTTPError as error:
            message = f"nobody answers at {base}: {str(error) or type(error).__name__}"
            raise PeerUnreachable(message) from error
        if response.status_code != httpx2.codes.OK:
            last = f"{path} answered {response.status_code}"
        elif len(response.content) > _MAX_CARD_BYTES:
            last = f"{path} has more than {_MAX_CARD_BYTES} bytes"
        else:
            try:
                return parse_card(response.content)
            except A2aError as error:
                last = f"{path}: {error}"
    message = f"there is no agent card at {base}: {last}"
    raise PeerError(message)


def choose_interface(card: PeerCard, wanted: Generation | None = None) -> tuple[str, Generation]:
    """Return the URL and the generation to speak: the newest, or the one that is wanted.

    Raises:
        PeerError: the peer has no such interface.

    """
    best = max(
        (pair for pair in card.interfaces if wanted is None or pair[1] is wanted),
        key=lambda pair: pair[1],
        default=None,
    )
    if best is None:
        offered = ", ".join(sorted({str(generation) for _, generation in card.interfaces}))
        asked = "JSON-RPC" if wanted is None else f"A2A {wanted}"
        message = f"{card.name!r} does not offer {asked}; it offers: {offered or 'nothing known'}"
        raise PeerError(message)
    return best
