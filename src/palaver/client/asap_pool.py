"""WebSockets to ASAP servers that are kept for the next one who needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from palaver.client.asap import AsapClient
from palaver.client.asap_errors import AsapUnreachable

__all__ = ["AsapPool"]


@dataclass(slots=True)
class _Idle:
    client: AsapClient
    since: float


@dataclass(slots=True)
class _Clients:
    """The clients of one URL; the last of ``idle`` was used last."""

    idle: list[_Idle] = field(default_factory=list)
    leased: int = 0
    wanted: int = 0
    freed: asyncio.Condition = field(default_factory=asyncio.Condition)


class AsapPool:
    """Lends connected clients, each to one at a time. Use it in an ``async with`` block.

    One client carries many requests at once; a pool is for those who should not share a socket.

    Args:
        connect: Makes the client for a URL; ``AsapClient`` by itself, on a WebSocket.
        max_per_url: Clients of one URL; who wants one more waits for ``acquire_timeout`` seconds.
        idle_after: Seconds without use after which one is closed.

    """

    def __init__(
        self,
        connect: Callable[[str], AsapClient] | None = None,
        *,
        max_per_url: int = 10,
        idle_after: float = 60.0,
        acquire_timeout: float = 5.0,
    ) -> None:
        self._connect = connect or _on_a_socket
        self._max_per_url: Final = max_per_url
        self._idle_after: Final = idle_after
        self._acquire_timeout: Final = acquire_timeout
        self._urls: dict[str, _Clients] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Return the pool."""
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    def __len__(self) -> int:
        return sum(len(one.idle) + one.leased for one in self._urls.values())

    @asynccontextmanager
    async def lease(self, url: str) -> AsyncIterator[AsapClient]:
        """Lend a client that is connected to ``url``.

        Raises:
            AsapUnreachable: nobody answers there, or all its clients are in use for too long.
            AsapRefused: the server does not take it.

        """
        clients = self._urls.setdefault(url, _Clients())
        clients.wanted += 1
        try:
            await self._take_place(clients, url)
            client: AsapClient | None = None
            try:
                client = await self._connected(clients, url)
                yield client
            finally:
                await self._give_back(clients, client)
        finally:
            clients.wanted -= 1
            if not clients.wanted and not clients.idle:
                self._urls.pop(url, None)

    async def close(self) -> None:
        """Close what nobody uses; what is in use is closed when it comes back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for clients in self._urls.values():
            for idle in clients.idle:
                self._close_soon(idle.client)
            clients.idle.clear()
        while self._closing:
            await asyncio.gather(*self._closing)

    # --- inside -----------------------------------------------------------------------------

    async def _take_place(self, clients: _Clients, url: str) -> None:
        try:
            async with asyncio.timeout(self._acquire_timeout), clients.freed:
                await clients.freed.wait_for(lambda: clients.leased < self._max_per_url)
                clients.leased += 1
        except TimeoutError:
            text = f"{self._max_per_url} clients of {url} are in use, which is the limit"
            raise AsapUnreachable(text, local=True) from None

    async def _connected(self, clients: _Clients, url: str) -> AsapClient:
        if self._closed:
            raise AsapUnreachable("the pool is closed", local=True)
        while clients.idle:
            client = clients.idle.pop().client
            if client.usable:
                return client
            self._close_soon(client)
        client = self._connect(url)
        await client.__aenter__()
        return client

    async def _give_back(self, clients: _Clients, client: AsapClient | None) -> None:
        clients.leased -= 1
        if client is not None:
            if client.usable and not self._closed:
                clients.idle.append(_Idle(client, asyncio.get_running_loop().time()))
                self._expect()
            else:
                self._close_soon(client)
        async with clients.freed:
            clients.freed.notify()

    def _expect(self) -> None:
        """Look again when the one that was not used for longest is due."""
        times = [idle.since for clients in self._urls.values() for idle in clients.idle[:1]]
        if self._timer is None and times and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(min(times) + self._idle_after, self._look)

    def _look(self) -> None:
        self._timer = None
        due = asyncio.get_running_loop().time() - self._idle_after
        for url, clients in tuple(self._urls.items()):
            while clients.idle and clients.idle[0].since <= due:
                self._close_soon(clients.idle.pop(0).client)
            if not clients.idle and not clients.wanted:
                del self._urls[url]
        self._expect()

    def _close_soon(self, client: AsapClient) -> None:
        task = asyncio.create_task(client.close(), name="asap-pool-closes")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _on_a_socket(url: str) -> AsapClient:
    return AsapClient(url, transport="websocket")
