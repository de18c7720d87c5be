"""A relay between a client and a server: it keeps what the server says."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

TIMEOUT = 20.0


class Relay:
    """Passes bytes on, both ways, between whoever connects and the server at ``url``.

    ``said`` is every byte that the server sent.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._to = (parts.hostname, parts.port)
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._more = asyncio.Condition()
        self.said = bytearray()
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port; ``url`` says where."""
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._passing)
        await self._server.wait_closed()

    async def heard(self, what: bytes, times: int = 1) -> None:
        """Wait until the server has said ``what`` that often."""
        async with asyncio.timeout(TIMEOUT), self._more:
            await self._more.wait_for(lambda: self.said.count(what) >= times)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        there, back = await asyncio.open_connection(*self._to)
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer, keep=True))
        finally:
            self._open -= {writer, back}
            self._passing.discard(task)

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, keep: bool = False
    ) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
                if keep:
                    async with self._more:
                        self.said += data
                        self._more.notify_all()
        except ConnectionError:
            pass
        finally:
            sink.close()
