"""Opening a WebSocket to an ASAP server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from palaver.client.asap_errors import AsapInvalid, AsapRefused, AsapUnreachable
from palaver.client.asp_dial import Unanswered, shown
from palaver.client.transport import Patience

__all__ = ["dial_asap"]

_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_CLOSE_TIMEOUT: Final = 2.0
"""Seconds for a server to answer a farewell; one that is dead keeps the next socket waiting."""
_UNAVAILABLE: Final = frozenset({429, 500, 502, 503, 504})
_PING_SHARE: Final = 0.6
"""Of the silence after which a socket is dead: 30 s of 50 until a ping, 20 s for its pong."""


class _Connect(connect):
    """A WebSocket that follows no redirects: they would be given our headers."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirect for what it is: no answer."""
        return exc


async def dial_asap(
    url: str, patience: Patience, headers: Mapping[str, str], *, compress: bool
) -> WebSocket:
    """Return a WebSocket to ``url`` that is open.

    Raises:
        Unanswered: nobody answered, or nobody was free.
        AsapRefused: the server takes no WebSocket there, or not ours.
        AsapInvalid: what answers is no WebSocket server.
        AsapUnreachable: it is not who it should be.

    """
    silence = patience.silence_timeout
    try:
        return await _Connect(
            url,
            additional_headers=headers,
            compression="deflate" if compress else None,
            proxy=None,
            open_timeout=patience.connect_timeout,
            ping_interval=silence * _PING_SHARE,
            ping_timeout=silence * (1 - _PING_SHARE),
            close_timeout=min(_CLOSE_TIMEOUT, silence),
            max_size=_MAX_MESSAGE_BYTES,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        what = f"{shown(url)} answered HTTP {status} to a WebSocket handshake"
        if status in _UNAVAILABLE:
            raise Unanswered(what, AsapRefused(status, what)) from error
        raise AsapRefused(status, what) from error
    except ssl.SSLError as error:
        raise AsapUnreachable(f"{shown(url)}: no secure connection: {error}") from error
    except (OSError, EOFError, InvalidMessage) as error:  # a timeout is an OSError, too
        raise Unanswered(str(error) or type(error).__name__) from error
    except (InvalidHandshake, InvalidURI, UnicodeError) as error:
        raise AsapInvalid(f"{shown(url)} does not speak WebSocket: {error}") from error
