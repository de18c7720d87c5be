"""Finding an ASP server: its URL, its WebSocket, and whether it was a legacy one the last time."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from palaver.client.transport import Patience
from palaver.errors import PeerError, PeerRefused, PeerUnreachable

__all__ = ["SUBPROTOCOL", "Tries", "Unanswered", "Verdicts", "asp_url", "dial", "shown"]

SUBPROTOCOL: Final = Subprotocol("asp.v1")
_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_UNAVAILABLE: Final = frozenset({429, 502, 503, 504})


class Unanswered(Exception):
    """It did not work this time; it may the next time. ``refusal``: the server said so."""

    def __init__(self, why: str, refusal: PeerRefused | None = None) -> None:
        super().__init__(why)
        self.refusal = refusal


class _Connect(connect):
    """A WebSocket that follows no redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirect for what it is: no answer."""
        return exc


class Tries:
    """Tries of one thing: when the next one comes, and when it is over."""

    def __init__(
        self, patience: Patience, url: str, *, only_one: bool, over: asyncio.Event
    ) -> None:
        self._patience = patience
        self._url = url
        self._only_one = only_one
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._count = 0

    async def again(self, failure: Unanswered) -> None:
        """Wait before the next try.

        Raises:
            PeerRefused: there were enough of them, and the server said why.
            PeerUnreachable: there were enough of them, or nobody wants the next one.

        """
        self._count += 1
        delay = self._patience.delay(self._count)
        spent = self._loop.time() - self._began
        if self._only_one or spent + delay > self._patience.give_up_after:
            if failure.refusal is not None:
                raise failure.refusal from failure
            tries = f" after {self._count} tries" if self._count > 1 else ""
            where = shown(self._url)
            raise PeerUnreachable(f"{where} does not answer{tries}: {failure}") from failure
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._over.wait()
        if self._over.is_set():
            raise PeerUnreachable("the client is closed") from failure


class Verdicts:
    """Which URLs had a legacy server, for a while: those need not be waited for again."""

    def __init__(self, *, ttl: float = 600.0, max_urls: int = 256) -> None:
        self._ttl = ttl
        self._max_urls = max_urls
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def is_legacy(self, url: str, now: float) -> bool:
        """Tell whether a legacy server was found there lately."""
        until = self._until.get(url)
        if until is None:
            return False
        if now >= until:
            del self._until[url]
            return False
        self._until.move_to_end(url)
        return True

    def remember(self, url: str, now: float) -> None:
        """Take note of a legacy server; the one that was asked for least lately is let go."""
        self._until[url] = now + self._ttl
        self._until.move_to_end(url)
        while len(self._until) > self._max_urls:
            self._until.popitem(last=False)

    def forget(self, url: str) -> None:
        """Take note that the server there is none, or shows nothing at all."""
        self._until.pop(url, None)


def asp_url(url: str) -> str:
    """Return the WebSocket URL of ``url``: ``/asp``, where it has no path of its own.

    Raises:
        PeerUnreachable: it is no URL of ws, wss, http or https.

    """
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        legal = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        legal = False
    if not legal:
        raise PeerUnreachable(f"{url!r} is no address of an ASP server: write ws://HOST:PORT")
    path = parts.path if parts.path.strip("/") else "/asp"
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))


def shown(url: str) -> str:
    """Return a URL without what nobody else should read."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


async def dial(url: str, patience: Patience, *, subprotocol: bool) -> WebSocket:
    """Return a WebSocket to ``url`` that is open.

    Raises:
        Unanswered: nobody answered, or nobody was free.
        PeerRefused: the server takes no WebSocket there.
        PeerError: what answers is no WebSocket server, or not who it should be.

    """
    try:
        return await _Connect(
            url,
            subprotocols=[SUBPROTOCOL] if subprotocol else None,
            compression=None,
            proxy=None,
            open_timeout=patience.connect_timeout,
            ping_interval=None,
            close_timeout=patience.connect_timeout,
            max_size=_MAX_MESSAGE_BYTES,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        what = f"{shown(url)} answered HTTP {status} to a WebSocket handshake"
        if status in _UNAVAILABLE:
            raise Unanswered(what) from error
        raise PeerRefused(status, f"{what}: there is no ASP there") from error
    except ssl.SSLError as error:
        raise PeerUnreachable(f"{shown(url)}: no secure connection: {error}") from error
    except (OSError, EOFError, InvalidMessage) as error:  # a timeout is an OSError, too
        raise Unanswered(str(error) or type(error).__name__) from error
    except InvalidHandshake as error:
        raise PeerError(f"{shown(url)} does not speak WebSocket: {error}") from error
