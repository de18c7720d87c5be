"""Plain ASGI: reading a bounded body, answering with ready bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from palaver.errors import PalaverError

__all__ = [
    "JSON",
    "BodyTooLarge",
    "BodyTooSlow",
    "ClientLeft",
    "header",
    "read_body",
    "send_json",
    "send_problem",
    "send_too_large",
]

JSON: Final = b"application/json"
_LINGER: Final = 2.0
"""Seconds for the rest of a body that is too large: enough to read the answer behind it."""


class BodyTooLarge(PalaverError):
    """The body of a request has more bytes than are taken: 413."""


class BodyTooSlow(PalaverError):
    """The body of a request did not arrive in time: 408."""


class ClientLeft(PalaverError):
    """The client closed the connection before it was answered."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return the value of the first header of that lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            decoded: str = value.decode("latin-1")
            return decoded
    return None


async def read_body(
    scope: Scope,
    receive: Receive,
    *,
    max_bytes: int,
    timeout: float,  # noqa: ASYNC109
) -> bytes:
    """Return the body of the request; what is too large is refused before it is taken in.

    Raises:
        BodyTooLarge: it has, or announces, more than ``max_bytes``.
        BodyTooSlow: it took longer than ``timeout`` seconds.
        ClientLeft: the connection was closed first.

    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise BodyTooLarge(_too_large(max_bytes))
    give_up_at = asyncio.get_running_loop().time() + timeout
    message = await _receive(receive, give_up_at)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > max_bytes:
            raise BodyTooLarge(_too_large(max_bytes))
        return body
    return await _read_rest(receive, [body], max_bytes, give_up_at)


async def _read_rest(
    receive: Receive, chunks: list[bytes], max_bytes: int, give_up_at: float
) -> bytes:
    size = len(chunks[0])
    more = True
    while more:
        message = await _receive(receive, give_up_at)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise BodyTooLarge(_too_large(max_bytes))
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _receive(receive: Receive, give_up_at: float) -> MutableMapping[str, Any]:
    try:
        async with asyncio.timeout_at(give_up_at):
            message = await receive()
    except TimeoutError:
        text = "the body of the request did not arrive in time"
        raise BodyTooSlow(text) from None
    if message["type"] == "http.disconnect":
        text = "the client left before its request was complete"
        raise ClientLeft(text)
    return message


def _too_large(max_bytes: int) -> str:
    return f"the body has more than {max_bytes} bytes, which is the limit"


async def send_json(
    send: Send, body: bytes, *, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with ``body``, which is JSON."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", JSON),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_too_large(receive: Receive, send: Send, text: str, *, member: str = "error") -> None:
    """Answer 413 while the body still comes in, and take what comes for a moment.

    Closed at once, the connection would be reset under the body, and the answer lost with it.
    """
    body = orjson.dumps({member: text})
    headers = [
        (b"content-type", JSON),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


async def send_problem(
    send: Send,
    status: int,
    text: str,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    member: str = "error",
) -> None:
    """Answer that the request cannot be taken, outside of any protocol: ``{member: text}``."""
    await send_json(send, orjson.dumps({member: text}), status=status, headers=headers)
