"""The fault proxy does what it says, between two plain ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from palaver.testing.fault_proxy import Fault, FaultProxy


@asynccontextmanager
async def shouting(word: bytes) -> AsyncIterator[int]:
    """Serve, at the port, the word once for each line; the end is answered with the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                writer.write(word)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect through the proxy and send a line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"go\n")
    return reader, writer


@pytest.mark.parametrize("fault", [Fault(), Fault(latency=0.001, max_slice=3)])
async def test_all_of_it_passes(fault: Fault) -> None:
    """Slow and in slices, both ways, the end of the client's words included."""
    async with shouting(b"x" * 100) as port, FaultProxy(port, lambda _: fault) as proxy:
        reader, writer = await ask(proxy)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b"x" * 100
        writer.close()
    assert (proxy.connections, proxy.resets) == (1, 0)


@pytest.mark.parametrize("place", [0, 1, 57, 100])
async def test_a_reset_after_so_many_bytes(place: int) -> None:
    """The client gets no more than that, then an error instead of an end."""
    fault = Fault(reset_after=place)
    async with shouting(b"x" * 100) as port, FaultProxy(port, lambda _: fault) as proxy:
        reader, writer = await ask(proxy)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(200), 5)
        writer.close()
    assert proxy.resets == 1


async def test_a_black_hole() -> None:
    """The client gets its bytes, then nothing at all, and is not told."""
    fault = Fault(silent_after=30)
    async with shouting(b"x" * 100) as port, FaultProxy(port, lambda _: fault) as proxy:
        reader, writer = await ask(proxy)
        assert await asyncio.wait_for(reader.readexactly(30), 5) == b"x" * 30
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()


async def test_a_reset_on_demand() -> None:
    """``reset_all`` strikes every connection that is open, and none after."""
    async with shouting(b"hello") as port, FaultProxy(port) as proxy:
        ends = [await ask(proxy) for _ in range(3)]
        for reader, _ in ends:
            await reader.readexactly(5)
        proxy.reset_all()
        for reader, writer in ends:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.readexactly(5), 5)
            writer.close()
        reader, writer = await ask(proxy)
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    assert (proxy.connections, proxy.resets) == (4, 3)


async def test_another_upstream() -> None:
    """New connections go where the proxy points; where nobody listens, they are reset."""
    faults: Callable[[int], Fault] = [Fault(), Fault(max_slice=1)].__getitem__
    async with shouting(b"one") as first, FaultProxy(first, faults) as proxy:
        reader, writer = await ask(proxy)
        assert await reader.readexactly(3) == b"one"
        async with shouting(b"two") as proxy.upstream_port:
            other, other_writer = await ask(proxy)
            assert await other.readexactly(3) == b"two"
            writer.write(b"again\n")
            assert await reader.readexactly(3) == b"one"
            other_writer.close()
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()
    assert proxy.connections == 2
