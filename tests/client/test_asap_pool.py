"""WebSockets that are kept for the next one who needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from palaver.client.asap import AsapClient, AsapSettings
from palaver.client.asap_errors import AsapUnreachable
from palaver.client.asap_pool import AsapPool
from tests.client.asap_server import AGENT, HASTY, AsapServer, asap_server
from tests.client.asp_server import until


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AsapServer]:
    """Serve ASAP."""
    async with asyncio.timeout(20), asap_server() as server:
        yield server


def connect(url: str) -> AsapClient:
    """Make a client that waits for little."""
    settings = AsapSettings(patience=HASTY)
    return AsapClient(url, transport="websocket", recipient=AGENT, settings=settings)


async def test_a_socket_is_used_again(server: AsapServer) -> None:
    """Who comes after another gets its socket; two at once get one each."""
    async with AsapPool(connect) as pool:
        for _ in range(3):
            async with pool.lease(server.url) as client:
                await client.request_task("say", {})
        assert len(server.sockets) == 1
        async with pool.lease(server.url) as one, pool.lease(server.url) as other:
            assert one is not other
            await asyncio.gather(one.request_task("say", {}), other.request_task("say", {}))
        assert len(pool) == 2
    assert [socket.close_code for socket in server.sockets] == [1000, 1000]
    assert len(pool) == 0


async def test_no_more_than_so_many(server: AsapServer) -> None:
    """Who wants one more waits until one comes back, and not for ever."""
    async with AsapPool(connect, max_per_url=2, acquire_timeout=0.05) as pool:
        async with pool.lease(server.url), pool.lease(server.url):
            with pytest.raises(AsapUnreachable, match=r"2 clients of .* are in use") as caught:
                async with pool.lease(server.url):
                    pass
            assert caught.value.local
        async with pool.lease(server.url) as client:
            await client.request_task("say", {})
    assert len(server.sockets) == 2


async def test_a_waiter_gets_the_next_one(server: AsapServer) -> None:
    """Who waits goes on when one comes back."""
    pool = AsapPool(connect, max_per_url=1)
    seen: list[AsapClient] = []

    async def use() -> None:
        async with pool.lease(server.url) as client:
            seen.append(client)
            await client.request_task("say", {})

    async with pool:
        await asyncio.gather(*(use() for _ in range(10)))
    assert len({id(client) for client in seen}) == 1
    assert len(server.received) == 10


async def test_a_socket_that_was_lost_is_not_lent(server: AsapServer) -> None:
    """A socket that dropped while nobody used it is left; the next one is new."""
    async with AsapPool(connect) as pool:
        async with pool.lease(server.url) as client:
            await client.request_task("say", {})
        server.sockets[0].transport.abort()
        await until(lambda: not client.usable)
        async with pool.lease(server.url) as fresh:
            assert fresh is not client
            await fresh.request_task("say", {})
    assert len(server.sockets) == 2


async def test_a_socket_that_nobody_uses_is_closed(server: AsapServer) -> None:
    """After its time without use a socket is closed."""
    async with AsapPool(connect, idle_after=0.02) as pool:
        async with pool.lease(server.url):
            pass
        assert len(pool) == 1
        await until(lambda: [one.close_code for one in server.sockets] == [1000])
        assert len(pool) == 0


async def test_an_error_of_whoever_uses_it(server: AsapServer) -> None:
    """What is raised within a lease is raised, and the socket comes back."""
    async with AsapPool(connect) as pool:
        with pytest.raises(RuntimeError):
            async with pool.lease(server.url):
                raise RuntimeError
        async with pool.lease(server.url):
            pass
    assert len(server.sockets) == 1


async def test_nobody_there() -> None:
    """A server that cannot be reached takes no place in the pool."""
    async with AsapPool(max_per_url=1, acquire_timeout=0.05) as pool:
        for _ in range(2):
            with pytest.raises(AsapUnreachable, match="nobody answers"):
                async with pool.lease("ws://127.0.0.1:1"):
                    pass
        assert len(pool) == 0


async def test_a_pool_that_is_closed(server: AsapServer) -> None:
    """It lends nothing; what was out is closed when it comes back."""
    pool = AsapPool(connect)
    async with pool.lease(server.url):
        await pool.close()
    with pytest.raises(AsapUnreachable, match="the pool is closed"):
        async with pool.lease(server.url):
            pass
    await pool.close()
    assert server.sockets[0].close_code == 1000
