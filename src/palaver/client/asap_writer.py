"""Writing to one WebSocket of ASAP: what the core has to send, in order, by a task of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from websockets.asyncio.client import ClientConnection as WebSocket
from websockets.exceptions import ConnectionClosed

from palaver.protocols.asap.client_connection import ClientConnection
from palaver.protocols.asap.events import Close, Output

__all__ = ["SocketWriter"]

_MAX_UNSENT: Final = 1024
"""Frames that wait to be sent before no more are read: what a peer makes us answer."""


class SocketWriter:
    """Sends what ``core`` has, whenever ``wake`` says so.

    A server that takes nothing for ``timeout`` seconds loses the socket.
    """

    def __init__(
        self, websocket: WebSocket, core: ClientConnection, wake: asyncio.Event, timeout: float
    ) -> None:
        self._websocket = websocket
        self._core = core
        self._wake = wake
        self._timeout = timeout
        self._unsent: deque[Output] = deque()
        self._progress = asyncio.Event()
        self._wake.set()
        self._task = asyncio.create_task(self._write(), name="asap-socket-writes")

    async def room(self) -> None:
        """Wait while more is to be sent than may be, and the socket is there."""
        self._collect()
        while len(self._unsent) > _MAX_UNSENT and not self._task.done():
            self._progress.clear()
            await self._progress.wait()

    async def close(self) -> None:
        """Send no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _collect(self) -> None:
        self._unsent.extend(self._core.take_output())

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._collect()
                while self._unsent:
                    await self._put(self._unsent[0])
                    self._unsent.popleft()
                    self._progress.set()
        except ConnectionClosed:
            pass  # whoever reads finds out
        except Exception:
            self._websocket.transport.abort()  # it took nothing for too long, or worse
            raise
        finally:
            # Whoever waits for room looks again: by then this task is done.
            asyncio.get_running_loop().call_soon(self._progress.set)

    async def _put(self, output: Output) -> None:
        if isinstance(output, Close):
            await self._websocket.close(output.code, output.reason)
            return
        async with asyncio.timeout(self._timeout):
            await self._websocket.send(output)
