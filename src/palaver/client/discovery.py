"""Finding out what a peer speaks: its agent card, whichever generation wrote it."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx2

from palaver.errors import PeerError, PeerUnreachable
from palaver.protocols.a2a.card import PeerCard, parse_card
from palaver.protocols.a2a.commands import Generation
from palaver.protocols.a2a.errors import A2aError

__all__ = ["CARD_PATHS", "base_url", "choose_interface", "fetch_card"]

_OLD_CARD_PATH: Final = "/.well-known/agent.json"
CARD_PATHS: Final = ("/.well-known/agent-card.json", _OLD_CARD_PATH)
_MAX_CARD_BYTES: Final = 1024 * 1024


def base_url(url: str) -> str:
    """Return ``url`` without a trailing slash, or a known endpoint's path at its end.

    Raises:
        PeerUnreachable: it is no http(s) URL.

    """
    try:
        parts = _http_url(url if "://" in url else f"http://{url}")
    except ValueError:
        message = f"{url!r} is no address of an agent: write http://HOST:PORT"
        raise PeerUnreachable(message) from None
    path = parts.path.rstrip("/").removesuffix("/a2a")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _http_url(url: str) -> SplitResult:
    """Return the parts of an http(s) URL; anything else is a ``ValueError``."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError(url)
    return parts


async def fetch_card(
    http: httpx2.AsyncClient, url: str, wanted: Generation | None = None
) -> PeerCard:
    """Return the card of the agent at ``url``: where ``wanted`` is 0.1, the one that 0.1 reads.

    Raises:
        PeerUnreachable: nobody answers there.
        PeerError: there is no card, or it cannot be read.

    """
    base = base_url(url)
    last = "no card was found"
    for path in (_OLD_CARD_PATH,) if wanted is Generation.V01 else CARD_PATHS:
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
        PeerError: the peer has no such interface, or its URL is none.

    """
    taken = {wanted} if wanted is not None else set(Generation)
    if wanted is Generation.V01:
        # 0.1 looks at the url of a card and at no version, which its cards do not have.
        taken.add(Generation.V03)
    offers = [(generation, url) for url, generation in card.interfaces if generation in taken]
    if not offers:
        offered = ", ".join(sorted({str(generation) for _, generation in card.interfaces}))
        asked = "JSON-RPC" if wanted is None else f"A2A {wanted}"
        message = f"{card.name!r} does not offer {asked}; it offers: {offered or 'nothing known'}"
        raise PeerError(message)
    pick = min if wanted is Generation.V01 else max
    generation, endpoint = pick(offers, key=lambda offer: offer[0])
    try:
        _http_url(endpoint)
    except ValueError:
        message = f"the card of {card.name!r} names an endpoint that is no URL: {endpoint[:100]!r}"
        raise PeerError(message) from None
    return endpoint, wanted or generation
