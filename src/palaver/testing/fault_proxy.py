"""A TCP proxy that fails on purpose, to stand between a client under test and its server.

::

    async with FaultProxy(server_port, lambda number: Fault(reset_after=1_000)) as proxy:
        ...  # connect to 127.0.0.1, proxy.port

Each connection that reaches the server has a number, from 0, and gets the ``Fault`` that the
function returns for it; one that does not reach it is reset.
Faults strike the bytes on their way to the client; what the client sends passes unharmed, but for
the latency.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

__all__ = ["Fault", "FaultProxy"]

_PIECE: Final = 65_536
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one connection; as it stands, nothing does."""

    latency: float = 0.0
    """Seconds that each piece is held up, both ways."""

    max_slice: int = _PIECE
    """The most bytes in one write to the client."""

    reset_after: int | None = None
    """The connection is reset when the client has got that many bytes; 0: before any."""

    silent_after: int | None = None
    """A black hole: the client gets that many bytes, then nothing, and stays connected."""


class FaultProxy:
    """Listens on ``port`` of the local machine and passes on to ``upstream_port`` there.

    ``upstream_port`` may be set anew: connections from then on go there. ``connections`` and
    ``resets`` count those that got there, and those that a fault or ``reset_all`` reset.
    """

    def __init__(
        self, upstream_port: int, faults: Callable[[int], Fault] | None = None, *, port: int = 0
    ) -> None:
        self.upstream_port = upstream_port
        self.port = port
        self.connections = 0
        self.resets = 0
        self._faults = faults or (lambda _: Fault())
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where HTTP clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def reset_all(self) -> None:
        """Reset every connection that is open now."""
        for task, client in list(self._open.items()):
            self._reset(client)
            task.cancel()

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop listening, and drop every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(reader, client))
        self._open[task] = client
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()  # cancelled before its first step, it has not done so itself

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server: asyncio.StreamWriter | None = None
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            fault = self._faults(self.connections)
            self.connections += 1
            asking = asyncio.ensure_future(_pass_on(reader, server, fault.latency))
            try:
                await self._answer(answers, client, fault)
                await asking
            finally:
                asking.cancel()
        except OSError:  # either end is gone: so is the other, for whoever waits there
            _drop(client)
        finally:
            for writer in (client, server):
                if writer is not None:
                    writer.close()

    async def _answer(
        self, answers: asyncio.StreamReader, client: asyncio.StreamWriter, fault: Fault
    ) -> None:
        """Pass on what the server says, until the fault strikes or nothing more comes."""
        passed = 0
        while data := await answers.read(_PIECE):
            await asyncio.sleep(fault.latency)
            for start in range(0, len(data), fault.max_slice):
                piece = data[start : start + fault.max_slice]
                if fault.silent_after is not None:
                    piece = piece[: max(0, fault.silent_after - passed)]
                if fault.reset_after is not None and passed + len(piece) >= fault.reset_after:
                    client.write(piece[: fault.reset_after - passed])
                    self._reset(client)
                    raise ConnectionResetError
                client.write(piece)
                await client.drain()
                passed += len(piece)
        if fault.silent_after is None and client.can_write_eof():
            client.write_eof()

    def _reset(self, client: asyncio.StreamWriter) -> None:
        self.resets += 1
        _drop(client)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float
) -> None:
    """Pass on what the client says, and that it says no more."""
    while data := await reader.read(_PIECE):
        await asyncio.sleep(latency)
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _drop(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end gets a reset, not an end."""
    connection: socket.socket = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
